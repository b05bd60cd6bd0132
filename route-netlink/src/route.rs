//! Which way packets take.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::RequestError;
use crate::message::{Attributes, Message};
use crate::socket::NetlinkSocket;

/// `RTMGRP_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`, and the bit of
/// `RTNLGRP_IPV6_RULE`.
const ROUTE_GROUPS: u32 = 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << (19 - 1));
/// The protocol of the rules that we add, and of routes through no interface, so who made them can be seen: `proto 51`
/// in `ip rule`. Nobody else is known to have this number. Rules of `ip rule add` have none.
pub const PROTOCOL_OURS: u8 = 51;
/// `struct rtmsg`.
pub(crate) const ROUTE_HEADER_LEN: usize = 12;
/// `RTAX_MTU`, in `RTA_METRICS`.
const RTAX_MTU: u16 = 2;

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
        let lost = self.socket.read(|message| changed |= is_change(message))?;
        Ok(changed || lost)
    }
}

impl AsFd for RouteMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The way that packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface through which they leave, 0 if none.
    pub interface: u32,
    /// The destination is an address of this machine (`RTN_LOCAL`).
    pub is_local: bool,
    /// What fits through, if the route itself says so.
    pub mtu: Option<u32>,
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
        Ok(self.ask(get(addr, None, interface_for(addr, interface), 0))?.is_some_and(|way| way.is_local))
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
        let request = get(remote, Some(source), interface_for(remote, interface), mark);
        Ok(self.ask(request)?.map(|way| way.interface))
    }

    /// The way that packets of this mark to `remote` take; `None` if there is none.
    ///
    /// # Errors
    /// The system's, if it could not be asked.
    pub fn way_to(&self, remote: IpAddr, mark: u32) -> io::Result<Option<Way>> {
        self.ask(get(remote, None, 0, mark))
    }

    /// Whether packets to a network, given by its address and the length of its prefix in bits, take a route to just
    /// that network, rather than one to a larger one. A route that refuses them (`unreachable`) is none.
    ///
    /// # Errors
    /// The system's, if it could not be asked.
    pub fn has(&self, network: (IpAddr, u8)) -> io::Result<bool> {
        let mut request = get(network.0, None, 0, 0);
        request.header.flags = RouteFlags::FibMatch;
        match self.socket.ask(RouteNetlinkMessage::GetRoute(request), 0, prefix_len_in) {
            Ok(prefix_len) => Ok(prefix_len == network.1),
            Err(RequestError::Refused(_)) => Ok(false),
            Err(RequestError::Io(error)) => Err(error),
        }
    }

    /// Adds a route to a network, given by an address and the length of its prefix in bits, through an interface.
    ///
    /// # Errors
    /// The system's, `EEXIST` if there is one.
    pub fn add(&self, network: (IpAddr, u8), interface: u32) -> io::Result<()> {
        let mut route = through(network, interface);
        route.header.protocol = RouteProtocol::Static;
        Ok(self.socket.request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)?)
    }

    /// Refuses the IPv4 packets for which a table has no other route: an `unreachable` default route of the largest
    /// metric and of [`PROTOCOL_OURS`]. It is through no interface, so it goes with none.
    ///
    /// # Errors
    /// [`RequestError`], `EEXIST` if it is there.
    pub fn block(&self, table: u32) -> Result<(), RequestError> {
        self.socket.request(RouteNetlinkMessage::NewRoute(block(table)), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes what [`block`](Self::block) has added.
    ///
    /// # Errors
    /// [`RequestError`], `ESRCH` if it is not there.
    pub fn unblock(&self, table: u32) -> Result<(), RequestError> {
        self.socket.request(RouteNetlinkMessage::DelRoute(block(table)), 0)
    }

    /// `None` if the kernel refuses: there is no route, or none from that source.
    fn ask(&self, request: RouteMessage) -> io::Result<Option<Way>> {
        match self.socket.ask(RouteNetlinkMessage::GetRoute(request), 0, way_in) {
            Ok(way) => Ok(Some(way)),
            Err(RequestError::Refused(_)) => Ok(None),
            Err(RequestError::Io(error)) => Err(error),
        }
    }
}

/// A route of the main table to a network, through an interface.
pub(crate) fn through((network, prefix_len): (IpAddr, u8), interface: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(network),
        destination_prefix_length: prefix_len,
        table: RouteHeader::RT_TABLE_MAIN,
        scope: RouteScope::Link,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(network)), RouteAttribute::Oif(interface)];
    message
}

