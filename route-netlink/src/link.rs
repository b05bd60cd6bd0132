//! Interfaces, also those in other network namespaces.
//!
//! A socket in the namespace of an interface would tell all about it, and keep it alive: the namespace, and all
//! interfaces in it, would outlive the container that they belong to. So the sockets stay at home. There the kernel
//! knows another namespace by an id, which keeps nothing alive. Requests name it (`IFLA_TARGET_NETNSID`), and a socket
//! that asks for it (`NETLINK_LISTEN_ALL_NSID`) hears from every namespace that has an id.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkHeader, LinkMessage,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidHeader, NsidMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::RequestError;
use crate::message::{Attributes, Message};
use crate::socket::NetlinkSocket;

/// `RTMGRP_LINK`.
const LINK_GROUP: u32 = 1;
/// `struct ifinfomsg` and `struct rtgenmsg`, padded.
pub(crate) const LINK_HEADER_LEN: usize = 16;
const NAMESPACE_HEADER_LEN: usize = 4;
/// `NETNSA_NSID_NOT_ASSIGNED`. In a request: any that is free.
const NSID_NONE: i32 = -1;
const NETNSA_NSID: u16 = 1;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
// What the TUN driver tells (`linux/if_tun.h`). The library has no names for these.
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_PI: u16 = 4;
const IFLA_TUN_VNET_HDR: u16 = 5;
const IFLA_TUN_PERSIST: u16 = 6;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
const IFLA_TUN_NUM_QUEUES: u16 = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES: u16 = 9;

/// Where an interface is, as seen from the network namespace of our sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the same namespace.
    Home,
    /// In the one that ours knows by this id. An id keeps no namespace alive.
    Away(i32),
}

/// An interface at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// `IFF_UP`: the operator wants it to work.
    pub up: bool,
    /// In bytes; `None` if the message did not say.
    pub mtu: Option<u32>,
}

/// Which driver has made an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The TUN driver.
    Tun(TunInfo),
    /// Another.
    Other,
}

/// What the TUN driver says of an interface (`IFLA_TUN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunInfo {
    /// `IFF_TAP`: it carries Ethernet frames.
    pub is_tap: bool,
    /// Its packets have `struct tun_pi` in front. `TUNGETIFF` does not tell: `IFF_NO_PI` and `IFF_NOFILTER` are one
    /// bit.
    pub packet_information: bool,
    /// Its packets have a virtio-net header in front.
    pub header: bool,
    /// It stays when nobody has a queue of it.
    pub persistent: bool,
    /// It may have several queues.
    pub multi_queue: bool,
    /// How many it has, in use or not; 0 also if it has a single one, which the driver does not count.
    pub queues: u32,
}

