//! What the system says of the way to an endpoint. It is asked by connecting a UDP socket, which sends nothing.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{IpMtu, Mark};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, setsockopt, socket};
use ringfort_core::diagnosis::Outside;

use super::super::sockets::Sockets;

/// What can be known of the way to `remote` now. `mtu` is that of the interface. Names are somebody else's business.
pub fn look(sockets: &Sockets, mtu: u32, is_deaf: bool, remote: Option<SocketAddr>) -> Outside {
    // Of an interface that is down nobody wants the port.
    let is_listening = sockets.are_open() || sockets.failure().is_none();
    let route = remote.and_then(|remote| route(remote, sockets.fwmark()));
    Outside { is_listening, interface_mtu: mtu, route, is_deaf, unresolved: None }
}

/// The largest packet that the route takes, or why there is none. `None`: it cannot be asked.
fn route(remote: SocketAddr, fwmark: u32) -> Option<Result<u32, i32>> {
    let family = if remote.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, None).ok()?;
    if fwmark != 0 {
        setsockopt(&socket, Mark, &fwmark).ok()?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(remote)) {
        Ok(()) => mtu(&socket, remote).ok().map(Ok),
        Err(errno @ (Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::EINVAL)) => {
            Some(Err(errno as i32))
        }
        Err(_) => None,
    }
}

fn mtu(socket: &OwnedFd, remote: SocketAddr) -> nix::Result<u32> {
    if remote.is_ipv4() {
        return u32::try_from(getsockopt(socket, IpMtu)?).map_err(|_| Errno::ERANGE);
    }
    // nix has the option of IPv4 alone.
    let (mut mtu, mut len) = (0_u32, size_of::<u32>() as libc::socklen_t);
    let (level, option) = (libc::IPPROTO_IPV6, libc::IPV6_MTU);
    // SAFETY: the kernel writes at most `len` bytes to `mtu`, which has that size, and the length to `len`.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut len) };
    Errno::result(result).map(|_| mtu)
}

#[cfg(test)]
mod tests {
    use ringfort_testbed::scratch::{in_namespace, ip};

    use super::*;

    #[test]
    fn a_route_has_an_mtu_or_there_is_none() {
        in_namespace(|| {
            let [v4, v6] = ["192.0.2.1:51820", "[2001:db8::1]:51820"].map(|text| text.parse().unwrap());
            assert_eq!(route(v4, 0), Some(Err(libc::ENETUNREACH)));
            ip("link add probe type veth peer name far");
            ip("link set far up");
            ip("link set probe mtu 1380 up");
            ip("addr add 192.0.2.7/24 dev probe");
            ip("addr add 2001:db8::7/64 dev probe nodad");
            assert_eq!(route(v4, 0), Some(Ok(1380)));
            assert_eq!(route(v6, 0), Some(Ok(1380)));
            ip("rule add fwmark 7 unreachable");
            assert_eq!(route(v4, 7), Some(Err(libc::ENETUNREACH)), "another mark is another route");
        });
    }
}
