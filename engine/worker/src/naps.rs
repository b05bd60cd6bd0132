//! A worker that receives nothing but what anybody could have sent, and drops it, need not be woken for each of it.
//!
//! Being woken is most of what a flood costs: some microseconds for each datagram, and whoever had the core stops
//! working meanwhile. So such a worker naps. The datagrams wait in the socket for as long, and one turn deals with all
//! of them.
//!
//! The same holds for what comes back at once with an error, and is begun again: a receive that a security module
//! forbids, or for which the system has no memory. It is counted, and it must not take the whole core. As the ring has
//! something to reap at once, it is not the ring that waits then.

use std::thread::sleep;
use std::time::Duration;

use ring_buffers::Wait;

/// Turns in a row that brought nothing else before the first nap: a stray datagram is no flood.
const WORTHLESS_TURNS: u32 = 8;
/// How late an honest packet may be that comes during one: as late as a core that was asleep in earnest makes it.
const NAP: Duration = Duration::from_micros(250);

/// Whether the worker may nap.
#[derive(Debug, Default)]
pub(super) struct Naps {
    /// Turns in a row that brought nothing of worth.
    worthless_turns: u32,
    /// In the last turn, operations came back with errors.
    fails: bool,
    /// What there was until the last turn.
    totals: Totals,
    /// Datagrams that an edge has thrown away by itself.
    dropped: u64,
    /// Other operations that came to nothing.
    failed: u64,
}

/// What there was so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Datagrams.
    pub(super) received: u64,
    /// Those of them that were worth nothing.
    pub(super) worthless: u64,
    /// Packets from inside.
    pub(super) read: u64,
    /// Receives and reads that failed, and were begun again.
    pub(super) errors: u64,
}

impl Naps {
    /// A datagram went no further than the edge that received it.
    #[cold]
    pub(super) const fn note_dropped(&mut self) {
        self.dropped += 1;
    }

    /// Something else came back with an error, and will be begun again.
    #[cold]
    pub(super) const fn note_failed(&mut self) {
        self.failed += 1;
    }

    /// The end of a turn. `had_mail`: from control, or from another worker.
    #[inline]
    pub(super) fn look(&mut self, totals: Totals, had_mail: bool) {
        let now = Totals {
            received: totals.received + self.dropped,
            worthless: totals.worthless + self.dropped,
            errors: totals.errors + self.failed,
            ..totals
        };
        let before = std::mem::replace(&mut self.totals, now);
        let (came, wasted) = (now.received - before.received, now.worthless - before.worthless);
        self.fails = now.errors > before.errors;
        let is_of_worth = had_mail || now.read > before.read || came > wasted;
        let is_in_vain = !is_of_worth && (wasted > 0 || self.fails);
        self.worthless_turns = if is_in_vain { self.worthless_turns.saturating_add(1) } else { 0 };
    }

    /// How to wait for the next turn, if there is nothing to do.
    #[inline]
    pub(super) const fn wait(&self) -> Wait {
        if self.worthless_turns >= WORTHLESS_TURNS { Wait::Nap(NAP) } else { Wait::UntilCompletion }
    }

    /// Waits where the ring would not, since what fails has come back already.
    #[inline]
    pub(super) fn pause(&self, wait: Wait) {
        if self.fails && matches!(wait, Wait::Nap(_)) {
            sleep(NAP);
        }
    }

    /// Waits where the kernel would not, since it has no memory for it.
    #[cold]
    pub(super) fn pause_for_memory(wait: Wait) {
        if wait != Wait::No {
            sleep(NAP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(received: u64, worthless: u64) -> Totals {
        Totals { received, worthless, ..Totals::default() }
    }

    #[test]
    fn a_flood_makes_a_worker_nap_and_anything_of_worth_ends_that() {
        let mut naps = Naps::default();
        let naps_after = |naps: &mut Naps, totals, had_mail| {
            naps.look(totals, had_mail);
            naps.wait() != Wait::UntilCompletion
        };
        let last = u64::from(WORTHLESS_TURNS);
        assert!((1..last).all(|n| !naps_after(&mut naps, totals(n, n), false)));
        assert!(naps_after(&mut naps, totals(last, last), false));
        assert!(naps_after(&mut naps, totals(last + 9, last + 9), false));
        assert!(!naps_after(&mut naps, totals(last + 11, last + 10), false), "one datagram was worth something");
        let restart = |naps: &mut Naps| (0..last).for_each(|n| naps.look(totals(100 + n, 100 + n), false));
        restart(&mut naps);
        assert!(!naps_after(&mut naps, totals(200, 200), true), "mail");
        let mut naps = Naps::default();
        restart(&mut naps);
        let read = Totals { read: 1, ..totals(200, 200) };
        assert!(!naps_after(&mut naps, read, false), "packets from inside");
        let mut naps = Naps::default();
        restart(&mut naps);
        assert!(!naps_after(&mut naps, totals(107, 107), false), "the flood is over");
    }

    #[test]
    fn what_an_edge_throws_away_is_a_flood_and_hides_nothing_of_worth() {
        let (mut naps, mut beside) = (Naps::default(), Naps::default());
        for n in 1..=u64::from(WORTHLESS_TURNS) {
            naps.note_dropped();
            naps.look(totals(0, 0), false);
            // As many datagrams of worth come with them.
            beside.note_dropped();
            beside.look(totals(n, 0), false);
        }
        assert!(naps.wait() != Wait::UntilCompletion && beside.wait() == Wait::UntilCompletion);
    }

    #[test]
    fn what_fails_again_and_again_is_waited_for_and_whoever_reads_beside_it_is_not_held_up() {
        let errors = |errors, read| Totals { errors, read, ..Totals::default() };
        let (mut naps, mut beside) = (Naps::default(), Naps::default());
        for n in 1..=u64::from(WORTHLESS_TURNS) {
            naps.look(errors(n, 0), false);
            beside.look(errors(n, n), false);
        }
        assert!(naps.wait() != Wait::UntilCompletion && naps.fails);
        assert!(beside.wait() == Wait::UntilCompletion);
        naps.look(errors(8, 0), false);
        assert!(naps.wait() == Wait::UntilCompletion && !naps.fails, "it fails no more");
        (0..WORTHLESS_TURNS).for_each(|_| {
            naps.note_failed();
            naps.look(errors(8, 0), false);
        });
        assert!(naps.wait() != Wait::UntilCompletion, "a bell that cannot be heard");
    }
}
