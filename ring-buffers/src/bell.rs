//! When a sleeper has to be woken: a flag beside a queue.
//!
//! The sleeper *arms* the bell, then looks at its queue, and sleeps only if nothing is there. Everybody else pushes,
//! then *rings*; who finds the bell armed has to wake the sleeper, and the rings after that cost no system call.
//!
//! Both sides exchange the flag, and of two exchanges of one word the later one reads what the earlier one wrote.
//! Either the ringer comes later: it finds the bell armed and wakes. Or the sleeper does: then it sees all that was
//! pushed before that ring. No wake-up is lost between the two, whatever queue it is, as long as its items are
//! published with release and taken with acquire. `tests/model.rs` checks this in every order that the memory model
//! allows.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a bell needs of its flag: an atomic exchange that acquires and releases. The model check has its own.
pub trait Flag {
    /// A flag with a value.
    fn new(value: bool) -> Self;
    /// Stores `value` and returns what was there before; both acquires and releases.
    fn swap(&self, value: bool) -> bool;
}

impl Flag for AtomicBool {
    fn new(value: bool) -> Self {
        Self::new(value)
    }

    fn swap(&self, value: bool) -> bool {
        self.swap(value, Ordering::AcqRel)
    }
}

/// The flag. It wakes nobody itself: what wakes the sleeper (a [`crate::Waker`]) is the owner's choice.
#[derive(Debug)]
pub struct Bell<F = AtomicBool> {
    armed: F,
}

impl<F: Flag> Bell<F> {
    /// A bell that wakes the sleeper with its first ring.
    #[must_use]
    pub fn armed() -> Self {
        Self { armed: F::new(true) }
    }

    /// A bell that wakes nobody until it is armed.
    #[must_use]
    pub fn silent() -> Self {
        Self { armed: F::new(false) }
    }

    /// The sleeper wants to be woken by the next ring. To be called before it looks at its queue for the last time.
    pub fn arm(&self) {
        self.armed.swap(true);
    }

    /// Call it after the push that the sleeper must see. True: the sleeper must be woken.
    #[must_use = "the sleeper may be asleep"]
    pub fn ring(&self) -> bool {
        self.armed.swap(false)
    }
}
