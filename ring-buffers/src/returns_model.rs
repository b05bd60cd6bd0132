//! [`Returns`] in every order that the memory model allows (checked with loom): slots leave as parcels and come home.
//!
//! The queue is reduced to what is asked of it: an item is published with release and taken with acquire, and nothing
//! is said of the order between items. What holds here holds for `crossbeam-queue`, which guarantees more.

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicU16};
use loom::sync::{Arc, Notify};
use loom::thread;

use super::*;

const SLOTS: usize = 2;

struct ModelFlag(AtomicBool);

impl Flag for ModelFlag {
    fn new(value: bool) -> Self {
        Self(AtomicBool::new(value))
    }

    fn swap(&self, value: bool) -> bool {
        self.0.swap(value, AcqRel)
    }
}

/// A place for each slot.
struct ModelQueue([AtomicBool; SLOTS]);

impl Queue for ModelQueue {
    fn push(&self, slot: u16) {
        self.0[usize::from(slot)].store(true, Release);
    }

    fn pop(&self) -> Option<u16> {
        // Only the owner takes, and it takes what it has seen.
        let at = self.0.iter().position(|place| place.load(Acquire))?;
        self.0[at].store(false, Relaxed);
        Some(at as u16)
    }
}

/// A slot: its bytes, and the count of its views, which is a plain integer in all but type.
struct Slot {
    bytes: UnsafeCell<u32>,
    views: AtomicU16,
}

impl Slot {
    fn write(&self, value: u32) {
        // SAFETY: loom itself checks that no other thread is at the cell.
        self.bytes.with_mut(|bytes| unsafe { *bytes = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.bytes.with(|bytes| unsafe { *bytes })
    }
}

/// An arena, and the way home. The eventfd is a [`Notify`]: it remembers one wake-up, and sometimes wakes without any.
struct Arena {
    slots: [Slot; SLOTS],
    returns: Returns<ModelQueue, ModelFlag>,
    waker: Notify,
}

impl Arena {
    /// All slots are filled, and on their way to other cores.
    fn new() -> Arc<Self> {
        let slot = || Slot { bytes: UnsafeCell::new(1), views: AtomicU16::new(1) };
        Arc::new(Self {
            slots: std::array::from_fn(|_| slot()),
            returns: Returns::new(ModelQueue(std::array::from_fn(|_| AtomicBool::new(false)))),
            waker: Notify::new(),
        })
    }

    /// Another core uses a slot that arrived there, and releases it.
    fn use_and_release(&self, slot: usize) {
        self.slots[slot].write(2);
        self.slots[slot].views.store(0, Relaxed);
        if self.returns.give_back(slot as u16) {
            self.waker.notify();
        }
    }

    /// Takes home what is there, and checks that it came with all that was done to it.
    fn drain(&self) -> usize {
        let mut n = 0;
        while let Some(slot) = self.returns.next() {
            let slot = &self.slots[usize::from(slot)];
            assert_eq!((slot.read(), slot.views.load(Relaxed)), (2, 0));
            slot.write(0);
            n += 1;
        }
        n
    }

    /// Sleeps until all of `n` slots are home, as an owner does that needs them: it looks once more after it has said
    /// so.
    fn wait_for(&self, n: usize) {
        let mut home = self.drain();
        while home < n {
            self.returns.declare_starved();
            match self.drain() {
                0 => self.waker.wait(),
                more => home += more,
            }
        }
    }
}

/// The thread that begins the model only waits for the others: loom does not try all orders of a thread's first
/// accesses and those of the thread that spawned it. It reports a deadlock if the owner sleeps while a slot is home and
/// nobody is left to wake it. With three threads the orders are many: those with up to two preemptions take a second.
fn come_home_from(steps: impl IntoIterator<Item = fn(&Arena)>) {
    let arena = Arena::new();
    let others = steps.into_iter().map(|step| {
        let arena = arena.clone();
        thread::spawn(move || step(&arena))
    });
    let others: Vec<_> = others.collect();
    let owner = thread::spawn(move || arena.wait_for(SLOTS));
    others.into_iter().chain([owner]).for_each(|thread| thread.join().unwrap());
}

fn in_every_order(steps: &'static [fn(&Arena)]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| come_home_from(steps.iter().copied()));
}

#[test]
fn slots_come_home_from_another_core_one_after_the_other() {
    in_every_order(&[|arena| (0..SLOTS).for_each(|slot| arena.use_and_release(slot))]);
}

#[test]
fn slots_come_home_from_two_cores_at_once() {
    in_every_order(&[|arena| arena.use_and_release(0), |arena| arena.use_and_release(1)]);
}
