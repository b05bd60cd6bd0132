//! The table of where peers are, which the workers have from the first moment on after a start, and which control fills
//! some peers at a time. With 100,000 peers a whole one takes so long that handshakes would wait for it.
//!
//! Whoever is not entered yet is a stranger for some milliseconds more.

use std::sync::Arc;

use super::Device;
use super::peers::Peers;
use super::walk::Walk;
use crate::outpost::Outpost;
use crate::time::Time;
use crate::whereabouts::Whereabouts;

/// Slots whose peers are entered in one call: less than a millisecond, also if no cache has them.
pub(super) const PLACES_PER_TURN: usize = 1_024;

/// A table that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    table: Arc<Whereabouts>,
    walk: Walk,
}

impl Filling {
    /// Nobody is entered.
    pub const fn new(table: Arc<Whereabouts>) -> Self {
        Self { table, walk: Walk::from_the_first() }
    }

    /// Enters the next few. False: one of them found no place near his own.
    fn step(&mut self, peers: &Peers, outpost: Option<&dyn Outpost>) -> bool {
        let Some(slots) = self.walk.step(PLACES_PER_TURN, peers) else { return true };
        let located = peers.slice(slots).filter_map(|peer| peer.endpoint().map(|endpoint| (peer.id.index, endpoint)));
        located.fold(true, |all_fit, (index, endpoint)| {
            if let Some(outpost) = outpost {
                outpost.locate(endpoint.remote);
            }
            all_fit & self.table.enter(endpoint.remote, index)
        })
    }
}

impl Device {
    /// The next few peers of the table that is being filled.
    pub(super) fn fill_table(&mut self) {
        let Some(filling) = &mut self.recovery.filling else { return };
        let all_fit = filling.step(&self.peers, self.out.indices.outpost.as_deref());
        if filling.walk.is_done() {
            self.recovery.filling = None;
        }
        if !all_fit {
            self.recovery.note_crowded();
        }
    }

    /// More peers wait to be entered: at once.
    pub(super) fn filling_due(&self) -> Option<Time> {
        self.recovery.filling.as_ref().and_then(|filling| filling.walk.due())
    }
}
