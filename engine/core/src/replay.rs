//! The window that lets each counter of a session through once (RFC 6479).

use crate::constants::REJECT_AFTER_MESSAGES;
use crate::part::{Malformed, Part, Reader, Sink};

/// How far below the highest counter seen a counter may lie and still be new. One word of the ring is being filled
/// while the others hold the past, so it is that much less than the ring. The ring is as large as the kernel's.
pub const WINDOW_SIZE: u64 = ReplayWindow::SIZE;

/// The window of a session.
pub type ReplayWindow = Window<128, { u64::BITS as u64 }>;

/// The counter was seen before, is too old to know, or is one that nobody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counter was seen before, lies below the window, or is past its limit")]
pub struct Replay;

/// Which of the last [`Window::SIZE`] counters and more were received. Ask only after the tag verified.
///
/// Its dimensions are parameters because a small one can be tried with every sequence of counters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Window<const WORDS: usize, const WORD_BITS: u64> {
    /// One more than the highest counter received; 0 before the first.
    next: u64,
    /// One bit per counter, as a ring of words. Words ahead of `next` are stale until the window reaches them.
    seen: [u64; WORDS],
}

impl<const WORDS: usize, const WORD_BITS: u64> Window<WORDS, WORD_BITS> {
    /// Bits in the ring.
    const RING_BITS: u64 = WORDS as u64 * WORD_BITS;
    /// How far below the highest counter seen a counter may lie and still be new.
    pub const SIZE: u64 = Self::RING_BITS - WORD_BITS;

    const FITS: () = {
        assert!(WORDS.is_power_of_two() && 1 <= WORD_BITS && WORD_BITS <= u64::BITS as u64);
        assert!(REJECT_AFTER_MESSAGES <= u64::MAX - Self::RING_BITS, "no sum of counter and window wraps");
    };

    /// Nothing received yet.
    pub const fn new() -> Self {
        () = Self::FITS;
        Self { next: 0, seen: [0; WORDS] }
    }

    /// One more than the highest counter received; 0 before the first.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Marks `counter` as received.
    ///
    /// # Errors
    /// [`Replay`], and nothing changes.
    pub fn check_and_set(&mut self, counter: u64) -> Result<(), Replay> {
        if counter >= REJECT_AFTER_MESSAGES || counter + 1 + Self::SIZE < self.next {
            return Err(Replay);
        }
        if counter >= self.next {
            self.advance_to(counter);
        }
        let word = &mut self.seen[Self::place(counter / WORD_BITS)];
        let bit = 1 << (counter % WORD_BITS);
        if *word & bit != 0 {
            return Err(Replay);
        }
        *word |= bit;
        Ok(())
    }

    /// Moves the upper end, and forgets the words that it moves onto: at most the whole ring, however far the jump.
    fn advance_to(&mut self, counter: u64) {
        let target = counter / WORD_BITS;
        // Before the first counter no word is in use; the ring is zero, so word 0 needs no clearing.
        let current = self.next.saturating_sub(1) / WORD_BITS;
        let steps = (target - current).min(WORDS as u64);
        for step in 1..=steps {
            self.seen[Self::place(current + step)] = 0;
        }
        self.next = counter + 1;
    }

    const fn place(word: u64) -> usize {
        (word % WORDS as u64) as usize
    }
}

/// Most words of a window are full or empty: they are written as two bits each, and the others as they are.
impl Part for ReplayWindow {
    fn put(&self, to: &mut dyn Sink) {
        self.next.put(to);
        for words in self.seen.chunks(4) {
            let kinds = words.iter().enumerate().map(|(place, &word)| kind(word) << (2 * place));
            kinds.fold(0, |all: u8, one| all | one).put(to);
        }
        self.seen.iter().filter(|&&word| kind(word) == MIXED).for_each(|word| word.put(to));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut window = Self { next: u64::take(from)?, ..Self::new() };
        if window.next > REJECT_AFTER_MESSAGES {
            return Err(from.bad("the counters of a session"));
        }
        let kinds: &[u8; 32] = from.array("the window of a session")?;
        for (place, word) in window.seen.iter_mut().enumerate() {
            *word = match kinds[place / 4] >> (2 * (place % 4)) & 3 {
                EMPTY => 0,
                FULL => u64::MAX,
                MIXED => u64::take(from)?,
                _ => return Err(from.bad("the window of a session")),
            };
        }
        Ok(window)
    }
}

