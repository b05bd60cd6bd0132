//! Name servers, through `resolvconf(8)`, or `resolvectl(1)` of systemd-resolved where that is all there is.

use std::fs;

use crate::error::Error;
use crate::host::{Host, Program};
use crate::setup::Dns;

/// Where the implementations of resolvconf keep what an interface has brought (Debian's, openresolv's, older ones).
const RECORDS: [&str; 4] = [
    "/run/resolvconf/interface",
    "/run/resolvconf/interfaces",
    "/run/resolvconf/keys",
    "/etc/resolvconf/run/interface",
];
/// Debian's resolvconf puts interfaces in the order of this file.
const ORDER: &str = "/etc/resolvconf/interface-order";

enum Resolver {
    Resolvconf(Program),
    Resolvectl(Program),
}

/// Sets the name servers of an interface. They are the only ones that are asked.
pub(crate) fn set(host: &Host, interface: &str, dns: &Dns) -> Result<(), Error> {
    let what = "set the name servers (DNS)";
    match resolver(host).ok_or_else(missing)? {
        Resolver::Resolvconf(program) => {
            let mut input: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
            if !dns.search.is_empty() {
                input += &format!("search {}\n", dns.search.join(" "));
            }
            program.run(&["-a", &record(host, interface), "-m", "0", "-x"], input.as_str(), what)?;
        }
        Resolver::Resolvectl(program) => {
            let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
            let servers: Vec<_> = ["dns", interface].into_iter().chain(servers.iter().map(String::as_str)).collect();
            program.run(&servers, "", what)?;
            // The domain `~.` is that of all names: no other server is asked.
            let domains: Vec<_> =
                ["domain", interface, "~."].into_iter().chain(dns.search.iter().map(String::as_str)).collect();
            program.run(&domains, "", what)?;
        }
    }
    Ok(())
}

/// Takes the name servers of an interface away.
pub(crate) fn unset(host: &Host, interface: &str) -> Result<(), Error> {
    let what = "take the name servers (DNS) back";
    match resolver(host).ok_or_else(missing)? {
        Resolver::Resolvconf(program) => program.run(&["-d", &record(host, interface), "-f"], "", what)?,
        Resolver::Resolvectl(program) => program.run(&["revert", interface], "", what)?,
    };
    Ok(())
}

/// Takes away what an earlier process has left. systemd-resolved forgets an interface that is gone by itself.
pub(crate) fn unset_left_behind(host: &Host, interface: &str) -> Result<(), Error> {
    let record = record(host, interface);
    let is_there = RECORDS.iter().any(|directory| host.file(directory).join(&record).exists());
    if is_there && host.program("resolvconf").is_some() { unset(host, interface) } else { Ok(()) }
}

fn resolver(host: &Host) -> Option<Resolver> {
    let resolvconf = host.program("resolvconf").map(Resolver::Resolvconf);
    resolvconf.or_else(|| host.program("resolvectl").map(Resolver::Resolvectl))
}

fn missing() -> Error {
    Error::Missing {
        what: "set the name servers (DNS)".to_owned(),
        program: "resolvconf or resolvectl".to_owned(),
        remedy: "Install openresolv or systemd-resolved, or leave DNS out and set the name servers in PostUp"
            .to_owned(),
    }
}

/// The name under which resolvconf keeps the servers of an interface. Where it has an order, the first kind of
/// interface in it comes first, for instance `tun.wg0`.
///
/// The order may be left from Debian's resolvconf, and the program be systemd's, which then looks for an interface of
/// that name. That one is a link to resolvectl.
fn record(host: &Host, interface: &str) -> String {
    if host.program("resolvconf").is_some_and(|program| program.is_link()) {
        return interface.to_owned();
    }
    let order = fs::read_to_string(host.file(ORDER)).unwrap_or_default();
    let is_kind =
        |kind: &&str| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match order.lines().filter_map(|line| line.strip_suffix('*')).find(is_kind) {
        Some(kind) => format!("{kind}.{interface}"),
        None => interface.to_owned(),
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
