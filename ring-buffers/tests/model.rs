//! What passes between threads, in every order that the memory model allows (checked with loom).
//!
//! The [`Bell`] is the crate's own, over loom's atomics. The queues are reduced to what any queue guarantees: an item
//! is published with release and taken with acquire; nothing is said of the order between items. What holds here holds
//! for the queues of `crossbeam-queue`, which guarantee more.
//!
//! The thread that begins a model only waits for the others. loom does not try all orders of a thread's first accesses
//! and those of the thread that spawned it.

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::sync::{Arc, Notify};
use loom::thread;
use ring_buffers::{Bell, Flag};

struct ModelFlag(AtomicBool);

impl Flag for ModelFlag {
    fn new(value: bool) -> Self {
        Self(AtomicBool::new(value))
    }

    fn swap(&self, value: bool) -> bool {
        self.0.swap(value, AcqRel)
    }
}

/// A place in a queue: one item, from one producer.
struct Place(AtomicBool);

impl Place {
    fn empty() -> Self {
        Self(AtomicBool::new(false))
    }

    fn push(&self) {
        self.0.store(true, Release);
    }

    fn pop(&self) -> bool {
        // Only one thread takes, and it takes what it has seen.
        let there = self.0.load(Acquire);
        if there {
            self.0.store(false, Relaxed);
        }
        there
    }
}

/// A mailbox: worker inboxes, control's inbox and the returns of an arena are all of this shape. The eventfd is a
/// [`Notify`]: it remembers one wake-up.
struct Mailbox<const N: usize> {
    places: [Place; N],
    bell: Bell<ModelFlag>,
    waker: Notify,
}

impl<const N: usize> Mailbox<N> {
    fn new(bell: Bell<ModelFlag>) -> Self {
        Self { places: std::array::from_fn(|_| Place::empty()), bell, waker: Notify::new() }
    }

    fn send(&self, place: usize) {
        self.places[place].push();
        if self.bell.ring() {
            self.waker.notify();
        }
    }

    fn drain(&self) -> usize {
        self.places.iter().filter(|place| place.pop()).count()
    }
}

/// loom reports a deadlock if the owner sleeps while an item waits and nobody is left to wake it. With three threads
/// the orders are many: those with up to two preemptions, in which nearly all known errors of this kind show, take a
/// second.
#[test]
fn no_wake_up_is_lost_between_two_senders_and_a_sleeper() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let mailbox = Arc::new(Mailbox::<2>::new(Bell::armed()));
        let senders = [0, 1].map(|place| {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.send(place))
        });
        let owner = thread::spawn(move || {
            let mut taken = 0;
            loop {
                mailbox.bell.arm();
                taken += mailbox.drain();
                if taken == 2 {
                    break;
                }
                mailbox.waker.wait();
            }
        });
        senders.into_iter().chain([owner]).for_each(|thread| thread.join().unwrap());
    });
}

/// A sender that sends again while the owner is awake: the second item is not left behind by the first one's ring.
#[test]
fn what_is_sent_while_the_owner_looks_is_seen_or_rings() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<2>::new(Bell::armed()));
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || [0, 1].into_iter().for_each(|place| mailbox.send(place)))
        };
        let owner = thread::spawn(move || {
            let mut taken = 0;
            while taken < 2 {
                mailbox.waker.wait();
                // As a worker does it: the bell first, then what is there; a turn that took something does not sleep.
                loop {
                    mailbox.bell.arm();
                    match mailbox.drain() {
                        0 => break,
                        n => taken += n,
                    }
                }
            }
        });
        [sender, owner].into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The routes: a worker acknowledges the version that it uses after it has let go of the one before. Whoever reads the
/// acknowledgement frees the old table, and must be alone with it.
#[test]
fn a_table_is_freed_only_after_the_worker_has_let_go_of_it() {
    loom::model(|| {
        let table = Arc::new(UnsafeCell::new(7));
        let in_use = Arc::new(AtomicUsize::new(0));
        let worker = {
            let (table, in_use) = (table.clone(), in_use.clone());
            thread::spawn(move || {
                // SAFETY: loom itself checks that no other thread writes the cell.
                table.with(|table| assert_eq!(unsafe { *table }, 7));
                in_use.store(1, Release);
            })
        };
        let control = thread::spawn(move || {
            if in_use.load(Acquire) == 1 {
                // SAFETY: loom itself checks that no other thread is at the cell.
                table.with_mut(|table| unsafe { *table = 0 });
            }
        });
        [worker, control].into_iter().for_each(|thread| thread.join().unwrap());
    });
}
