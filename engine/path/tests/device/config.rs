//! Configuration while the device runs.

use std::time::Duration;

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PresharedKey, PrivateKey, PublicKey};
use ringfort_core::device::{Action, AddPeerError, Device, Outgoing, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::tai64n::Tai64N;

use crate::rng::SeededRng;
use crate::{Node, Pair, START, kinds};

const SECOND: Duration = Duration::from_secs(1);

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn prefixes(node: &Node, peer: ringfort_core::ids::PeerId) -> Vec<String> {
    node.device.status(peer).unwrap().allowed_ips().map(|prefix| prefix.to_string()).collect()
}

#[test]
fn peers_before_the_private_key() {
    let mut pair = Pair::new();
    let other = pair.b.public();
    let mut fresh = Device::new(1);
    let peer = fresh.add_peer(other).unwrap();
    fresh.link_up(START);
    fresh.set_keepalive(START, peer, 25);
    fresh.set_endpoint(START, peer, pair.b.address);
    assert_eq!(fresh.poll_timeout(), None, "nothing can be sent");
    fresh.set_private_key(START, Some(pair.a.key.clone()));
    assert_eq!(fresh.poll_timeout(), Some(START), "now it can");

    let (mut now, rng) = (pair.a.now, &mut pair.a.rng);
    now.mono = START;
    fresh.handle_timeout(now, rng);
    let sent = std::iter::from_fn(|| fresh.poll_action()).find_map(|action| match action {
        Action::Outgoing(Outgoing::Send { endpoint, datagram, .. }) => Some((endpoint.remote, datagram)),
        _ => None,
    });
    let (to, datagram) = sent.expect("an initiation");
    assert_eq!(to, pair.b.address);
    pair.b.receive(pair.a.address, datagram.as_ref()).unwrap();
}

#[test]
fn without_a_private_key_nobody_is_answered() {
    let mut pair = Pair::new();
    pair.b.device.set_private_key(START, None);
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1]);
    assert_eq!(pair.b.device.drops().get(DropReason::NoPrivateKey), 1);
    assert!(pair.b.device.public_key().is_none());
}

#[test]
fn a_device_is_not_its_own_peer() {
    let mut pair = Pair::new();
    let own = pair.a.public();
    assert_eq!(pair.a.device.add_peer(own), Err(AddPeerError::OwnKey));
    assert_eq!(pair.a.device.add_peer(pair.b.public()), Err(AddPeerError::Exists(pair.b_at_a)));

    // The private key becomes that of the peer: the peer goes, the others stay.
    let third = Node::new(3, START);
    let third_at_a = pair.a.add_peer(&third, true);
    pair.a.device.set_private_key(START, Some(pair.b.key.clone()));
    pair.a.settle();
    assert!(pair.a.device.status(pair.b_at_a).is_none());
    assert!(pair.a.device.status(third_at_a).is_some());
    assert_eq!(pair.a.device.routes().lookup(pair.b.inner.into()), None);
}

#[test]
fn a_changed_private_key_takes_effect_at_once() {
    let mut pair = Pair::connected();
    let new_key = PrivateKey::new([99; 32]);
    pair.a.device.set_private_key(START, Some(new_key.clone()));
    pair.a.key = new_key;
    pair.a.settle();
    assert_eq!(pair.a.receiving_sessions(), 0, "sessions prove the old key");
    pair.b.device.remove_peer(pair.a_at_b);
    pair.b.settle();
    pair.a_at_b = pair.b.add_peer(&pair.a, true);
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4], "without waiting for any timer");
}

#[test]
fn setting_the_same_private_key_changes_nothing() {
    let mut pair = Pair::connected();
    pair.a.log.clear();
    pair.a.device.set_private_key(START, Some(pair.a.key.clone()));
    pair.a.settle();
    assert_eq!(pair.a.log, [""; 0]);
    assert!(pair.a.has_sending_session(pair.b_at_a));
}

#[test]
fn a_removed_peer_goes_in_order_and_its_slot_is_not_reused_too_early() {
    let mut pair = Pair::connected();
    let third = Node::new(3, START);
    pair.a.log.clear();
    pair.a.device.remove_peer(pair.b_at_a);
    let replacement = pair.a.device.add_peer(third.public()).unwrap();
    assert_ne!(replacement.index, pair.b_at_a.index, "the workers still know the old occupant");
    pair.a.settle();
    assert_eq!(pair.a.log, ["RetireReceive", "EndSessions", "AddPeer", "Routes", "RemovePeer"]);
    assert_eq!(pair.a.receiving_sessions(), 0);
    assert_eq!(pair.a.device.poll_timeout(), None);

    pair.a.device.remove_peer(replacement);
    pair.a.settle();
    let again = pair.a.device.add_peer(pair.b.public()).unwrap();
    assert!([replacement.index, pair.b_at_a.index].contains(&again.index), "slots are used again");
    assert!(again.generation > 0, "under another name");
    // Events about the old occupant do not reach the new one.
    pair.a.settle();
    pair.a.events.push_back(PeerEvent::Awake(replacement));
    pair.a.events.push_back(PeerEvent::Awake(pair.b_at_a));
    pair.a.settle();
    assert_eq!(pair.a.device.poll_timeout(), None);
}

