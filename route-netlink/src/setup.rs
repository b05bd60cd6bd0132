//! The addresses, routes and rules of an interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{KernelRefusal, RequestError};
use crate::link::set_up;
use crate::message::Message;
use crate::route::{PROTOCOL_OURS, ROUTE_HEADER_LEN, Way, family, mtu_in, short_table, through};
use crate::socket::{BATCH_LEN, NetlinkSocket};

/// The main routing table.
pub const TABLE_MAIN: u32 = libc::RT_TABLE_MAIN as u32;
/// The protocol of routes that an operator has added: `ip route add` gives them this one.
pub const PROTOCOL_BOOT: u8 = libc::RTPROT_BOOT;
/// `struct ifaddrmsg` and `struct fib_rule_hdr`.
const ADDRESS_HEADER_LEN: usize = 8;
const RULE_HEADER_LEN: usize = 12;
// `linux/fib_rules.h`.
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix in bits.
    pub prefix_len: u8,
}

/// A route to a network, straight through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The address of the network.
    pub network: IpAddr,
    /// The length of its prefix in bits.
    pub prefix_len: u8,
    /// The routing table that it is in.
    pub table: u32,
    /// Who has made it (`RTPROT_*`).
    pub protocol: u8,
}

/// Which routes are asked for.
#[derive(Clone, Copy, Debug)]
pub struct RouteFilter {
    /// Those of IPv4, else of IPv6.
    pub ipv4: bool,
    /// Those of this table.
    pub table: u32,
    /// Those through this interface.
    pub interface: u32,
}

/// What a rule is for. Others than these are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// Packets without this mark look in the table of this number: `not fwmark N table N`.
    Unmarked(u32),
    /// Packets look in the main table, which must not answer with a default route: `table main suppress_prefixlength
    /// 0`.
    MainWithoutDefault,
}

/// A rule that says in which table packets look for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// For IPv4, else for IPv6.
    pub ipv4: bool,
    /// What it is for.
    pub kind: RuleKind,
    /// Rules of smaller numbers are asked before.
    pub priority: u32,
    /// Who has made it: [`PROTOCOL_OURS`], or another.
    pub protocol: u8,
}

/// Reads and changes the addresses, routes and rules of interfaces.
#[derive(Debug)]
pub struct SetupSocket {
    socket: NetlinkSocket,
}

impl SetupSocket {
    /// How many routes the kernel is asked to add or remove at once.
    pub const ROUTES_MAX: usize = BATCH_LEN;

    /// Works in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        let socket = NetlinkSocket::open(0)?;
        socket.prepare_for_dumps_and_batches()?;
        Ok(Self { socket })
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// [`RequestError`], as of all functions here.
    pub fn set_up(&self, interface: u32, up: bool) -> Result<(), RequestError> {
        self.socket.request(RouteNetlinkMessage::NewLink(set_up(interface, up)), 0)
    }

