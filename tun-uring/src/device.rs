//! A TUN interface with several queues (Linux `Documentation/networking/tuntap.rst`, `include/uapi/linux/if_tun.h`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::driver::{
    attach, has_several_queues, interface_of, more_queues, open_clone_device, require_features, set_attached,
    set_header, validate_name,
};
pub use crate::error::TunError;
pub use crate::ioctl::QUEUES_MAX;
use crate::link::Link;
pub use crate::offloads::{Offloads, negotiate};
use crate::settings::Given;
use crate::steering::{self, FlowTable, Program};

/// WireGuard's usual MTU: 1500 less IPv6 (40), UDP (8) and the tunnel's own 32 bytes.
pub const MTU_DEFAULT: u32 = 1420;

/// A TUN interface: its queues and its handle. One that this process made disappears with its last queue.
#[derive(Debug)]
pub struct Tun {
    link: Link,
    queues: Vec<OwnedFd>,
    offloads: Offloads,
    flows: io::Result<Option<Arc<FlowTable>>>,
    given: Option<Given>,
    /// Of an interface that another process serves.
    program: Option<Program>,
}

type Spread = (FlowTable, Program);

/// A table, if there is one or could be, and its program.
fn in_parts(loaded: io::Result<Option<Spread>>) -> (io::Result<Option<Arc<FlowTable>>>, Option<Program>) {
    match loaded {
        Ok(Some((table, program))) => (Ok(Some(Arc::new(table))), Some(program)),
        Ok(None) => (Ok(None), None),
        Err(error) => (Err(error), None),
    }
}

impl Tun {
    /// Makes the interface `name` with `queues` queues, in the network namespace of the calling thread, with the MTU
    /// [`MTU_DEFAULT`]. It is down and has no address.
    ///
    /// Of `wanted` the kernel gives what it knows: see [`Tun::offloads`].
    ///
    /// # Errors
    /// [`TunError`]; then no interface is left behind.
    pub fn create(name: &str, queues: usize, wanted: Offloads) -> Result<Self, TunError> {
        validate_name(name)?;
        if queues == 0 || queues > QUEUES_MAX {
            return Err(TunError::Queues(queues));
        }
        let first = open_clone_device()?;
        require_features(&first)?;
        attach(&first, name, libc::IFF_MULTI_QUEUE | libc::IFF_TUN_EXCL)?;
        set_header(&first)?;
        let offloads = negotiate(&first, wanted)?;
        let link = Link::named(name)?;
        link.set_mtu(MTU_DEFAULT)?;
        let mut all = vec![first];
        while all.len() < queues {
            let queue = open_clone_device()?;
            attach(&queue, name, libc::IFF_MULTI_QUEUE)?;
            all.push(queue);
        }
        Ok(Self::with_queues(link, all, offloads, None))
    }

    /// With flows spread over the queues, if there are several.
    pub(crate) fn with_queues(link: Link, queues: Vec<OwnedFd>, offloads: Offloads, given: Option<Given>) -> Self {
        let spread = || steering::attach(&queues[0], queues.len());
        let (flows, program) = in_parts((queues.len() > 1).then(spread).transpose());
        Self { link, queues, offloads, flows, given, program }
    }

    /// The interface of which these are all queues, as another process has set it up, which serves it for now. It gets
    /// more queues if so many are wanted, if it can have several: they are detached, and wait for
    /// [`set_attached`]. Else nothing of it is changed. `given` is
    /// [`Tun::given`] of that process, and `seed` that of its [`FlowTable`].
    ///
    /// # Errors
    /// [`TunError`] if these are no queues of an interface of this network namespace.
    pub fn resume(
        mut queues: Vec<OwnedFd>,
        wanted: usize,
        given: Option<Given>,
        seed: Option<[u32; 2]>,
    ) -> Result<Self, TunError> {
        let first = queues.first().ok_or(TunError::Queues(0))?;
        let name = interface_of(first)?;
        let link = Link::named(&name)?;
        let missing = wanted.min(QUEUES_MAX).saturating_sub(queues.len());
        if missing > 0 && has_several_queues(&name)? {
            // A new queue is attached at first, the driver would give packets to it, and they would be lost when it is
            // detached. A program of several queues knows no further one.
            let held = queues.len() == 1 && steering::hold(first).is_ok();
            let more = detached_queues(&name, missing);
            if held {
                // The driver has one to choose again. Whatever becomes of this: there is no other.
                let _ = steering::detach(first);
            }
            queues.append(&mut more?);
        }
        let loaded = (queues.len() > 1).then(|| steering::load(queues.len(), seed)).transpose();
        let (flows, program) = in_parts(loaded);
        Ok(Self { link, queues, offloads: Offloads::NONE, flows, given, program })
    }

    /// What chooses the queues, or will, once this process serves an interface that it has [resumed](Self::resume).
    pub fn take_program(&mut self) -> Option<Program> {
        self.program.take()
    }

    /// What the interface was like before, if this process has not made it: it stays when this process ends.
    #[must_use]
    pub fn given(&self) -> Option<Given> {
        self.given
    }

    /// How many queues there are.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// The handle for what concerns the interface as a whole.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link
    }

    /// Which offloads are in force. Not known of one that was [resumed](Self::resume).
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Maps flow buckets to queues; `None` if the device has one queue.
    ///
    /// # Errors
    /// What the kernel said to the program (`bpf(2)`, `TUNSETSTEERINGEBPF`). The driver then gives packets to the queue
    /// that their answers were written by.
    pub fn flows(&self) -> Result<Option<Arc<FlowTable>>, &io::Error> {
        self.flows.as_ref().map(Clone::clone)
    }

    /// The queues, one for each worker. All are non-blocking.
    #[must_use]
    pub fn into_queues(self) -> Vec<OwnedFd> {
        self.queues
    }
}

/// More queues of an interface, which nobody reads yet.
fn detached_queues(name: &str, count: usize) -> Result<Vec<OwnedFd>, TunError> {
    let queues = more_queues(name, count)?;
    let detach = |queue| set_attached(queue, false);
    queues.iter().try_for_each(detach).map_err(|error| TunError::at("detach a queue of the TUN interface", error))?;
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_step_and_remedy() {
        let e = TunError::at("create the TUN interface (TUNSETIFF)", io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(e, TunError::Permission { .. }));
        let text = e.to_string();
        assert!(text.contains("TUNSETIFF") && text.contains("CAP_NET_ADMIN"), "{text}");
        let text = TunError::Taken("wg0".into()).to_string();
        assert!(text.contains("wg0") && text.contains("ip link delete"), "{text}");
        let text = TunError::NoDriver(io::Error::from_raw_os_error(libc::ENOENT)).to_string();
        assert!(text.contains("modprobe tun"), "{text}");
    }
}
