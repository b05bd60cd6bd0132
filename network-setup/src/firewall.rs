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
//! What `nft` reads is made from values (`tables.rs`).

use std::collections::BTreeMap;

use crate::error::Error;
use crate::host::{Host, Program};
use crate::prefix::Prefix;
use crate::tables::{Family, TableChange, TableContent, table_name};

/// The tables of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    interface: String,
    families: BTreeMap<Family, TableContent>,
}

const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

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
