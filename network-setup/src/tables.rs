//! Tables of the firewall as values, and the text that `nft` reads. It is made here and never taken from elsewhere: the
//! language of `nft` can read files, and change the tables of others.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ip } else { Self::Ip6 }
    }

    pub(crate) fn name(self) -> &'static str {
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

/// Whether this is the name of a table of ours, for whatever interface.
pub(crate) fn is_table_name(name: &str) -> bool {
    let interface = name.strip_prefix("ringfort-").unwrap_or_default().replace("/2b", "+").replace("/3d", "=");
    check_name(&interface).is_ok() && table_name(&interface) == name
}

/// Of the characters of an interface's name, `nft` does not take two in the name of a table. No interface has a slash.
pub(crate) fn table_name(interface: &str) -> String {
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
