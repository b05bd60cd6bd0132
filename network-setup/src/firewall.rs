//! Packets to our own addresses that do not come through the tunnel are dropped, and the answers to our UDP packets get
//! their mark: what a default route through the tunnel needs, as wg-quick has it.
//!
//! The program `nft` does it, as for wg-quick: its language stays the same while the attributes of nf_tables differ
//! between kernels, its library does not have to be linked, and it loads all tables at once or none.
//!
//! A table has the name of its interface, and the comment of a rule has the mark. So after a crash everything that was
//! made for an interface can be found: the table by its name, and the rules by that mark.
//!
//! Whoever loads a firewall anew flushes the tables of everybody (`nft flush ruleset`). So an update looks whether they
//! still are what the kernel made of them.
//!
//! What `nft` reads is made here from values and never taken as text from elsewhere: its language can read files, and
//! change the tables of others.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host::{Host, Program};
use crate::prefix::Prefix;
use crate::setup::check_name;

/// A family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// Of IPv4.
    Ip,
    /// Of IPv6.
    Ip6,
}

/// A change of the table that an interface has in a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableChange {
    /// Removes it whether it is there or not.
    Remove {
        /// Of which family.
        family: Family,
        /// Of which interface.
        interface: String,
    },
    /// Makes it, in place of one that is there.
    Make {
        /// Of which family.
        family: Family,
        /// Of which interface.
        interface: String,
        /// What is in it.
        content: TableContent,
    },
}

/// What the table of one family is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableContent {
    /// Of the interface's own UDP packets.
    pub mark: u32,
    /// Of the interface, in this family.
    pub addresses: Vec<IpAddr>,
}

/// The tables of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    interface: String,
    families: BTreeMap<Family, TableContent>,
}

const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ip } else { Self::Ip6 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

impl TableChange {
    /// Whether it can be a change of ours: nothing in it is more than its name says.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Remove { interface, .. } => check_name(interface).is_ok(),
            Self::Make { family, interface, content } => {
                check_name(interface).is_ok() && content.addresses.iter().all(|one| Family::of(*one) == *family)
            }
        }
    }
}

/// As `nft` takes it.
impl fmt::Display for TableChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove { family, interface } => f.write_str(&without(*family, &table_name(interface))),
            Self::Make { family, interface, content } => {
                f.write_str(&without(*family, &table_name(interface)))?;
                f.write_str(&table(*family, interface, content))
            }
        }
    }
}

impl Tables {
    /// Those for an interface of these addresses, with default routes for these families.
    pub(crate) fn new(interface: &str, mark: u32, defaults: &[Prefix], addresses: &[Prefix]) -> Self {
        let mut tables = Self { interface: interface.to_owned(), families: BTreeMap::new() };
        for default in defaults {
            let family = Family::of(default.address());
            let own = addresses.iter().map(|prefix| prefix.address()).filter(|one| Family::of(*one) == family);
            tables.families.insert(family, TableContent { mark, addresses: own.collect() });
        }
        tables
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Makes these tables of those. Nothing happens if they are the same.
    pub(crate) fn replace(&self, old: &Self, host: &Host) -> Result<(), Error> {
        let is_same = self.interface == old.interface;
        let removed = old.families.keys().filter(|family| !is_same || !self.families.contains_key(family));
        let removed = removed.map(|&family| TableChange::Remove { family, interface: old.interface.clone() });
        let made =
            self.families.iter().filter(|(family, content)| !is_same || old.families.get(family) != Some(content));
        let made = made.map(|(&family, content)| TableChange::Make {
            family,
            interface: self.interface.clone(),
            content: content.clone(),
        });
        let changes: Vec<_> = removed.chain(made).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let nft = host.program("nft").ok_or_else(missing)?;
        let what = format!("load the nftables tables {}", table_name(&self.interface));
        nft.run(&["-f", "-"], changes, &what).map(drop)
    }

    /// What the kernel has of them, as `nft` shows it: nothing in them counts. `None` if a table is missing.
    pub(crate) fn shown(&self, host: &Host) -> Result<Option<String>, Error> {
        let nft = host.program("nft").ok_or_else(missing)?;
        // One by one: older versions look into the family of the first table alone. What else can be wrong than that
        // there is none is said when they are loaded.
        let name = table_name(&self.interface);
        let show =
            |family: &Family| nft.run(&["list", "table", family.name(), &name], "", "list an nftables table").ok();
        Ok(self.families.keys().map(show).collect())
    }
}

/// The tables of an interface that an earlier process has left behind.
pub(crate) struct Leftover {
    nft: Program,
    interface: String,
    /// With the mark in it, if there is one.
    families: Vec<(Family, Option<u32>)>,
}

impl Leftover {
    /// `None` if there are none: `nft` has made them, so without it there are none either.
    pub(crate) fn find(host: &Host, interface: &str) -> Result<Option<Self>, Error> {
        let Some(nft) = host.program("nft") else { return Ok(None) };
        let name = table_name(interface);
        let all = match nft.run(&["list", "tables"], "", "list the nftables tables") {
            Ok(all) => all,
            // A kernel without nf_tables has none.
            Err(error) => {
                log::debug!("no nftables tables are looked for: {error}");
                return Ok(None);
            }
        };
        let mut families = Vec::new();
        for family in FAMILIES {
            if all.lines().any(|line| line.trim() == format!("table {} {name}", family.name())) {
                let text = nft.run(&["list", "table", family.name(), &name], "", "list an nftables table")?;
                families.push((family, mark_in(&text)));
            }
        }
        Ok((!families.is_empty()).then_some(Self { nft, interface: interface.to_owned(), families }))
    }

