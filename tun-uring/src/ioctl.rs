//! The driver's device, and what its requests and those of interfaces have in common (netdevice(7)).

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(crate) const CLONE_DEVICE: &str = "/dev/net/tun";

/// Queues that the kernel gives one device (`MAX_TAP_QUEUES` in `include/linux/if_tap.h`).
pub const QUEUES_MAX: usize = 256;

pub(crate) fn empty_request() -> libc::ifreq {
    // SAFETY: ifreq is a C structure of integers, arrays and addresses, for which all zeroes are a value.
    unsafe { mem::zeroed() }
}

/// The name in a request that the kernel has filled in.
pub(crate) fn name_in(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.map(|c| c as u8);
    let len = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// A request about the interface `name`, whose length was checked or came from the kernel.
pub(crate) fn request_for(name: &str) -> libc::ifreq {
    let mut request = empty_request();
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// Interface requests go through any socket; a UNIX one exists also where an address family is disabled.
pub(crate) fn any_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_UNIX, libc::SOCK_DGRAM)
}

/// A socket of this family and kind, without a protocol of its own.
fn socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd: RawFd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    checked(fd)?;
    // SAFETY: the descriptor was just opened, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn checked(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
