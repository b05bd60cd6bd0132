//! An interface that was moved to another network namespace keeps working: its queues belong to us wherever it is. It is
//! found through one of them, and watched where it is now.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sched::{CloneFlags, setns};

use super::LinkMonitor;

/// `TUNGETDEVNETNS` of `include/uapi/linux/if_tun.h`: `_IO('T', 227)`. Since Linux 5.2.
const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;

/// Where an interface is.
#[derive(Debug)]
pub enum Whereabouts {
    /// It was deleted.
    Deleted,
    /// It is in a network namespace, in which the monitor watches it.
    Watched(LinkMonitor),
}

/// Looks for the interface that `queue` belongs to, and watches it where it is.
///
/// # Errors
/// The system's: most likely `EPERM`, since to look into another network namespace takes `CAP_SYS_ADMIN`. The calling
/// thread is then where it was.
pub fn find(queue: BorrowedFd<'_>) -> io::Result<Whereabouts> {
    let Some(name) = interface_name(queue)? else { return Ok(Whereabouts::Deleted) };
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a new descriptor or -1.
    let namespace = unsafe { libc::ioctl(queue.as_raw_fd(), TUNGETDEVNETNS) };
    if namespace < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened by the call above, and nobody else has it.
    let namespace = unsafe { OwnedFd::from_raw_fd(namespace) };
    let home = File::open("/proc/thread-self/ns/net")?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    let monitor = nix::net::if_::if_nametoindex(name.as_str()).map_err(io::Error::from).and_then(LinkMonitor::open);
    // To be lost in another namespace would be worse than to end: whoever is responsible for it took our own away.
    setns(&home, CloneFlags::CLONE_NEWNET).expect("a thread may return to the namespace that it holds open");
    monitor.map(Whereabouts::Watched)
}

/// The interface's present name; `None` if it is gone.
fn interface_name(queue: BorrowedFd<'_>) -> io::Result<Option<String>> {
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
