//! A worker that receives nothing but what anybody could have sent, and drops it, need not be woken for each of it.
//!
//! Being woken is most of what a flood costs: some microseconds for each datagram, and whoever had the core stops
//! working meanwhile. So such a worker naps. The datagrams wait in the socket for as long, and one turn deals with all
//! of them.

use std::time::Duration;

use ring_buffers::Wait;
use ringfort_path::{DataPath, Watch};

/// Turns in a row that brought nothing else before the first nap: a stray datagram is no flood.
const WORTHLESS_TURNS: u32 = 8;
/// How late an honest packet may be that comes during one: as late as a core that was asleep in earnest makes it.
const NAP: Duration = Duration::from_micros(250);

/// Whether the worker may nap.
#[derive(Debug, Default)]
pub(super) struct Naps {
    /// Turns in a row that brought nothing of worth.
    worthless_turns: u32,
    /// Datagrams that were received until the last turn, and those of them that were worth nothing.
    received: u64,
    worthless: u64,
}

impl Naps {
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
        let in_vain = !disturbed && wasted > 0 && came <= wasted;
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
    }
}
