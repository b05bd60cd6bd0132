//! Which local address handshakes and data leave from.

use std::net::IpAddr;
use std::time::Duration;

use ringfort_core::constants::{INITIATIONS_FROM_SOURCE, PEERS_MAX};
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::{Action, Outgoing, PeerSettingsFull};
use ringfort_core::ids::{Endpoint, LocalAddr};
use ringfort_core::time::Time;

use crate::{Pair, START};

const VIRTUAL: LocalAddr = LocalAddr { addr: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 100)), ifindex: 2 };

fn of_a(pair: &Pair) -> Option<Endpoint> {
    pair.a.device.status(pair.b_at_a).unwrap().endpoint()
}

/// The second writes to the virtual address of the first, as a worker of the first sees it.
fn learn(pair: &Pair) -> Endpoint {
    let endpoint = Endpoint { remote: pair.b.address, source: Some(VIRTUAL) };
    pair.a.shared(pair.b_at_a).endpoint.set(endpoint);
    endpoint
}

/// Lets the first do all that is due up to `until`, and returns where its initiations left from.
fn initiations(pair: &mut Pair, until: Time) -> Vec<Option<LocalAddr>> {
    let mut sources = Vec::new();
    while let Some(due) = pair.a.device.poll_timeout().filter(|&due| due <= until) {
        pair.a.now = crate::node::at(due);
        pair.a.device.handle_timeout(pair.a.now, &mut pair.a.rng);
        while let Some(action) = pair.a.device.poll_action() {
            match action {
                Action::Outgoing(Outgoing::Send { endpoint, datagram, .. }) if datagram.as_ref()[0] == 1 => {
                    sources.push(endpoint.source)
                }
                other => pair.a.apply(other),
            }
        }
    }
    sources
}

#[test]
fn the_address_that_a_peer_wrote_to_outlives_sessions_and_silence() {
    let mut pair = Pair::connected();
    let endpoint = learn(&pair);
    // Data that nobody answers leads to an initiation; that and the next ones leave from where the peer knows us.
    pair.offer_a();
    let sources = initiations(&mut pair, START + Duration::from_secs(29));
    assert_eq!(sources, [Some(VIRTUAL); INITIATIONS_FROM_SOURCE as usize]);
    assert_eq!(of_a(&pair), Some(endpoint));
    // Later every second one leaves from where the kernel likes, and nothing is forgotten.
    let sources = initiations(&mut pair, START + Duration::from_secs(50));
    assert_eq!(sources, [None, Some(VIRTUAL), None, Some(VIRTUAL)]);
    assert_eq!(of_a(&pair), Some(endpoint));
}

#[test]
fn an_endpoint_that_is_set_again_keeps_its_source_and_a_new_one_does_not() {
    let mut pair = Pair::connected();
    let endpoint = learn(&pair);
    pair.a.device.set_endpoint(START, pair.b_at_a, endpoint.remote);
    assert_eq!(of_a(&pair), Some(endpoint));
    let other = "203.0.113.9:1".parse().unwrap();
    pair.a.device.set_endpoint(START, pair.b_at_a, other);
    assert_eq!(of_a(&pair), Some(Endpoint::new(other)));
}

#[test]
fn a_source_that_fails_is_forgotten_unless_the_peer_has_moved() {
    let mut pair = Pair::connected();
    let endpoint = learn(&pair);
    let elsewhere = Endpoint { remote: "203.0.113.9:1".parse().unwrap(), ..endpoint };
    pair.a.device.source_failed(pair.b_at_a, elsewhere);
    assert_eq!(of_a(&pair), Some(endpoint));
    pair.a.device.source_failed(pair.b_at_a, endpoint);
    assert_eq!(of_a(&pair), Some(endpoint.without_source()));
    learn(&pair);
    pair.a.device.clear_sources(START);
    assert_eq!(of_a(&pair), Some(endpoint.without_source()));
}

#[test]
fn an_operator_can_name_the_source() {
    let mut pair = Pair::new();
    let (key, own) = (pair.b.public(), LocalAddr { ifindex: 0, ..VIRTUAL });
    assert_eq!(pair.a.device.set_peer_source(key, Some(own.addr)), Ok(()));
    assert_eq!(pair.a.device.peer_source(&key), Some(own.addr));
    assert_eq!(of_a(&pair).unwrap().source, Some(own), "for data as well");
    // What the kernel refused is tried again by each initiation, and never doubted.
    pair.a.device.source_failed(pair.b_at_a, of_a(&pair).unwrap());
    assert_eq!(of_a(&pair).unwrap().source, None);
    assert!(pair.a.shared(pair.b_at_a).activity.request_handshake());
    let (need, reason) = (pair.b_at_a, ringfort_core::device::HandshakeReason::NoSession);
    pair.a.device.handle_event(
        pair.a.now,
        ringfort_core::device::PeerEvent::NeedHandshake { peer: need, reason },
        &mut pair.a.rng,
    );
    assert_eq!(of_a(&pair).unwrap().source, Some(own));
    let sources = initiations(&mut pair, START + Duration::from_secs(50));
    assert!(sources.len() > 6 && sources.iter().all(|&source| source == Some(own)), "{sources:?}");
    // It is of no use towards another family, and where the peer wrote to counts more.
    pair.a.device.set_endpoint(START, pair.b_at_a, "[2001:db8::1]:1".parse().unwrap());
    assert_eq!(of_a(&pair).unwrap().source, None);
    let endpoint = learn(&pair);
    assert_eq!(of_a(&pair), Some(endpoint));
    pair.a.device.set_peer_source(key, None).unwrap();
    assert_eq!((pair.a.device.peer_source(&key), of_a(&pair).unwrap().source), (None, None));
}

#[test]
fn a_named_source_waits_for_its_peer_and_outlives_it() {
    let mut pair = Pair::new();
    let key = PublicKey::new([7; 32]);
    pair.a.device.set_peer_source(key, Some(VIRTUAL.addr)).unwrap();
    for _ in 0..2 {
        let peer = pair.a.device.add_peer(key).unwrap();
        pair.a.device.set_endpoint(START, peer, pair.b.address);
        let source = pair.a.device.status(peer).unwrap().endpoint().unwrap().source;
        assert_eq!(source.map(|source| source.addr), Some(VIRTUAL.addr));
        pair.a.device.remove_peer(peer);
    }
}

#[test]
fn as_many_sources_as_peers() {
    let mut pair = Pair::new();
    let key = |n: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        PublicKey::new(key)
    };
    for n in 0..PEERS_MAX {
        pair.a.device.set_peer_source(key(n), Some(VIRTUAL.addr)).unwrap();
    }
    assert_eq!(pair.a.device.source_room(), 0);
    assert_eq!(pair.a.device.set_peer_source(key(PEERS_MAX), Some(VIRTUAL.addr)), Err(PeerSettingsFull));
    assert_eq!(pair.a.device.set_peer_source(key(0), Some(VIRTUAL.addr)), Ok(()));
}
