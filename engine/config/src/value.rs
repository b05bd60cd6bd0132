//! The values of settings. Each is parsed in full or refused.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use network_setup::{Table, is_domain};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::device::is_name;

use super::config::{Address, Dns, Endpoint};
use super::mistake::Problem;

/// Whether a datagram can leave from this address. A link-local one says nothing without its interface.
#[must_use]
pub fn is_source(addr: &IpAddr) -> bool {
    let link_local = matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !addr.is_unspecified() && !addr.is_multicast() && !link_local && *addr != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The elements of a list, each with its place in it in bytes.
pub(crate) fn elements(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(',').map(move |part| {
        let start = at + (part.len() - part.trim_start().len());
        at += part.len() + 1;
        (start, part.trim())
    })
}

/// `192.0.2.0/24`, or `192.0.2.7` for the one address. Bits behind the prefix are cleared, as `wg` does.
pub(crate) fn allowed_ip(text: &str) -> Result<Prefix, Problem> {
    if text.starts_with(['+', '-']) {
        return Err(Problem::IncrementalPrefix);
    }
    let Address { addr, len } = address(text).ok_or(Problem::AllowedIp)?;
    Prefix::new(addr, len).ok_or(Problem::AllowedIp)
}

pub(crate) fn address(text: &str) -> Option<Address> {
    let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
    let addr: IpAddr = addr.parse().ok()?;
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => bits,
        Some(len) => digits(len)?.parse().ok().filter(|&len| len <= bits)?,
    };
    Some(Address { addr, len })
}

pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Problem> {
    let (host, port) = text.rsplit_once(':').ok_or(Problem::EndpointWithoutPort)?;
    let port = digits(port).and_then(|port| port.parse().ok()).filter(|&port| port > 0).ok_or(Problem::EndpointPort)?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let (addr, zone) = inner.split_once('%').map_or((inner, None), |(addr, zone)| (addr, Some(zone)));
        let addr: Ipv6Addr = addr.parse().map_err(|_| Problem::EndpointHost)?;
        return match zone {
            None => Ok(Endpoint::Address(SocketAddr::new(addr.into(), port))),
            Some(zone) if is_interface(zone) => Ok(Endpoint::Name { host: format!("{addr}%{zone}"), port }),
            Some(_) => Err(Problem::EndpointHost),
        };
    }
    if host.contains(':') {
        return Err(Problem::EndpointBrackets);
    }
    if let Ok(addr) = host.parse::<Ipv4Addr>() {
        return Ok(Endpoint::Address(SocketAddr::new(addr.into(), port)));
    }
    is_host(host).then(|| Endpoint::Name { host: host.to_owned(), port }).ok_or(Problem::EndpointHost)
}

impl Endpoint {
    /// What a file can say of `addr` for good. An interface is another number after the next start of the machine, so a
    /// link-local address gets the name that `name_of` finds for it. `None` without a name, or if files can have no
    /// such name or port.
    #[must_use]
    pub fn lasting(addr: SocketAddr, name_of: impl FnOnce(u32) -> Option<String>) -> Option<Self> {
        let (ip, port) = (addr.ip(), addr.port());
        if port == 0 {
            return None;
        }
        match addr {
            SocketAddr::V6(v6) if v6.scope_id() != 0 && v6.ip().is_unicast_link_local() => {
                let zone = name_of(v6.scope_id()).filter(|name| is_interface(name))?;
                Some(Self::Name { host: format!("{ip}%{zone}"), port })
            }
            _ => Some(Self::Address(SocketAddr::new(ip, port))),
        }
    }
}

pub(crate) fn dns(text: &str) -> Result<Dns, Problem> {
    match text.parse() {
        Ok(addr) => Ok(Dns::Server(addr)),
        Err(_) if is_domain(text) => Ok(Dns::Search(text.to_owned())),
        Err(_) => Err(Problem::Dns),
    }
}

pub(crate) fn fwmark(text: &str) -> Option<u32> {
    if text.eq_ignore_ascii_case("off") {
        return Some(0);
    }
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => digits(text)?.parse().ok(),
    }
}

pub(crate) fn keepalive(text: &str) -> Option<u16> {
    if text.eq_ignore_ascii_case("off") { Some(0) } else { digits(text)?.parse().ok() }
}

pub(crate) fn port(text: &str) -> Option<u16> {
    digits(text)?.parse().ok()
}

pub(crate) fn mtu(text: &str) -> Option<u32> {
    /// The least that IPv4 asks of a link, and the most that a packet can be.
    const RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;
    digits(text)?.parse().ok().filter(|mtu| RANGE.contains(mtu))
}

pub(crate) fn table(text: &str) -> Option<Table> {
    /// `RT_TABLE_MAIN` and `RT_TABLE_DEFAULT` of the uapi header `linux/rtnetlink.h`.
    const MAIN: u32 = 254;
    const DEFAULT: u32 = 253;
    match text {
        "auto" => Some(Table::Auto),
        "off" => Some(Table::Off),
        "main" => Some(Table::Number(MAIN)),
        "default" => Some(Table::Number(DEFAULT)),
        _ => digits(text)?.parse().ok().filter(|&number| number > 0).map(Table::Number),
    }
}

pub(crate) fn flag(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// Something that fits on a line of a table. A `#` would be a comment when the file is written again.
pub(crate) fn name(text: &str) -> Option<&str> {
    (is_name(text) && !text.contains('#')).then_some(text)
}

/// Adds all elements of a list, or says what is wrong with each.
pub(crate) fn extend(set: &mut BTreeSet<Prefix>, text: &str, mut refuse: impl FnMut(usize, Problem)) {
    for (at, element) in elements(text) {
        match allowed_ip(element) {
            Ok(prefix) => drop(set.insert(prefix)),
            Err(problem) => refuse(at, problem),
        }
    }
}

/// The text if it is digits alone: `parse` takes a sign as well.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

/// The characters of host names, and the underscore, which some use. Other alphabets are written as `xn--`.
fn is_host(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(legal) && !text.starts_with(['-', '.'])
}

fn is_interface(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"/[]:#%".contains(&byte);
    (1..=15).contains(&text.len()) && text.bytes().all(legal)
}
