//! What passes between threads, in every order that the memory model allows (checked with loom).
//!
//! The [`Bell`] is the crate's own, over loom's atomics. The queues are reduced to what any queue guarantees: an item
//! is published with release and taken with acquire; nothing is said of the order between items. What holds here holds
//! for the queues of `crossbeam-queue`, which guarantee more.

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize};
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
/// the orders are many: those with up to three preemptions, in which nearly all known errors of this kind show, take a
/// second.
#[test]
fn no_wake_up_is_lost_between_two_senders_and_a_sleeper() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let mailbox = Arc::new(Mailbox::<2>::new(Bell::armed()));
        let senders = [0, 1].map(|place| {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.send(place))
        });
        let mut taken = 0;
        loop {
            mailbox.bell.arm();
            taken += mailbox.drain();
            if taken == 2 {
                break;
            }
            mailbox.waker.wait();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
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
        sender.join().unwrap();
    });
}

/// A slot: its bytes, and the count of its views, which is a plain integer in all but type.
struct ModelSlot {
    bytes: UnsafeCell<u32>,
    views: AtomicU16,
}

impl ModelSlot {
    fn write(&self, value: u32) {
        // SAFETY: loom itself checks that no other thread is at the cell.
        self.bytes.with_mut(|bytes| unsafe { *bytes = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.bytes.with(|bytes| unsafe { *bytes })
    }
}

/// A view goes to another core as a parcel, is used there, and its slot comes home: bytes and count are handed over
/// with it both times, though neither is synchronised by itself; and an owner that starves for it is woken.
#[test]
fn a_slot_travels_to_another_core_and_comes_home() {
    loom::model(|| {
        let slot = Arc::new(ModelSlot { bytes: UnsafeCell::new(0), views: AtomicU16::new(0) });
        let handoffs = Arc::new(Mailbox::<1>::new(Bell::armed()));
        let returns = Arc::new(Mailbox::<1>::new(Bell::silent()));

        let other = {
            let (slot, handoffs, returns) = (slot.clone(), handoffs.clone(), returns.clone());
            thread::spawn(move || {
                handoffs.waker.wait();
                handoffs.bell.arm();
                assert_eq!(handoffs.drain(), 1);
                assert_eq!((slot.read(), slot.views.load(Relaxed)), (1, 1));
                slot.write(2);
                slot.views.store(0, Relaxed);
                returns.send(0);
            })
        };

        // Claimed, filled and handed over.
        slot.views.store(1, Relaxed);
        slot.write(1);
        handoffs.send(0);
        // `drain_returns` of each turn; before sleeping because slots ran out, `declare_starved`.
        while returns.drain() == 0 {
            returns.bell.arm();
            if returns.drain() == 1 {
                break;
            }
            returns.waker.wait();
        }
        assert_eq!((slot.read(), slot.views.load(Relaxed)), (2, 0));
        slot.views.store(1, Relaxed);
        slot.write(3);
        other.join().unwrap();
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
        if in_use.load(Acquire) == 1 {
            // SAFETY: loom itself checks that no other thread is at the cell.
            table.with_mut(|table| unsafe { *table = 0 });
        }
        worker.join().unwrap();
    });
}
