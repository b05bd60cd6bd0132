//! From what the kernel has to what it should have: only the difference is made.
//!
//! Each step looks at what is there. So a step that was made before is not made again, and the same steps towards the
//! target of before take back an update that failed half way.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use route_netlink::{LinkState, Route, Rule, RuleKind};

use crate::changes::Changes;
use crate::dns;
use crate::error::Error;
use crate::firewall::Tables;
use crate::host::Host;
use crate::kernel::{Interface, Kernel};
use crate::prefix::Prefix;
use crate::setup::Dns;
use crate::target::{MTU_MIN_IPV6, Target};

/// What is ours of what the kernel has. It is right after each step.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) interface: Interface,
    /// As it was before us.
    before: LinkState,
    is_mtu_set: bool,
    is_set_up: bool,
    addresses: HashSet<Prefix>,
    routes: HashSet<Route>,
    /// In the order in which they were added.
    rules: Vec<Rule>,
    /// Tables in which nothing gets through without another route.
    blocked: BTreeSet<u32>,
    firewall: Tables,
    /// What the kernel made of them.
    firewall_shown: Option<String>,
    /// Under which name of the interface.
    dns: (String, Dns),
}

impl State {
    pub(crate) fn new(interface: Interface, before: LinkState) -> Self {
        Self {
            interface,
            before,
            is_mtu_set: false,
            is_set_up: false,
            addresses: HashSet::new(),
            routes: HashSet::new(),
            rules: Vec::new(),
            blocked: BTreeSet::new(),
            firewall: Tables::default(),
            firewall_shown: None,
            dns: (String::new(), Dns::default()),
        }
    }

    /// As another process has left it, which had this target. Nothing is changed.
    pub(crate) fn resumed(
        kernel: &Kernel,
        host: &Host,
        interface: Interface,
        target: &Target,
        rules: Vec<Rule>,
    ) -> Result<Self, Error> {
        // What the interface was like before that process is not known: it stays as it is.
        let mut state = Self::new(interface, LinkState { up: true, mtu: None });
        let present = kernel.addresses(&state.interface)?;
        state.addresses = target.addresses.iter().copied().filter(|one| present.contains(one)).collect();
        let wanted: HashSet<_> = target.routes(&[]).into_iter().collect();
        for (ipv4, table) in target.tables() {
            let present = kernel.routes(&state.interface, ipv4, table)?;
            state.routes.extend(present.into_iter().filter(|route| wanted.contains(route)));
        }
        // They are if that process could neither make a change nor take it back.
        state.blocked = tables_of(&rules).collect();
        state.rules = rules;
        if !target.firewall.is_empty() {
            state.firewall = target.firewall.clone();
            state.firewall_shown = state.firewall.shown(host)?;
        }
        if !target.dns.is_empty() {
            state.dns = (state.interface.name.clone(), target.dns.clone());
        }
        Ok(state)
    }

    /// Makes the difference between what is there and the target.
    pub(crate) fn converge(&mut self, kernel: &Kernel, host: &Host, target: &Target) -> Result<Changes, Error> {
        let (named, link) = kernel.interface(&target.interface)?;
        if named.index != self.interface.index {
            return Err(Error::Setup(format!("{} is another interface now: set it up anew", target.interface)));
        }
        self.interface = named;
        let mut changes = Changes::default();
        // Below it the kernel has no IPv6 on an interface: it refuses addresses before, and takes all away afterwards,
        // also what the rules still lead to.
        let without_ipv6 = target.mtu < MTU_MIN_IPV6;
        if !without_ipv6 {
            self.set_mtu(kernel, target, link, &mut changes)?;
        }
        self.add_addresses(kernel, target, &mut changes)?;
        self.set_up(kernel, link, &mut changes)?;
        self.remove_addresses(kernel, target, &mut changes)?;
        let wanted = self.add_routes(kernel, target, &mut changes)?;
        if target.needs_valid_mark() {
            host.set_valid_mark()?;
        }
        // Before the rules: the tables say after a crash which rules there were. After them when rules go.
        let is_made = !target.firewall.is_empty();
        if is_made {
            self.set_firewall(host, target, &mut changes)?;
        }
        self.set_rules(kernel, target, &mut changes)?;
        self.unblock(kernel)?;
        if !is_made {
            self.set_firewall(host, target, &mut changes)?;
        }
        // After the rules: while they lead to a table, its default route must not be missing, or packets leave
        // unencrypted.
        self.remove_routes(kernel, &wanted, &mut changes)?;
        if without_ipv6 {
            self.set_mtu(kernel, target, link, &mut changes)?;
        }
        self.set_dns(host, &target.dns, &mut changes)?;
        Ok(changes)
    }

