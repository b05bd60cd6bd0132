//! Interfaces, also those in other network namespaces.
//!
//! A socket in the namespace of an interface would tell all about it, and keep it alive: the namespace, and all
//! interfaces in it, would outlive the container that they belong to. So the sockets stay at home. There the kernel
//! knows another namespace by an id, which keeps nothing alive. Requests name it (`IFLA_TARGET_NETNSID`), and a socket
//! that asks for it (`NETLINK_LISTEN_ALL_NSID`) hears from every namespace that has an id.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::setsockopt;

use crate::message::link::{self, Link, LinkKind, LinkState, News, Place};
use crate::message::namespace;
use crate::socket::NetlinkSocket;

/// `RTMGRP_LINK`.
const LINK_GROUPS: u32 = 0x1;
/// `NETLINK_LISTEN_ALL_NSID` of `include/uapi/linux/netlink.h`.
const NETLINK_LISTEN_ALL_NSID: libc::c_int = 8;

/// The option [`NETLINK_LISTEN_ALL_NSID`].
#[derive(Clone, Copy, Debug)]
struct ListenEverywhere;

nix::setsockopt_impl!(
    ListenEverywhere,
    libc::SOL_NETLINK,
    NETLINK_LISTEN_ALL_NSID,
    bool,
    nix::sys::socket::sockopt::SetBool
);

/// What was said of an interface index. It may be of an interface with the same index in another namespace, so this is
/// a reason to ask, not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// Nothing.
    None,
    /// Its state may have changed.
    Changed,
    /// It may have left its namespace.
    Left,
}

/// Hears when to look at an interface.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: NetlinkSocket,
}

impl LinkMonitor {
    /// Listens in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: NetlinkSocket::open(LINK_GROUPS)? })
    }

    /// Whether to hear of interfaces in other namespaces as well.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_BROADCAST`.
    pub fn listen_everywhere(&self, yes: bool) -> io::Result<()> {
        Ok(setsockopt(&self.socket, ListenEverywhere, &yes)?)
    }

    /// What was said of this index since the last call. Never waits.
    ///
    /// # Errors
    /// The system's. Messages that were lost because there were too many are no error: it may all have happened.
    pub fn news(&self, index: u32) -> io::Result<LinkNews> {
        let mut news = LinkNews::None;
        let lost = self.socket.read(|message| match link::news(message) {
            Some(News::Gone { index: gone }) if gone == index => news = LinkNews::Left,
            Some(News::Changed { index: changed }) if changed == index && news == LinkNews::None => {
                news = LinkNews::Changed;
            }
            _ => {}
        })?;
        Ok(if lost { LinkNews::Left } else { news })
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks about interfaces, sets them up and deletes them.
#[derive(Debug)]
pub struct LinkSocket {
    socket: NetlinkSocket,
}

impl LinkSocket {
    /// Asks in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: NetlinkSocket::open(0)? })
    }

    /// The present state of an interface; `None` if it is not there, or its namespace is gone.
    ///
    /// # Errors
    /// The system's, `EPERM` where `CAP_NET_ADMIN` does not reach.
    pub fn state(&self, place: Place, index: u32) -> io::Result<Option<LinkState>> {
        Ok(self.ask(&link::get(place, index))?.map(|link| link.state))
    }

    /// The index and the state of the interface of this name; `None` as above.
    ///
    /// # Errors
    /// As above.
    pub fn find(&self, place: Place, name: &str) -> io::Result<Option<(u32, LinkState)>> {
        Ok(self.ask(&link::get_named(place, name))?.map(|link| (link.index, link.state)))
    }

    /// Which driver has made the interface of this name, in the socket's own namespace; `None` if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn kind(&self, name: &str) -> io::Result<Option<LinkKind>> {
        Ok(self.ask(&link::get_named(Place::Home, name))?.map(|link| link.kind))
    }

    fn ask(&self, request: &[u8]) -> io::Result<Option<Link>> {
        match self.socket.ask(request, link::answer)? {
            Ok(link) => Ok(Some(link)),
            // An unknown id is an invalid argument.
            Err(libc::ENODEV | libc::EINVAL) => Ok(None),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The id by which our namespace knows the one that `namespace` is a descriptor of. It gets one if it has none.
    ///
    /// # Errors
    /// The system's.
    pub fn id_of(&self, namespace: BorrowedFd<'_>) -> io::Result<i32> {
        let fd = namespace.as_raw_fd();
        let get = || {
            let id = self.socket.ask(&namespace::get(fd), namespace::answer)?;
            id.map_err(io::Error::from_raw_os_error)
        };
        if let Some(id) = get()? {
            return Ok(id);
        }
        match self.socket.request(&namespace::assign(fd)) {
            Ok(()) => {}
            // Somebody else came first.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error),
        }
        get()?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// The system's.
    pub fn set_up(&self, index: u32) -> io::Result<()> {
        self.socket.request(&link::set_up(index))
    }

    /// Deletes an interface. It is gone when this returns, if the kernel lets us.
    ///
    /// # Errors
    /// The system's, if the kernel does not get to know of it.
    pub fn delete(&self, place: Place, index: u32) -> io::Result<()> {
        self.socket.tell(&link::delete(place, index))
    }
}

/// The socket, whose namespace is [`Place::Home`].
impl AsFd for LinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_name_and_by_index() {
        let socket = LinkSocket::open().unwrap();
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        let (index, state) = socket.find(Place::Home, "lo").unwrap().unwrap();
        assert_eq!((index, state.mtu), (lo, Some(mtu.trim().parse().unwrap())));
        assert_eq!(socket.state(Place::Home, lo).unwrap(), Some(state));
        assert_eq!(socket.kind("lo").unwrap(), Some(LinkKind::Other));
        assert_eq!(socket.find(Place::Home, "surely-not").unwrap(), None);
        assert_eq!(socket.state(Place::Away(i32::MAX), lo).unwrap(), None, "no such namespace");
    }

    #[test]
    fn nothing_is_news_at_first() {
        let monitor = LinkMonitor::open().unwrap();
        // Of an index that no interface has: other tests make and delete theirs.
        assert_eq!(monitor.news(i32::MAX as u32).unwrap(), LinkNews::None);
    }

    #[test]
    fn every_namespace_can_be_listened_to() {
        let monitor = LinkMonitor::open().unwrap();
        monitor.listen_everywhere(true).unwrap();
        monitor.listen_everywhere(false).unwrap();
    }
}
