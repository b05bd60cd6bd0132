//! What the TUN driver is asked of an interface and of its queues, whoever made them (`drivers/net/tun.c`).

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use route_netlink::{LinkKind, LinkSocket, TunInfo};
use vnet_packets::virtio::VNET_HDR_LEN;

use crate::error::{TunError, Unusable};
use crate::ioctl::{CLONE_DEVICE, checked, empty_request, name_in, request_for};
use crate::queue;

/// The name of the interface of which `queue` is a queue.
///
/// # Errors
/// [`TunError::Unusable`] if it is none.
pub fn interface_of(queue: &OwnedFd) -> Result<String, TunError> {
    let request = queue::interface(queue.as_fd()).map_err(|error| match error.raw_os_error() {
        Some(libc::EBADFD) => unusable("", Unusable::Unattached),
        _ => unusable("", Unusable::NotTun),
    })?;
    let name = name_in(&request);
    // SAFETY: TUNGETIFF has just stored the flags in this member; any bits are a short in any case.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    if c_int::from(flags) & libc::IFF_DETACH_QUEUE != 0 {
        return Err(unusable(&name, Unusable::Detached));
    }
    Ok(name)
}

/// Whether the interface `name` is one of the TUN driver's that goes with its last queue, or has gone already.
///
/// # Errors
/// [`TunError`] if the kernel does not say.
pub fn goes_with_its_queues(name: &str) -> Result<bool, TunError> {
    Ok(info_of(name)?.is_none_or(|info| !info.persistent))
}

/// Has the driver give packets to this queue, or not. What waits in one that is detached is lost.
///
/// # Errors
/// The system's: it is so already.
pub fn set_attached(queue: &impl AsFd, attached: bool) -> io::Result<()> {
    let flags = if attached { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
    let mut request = empty_request();
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETQUEUE reads one ifreq at the address, which is that of a live one.
    checked(unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), libc::TUNSETQUEUE, &raw const request) })
}

/// Whether the interface `name` can have more than one queue.
pub(crate) fn has_several_queues(name: &str) -> Result<bool, TunError> {
    Ok(info_of(name)?.is_some_and(|info| info.multi_queue))
}

pub(crate) fn more_queues(name: &str, count: usize) -> Result<Vec<OwnedFd>, TunError> {
    let one_more = |_| {
        let queue = open_clone_device()?;
        attach(&queue, name, libc::IFF_MULTI_QUEUE)?;
        Ok(queue)
    };
    (0..count).map(one_more).collect()
}

/// What the TUN driver says of the interface of this name; `None` if it is none of its own.
pub(crate) fn info_of(name: &str) -> Result<Option<TunInfo>, TunError> {
    let kind = LinkSocket::open().and_then(|socket| socket.kind(name));
    match kind.map_err(|error| TunError::at("ask what the interface is (netlink)", error))? {
        Some(LinkKind::Tun(info)) => Ok(Some(info)),
        Some(LinkKind::Other) | None => Ok(None),
    }
}

pub(crate) fn unusable(name: &str, why: Unusable) -> TunError {
    TunError::Unusable { name: name.to_owned(), why }
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
}
