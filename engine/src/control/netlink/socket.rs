//! The netlink sockets: one for our interface, one for addresses, routes and rules.
//!
//! They are two because they may come to live in two network namespaces: an interface can be moved to another one while
//! the UDP sockets, and the routes that they take, stay where the daemon was started.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, recvfrom, send, socket,
};

use super::message::{self, LinkState, Message, RouteAnswer};

/// Netlink datagrams are at most 32 KiB long (`NLMSG_GOODSIZE` and its users in `net/netlink/af_netlink.c`).
const DATAGRAM_LEN_MAX: usize = 32 << 10;
/// How many datagrams are read before the control loop looks at something else.
const DATAGRAMS_PER_READ: usize = 64;

/// `RTMGRP_LINK`.
const LINK_GROUPS: u32 = 0x1;
/// `RTMGRP_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`, and the bit of `RTNLGRP_IPV6_RULE`.
const ROUTE_GROUPS: u32 = 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << (19 - 1));

/// What happened to our interface since the last look. The last state counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// It is there, in this state.
    pub link: Option<LinkState>,
    /// It is no longer in this network namespace.
    pub gone: bool,
}

/// Watches one interface.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: NetlinkSocket,
    index: u32,
}

impl LinkMonitor {
    /// Watches the interface with this index in the network namespace of the calling thread. Its present state is among
    /// the first changes.
    ///
    /// # Errors
    /// The system's.
    pub fn open(index: u32) -> io::Result<Self> {
        let monitor = Self { socket: NetlinkSocket::open(LINK_GROUPS)?, index };
        monitor.request_state()?;
        Ok(monitor)
    }

    /// What has changed since the last call. Never waits.
    ///
    /// # Errors
    /// The system's. Changes that were lost because there were too many are no error: the state is asked for again.
    pub fn changes(&self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let lost = self.socket.read(|message| match message {
            Message::Link { index, state } if index == self.index => {
                let mtu = state.mtu.or(changes.link.and_then(|link| link.mtu));
                changes = Changes { link: Some(LinkState { mtu, ..state }), gone: false };
            }
            Message::LinkGone { index } if index == self.index => changes = Changes { link: None, gone: true },
            _ => {}
        })?;
        if lost {
            self.request_state()?;
        }
        Ok(changes)
    }

    /// Deletes the interface. It is gone when this returns, if the kernel lets us.
    ///
    /// # Errors
    /// The system's, if the kernel does not get to know of it.
    pub fn delete(&self) -> io::Result<()> {
        self.request(libc::RTM_DELLINK)
    }

    fn request_state(&self) -> io::Result<()> {
        self.request(libc::RTM_GETLINK)
    }

    /// The kernel carries a request out before `send` returns.
    fn request(&self, kind: u16) -> io::Result<()> {
        send(self.socket.fd.as_raw_fd(), &message::link_request(kind, self.index), MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }
}

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

    /// The interface by which packets of this mark from `source` to `remote` leave; `None` if they cannot. `interface` is
    /// needed for a link-local remote.
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
        let fd = self.socket.fd.as_raw_fd();
        send(fd, &message::route_request(destination, source, interface, mark), MsgFlags::MSG_DONTWAIT)?;
        // The kernel has answered before `send` returns.
        let mut answer = [0; 4096];
        let len = recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)?;
        message::route_answer(&answer[..len]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// The interface, if the address is link-local.
fn link_of(addr: IpAddr, interface: u32) -> u32 {
    match addr {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => interface,
        _ => 0,
    }
}

#[derive(Debug)]
struct NetlinkSocket {
    fd: OwnedFd,
}

impl NetlinkSocket {
    fn open(groups: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd })
    }

    /// Gives what is there to `take`. True: the kernel had more to say than the socket could hold.
    fn read(&self, mut take: impl FnMut(Message)) -> io::Result<bool> {
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
    fn the_state_of_an_interface_is_known_from_the_start() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        let monitor = LinkMonitor::open(index).unwrap();
        let changes = monitor.changes().unwrap();
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(changes.link.unwrap().mtu, Some(mtu.trim().parse().unwrap()));
        assert!(!changes.gone);
        assert_eq!(monitor.changes().unwrap(), Changes::default());
    }

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
