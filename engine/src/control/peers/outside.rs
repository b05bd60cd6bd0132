//! What the system says of the way to an endpoint. It is asked by connecting a UDP socket, which sends nothing.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{BindToDevice, IpMtu, Mark};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket,
};
use ringfort_core::diagnosis::Outside;
use ringfort_core::ids::{Endpoint, LocalAddr};
use udp_uring::Bind;

use super::super::sockets::Sockets;

/// What can be known of the way to `endpoint` now. `mtu` is that of the interface. Names are somebody else's business.
pub fn look(sockets: &Sockets, mtu: u32, is_deaf: bool, endpoint: Option<Endpoint>) -> Outside {
    // Of an interface that is down nobody wants the port.
    let is_listening = sockets.are_open() || sockets.failure().is_none();
    let route = endpoint.and_then(|endpoint| route(endpoint, sockets.bind(), sockets.fwmark()));
    Outside { is_listening, interface_mtu: mtu, route, is_deaf, unresolved: None }
}

/// The largest packet that the route takes, or why there is none. `None`: it cannot be asked. The kernel chooses by the
/// mark, by the device and by the address that we send from, so all of them are as they are when a datagram leaves.
fn route(endpoint: Endpoint, bound: Bind, fwmark: u32) -> Option<Result<u32, i32>> {
    let Endpoint { remote, source } = endpoint;
    let address = if remote.is_ipv4() { bound.v4().map(IpAddr::V4) } else { bound.v6().map(IpAddr::V6) }?;
    let family = if remote.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, None).ok()?;
    if fwmark != 0 {
        setsockopt(&socket, Mark, &fwmark).ok()?;
    }
    if let Bind::Device(device) = bound {
        setsockopt(&socket, BindToDevice, &device.as_str().into()).ok()?;
    }
    if let Some(from) = from(address, source) {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).ok()?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(remote)) {
        Ok(()) => mtu(&socket, remote).ok().map(Ok),
        Err(errno @ (Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::EINVAL)) => {
            Some(Err(errno as i32))
        }
        Err(_) => None,
    }
}

/// Where datagrams leave from, if that is not the kernel's choice. `address`: what the sockets are bound to.
fn from(address: IpAddr, source: Option<LocalAddr>) -> Option<SocketAddr> {
    match (source, address) {
        (Some(LocalAddr { addr: IpAddr::V6(addr), ifindex }), _) if addr.is_unicast_link_local() => {
            Some(SocketAddrV6::new(addr, 0, 0, ifindex).into())
        }
        (Some(LocalAddr { addr, .. }), _) => Some(SocketAddr::new(addr, 0)),
        (None, address) => (!address.is_unspecified()).then_some(SocketAddr::new(address, 0)),
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
            let remotes = ["192.0.2.1:51820", "[2001:db8::1]:51820"];
            let [v4, v6] = remotes.map(|text| Endpoint::new(text.parse().unwrap()));
            let any = |endpoint, fwmark| route(endpoint, Bind::Any, fwmark);
            assert_eq!(any(v4, 0), Some(Err(libc::ENETUNREACH)));
            ip("link add probe type veth peer name far");
            ip("link set far up");
            ip("link set probe mtu 1380 up");
            ip("addr add 192.0.2.7/24 dev probe");
            ip("addr add 2001:db8::7/64 dev probe nodad");
            assert_eq!(any(v4, 0), Some(Ok(1380)));
            assert_eq!(any(v6, 0), Some(Ok(1380)));
            ip("rule add fwmark 7 unreachable");
            assert_eq!(any(v4, 7), Some(Err(libc::ENETUNREACH)), "another mark is another route");
        });
    }

    /// Routes that only those have who are bound as our sockets are.
    #[test]
    fn the_route_is_that_of_our_sockets() {
        in_namespace(|| {
            let bound = |text: &str| text.parse::<Bind>().unwrap();
            let remote = Endpoint::new("203.0.113.1:51820".parse().unwrap());
            let with_source = |addr: &str| {
                let source = Some(LocalAddr { addr: addr.parse().unwrap(), ifindex: 0 });
                Endpoint { source, ..remote }
            };
            assert_eq!(route(remote, bound("probe"), 0), None, "there is no such device");
            ip("link add probe type veth peer name far");
            ip("link set far up");
            ip("link set probe mtu 1380 up");
            ip("addr add 192.0.2.7/24 dev probe");
            ip("addr add 198.51.100.7/32 dev probe");
            ip("route add default via 192.0.2.1 table 200 mtu lock 1300");
            assert_eq!(route(remote, bound("probe"), 0), Some(Ok(1380)), "without a route it is taken for on link");
            ip("rule add oif probe lookup 200");
            assert_eq!(route(remote, bound("probe"), 0), Some(Ok(1300)));
            assert_eq!(route(remote, bound("198.51.100.7"), 0), Some(Err(libc::ENETUNREACH)));
            assert_eq!(route(with_source("198.51.100.7"), Bind::Any, 0), Some(Err(libc::ENETUNREACH)));
            ip("rule add from 198.51.100.7 lookup 200");
            assert_eq!(route(remote, bound("198.51.100.7"), 0), Some(Ok(1300)));
            assert_eq!(route(with_source("198.51.100.7"), Bind::Any, 0), Some(Ok(1300)));
            assert_eq!(route(remote, Bind::Any, 0), Some(Err(libc::ENETUNREACH)));
            for (endpoint, bind) in [
                (remote, bound("2001:db8::7")),
                (remote, bound("198.51.100.8")),
                (with_source("198.51.100.8"), Bind::Any),
            ] {
                assert_eq!(route(endpoint, bind, 0), None, "that is not ours: {endpoint:?}, {bind}");
            }
        });
    }
}
