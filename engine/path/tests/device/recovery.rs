//! Sessions that were lost with a former process: who asks whom, and how often.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringfort_core::cell::PeerShared;
use ringfort_core::constants::{RECOVERIES_PER_SECOND, RECOVERY_TIME, REJECT_AFTER_TIME, REKEY_TIMEOUT};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_LEN_MIN, TYPE_DATA};

use crate::node::at;
use crate::rng::SeededRng;
use crate::{Node, Pair, START, kinds};

/// A pair whose second node has been started anew, just now. It was not told where the first is, and has seen it.
fn restarted() -> Pair {
    let mut pair = Pair::connected();
    pair.b.restart(77);
    pair
}

/// Data that nobody can open, from where the first node is.
fn spoof(pair: &mut Pair, index: u32) {
    let mut bytes = vec![TYPE_DATA, 0, 0, 0];
    bytes.extend(index.to_le_bytes());
    bytes.resize(DATA_LEN_MIN, 7);
    let from = pair.a.address;
    pair.b.receive(from, &bytes).expect_err("nobody has that session");
    pair.b.settle();
}

#[test]
fn a_peer_that_sends_is_asked_at_once() {
    let mut pair = restarted();
    pair.offer_a();
    let wire = pair.exchange();
    // Lost; initiation, response, confirmation.
    assert_eq!(kinds(&wire), [4, 1, 2, 40]);
    pair.offer_a();
    pair.exchange();
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_keepalive_is_enough() {
    let mut pair = Pair::connected();
    let now = pair.a.now.mono;
    pair.a.device.set_keepalive(now, pair.b_at_a, 25);
    pair.a.settle();
    pair.exchange();
    pair.b.restart(78);
    let next = now + Duration::from_secs(25);
    let wire = pair.run_until(next);
    assert_eq!(kinds(&wire), [40, 1, 2, 40], "not after Rekey-After-Time, when it asks by itself");
    assert!(pair.b.has_sending_session(pair.a_at_b));
}

#[test]
fn a_packet_for_a_peer_that_only_receives_finds_it() {
    let mut pair = restarted();
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4]);
    assert_eq!(pair.a.delivered.len(), 1);
}

#[test]
fn whatever_strangers_send_a_peer_is_asked_once_in_rekey_timeout() {
    let mut pair = restarted();
    pair.b.take_sent();
    let start = pair.b.now.mono;
    let mut asked: Vec<Time> = Vec::new();
    for n in 0..4_000 {
        let now = start + Duration::from_millis(10) * n;
        pair.b.advance_to(now);
        spoof(&mut pair, n.wrapping_mul(0x9e37_79b9));
        asked.extend(pair.b.take_sent().iter().map(|sent| {
            assert_eq!((sent.kind(), sent.to), (1, pair.a.address));
            now
        }));
    }
    assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) >= REKEY_TIMEOUT), "{asked:?}");
    assert_eq!(asked.len(), 8, "once in Rekey-Timeout, and each time it is due: {asked:?}");
    // And nothing is repeated for them.
    pair.b.advance_to(start + Duration::from_secs(100));
    assert!(pair.b.take_sent().is_empty());
}

#[test]
fn other_places_do_not_count() {
    let mut pair = restarted();
    pair.a.address.set_port(1);
    spoof(&mut pair, 9);
    pair.a.address.set_ip([198, 51, 100, 1].into());
    spoof(&mut pair, 9);
    assert!(pair.b.take_sent().is_empty());
}

#[test]
fn who_has_a_session_is_not_asked() {
    let mut pair = restarted();
    pair.offer_b();
    pair.exchange();
    pair.advance_to(START + REKEY_TIMEOUT * 2);
    spoof(&mut pair, 9);
    assert!(pair.b.take_sent().is_empty());
}

/// Two gateways served at a time. The peer has a newer session with the other one.
#[test]
fn who_may_have_a_newer_session_elsewhere_is_asked() {
    let mut pair = Pair::connected();
    let later = START + RECOVERY_TIME * 2;
    pair.run_until(later);
    pair.offer_a();
    pair.exchange();
    spoof(&mut pair, 9);
    assert!(pair.b.take_sent().is_empty(), "nobody doubts that session");
    pair.advance_to(later + REKEY_TIMEOUT * 2);
    pair.b.take_sent();
    assert!(pair.b.device.recover(pair.b.now.mono));
    pair.b.settle();
    assert!(pair.b.has_sending_session(pair.a_at_b), "it stays");
    spoof(&mut pair, 9);
    spoof(&mut pair, 10);
    assert_eq!(kinds(&pair.b.take_sent()), [1], "once");
    pair.b.advance_to(later + REKEY_TIMEOUT * 2 + RECOVERY_TIME);
    pair.b.advance_to(later + REKEY_TIMEOUT * 4 + RECOVERY_TIME);
    pair.b.take_sent();
    spoof(&mut pair, 11);
    assert!(pair.b.take_sent().is_empty(), "doubts end");
}

