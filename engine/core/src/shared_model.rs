//! [`advance`], [`confirm_and_advance`], [`change`], [`enter`] and [`take`] in every order that the memory model
//! allows (checked with loom).
//!
//! `arc-swap` itself is not in the model: its own words are not loom's. A [`ModelPointer`] stands in for it, and keeps
//! no more than the contract of [`Pointer`]: loads acquire and may be stale, replacements acquire and release, and no
//! address is used twice. What holds for it holds for `arc-swap`, which promises more.

use std::sync::Mutex;

use loom::sync::Arc as Shared;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicU64, AtomicUsize};
use loom::thread;

use super::*;

/// A pointer is a place in a list from which nothing is removed; 0 is none.
struct ModelPointer<T> {
    place: AtomicUsize,
    /// Not a part of the model: loom runs one thread at a time, and no switch is possible while this is locked.
    values: Mutex<Vec<Arc<T>>>,
}

/// The place, and the value there.
struct ModelGuard<T>(usize, Option<Arc<T>>);

impl<T> Deref for ModelGuard<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Option<Arc<T>> {
        &self.1
    }
}

impl<T> ModelPointer<T> {
    fn new(value: Option<T>) -> Self {
        let values: Vec<_> = value.into_iter().map(Arc::new).collect();
        Self { place: AtomicUsize::new(values.len()), values: Mutex::new(values) }
    }

    fn guard(&self, place: usize) -> ModelGuard<T> {
        let values = self.values.lock().unwrap();
        ModelGuard(place, place.checked_sub(1).map(|at| values[at].clone()))
    }

    fn add(&self, value: Arc<T>) -> usize {
        let mut values = self.values.lock().unwrap();
        values.push(value);
        values.len()
    }

    /// What an unconditional store is: [`ArcSwapOption::swap`].
    fn swap(&self, value: T) {
        let place = self.add(Arc::new(value));
        self.place.swap(place, AcqRel);
    }
}

impl<T> Pointer<T> for ModelPointer<T> {
    type Guard = ModelGuard<T>;

    fn load(&self) -> ModelGuard<T> {
        self.guard(self.place.load(Acquire))
    }

    fn replace(&self, seen: &ModelGuard<T>, new: Arc<T>) -> Result<(), ModelGuard<T>> {
        let place = self.add(new);
        match self.place.compare_exchange(seen.0, place, AcqRel, Acquire) {
            Ok(_) => Ok(()),
            Err(other) => Err(self.guard(other)),
        }
    }
}

impl Highest for AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Acquire)
    }

    fn raise(&self, number: u64) {
        self.fetch_max(number, AcqRel);
    }
}

impl Bits for AtomicU64 {
    fn bits(&self) -> u64 {
        self.load(Relaxed)
    }

    fn set_bits(&self, bits: u64) -> u64 {
        self.fetch_or(bits, AcqRel)
    }

    fn take_bits(&self) -> u64 {
        self.swap(0, AcqRel)
    }
}

/// A session, of which only the number matters.
#[derive(Debug, PartialEq, Eq)]
struct Session(u64);

impl Numbered for Session {
    fn number(&self) -> u64 {
        self.0
    }
}

struct Cell {
    sending: ModelPointer<Session>,
    confirmed: AtomicU64,
}

impl Cell {
    fn sending_under(number: u64) -> Shared<Self> {
        Shared::new(Self { sending: ModelPointer::new(Some(Session(number))), confirmed: AtomicU64::new(0) })
    }

    fn number(&self) -> u64 {
        self.sending.load().as_ref().map_or(0, |session| session.0)
    }
}

/// Runs the steps at once, and returns what they say. Each has a thread of its own: loom does not try all orders of a
/// thread's first accesses and those of the thread that spawned it.
fn at_once<C: 'static, const N: usize>(cell: &Shared<C>, steps: [fn(&C) -> bool; N]) -> [bool; N] {
    let run = |step: fn(&C) -> bool| {
        let cell = cell.clone();
        thread::spawn(move || step(&cell))
    };
    steps.map(run).map(|thread| thread.join().unwrap())
}

/// Every order with up to three preemptions, in which nearly all known errors of this kind show: all orders of three
/// threads take a quarter of a minute.
fn in_every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Whoever comes last. A step that stores nothing was overtaken.
#[test]
fn the_newest_session_wins_in_every_order() {
    in_every_order(|| {
        let cell = Cell::sending_under(1);
        let stored = at_once(
            &cell,
            [
                |cell: &Cell| advance(&cell.sending, Arc::new(Session(3))),
                |cell: &Cell| advance(&cell.sending, Arc::new(Session(2))),
            ],
        );
        assert_eq!(cell.number(), 3);
        assert!(stored[0], "nothing overtakes the newest");
        assert!(!advance(&cell.sending, Arc::new(Session(2))), "a late one brings nothing back");
    });
}

#[test]
fn a_reader_never_sees_an_older_session_after_a_newer_one() {
    in_every_order(|| {
        let cell = Cell::sending_under(1);
        let steps = [
            |cell: &Cell| advance(&cell.sending, Arc::new(Session(3))),
            |cell: &Cell| advance(&cell.sending, Arc::new(Session(2))),
            |cell: &Cell| {
                let (first, second) = (cell.number(), cell.number());
                1 <= first && first <= second
            },
        ];
        let [.., in_order] = at_once(&cell, steps);
        assert!(in_order);
    });
}

