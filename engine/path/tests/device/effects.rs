//! What authenticated messages change besides sessions: endpoints, counters and times.

use std::time::Duration;

use ringfort_core::ids::Endpoint;

use crate::{Pair, START};

#[test]
fn roaming_follows_handshakes_and_data_but_not_forgeries() {
    let mut pair = Pair::new();
    let (home, away) = (pair.a.address, "203.0.113.7:4000".parse().unwrap());
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().endpoint(), None);
    let mut forged = initiation.bytes.clone();
    forged[0] = 4;
    let _ = pair.b.receive(away, &forged);
    pair.b.settle();
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().endpoint(), None);

    pair.b.receive(home, &initiation.bytes).unwrap();
    let response = pair.b.take_sent().remove(0);
    assert_eq!(response.to, home);
    // The response comes from elsewhere: the initiator follows.
    pair.a.receive(away, &response.bytes).unwrap();
    pair.a.settle();
    assert_eq!(pair.a.device.status(pair.b_at_a).unwrap().endpoint(), Some(Endpoint::new(away)));
    let data = pair.a.take_sent().remove(0);
    assert_eq!((data.kind(), data.to), (4, away));
    // So does the responder, with data.
    let other = "203.0.113.8:4000".parse().unwrap();
    pair.b.receive(other, &data.bytes).unwrap();
    pair.b.settle();
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().endpoint(), Some(Endpoint::new(other)));
    pair.offer_b();
    assert_eq!(pair.b.take_sent()[0].to, other);
}

#[test]
fn handshake_bytes_count_for_their_peer() {
    let mut pair = Pair::new();
    pair.offer_a();
    pair.exchange();
    let a = pair.a.device.status(pair.b_at_a).unwrap().traffic();
    let b = pair.b.device.status(pair.a_at_b).unwrap().traffic();
    // Initiation, response, and a data message of 24 bytes padded to 32.
    assert_eq!((a.tx_bytes, a.rx_bytes), (148 + 64, 92));
    assert_eq!((b.rx_bytes, b.tx_bytes), (148 + 64, 92));
    assert_eq!((a.tx_packets, a.rx_packets), (2, 1));
}

#[test]
fn the_last_handshake_has_a_time_once_it_is_complete() {
    let mut pair = Pair::new();
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().last_handshake(), None, "not yet confirmed");
    pair.exchange();
    let time = Some(Duration::from_secs(1_800_000_000 + 1_000));
    assert_eq!(pair.a.device.status(pair.b_at_a).unwrap().last_handshake(), time);
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().last_handshake(), time);
}

/// An attempt counts from its first initiation, also if that one was lost, and a responder's from its response.
#[test]
fn handshakes_are_counted_by_outcome_and_duration() {
    let mut pair = Pair::new();
    pair.offer_a();
    assert_eq!(pair.a.take_sent().len(), 1, "the first initiation is lost");
    let sent = START + Duration::from_secs(6);
    pair.advance_to(sent);
    let again = pair.a.take_sent().remove(0);
    pair.b.receive(again.from, &again.bytes).unwrap();
    pair.advance_to(sent + Duration::from_millis(20));
    pair.exchange();
    let (a, b) = (pair.a.device.handshakes(), pair.b.device.handshakes());
    assert_eq!((a.initiations, a.responses, a.given_up), (2, 0, 0));
    assert_eq!((b.initiations, b.responses, b.given_up), (0, 1, 0));
    assert_eq!((a.initiated.count(), a.initiated.sum()), (1, Duration::from_millis(6_020)));
    assert_eq!((b.answered.count(), b.answered.sum()), (1, Duration::from_millis(20)));
    assert_eq!((a.answered.count(), b.initiated.count()), (0, 0));
}

#[test]
fn an_attempt_that_nobody_answers_is_given_up_once() {
    let mut pair = Pair::new();
    pair.offer_a();
    pair.a.advance_to(START + Duration::from_secs(200));
    let counts = pair.a.device.handshakes();
    assert_eq!((counts.given_up, counts.initiated.count()), (1, 0));
    assert!(counts.initiations > 15, "one each 5 s for 90 s: {counts:?}");
    pair.a.take_sent();
    pair.offer_a();
    pair.exchange();
    let took = pair.a.device.handshakes().initiated.sum();
    assert!(took < Duration::from_secs(1), "the next attempt counts from its own beginning: {took:?}");
}
