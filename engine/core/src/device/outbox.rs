//! What leaves the device: the actions, and the indices by which it lets itself be addressed.

use std::collections::{BTreeMap, VecDeque};

use rand_core::CryptoRng;

use super::api::{Action, Datagram};
use crate::ids::{Endpoint, PeerId};

/// The receiver indices that are in use, for handshakes and for sessions.
///
/// Ordered, not hashed, so that a run of the simulator depends on its seed alone.
#[derive(Debug, Default)]
pub(super) struct Indices(BTreeMap<u32, PeerId>);

impl Indices {
    /// A random index that nobody has. Its low byte names the worker that will own the receiving half, so that sessions
    /// spread evenly over the workers.
    ///
    /// A million peers have at most four million indices of 2^32: the loop ends at once, given a random source that
    /// deserves its name.
    pub fn claim(&mut self, peer: PeerId, rng: &mut dyn CryptoRng) -> u32 {
        loop {
            let index = rng.next_u32();
            if let std::collections::btree_map::Entry::Vacant(entry) = self.0.entry(index) {
                entry.insert(peer);
                return index;
            }
        }
    }

    pub fn release(&mut self, index: u32) {
        self.0.remove(&index);
    }

    pub fn owner(&self, index: u32) -> Option<PeerId> {
        self.0.get(&index).copied()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub indices: Indices,
    actions: VecDeque<Action>,
}

impl Outbox {
    pub fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub fn pop(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if self.actions.is_empty() {
            // A configuration of 100,000 peers leaves a long queue once; its memory is not needed again.
            self.actions.shrink_to(1024);
        }
        action
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    pub fn send(&mut self, endpoint: Endpoint, message: &[u8], peer: Option<PeerId>) {
        let datagram = Datagram::new(message).expect("only handshake messages are sent, and they fit");
        self.push(Action::Send { endpoint, datagram, peer });
    }
}
