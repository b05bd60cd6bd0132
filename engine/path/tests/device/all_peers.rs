//! What concerns all peers at once reaches a few of them at a time, and whoever is needed meanwhile does not wait.

use std::net::{Ipv4Addr, SocketAddr};

use ringfort_core::crypto::PrivateKey;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, LocalAddr};

use crate::{Node, Pair, START};

/// Peers beside the one that is awake. It has the last slot.
const CROWD: usize = 1_000;
/// Of how many peers a turn takes care.
const PARTS: [usize; 4] = [256, 256, 256, CROWD + 1 - 3 * 256];

/// Two nodes with a session, one of which has many more peers.
fn crowded() -> Pair {
    let mut pair = strangers();
    pair.offer_a();
    pair.exchange();
    pair.a.settle();
    assert!(pair.a.has_sending_session(pair.b_at_a));
    pair.a.log.clear();
    pair
}

/// The same before anybody has said anything.
fn strangers() -> Pair {
    let (mut a, mut b) = (Node::new(1, START), Node::new(2, START));
    for number in 0..CROWD {
        let key = PrivateKey::new(std::array::from_fn(|i| (number >> (8 * (i % 2))) as u8 ^ i as u8 ^ 0x40));
        let remote = SocketAddr::from(([198, 51, 100, 1], number as u16 + 1));
        let inner = Ipv4Addr::from_bits(0x0a01_0000 + number as u32);
        a.add_peer_as(key.public_key(), inner, Some(remote));
    }
    let b_at_a = a.add_peer(&b, true);
    let a_at_b = b.add_peer(&a, false);
    Pair { a, b, b_at_a, a_at_b, numbers: 0 }
}

/// How often an action was wanted in each turn until all peers have had theirs, the one that has been taken first.
fn parts(node: &mut Node, action: &str) -> Vec<usize> {
    let mut parts = Vec::new();
    loop {
        node.apply_actions();
        parts.push(node.log.drain(..).filter(|other| other == action).count());
        if !node.device.is_renewing() {
            return parts;
        }
        assert!(node.device.poll_timeout().is_some_and(|due| due <= node.now.mono), "the next turn is at once");
        node.device.handle_timeout(node.now, &mut node.rng);
    }
}

/// It asks under the new key. The session that this gives outlives the turn of its peer.
#[test]
fn another_private_key() {
    let mut pair = crowded();
    pair.a.key = PrivateKey::new([99; 32]);
    pair.a.device.set_private_key(START, Some(pair.a.key.clone()));
    pair.a.apply_actions();
    assert!(pair.a.device.is_renewing() && pair.a.device.poll_timeout().is_some_and(|due| due <= START));
    assert!(pair.a.has_sending_session(pair.b_at_a), "it is the last one's turn");

    pair.b.device.remove_peer(pair.a_at_b);
    pair.b.settle();
    pair.a_at_b = pair.b.add_peer(&pair.a, true);
    pair.offer_b();
    for sent in pair.b.take_sent() {
        pair.a.receive(sent.from, &sent.bytes).unwrap();
    }
    assert_eq!(pair.a.receiving_sessions(), 1, "none is left of the former key");
    assert_eq!(parts(&mut pair.a, "").len(), PARTS.len());
    pair.exchange();
    assert_eq!(pair.a.delivered.len(), 1);
    assert!(pair.a.has_sending_session(pair.b_at_a));
}

/// Nobody is answered from the first moment on, whoever's turn it is.
#[test]
fn a_link_that_goes_down() {
    let mut pair = crowded();
    pair.a.device.link_down(START);
    assert!(pair.a.has_sending_session(pair.b_at_a), "it is the last one's turn");
    let parts = parts(&mut pair.a, "DropStaged");
    assert_eq!(parts, PARTS);
    assert!(!pair.a.has_sending_session(pair.b_at_a));
    assert_eq!((pair.a.receiving_sessions(), pair.a.device.poll_timeout()), (0, None));
    pair.b.device.link_down(START);
    pair.b.device.link_up(START);
    pair.b.settle();
    pair.offer_b();
    let call = pair.b.take_sent().remove(0);
    assert_eq!(pair.a.receive(call.from, &call.bytes), Err(DropReason::Down));
}

/// Nothing of before is left with a peer that takes a step, also if the link is up again by then.
#[test]
fn a_link_that_goes_down_and_comes_up() {
    let mut pair = crowded();
    let before = pair.a.sending_index(pair.b_at_a);
    pair.a.device.link_down(START);
    pair.a.device.link_up(START);
    pair.a.apply_actions();
    assert_eq!(pair.a.sending_index(pair.b_at_a), before, "its turn has not come");
    pair.b.device.link_down(START);
    pair.b.device.link_up(START);
    pair.b.settle();
    pair.offer_b();
    for sent in pair.b.take_sent() {
        pair.a.receive(sent.from, &sent.bytes).unwrap();
    }
    assert_eq!(pair.a.receiving_sessions(), 1, "none is left of before");
    assert_eq!(parts(&mut pair.a, "DropStaged").len(), PARTS.len());
    assert_eq!(pair.a.receiving_sessions(), 1, "and its turn does not end the new one");
    pair.exchange();
    assert_eq!(pair.a.delivered.len(), 1);
}

/// The workers drop what waits when the link goes down. What they read after that is not dropped by a peer's turn.
#[test]
fn a_packet_that_comes_when_the_link_is_up_again() {
    let mut pair = strangers();
    pair.a.device.link_down(START);
    pair.a.device.link_up(START);
    pair.a.apply_actions();
    assert!(pair.a.device.is_renewing(), "its peer is the last one");
    pair.offer_a();
    while pair.a.device.is_renewing() {
        pair.a.settle();
        pair.a.device.handle_timeout(pair.a.now, &mut pair.a.rng);
    }
    pair.exchange();
    assert_eq!((pair.b.delivered.len(), pair.a.drops(DropReason::NoSession)), (1, 0));
}

#[test]
fn sources_that_are_worth_nothing_any_more() {
    let mut pair = crowded();
    let learned = LocalAddr { addr: [192, 0, 2, 77].into(), ifindex: 3 };
    let endpoint = Endpoint { remote: pair.b.address, source: Some(learned) };
    pair.a.shared(pair.b_at_a).endpoint.set(endpoint);
    pair.a.device.clear_sources(START);
    assert_eq!(pair.a.shared(pair.b_at_a).endpoint.get(), Some(endpoint), "it is the last one's turn");
    assert_eq!(parts(&mut pair.a, "").len(), PARTS.len());
    assert_eq!(pair.a.shared(pair.b_at_a).endpoint.get(), Some(endpoint.without_source()));
}
