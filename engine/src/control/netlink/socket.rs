//! The netlink sockets for addresses, routes and rules, and what they have in common with those for our interface.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, recvfrom, send, socket,
};

use super::message::{self, Message, RouteAnswer};

/// Netlink datagrams are at most 32 KiB long (`NLMSG_GOODSIZE` and its users in `net/netlink/af_netlink.c`).
const DATAGRAM_LEN_MAX: usize = 32 << 10;
/// How many datagrams are read before the control loop looks at something else.
const DATAGRAMS_PER_READ: usize = 64;

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
        let lost = self.socket.read(|message| changed |= message == Message::Routing)?;
        Ok(changed || lost)
    }
}

impl AsFd for RouteMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }
}

/// Asks the kernel which way packets would take.
#[derive(Debug)]
pub struct RouteQuery {
    socket: NetlinkSocket,
}

impl RouteQuery {
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
        let answer = self.ask(addr, None, link_of(addr, interface), 0)?;
        Ok(matches!(answer, RouteAnswer::Route { is_local: true, .. }))
    }

    /// The interface by which packets of this mark from `source` to `remote` leave; `None` if they cannot. `interface`
    /// is needed for a link-local remote.
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
        match self.ask(remote, Some(source), link_of(remote, interface), mark)? {
            RouteAnswer::Route { interface, .. } => Ok(Some(interface)),
            RouteAnswer::Refused(_) => Ok(None),
        }
    }

    fn ask(&self, destination: IpAddr, source: Option<IpAddr>, interface: u32, mark: u32) -> io::Result<RouteAnswer> {
        let request = message::route_request(destination, source, interface, mark);
        self.socket.ask(&request, message::route_answer)
    }
}

/// The interface, if the address is link-local.
fn link_of(addr: IpAddr, interface: u32) -> u32 {
    match addr {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => interface,
        _ => 0,
    }
}

/// A socket of the network namespace in which it was opened. It keeps that namespace alive, so we open none in any
/// namespace but our own.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    fd: OwnedFd,
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl NetlinkSocket {
    /// In the network namespace of the calling thread.
    pub(super) fn open(groups: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd })
    }

    /// One request, one answer, which `parse` understands.
    pub(super) fn ask<T>(&self, request: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        send(self.fd.as_raw_fd(), request, MsgFlags::MSG_DONTWAIT)?;
        // The kernel has answered before `send` returns.
        let mut answer = vec![0; DATAGRAM_LEN_MAX];
        let len = recv(self.fd.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        parse(&answer[..len]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Sends a request of which nobody reads the answer. The kernel carries it out before this returns.
    pub(super) fn tell(&self, request: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), request, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Gives what is there to `take`. True: the kernel had more to say than the socket could hold.
    pub(super) fn read(&self, mut take: impl FnMut(Message)) -> io::Result<bool> {
        let mut datagram = vec![0; DATAGRAM_LEN_MAX];
        let mut lost = false;
        for _ in 0..DATAGRAMS_PER_READ {
            let (len, sender) = match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut datagram) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => {
                    lost = true;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            // Port 0 is the kernel; other processes have nothing to tell us.
            if sender.is_some_and(|sender| sender.pid() == 0) {
                message::messages(&datagram[..len.min(DATAGRAM_LEN_MAX)]).for_each(&mut take);
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_can_be_asked_for() {
        let query = RouteQuery::open().unwrap();
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let elsewhere: IpAddr = "192.0.2.77".parse().unwrap();
        assert!(query.is_local(home, 0).unwrap());
        assert!(!query.is_local(elsewhere, 0).unwrap());
        assert_eq!(query.interface_towards("127.0.0.2".parse().unwrap(), home, 0, 0).unwrap(), Some(lo));
        assert_eq!(query.interface_towards("127.0.0.2".parse().unwrap(), elsewhere, 0, 0).unwrap(), None);
    }

    #[test]
    fn the_route_monitor_opens_and_does_not_wait() {
        RouteMonitor::open().unwrap().has_changed().unwrap();
    }
}
