//! What the kernel should have in the end.

use std::collections::{BTreeSet, HashSet};

use route_netlink::{PROTOCOL_BOOT, Route, RuleKind, TABLE_MAIN};

use crate::error::Error;
use crate::firewall::Tables;
use crate::kernel::{Kernel, is_free};
use crate::prefix::Prefix;
use crate::setup::{Dns, MTU_MIN, Mtu, Setup, Table};

/// The number of the first table that is tried, as wg-quick's.
const TABLE_FIRST: u32 = 51820;
/// What is left for the inner packet: IPv6 header 40, UDP 8, data message 32.
const OVERHEAD: u32 = 80;
/// What IPv6 asks of every link (RFC 8200, section 5).
pub(crate) const MTU_MIN_IPV6: u32 = 1280;
/// Of Ethernet, where no route says anything.
const MTU_OF_PATH: u32 = 1500;

/// What the kernel should have of a setup.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) interface: String,
    pub(crate) addresses: Vec<Prefix>,
    pub(crate) mtu: u32,
    /// The table for the allowed IPs; `None`: no routes.
    table: Option<u32>,
    /// Whether a route is left out if another covers it.
    leave_covered: bool,
    /// The networks of the allowed IPs, without those in `defaults`.
    networks: BTreeSet<Prefix>,
    /// Default routes in a table of their own, by the mark that has its number.
    defaults: Option<(u32, Vec<Prefix>)>,
    pub(crate) firewall: Tables,
    pub(crate) dns: Dns,
}

impl Target {
    pub(crate) fn new(setup: &Setup, mark: Option<u32>, mtu: u32) -> Self {
        let (table, leave_covered) = match setup.routes {
            Table::Auto => (Some(TABLE_MAIN), true),
            Table::Off => (None, false),
            Table::Number(number) => (Some(number), false),
        };
        let defaults: Vec<_> = setup.default_routes().collect();
        let networks = setup.allowed_ips.iter().map(|prefix| prefix.network());
        let mut seen = HashSet::new();
        let addresses: Vec<_> = setup.addresses.iter().copied().filter(|address| seen.insert(*address)).collect();
        let firewall = match mark {
            Some(mark) => Tables::new(&setup.interface, mark, &defaults, &addresses),
            None => Tables::default(),
        };
        Self {
            interface: setup.interface.clone(),
            mtu,
            table,
            leave_covered,
            networks: networks.filter(|network| !defaults.contains(network)).collect(),
            defaults: mark.filter(|_| !defaults.is_empty()).map(|mark| (mark, defaults)),
            firewall,
            dns: if setup.dns.is_empty() { Dns::default() } else { setup.dns.clone() },
            addresses,
        }
    }

    /// The families and tables in which it has routes.
    pub(crate) fn tables(&self) -> BTreeSet<(bool, u32)> {
        let families: BTreeSet<_> = self.networks.iter().map(|network| network.address().is_ipv4()).collect();
        let for_networks = self.table.into_iter().flat_map(|table| families.iter().map(move |ipv4| (*ipv4, table)));
        let defaults =
            self.defaults.iter().flat_map(|(mark, all)| all.iter().map(|one| (one.address().is_ipv4(), *mark)));
        for_networks.chain(defaults).collect()
    }

    /// The routes that it needs beside these others of the interface.
    pub(crate) fn routes(&self, others: &[Route]) -> Vec<Route> {
        let covers = if self.leave_covered { Covers::new(others) } else { Covers::new(&[]) };
        let networks = self.networks.iter().filter(|network| !covers.covers(**network));
        let in_table = |prefix: Prefix, table| Route {
            network: prefix.address(),
            prefix_len: prefix.length(),
            table,
            protocol: PROTOCOL_BOOT,
        };
        let mut routes = Vec::new();
        // First: while one of them is missing, packets may leave unencrypted.
        if let Some((mark, defaults)) = &self.defaults {
            routes.extend(defaults.iter().map(|default| in_table(*default, *mark)));
        }
        if let Some(table) = self.table {
            routes.extend(networks.map(|network| in_table(*network, table)));
        }
        routes
    }

    /// The rules that it needs, in the order in which they are added, by family.
    pub(crate) fn rules(&self) -> Vec<(bool, RuleKind)> {
        let rules_for = |mark: u32, default: &Prefix| {
            let ipv4 = default.address().is_ipv4();
            [(ipv4, RuleKind::Unmarked(mark)), (ipv4, RuleKind::MainWithoutDefault)]
        };
        self.defaults.iter().flat_map(|(mark, all)| all.iter().flat_map(|one| rules_for(*mark, one))).collect()
    }

    /// Whether IPv4 packets of the mark must be looked up by it also on their way in.
    pub(crate) fn needs_valid_mark(&self) -> bool {
        self.defaults.iter().flat_map(|(_, all)| all).any(|default| default.address().is_ipv4())
    }
}

/// Networks that cover others.
struct Covers {
    networks: HashSet<Prefix>,
    lengths: BTreeSet<u8>,
}

impl Covers {
    fn new(routes: &[Route]) -> Self {
        let main = routes.iter().filter(|route| route.table == TABLE_MAIN);
        let networks: HashSet<_> = main.filter_map(|route| Prefix::new(route.network, route.prefix_len)).collect();
        let lengths = networks.iter().map(|network| network.length()).collect();
        Self { networks, lengths }
    }

    fn covers(&self, network: Prefix) -> bool {
        self.lengths.range(..=network.length()).any(|length| self.networks.contains(&network.shortened(*length)))
    }
}

/// The mark that a setup needs.
pub(crate) fn mark_for(setup: &Setup) -> Result<Option<u32>, Error> {
    if let Some(mark) = setup.fwmark.filter(|mark| *mark != 0) {
        return Ok(Some(mark));
    }
    if setup.default_routes().next().is_none() {
        return Ok(None);
    }
    let mut table = TABLE_FIRST;
    while !is_free(table)? {
        table += 1;
    }
    Ok(Some(table))
}

/// The MTU that a setup asks for.
pub(crate) fn mtu_for(kernel: &Kernel, setup: &Setup, mark: Option<u32>) -> Result<u32, Error> {
    match setup.mtu {
        Mtu::Bytes(mtu) => Ok(mtu),
        Mtu::Auto => mtu_of_path(kernel, setup, mark),
    }
}

/// Refuses an MTU at which IPv6 would not work. The kernel takes IPv6 away from an interface whose MTU is less, and
/// refuses routes for no reason that it names.
pub(crate) fn check_mtu(setup: &Setup, mtu: u32) -> Result<(), Error> {
    if mtu >= MTU_MIN_IPV6 || !setup.uses_ipv6() {
        return Ok(());
    }
    Err(Error::Setup(format!(
        "an MTU of {mtu} is too small for IPv6, which needs {MTU_MIN_IPV6}: set MTU, or take IPv6 out of Address and \
         AllowedIPs"
    )))
}

fn mtu_of_path(kernel: &Kernel, setup: &Setup, mark: Option<u32>) -> Result<u32, Error> {
    let of_path = match kernel.mtu_towards(&setup.endpoints, mark.unwrap_or(0))? {
        Some(mtu) => mtu,
        None => kernel.default_mtu()?.unwrap_or(MTU_OF_PATH),
    };
    // A path over the loopback interface has an MTU that no UDP datagram can fill. With IPv6 inside, datagrams for the
    // narrowest of many paths are rather fragmented than nobody served.
    let least = if setup.uses_ipv6() { MTU_MIN_IPV6 } else { MTU_MIN };
    Ok(of_path.saturating_sub(OVERHEAD).max(least))
}