/// What was said of an interface index. It may be of an interface with the same index in another namespace, so this is
/// a reason to ask, not an answer. Of two, the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        Ok(Self { socket: NetlinkSocket::open(1 << (LINK_GROUP - 1))? })
    }

    /// Can hear of interfaces in all namespaces that have an id, and hears nothing until it [listens](Self::listen).
    /// The capability is needed for this call alone: the kernel judges by who has opened the socket.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_BROADCAST`.
    pub fn open_everywhere() -> io::Result<Self> {
        let socket = NetlinkSocket::open(0)?;
        socket.listen_everywhere()?;
        Ok(Self { socket })
    }

    /// Whether to hear anything.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self, yes: bool) -> io::Result<()> {
        self.socket.set_membership(LINK_GROUP, yes)
    }

    /// What was said of this index since the last call. Never waits.
    ///
    /// # Errors
    /// The system's. Messages that were lost because there were too many are no error: it may all have happened.
    pub fn news(&self, index: u32) -> io::Result<LinkNews> {
        let mut news = LinkNews::None;
        let lost = self.socket.read(|message| match news_of(message) {
            Some((told, LinkNews::Left)) if told == index => news = LinkNews::Left,
            Some((told, LinkNews::Changed)) if told == index && news == LinkNews::None => news = LinkNews::Changed,
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
        Ok(self.ask(get(place, index))?.map(|link| link.state))
    }

    /// The index and the state of the interface of this name; `None` as above.
    ///
    /// # Errors
    /// As above.
    pub fn find(&self, place: Place, name: &str) -> io::Result<Option<(u32, LinkState)>> {
        Ok(self.ask(get_named(place, name))?.map(|link| (link.index, link.state)))
    }

    /// Which driver has made the interface of this name, in the socket's own namespace; `None` if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn kind(&self, name: &str) -> io::Result<Option<LinkKind>> {
        Ok(self.ask(get_named(Place::Home, name))?.map(|link| link.kind))
    }

    fn ask(&self, request: LinkMessage) -> io::Result<Option<LinkInfo>> {
        match self.socket.ask(RouteNetlinkMessage::GetLink(request), 0, link_in) {
            Ok(link) => Ok(Some(link)),
            // An unknown id is an invalid argument.
            Err(RequestError::Refused(refusal)) if matches!(refusal.errno, libc::ENODEV | libc::EINVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The id by which our namespace knows the one that `namespace` is a descriptor of. It gets one if it has none.
    ///
    /// # Errors
    /// The system's.
    pub fn id_of(&self, namespace: BorrowedFd<'_>) -> io::Result<i32> {
        let message = |more: Option<NsidAttribute>| {
            let mut message = NsidMessage::default();
            message.attributes = vec![NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned())];
            message.attributes.extend(more);
            message
        };
        let get = || self.socket.ask(RouteNetlinkMessage::GetNsId(message(None)), 0, namespace_id_in);
        if let Some(id) = get()? {
            return Ok(id);
        }
        let assign = RouteNetlinkMessage::NewNsId(message(Some(NsidAttribute::Id(NSID_NONE))));
        match self.socket.request(assign, 0) {
            Ok(()) => {}
            // Somebody else came first.
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        get()?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// The system's.
    pub fn set_up(&self, index: u32) -> io::Result<()> {
        Ok(self.socket.request(RouteNetlinkMessage::NewLink(set_up(index, true)), 0)?)
    }

    /// Keeps the kernel from giving an interface a link-local address.
    ///
    /// # Errors
    /// The system's; also where there is no IPv6.
    pub fn refuse_link_local_address(&self, index: u32) -> io::Result<()> {
        let mut message = get(Place::Home, index);
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        Ok(self.socket.request(RouteNetlinkMessage::NewLink(message), 0)?)
    }

    /// Deletes an interface. It is gone when this returns, if the kernel lets us.
    ///
    /// # Errors
    /// The system's, if the kernel does not get to know of it.
    pub fn delete(&self, place: Place, index: u32) -> io::Result<()> {
        self.socket.tell(RouteNetlinkMessage::DelLink(get(place, index)))
    }
}

/// The socket, whose namespace is [`Place::Home`].
impl AsFd for LinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An interface, as the kernel answers a question for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkInfo {
    index: u32,
    state: LinkState,
    kind: LinkKind,
}

/// Names the interface with this index.
fn get(place: Place, index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if let Place::Away(id) = place {
        message.attributes.push(LinkAttribute::IfNetnsId(id));
    }
    message
}

fn get_named(place: Place, name: &str) -> LinkMessage {
    let mut message = get(place, 0);
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// Sets an interface up or down.
pub(crate) fn set_up(index: u32, up: bool) -> LinkMessage {
    let mut message = get(Place::Home, index);
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message
}

/// What an unasked message says, and of which interface.
fn news_of(message: Message<'_>) -> Option<(u32, LinkNews)> {
    let news = match message.kind {
        libc::RTM_NEWLINK => LinkNews::Changed,
        libc::RTM_DELLINK => LinkNews::Left,
        _ => return None,
    };
    let link = LinkHeader::parse(message.body).ok()?;
    // Other families (AF_BRIDGE) speak of an interface that leaves a bridge, not of one that is gone.
    (link.interface_family == AddressFamily::Unspec).then_some((link.index, news))
}

/// The answer to a question for an interface.
fn link_in(message: Message<'_>) -> Option<LinkInfo> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let (link, attributes) = message.parts(LINK_HEADER_LEN, LinkHeader::parse)?;
    let state = LinkState { up: link.flags.contains(LinkFlags::Up), mtu: attributes.u32(libc::IFLA_MTU) };
    Some(LinkInfo { index: link.index, state, kind: kind_in(attributes.nested(libc::IFLA_LINKINFO)) })
}

/// The answer to a question for the id of a namespace: `Some(None)` if it has none yet.
fn namespace_id_in(message: Message<'_>) -> Option<Option<i32>> {
    if message.kind != libc::RTM_NEWNSID {
        return None;
    }
    let (_, attributes) = message.parts(NAMESPACE_HEADER_LEN, NsidHeader::parse)?;
    let id = attributes.u32(NETNSA_NSID)?.cast_signed();
    Some((id >= 0).then_some(id))
}

fn kind_in(info: Attributes<'_>) -> LinkKind {
    if info.find(IFLA_INFO_KIND) != Some(b"tun\0") {
        return LinkKind::Other;
    }
    let data = info.nested(IFLA_INFO_DATA);
    let is_set = |kind| data.byte(kind).is_some_and(|byte| byte != 0);
    let count = |kind| data.u32(kind).unwrap_or(0);
    LinkKind::Tun(TunInfo {
        is_tap: data.byte(IFLA_TUN_TYPE).map(libc::c_int::from) == Some(libc::IFF_TAP),
        packet_information: is_set(IFLA_TUN_PI),
        header: is_set(IFLA_TUN_VNET_HDR),
        persistent: is_set(IFLA_TUN_PERSIST),
        multi_queue: is_set(IFLA_TUN_MULTI_QUEUE),
        queues: count(IFLA_TUN_NUM_QUEUES).saturating_add(count(IFLA_TUN_NUM_DISABLED_QUEUES)),
    })
}

/// All that a message could be taken for, whatever it is.
#[cfg(test)]
pub(crate) fn read_as_everything(message: Message<'_>) {
    let _ = (news_of(message), link_in(message), namespace_id_in(message));
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
