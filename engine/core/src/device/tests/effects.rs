//! What authenticated messages change besides sessions: endpoints, counters and times.

use std::time::Duration;

use super::Pair;
use crate::ids::Endpoint;

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
