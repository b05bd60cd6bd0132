//! A worker that receives nothing but what anybody could have sent, and drops it, need not be woken for each of it.
//!
//! Being woken is most of what a flood costs: some microseconds for each datagram, and whoever had the core stops
//! working meanwhile. So such a worker naps. The datagrams wait in the socket for as long, and one turn deals with all
//! of them.
//!
//! The same holds for what comes back at once with an error, and is begun again: a receive that a security module
//! forbids, or for which the system has no memory. It is counted, and it must not take the whole core.

use std::time::Duration;

use ring_buffers::Wait;
use ringfort_path::{DataPath, Watch};

/// Turns in a row that brought nothing else before the first nap: a stray datagram is no flood.
const WORTHLESS_TURNS: u32 = 8;
/// How late an honest packet may be that comes during one: as late as a core that was asleep in earnest makes it.
pub(super) const NAP: Duration = Duration::from_micros(250);

/// Whether the worker may nap.
#[derive(Debug, Default)]
pub(super) struct Naps {
    /// Turns in a row that brought nothing of worth.
    worthless_turns: u32,
    /// Datagrams that were received until the last turn, and those of them that were worth nothing.
    received: u64,
    worthless: u64,
    /// Receives and reads that had failed until the last turn.
    errors: u64,
    /// Operations of this turn that came to nothing.
    in_vain: u64,
}

impl Naps {
    /// An operation came back with an error, and will be begun again.
    #[cold]
    pub(super) const fn note_in_vain(&mut self) {
        self.in_vain += 1;
    }

    /// How many receives and reads have failed so far.
    #[inline]
    pub(super) const fn note_errors(&mut self, receives: u64, reads: u64) {
        let errors = receives + reads;
        self.in_vain += errors - self.errors;
        self.errors = errors;
    }

    /// The end of a turn. `disturbed`: it had mail, or packets from inside.
    #[inline]
    pub(super) fn look<W: Watch>(&mut self, path: &DataPath<W>, disturbed: bool) {
        self.note(path.counters().udp_receive_datagrams, path.worthless(), disturbed);
    }

    #[inline]
    fn note(&mut self, received: u64, worthless: u64, disturbed: bool) {
        let (came, wasted) = (received - self.received, worthless - self.worthless);
        (self.received, self.worthless) = (received, worthless);
        // What an edge throws away by itself is wasted, and has not come.
        let in_vain = !disturbed && wasted + std::mem::take(&mut self.in_vain) > 0 && came <= wasted;
        self.worthless_turns = if in_vain { self.worthless_turns.saturating_add(1) } else { 0 };
    }

    /// How to wait for the next turn, if there is nothing to do.
    #[inline]
    pub(super) const fn wait(&self) -> Wait {
        if self.worthless_turns >= WORTHLESS_TURNS { Wait::Nap(NAP) } else { Wait::UntilCompletion }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_a_worker_nap_and_anything_of_worth_ends_that() {
        let mut naps = Naps::default();
        let naps_after = |naps: &mut Naps, received, worthless, disturbed| {
            naps.note(received, worthless, disturbed);
            naps.wait() != Wait::UntilCompletion
        };
        let last = u64::from(WORTHLESS_TURNS);
        assert!((1..last).all(|n| !naps_after(&mut naps, n, n, false)));
        assert!(naps_after(&mut naps, last, last, false) && naps_after(&mut naps, last + 9, last + 9, false));
        assert!(!naps_after(&mut naps, last + 11, last + 10, false), "one datagram was worth something");
        let restart = |naps: &mut Naps| (0..last).for_each(|n| naps.note(100 + n, 100 + n, false));
        restart(&mut naps);
        assert!(!naps_after(&mut naps, 200, 200, true), "mail, or packets from inside");
        let mut naps = Naps::default();
        restart(&mut naps);
        assert!(!naps_after(&mut naps, 107, 107, false), "the flood is over");
        let mut naps = Naps::default();
        (1..=last).for_each(|n| naps.note(0, n, false));
        assert!(naps.wait() != Wait::UntilCompletion, "a flood of what has no bytes");
        let mut naps = Naps::default();
        (1..=last).for_each(|n| {
            naps.note_errors(n, 7);
            naps.note(0, 0, false);
        });
        assert!(naps.wait() != Wait::UntilCompletion, "receives that fail");
        naps.note_errors(last, 7);
        naps.note(0, 0, false);
        assert!(naps.wait() == Wait::UntilCompletion, "they fail no more");
    }
}
