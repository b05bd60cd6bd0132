//! Which way packets take.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::message::route;
use crate::socket::NetlinkSocket;

/// `RTMGRP_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`, and the bit of
/// `RTNLGRP_IPV6_RULE`.
const ROUTE_GROUPS: u32 = 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << (19 - 1));

/// Watches whatever may make a source address that was good the wrong one.
#[derive(Debug)]
pub struct RouteMonitor {
    socket: NetlinkSocket,
}

impl RouteMonitor {
    /// Watches the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: NetlinkSocket::open(ROUTE_GROUPS)? })
    }

    /// Whether anything has changed since the last call, or may have. Never waits.
    ///
    /// # Errors
    /// The system's.
    pub fn has_changed(&self) -> io::Result<bool> {
        let mut changed = false;
        let lost = self.socket.read(|message| changed |= route::is_change(message))?;
        Ok(changed || lost)
    }
}

impl AsFd for RouteMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks the kernel which way packets would take, and adds routes.
#[derive(Debug)]
pub struct RouteSocket {
    socket: NetlinkSocket,
}

impl RouteSocket {
    /// Asks in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: NetlinkSocket::open(0)? })
    }

    /// Whether this is an address of the machine. `interface` is needed for a link-local one.
    ///
    /// # Errors
    /// The system's, if it could not be asked.
    pub fn is_local(&self, addr: IpAddr, interface: u32) -> io::Result<bool> {
        let request = route::get(addr, None, interface_for(addr, interface), 0);
        Ok(self.socket.ask(&request, route::answer)?.is_ok_and(|route| route.is_local))
    }

    /// The interface through which packets of this mark from `source` to `remote` leave; `None` if they cannot.
    /// `interface` is needed for a link-local remote.
    ///
    /// # Errors
    /// The system's, if it could not be asked.
    pub fn interface_towards(
        &self,
        remote: IpAddr,
        source: IpAddr,
        interface: u32,
        mark: u32,
    ) -> io::Result<Option<u32>> {
        let request = route::get(remote, Some(source), interface_for(remote, interface), mark);
        Ok(self.socket.ask(&request, route::answer)?.ok().map(|route| route.interface))
    }

    /// Adds a route to a network, given by an address and the length of its prefix in bits, through an interface.
    ///
    /// # Errors
    /// The system's, `EEXIST` if there is one.
    pub fn add(&self, network: (IpAddr, u8), interface: u32) -> io::Result<()> {
        self.socket.request(&route::add(network, interface))
    }
}

/// The interface, if the address is link-local.
fn interface_for(addr: IpAddr, interface: u32) -> u32 {
    match addr {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => interface,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_can_be_asked_for() {
        let socket = RouteSocket::open().unwrap();
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let elsewhere: IpAddr = "192.0.2.77".parse().unwrap();
        assert!(socket.is_local(home, 0).unwrap());
        assert!(!socket.is_local(elsewhere, 0).unwrap());
        assert_eq!(socket.interface_towards("127.0.0.2".parse().unwrap(), home, 0, 0).unwrap(), Some(lo));
        assert_eq!(socket.interface_towards("127.0.0.2".parse().unwrap(), elsewhere, 0, 0).unwrap(), None);
    }

    #[test]
    fn the_route_monitor_opens_and_does_not_wait() {
        RouteMonitor::open().unwrap().has_changed().unwrap();
    }
}
