//! The table of where peers are, which the workers have from the first moment on after a start, and which control fills
//! some peers at a time. With 100,000 peers a whole one takes so long that handshakes would wait for it.
//!
//! Whoever is not entered yet is a stranger for some milliseconds more.

use std::sync::Arc;

use super::Device;
use super::peer::Peer;
use super::peers::Peers;
use crate::time::Time;
use crate::whereabouts::Whereabouts;

/// Slots whose peers are entered in one step: less than a millisecond, also if no cache has them.
pub(super) const ENTERED_PER_STEP: usize = 1024;

/// A table that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    table: Arc<Whereabouts>,
    next_slot: usize,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are more peers.
    Partly,
    /// All have had their turn.
    Wholly,
    /// Somebody found no place near his own.
    Crowded,
}

impl Filling {
    /// Nobody is entered.
    pub const fn new(table: Arc<Whereabouts>) -> Self {
        Self { table, next_slot: 0 }
    }

    /// Enters the next few.
    fn step(&mut self, peers: &Peers) -> Filled {
        let mut all_fit = true;
        for peer in peers.slice(self.next_slot, ENTERED_PER_STEP) {
            all_fit &= peer.enter_into(&self.table);
        }
        self.next_slot += ENTERED_PER_STEP;
        match all_fit {
            false => Filled::Crowded,
            true if self.next_slot < peers.slot_count() => Filled::Partly,
            true => Filled::Wholly,
        }
    }

    fn is_done(&self, peers: &Peers) -> bool {
        self.next_slot >= peers.slot_count()
    }
}

impl Device {
    /// The next few peers of the table that is being filled.
    pub(super) fn fill_table(&mut self) {
        let filled = self.recovery.filling.as_mut().map(|filling| filling.step(&self.peers));
        if filled == Some(Filled::Crowded) {
            self.recovery.note_crowded();
        }
        self.recovery.filling.take_if(|filling| filling.is_done(&self.peers));
    }

    /// More peers wait to be entered: at once.
    pub(super) fn filling_due(&self) -> Option<Time> {
        self.recovery.filling.is_some().then_some(Time::ZERO)
    }
}

impl Peer {
    fn enter_into(&self, table: &Whereabouts) -> bool {
        self.endpoint().is_none_or(|endpoint| table.enter(endpoint.remote, self.id.index))
    }
}
