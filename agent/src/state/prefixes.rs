//! Whose prefix it is.
//!
//! The gateway gives a prefix to the peer that was set last, takes it from whoever had it, and tells nobody. So the
//! order in which peers are set would decide, and it is another one at each node. Here the revision decides: the value
//! that was written last has the prefix. The others are set without it, and with it once nobody later has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringfort_config::key_text::named;
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::PublicKey;

use super::State;
use crate::value::Settings;

/// Who wants each prefix, and who has it.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// With the revision of the value that wants it.
    wanted: BTreeSet<(Prefix, i64, PublicKey)>,
    /// At the gateway.
    held: BTreeMap<Prefix, PublicKey>,
}

/// What of a peer is among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Indexed {
    wanted: Option<Arc<Settings>>,
    revision: i64,
    held: Option<Arc<Settings>>,
}

impl Prefixes {
    /// Whose value has it, and was written last.
    fn owner(&self, prefix: Prefix) -> Option<PublicKey> {
        let all = (prefix, i64::MIN, PublicKey::new([0; 32]))..=(prefix, i64::MAX, PublicKey::new([u8::MAX; 32]));
        self.wanted.range(all).next_back().map(|(.., peer)| *peer)
    }
}

impl State {
    /// Takes notice of what a peer wants and has, and gives everybody the prefixes that follow. Says who else has
    /// others now.
    pub(super) fn share(&mut self, key: &PublicKey) -> BTreeSet<PublicKey> {
        let mut changed = BTreeSet::new();
        let Some(peer) = self.peers.get_mut(key) else { return changed };
        let held = peer.actual.as_ref().map(|actual| actual.settings.clone());
        let now = Indexed { wanted: peer.wanted.clone(), revision: peer.revision, held };
        let is_wanted_new = !is_same(&now.wanted, &peer.indexed.wanted) || now.revision != peer.indexed.revision;
        let is_held_new = !is_same(&now.held, &peer.indexed.held);
        if !is_wanted_new && !is_held_new {
            return changed;
        }
        let before = std::mem::replace(&mut peer.indexed, now.clone());
        if is_wanted_new {
            let mut owners = BTreeMap::new();
            for prefix in of(&before.wanted).chain(of(&now.wanted)) {
                owners.entry(prefix).or_insert_with(|| self.prefixes.owner(prefix));
            }
            for prefix in of(&before.wanted) {
                self.prefixes.wanted.remove(&(prefix, before.revision, *key));
            }
            for prefix in of(&now.wanted) {
                self.prefixes.wanted.insert((prefix, now.revision, *key));
            }
            for (prefix, before) in owners {
                let now = self.prefixes.owner(prefix);
                if now != before {
                    changed.extend(before.into_iter().chain(now));
                }
            }
            changed.insert(*key);
            changed.iter().for_each(|peer| self.give(peer));
        }
        if is_held_new {
            changed.extend(self.hold(key, &before.held, &now.held));
        }
        changed.remove(key);
        changed
    }

    /// The gateway has given a peer these prefixes in place of those. Who has lost some of them.
    fn hold(
        &mut self,
        key: &PublicKey,
        before: &Option<Arc<Settings>>,
        now: &Option<Arc<Settings>>,
    ) -> BTreeSet<PublicKey> {
        for prefix in of(before).filter(|prefix| !has(now, prefix)) {
            if self.prefixes.held.get(&prefix) == Some(key) {
                self.prefixes.held.remove(&prefix);
            }
        }
        let mut losers = BTreeSet::new();
        for prefix in of(now) {
            losers.extend(self.prefixes.held.insert(prefix, *key).filter(|loser| loser != key));
        }
        for loser in &losers {
            if let Some(peer) = self.peers.get_mut(loser)
                && let Some(actual) = &mut peer.actual
            {
                let settings = &actual.settings;
                let left = settings.allowed_ips.iter().copied().filter(|prefix| !has(now, prefix)).collect();
                actual.settings = Arc::new(settings.with(left, settings.persistent_keepalive_s));
                peer.indexed.held = Some(actual.settings.clone());
            }
        }
        losers
    }

    /// Finds out what of that which it wants a peer gets.
    pub(super) fn give(&mut self, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(wanted) = &peer.wanted else { return peer.given = None };
        let mut given = wanted.clone();
        let mut others = wanted.allowed_ips.iter().map(|prefix| (*prefix, self.prefixes.owner(*prefix)));
        let keepalive_s = if peer.is_quiet { 0 } else { wanted.persistent_keepalive_s };
        if others.any(|(_, owner)| owner != Some(*key)) || keepalive_s != wanted.persistent_keepalive_s {
            let is_own = |prefix: &Prefix| self.prefixes.owner(*prefix) == Some(*key);
            let own: Box<[Prefix]> = wanted.allowed_ips.iter().copied().filter(is_own).collect();
            let name = named(key, wanted.name.as_deref());
            for lost in wanted.allowed_ips.iter().filter(|prefix| own.binary_search(prefix).is_err()) {
                let was_known = peer.given.as_ref().is_some_and(|given| given.allowed_ips.binary_search(lost).is_err());
                if !was_known && self.complaints_left > 0 {
                    self.complaints_left -= 1;
                    let owner = self.prefixes.owner(*lost).map_or_else(String::new, |owner| named(&owner, None));
                    log::warn!("{name} goes without {lost}: {owner} has it as well, and was written later");
                }
            }
            given = Arc::new(wanted.with(own, keepalive_s));
        }
        // What was refused is known by its place.
        if peer.given.as_deref() != Some(&*given) || Arc::ptr_eq(&given, wanted) {
            peer.given = Some(given);
        }
    }
}

fn of(settings: &Option<Arc<Settings>>) -> impl Iterator<Item = Prefix> {
    settings.iter().flat_map(|settings| settings.allowed_ips.iter().copied())
}

fn has(settings: &Option<Arc<Settings>>, prefix: &Prefix) -> bool {
    // They are in order.
    settings.as_ref().is_some_and(|settings| settings.allowed_ips.binary_search(prefix).is_ok())
}

fn is_same(one: &Option<Arc<Settings>>, other: &Option<Arc<Settings>>) -> bool {
    one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr)
}
