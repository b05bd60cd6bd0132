//! Handshakes, message by message.

use std::time::Duration;

use ringfort_core::cell::SessionNumber;
use ringfort_core::constants::REKEY_AFTER_TIME;
use ringfort_core::crypto::{PresharedKey, PublicKey};
use ringfort_core::device::{Action, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::SessionKeys;
use ringfort_core::noise::NewSession;
use ringfort_core::suite::Suite;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::Time;

use crate::rng::SeededRng;
use crate::{Node, Pair, START, kinds};

#[test]
fn a_packet_opens_a_session() {
    let mut pair = Pair::new();
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4], "the staged packet confirms the session");
    assert_eq!(pair.b.delivered.len(), 1);
    assert!(pair.a.has_sending_session(pair.b_at_a) && pair.b.has_sending_session(pair.a_at_b));
}

#[test]
fn without_a_staged_packet_a_keepalive_confirms() {
    let mut pair = Pair::new();
    pair.a.device.set_keepalive(START, pair.b_at_a, 25);
    pair.a.settle();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 40]);
}

#[test]
fn the_responder_stages_until_it_is_confirmed() {
    let mut pair = Pair::new();
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
    pair.offer_b();
    pair.offer_b();
    let response = pair.b.take_sent();
    assert_eq!(kinds(&response), [2], "it sends no data yet");
    assert_eq!(pair.b.staged(pair.a_at_b), 2);

    pair.a.receive(response[0].from, &response[0].bytes).unwrap();
    pair.a.settle();
    assert_eq!(kinds(&pair.exchange()), [4, 4, 4]);
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (2, 1));
}

#[test]
fn receiving_is_installed_before_the_response_leaves() {
    let mut pair = Pair::new();
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    pair.b.log.clear();
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
    let place = |name: &str| pair.b.log.iter().position(|action| action == name).unwrap();
    assert!(place("BeginSession") < place("Outgoing"));
}

#[test]
fn a_replayed_initiation_changes_nothing() {
    let mut pair = Pair::new();
    pair.offer_a();
    let sent = pair.exchange();
    let stranger = "203.0.113.9:1".parse().unwrap();
    pair.b.advance_to(START + Duration::from_secs(1));
    pair.b.log.clear();
    assert_eq!(pair.b.receive(stranger, &sent[0].bytes), Err(DropReason::HandshakeReplay));
    assert_eq!(pair.b.log, [""; 0]);
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().endpoint(), Some(Endpoint::new(pair.a.address)));
}

#[test]
fn a_late_initiation_with_an_older_timestamp_is_a_replay() {
    let mut pair = Pair::new();
    pair.offer_a();
    let first = pair.a.take_sent().remove(0);
    pair.a.advance_to(START + Duration::from_secs(6));
    let second = pair.a.take_sent().remove(0);
    pair.b.advance_to(START + Duration::from_secs(6));
    pair.b.receive(second.from, &second.bytes).unwrap();
    pair.b.advance_to(START + Duration::from_secs(7));
    assert_eq!(pair.b.receive(first.from, &first.bytes), Err(DropReason::HandshakeReplay));
}

#[test]
fn the_latest_possible_timestamp_is_the_last_one() {
    let mut pair = Pair::new();
    pair.a.now.wall = Tai64N::from_bytes([0xff; 12]);
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4]);
    pair.a.restart(9);
    pair.advance_to(START + Duration::from_secs(10));
    pair.offer_a();
    let again = pair.a.take_sent().remove(0);
    assert_eq!(pair.b.receive(again.from, &again.bytes), Err(DropReason::HandshakeReplay));
}

#[test]
fn initiations_of_one_peer_are_limited_to_fifty_a_second() {
    let mut pair = Pair::new();
    let mut accepted = 0;
    for n in 0..200u64 {
        // A peer that restarts every millisecond and whose clock makes each initiation new.
        pair.a.advance_to(START + Duration::from_millis(n));
        pair.b.advance_to(START + Duration::from_millis(n));
        pair.a.restart(n);
        pair.a.now.wall = Tai64N::from_unix(2_000_000_000 + n, 0);
        pair.offer_a();
        let sent = pair.a.take_sent().remove(0);
        match pair.b.receive(sent.from, &sent.bytes) {
            Ok(()) => accepted += 1,
            Err(reason) => assert_eq!(reason, DropReason::HandshakeFlood),
        }
    }
    assert_eq!(accepted, 10);
    assert_eq!(pair.b.device.drops().get(DropReason::HandshakeFlood), 190);
    assert_eq!(pair.b.receiving_sessions(), 2, "each answer replaces the one before the last");
}

