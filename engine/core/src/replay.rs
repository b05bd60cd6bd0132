//! The window that lets each counter of a session through once (RFC 6479).

use crate::constants::REJECT_AFTER_MESSAGES;

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = 128;
/// Bits in the ring; that is the kernel's size.
const RING_BITS: u64 = WORDS as u64 * WORD_BITS;

/// How far below the highest counter seen a counter may lie and still be new. One word of the ring is being filled
/// while the others hold the past, so it is that much less than the ring.
pub const WINDOW_SIZE: u64 = RING_BITS - WORD_BITS;

const _: () = assert!(WORDS.is_power_of_two(), "the ring is indexed by a mask");
const _: () = assert!(REJECT_AFTER_MESSAGES <= u64::MAX - RING_BITS, "no sum of counter and window wraps");

/// The counter was seen before, is too old to know, or is one that nobody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counter was seen before, lies below the window, or is past its limit")]
pub struct Replay;

/// Which of the last [`WINDOW_SIZE`] counters and more were received. Ask only after the tag verified.
#[derive(Clone)]
pub struct ReplayWindow {
    /// One more than the highest counter received; 0 before the first.
    next: u64,
    /// One bit per counter, as a ring of words. Words ahead of `next` are stale until the window reaches them.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Nothing received yet.
    pub const fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// Marks `counter` as received.
    ///
    /// # Errors
    /// [`Replay`], and nothing changes.
    pub fn check_and_set(&mut self, counter: u64) -> Result<(), Replay> {
        if counter >= REJECT_AFTER_MESSAGES || counter + 1 + WINDOW_SIZE < self.next {
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

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ReplayWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayWindow").field("next", &self.next).finish_non_exhaustive()
    }
}
