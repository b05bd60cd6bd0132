//! Which workers hold packets back until their peer has a session: whoever makes one, or gives up, wakes these and
//! nobody else.
//!
//! ```text
//!   worker     looks for a session: none │ enters itself │ looks again │ holds the packet back
//!   control                 makes a session │ takes all who are entered │ writes to them
//! ```
//!
//! Entering and taking are both read-modify-write operations on one word, so they have an order. If the worker was
//! first, control finds it, and what control writes to it comes after the packet. If control was first, the worker sees
//! what control did before: it finds the session when it looks again. `shared_model.rs` tries all orders.

use std::sync::atomic::AtomicU64;

use crate::shared;

/// Of as many workers as receiver indices can name.
const WORDS: usize = 4;

/// The workers that wait for one peer. Each has a bit of its own: who finds its bit set has set it itself, and so has
/// looked since.
#[derive(Debug, Default)]
pub struct Waiting([AtomicU64; WORDS]);

/// Workers that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiters([u64; WORDS]);

impl Waiting {
    /// A worker begins to hold packets back. True: it was not entered before, and must look for a session once more.
    #[inline]
    #[must_use = "a session that came in between is told to nobody"]
    pub fn enter(&self, worker: usize) -> bool {
        let (word, bit) = place(worker);
        shared::enter(&self.0[word], bit)
    }

    /// Those that wait. They will be told, and enter themselves again if that did not help.
    pub fn take(&self) -> Waiters {
        Waiters(self.0.each_ref().map(shared::take))
    }
}

impl Waiters {
    /// Whether a worker is one of them.
    #[must_use]
    pub const fn contains(self, worker: usize) -> bool {
        let (word, bit) = place(worker);
        self.0[word] & bit != 0
    }
}

const fn place(worker: usize) -> (usize, u64) {
    (worker / 64 % WORDS, 1 << (worker % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_entered_is_taken_once() {
        let waiting = Waiting::default();
        assert!(waiting.enter(1) && waiting.enter(63) && !waiting.enter(1));
        let waiters = waiting.take();
        assert_eq!([0, 1, 2, 63].map(|worker| waiters.contains(worker)), [false, true, false, true]);
        assert_eq!(waiting.take(), Waiters([0; WORDS]));
        assert!(waiting.enter(1));
    }

    #[test]
    fn each_of_255_workers_is_told_apart() {
        let waiting = Waiting::default();
        for worker in (0..255).step_by(2) {
            assert!(waiting.enter(worker));
        }
        assert!(waiting.enter(65), "worker 1 has another bit");
        let waiters = waiting.take();
        assert!((0..255).all(|worker| waiters.contains(worker) == (worker % 2 == 0 || worker == 65)));
    }
}