/// Also another process of the same gateway.
#[test]
fn doubts_are_handed_over() {
    let mut pair = Pair::connected();
    pair.advance_to(START + REKEY_TIMEOUT * 3);
    pair.b.take_sent();
    assert!(pair.b.device.recover(pair.b.now.mono));
    pair.b.hand_over();
    assert!(pair.b.has_sending_session(pair.a_at_b), "it stays");
    spoof(&mut pair, 9);
    assert_eq!(kinds(&pair.b.take_sent()), [1]);
}

/// The workers have a table already, of the time before the peer was seen.
#[test]
fn doubts_concern_peers_that_were_seen_only_since_the_start() {
    let mut pair = Pair::connected();
    pair.advance_to(START + REKEY_TIMEOUT * 3);
    pair.b.take_sent();
    assert!(pair.b.device.recover(pair.b.now.mono));
    pair.b.settle();
    spoof(&mut pair, 9);
    assert_eq!(kinds(&pair.b.take_sent()), [1]);
}

#[test]
fn it_ends_after_reject_after_time() {
    let mut pair = restarted();
    pair.b.advance_to(START + RECOVERY_TIME - Duration::from_nanos(1));
    spoof(&mut pair, 9);
    assert_eq!(kinds(&pair.b.take_sent()), [1]);
    pair.b.advance_to(START + RECOVERY_TIME);
    pair.b.advance_to(START + RECOVERY_TIME + REKEY_TIMEOUT * 2);
    spoof(&mut pair, 9);
    assert!(pair.b.take_sent().is_empty());
    assert_eq!(RECOVERY_TIME, REJECT_AFTER_TIME);
}

#[test]
fn a_link_that_comes_up_is_as_good_as_a_start() {
    let mut pair = Pair::connected();
    let later = START + RECOVERY_TIME * 2;
    pair.run_until(later);
    pair.offer_a();
    pair.exchange();
    pair.b.device.link_down(pair.b.now.mono);
    pair.b.settle();
    spoof(&mut pair, 9);
    assert!(pair.b.take_sent().is_empty(), "down is down");
    pair.b.device.link_up(later);
    pair.b.settle();
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [4, 1, 2, 40]);
}

/// The table grows while the operator adds peers.
#[test]
fn peers_that_are_added_later_are_found_too() {
    let mut pair = restarted();
    let mut others: Vec<_> = (0..100).map(|n| Node::new(100 + n, START)).collect();
    for (n, other) in others.iter_mut().enumerate() {
        other.address.set_port(1_000 + n as u16);
        let (key, inner, address) = (PublicKey::new([100 + n as u8; 32]), other.inner, other.address);
        pair.b.add_peer_as(key, inner, Some(address));
    }
    for other in &others {
        pair.a.address = other.address;
        spoof(&mut pair, 9);
        assert_eq!(pair.b.take_sent().len(), 1, "{}", other.address);
    }
}

/// As many peers as that, at endpoints of their own, all of which have lost their sessions.
fn crowd(peers: u32) -> (Device, Vec<(PeerId, Arc<PeerShared>)>) {
    let mut device = Device::new(1);
    device.set_private_key(START, Some(PrivateKey::new([9; 32])));
    device.link_up(START);
    for n in 0..peers {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&(n + 2).to_le_bytes());
        let peer = device.add_peer(PublicKey::new(key)).expect("a new peer");
        let endpoint = (std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 51_820);
        device.place_peer(START, peer, Some(endpoint.into()));
    }
    let actions = std::iter::from_fn(|| device.poll_action());
    let cells = actions.filter_map(|action| match action {
        Action::AddPeer { peer, shared } => Some((peer, shared)),
        _ => None,
    });
    let cells = cells.collect();
    (device, cells)
}

#[test]
fn no_second_has_more_than_a_thousand_and_the_first_thousand_wait_for_nothing() {
    let (mut device, peers) = crowd(2_500);
    let mut rng = SeededRng::new(1);
    let mut now = START;
    let mut waiting: VecDeque<_> = peers.iter().cloned().collect();
    let mut asked: Vec<Time> = Vec::new();
    let mut told = 0;
    while now < START + Duration::from_secs(4) {
        // The workers tell of each that has not been asked, as often as they may.
        for _ in 0..waiting.len() {
            let (peer, shared) = waiting.pop_front().expect("as many as there were");
            if shared.lost.tell(now) {
                told += 1;
                device.handle_event(at(now), PeerEvent::LostSession(peer), &mut rng);
            }
            waiting.push_back((peer, shared));
        }
        while device.poll_timeout().is_some_and(|due| due <= now) {
            device.handle_timeout(at(now), &mut rng);
        }
        while let Some(action) = device.poll_action() {
            if let Action::Outgoing(Outgoing::Send { .. }) = action {
                asked.push(now);
            }
        }
        now += Duration::from_millis(20);
    }
    let first_second = asked.iter().filter(|&&at| at == START).count();
    assert_eq!(first_second, RECOVERIES_PER_SECOND, "they wait for nothing");
    let too_close = asked
        .windows(RECOVERIES_PER_SECOND + 1)
        .find(|some| some[RECOVERIES_PER_SECOND].since(some[0]) < Duration::from_secs(1));
    assert_eq!(too_close, None, "more than a thousand within a second");
    assert_eq!(asked.len(), peers.len(), "each once, of {told} events");
}

