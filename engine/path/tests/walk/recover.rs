//! Data under an index that nobody has: what control is told, and what not.

use std::sync::Arc;
use std::time::Duration;

use ringfort_core::constants::{RECOVERIES_PER_SECOND, REKEY_TIMEOUT};
use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;
use ringfort_core::whereabouts::Whereabouts;
use ringfort_core::wire::{DATA_LEN_MIN, TYPE_DATA};
use ringfort_path::{DataPath, Order, Outcome, Train, budget};

use crate::rig::{Gateway, NOW, PEER, SENDER, endpoint, events, filled};

const THERE: &str = "192.0.2.1:51820";
const UNTIL: Time = Time::from_secs(1_180);

/// A gateway that has lost the session of its peer, and is told where that is.
fn recovering() -> Gateway {
    let mut gateway = Gateway::new(1, SENDER, THERE);
    let table = Whereabouts::new(1, UNTIL);
    assert!(table.enter(endpoint(THERE).remote, PEER.index));
    // Whoever was there before has moved.
    assert!(table.enter(endpoint("192.0.2.9:51820").remote, PEER.index));
    obey(&mut gateway.workers[0], Order::Recover(Some(Arc::new(table))));
    gateway
}

fn obey(path: &mut DataPath, order: Order) {
    assert_eq!(path.handle_order(NOW, order), Outcome::Done);
}

/// Takes so many datagrams from one place, in one train.
fn receive(path: &mut DataPath, now: Time, from: &str, datagrams: usize) {
    let mut datagram = vec![TYPE_DATA, 0, 0, 0, 1, 2, 3, 0];
    datagram.resize(DATA_LEN_MIN, 9);
    let view = filled(path, budget::line::UDP_READS, &datagram.repeat(datagrams));
    let train = Train { view, stride: DATA_LEN_MIN, endpoint: endpoint(from), ecn: 0, handed: false };
    path.handle_train(now, train, &mut || None);
}

#[test]
fn a_peer_that_sends_from_where_it_was_is_told_of_once_in_rekey_timeout() {
    let mut gateway = recovering();
    let path = &mut gateway.workers[0];
    receive(path, NOW, THERE, 5);
    assert_eq!(events(path), [PeerEvent::LostSession(PEER)]);
    receive(path, NOW + REKEY_TIMEOUT - Duration::from_nanos(1), THERE, 1);
    assert_eq!(events(path), []);
    receive(path, NOW + REKEY_TIMEOUT, THERE, 1);
    assert_eq!(events(path), [PeerEvent::LostSession(PEER)]);
    assert_eq!(path.counters().drops.get(DropReason::UnknownIndex), 7, "it is dropped all the same");
}

#[test]
fn an_event_that_control_has_no_room_for_is_told_again() {
    let mut gateway = recovering();
    let path = &mut gateway.workers[0];
    for _ in 0..3 {
        receive(path, NOW, THERE, 1);
        let report = path.poll_event().expect("it has not been told");
        path.refuse(report);
    }
}

#[test]
fn nobody_is_told_of_strangers_of_who_has_a_session_and_after_the_end() {
    let mut gateway = recovering();
    let path = &mut gateway.workers[0];
    for from in ["192.0.2.1:51821", "192.0.2.2:51820", "192.0.2.9:51820"] {
        receive(path, NOW, from, 1);
    }
    receive(path, UNTIL, THERE, 1);
    assert_eq!(events(path), []);
    obey(path, Order::Recover(None));
    receive(path, NOW, THERE, 1);
    assert_eq!(events(path), []);

    let mut gateway = recovering();
    gateway.sends();
    receive(&mut gateway.workers[0], NOW, THERE, 1);
    assert_eq!(events(&mut gateway.workers[0]), []);
}

#[test]
fn control_is_told_of_so_many_in_a_second_and_no_more() {
    let mut gateway = recovering();
    let path = &mut gateway.workers[0];
    let mut told = 0;
    for _ in 0..RECOVERIES_PER_SECOND + 50 {
        receive(path, NOW, THERE, 1);
        while let Some(report) = path.poll_event() {
            told += 1;
            path.refuse(report);
        }
    }
    assert_eq!(told, RECOVERIES_PER_SECOND);
    receive(path, NOW + Duration::from_secs(1), THERE, 1);
    assert_eq!(events(path).len(), 1);
}