    /// Sets the MTU of an interface.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn set_mtu(&self, interface: u32, mtu: u32) -> Result<(), RequestError> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.socket.request(RouteNetlinkMessage::NewLink(message), 0)
    }

    /// The addresses of an interface, each network's first one before its others.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn addresses(&self, interface: u32) -> Result<Vec<Address>, RequestError> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.index = interface;
            let parse = |message: Message<'_>| address_in(message, family, interface);
            all.extend(self.socket.dump(&RouteNetlinkMessage::GetAddress(message), parse)?);
        }
        Ok(all)
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// [`RequestError`], `EEXIST` if it has it.
    pub fn add_address(&self, interface: u32, address: Address) -> Result<(), RequestError> {
        let message = address_message(interface, address);
        self.socket.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes an address from an interface.
    ///
    /// # Errors
    /// [`RequestError`], `EADDRNOTAVAIL` if it has no such address.
    pub fn remove_address(&self, interface: u32, address: Address) -> Result<(), RequestError> {
        self.socket.request(RouteNetlinkMessage::DelAddress(address_message(interface, address)), 0)
    }

    /// The routes that the filter lets through.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>, RequestError> {
        let (family, mut message) = table_message(filter.ipv4, filter.table);
        message.attributes.push(RouteAttribute::Oif(filter.interface));
        let parse = |message: Message<'_>| route_in(message, family);
        no_table_is_empty(self.socket.dump(&RouteNetlinkMessage::GetRoute(message), parse))
    }

    /// Whether there is no route in a table, of neither family.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn is_empty(table: u32) -> Result<bool, RequestError> {
        for ipv4 in [true, false] {
            let (family, message) = table_message(ipv4, table);
            let request = RouteNetlinkMessage::GetRoute(message);
            let first = Self::open()?.socket.first_of_dump(request, |message| route_in(message, family));
            if !no_table_is_empty(first)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first IPv4 default route of the main table.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn default_way() -> Result<Option<Way>, RequestError> {
        let (_, message) = table_message(true, TABLE_MAIN);
        // The kernel tells routes in the order of their networks, so the default route is in the first datagram.
        let first = Self::open()?.socket.first_of_dump(RouteNetlinkMessage::GetRoute(message), default_way_in);
        Ok(no_table_is_empty(first)?.into_iter().next())
    }

    /// Adds up to [`ROUTES_MAX`](Self::ROUTES_MAX) routes through an interface. Those that the kernel has refused are
    /// returned by their position; the others are there.
    ///
    /// # Errors
    /// [`RequestError`] if it is not known what has happened.
    pub fn add_routes(&self, interface: u32, routes: &[Route]) -> Result<Vec<(usize, KernelRefusal)>, RequestError> {
        let requests = routes.iter().map(|route| RouteNetlinkMessage::NewRoute(route_message(interface, route)));
        self.socket.batch(requests, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes up to [`ROUTES_MAX`](Self::ROUTES_MAX) routes through an interface, as [`add_routes`](Self::add_routes).
    ///
    /// # Errors
    /// [`RequestError`] if it is not known what has happened.
    pub fn remove_routes(&self, interface: u32, routes: &[Route]) -> Result<Vec<(usize, KernelRefusal)>, RequestError> {
        let requests = routes.iter().map(|route| RouteNetlinkMessage::DelRoute(route_message(interface, route)));
        self.socket.batch(requests, 0)
    }

    /// The rules of a family that are of one of the [kinds](RuleKind), in the order in which they are asked.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn rules(&self, ipv4: bool) -> Result<Vec<Rule>, RequestError> {
        let mut message = RuleMessage::default();
        message.header.family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let parse = |message: Message<'_>| rule_in(message).filter(|rule| rule.ipv4 == ipv4);
        self.socket.dump(&RouteNetlinkMessage::GetRule(message), parse)
    }

    /// Adds a rule before all others except that of the local table. The kernel chooses its priority.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn add_rule(&self, ipv4: bool, kind: RuleKind) -> Result<Rule, RequestError> {
        let request = RouteNetlinkMessage::NewRule(rule_message(ipv4, kind));
        self.socket.request_with_echo(request, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, rule_in)
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`RequestError`], `ENOENT` if it is not there.
    pub fn remove_rule(&self, rule: Rule) -> Result<(), RequestError> {
        let mut message = rule_message(rule.ipv4, rule.kind);
        message.attributes.push(RuleAttribute::Priority(rule.priority));
        self.socket.request(RouteNetlinkMessage::DelRule(message), 0)
    }
}

fn address_message(interface: u32, address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    // As `ip address add` has it: an address of the loopback network is good on this host alone.
    let is_loopback = address.address.is_ipv4() && address.address.is_loopback();
    message.header = AddressHeader {
        family: family(address.address),
        prefix_len: address.prefix_len,
        scope: if is_loopback { AddressScope::Host } else { AddressScope::Universe },
        index: interface,
        ..AddressHeader::default()
    };
    message.attributes = vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    message
}

fn address_in(message: Message<'_>, family: AddressFamily, interface: u32) -> Option<Address> {
    if message.kind != libc::RTM_NEWADDR {
        return None;
    }
    let (header, attributes) = message.parts(ADDRESS_HEADER_LEN, AddressHeader::parse)?;
    let address = attributes.address(libc::IFA_LOCAL).or_else(|| attributes.address(libc::IFA_ADDRESS))?;
    let is_wanted = header.index == interface && header.family == family;
    is_wanted.then_some(Address { address, prefix_len: header.prefix_len })
}

