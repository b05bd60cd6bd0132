//! [`raise`], [`lower`], [`note`], [`publish`], [`take`] and [`pass`] in every order that the memory model allows
//! (checked with loom). The orderings are those of the code itself: weaken one, and a model fails.

use std::sync::atomic::Ordering::Release;

use loom::sync::Arc as Shared;
use loom::sync::atomic::{AtomicBool as Bool, AtomicU64 as Word};
use loom::thread;

use super::*;
use crate::shared;

impl Number for Word {
    fn load(&self, ordering: Ordering) -> u64 {
        Self::load(self, ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        Self::store(self, value, ordering);
    }

    fn replace(&self, seen: u64, new: u64, ordering: Ordering) -> bool {
        self.compare_exchange(seen, new, ordering, Relaxed).is_ok()
    }
}

impl Flag for Bool {
    fn load(&self, ordering: Ordering) -> bool {
        Self::load(self, ordering)
    }

    fn store(&self, value: bool, ordering: Ordering) {
        Self::store(self, value, ordering);
    }

    fn swap(&self, value: bool, ordering: Ordering) -> bool {
        Self::swap(self, value, ordering)
    }
}

/// Runs the steps at once, each in a thread of its own, and returns what they say.
fn at_once<T: Send + Sync + 'static, const N: usize>(shared: &Shared<T>, steps: [fn(&T) -> bool; N]) -> [bool; N] {
    let run = |step: fn(&T) -> bool| {
        let shared = shared.clone();
        thread::spawn(move || step(&shared))
    };
    steps.map(run).map(|thread| thread.join().unwrap())
}

/// Every order with up to three preemptions, in which nearly all known errors of this kind show.
fn in_every_order(model: impl Fn() + Sync + Send + 'static) {
    with_preemptions(3, model);
}

fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// The last value of all: a load may find an older one of several that have no order.
fn latest(flag: &Bool) -> bool {
    flag.fetch_or(false, AcqRel)
}

/// What workers and control share of a peer's traffic, as far as it is in the models.
struct Traffic {
    sent: Word,
    received: Word,
    armed: Bool,
}

impl Traffic {
    fn watched(by_control: bool) -> Shared<Self> {
        Shared::new(Self { sent: Word::new(0), received: Word::new(0), armed: Bool::new(by_control) })
    }

    fn is_sent(&self) -> bool {
        note(&self.sent, &self.armed, |before| before.max(1))
    }

    fn is_received(&self) -> bool {
        note(&self.received, &self.armed, |before| before.max(1))
    }
}

/// The peer leaves idleness on two cores at once.
#[test]
fn of_two_notes_one_wakes_control() {
    in_every_order(|| {
        let traffic = Traffic::watched(false);
        let [one, other] = at_once(&traffic, [Traffic::is_sent, Traffic::is_received]);
        assert!(one ^ other);
        assert_eq!((traffic.sent.load(Relaxed), traffic.received.load(Relaxed)), (1, 1), "control sees both");
    });
}

/// Control finds nothing to wait for, and stops watching, while a worker notes something. The last look comes when the
/// worker's stores have arrived. That it is needed is seen in some order: nobody has told control, which saw nothing.
#[test]
fn a_note_while_control_stops_watching_is_told_or_found_by_its_last_look() {
    let needed = std::sync::Arc::new(AtomicBool::new(false));
    let seen = needed.clone();
    in_every_order(move || {
        let traffic = Traffic::watched(true);
        let steps = [Traffic::is_sent, |traffic: &Traffic| {
            let found = traffic.sent.load(Relaxed) != 0;
            if !found {
                traffic.armed.store(false, Relaxed);
            }
            found
        }];
        let [told, found] = at_once(&traffic, steps);
        let found_at_last = traffic.sent.load(Relaxed) != 0;
        assert!(found || told || found_at_last);
        seen.fetch_or(!found && !told, Relaxed);
    });
    assert!(needed.load(Relaxed));
}

/// A worker that holds packets back and asks for a handshake, and control that gives the handshake up.
struct Asking {
    requested: Bool,
    waiting: Word,
    /// Control has written to the worker that it drops what it holds.
    dropped: Bool,
}

impl Asking {
    /// A handshake has been asked for.
    fn under_way() -> Shared<Self> {
        Shared::new(Self { requested: Bool::new(true), waiting: Word::new(0), dropped: Bool::new(false) })
    }

    /// Control. Always true.
    fn give_up(&self) -> bool {
        lower(&self.requested);
        if shared::take(&self.waiting) != 0 {
            self.dropped.swap(true, AcqRel);
        }
        true
    }