const EMPTY: u8 = 0;
const FULL: u8 = 1;
const MIXED: u8 = 2;

const fn kind(word: u64) -> u8 {
    match word {
        0 => EMPTY,
        u64::MAX => FULL,
        _ => MIXED,
    }
}

impl<const WORDS: usize, const WORD_BITS: u64> Default for Window<WORDS, WORD_BITS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize, const WORD_BITS: u64> std::fmt::Debug for Window<WORDS, WORD_BITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "replay_exhaustive.rs"]
mod exhaustive;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The window's meaning, as plainly as it can be said.
    #[derive(Default)]
    struct Oracle {
        seen: HashSet<u64>,
        highest: Option<u64>,
    }

    impl Oracle {
        fn check_and_set(&mut self, counter: u64) -> Result<(), Replay> {
            let below = self.highest.is_some_and(|highest| highest > counter && highest - counter > WINDOW_SIZE);
            if counter >= REJECT_AFTER_MESSAGES || below || !self.seen.insert(counter) {
                return Err(Replay);
            }
            self.highest = self.highest.max(Some(counter));
            Ok(())
        }
    }

    fn window_after(counters: impl IntoIterator<Item = u64>) -> ReplayWindow {
        let mut window = ReplayWindow::new();
        for counter in counters {
            window.check_and_set(counter).expect("new counters");
        }
        window
    }

    #[test]
    fn each_counter_once_in_any_order() {
        for order in [(0..20_000).collect::<Vec<_>>(), (0..WINDOW_SIZE).rev().collect()] {
            let mut window = window_after(order.iter().copied());
            let recent = order.iter().filter(|&&counter| counter + WINDOW_SIZE >= order.len() as u64);
            for &counter in recent {
                assert_eq!(window.check_and_set(counter), Err(Replay));
            }
        }
    }

    #[test]
    fn the_window_has_the_size_of_the_kernels() {
        assert_eq!(WINDOW_SIZE, 8192 - 64);
        for highest in [WINDOW_SIZE + 1, 100_000, 100_031, REJECT_AFTER_MESSAGES - 1] {
            let mut window = window_after([highest]);
            assert_eq!(window.check_and_set(highest - WINDOW_SIZE), Ok(()));
            assert_eq!(window.check_and_set(highest - WINDOW_SIZE), Err(Replay));
            assert_eq!(window.check_and_set(highest - WINDOW_SIZE - 1), Err(Replay));
            assert_eq!(window.check_and_set(0), Err(Replay));
        }
    }

    #[test]
    fn the_last_counters_never_wrap() {
        let mut window = window_after([REJECT_AFTER_MESSAGES - 2, REJECT_AFTER_MESSAGES - 1]);
        for counter in [REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!(window.check_and_set(counter), Err(Replay));
            assert_eq!(ReplayWindow::new().check_and_set(counter), Err(Replay));
        }
        assert_eq!(window.check_and_set(REJECT_AFTER_MESSAGES - 3), Ok(()));
        assert_eq!(window.check_and_set(REJECT_AFTER_MESSAGES - 1), Err(Replay));
    }

    #[test]
    fn a_far_jump_forgets_all_of_the_past() {
        let mut window = window_after(0..300);
        // The same place in the ring, many rounds later.
        for counter in (ReplayWindow::RING_BITS * 1000)..(ReplayWindow::RING_BITS * 1000 + 300) {
            assert_eq!(window.check_and_set(counter), Ok(()));
        }
        assert_eq!(window.check_and_set(299), Err(Replay));
    }

    /// Steps of the kinds that networks and attackers make, relative to the highest counter so far.
    fn step() -> impl Strategy<Value = i64> {
        let window = WINDOW_SIZE as i64;
        prop_oneof![
            4 => Just(1_i64),
            4 => -70_i64..70,
            2 => -(window + 70)..0,
            1 => 0..2 * window,
            1 => (window - 70)..(window + 140),
            1 => Just(-window),
            1 => any::<i32>().prop_map(i64::from),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle(start in prop_oneof![Just(0), 0_u64..20_000, any::<u64>()],
                                  steps in prop::collection::vec(step(), 1..400)) {
            let mut window = ReplayWindow::new();
            let mut oracle = Oracle::default();
            let mut counter = start;
            for step in steps {
                prop_assert_eq!(window.check_and_set(counter), oracle.check_and_set(counter), "counter {}", counter);
                counter = oracle.highest.unwrap_or(start).saturating_add_signed(step);
            }
        }
    }
}
