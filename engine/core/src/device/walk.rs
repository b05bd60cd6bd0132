//! A walk over all peers, some slots in each call, so nobody else waits until it has ended.
//!
//! Who comes while it is on may get a slot behind it: whoever begins a walk sees to new peers by itself.

use std::ops::Range;

use super::peers::Peers;
use crate::time::Time;

/// Where a walk is. The default one is at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    next_slot: Option<usize>,
}

impl Walk {
    /// One that has not begun.
    pub const fn from_the_first() -> Self {
        Self { next_slot: Some(0) }
    }

    /// Whether all slots have been visited.
    pub const fn is_done(self) -> bool {
        self.next_slot.is_none()
    }

    /// When it goes on: at once, or never.
    pub fn due(self) -> Option<Time> {
        self.next_slot.map(|_| Time::ZERO)
    }

    /// The next slots, no more than `count`; `None` at the end.
    pub fn step(&mut self, count: usize, peers: &Peers) -> Option<Range<usize>> {
        let first = self.next_slot?;
        let next = first + count;
        self.next_slot = (next < peers.slot_count()).then_some(next);
        Some(first..next)
    }
}
