//! A TUN interface with several queues (Linux `Documentation/networking/tuntap.rst`, `include/uapi/linux/if_tun.h`).

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use vnet_packets::virtio::VNET_HDR_LEN;

pub use crate::error::TunError;
use crate::given::{has_several_queues, interface_of, more_queues, set_attached};
pub use crate::ioctl::QUEUES_MAX;
use crate::ioctl::{CLONE_DEVICE, checked, request_for};
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
        let spread = || steering::attach(&queues[0], queues.len()).map(Arc::new);
        let flows = (queues.len() > 1).then(spread).transpose();
        Self { link, queues, offloads, flows, given, program: None }
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
        let (flows, program) = match loaded {
            Ok(Some((table, program))) => (Ok(Some(Arc::new(table))), Some(program)),
            Ok(None) => (Ok(None), None),
            Err(error) => (Err(error), None),
        };
        Ok(Self { link, queues, offloads: Offloads::NONE, flows, given, program })
    }

    /// What chooses the queues once this process serves an interface that it has [resumed](Self::resume).
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

/// The kernel's `dev_valid_name`, and no `%`: the kernel would read it as a pattern and choose a name of its own,
/// while the operator's tools look for the one that was given.
pub(crate) fn validate_name(name: &str) -> Result<(), TunError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() >= libc::IFNAMSIZ {
        "it has more than 15 bytes"
    } else if name == "." || name == ".." {
        "it would be a directory"
    } else if name.bytes().any(|b| b == b'/' || b == b':') {
        "it has a slash or a colon"
    } else if name.contains('%') {
        "it has a percent sign"
    } else if name.bytes().any(|b| b.is_ascii_whitespace() || b == 0x0b || b == 0) {
        "it has white space or a zero byte"
    } else {
        return Ok(());
    };
    Err(TunError::Name { name: name.to_owned(), reason })
}

pub(crate) fn open_clone_device() -> Result<OwnedFd, TunError> {
    // std adds O_CLOEXEC.
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(CLONE_DEVICE)
        .map(OwnedFd::from)
        .map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTDIR) => TunError::NoDriver(e),
            Some(libc::EACCES | libc::EPERM) => TunError::DevicePermission(e),
            _ => TunError::at("open /dev/net/tun", e),
        })
}

pub(crate) fn require_features(queue: &OwnedFd) -> Result<(), TunError> {
    let mut features: libc::c_uint = 0;
    // SAFETY: TUNGETFEATURES stores one unsigned int at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETFEATURES, &raw mut features) };
    checked(result).map_err(|e| TunError::at("read the TUN driver's features (TUNGETFEATURES)", e))?;
    for (flag, name) in [
        (libc::IFF_VNET_HDR, "virtio-net headers (IFF_VNET_HDR)"),
        (libc::IFF_MULTI_QUEUE, "multiple queues (IFF_MULTI_QUEUE)"),
    ] {
        if features & flag.cast_unsigned() == 0 {
            return Err(TunError::Missing(name));
        }
    }
    Ok(())
}

/// Makes the device (with `IFF_TUN_EXCL` among the flags), or adds a queue to it (without).
pub(crate) fn attach(queue: &OwnedFd, name: &str, flags: c_int) -> Result<(), TunError> {
    let exclusive = flags & libc::IFF_TUN_EXCL;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags;
    let mut request = request_for(name);
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    checked(result).map_err(|e| match e.raw_os_error() {
        Some(libc::EBUSY) if exclusive != 0 => TunError::Taken(name.to_owned()),
        _ if exclusive != 0 => TunError::at("create the TUN interface (TUNSETIFF)", e),
        _ => TunError::at("add a queue to the TUN interface (TUNSETIFF)", e),
    })
}

/// Makes room for [`VNET_HDR_LEN`] bytes before each packet, in little-endian order on every machine.
pub(crate) fn set_header(queue: &OwnedFd) -> Result<(), TunError> {
    let len = VNET_HDR_LEN as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    checked(result).map_err(|e| TunError::at("set the virtio-net header's size (TUNSETVNETHDRSZ)", e))?;
    let yes: c_int = 1;
    // SAFETY: TUNSETVNETLE reads one int at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETLE, &raw const yes) };
    checked(result).map_err(|e| TunError::at("set the virtio-net header's byte order (TUNSETVNETLE)", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_refuse_or_change() {
        for name in
            ["", ".", "..", "a/b", "a:1", "wg 0", "wg\t0", "wg\n", "wg\u{b}0", "wg\0", "wg%d", "sixteen-bytes-ab"]
        {
            assert!(matches!(validate_name(name), Err(TunError::Name { .. })), "{name:?}");
        }
        for name in ["w", "wg0", "fifteen-bytes-a", "...", "wg_é"] {
            validate_name(name).unwrap_or_else(|e| panic!("{e}"));
        }
    }

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