#[test]
fn unknown_peers_are_counted_and_not_answered() {
    let mut pair = Pair::new();
    pair.b.device.remove_peer(pair.a_at_b);
    pair.b.settle();
    pair.offer_a();
    let sent = pair.a.take_sent().remove(0);
    assert_eq!(pair.b.receive(sent.from, &sent.bytes), Err(DropReason::UnknownPeer));
    assert!(pair.b.take_sent().is_empty());
    assert_eq!(pair.b.device.drops().get(DropReason::UnknownPeer), 1);
}

#[test]
fn our_own_key_as_initiator_is_unknown() {
    // Another machine with our private key calls us.
    let mut twin = Node::new(2, START);
    let mut b = Node::new(2, START);
    let other = Node::new(1, START);
    let peer = twin.add_peer(&other, true);
    twin.device.set_endpoint(START, peer, b.address);
    // It believes that b is `other`; mac1 is then wrong, so nothing is even computed.
    twin.send_packet(&crate::inner_packet(twin.inner, other.inner, 1));
    twin.settle();
    let sent = twin.take_sent().remove(0);
    assert_eq!(b.receive(sent.from, &sent.bytes), Err(DropReason::BadMac1));
    // With the right public key it has no way to call at all: a device is not its own peer.
    assert!(twin.device.add_peer(b.public()).is_err());
}

#[test]
fn a_wrong_mac1_costs_nothing() {
    let mut pair = Pair::new();
    pair.offer_a();
    let mut sent = pair.a.take_sent().remove(0);
    sent.bytes[120] ^= 1;
    assert_eq!(pair.b.receive(sent.from, &sent.bytes), Err(DropReason::BadMac1));
}

#[test]
fn tampered_handshakes_change_nothing() {
    let mut pair = Pair::new();
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
    pair.b.settle();
    let response = pair.b.take_sent().remove(0);
    for place in 0..response.bytes.len() {
        let mut tampered = response.bytes.clone();
        tampered[place] ^= 0x80;
        // All but mac2, which nobody looks at without load, is protected.
        assert_eq!(pair.a.receive(response.from, &tampered).is_ok(), place >= 76, "byte {place}");
        if place >= 76 {
            break;
        }
    }
    assert!(pair.a.has_sending_session(pair.b_at_a));
}

#[test]
fn responses_to_nothing_are_refused() {
    let mut pair = Pair::new();
    pair.offer_a();
    let sent = pair.exchange();
    assert_eq!(
        pair.a.receive(sent[1].from, &sent[1].bytes),
        Err(DropReason::UnknownIndex),
        "the handshake is finished"
    );
    pair.a.restart(5);
    assert_eq!(pair.a.receive(sent[1].from, &sent[1].bytes), Err(DropReason::UnknownIndex), "nothing was asked");
}

#[test]
fn a_response_to_the_initiation_before_the_last_is_refused() {
    let mut pair = Pair::new();
    pair.offer_a();
    let first = pair.a.take_sent().remove(0);
    pair.b.receive(first.from, &first.bytes).unwrap();
    let late = pair.b.take_sent().remove(0);
    pair.advance_to(START + Duration::from_secs(6));
    assert_eq!(kinds(&pair.a.take_sent()), [1]);
    assert_eq!(pair.a.receive(late.from, &late.bytes), Err(DropReason::UnknownIndex));
}

/// The encodings below 2^255 of points whose order divides 8, on the curve or on its twist.
const LOW_ORDER_POINTS: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn low_order_static_keys_get_no_session_and_no_retries() {
    for point in LOW_ORDER_POINTS {
        let mut a = Node::new(1, START);
        let digits = |n: usize| u8::from_str_radix(&point[2 * n..2 * n + 2], 16).unwrap();
        let key = PublicKey::new(std::array::from_fn(digits));
        let peer = a.add_peer_as(key, [10, 0, 0, 9].into(), Some("192.0.2.9:1".parse().unwrap()));
        for n in 0..3 {
            a.send_packet(&crate::inner_packet(a.inner, [10, 0, 0, 9].into(), n));
            a.settle();
        }
        assert!(a.take_sent().is_empty());
        assert_eq!(a.device.poll_timeout(), None);
        assert_eq!(a.device.drops().get(DropReason::LowOrderPoint), 1, "tried once for all");
        assert!(!a.has_sending_session(peer));
    }
}