/// Where a client is, and the number of the one that is there.
fn place_of(client: usize) -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, 1_000 + client as u16).into()
}

/// How many sessions a gateway has that was started anew and has heard `news` of each of its clients, without a moment
/// passing. The clients have forgotten their sessions, too: what they do with them is their business.
fn sessions_at_once(clients: usize, news: impl Fn(PeerId) -> PeerEvent) -> usize {
    let mut rng = SeededRng::new(1);
    let (now, own, home) = (at(START), PrivateKey::new([9; 32]), Endpoint::new(([192, 0, 2, 1], 7).into()));
    let mut gateway = Device::new(1);
    gateway.set_private_key(START, Some(own.clone()));
    gateway.link_up(START);
    let keys = (0..clients).map(|n| PrivateKey::new([n as u8, (n >> 8) as u8 + 1].repeat(16).try_into().unwrap()));
    let mut others: Vec<_> = keys
        .enumerate()
        .map(|(n, key)| {
            let peer = gateway.add_peer(key.public_key()).expect("a new peer");
            gateway.place_peer(START, peer, Some(place_of(n)));
            let mut client = Device::new(1);
            client.set_private_key(START, Some(key));
            client.link_up(START);
            client.add_peer(own.public_key()).expect("a new peer");
            (peer, client)
        })
        .collect();
    for (peer, _) in &others {
        gateway.handle_event(now, news(*peer), &mut rng);
    }
    let mut sessions = 0;
    loop {
        let action = gateway.poll_action().or_else(|| {
            let is_due = gateway.poll_timeout().is_some_and(|due| due <= START);
            is_due.then(|| gateway.handle_timeout(now, &mut rng))?;
            gateway.poll_action()
        });
        match action {
            None => return sessions,
            Some(Action::BeginSession { session, .. }) => sessions += usize::from(session.initiator),
            Some(Action::Outgoing(Outgoing::Send { endpoint, datagram, .. })) => {
                let number = usize::from(endpoint.remote.port() - 1_000);
                let (_, client) = &mut others[number];
                client.handle_datagram(now, home, datagram.as_ref(), false, &mut rng).expect("it is asked");
                while let Some(action) = client.poll_action() {
                    if let Action::Outgoing(Outgoing::Send { datagram, .. }) = action {
                        let from = Endpoint::new(place_of(number));
                        gateway.handle_datagram(now, from, datagram.as_ref(), false, &mut rng).expect("it has asked");
                    }
                }
            }
            Some(_) => {}
        }
    }
}

/// Nothing but their computation and the way there and back keeps a thousand peers from having sessions.
#[test]
fn a_thousand_clients_that_send_have_sessions_without_a_moment_passing() {
    let clients = if cfg!(miri) { 3 } else { 1_000 };
    assert_eq!(sessions_at_once(clients, PeerEvent::LostSession), clients);
}

#[test]
fn a_thousand_clients_that_only_receive_have_sessions_without_a_moment_passing() {
    let clients = if cfg!(miri) { 3 } else { 1_000 };
    let reason = HandshakeReason::NoSession;
    assert_eq!(sessions_at_once(clients, |peer| PeerEvent::NeedHandshake { peer, reason }), clients);
}

/// The workers have it from the first moment on.
#[test]
fn a_table_of_many_peers_is_filled_in_parts() {
    const PEERS: u32 = 3_000;
    let (mut device, _) = crowd(PEERS);
    let mut rng = SeededRng::new(1);
    device.link_down(START);
    device.link_up(START);
    let tables = std::iter::from_fn(|| device.poll_action()).filter_map(|action| match action {
        Action::Recover(table) => table,
        _ => None,
    });
    let table = tables.last().expect("a link that has come up may have lost sessions");
    let is_known = |n: &u32| table.find(START, (std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 51_820).into()).count();
    let known = || (0..PEERS).filter(|n| is_known(n) == 1).count();
    assert_eq!(known(), 1024);
    for entered in [2048, PEERS as usize] {
        assert!(device.poll_timeout().is_some_and(|due| due <= START), "the next part follows at once");
        device.handle_timeout(at(START), &mut rng);
        assert_eq!(known(), entered);
    }
}