/// The first session of a peer: an empty cell is not yet a special case.
#[test]
fn of_two_first_sessions_the_newer_one_wins() {
    in_every_order(|| {
        let cell = Shared::new(ModelPointer::<Session>::new(None));
        at_once(
            &cell,
            [
                |cell: &ModelPointer<Session>| advance(cell, Arc::new(Session(1))),
                |cell: &ModelPointer<Session>| advance(cell, Arc::new(Session(2))),
            ],
        );
        assert_eq!(cell.load().as_deref(), Some(&Session(2)));
    });
}

/// Control looks whether an answered session is confirmed before it forgets it. A core that sends under it must not
/// have been able to see it before control can.
#[test]
fn who_sees_an_answered_session_sees_that_it_is_confirmed() {
    in_every_order(|| {
        let cell = Cell::sending_under(1);
        let steps = [
            |cell: &Cell| confirm_and_advance(&cell.confirmed, &cell.sending, Arc::new(Session(2))),
            // Another session, which we asked for: it needs no confirmation.
            |cell: &Cell| advance(&cell.sending, Arc::new(Session(3))),
            |cell: &Cell| cell.number() != 2 || cell.confirmed.get() >= 2,
        ];
        let [.., seen] = at_once(&cell, steps);
        assert!(seen);
        assert_eq!((cell.number(), cell.confirmed.get()), (3, 2), "control has to know all the same");
    });
}

/// Confirmations of two sessions, on their two owners.
#[test]
fn the_highest_confirmation_stays() {
    in_every_order(|| {
        let cell = Cell::sending_under(1);
        at_once(
            &cell,
            [
                |cell: &Cell| confirm_and_advance(&cell.confirmed, &cell.sending, Arc::new(Session(2))),
                |cell: &Cell| confirm_and_advance(&cell.confirmed, &cell.sending, Arc::new(Session(3))),
            ],
        );
        assert_eq!((cell.number(), cell.confirmed.get()), (3, 3));
    });
}

/// An endpoint is learned while another core finds something wrong about the one before.
#[test]
fn a_correction_never_undoes_what_was_learned() {
    in_every_order(|| {
        let endpoint = Shared::new(ModelPointer::new(Some("old")));
        let steps = [
            |endpoint: &ModelPointer<&str>| change(endpoint, &"old", "old, corrected"),
            |endpoint: &ModelPointer<&str>| {
                endpoint.swap("learned");
                true
            },
        ];
        at_once(&endpoint, steps);
        assert_eq!(endpoint.load().as_deref(), Some(&"learned"));
    });
}

#[test]
fn of_two_corrections_of_one_endpoint_one_is_made() {
    in_every_order(|| {
        let endpoint = Shared::new(ModelPointer::new(Some("old")));
        let made = at_once(
            &endpoint,
            [
                |endpoint: &ModelPointer<&str>| change(endpoint, &"old", "one way"),
                |endpoint: &ModelPointer<&str>| change(endpoint, &"old", "the other way"),
            ],
        );
        let expected = if made[0] { "one way" } else { "the other way" };
        assert_eq!((made[0] ^ made[1], endpoint.load().as_deref()), (true, Some(&expected)));
    });
}

/// A worker that holds packets back, and control that makes a session.
struct Meeting {
    session: AtomicU64,
    waiting: AtomicU64,
    /// Sessions of which control has written to the worker.
    mailbox: AtomicU64,
}

impl Meeting {
    fn new() -> Shared<Self> {
        let [session, waiting, mailbox] = std::array::from_fn(|_| AtomicU64::new(0));
        Shared::new(Self { session, waiting, mailbox })
    }

    /// Control makes a session, and writes to who waits. Always true.
    fn make(&self, number: u64) -> bool {
        self.session.store(number, Release);
        if take(&self.waiting) != 0 {
            self.mailbox.fetch_max(number, AcqRel);
        }
        true
    }

    /// The worker has a packet, and found no session newer than `known`. True: it is told, now or later, or sends.
    fn hold_back(&self, known: u64) -> bool {
        enter(&self.waiting, 1) && self.session.load(Acquire) > known
    }
}

/// Nobody waits for a session that is there: the worker finds it, or is written to, or stays entered for the next one.
#[test]
fn who_holds_packets_back_is_never_forgotten() {
    in_every_order(|| {
        let meeting = Meeting::new();
        let steps = [|meeting: &Meeting| meeting.make(1), |meeting: &Meeting| meeting.hold_back(0)];
        let [_, found] = at_once(&meeting, steps);
        assert!(found || meeting.mailbox.load(Acquire) == 1);
    });
}

/// The second packet finds the worker entered, perhaps for a session that was made meanwhile.
#[test]
fn a_bit_that_was_taken_is_not_trusted() {
    in_every_order(|| {
        let meeting = Meeting::new();
        let steps = [
            |meeting: &Meeting| meeting.make(1),
            |meeting: &Meeting| {
                let first = meeting.hold_back(0);
                first || meeting.hold_back(0)
            },
        ];
        let [_, found] = at_once(&meeting, steps);
        assert!(found || meeting.mailbox.load(Acquire) == 1);
    });
}

/// What the worker was written it has read, and it waits for the next session.
#[test]
fn who_was_written_to_enters_itself_again() {
    in_every_order(|| {
        let meeting = Meeting::new();
        let steps = [
            |meeting: &Meeting| meeting.make(1) && meeting.make(2),
            |meeting: &Meeting| {
                let found = meeting.hold_back(0);
                let read = meeting.mailbox.load(Acquire);
                found || read == 2 || meeting.hold_back(read)
            },
        ];
        let [_, found] = at_once(&meeting, steps);
        assert!(found || meeting.mailbox.load(Acquire) == 2 || meeting.waiting.load(Acquire) == 0);
    });
}
