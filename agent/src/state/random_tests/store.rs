//! An etcd, and chance.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::Keys;
use crate::state::ClaimOp;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(super) fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    pub(super) fn is(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Revision, key, and the value and lease unless it was deleted.
pub(super) type Written = (i64, String, Option<(Vec<u8>, i64)>);

#[derive(Default)]
pub(super) struct Store {
    pub(super) revision: i64,
    pub(super) compacted: i64,
    /// Value, revision and lease.
    pub(super) keys: BTreeMap<String, (Vec<u8>, i64, i64)>,
    pub(super) events: Vec<Written>,
    pub(super) leases: BTreeSet<i64>,
    pub(super) next_lease: i64,
}

impl Store {
    pub(super) fn put(&mut self, key: String, value: Vec<u8>, lease: i64) -> i64 {
        self.revision += 1;
        self.keys.insert(key.clone(), (value.clone(), self.revision, lease));
        self.events.push((self.revision, key, Some((value, lease))));
        self.revision
    }

    pub(super) fn delete(&mut self, key: &str) -> i64 {
        if self.keys.remove(key).is_some() {
            self.revision += 1;
            self.events.push((self.revision, key.to_owned(), None));
        }
        self.revision
    }

    pub(super) fn grant(&mut self) -> i64 {
        self.next_lease += 1;
        self.leases.insert(self.next_lease);
        self.next_lease
    }

    pub(super) fn expire(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let keys: Vec<String> =
            self.keys.iter().filter(|(_, (_, _, under))| *under == lease).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.delete(&key);
        }
    }

    /// `Err`: the lease is gone.
    pub(super) fn write(&mut self, keys: &Keys, op: &ClaimOp) -> Result<Option<i64>, ()> {
        let key = keys.session(&op.peer);
        if self.keys.get(&key).map_or(0, |(_, revision, _)| *revision) != op.expected {
            return Ok(None);
        }
        match &op.owner {
            Some(_) if !self.leases.contains(&op.lease) => Err(()),
            Some(owner) => Ok(Some(self.put(key, owner.to_json(), op.lease))),
            None => Ok(Some(self.delete(&key))),
        }
    }
}
