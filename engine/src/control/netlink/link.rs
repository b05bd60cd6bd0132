//! Our interface, also when it was moved to another network namespace.
//!
//! A socket in that namespace would tell all about it, and keep it alive: the namespace, and all interfaces in it,
//! would outlive the container that they belong to. So the sockets stay at home. There the kernel knows another
//! namespace by an id, which keeps nothing alive. Requests name it (`IFLA_TARGET_NETNSID`), and a socket that asks for
//! it (`NETLINK_LISTEN_ALL_NSID`) hears from every namespace that has an id.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::message::{self, LinkAnswer, LinkState, Message, Place};
use super::socket::NetlinkSocket;

/// `RTMGRP_LINK`.
const LINK_GROUPS: u32 = 0x1;
/// `NETLINK_LISTEN_ALL_NSID` of `include/uapi/linux/netlink.h`.
const NETLINK_LISTEN_ALL_NSID: libc::c_int = 8;

/// What was said of an interface index. It may be of an interface with the same index in another namespace, so
/// this is a reason to ask, not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Its state may have changed.
    Changed,
    /// It may have left its namespace.
    Left,
}

/// Hears when to look at an interface.
#[derive(Debug)]
pub struct LinkEvents {
    socket: NetlinkSocket,
}

impl LinkEvents {
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
        let (fd, value) = (self.socket.as_fd().as_raw_fd(), libc::c_int::from(yes));
        let (name, len) = (NETLINK_LISTEN_ALL_NSID, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: the option's value is an int, which `value` is, and it outlives the call.
        let result = unsafe { libc::setsockopt(fd, libc::SOL_NETLINK, name, (&raw const value).cast(), len) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What was said of this index since the last call. Never waits.
    ///
    /// # Errors
    /// The system's. Messages that were lost because there were too many are no error: it may all have happened.
    pub fn news(&self, index: u32) -> io::Result<News> {
        let mut news = News::None;
        let lost = self.socket.read(|message| match message {
            Message::LinkGone { index: gone } if gone == index => news = News::Left,
            Message::Link { index: changed } if changed == index && news == News::None => news = News::Changed,
            _ => {}
        })?;
        Ok(if lost { News::Left } else { news })
    }
}

impl AsFd for LinkEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks about an interface, and deletes it.
#[derive(Debug)]
pub struct LinkQuery {
    socket: NetlinkSocket,
}

impl LinkQuery {
    /// Asks in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: NetlinkSocket::open(0)? })
    }

    /// The socket, whose namespace is [`Place::Home`].
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The present state of an interface; `None` if it is not there, or its namespace is gone.
    ///
    /// # Errors
    /// The system's, `EPERM` where `CAP_NET_ADMIN` does not reach.
    pub fn state(&self, place: Place, index: u32) -> io::Result<Option<LinkState>> {
        Ok(self.ask(&message::link_request(libc::RTM_GETLINK, place, index))?.map(|(_, state)| state))
    }

    /// The index and the state of the interface of this name; `None` as above.
    ///
    /// # Errors
    /// As above.
    pub fn find(&self, place: Place, name: &str) -> io::Result<Option<(u32, LinkState)>> {
        self.ask(&message::named_link_request(place, name))
    }

    fn ask(&self, request: &[u8]) -> io::Result<Option<(u32, LinkState)>> {
        match self.socket.ask(request, message::link_answer)? {
            LinkAnswer::Link { index, state } => Ok(Some((index, state))),
            // An unknown id is an invalid argument.
            LinkAnswer::Refused(libc::ENODEV | libc::EINVAL) => Ok(None),
            LinkAnswer::Refused(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The id by which our namespace knows the one that `namespace` is a descriptor of. It gets one if it has none.
    ///
    /// # Errors
    /// The system's.
    pub fn id_of(&self, namespace: BorrowedFd<'_>) -> io::Result<i32> {
        let ask = |kind| {
            let request = message::namespace_request(kind, namespace.as_raw_fd());
            self.socket.ask(&request, message::namespace_answer)
        };
        let get = || ask(libc::RTM_GETNSID)?.map_err(io::Error::from_raw_os_error);
        if let Some(id) = get()? {
            return Ok(id);
        }
        match ask(libc::RTM_NEWNSID)? {
            // 0 is the acknowledgement. Somebody else may have come first.
            Err(0 | libc::EEXIST) => get()?.ok_or_else(|| io::ErrorKind::NotFound.into()),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Deletes an interface. It is gone when this returns, if the kernel lets us.
    ///
    /// # Errors
    /// The system's, if the kernel does not get to know of it.
    pub fn delete(&self, place: Place, index: u32) -> io::Result<()> {
        self.socket.tell(&message::link_request(libc::RTM_DELLINK, place, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_name_and_by_index() {
        let query = LinkQuery::open().unwrap();
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        let (index, state) = query.find(Place::Home, "lo").unwrap().unwrap();
        assert_eq!((index, state.mtu), (lo, Some(mtu.trim().parse().unwrap())));
        assert_eq!(query.state(Place::Home, lo).unwrap(), Some(state));
        assert_eq!(query.find(Place::Home, "surely-not").unwrap(), None);
        assert_eq!(query.state(Place::Away(i32::MAX), lo).unwrap(), None, "no such namespace");
    }

    #[test]
    fn nothing_is_news_at_first() {
        let events = LinkEvents::open().unwrap();
        // Of an index that no interface has: other tests make and delete theirs.
        assert_eq!(events.news(i32::MAX as u32).unwrap(), News::None);
    }
}