#[test]
fn a_peer_that_was_removed_and_added_gets_a_session_again() {
    let mut pair = Pair::connected();
    pair.a.device.remove_peer(pair.b_at_a);
    pair.a.settle();
    pair.a.advance_to(START + SECOND);
    pair.b.advance_to(START + SECOND);
    pair.b_at_a = pair.a.add_peer(&pair.b, true);
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4]);
}

#[test]
fn removing_all_peers_publishes_once() {
    let mut a = Node::new(1, START);
    for number in 2..100 {
        a.add_peer(&Node::new(number, START), true);
    }
    a.log.clear();
    a.device.remove_all_peers();
    a.settle();
    assert_eq!(a.log.iter().filter(|action| *action == "Routes").count(), 1);
    assert_eq!(a.log.iter().filter(|action| *action == "RemovePeer").count(), 98);
    assert!(a.device.routes().is_empty());
    assert_eq!(a.device.peer_count(), 0);
}

#[test]
fn a_prefix_belongs_to_whom_it_was_given_last() {
    let mut pair = Pair::new();
    let third = Node::new(3, START);
    let third_at_a = pair.a.add_peer(&third, true);
    pair.a.device.insert_allowed_ip(third_at_a, prefix("10.0.0.2/32"));
    assert_eq!(prefixes(&pair.a, pair.b_at_a), [""; 0]);
    assert_eq!(prefixes(&pair.a, third_at_a), ["10.0.0.2/32", "10.0.0.3/32"]);
    // Taking it from the wrong peer does nothing; from the right one it does.
    pair.a.device.remove_allowed_ip(pair.b_at_a, prefix("10.0.0.2/32"));
    assert_eq!(prefixes(&pair.a, third_at_a).len(), 2);
    pair.a.device.remove_allowed_ip(third_at_a, prefix("10.0.0.2/32"));
    assert_eq!(prefixes(&pair.a, third_at_a), ["10.0.0.3/32"]);
    pair.a.device.clear_allowed_ips(third_at_a);
    assert!(pair.a.device.routes().is_empty());
}

#[test]
fn settings_that_change_nothing_publish_nothing() {
    let mut pair = Pair::new();
    pair.a.log.clear();
    pair.a.device.insert_allowed_ip(pair.b_at_a, prefix("10.0.0.2/32"));
    pair.a.device.set_endpoint(START, pair.b_at_a, pair.b.address);
    pair.a.device.set_keepalive(START, pair.b_at_a, 0);
    pair.a.device.link_up(START);
    pair.a.device.clear_sources(START);
    pair.a.settle();
    assert_eq!(pair.a.log, [""; 0]);
}

#[test]
fn changes_to_a_live_peer_do_not_disturb_anybody() {
    let mut pair = Pair::connected();
    pair.a.device.set_psk(pair.b_at_a, PresharedKey::new([1; 32]));
    pair.a.device.set_keepalive(START, pair.b_at_a, 30);
    pair.a.device.insert_allowed_ip(pair.b_at_a, prefix("10.1.0.0/16"));
    pair.a.device.set_endpoint(START, pair.b_at_a, pair.b.address);
    pair.a.settle();
    pair.offer_a();
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [40, 4, 4]);
}

#[test]
fn link_down_zeroes_everything_and_link_up_starts_anew() {
    let mut pair = Pair::connected();
    pair.a.device.set_keepalive(START, pair.b_at_a, 25);
    pair.a.settle();
    pair.exchange();
    pair.a.device.link_down(START);
    pair.a.settle();
    assert_eq!(pair.a.receiving_sessions(), 0);
    assert!(!pair.a.has_sending_session(pair.b_at_a));
    assert_eq!(pair.a.device.poll_timeout(), None);
    pair.a.advance_to(START + 100 * SECOND);
    assert!(pair.a.take_sent().is_empty());
    // Whoever calls meanwhile is not answered.
    pair.b.advance_to(START + 200 * SECOND);
    pair.b.take_sent();
    pair.offer_b();
    let call = pair.b.take_sent().remove(0);
    assert_eq!(pair.a.receive(call.from, &call.bytes), Err(DropReason::Down));

    pair.advance_to(START + 201 * SECOND);
    pair.a.device.link_up(START + 201 * SECOND);
    pair.a.settle();
    pair.b.take_sent();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 40, 4], "hands are shaken at once, and what waited comes through");
}

/// The limit on initiations is forgotten with the sessions, as the kernel does it.
#[test]
fn after_link_up_nobody_waits_for_the_limit_on_initiations() {
    let mut pair = Pair::connected();
    pair.a.device.link_down(START);
    pair.a.settle();
    pair.a.device.link_up(START);
    pair.a.settle();
    pair.a.take_sent();
    pair.offer_a();
    assert_eq!(pair.a.take_sent().iter().map(|message| message.bytes[0]).collect::<Vec<_>>(), [1]);
}

