use std::time::Duration;

use super::*;
use crate::ids::LocalAddr;

const START: Time = Time::from_secs(1_000);

type Cell = PeerCell<&'static str>;

fn cell() -> Arc<Cell> {
    Arc::new(PeerCell::new(PeerId { index: 3, generation: 0 }, Arc::new(PeerShared::new(2))))
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::new(([192, 0, 2, 1], port).into())
}

fn number(n: u64) -> SessionNumber {
    SessionNumber(n)
}

fn receiver(cell: &Arc<Cell>, n: u64, key: &'static str, initiator: bool) -> Receiver<(), &'static str> {
    let receive = ReceiveSession::new((), 1, START, initiator);
    let send = SendSession::new(key, 1, 2, START, initiator);
    let (receiver, sends_now) = Receiver::new(cell.clone(), number(n), receive, send);
    assert_eq!(sends_now.is_some(), initiator);
    sends_now.map(|state| cell.advance(state));
    receiver
}

fn key(cell: &Cell) -> Option<&'static str> {
    cell.sending().session().map(|session| *session.key())
}

#[test]
fn who_asked_sends_at_once_and_who_answered_after_the_first_message() {
    let cell = cell();
    assert_eq!(key(&cell), None);
    let mut asked = receiver(&cell, 1, "asked", true);
    assert_eq!(key(&cell), Some("asked"));
    assert!(!asked.note_authentic(), "there is nothing to confirm");
    let mut answered = receiver(&cell, 2, "answered", false);
    assert_eq!((key(&cell), cell.shared().confirmed()), (Some("asked"), number(0)));
    assert!(answered.note_authentic());
    assert_eq!((key(&cell), cell.shared().confirmed()), (Some("answered"), number(2)));
    assert!(!answered.note_authentic(), "once");
}

#[test]
fn a_late_confirmation_brings_nothing_back() {
    let cell = cell();
    let mut answered = receiver(&cell, 1, "answered", false);
    let _asked = receiver(&cell, 2, "asked", true);
    assert!(!answered.note_authentic(), "a newer session sends");
    assert_eq!(key(&cell), Some("asked"));
    let mut answered = receiver(&cell, 3, "answered", false);
    assert!(cell.advance(Arc::new(SendState::end(number(4)))));
    assert!(!answered.note_authentic(), "all sessions have ended");
    assert_eq!(key(&cell), None);
    assert_eq!(cell.shared().confirmed(), number(3), "control has to know all the same");
    let _asked = receiver(&cell, 5, "asked", true);
    assert_eq!(key(&cell), Some("asked"));
}

#[test]
fn a_session_that_was_read_stays_while_the_next_one_begins() {
    let cell = cell();
    let _first = receiver(&cell, 1, "first", true);
    let sending = cell.sending();
    let _second = receiver(&cell, 2, "second", true);
    assert_eq!(sending.session().map(|session| session.reserve(START + Duration::from_secs(1), 3)), Some(Ok(0)));
    assert_eq!((sending.session().map(|s| *s.key()), key(&cell)), (Some("first"), Some("second")));
}

#[test]
fn what_is_learned_of_one_path_does_not_change_the_next() {
    let cell = EndpointCell::default();
    assert_eq!(cell.get(), None);
    assert!(!cell.change(endpoint(1), endpoint(2)));
    assert_eq!(cell.set(endpoint(1)), None);
    assert_eq!(cell.set(endpoint(1)), Some(endpoint(1)));
    assert_eq!(cell.set(endpoint(2)), Some(endpoint(1)));
    assert!(!cell.change(endpoint(1), endpoint(3)));
    assert_eq!(cell.get(), Some(endpoint(2)));
    assert!(cell.change(endpoint(2), endpoint(3)));
    assert_eq!(cell.get(), Some(endpoint(3)));
}

#[test]
fn sessions_that_begin_on_many_threads_end_with_the_last() {
    const SESSIONS: u64 = 2_000;
    let cell = cell();
    std::thread::scope(|scope| {
        for first in 1..=4 {
            let cell = &cell;
            scope.spawn(move || {
                for n in (first..=SESSIONS).step_by(4) {
                    let mut receiver = receiver(cell, n, if n == SESSIONS { "last" } else { "earlier" }, false);
                    receiver.note_authentic();
                }
            });
        }
        let (mut highest, cell) = (number(0), &cell);
        while highest < number(SESSIONS) {
            let now = cell.shared().confirmed();
            assert!(now >= highest, "confirmations do not go back");
            highest = now;
            std::thread::yield_now();
        }
    });
    assert_eq!(key(&cell), Some("last"));
}

#[test]
fn endpoints_are_read_whole() {
    const WRITES: u16 = 5_000;
    let cell = EndpointCell::default();
    let of = |n: u16| Endpoint::new(([10, 0, (n >> 8) as u8, n as u8], n).into());
    cell.set(of(0));
    std::thread::scope(|scope| {
        let writers = [0, 1].map(|half| {
            let cell = &cell;
            scope.spawn(move || (half..WRITES).step_by(2).for_each(|n| _ = cell.set(of(n))))
        });
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let read = cell.get().expect("it was set");
            assert_eq!(read, of(read.remote.port()));
        }
    });
}

#[test]
fn counters_add_up_over_workers() {
    let shared = PeerShared::new(2);
    shared.counters[0].received(2, 200);
    shared.counters[0].sent(1, 148);
    shared.counters[1].received(1, 32);
    let sum = Traffic { rx_bytes: 232, tx_bytes: 148, rx_packets: 3, tx_packets: 1 };
    assert_eq!(shared.traffic(), sum);
}

#[test]
fn the_latest_handshake_is_known_by_its_index() {
    let latest = LatestHandshake::default();
    assert!(!latest.is(0) && !latest.is(7), "none was sent");
    latest.note(0);
    assert!(latest.is(0));
    latest.note(7);
    assert!(latest.is(7) && !latest.is(0));
}

/// A peer that is heard by two of our interfaces in turn has not moved. Which one it was last is learnt all the same.
#[test]
fn another_interface_is_no_move() {
    let cell = EndpointCell::default();
    let heard = |port, addr: [u8; 4], ifindex| Endpoint {
        source: Some(LocalAddr { addr: addr.into(), ifindex }),
        ..endpoint(port)
    };
    let (one, other) = ([192, 0, 2, 7], [192, 0, 2, 8]);
    assert_eq!(cell.follow(heard(1, one, 2)), Followed::Found);
    for ifindex in [3, 2, 3] {
        assert_eq!(cell.follow(heard(1, one, ifindex)), Followed::Same);
        assert_eq!(cell.get(), Some(heard(1, one, ifindex)));
    }
    assert_eq!(cell.follow(heard(1, other, 3)), Followed::Moved, "another address of ours is kept, too");
    assert_eq!(cell.follow(heard(2, other, 3)), Followed::Moved);
}