    /// The worker has a packet. True: it asks anew.
    fn hold_back(&self) -> bool {
        shared::enter(&self.waiting, 1);
        raise(&self.requested)
    }
}

/// No packet waits for a handshake that nobody makes.
#[test]
fn what_is_held_back_is_dropped_with_the_handshake_or_asks_anew() {
    in_every_order(|| {
        let asking = Asking::under_way();
        let [asks, _] = at_once(&asking, [Asking::hold_back, Asking::give_up]);
        assert!(asks || latest(&asking.dropped));
    });
}

/// The worker has read what control wrote, and has dropped the first packet. So that says nothing of the second.
#[test]
fn what_is_held_back_after_others_were_dropped_asks_anew() {
    in_every_order(|| {
        let asking = Asking::under_way();
        let steps = [
            |asking: &Asking| {
                let asks = asking.hold_back();
                let has_dropped = asking.dropped.swap(false, Acquire);
                // A worker reads its mail before it reads packets.
                let asks_again = asking.hold_back();
                asks || asks_again || !has_dropped
            },
            Asking::give_up,
        ];
        let [asks_or_waits, _] = at_once(&asking, steps);
        assert!(asks_or_waits);
        assert!(latest(&asking.requested) || latest(&asking.dropped));
    });
}

/// Peers whose endpoints workers change, the mark, and whether control has been written to.
struct Moving {
    places: [Word; 2],
    mark: Bool,
    mail: Bool,
}

impl Moving {
    /// Control has been told of a move before, and has not looked.
    fn told_of() -> Shared<Self> {
        Shared::new(Self { places: [Word::new(0), Word::new(0)], mark: Bool::new(true), mail: Bool::new(true) })
    }

    fn change(&self, peer: usize) -> bool {
        self.places[peer].store(1, Release);
        let tells = publish(&self.mark);
        if tells {
            self.mail.swap(true, AcqRel);
        }
        tells
    }

    /// Control looks if it was written to. True: it has seen that the first has moved.
    fn look(&self) -> bool {
        self.mail.swap(false, Acquire) && take(&self.mark) && self.places[0].load(Acquire) == 1
    }
}

/// A mark that was there before is perhaps just being taken.
#[test]
fn a_move_is_seen_or_told() {
    in_every_order(|| {
        let moving = Moving::told_of();
        let [_, seen] = at_once(&moving, [|moving: &Moving| moving.change(0), Moving::look]);
        assert!(seen || moving.look(), "control is awake once more, and sees it");
    });
}

/// The second is not told, since the first one is.
#[test]
fn moves_of_two_peers_are_seen_or_told() {
    // Three threads have many orders.
    with_preemptions(2, || {
        let moving = Moving::told_of();
        let steps = [|moving: &Moving| moving.change(0), |moving: &Moving| moving.change(1), Moving::look];
        let [.., seen] = at_once(&moving, steps);
        assert!(seen || moving.look());
        // Whatever was seen of the other: what control has not seen is marked, and it has been written to.
        assert!(!latest(&moving.mark) || latest(&moving.mail));
    });
}

const NOW: u64 = 5;
const NEXT: u64 = 10;

fn tell(deadline: &Word) -> bool {
    pass(deadline, NOW, NEXT)
}

#[test]
fn of_two_that_find_a_session_lost_one_tells() {
    in_every_order(|| {
        let deadline = Shared::new(Word::new(0));
        let [one, other] = at_once(&deadline, [tell, tell]);
        assert!((one ^ other) && !tell(&deadline));
    });
}

/// Control asks the peer for a session by itself, meanwhile.
#[test]
fn what_control_does_by_itself_is_told_by_nobody_afterwards() {
    in_every_order(|| {
        let deadline = Shared::new(Word::new(0));
        let asked = |deadline: &Word| {
            deadline.store(NEXT, Relaxed);
            true
        };
        at_once(&deadline, [tell, asked]);
        assert!(!tell(&deadline));
    });
}

/// Control's queue is full, so the one that was chosen to tell cannot.
#[test]
fn who_cannot_tell_leaves_it_to_the_next() {
    in_every_order(|| {
        let deadline = Shared::new(Word::new(0));
        let cannot = |deadline: &Word| {
            let chosen = tell(deadline);
            if chosen {
                deadline.store(0, Relaxed);
            }
            chosen
        };
        let [_, told] = at_once(&deadline, [cannot, tell]);
        assert!(told || tell(&deadline));
    });
}