    /// Adds what is missing.
    fn add_addresses(&mut self, kernel: &Kernel, target: &Target, changes: &mut Changes) -> Result<(), Error> {
        let mut present = kernel.addresses(&self.interface)?;
        for wanted in target.addresses.iter().copied() {
            if present.contains(&wanted) {
                continue;
            }
            // IPv6 has each address once, whatever its prefix is.
            let is_same = |old: &Prefix| {
                wanted.address().is_ipv6() && old.address() == wanted.address() && self.addresses.contains(old)
            };
            if let Some(old) = present.iter().copied().find(is_same) {
                self.remove_address(kernel, old, changes)?;
                present.retain(|one| *one != old);
            }
            kernel.add_address(&self.interface, wanted)?;
            self.addresses.insert(wanted);
            changes.addresses_added.push(wanted);
        }
        Ok(())
    }

    /// Removes what is ours and no longer wanted. The kernel removes with the first address of a network its others,
    /// unless told otherwise (`promote_secondaries`), so these are looked for afterwards.
    fn remove_addresses(&mut self, kernel: &Kernel, target: &Target, changes: &mut Changes) -> Result<(), Error> {
        let wanted: HashSet<_> = target.addresses.iter().collect();
        let mut old: Vec<_> = self.addresses.iter().copied().filter(|one| !wanted.contains(one)).collect();
        old.sort_unstable();
        if old.is_empty() {
            return Ok(());
        }
        let present = kernel.addresses(&self.interface)?;
        let keeper = if is_last_ipv4(&present, &old) { self.keep_ways(kernel, target, &present)? } else { None };
        for address in old.iter().filter(|one| Some(**one) != keeper) {
            self.remove_address(kernel, *address, changes)?;
        }
        let left = kernel.addresses(&self.interface)?;
        for address in target.addresses.iter().filter(|one| self.addresses.contains(one) && !left.contains(one)) {
            kernel.add_address(&self.interface, *address)?;
        }
        match keeper {
            Some(keeper) if old.contains(&keeper) => self.remove_address(kernel, keeper, changes),
            Some(keeper) if !present.contains(&keeper) => self.remove_address(kernel, keeper, &mut Changes::default()),
            _ => Ok(()),
        }
    }

    /// The kernel removes with the last IPv4 address all IPv4 routes of the interface, in all tables, and packets would
    /// leave unencrypted until they are back. So one address stays meanwhile, or comes for that: it is returned. It is
    /// a network of its own, so it goes with no other. Where none is wanted, nothing gets past the tables meanwhile.
    fn keep_ways(&mut self, kernel: &Kernel, target: &Target, present: &[Prefix]) -> Result<Option<Prefix>, Error> {
        let wanted = target.addresses.iter().map(|one| one.address()).find(IpAddr::is_ipv4);
        let Some(keeper) = wanted.map(Prefix::host) else {
            self.blocked.extend(tables_of(&self.rules));
            return self.blocked.iter().try_for_each(|table| kernel.block(*table)).map(|()| None);
        };
        if !present.contains(&keeper) {
            kernel.add_address(&self.interface, keeper)?;
            // So it goes even if what follows fails.
            self.addresses.insert(keeper);
        }
        Ok(Some(keeper))
    }

    fn unblock(&mut self, kernel: &Kernel) -> Result<(), Error> {
        while let Some(table) = self.blocked.first().copied() {
            kernel.unblock(table)?;
            self.blocked.remove(&table);
        }
        Ok(())
    }

