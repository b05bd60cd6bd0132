//! Our own datagrams that a route leads back: they are dropped, and no packet of a user is.
//!
//! In a large table of routes a packet waits for others of its turn. So what becomes of it is known when the turn is
//! over.

use ringfort_core::drops::DropReason;

use super::Gateway;
use super::worker::{TunRead, Worker};
use crate::outside::Outside;

/// Of our own datagrams that come back, those that are not known: their session has just changed.
const WENT_ROUND_MAX: u64 = 64;

/// What one turn has read from the TUN device that no user has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Returns {
    /// Packets of no user: datagrams of ours or of a tunnel in this one, and nonsense.
    raw: u64,
    /// Those of them that came while a route led ours back.
    looped: u64,
    /// Drops before the first packet was read.
    before: Drops,
}

#[derive(Clone, Copy, Debug, Default)]
struct Drops {
    looped: u64,
    all: u64,
}

impl Returns {
    /// A packet was read.
    pub(super) fn note(&mut self, read: &TunRead, is_looped: bool) {
        if matches!(read, TunRead::Raw(_)) {
            self.raw += 1;
            self.looped += u64::from(is_looped);
        }
    }
}

impl Worker {
    /// What the data path has dropped so far.
    fn path_drops(&self) -> Drops {
        let drops = &self.path.counters().drops;
        Drops { looped: drops.get(DropReason::LoopedEndpoint), all: drops.total().saturating_sub(self.books.reported) }
    }

    /// The worker is about to read from its TUN device, for the first time in a turn or again.
    pub(super) fn begin_returns(&mut self) {
        if self.steps == 0 {
            self.errors.begin();
            self.returns = Returns { before: self.path_drops(), ..Returns::default() };
        }
    }
}

impl Gateway {
    /// What was read in this turn has found its peers, or was dropped.
    pub(super) fn check_returns(&mut self, w: usize, out: &mut Outside) {
        let (Returns { raw, looped, before }, now) = (self.workers[w].returns, self.workers[w].path_drops());
        if now.looped - before.looped > raw {
            out.check(Err(format!("g{}: a packet of a user is taken for one of ours", self.index)));
        }
        self.went_round += looped.saturating_sub(now.all - before.all);
        if self.went_round > WENT_ROUND_MAX {
            out.check(Err(format!("g{}: our own datagrams go round", self.index)));
        }
    }
}
