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

/// The workers that wait for one peer. 64 of them are told apart: of more, those that share a bit are woken together.
#[derive(Debug, Default)]
pub struct Waiting(AtomicU64);

/// Workers that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiters(u64);

impl Waiting {
    /// A worker begins to hold packets back. True: it was not entered before, and must look for a session once more.
    #[inline]
    #[must_use = "a session that came in between is told to nobody"]
    pub fn enter(&self, worker: usize) -> bool {
        shared::enter(&self.0, bit(worker))
    }

    /// Those that wait. They will be told, and enter themselves again if that did not help.
    pub fn take(&self) -> Waiters {
        Waiters(shared::take(&self.0))
    }
}

impl Waiters {
    /// Whether a worker is one of them.
    #[must_use]
    pub const fn contains(self, worker: usize) -> bool {
        self.0 & bit(worker) != 0
    }
}

const fn bit(worker: usize) -> u64 {
    1 << (worker % 64)
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
        assert_eq!(waiting.take(), Waiters(0));
        assert!(waiting.enter(1));
    }

    #[test]
    fn more_workers_than_bits_are_woken_with_another() {
        let waiting = Waiting::default();
        assert!(waiting.enter(65));
        assert!(!waiting.enter(1), "nobody takes the bit of another away");
        let waiters = waiting.take();
        assert!(waiters.contains(1) && waiters.contains(65) && !waiters.contains(64));
    }
}