#[test]
fn without_keepalive_link_up_sends_nothing() {
    let mut pair = Pair::connected();
    pair.a.device.link_down(START);
    pair.a.device.link_up(START);
    pair.a.settle();
    assert!(pair.a.take_sent().is_empty());
    assert_eq!(pair.a.device.poll_timeout(), None);
}

#[test]
fn a_keepalive_waits_for_an_endpoint() {
    let mut pair = Pair::new();
    pair.b.device.set_keepalive(START, pair.a_at_b, 5);
    pair.b.settle();
    assert_eq!(pair.b.device.poll_timeout(), None);
    // A handshake from the peer tells the endpoint; keepalives start.
    pair.offer_a();
    pair.exchange();
    let sent = pair.run_until(START + 6 * SECOND);
    assert!(sent.iter().any(|sent| sent.is_keepalive() && sent.from == pair.b.address));
}

#[test]
fn many_keepalives_that_are_due_at_once_are_served_in_portions() {
    let mut a = Node::new(1, START);
    let peers: Vec<_> = (2..202).map(|number| a.add_peer(&Node::new(number, START), true)).collect();
    for peer in peers {
        a.device.set_keepalive(START, peer, 25);
    }
    let mut portions = Vec::new();
    while a.device.poll_timeout().is_some_and(|due| due <= START) {
        a.device.handle_timeout(a.now, &mut a.rng);
        portions.push(std::iter::from_fn(|| a.device.poll_action()).count());
    }
    assert_eq!(portions, [64, 64, 64, 8]);
}

#[test]
fn a_peer_with_very_many_prefixes() {
    let mut a = Node::new(1, START);
    let peer = a.add_peer(&Node::new(2, START), true);
    for n in 0..130_560u32 {
        a.device
            .insert_allowed_ip(peer, Prefix::new(std::net::Ipv4Addr::from(0x0b00_0000 + n * 2).into(), 31).unwrap());
    }
    a.settle();
    assert_eq!(a.device.status(peer).unwrap().allowed_ips().count(), 130_561);
    a.device.remove_peer(peer);
    a.settle();
    assert!(a.device.routes().is_empty());
}

/// `wg setconf` removes peers and adds them again.
#[test]
fn a_peer_that_is_added_again_after_the_wall_clock_went_back_is_reached() {
    let mut pair = Pair::connected();
    let other = pair.b.public();
    pair.a.device.remove_peer(pair.b_at_a);
    pair.a.settle();
    pair.b_at_a = pair.a.add_peer_as(other, pair.b.inner, Some(pair.b.address));
    pair.advance_to(START + 10 * SECOND);
    pair.a.now.wall = Tai64N::from_unix(1_000_000_000, 0);
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4]);
    assert_eq!(pair.b.device.drops().get(DropReason::HandshakeReplay), 0);
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_wall_clock_that_jumps_back_does_not_lock_us_out() {
    // The initiator's clock goes back by years after the first session.
    let mut pair = Pair::connected();
    pair.advance_to(START + 400 * SECOND);
    pair.a.now.wall = Tai64N::from_unix(1_000_000_000, 0);
    pair.offer_a();
    pair.exchange();
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn another_private_key_asks_whom_the_former_one_asked() {
    for has_key in [true, false] {
        let mut pair = Pair::new();
        pair.offer_a();
        assert_eq!(kinds(&pair.a.take_sent()), [1], "and the packet waits");
        let now = pair.a.now.mono;
        pair.a.device.set_private_key(now, has_key.then(|| PrivateKey::new([9; 32])));
        pair.a.settle();
        let (asked, dropped) = if has_key { (vec![1], 0) } else { (vec![], 1) };
        assert_eq!(kinds(&pair.a.take_sent()), asked);
        assert_eq!(pair.a.drops(DropReason::NoSession), dropped, "it does not wait for nothing");
    }
}

/// Each is an order for each worker, and handshakes wait meanwhile.
#[test]
fn many_removed_peers_leave_the_workers_in_portions() {
    let mut device = Device::new(1);
    let peers: Vec<_> = (0..3_000u32)
        .map(|n| {
            let mut key = [3; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            device.add_peer(PublicKey::new(key)).unwrap()
        })
        .collect();
    while device.poll_action().is_some() {}
    peers.iter().for_each(|&peer| device.remove_peer(peer));
    let mut rng = SeededRng::new(1);
    let mut portions = Vec::new();
    loop {
        let mut gone = 0;
        while let Some(action) = device.poll_action() {
            gone += usize::from(matches!(action, Action::RemovePeer { .. }));
        }
        portions.push(gone);
        if device.poll_timeout().is_none_or(|due| due > START) {
            break;
        }
        device.handle_timeout(crate::node::at(START), &mut rng);
    }
    assert_eq!(portions, [1_024, 1_024, 952]);
}