fn block(table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: short_table(table),
        protocol: PROTOCOL_OURS.into(),
        kind: RouteType::Unreachable,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Table(table), RouteAttribute::Priority(u32::MAX)];
    message
}

/// The field of one byte, beside the attribute that counts.
pub(crate) fn short_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC)
}

pub(crate) fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// What fits through a route, if it says so.
pub(crate) fn mtu_in(attributes: Attributes<'_>) -> Option<u32> {
    attributes.nested(libc::RTA_METRICS).u32(RTAX_MTU)
}

/// Asks which way packets of this mark from `source` to `destination` take. A link-local destination means nothing
/// without its interface; 0 if it has none.
fn get(destination: IpAddr, source: Option<IpAddr>, interface: u32, mark: u32) -> RouteMessage {
    let bits = if destination.is_ipv4() { 32 } else { 128 };
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination)));
    if let Some(source) = source {
        message.header.source_prefix_length = bits;
        message.attributes.push(RouteAttribute::Source(RouteAddress::from(source)));
    }
    if interface != 0 {
        message.attributes.push(RouteAttribute::Oif(interface));
    }
    message.attributes.push(RouteAttribute::Mark(mark));
    message
}

fn way_in(message: Message<'_>) -> Option<Way> {
    if message.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let (route, attributes) = message.parts(ROUTE_HEADER_LEN, RouteHeader::parse)?;
    let interface = attributes.u32(libc::RTA_OIF).unwrap_or(0);
    Some(Way { interface, is_local: route.kind == RouteType::Local, mtu: mtu_in(attributes) })
}

/// The length of the prefix of a route that leads somewhere, else more than any has.
fn prefix_len_in(message: Message<'_>) -> Option<u8> {
    if message.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let (route, _) = message.parts(ROUTE_HEADER_LEN, RouteHeader::parse)?;
    Some(if route.kind == RouteType::Unicast { route.destination_prefix_length } else { u8::MAX })
}

/// Whether an address was removed, or routes or rules have changed. A new address takes nothing away; if it makes a
/// better way, that is a route.
fn is_change(message: Message<'_>) -> bool {
    matches!(
        message.kind,
        libc::RTM_DELADDR | libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE
    )
}

/// The interface, if the address is link-local.
fn interface_for(addr: IpAddr, interface: u32) -> u32 {
    match addr {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => interface,
        _ => 0,
    }
}

/// All that a message could be taken for, whatever it is.
#[cfg(test)]
pub(crate) fn read_as_everything(message: Message<'_>) {
    let _ = (way_in(message), prefix_len_in(message), is_change(message));
}

#[cfg(test)]
mod tests {
    use ringfort_testbed::scratch::{in_namespace, ip};

    use super::*;
    use crate::message::tests::{attributes, message};

    #[test]
    fn routes_can_be_asked_for() {
        let socket = RouteSocket::open().unwrap();
        let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap().trim().parse().unwrap();
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let elsewhere: IpAddr = "192.0.2.77".parse().unwrap();
        assert!(socket.is_local(home, 0).unwrap());
        assert!(!socket.is_local(elsewhere, 0).unwrap());
        assert_eq!(socket.interface_towards("127.0.0.2".parse().unwrap(), home, 0, 0).unwrap(), Some(lo));
        assert_eq!(socket.interface_towards("127.0.0.2".parse().unwrap(), elsewhere, 0, 0).unwrap(), None);
    }

