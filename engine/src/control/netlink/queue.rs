//! What a queue of a TUN interface knows of the interface. A queue belongs to us wherever the interface is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SIOCGSKNS` of `include/uapi/linux/sockios.h`.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The interface's present name; `None` if it is gone.
///
/// # Errors
/// The system's.
pub fn interface_name(queue: BorrowedFd<'_>) -> io::Result<Option<String>> {
    // SAFETY: ifreq is a C structure of integers, arrays and addresses, for which all zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF stores one ifreq at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EBADFD) { Ok(None) } else { Err(error) };
    }
    let bytes = request.ifr_name.map(|byte| byte as u8);
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    Ok(Some(String::from_utf8_lossy(&bytes[..len]).into_owned()))
}

/// The network namespace that the interface is in, unless that is the namespace of `socket`. The descriptor keeps it
/// alive for as long as it is open.
///
/// # Errors
/// The system's, `EPERM` where `CAP_NET_ADMIN` does not reach.
pub fn namespace(queue: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let there = opened(queue, libc::TUNGETDEVNETNS)?;
    let here = opened(socket, SIOCGSKNS)?;
    let identity = |fd: &OwnedFd| nix::sys::stat::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    Ok((identity(&there)? != identity(&here)?).then_some(there))
}

/// The descriptor that a request without argument returns.
fn opened(fd: BorrowedFd<'_>, code: libc::Ioctl) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS and SIOCGSKNS take no argument, and return a new descriptor or -1.
    let fd = unsafe { libc::ioctl(fd.as_raw_fd(), code) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened by the call above, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