fn table_message(ipv4: bool, table: u32) -> (AddressFamily, RouteMessage) {
    let family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.attributes.push(RouteAttribute::Table(table));
    (family, message)
}

fn route_message(interface: u32, route: &Route) -> RouteMessage {
    let mut message = through((route.network, route.prefix_len), interface);
    message.header.protocol = route.protocol.into();
    message.header.table = short_table(route.table);
    message.attributes.push(RouteAttribute::Table(route.table));
    message
}

fn route_in(message: Message<'_>, family: AddressFamily) -> Option<Route> {
    if message.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let (header, attributes) = message.parts(ROUTE_HEADER_LEN, RouteHeader::parse)?;
    // A default route names no network.
    let any: IpAddr =
        if family == AddressFamily::Inet { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let network = attributes.address(libc::RTA_DST).unwrap_or(any);
    let route = Route {
        network,
        prefix_len: header.destination_prefix_length,
        table: attributes.u32(libc::RTA_TABLE).unwrap_or_else(|| header.table.into()),
        protocol: header.protocol.into(),
    };
    (header.address_family == family).then_some(route)
}

fn default_way_in(message: Message<'_>) -> Option<Way> {
    if message.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let (header, attributes) = message.parts(ROUTE_HEADER_LEN, RouteHeader::parse)?;
    let interface = attributes.u32(libc::RTA_OIF).unwrap_or(0);
    let is_default = header.destination_prefix_length == 0 && header.kind == RouteType::Unicast;
    is_default.then(|| Way { interface, is_local: false, mtu: mtu_in(attributes) })
}

/// A table comes into being with its first route. A kernel without IPv6 has no tables of that family.
fn no_table_is_empty<T>(result: Result<Vec<T>, RequestError>) -> Result<Vec<T>, RequestError> {
    match result {
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
            Ok(Vec::new())
        }
        result => result,
    }
}

fn rule_message(ipv4: bool, kind: RuleKind) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.action = RuleAction::ToTable;
    let table = match kind {
        RuleKind::Unmarked(number) => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(number));
            number
        }
        RuleKind::MainWithoutDefault => {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            TABLE_MAIN
        }
    };
    message.header.table = short_table(table);
    message.attributes.push(RuleAttribute::Table(table));
    message.attributes.push(RuleAttribute::Protocol(PROTOCOL_OURS.into()));
    message
}

fn rule_in(message: Message<'_>) -> Option<Rule> {
    if message.kind != libc::RTM_NEWRULE {
        return None;
    }
    let (header, attributes) = message.parts(RULE_HEADER_LEN, RuleHeader::parse)?;
    let table = attributes.u32(FRA_TABLE).unwrap_or_else(|| header.table.into());
    let is_inverted = header.flags.contains(RuleFlags::Invert);
    let kind = match (attributes.u32(FRA_FWMARK).unwrap_or(0), attributes.u32(FRA_SUPPRESS_PREFIXLEN)) {
        (mark, _) if mark != 0 && mark == table && is_inverted => RuleKind::Unmarked(mark),
        (0, Some(0)) if table == TABLE_MAIN && !is_inverted => RuleKind::MainWithoutDefault,
        _ => return None,
    };
    if header.action != RuleAction::ToTable {
        return None;
    }
    let ipv4 = header.family == AddressFamily::Inet;
    let protocol = attributes.byte(FRA_PROTOCOL).unwrap_or(0);
    Some(Rule { ipv4, kind, priority: attributes.u32(FRA_PRIORITY).unwrap_or(0), protocol })
}

/// All that a message could be taken for, whatever it is.
#[cfg(test)]
pub(crate) fn read_as_everything(message: Message<'_>) {
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let _ = (address_in(message, family, 1), route_in(message, family));
    }
    let _ = (default_way_in(message), rule_in(message));
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