    #[test]
    fn a_way_has_the_mtu_of_its_route_and_goes_by_the_mark() {
        in_namespace(|| {
            ip("link add d0 type veth peer name d1");
            ip("link set d0 up");
            ip("link set d1 up");
            ip("address add 192.0.2.1/24 dev d0");
            ip("route add 198.51.100.0/24 dev d0 mtu 1300");
            ip("route add blackhole 198.51.100.0/24 table 7");
            ip("rule add fwmark 9 table 7");
            let socket = RouteSocket::open().unwrap();
            let way = |remote: &str, mark| socket.way_to(remote.parse().unwrap(), mark).unwrap();
            assert_eq!(way("198.51.100.1", 0).unwrap().mtu, Some(1300));
            assert_eq!(way("192.0.2.7", 0).unwrap().mtu, None);
            assert_eq!(way("198.51.100.1", 9), None);
        });
    }

    #[test]
    fn a_route_to_just_that_network_is_told_from_one_to_more() {
        in_namespace(|| {
            ip("link set lo up");
            ip("link add d0 type veth peer name d1");
            ip("link set d0 up");
            ip("link set d1 up");
            ip("address add 192.0.2.1/24 dev d0");
            ip("address add 2001:db8::1/64 dev d0 nodad");
            let (socket, monitor) = (RouteSocket::open().unwrap(), RouteMonitor::open().unwrap());
            let has = |network: &str, len| socket.has((network.parse().unwrap(), len)).unwrap();
            ip("route add default via 192.0.2.9");
            assert!(has("192.0.2.0", 24) && !has("10.9.0.1", 32), "there is a default route only");
            ip("route add 10.9.0.1/32 via 192.0.2.9");
            ip("route add 2001:db8:9::1/128 via 2001:db8::9");
            assert!(has("10.9.0.1", 32) && has("2001:db8:9::1", 128) && !has("10.9.0.0", 24));
            assert!(monitor.has_changed().unwrap() && !monitor.has_changed().unwrap());
            ip("route del 10.9.0.1/32");
            ip("route del 2001:db8:9::1/128");
            assert!(monitor.has_changed().unwrap());
            assert!(!has("10.9.0.1", 32) && !has("2001:db8:9::1", 128));
            ip("route add unreachable 10.9.0.1/32");
            assert!(!has("10.9.0.1", 32));
        });
    }

    #[test]
    fn the_route_monitor_opens_and_does_not_wait() {
        RouteMonitor::open().unwrap().has_changed().unwrap();
    }

    #[test]
    fn the_answer_to_a_question_for_a_route() {
        let mut header = [0; ROUTE_HEADER_LEN];
        header[7] = libc::RTN_LOCAL;
        let metrics = attributes(&[(RTAX_MTU, &1280_u32.to_ne_bytes())]);
        let attributes = attributes(&[(libc::RTA_OIF, &3_u32.to_ne_bytes()), (libc::RTA_METRICS, &metrics)]);
        let body = [&header[..], &attributes].concat();
        let answer_of = |kind, body| way_in(message(kind, body));
        let way = Way { interface: 3, is_local: true, mtu: Some(1280) };
        assert_eq!(answer_of(libc::RTM_NEWROUTE, &body), Some(way));
        let nowhere = Way { interface: 0, is_local: false, mtu: None };
        assert_eq!(answer_of(libc::RTM_NEWROUTE, &[0; 12]), Some(nowhere));
        assert_eq!(answer_of(libc::RTM_NEWROUTE, &[0; 11]), None, "cut short");
    }

    #[test]
    fn a_new_address_changes_no_way() {
        let is_change = |kind| is_change(message(kind, &[]));
        assert!(is_change(libc::RTM_DELADDR) && is_change(libc::RTM_NEWROUTE));
        assert!(!is_change(libc::RTM_NEWADDR) && !is_change(libc::RTM_NEWLINK));
    }
}
