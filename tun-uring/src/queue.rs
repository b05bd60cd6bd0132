//! What a queue of a TUN interface knows of the interface. A queue belongs to its opener wherever the interface is.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use crate::ioctl::{any_socket, checked, empty_request, name_in};

/// `SIOCGSKNS` of `include/uapi/linux/sockios.h`.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The present name of the interface of which `queue` is a queue; `None` if the interface is gone.
///
/// # Errors
/// The system's.
pub fn interface_name(queue: BorrowedFd<'_>) -> io::Result<Option<String>> {
    match interface(queue) {
        Ok(request) => Ok(Some(name_in(&request))),
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The network namespace that the interface of `queue` is in, unless that is the namespace of `socket`. The descriptor
/// keeps it alive for as long as it is open.
///
/// # Errors
/// The system's, `EPERM` where `CAP_NET_ADMIN` does not reach.
pub fn namespace(queue: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let there = opened(queue, libc::TUNGETDEVNETNS)?;
    let here = opened(socket, SIOCGSKNS)?;
    Ok((identity(&there)? != identity(&here)?).then_some(there.into()))
}

/// Whether the interface is in the network namespace of the calling thread.
pub(crate) fn is_here(queue: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(namespace(queue, any_socket()?.as_fd())?.is_none())
}

/// The name and the flags (`TUNGETIFF`).
pub(crate) fn interface(queue: BorrowedFd<'_>) -> io::Result<libc::ifreq> {
    let mut request = empty_request();
    // SAFETY: TUNGETIFF stores one ifreq at the address, which is that of a live one.
    checked(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    Ok(request)
}

/// The descriptor that a request without argument returns.
fn opened(fd: BorrowedFd<'_>, code: libc::Ioctl) -> io::Result<File> {
    // SAFETY: TUNGETDEVNETNS and SIOCGSKNS take no argument, and return a new descriptor or -1.
    let fd = unsafe { libc::ioctl(fd.as_raw_fd(), code) };
    checked(fd)?;
    // SAFETY: the descriptor was just opened by the call above, and nobody else has it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn identity(namespace: &File) -> io::Result<(u64, u64)> {
    let metadata = namespace.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
