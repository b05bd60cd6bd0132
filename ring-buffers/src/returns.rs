//! The way home of slots that other cores release: a queue, and a bell for an owner that starves for them.
//!
//! Generic over the queue and the bell's flag, so the code that runs is the code that `returns_model.rs` checks in
//! every order that the memory model allows.

use std::sync::atomic::AtomicBool;

use crossbeam_queue::ArrayQueue;

use crate::bell::{Bell, Flag};

/// What is asked of the queue: an item is published with release and taken with acquire.
pub(crate) trait Queue {
    /// Never full: it has room for every slot, and a slot is on its way home at most once.
    fn push(&self, slot: u16);
    /// One of the items.
    fn pop(&self) -> Option<u16>;
}

#[derive(Debug)]
pub(crate) struct Returns<Q = ArrayQueue<u16>, F = AtomicBool> {
    queue: Q,
    starved: Bell<F>,
}

impl<Q: Queue, F: Flag> Returns<Q, F> {
    /// Nothing is on its way, and nobody waits for it.
    pub(crate) fn new(queue: Q) -> Self {
        Self { queue, starved: Bell::silent() }
    }

    /// Called on another core, when the slot's last view is gone. True: the owner must be woken.
    #[must_use = "the owner may be asleep"]
    pub(crate) fn give_back(&self, slot: u16) -> bool {
        self.queue.push(slot);
        self.starved.ring()
    }

    /// The next slot that has come home.
    pub(crate) fn next(&self) -> Option<u16> {
        self.queue.pop()
    }

    /// The owner is about to sleep and could use a slot. It looks for returns once more after this call, so one that
    /// comes home in between is not missed.
    pub(crate) fn declare_starved(&self) {
        self.starved.arm();
    }
}

impl Queue for ArrayQueue<u16> {
    fn push(&self, slot: u16) {
        Self::push(self, slot).expect("the queue has room for every slot of the arena");
    }

    fn pop(&self) -> Option<u16> {
        Self::pop(self)
    }
}

#[cfg(all(test, not(miri)))]
#[path = "returns_model.rs"]
mod model;