    fn remove_address(&mut self, kernel: &Kernel, address: Prefix, changes: &mut Changes) -> Result<(), Error> {
        let was_there = kernel.remove_address(&self.interface, address)?;
        self.addresses.remove(&address);
        changes.addresses_removed.extend(was_there.then_some(address));
        Ok(())
    }

    fn set_mtu(
        &mut self,
        kernel: &Kernel,
        target: &Target,
        link: LinkState,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        if link.mtu != Some(target.mtu) {
            kernel.set_mtu(&self.interface, target.mtu)?;
            self.is_mtu_set = true;
            changes.mtu = link.mtu.map(|before| (before, target.mtu));
        }
        Ok(())
    }

    fn set_up(&mut self, kernel: &Kernel, link: LinkState, changes: &mut Changes) -> Result<(), Error> {
        if !link.up {
            kernel.set_up(&self.interface, true)?;
            self.is_set_up = true;
            changes.set_up = true;
        }
        Ok(())
    }

    /// Adds what is missing, and says which routes are wanted.
    fn add_routes(&mut self, kernel: &Kernel, target: &Target, changes: &mut Changes) -> Result<HashSet<Route>, Error> {
        let ours = self.routes.iter().map(|route| (route.network.is_ipv4(), route.table));
        let mut present = Vec::new();
        for (ipv4, table) in target.tables().into_iter().chain(ours).collect::<BTreeSet<_>>() {
            present.extend(kernel.routes(&self.interface, ipv4, table)?);
        }
        let (mine, others): (Vec<_>, Vec<_>) = present.into_iter().partition(|route| self.routes.contains(route));
        let mine: HashSet<_> = mine.into_iter().collect();
        let wanted = target.routes(&others);
        // In a table of the operator's choice, a route that is there already is as good as ours.
        let others: HashSet<_> = others.into_iter().collect();
        let missing: Vec<_> =
            wanted.iter().copied().filter(|route| !mine.contains(route) && !others.contains(route)).collect();
        kernel.add_routes(&self.interface, &missing, |route| {
            self.routes.insert(route);
            changes.routes_added += 1;
        })?;
        Ok(wanted.into_iter().collect())
    }

    /// Removes what is ours and no longer wanted.
    fn remove_routes(&mut self, kernel: &Kernel, wanted: &HashSet<Route>, changes: &mut Changes) -> Result<(), Error> {
        let old: Vec<_> = self.routes.iter().copied().filter(|route| !wanted.contains(route)).collect();
        kernel.remove_routes(&self.interface, &old, |route, was_there| {
            self.routes.remove(&route);
            changes.routes_removed += usize::from(was_there);
        })
    }

    fn set_firewall(&mut self, host: &Host, target: &Target, changes: &mut Changes) -> Result<(), Error> {
        let nothing = Tables::default();
        let before = if self.firewall != target.firewall {
            &self.firewall
        } else if self.is_firewall_there(host) {
            return Ok(());
        } else {
            // None of them can be relied on, so all are made.
            &nothing
        };
        target.firewall.replace(before, host)?;
        self.firewall = target.firewall.clone();
        self.firewall_shown = if self.firewall.is_empty() { None } else { self.firewall.shown(host)? };
        changes.firewall = true;
        Ok(())
    }

    /// Whether nobody has removed or changed the tables. Where it cannot be known they count as there.
    fn is_firewall_there(&self, host: &Host) -> bool {
        if self.firewall.is_empty() {
            return true;
        }
        match self.firewall.shown(host) {
            Ok(shown) => shown == self.firewall_shown,
            Err(error) => {
                log::warn!("whether the nftables tables are still there cannot be seen: {error}");
                true
            }
        }
    }

