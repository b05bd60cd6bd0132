//! What an operator wants of the network.

use std::fmt;
use std::net::IpAddr;

use crate::error::Error;
use crate::prefix::Prefix;

/// The least MTU that the kernel lets an IPv4 interface have (`ETH_MIN_MTU`).
pub(crate) const MTU_MIN: u32 = 68;
/// The tables `default`, `main` and `local`.
const RESERVED_TABLES: std::ops::RangeInclusive<u32> = 253..=255;
/// `IFNAMSIZ` without the zero behind it.
const NAME_LEN_MAX: usize = 15;
/// The longest name of the DNS in characters (RFC 1035, less the lengths of the first label and of the root).
const DOMAIN_LEN_MAX: usize = 253;

/// What the network of an interface should be: the keys of wg-quick's `[Interface]` section, and of the peers what
/// routes follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// The name of an interface that exists.
    pub interface: String,
    /// `Address`, in the order of the file: of several in one network, the first is the source of packets.
    pub addresses: Vec<Prefix>,
    /// `MTU`.
    pub mtu: Mtu,
    /// `Table`.
    pub routes: Table,
    /// `AllowedIPs` of all peers.
    pub allowed_ips: Vec<Prefix>,
    /// The mark that the interface's own UDP packets carry, if one is set. See [`fwmark_for`](crate::fwmark_for).
    pub fwmark: Option<u32>,
    /// `DNS`.
    pub dns: Dns,
    /// Where the peers are, as far as it is known: the MTU follows from the routes to them.
    pub endpoints: Vec<IpAddr>,
}

/// The MTU of the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mtu {
    /// The smallest of the routes to the endpoints, else that of the default route, else 1500; less 80.
    #[default]
    Auto,
    /// This many bytes.
    Bytes(u32),
}

/// Where the routes to the allowed IPs go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// To the main table, each unless the interface has a route that covers it. A default route goes to a table of its
    /// own, which all packets use except the interface's own UDP packets.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// All to this table, default routes as well.
    Number(u32),
}

/// As it is written in a file.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Who answers questions for names while the interface is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The servers.
    pub servers: Vec<IpAddr>,
    /// The domains in which short names are looked for, see [`is_domain`].
    pub search: Vec<String>,
}

impl Dns {
    /// Whether there is nothing to set. As with wg-quick, search domains alone are nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }
}

impl Setup {
    /// Refuses what cannot be meant, before anything is touched.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_name(&self.interface)?;
        if let Mtu::Bytes(mtu) = self.mtu
            && !(MTU_MIN..=65535).contains(&mtu)
        {
            return Err(Error::Setup(format!("MTU = {mtu}: choose {MTU_MIN} to 65535, or leave it out")));
        }
        if self.routes == Table::Number(0) {
            return Err(Error::Setup("Table = 0: choose a number from 1, `auto` or `off`".to_owned()));
        }
        if let Some(mark) = self.fwmark.filter(|mark| RESERVED_TABLES.contains(mark))
            && self.default_routes().next().is_some()
        {
            return Err(Error::Setup(format!(
                "FwMark = {mark} is also the number of the table for the default route, and that one is the kernel's: \
                 choose another, or leave it out"
            )));
        }
        match self.dns.search.iter().find(|name| !is_domain(name)) {
            Some(name) => Err(Error::Setup(format!("DNS = {name:?}: this is neither an address nor a domain"))),
            None => Ok(()),
        }
    }

    /// Whether the interface gets addresses or routes of IPv6.
    pub(crate) fn uses_ipv6(&self) -> bool {
        let routed = if self.routes == Table::Off { &[][..] } else { &self.allowed_ips };
        self.addresses.iter().chain(routed).any(|prefix| prefix.address().is_ipv6())
    }

    /// The families of the default routes that go to a table of their own.
    pub(crate) fn default_routes(&self) -> impl Iterator<Item = Prefix> + '_ {
        let to_own_table = self.routes == Table::Auto;
        let mut defaults: Vec<_> = self.allowed_ips.iter().filter(|prefix| prefix.is_default()).collect();
        defaults.sort_unstable();
        defaults.dedup_by_key(|prefix| prefix.network());
        defaults.into_iter().filter(move |_| to_own_table).map(|prefix| prefix.network())
    }
}

/// Whether it can be a search domain: letters, digits and any of `.-_`, not first a dot or a hyphen. They become lines
/// of a file and arguments of programs.
///
/// A `~` may stand before it: systemd-resolved asks the servers for names in the domain, and does not search in it.
/// `~.` is that for all names.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let name = text.strip_prefix('~').unwrap_or(text);
    let is_name = (1..=DOMAIN_LEN_MAX).contains(&name.len()) && !name.starts_with(['.', '-']);
    text == "~." || is_name && name.bytes().all(is_legal)
}

/// The names that wg-quick allows, except those that look like an option. They stand in the scripts and among the
/// arguments of other programs.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    let is_name = (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(is_name_byte);
    if is_name && name != "." && name != ".." && !name.starts_with('-') {
        return Ok(());
    }
    Err(Error::Setup(format!(
        "{name:?} cannot be the name of an interface: 1 to {NAME_LEN_MAX} letters, digits or any of _=+.- are allowed, \
         and no - at the start"
    )))
}
