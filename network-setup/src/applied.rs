//! A setup as it stands, and how it changes.

use std::collections::BTreeSet;

use route_netlink::{PROTOCOL_OURS, Rule, RuleKind};

use crate::changes::Changes;
use crate::converge::State;
use crate::dns;
use crate::error::Error;
use crate::firewall::Leftover;
use crate::host::Host;
use crate::kernel::{Kernel, is_free};
use crate::setup::{Mtu, Setup, check_name};
use crate::target::{Target, check_mtu, mark_for, mtu_for};

/// What was set up for an interface. Dropped, it stays as it is.
#[derive(Debug)]
pub struct Applied {
    setup: Setup,
    mark: Option<u32>,
    target: Target,
    state: State,
    host: Host,
}

/// The mark that the interface's own UDP packets must carry: the one that the setup names. Else, if it has a default
/// route that would catch them, 51820 or the next number whose routing table is empty. Ask before the sockets are
/// opened, set their mark, and name it in the [`Setup`] that is applied.
///
/// # Errors
/// [`Error`] if the setup cannot be meant, or the kernel does not tell its routes.
pub fn fwmark_for(setup: &Setup) -> Result<Option<u32>, Error> {
    setup.check()?;
    mark_for(setup)
}

/// Sets up the network of an interface that exists, and sets the interface up. What an earlier process has left behind
/// for it is [taken back](take_back) first.
///
/// # Errors
/// [`Error`]. Then nothing is left of it, except as [`Error::Left`] says.
pub fn apply(setup: &Setup) -> Result<Applied, Error> {
    apply_on(Host::this(), setup)
}

/// What another process has set up so, which leaves it to this one: nothing is changed. What is missing of it comes
/// back with the next [`Applied::update`]. `setup` names the mark that is in use, if there is one.
///
/// # Errors
/// [`Error`]. Then all is as it was, and nobody looks after it.
pub fn resume(setup: &Setup) -> Result<Applied, Error> {
    setup.check()?;
    let (kernel, host) = (Kernel::open()?, Host::this());
    let (interface, link) = kernel.interface(&setup.interface)?;
    let mark = mark_for(setup)?;
    let target = Target::new(setup, mark, link.mtu.map_or_else(|| mtu_for(&kernel, setup, mark), Ok)?);
    let mut rules = Vec::new();
    for ipv4 in [true, false].into_iter().filter(|ipv4| target.rules().iter().any(|(family, _)| family == ipv4)) {
        let ours: Vec<_> = kernel.rules(ipv4)?.into_iter().filter(|rule| rule.protocol == PROTOCOL_OURS).collect();
        rules.extend(mark.and_then(|mark| pairs_of(&ours, mark).into_iter().next()).unwrap_or_default());
    }
    let state = State::resumed(&kernel, &host, interface, &target, rules)?;
    Ok(Applied { setup: setup.clone(), mark, target, state, host })
}

/// Removes what a process that was killed has left behind for an interface of this name: rules and nftables tables
/// outlive the interface, and so do name servers. Routes and addresses went with it, except the `unreachable` route
/// that keeps the tunnel closed while its IPv4 routes come back. Nothing is there: nothing happens.
///
/// Rules are found by the mark in the tables. If a firewall that was loaded anew has flushed these, they are found by
/// their protocol, which tells them from those of wg-quick and of operators.
///
/// # Errors
/// [`Error`] if something could not be removed.
pub fn take_back(interface: &str) -> Result<(), Error> {
    check_name(interface)?;
    take_back_on(&Host::this(), interface)
}

impl Applied {
    /// The mark of the interface's own UDP packets, if there is one.
    #[must_use]
    pub fn fwmark(&self) -> Option<u32> {
        self.mark
    }

    /// The MTU of the interface.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.target.mtu
    }

    /// Makes the difference between what is there and another setup of the same interface, and nothing else. If the
    /// setup names no mark, but needs one, the one in use stays in use. An automatic MTU stays unless the setting or
    /// the endpoints are others. It may run `nft` and `resolvconf`, and wait for them.
    ///
    /// # Errors
    /// [`Error`]. Then everything is as before, except as [`Error::Left`] says.
    pub fn update(&mut self, setup: &Setup) -> Result<Changes, Error> {
        setup.check()?;
        let kernel = Kernel::open()?;
        let in_use = self.mark.filter(|_| setup.default_routes().next().is_some());
        let named = setup.fwmark.filter(|mark| *mark != 0).or(in_use);
        let mark = mark_for(&Setup { fwmark: named, ..setup.clone() })?;
        let was_auto = setup.mtu == Mtu::Auto && self.setup.mtu == Mtu::Auto;
        let has_same_ways = setup.endpoints == self.setup.endpoints && setup.uses_ipv6() == self.setup.uses_ipv6();
        let keeps_mtu = was_auto && has_same_ways;
        let mtu = if keeps_mtu { self.target.mtu } else { mtu_for(&kernel, setup, mark)? };
        check_mtu(setup, mtu)?;
        let target = Target::new(setup, mark, mtu);
        match self.state.converge(&kernel, &self.host, &target) {
            Ok(changes) => {
                (self.setup, self.mark, self.target) = (setup.clone(), mark, target);
                Ok(changes)
            }
            Err(error) => {
                let back = self.state.converge(&kernel, &self.host, &self.target);
                Err(with_left(error, back.err().into_iter().collect()))
            }
        }
    }

    /// Removes all that was set up. The interface is down again if it was down before, and has its old MTU. An
    /// interface that is gone has taken its addresses and routes along. `net.ipv4.conf.all.src_valid_mark` stays set,
    /// as with wg-quick: others may need it.
    ///
    /// # Errors
    /// [`Error`] says what is left. What could be removed is removed.
    pub fn take_back(self) -> Result<(), Error> {
        let mut errors = self.state.take_back(&Kernel::open()?, &self.host).into_iter();
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(with_left(first, errors.collect())),
        }
    }
}