    /// The order of the rules matters, so a family whose rules are not as they should be gets them anew: first all new
    /// ones, before the old ones, and then the old ones go.
    fn set_rules(&mut self, kernel: &Kernel, target: &Target, changes: &mut Changes) -> Result<(), Error> {
        for ipv4 in [true, false] {
            let wanted: Vec<_> = target.rules().into_iter().filter(|(family, _)| *family == ipv4).collect();
            let ours: Vec<_> = self.rules.iter().copied().filter(|rule| rule.ipv4 == ipv4).collect();
            if wanted.is_empty() && ours.is_empty() {
                continue;
            }
            let present = kernel.rules(ipv4)?;
            let is_same = ours.iter().map(|rule| (ipv4, rule.kind)).eq(wanted.iter().copied());
            if is_same && ours.iter().all(|rule| present.contains(rule)) {
                continue;
            }
            // What somebody else has removed may come again under its old number, and must not be taken for an old one.
            self.rules.retain(|rule| rule.ipv4 != ipv4 || present.contains(rule));
            let ours: Vec<_> = self.rules.iter().copied().filter(|rule| rule.ipv4 == ipv4).collect();
            for (ipv4, kind) in wanted {
                self.rules.push(kernel.add_rule(ipv4, kind)?);
                changes.rules_added += 1;
            }
            for rule in ours {
                changes.rules_removed += usize::from(kernel.remove_rule(rule)?);
                self.rules.retain(|one| *one != rule);
            }
        }
        Ok(())
    }

    fn set_dns(&mut self, host: &Host, dns: &Dns, changes: &mut Changes) -> Result<(), Error> {
        let wanted = if dns.is_empty() { Default::default() } else { (self.interface.name.clone(), dns.clone()) };
        if self.dns == wanted {
            return Ok(());
        }
        // To set them again replaces them, except under another name.
        if !self.dns.0.is_empty() && self.dns.0 != wanted.0 {
            dns::unset(host, &self.dns.0)?;
            self.dns = Default::default();
        }
        if !dns.is_empty() {
            // What fails half way has something to be taken back, unless there was nobody to do it.
            let old = std::mem::replace(&mut self.dns, wanted);
            dns::set(host, &self.interface.name, dns).inspect_err(|error| {
                if matches!(error, Error::Missing { .. }) {
                    self.dns = old;
                }
            })?;
        }
        changes.dns = true;
        Ok(())
    }

    /// Removes all that is ours, and goes on when something cannot be removed. Says what that is.
    pub(crate) fn take_back(mut self, kernel: &Kernel, host: &Host) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut note = |result: Result<(), Error>| errors.extend(result.err());
        let mut changes = Changes::default();
        note(self.set_dns(host, &Dns::default(), &mut changes));
        for rule in std::mem::take(&mut self.rules) {
            note(kernel.remove_rule(rule).map(drop));
        }
        note(self.unblock(kernel));
        note(Tables::default().replace(&self.firewall, host));
        match kernel.state(&self.interface) {
            // It has taken its routes and addresses along.
            Ok(None) => {}
            Err(error) => note(Err(error)),
            Ok(Some(link)) => {
                let routes: Vec<_> = self.routes.drain().collect();
                note(kernel.remove_routes(&self.interface, &routes, |_, _| {}));
                for address in std::mem::take(&mut self.addresses) {
                    note(kernel.remove_address(&self.interface, address).map(drop));
                }
                if let Some(mtu) = self.before.mtu.filter(|mtu| self.is_mtu_set && link.mtu != Some(*mtu)) {
                    note(kernel.set_mtu(&self.interface, mtu));
                }
                if self.is_set_up && !self.before.up {
                    note(kernel.set_up(&self.interface, false));
                }
            }
        }
        errors
    }
}

/// Whether no IPv4 address stays for certain when the old ones go.
fn is_last_ipv4(present: &[Prefix], old: &[Prefix]) -> bool {
    let is_ipv4 = |one: &&Prefix| one.address().is_ipv4();
    let goes = |one: &Prefix| old.iter().any(|old| old.network() == one.network());
    old.iter().any(|one| is_ipv4(&one)) && present.iter().filter(is_ipv4).all(goes)
}

/// To which IPv4 tables the rules lead.
fn tables_of(rules: &[Rule]) -> impl Iterator<Item = u32> + '_ {
    rules.iter().filter(|rule| rule.ipv4).filter_map(|rule| match rule.kind {
        RuleKind::Unmarked(mark) => Some(mark),
        RuleKind::MainWithoutDefault => None,
    })
}