#[test]
fn different_preshared_keys_make_no_session() {
    let mut pair = Pair::new();
    pair.a.device.set_psk(pair.b_at_a, PresharedKey::new([7; 32]));
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2]);
    assert_eq!(pair.a.device.drops().get(DropReason::BadHandshake), 1);
    assert!(!pair.a.has_sending_session(pair.b_at_a) && !pair.b.has_sending_session(pair.a_at_b));

    // Set on the other side as well, the next retransmission succeeds.
    pair.b.device.set_psk(pair.a_at_b, PresharedKey::new([7; 32]));
    let sent = pair.run_until(START + Duration::from_secs(6));
    assert_eq!(kinds(&sent), [1, 2, 4]);
}

#[test]
fn datagrams_that_are_not_handshakes_are_refused() {
    let mut b = Node::new(2, START);
    b.settle();
    let from = Endpoint::new("192.0.2.1:1".parse().unwrap());
    let mut rng = SeededRng::new(1);
    for (bytes, reason) in [
        (vec![], DropReason::Runt),
        (vec![1, 0, 0], DropReason::Runt),
        (vec![0; 148], DropReason::UnknownType),
        ([&[5, 0, 0, 0][..], &[0; 144]].concat(), DropReason::UnknownType),
        ([&[255, 0, 0, 0][..], &[0; 144]].concat(), DropReason::UnknownType),
        ([&[1, 0, 0, 1][..], &[0; 144]].concat(), DropReason::BadReserved),
        ([&[1, 0, 0, 0][..], &[0; 143]].concat(), DropReason::BadLength),
        ([&[1, 0, 0, 0][..], &[0; 145]].concat(), DropReason::BadLength),
        ([&[2, 0, 0, 0][..], &[0; 89]].concat(), DropReason::BadLength),
        ([&[3, 0, 0, 0][..], &[0; 61]].concat(), DropReason::BadLength),
        ([&[4, 0, 0, 0][..], &[0; 27]].concat(), DropReason::BadLength),
        ([&[4, 0, 0, 0][..], &[0; 28]].concat(), DropReason::UnknownType),
        ([&[1, 0, 0, 0][..], &[0; 144]].concat(), DropReason::BadMac1),
        ([&[2, 0, 0, 0][..], &[0; 88]].concat(), DropReason::BadMac1),
        ([&[3, 0, 0, 0][..], &[0; 60]].concat(), DropReason::UnknownIndex),
    ] {
        for under_load in [false, true] {
            let before = b.device.drops().get(reason);
            assert_eq!(b.device.handle_datagram(b.now, from, &bytes, under_load, &mut rng), Err(reason));
            assert_eq!(b.device.drops().get(reason), before + 1);
        }
    }
    assert!(b.device.poll_action().is_none());
}

/// The owner of a session opens its first message while control replaces the session, because the peer asked again.
#[test]
fn a_session_that_is_replaced_while_it_is_confirmed_stays() {
    let mut pair = Pair::new();
    pair.offer_a();
    let asked = pair.a.take_sent();
    pair.b.receive(asked[0].from, &asked[0].bytes).unwrap();
    pair.b.settle();
    let answer = pair.b.take_sent();
    pair.a.receive(answer[0].from, &answer[0].bytes).unwrap();
    pair.a.settle();
    pair.offer_a();
    let data = pair.a.take_sent();
    assert_eq!(kinds(&data), [4, 4]);
    pair.advance_to(pair.a.now.mono + Duration::from_secs(1));
    pair.a.restart(99);
    pair.offer_a();
    let again = pair.a.take_sent();
    {
        let b = &mut pair.b;
        // Control decides; the worker has not read its mail.
        b.device.handle_datagram(b.now, Endpoint::new(again[0].from), &again[0].bytes, false, &mut b.rng).unwrap();
    }
    assert_eq!(pair.b.receive(data[0].from, &data[0].bytes), Ok(()));
    pair.b.settle();
    assert_eq!(pair.b.receive(data[1].from, &data[1].bytes), Ok(()), "we send under it, so we receive under it");
    pair.b.settle();
    pair.b.take_sent();
    // And control knows which one it is that will run out.
    let local_index = u32::from_le_bytes(answer[0].bytes[4..8].try_into().unwrap());
    assert_eq!(pair.b.sending_index(pair.a_at_b), Some(local_index));
    pair.b.advance_to(pair.b.now.mono + Duration::from_secs(200));
    pair.b.take_sent();
    pair.offer_b();
    assert_eq!(kinds(&pair.b.take_sent()), [1], "it asks for the next one");
}

