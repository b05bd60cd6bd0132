//! What leaves the device: the actions, and the indices by which it lets itself be addressed.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use rand_core::CryptoRng;

use super::api::{Action, Datagram, Notice, Outgoing};
use super::outcomes::HandshakeCounts;
use crate::crypto::PublicKey;
use crate::ids::{self, Endpoint, PeerId, owned_by};
use crate::index_filter::IndexFilter;
use crate::node::Node;
use crate::outpost::Outpost;

/// Random indices that are tried for a worker before any other may have the session. If half of a worker's indices are
/// in use, one of 2^64 sessions goes elsewhere.
const ATTEMPTS_FOR_A_WORKER: u32 = 64;

/// Which worker gets a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The one that owns this index: the packets of a peer that is at work keep their order when its key changes.
    With(u32),
    /// The one with the fewest indices, of several the first: for whoever asks.
    FirstIdle,
    /// Of several the last: for whoever is asked. Of two gateways on one machine, as laboratories have them, each thus
    /// begins at its end of the cores, and both do not receive on the same one.
    LastIdle,
}

/// The receiver indices that are in use, for handshakes and for sessions.
///
/// Ordered, not hashed, so a run of the simulator depends on its seed alone.
#[derive(Debug)]
pub(super) struct Indices {
    owners: BTreeMap<u32, PeerId>,
    /// How many indices each worker has.
    load: Box<[u32]>,
    /// The same for the workers, not quite as exact.
    filter: Arc<IndexFilter>,
    /// Which of several gateways chooses them.
    pub node: Node,
    /// And for who stands in front of them.
    pub outpost: Option<Arc<dyn Outpost>>,
}

impl Indices {
    /// No index is in use, and there are that many workers, at least one.
    pub fn new(workers: u8) -> Self {
        let load = vec![0; usize::from(workers.max(1))].into_boxed_slice();
        Self { owners: BTreeMap::new(), load, filter: Arc::default(), node: Node::SINGLE, outpost: None }
    }

    /// Which indices may be in use, for those who cannot ask.
    pub fn filter(&self) -> &Arc<IndexFilter> {
        &self.filter
    }

    /// A random index that nobody has. Only two parts are not random: its low byte names the worker that will own the
    /// receiving half, and its top bits the gateway, if there are several.
    ///
    /// A million peers have at most four million indices of 2^24 or more: the loop ends at once, given a random source
    /// that deserves its name. Of many workers one may have none left. Then another one gets the session.
    pub fn claim(&mut self, peer: PeerId, place: Place, rng: &mut dyn CryptoRng) -> u32 {
        let worker = match place {
            Place::With(index) => self.worker(index),
            Place::FirstIdle => self.idlest(0..self.load.len()),
            Place::LastIdle => self.idlest((0..self.load.len()).rev()),
        };
        let mut attempts = 0;
        loop {
            let random = self.node.own(rng.next_u32());
            let is_preferred = attempts < ATTEMPTS_FOR_A_WORKER;
            let index = if is_preferred { owned_by(random, worker as u32, self.load.len() as u32) } else { random };
            if self.claim_this(index, peer) {
                return index;
            }
            attempts += u32::from(is_preferred);
        }
    }

    /// Claims this index. False: somebody has it.
    pub fn claim_this(&mut self, index: u32, peer: PeerId) -> bool {
        let Entry::Vacant(entry) = self.owners.entry(index) else { return false };
        entry.insert(peer);
        let worker = self.worker(index);
        self.load[worker] += 1;
        self.filter.note(index, self.owners.len(), self.owners.keys().copied());
        if let Some(outpost) = &self.outpost {
            outpost.note_index(index);
        }
        true
    }

    pub fn release(&mut self, index: u32) {
        if self.owners.remove(&index).is_some() {
            self.load[self.worker(index)] -= 1;
            self.filter.forget(index);
            if let Some(outpost) = &self.outpost {
                outpost.forget_index(index);
            }
        }
    }

    pub fn owner(&self, index: u32) -> Option<PeerId> {
        self.owners.get(&index).copied()
    }

    fn worker(&self, index: u32) -> usize {
        ids::owner(index, self.load.len())
    }

    /// The first of `workers` that has no more indices than any other.
    fn idlest(&self, workers: impl Iterator<Item = usize>) -> usize {
        workers.min_by_key(|&worker| self.load[worker]).unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.owners.len()
    }
}

#[derive(Debug)]
pub(super) struct Outbox {
    pub indices: Indices,
    /// What became of handshakes so far: every step of a peer that changes it has the outbox at hand.
    pub handshakes: HandshakeCounts,
    actions: VecDeque<Action>,
}

impl Outbox {
    pub fn new(workers: u8) -> Self {
        Self { indices: Indices::new(workers), handshakes: HandshakeCounts::default(), actions: VecDeque::new() }
    }

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
        self.push(Action::Outgoing(Outgoing::Send { endpoint, datagram, peer }));
    }

    pub fn notify(&mut self, peer: PublicKey, notice: Notice) {
        self.push(Action::Outgoing(Outgoing::Notify { peer, notice }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::SeededRng;

    const PEER: PeerId = PeerId { index: 1, generation: 0 };

    #[test]
    fn each_index_is_of_the_node_and_of_the_worker() {
        for (number, bits) in [(0, 1), (1, 1), (5, 4), (255, 8)] {
            let (mut indices, mut rng) = (Indices::new(7), SeededRng::new(1));
            indices.node = Node::new(number, bits).unwrap();
            for n in 0..700 {
                let index = indices.claim(PEER, Place::FirstIdle, &mut rng);
                assert_eq!((index >> (32 - bits), indices.worker(index)), (number, n % 7), "{}", indices.node);
            }
        }
    }

    #[test]
    fn who_finds_no_index_of_a_worker_gets_one_of_another() {
        let (mut indices, mut rng) = (Indices::new(255), SeededRng::new(1));
        indices.node = Node::new(3, 8).unwrap();
        // All that begin with 3 and name worker 9.
        for middle in 0..=0xffff {
            assert!(indices.claim_this(0x0300_0009 | middle << 8, PEER));
        }
        let index = indices.claim(PEER, Place::With(9), &mut rng);
        assert_eq!(index >> 24, 3);
        assert_ne!(indices.worker(index), 9);
    }

    #[test]
    fn sessions_spread_evenly_and_stay_with_their_worker() {
        let (mut indices, mut rng) = (Indices::new(3), SeededRng::new(1));
        let first = indices.claim(PEER, Place::FirstIdle, &mut rng);
        let second = indices.claim(PEER, Place::LastIdle, &mut rng);
        let third = indices.claim(PEER, Place::FirstIdle, &mut rng);
        assert_eq!([first, second, third].map(|index| indices.worker(index)), [0, 2, 1]);
        let same = indices.claim(PEER, Place::With(second), &mut rng);
        assert_eq!(indices.worker(same), 2);
        assert_eq!(*indices.load, [1, 1, 2]);
        indices.release(second);
        indices.release(second);
        indices.release(first);
        assert_eq!(*indices.load, [0, 1, 1]);
        assert_eq!(indices.owner(same), Some(PEER));
        assert_eq!(indices.owner(first), None);
    }
}