    /// For each table whether it is of IPv4, and the mark in it.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (bool, u32)> + '_ {
        self.families.iter().filter_map(|(family, mark)| Some((*family == Family::Ip, (*mark)?)))
    }

    pub(crate) fn remove(&self) -> Result<(), Error> {
        let remove = |&(family, _): &_| TableChange::Remove { family, interface: self.interface.clone() };
        let changes: Vec<_> = self.families.iter().map(remove).collect();
        let what = format!("remove the nftables tables {}", table_name(&self.interface));
        self.nft.run(&["-f", "-"], changes, &what).map(drop)
    }
}

/// Whether this is the name of a table of ours, for whatever interface.
pub(crate) fn is_table_name(name: &str) -> bool {
    let interface = name.strip_prefix("ringfort-").unwrap_or_default().replace("/2b", "+").replace("/3d", "=");
    check_name(&interface).is_ok() && table_name(&interface) == name
}

/// Of the characters of an interface's name, `nft` does not take two in the name of a table. No interface has a slash.
fn table_name(interface: &str) -> String {
    format!("ringfort-{}", interface.replace('+', "/2b").replace('=', "/3d"))
}

/// Removes a table whether it is there or not.
fn without(family: Family, name: &str) -> String {
    let family = family.name();
    format!("add table {family} {name}\ndelete table {family} {name}\n")
}

fn table(family: Family, interface: &str, TableContent { mark, addresses }: &TableContent) -> String {
    let (family, name) = (family.name(), table_name(interface));
    let mut text = format!("table {family} {name} {{\n  chain preraw {{ type filter hook prerouting priority -300;\n");
    for address in addresses {
        let rule = format!("iifname != \"{interface}\" {family} daddr {address} fib saddr type != local drop");
        let _ = writeln!(text, "    {rule}");
    }
    let _ = writeln!(
        text,
        "  }}
  chain premangle {{ type filter hook prerouting priority -150;
    meta l4proto udp meta mark set ct mark
  }}
  chain postmangle {{ type filter hook postrouting priority -150;
    meta l4proto udp meta mark {mark} ct mark set mark comment \"fwmark {mark}\"
  }}
}}"
    );
    text
}

fn mark_in(table: &str) -> Option<u32> {
    let (_, rest) = table.split_once("comment \"fwmark ")?;
    rest.split_once('"')?.0.parse().ok()
}

fn missing() -> Error {
    Error::Missing {
        what: "protect the addresses behind a default route".to_owned(),
        program: "nft".to_owned(),
        remedy: "Install nftables, or set `Table = off` and make the default route in PostUp".to_owned(),
    }
}
