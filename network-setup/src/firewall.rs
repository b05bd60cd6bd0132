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

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::Error;
use crate::host::{Host, Program};
use crate::prefix::Prefix;

/// The tables of one interface: for each family its text, as `nft` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    name: String,
    families: BTreeMap<&'static str, String>,
}

const FAMILIES: [&str; 2] = ["ip", "ip6"];

impl Tables {
    /// Those for an interface of these addresses, with default routes for these families.
    pub(crate) fn new(interface: &str, mark: u32, defaults: &[Prefix], addresses: &[Prefix]) -> Self {
        let mut tables = Self { name: table_name(interface), families: BTreeMap::new() };
        for default in defaults {
            let is_ipv4 = default.address().is_ipv4();
            let family = if is_ipv4 { "ip" } else { "ip6" };
            let own = addresses.iter().filter(|one| one.address().is_ipv4() == is_ipv4);
            tables.families.insert(family, table(family, &tables.name, interface, mark, own));
        }
        tables
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Makes these tables of those. Nothing happens if they are the same.
    pub(crate) fn replace(&self, old: &Self, host: &Host) -> Result<(), Error> {
        let mut script = String::new();
        for (family, _) in old.families.iter().filter(|(family, _)| self.name != old.name || !self.has(family)) {
            script += &without(family, &old.name);
        }
        for (family, text) in self
            .families
            .iter()
            .filter(|(family, text)| self.name != old.name || old.families.get(*family) != Some(text))
        {
            script += &without(family, &self.name);
            script += text;
        }
        if script.is_empty() {
            return Ok(());
        }
        let nft = host.program("nft").ok_or_else(missing)?;
        nft.run(&["-f", "-"], &script, &format!("load the nftables tables {}", self.name)).map(drop)
    }

    /// What the kernel has of them, as `nft` shows it: nothing in them counts. `None` if a table is missing.
    pub(crate) fn shown(&self, host: &Host) -> Result<Option<String>, Error> {
        let nft = host.program("nft").ok_or_else(missing)?;
        // One by one: older versions look into the family of the first table alone. What else can be wrong than that
        // there is none is said when they are loaded.
        let show = |family| nft.run(&["list", "table", family, &self.name], "", "list an nftables table").ok();
        Ok(self.families.keys().map(|family| show(family)).collect())
    }

    fn has(&self, family: &str) -> bool {
        self.families.contains_key(family)
    }
}

/// The tables of an interface that an earlier process has left behind.
pub(crate) struct Leftover {
    nft: Program,
    name: String,
    /// With the mark in it, if there is one.
    families: Vec<(&'static str, Option<u32>)>,
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
            if all.lines().any(|line| line.trim() == format!("table {family} {name}")) {
                let text = nft.run(&["list", "table", family, &name], "", "list an nftables table")?;
                families.push((family, mark_in(&text)));
            }
        }
        Ok((!families.is_empty()).then_some(Self { nft, name, families }))
    }

    /// For each table whether it is of IPv4, and the mark in it.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (bool, u32)> + '_ {
        self.families.iter().filter_map(|(family, mark)| Some((*family == "ip", (*mark)?)))
    }

    pub(crate) fn remove(&self) -> Result<(), Error> {
        let script: String = self.families.iter().map(|(family, _)| without(family, &self.name)).collect();
        self.nft.run(&["-f", "-"], &script, &format!("remove the nftables tables {}", self.name)).map(drop)
    }
}

/// Of the characters of an interface's name, `nft` does not take two in the name of a table. No interface has a slash.
fn table_name(interface: &str) -> String {
    format!("ringfort-{}", interface.replace('+', "/2b").replace('=', "/3d"))
}

/// Removes a table whether it is there or not.
fn without(family: &str, name: &str) -> String {
    format!("add table {family} {name}\ndelete table {family} {name}\n")
}

fn table<'a>(
    family: &str,
    name: &str,
    interface: &str,
    mark: u32,
    addresses: impl Iterator<Item = &'a Prefix>,
) -> String {
    let mut text = format!("table {family} {name} {{\n  chain preraw {{ type filter hook prerouting priority -300;\n");
    for address in addresses.map(|prefix| prefix.address()) {
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
