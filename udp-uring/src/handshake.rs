//! Sending one datagram at once, for the control thread, which has no ring.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use udp_endpoint::Endpoint;

use crate::cmsg::SendControl;
use crate::sockaddr::{SOCKADDR_LEN_MAX, empty_msghdr, write_sockaddr};
use crate::socket::SocketPair;

/// How a datagram left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a source that no longer works is to be forgotten"]
pub enum SentBy {
    /// As the endpoint says.
    Endpoint,
    /// The endpoint's source was refused, and it left from the one that the route has: forget the endpoint's.
    RouteSource,
}

/// Whether a send error may come from the source that was asked for: its address was removed, or its route has gone.
#[must_use]
pub fn may_blame_source(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EINVAL | Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENXIO
    )
}

/// Sends `datagram` on `endpoint` through the pair's socket of the remote's family, without waiting.
///
/// `traffic_class` is the whole byte of the outer header: ECN in its two low bits, DSCP above.
///
/// If the source may be the reason of a failure, it is tried once more without it.
///
/// # Errors
/// The system's error; `EAFNOSUPPORT` if there is no socket of that family; `EAGAIN` if the send buffer is full.
pub fn send_handshake(
    pair: &SocketPair,
    endpoint: &Endpoint,
    datagram: &[u8],
    traffic_class: u8,
) -> Result<SentBy, Errno> {
    let socket = pair.towards(&endpoint.remote).ok_or(Errno::EAFNOSUPPORT)?;
    match send_once(socket, endpoint, datagram, traffic_class) {
        Ok(()) => Ok(SentBy::Endpoint),
        Err(errno) if endpoint.usable_source().is_some() && may_blame_source(errno) => {
            send_once(socket, &Endpoint::new(endpoint.remote), datagram, traffic_class)?;
            Ok(SentBy::RouteSource)
        }
        Err(errno) => Err(errno),
    }
}

fn send_once(socket: BorrowedFd<'_>, endpoint: &Endpoint, datagram: &[u8], traffic_class: u8) -> Result<(), Errno> {
    let mut name = [0; SOCKADDR_LEN_MAX];
    let name_len = write_sockaddr(&endpoint.remote, &mut name);
    let mut control = SendControl::default();
    control.fill(endpoint, traffic_class, None);
    let control = control.as_bytes();
    let mut iov = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    let mut msg = empty_msghdr();
    msg.msg_name = name.as_mut_ptr().cast();
    msg.msg_namelen = name_len as libc::socklen_t;
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    if !control.is_empty() {
        msg.msg_control = control.as_ptr().cast_mut().cast();
        // Of another type in musl.
        msg.msg_controllen = control.len() as _;
    }
    // SAFETY: every pointer in `msg` is to a local that outlives the call, with its true length; sendmsg only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const msg, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    Errno::result(sent).map(drop)
}
