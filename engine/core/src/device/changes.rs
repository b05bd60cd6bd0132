//! What happens to peers, for whoever watches. However slowly he reads, it takes no more memory, and nobody waits.
//!
//! ```text
//!   add_peer, step, renew, remove_peer ─► Changes: a record for each peer, and the latest removals
//!                                            │
//!               reader: WatchCursor ◄────────┘ next_change, as often as the reader likes
//! ```
//!
//! **Nothing is queued.** All changes have numbers in one order. A peer's record has the number of the latest change of
//! each kind, and a reader has the number up to which it has heard. So what a reader gets is how a peer is now, and
//! what of it is news. Who reads late gets less, but nothing wrong: changes of one peer become one.
//!
//! Only a peer that is gone has no record. The latest removals are kept for readers. One who has missed some of them
//! begins anew, with a list of all peers ([`Change::Resync`]).
//!
//! **A list first.** A reader begins with all peers as they are, some at a time, and goes on with what has changed
//! since it began. So it misses nothing in between, and may hear something twice.
//!
//! While nobody watches, none of this exists.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::Device;
use super::peer::Peer;
use super::renewal::PEERS_PER_SLICE;
use super::walk::Walk;
use crate::constants::REJECT_AFTER_TIME;
use crate::crypto::PublicKey;
use crate::ids::PeerId;
use crate::time::Time;
use crate::timers::Schedule;

/// Removals that are kept for readers who have not heard of them.
const REMOVED_MAX: usize = 16_384;
/// Sessions whose end is noticed in one turn.
const ENDS_PER_TURN: usize = 64;
/// Records that are freed in one turn, when nobody watches any more.
const FREED_PER_TURN: usize = 1_024;

/// How far somebody who watches has read.
#[derive(Clone, Copy, Debug)]
pub struct WatchCursor {
    /// Of all that was told.
    heard: u64,
    /// The slot to go on with, while all peers are listed.
    listing: Option<u32>,
}

/// What is told to somebody who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A peer that is there.
    Listed(PeerId),
    /// All that were there have been listed. What follows are changes.
    Complete,
    /// Something has happened to a peer.
    Changed {
        /// Whom.
        peer: PeerId,
        /// What.
        what: What,
    },
    /// A peer is gone.
    Removed(PublicKey),
    /// The reader has missed too much. All peers are listed once more, and who is not among them is gone.
    Resync,
}

/// What has happened to a peer since a reader last heard of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct What {
    /// It is new.
    pub added: bool,
    /// A handshake was completed: the peer proved to have the session.
    pub confirmed: bool,
    /// It is reached elsewhere, or nowhere.
    pub moved: bool,
    /// It had a session, and then had none.
    pub ended: bool,
}

/// What is remembered while somebody watches.
#[derive(Default)]
pub(super) struct Changes {
    /// The number of the latest change.
    last: u64,
    records: BTreeMap<PeerId, Record>,
    /// Peers by the number of their latest change, if there was one.
    latest: BTreeMap<u64, PeerId>,
    removed: VecDeque<(u64, PublicKey)>,
    /// The number of the latest removal that is not in `removed` any more.
    forgotten: u64,
    /// When sessions end by themselves.
    ends: Schedule,
    /// All peers are looked at: a worker could not tell of one that moved.
    walk: Walk,
    /// Nobody watches, and this is taken apart.
    is_ending: bool,
}

/// What is known of a peer.
struct Record {
    facts: Facts,
    /// When it last changed: added, confirmed, moved, ended; 0 is never.
    numbers: [u64; 4],
    /// When its session ends by itself.
    ends: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Facts {
    handshakes: u64,
    remote: Option<SocketAddr>,
    has_session: bool,
}

impl What {
    const fn flags(self) -> [bool; 4] {
        [self.added, self.confirmed, self.moved, self.ended]
    }

    const fn of([added, confirmed, moved, ended]: [bool; 4]) -> Self {
        Self { added, confirmed, moved, ended }
    }
}

impl Facts {
    fn of(peer: &Peer, now: Time) -> Self {
        Self {
            handshakes: peer.health.handshakes,
            remote: peer.endpoint().map(|endpoint| endpoint.remote),
            has_session: peer.sessions.current().is_some_and(|session| session.valid(now, 0)),
        }
    }
}

/// What readers do.
impl Device {
    /// Somebody watches from now on. Whoever has a cursor asks with [`Device::next_change`].
    pub fn watch(&mut self) -> WatchCursor {
        self.memory.moves.watch(true);
        let changes = self.changes.get_or_insert_default();
        changes.is_ending = false;
        changes.begin()
    }

    /// Nobody watches any more: no cursor may be used again. To free what was remembered takes more than this call.
    pub fn end_watching(&mut self) {
        self.memory.moves.watch(false);
        if let Some(changes) = &mut self.changes {
            changes.is_ending = true;
        }
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.changes.as_ref().is_some_and(|changes| !changes.is_ending)
    }