/// A worker that still sends under a session which control has given up is not refused another for that.
#[test]
fn whoever_asks_for_another_session_gets_it_unless_there_is_one() {
    let mut pair = Pair::connected();
    let reason = ringfort_core::device::HandshakeReason::KeyAging { local_index: 0xdead_beef };
    let need = PeerEvent::NeedHandshake { peer: pair.b_at_a, reason };
    let ask = |pair: &mut Pair| {
        assert!(pair.a.shared(pair.b_at_a).activity.request_handshake());
        pair.a.device.handle_event(pair.a.now, need, &mut pair.a.rng);
        pair.a.settle();
        kinds(&pair.a.take_sent())
    };
    assert_eq!(ask(&mut pair), [], "the present one is good");
    pair.a.now = crate::node::at(pair.a.now.mono + Duration::from_secs(180));
    assert_eq!(ask(&mut pair), [1]);
}

/// Another worker may have looked for the session between the notice that it is confirmed and the moment it sends.
#[test]
fn a_confirmation_has_all_workers_look_again_for_what_waits() {
    let mut pair = Pair::connected();
    pair.a.log.clear();
    pair.a.events.push_back(PeerEvent::Confirmed(pair.b_at_a));
    pair.a.settle();
    assert_eq!(pair.a.log, ["SendStaged"]);
}

#[test]
fn stale_names_are_ignored() {
    let mut pair = Pair::connected();
    let gone = PeerId { generation: pair.b_at_a.generation + 1, ..pair.b_at_a };
    let beyond = PeerId { index: 99, generation: 0 };
    for peer in [gone, beyond] {
        for event in [
            PeerEvent::Awake(peer),
            PeerEvent::Confirmed(peer),
            PeerEvent::Found(peer),
            PeerEvent::NeedHandshake { peer, reason: ringfort_core::device::HandshakeReason::NoSession },
        ] {
            pair.a.device.handle_event(pair.a.now, event, &mut pair.a.rng);
        }
        pair.a.device.set_endpoint(START, peer, pair.a.address);
        pair.a.device.set_keepalive(START, peer, 1);
        pair.a.device.set_psk(peer, PresharedKey::default());
        pair.a.device.clear_allowed_ips(peer);
        pair.a.device.remove_peer(peer);
        assert!(pair.a.device.status(peer).is_none());
    }
    assert!(pair.a.device.poll_action().is_none());
}

/// Of two fresh gateways each begins at its own end of the workers, and a session that replaces another stays where it
/// is.
#[test]
fn sessions_keep_their_worker() {
    let mut pair = Pair::connected();
    for _ in 0..5 {
        let workers = (pair.a.receiving_workers(), pair.b.receiving_workers());
        assert_eq!(workers, ([0].into(), [2].into()));
        pair.run_until(pair.a.now.mono + REKEY_AFTER_TIME);
        pair.offer_a();
        pair.exchange();
    }
    assert!(pair.a.receiving_sessions() > 1, "the key was changed");
}

#[test]
fn requests_before_an_endpoint_is_known_wait_for_it() {
    let mut pair = Pair::new();
    let peer = pair.a_at_b;
    let need = PeerEvent::NeedHandshake { peer, reason: ringfort_core::device::HandshakeReason::NoSession };
    assert!(pair.b.shared(peer).activity.request_handshake());
    pair.b.device.handle_event(pair.b.now, need, &mut pair.b.rng);
    assert!(pair.b.device.poll_action().is_none());
    assert!(!pair.b.shared(peer).activity.request_handshake(), "it is not asked for again");
    pair.b.device.set_endpoint(Time::from_secs(1_000), peer, pair.a.address);
    pair.b.settle();
    assert_eq!(kinds(&pair.b.take_sent()), [1]);
}

#[test]
fn secrets_do_not_show_in_actions() {
    let key = || ringfort_core::crypto::Key::new([0xab; 32]);
    let keys = SessionKeys { send: key(), receive: key() };
    let session =
        Box::new(NewSession { keys, local_index: 1, remote_index: 2, initiator: true, suite: Suite::default() });
    let peer = PeerId { index: 0, generation: 0 };
    let action = Action::BeginSession { peer, number: SessionNumber::default(), created: START, session };
    let text = format!("{action:?}");
    assert!(!text.contains("171") && !text.contains("ab"), "{text}");
}
