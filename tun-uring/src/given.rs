//! An interface that somebody else has made, by its name (`ip tuntap add`) or as a descriptor of one of its queues.
//!
//! `TUNSETIFF` gives a queue of an interface that exists, but its flags only if nobody else has a queue of it. So what
//! the interface is really like is asked before it is touched and after (netlink, `TUNGETIFF`, `TUNGETVNETHDRSZ`), and
//! what cannot be used is refused. The interface stays when we end, with the settings that it had before, as far as the
//! kernel tells them.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use route_netlink::TunInfo;

use crate::device::{MTU_DEFAULT, Tun};
use crate::driver::{
    attach, info_of, interface_of, more_queues, open_clone_device, require_features, set_header, unusable,
    validate_name,
};
use crate::error::{TunError, Unusable};
use crate::ioctl::{QUEUES_MAX, checked};
use crate::link::Link;
use crate::offloads::{Offloads, negotiate};
use crate::queue;
use crate::settings::{Given, OURS, get_int};

/// The MTU of an interface for which nobody has chosen one (`ETH_DATA_LEN`).
const MTU_OF_DRIVER: u32 = 1500;

impl Tun {
    /// Takes over the interface `name` of the calling thread's network namespace, which somebody else has made to stay
    /// (`ip tuntap add`). Of the wanted number of queues it gives one if it has a single one. The MTU is left as it is:
    /// see [`Link::replace_driver_mtu`].
    ///
    /// # Errors
    /// [`TunError::Taken`] if it is no TUN interface, [`TunError::InUse`] if another program has a queue of it,
    /// [`TunError::Unusable`] for what does not suit us; then the interface is as it was.
    pub fn take(name: &str, queues: usize, wanted: Offloads) -> Result<Self, TunError> {
        validate_name(name)?;
        let Some(info) = info_of(name)? else { return Err(TunError::Taken(name.to_owned())) };
        if info.is_tap {
            return Err(unusable(name, Unusable::Tap));
        }
        // One that does not stay is there because somebody has a queue of it.
        if !info.persistent || info.queues > 0 {
            return Err(TunError::InUse(name.to_owned()));
        }
        let first = open_clone_device()?;
        require_features(&first)?;
        attach(&first, name, multi_queue(info)).map_err(|error| match error {
            TunError::Step { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => {
                TunError::InUse(name.to_owned())
            }
            error => error,
        })?;
        set_up(first, name, queues, wanted)
    }

    /// Takes over the interface of which `queue` is the only queue, in the calling thread's network namespace. As
    /// [`Tun::take`].
    ///
    /// # Errors
    /// As [`Tun::take`].
    pub fn adopt(queue: OwnedFd, queues: usize, wanted: Offloads) -> Result<Self, TunError> {
        let name = interface_of(&queue)?;
        if !queue::is_here(queue.as_fd()).map_err(|error| TunError::at("look where the TUN interface is", error))? {
            return Err(unusable(&name, Unusable::Elsewhere));
        }
        set_nonblocking(&queue).map_err(|error| TunError::at("set O_NONBLOCK on the TUN descriptor", error))?;
        set_up(queue, &name, queues, wanted)
    }
}

/// Makes the interface what we need, with `first` as its only queue so far.
fn set_up(first: OwnedFd, name: &str, queues: usize, wanted: Offloads) -> Result<Tun, TunError> {
    // Also after our own TUNSETIFF: it leaves the flags alone if somebody else came first.
    let Some(info) = info_of(name)? else { return Err(unusable(name, Unusable::NotTun)) };
    check(info).map_err(|why| unusable(name, why))?;
    if info.queues > 1 {
        return Err(TunError::InUse(name.to_owned()));
    }
    let given = Given::read(&first)?;
    let restored = |error| {
        given.restore(&first);
        error
    };
    set_header(&first).map_err(restored)?;
    let offloads = negotiate(&first, wanted).map_err(restored)?;
    let header_len = get_int(&first, libc::TUNGETVNETHDRSZ);
    match header_len.map_err(|error| TunError::at("read the virtio-net header's size (TUNGETVNETHDRSZ)", error)) {
        Ok(OURS) => {}
        Ok(len) => return Err(restored(unusable(name, Unusable::HeaderLen(len)))),
        Err(error) => return Err(restored(error)),
    }
    let wanted_queues = if info.multi_queue { queues.min(QUEUES_MAX) } else { 1 };
    let others = more_queues(name, wanted_queues - 1).map_err(restored)?;
    let link = Link::named(name).map_err(restored)?;
    let all: Vec<_> = std::iter::once(first).chain(others).collect();
    Ok(Tun::with_queues(link, all, offloads, Some(given)))
}

impl Link {
    /// Sets the MTU to [`MTU_DEFAULT`] on an interface for which nobody has chosen one. It stays:
    /// [`Given::restore`] could not tell it from one that was chosen since.
    ///
    /// # Errors
    /// [`TunError::Step`] if the interface is gone.
    pub fn replace_driver_mtu(self) -> Result<(), TunError> {
        if self.mtu()? == MTU_OF_DRIVER { self.set_mtu(MTU_DEFAULT) } else { Ok(()) }
    }
}

fn multi_queue(info: TunInfo) -> c_int {
    if info.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 }
}

/// Whether packets look as we need them.
fn check(info: TunInfo) -> Result<(), Unusable> {
    match info {
        TunInfo { is_tap: true, .. } => Err(Unusable::Tap),
        TunInfo { packet_information: true, .. } => Err(Unusable::PacketInformation),
        TunInfo { header: false, .. } => Err(Unusable::NoHeader),
        _ => Ok(()),
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    checked(flags)?;
    // SAFETY: F_SETFL takes its flags by value.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_our_header_and_nothing_else_is_taken() {
        let good = TunInfo { header: true, persistent: true, multi_queue: true, ..TunInfo::default() };
        assert_eq!(check(good), Ok(()));
        assert_eq!(check(TunInfo { packet_information: true, ..good }), Err(Unusable::PacketInformation));
        assert_eq!(check(TunInfo { header: false, ..good }), Err(Unusable::NoHeader));
        assert_eq!(check(TunInfo { is_tap: true, ..good }), Err(Unusable::Tap));
    }
}
