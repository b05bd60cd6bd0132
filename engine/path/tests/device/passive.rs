//! A gateway that stands by: nothing of it is heard, and it can serve at any moment.

use std::time::Duration;

use ringfort_core::drops::DropReason;

use crate::node::inner_packet;
use crate::{Pair, START, kinds};

/// Two nodes of which the second stands by, and has known the first.
fn standing_by() -> Pair {
    let mut pair = Pair::connected();
    pair.b.device.set_passive(START, true);
    pair.b.settle();
    pair.b.take_sent();
    pair
}

#[test]
fn a_passive_gateway_answers_nothing_and_delivers_nothing() {
    let mut pair = standing_by();
    pair.offer_a();
    let data = pair.a.take_sent();
    assert_eq!(kinds(&data), [4]);
    assert_eq!(pair.b.receive(data[0].from, &data[0].bytes), Err(DropReason::Passive));
    pair.a.restart(5);
    pair.offer_a();
    let call = pair.a.take_sent();
    assert_eq!(kinds(&call), [1]);
    assert_eq!(pair.b.receive(call[0].from, &call[0].bytes), Err(DropReason::Passive));
    pair.b.settle();
    pair.b.advance_to(START + Duration::from_secs(600));
    assert!(pair.b.take_sent().is_empty() && pair.b.delivered.is_empty());
}

/// What comes from inside waits for nothing: it could be hours old when somebody promotes the gateway. Its sender is
/// told.
#[test]
fn packets_from_inside_are_turned_back() {
    let mut pair = standing_by();
    let packet = inner_packet(pair.b.inner, pair.a.inner, 1);
    for _ in 0..3 {
        pair.b.send_packet(&packet);
        pair.b.settle();
    }
    assert_eq!((pair.b.drops(DropReason::Passive), pair.b.staged(pair.a_at_b)), (3, 0));
    assert!(pair.b.take_sent().is_empty(), "nobody is asked for a session");
    assert_eq!(pair.b.delivered.len(), 3, "an ICMP error for each");
    assert!(pair.b.delivered.iter().all(|packet| (packet[9], packet[20]) == (1, 3)), "destination unreachable");
    pair.b.delivered.clear();
    pair.b.device.set_passive(START, false);
    pair.b.settle();
    assert!(pair.b.take_sent().is_empty(), "nothing has waited");
}

/// A counter of a session is used by one gateway, and keys live where peers are served.
#[test]
fn who_is_demoted_forgets_its_sessions_and_what_waits() {
    let mut pair = Pair::connected();
    let stranger = pair.b.add_peer_as(ringfort_core::crypto::PublicKey::new([9; 32]), [10, 0, 0, 9].into(), None);
    pair.b.device.set_endpoint(START, stranger, "203.0.113.9:9".parse().unwrap());
    pair.b.send_packet(&inner_packet(pair.b.inner, [10, 0, 0, 9].into(), 1));
    pair.b.settle();
    assert_eq!((pair.b.staged(stranger), pair.b.device.indices()), (1, 2), "it waits, and is asked for");
    pair.b.device.set_passive(START, true);
    pair.b.settle();
    assert_eq!((pair.b.receiving_sessions(), pair.b.device.indices()), (0, 0));
    assert!(!pair.b.has_sending_session(pair.a_at_b));
    assert_eq!((pair.b.staged(stranger), pair.b.drops(DropReason::Passive)), (0, 1));
}

#[test]
fn who_is_promoted_recovers_sessions_as_after_a_start() {
    let mut pair = standing_by();
    pair.b.device.set_passive(START, false);
    pair.b.settle();
    pair.offer_a();
    // Lost; initiation, response, confirmation.
    assert_eq!(kinds(&pair.exchange()), [4, 1, 2, 40]);
    pair.offer_a();
    pair.exchange();
    pair.offer_b();
    pair.exchange();
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1));
}

/// A second gateway with the key of the first one, which begins passive and never had a session.
#[test]
fn a_standby_is_told_where_peers_are_and_takes_over() {
    let mut pair = Pair::connected();
    let mut standby = crate::Node::new(2, START);
    standby.device.set_passive(START, true);
    let peer = standby.add_peer(&pair.a, false);
    standby.device.set_endpoint(START, peer, pair.a.address);
    standby.settle();
    assert!(standby.take_sent().is_empty());
    pair.b.device.set_passive(START, true);
    pair.b.settle();
    standby.device.set_passive(START, false);
    standby.settle();
    pair.b = standby;
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [4, 1, 2, 40]);
    pair.offer_a();
    pair.exchange();
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_persistent_keepalive_is_for_who_serves() {
    let mut pair = standing_by();
    pair.b.device.set_keepalive(START, pair.a_at_b, 5);
    pair.b.settle();
    pair.b.advance_to(START + Duration::from_secs(60));
    assert!(pair.b.take_sent().is_empty());
    let now = pair.b.now.mono;
    pair.b.device.set_passive(now, false);
    pair.b.settle();
    assert_eq!(kinds(&pair.b.take_sent()), [1], "at once");
}

#[test]
fn link_and_role_are_two_things() {
    let mut pair = standing_by();
    let call = |pair: &mut Pair| {
        pair.a.restart(6);
        pair.offer_a();
        let call = pair.a.take_sent().remove(0);
        pair.b.receive(call.from, &call.bytes)
    };
    pair.b.device.link_down(START);
    pair.b.settle();
    assert_eq!((pair.b.device.is_up(), call(&mut pair)), (false, Err(DropReason::Down)));
    pair.b.device.link_up(START);
    pair.b.settle();
    assert_eq!((pair.b.device.is_up(), call(&mut pair)), (true, Err(DropReason::Passive)));
    pair.b.device.set_passive(START, false);
    pair.b.settle();
    pair.advance_to(START + Duration::from_secs(6));
    assert_eq!(call(&mut pair), Ok(()));
}