pub(crate) fn apply_on(host: Host, setup: &Setup) -> Result<Applied, Error> {
    setup.check()?;
    let kernel = Kernel::open()?;
    let (interface, before) = kernel.interface(&setup.interface)?;
    take_back_on(&host, &setup.interface)?;
    let mark = mark_for(setup)?;
    let mtu = mtu_for(&kernel, setup, mark)?;
    check_mtu(setup, mtu)?;
    let target = Target::new(setup, mark, mtu);
    let mut state = State::new(interface, before);
    match state.converge(&kernel, &host, &target) {
        Ok(_) => Ok(Applied { setup: setup.clone(), mark, target, state, host }),
        Err(error) => Err(with_left(error, state.take_back(&kernel, &host))),
    }
}

pub(crate) fn take_back_on(host: &Host, interface: &str) -> Result<(), Error> {
    dns::unset_left_behind(host, interface)?;
    let kernel = Kernel::open()?;
    let Some(tables) = Leftover::find(host, interface)? else { return take_back_rules(&kernel, interface) };
    for (ipv4, mark) in tables.marks() {
        let pairs = pairs_of(&kernel.rules(ipv4)?, mark);
        if ipv4 {
            // Of one that was killed in the midst of a change.
            kernel.unblock(mark)?;
        }
        // A table in use is somebody else's by now, who took the number because the table was empty. Of rules that are
        // equal, ours are the oldest, and it is enough that one pair stays.
        let ours = if is_free(mark)? { &pairs[..] } else { &pairs[pairs.len().saturating_sub(1)..] };
        for rule in ours.iter().flatten() {
            kernel.remove_rule(*rule)?;
        }
    }
    tables.remove()?;
    take_back_rules(&kernel, interface)
}

/// Removes rules of ours that lead nowhere, or into this interface, which nobody serves. A gateway that lives has
/// routes for as long as it has rules, so nothing of it is touched.
fn take_back_rules(kernel: &Kernel, interface: &str) -> Result<(), Error> {
    let interface = match kernel.interface(interface) {
        Ok((found, _)) => Some(found),
        Err(Error::NoInterface(_)) => None,
        Err(error) => return Err(error),
    };
    for ipv4 in [true, false] {
        let rules: Vec<_> = kernel.rules(ipv4)?.into_iter().filter(|rule| rule.protocol == PROTOCOL_OURS).collect();
        let marks: BTreeSet<_> = rules.iter().filter_map(mark_of).collect();
        for mark in marks {
            let routes = match &interface {
                Some(interface) => kernel.routes(interface, ipv4, mark)?,
                None => Vec::new(),
            };
            if routes.is_empty() && !is_free(mark)? {
                continue;
            }
            for rule in pairs_of(&rules, mark).iter().flatten() {
                kernel.remove_rule(*rule)?;
            }
            if let Some(interface) = &interface {
                kernel.remove_routes(interface, &routes, |_, _| {})?;
            }
        }
    }
    Ok(())
}

fn mark_of(rule: &Rule) -> Option<u32> {
    match rule.kind {
        RuleKind::Unmarked(mark) => Some(mark),
        RuleKind::MainWithoutDefault => None,
    }
}

/// The rules of this mark, the newest first, each with the rule that was added right after it: the nearest one before
/// it.
fn pairs_of(rules: &[Rule], mark: u32) -> Vec<Vec<Rule>> {
    let unmarked = rules.iter().enumerate().filter(|(_, rule)| rule.kind == RuleKind::Unmarked(mark));
    let with_partner = unmarked.map(|(position, rule)| {
        let before = rules[..position].iter().rev();
        let partner = before.take_while(|one| !matches!(one.kind, RuleKind::Unmarked(_))).next();
        [Some(*rule), partner.copied()].into_iter().flatten().collect()
    });
    with_partner.collect()
}

fn with_left(error: Error, left: Vec<Error>) -> Error {
    if left.is_empty() {
        return error;
    }
    Error::Left { error: Box::new(error), left: left.iter().map(ToString::to_string).collect() }
}

#[cfg(test)]
#[path = "applied_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "wg_quick_tests.rs"]
mod wg_quick_tests;