    /// The next thing to tell a reader; `None` if it has heard all.
    pub fn next_change(&mut self, now: Time, cursor: &mut WatchCursor) -> Option<Change> {
        let changes = self.changes.as_deref_mut()?;
        if cursor.heard < changes.forgotten {
            *cursor = changes.begin();
            return Some(Change::Resync);
        }
        let Some(slot) = cursor.listing else { return changes.next(cursor) };
        let Some(peer) = self.peers.iter_from(slot).next() else {
            cursor.listing = None;
            return Some(Change::Complete);
        };
        cursor.listing = Some(peer.id.index + 1);
        changes.look(peer, now);
        Some(Change::Listed(peer.id))
    }

    /// Whether there is something to tell a reader.
    pub fn has_changes(&self, cursor: &WatchCursor) -> bool {
        let last = self.changes.as_ref().map_or(cursor.heard, |changes| changes.last);
        cursor.listing.is_some() || cursor.heard != last
    }
}

/// What the device does.
impl Device {
    /// Does what is due: ends of sessions, peers of which no worker could tell, memory that nobody needs.
    pub(super) fn keep_changes(&mut self, now: Time) {
        let Some(changes) = self.changes.as_deref_mut() else { return };
        if changes.is_ending {
            if changes.free_some() {
                self.changes = None;
            }
            return;
        }
        for _ in 0..ENDS_PER_TURN {
            let Some(peer) = changes.ends.first_due(now).and_then(|id| self.peers.get(id)) else { break };
            changes.look(peer, now);
        }
        if self.memory.moves.take_missed() {
            changes.walk = Walk::from_the_first();
        }
        let Some(slots) = changes.walk.step(PEERS_PER_SLICE, &self.peers) else { return };
        for peer in self.peers.slice(slots) {
            changes.look(peer, now);
        }
    }

    /// When [`Device::keep_changes`] has something to do.
    pub(super) fn changes_due(&self) -> Option<Time> {
        let changes = self.changes.as_deref()?;
        if changes.is_ending {
            return Some(Time::ZERO);
        }
        changes.ends.next().into_iter().chain(changes.walk.due()).min()
    }
}

impl Changes {
    /// A peer is new.
    pub fn add(&mut self, peer: &Peer) {
        // It has no session, whatever time it is.
        self.look(peer, Time::ZERO);
        self.note(peer.id, What { added: true, ..What::default() });
    }

    /// A peer is gone.
    pub fn remove(&mut self, peer: PeerId, key: PublicKey) {
        if let Some(record) = self.records.remove(&peer) {
            self.latest.remove(&record.latest());
            self.ends.reschedule(peer, record.ends, None);
        }
        if self.is_ending {
            return;
        }
        if self.removed.len() == REMOVED_MAX
            && let Some((number, _)) = self.removed.pop_front()
        {
            self.forgotten = number;
        }
        self.last += 1;
        self.removed.push_back((self.last, key));
    }

    /// Something may have happened to a peer. Of one that was not looked at before nothing is news: whoever watches has
    /// yet to come to it in his list.
    pub fn look(&mut self, peer: &Peer, now: Time) {
        if self.is_ending {
            return;
        }
        let facts = Facts::of(peer, now);
        let record = self.records.entry(peer.id).or_insert_with(|| Record { facts, numbers: [0; 4], ends: None });
        let before = std::mem::replace(&mut record.facts, facts);
        let session = peer.sessions.current().filter(|_| facts.has_session);
        let ends = session.map(|session| session.created + REJECT_AFTER_TIME);
        self.ends.reschedule(peer.id, std::mem::replace(&mut record.ends, ends), ends);
        let confirmed = facts.handshakes != before.handshakes;
        let (moved, ended) = (facts.remote != before.remote, before.has_session && !facts.has_session);
        self.note(peer.id, What { added: false, confirmed, moved, ended });
    }

    /// Where somebody begins who has heard of nothing.
    const fn begin(&self) -> WatchCursor {
        WatchCursor { heard: self.last, listing: Some(0) }
    }

    fn note(&mut self, peer: PeerId, what: What) {
        let Some(record) = self.records.get_mut(&peer).filter(|_| what != What::default()) else { return };
        self.last += 1;
        self.latest.remove(&record.latest());
        for (number, is_so) in record.numbers.iter_mut().zip(what.flags()) {
            *number = if is_so { self.last } else { *number };
        }
        self.latest.insert(self.last, peer);
    }

    fn next(&self, cursor: &mut WatchCursor) -> Option<Change> {
        let heard = cursor.heard;
        let changed = self.latest.range(heard + 1..).next();
        let removed = self.removed.get(self.removed.partition_point(|&(number, _)| number <= heard));
        match (changed, removed) {
            (Some((&number, &peer)), removed) if removed.is_none_or(|&(other, _)| number < other) => {
                cursor.heard = number;
                let numbers = self.records.get(&peer)?.numbers;
                Some(Change::Changed { peer, what: What::of(numbers.map(|number| number > heard)) })
            }
            (_, Some(&(number, key))) => {
                cursor.heard = number;
                Some(Change::Removed(key))
            }
            _ => None,
        }
    }

    /// True: nothing is left.
    fn free_some(&mut self) -> bool {
        for _ in 0..FREED_PER_TURN {
            let Some((peer, record)) = self.records.pop_first() else { return true };
            self.latest.remove(&record.latest());
            self.ends.reschedule(peer, record.ends, None);
        }
        false
    }
}

impl Record {
    fn latest(&self) -> u64 {
        self.numbers.into_iter().max().unwrap_or_default()
    }
}
