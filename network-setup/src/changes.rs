//! What an update has changed.

use std::fmt;

use crate::prefix::Prefix;

/// What [`Applied::update`](crate::Applied::update) has changed. Printed, it is one line: `address +10.0.0.2/24; routes
/// +2 -1; MTU 1420 -> 1380`, or `nothing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Addresses that were added.
    pub addresses_added: Vec<Prefix>,
    /// Addresses that were removed.
    pub addresses_removed: Vec<Prefix>,
    /// How many routes were added, those in tables of their own as well.
    pub routes_added: usize,
    /// How many routes were removed.
    pub routes_removed: usize,
    /// How many rules were added.
    pub rules_added: usize,
    /// How many rules were removed.
    pub rules_removed: usize,
    /// The MTU before and after.
    pub mtu: Option<(u32, u32)>,
    /// The interface was down, and is up again.
    pub set_up: bool,
    /// The nftables tables were made, replaced or removed.
    pub firewall: bool,
    /// The name servers or search domains were set, replaced or removed.
    pub dns: bool,
}

impl Changes {
    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let addresses = |sign, list: &[Prefix]| list.iter().map(|one| format!(" {sign}{one}")).collect::<String>();
        let (added, removed) = (addresses('+', &self.addresses_added), addresses('-', &self.addresses_removed));
        if !added.is_empty() || !removed.is_empty() {
            parts.push(format!("address{added}{removed}"));
        }
        for (name, added, removed) in
            [("routes", self.routes_added, self.routes_removed), ("rules", self.rules_added, self.rules_removed)]
        {
            let part = |sign, count| if count == 0 { String::new() } else { format!(" {sign}{count}") };
            if added + removed > 0 {
                parts.push(format!("{name}{}{}", part('+', added), part('-', removed)));
            }
        }
        if let Some((before, after)) = self.mtu {
            parts.push(format!("MTU {before} -> {after}"));
        }
        for (name, changed) in [("set up", self.set_up), ("nftables", self.firewall), ("DNS", self.dns)] {
            if changed {
                parts.push(name.to_owned());
            }
        }
        f.write_str(if parts.is_empty() { "nothing" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_it_all() {
        assert_eq!(Changes::default().to_string(), "nothing");
        let changes = Changes {
            addresses_added: vec!["10.0.0.2/24".parse().unwrap()],
            addresses_removed: vec!["10.0.0.1/24".parse().unwrap()],
            routes_added: 2,
            rules_removed: 4,
            mtu: Some((1420, 1380)),
            dns: true,
            ..Changes::default()
        };
        let line = "address +10.0.0.2/24 -10.0.0.1/24; routes +2; rules -4; MTU 1420 -> 1380; DNS";
        assert_eq!(changes.to_string(), line);
        assert!(!changes.is_empty());
    }
}
