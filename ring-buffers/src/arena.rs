//! The arena: one mapping, its slots, and what every core may know about them.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::RingError;
use crate::doorbell::Waker;
use crate::layout::{Budget, Layout, Line, SlotClass};
use crate::mapping::Mapping;
use crate::returns::Returns;

/// The number of a slot within its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) u16);

/// The memory of one worker: allocated once, never grown.
///
/// An arena is made on any thread and becomes the [`crate::Pool`] of the one that will own it.
#[derive(Debug)]
pub struct Arena {
    pub(crate) shared: Arc<Shared>,
}

impl Arena {
    /// Maps the memory that `budget` adds up to. `waker` rings the owner when a slot that it is waiting for was
    /// released on another core.
    ///
    /// # Errors
    /// [`RingError::Map`] if the system refuses the mapping.
    pub fn new(budget: &Budget, waker: Waker) -> Result<Self, RingError> {
        Ok(Self::of(budget, Mapping::huge(budget.bytes())?, Some(waker)))
    }

    /// An arena of the allocator's memory, without a waker: for owners that have no ring, such as tests, a simulator
    /// or Miri. It makes no system call. Nobody is woken when a slot comes home from another core, so its owner must
    /// not sleep for one.
    #[must_use]
    pub fn heap(budget: &Budget) -> Self {
        Self::of(budget, Mapping::heap(budget.bytes()), None)
    }

    fn of(budget: &Budget, mapping: Mapping, waker: Option<Waker>) -> Self {
        let layout = Layout::of(budget);
        let slots = usize::from(layout.slots());
        let shared = Shared {
            mapping,
            layout,
            lines: budget.lines().into(),
            shares: (0..slots).map(|_| Shares::default()).collect(),
            // A slot is on its way home at most once, so this queue is never full.
            returns: Returns::new(ArrayQueue::new(slots.max(1))),
            waker,
        };
        Self { shared: Arc::new(shared) }
    }
}

/// How many views a slot has, and how many of those are with the kernel.
///
/// All views of a slot are on one thread at any time ([`crate::View::send_away`] takes only the last one), and the
/// hand-over between threads goes through a queue that orders memory. So relaxed loads and stores are enough, and
/// the counts cost no more than plain integers.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    pub(crate) views: Count,
    pub(crate) lent: Count,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU16);

impl Count {
    pub(crate) fn get(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, n: u16) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn up(&self) -> u16 {
        let n = self.get().checked_add(1).expect("a slot has fewer views than bytes, 65,535 at the most");
        self.set(n);
        n
    }

    pub(crate) fn down(&self) -> u16 {
        let n = self.get().checked_sub(1).expect("each view is counted once");
        self.set(n);
        n
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mapping: Mapping,
    pub(crate) layout: Layout,
    pub(crate) lines: Box<[Line]>,
    shares: Box<[Shares]>,
    returns: Returns,
    /// `None` if the owner never sleeps.
    waker: Option<Waker>,
}

impl Shared {
    pub(crate) fn shares(&self, slot: Slot) -> &Shares {
        &self.shares[usize::from(slot.0)]
    }

    pub(crate) fn class(&self, slot: Slot) -> SlotClass {
        self.layout.class(slot.0)
    }

    /// First byte of a slot.
    pub(crate) fn start(&self, slot: Slot) -> NonNull<u8> {
        let offset = self.layout.offset(slot.0);
        // SAFETY: the mapping is at least as long as the layout, and a slot number is below the layout's count (the
        // layout asserts it in debug builds; slots are only ever made from its ranges or checked against them).
        unsafe { self.mapping.base().add(offset) }
    }

    /// Takes a slot home from a thread that is not the owner's.
    pub(crate) fn return_from_afar(&self, slot: Slot) {
        if self.returns.give_back(slot.0)
            && let Some(waker) = &self.waker
        {
            waker.wake();
        }
    }

    pub(crate) fn next_return(&self) -> Option<Slot> {
        self.returns.next().map(Slot)
    }

    /// The owner is about to sleep and could use a slot: ring when one comes home. The owner drains the returns once
    /// more after this call, so a slot returned in between is not missed.
    pub(crate) fn declare_starved(&self) {
        self.returns.declare_starved();
    }
}
