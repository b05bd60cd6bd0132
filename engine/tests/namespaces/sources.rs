//! Replies leave from the address that the datagram came to, whatever the routing table would choose.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringfort_testbed::capture::{Capture, Datagram};
use ringfort_testbed::netns::VETH;
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Family, Implementation, Tunnel, uapi};

use crate::harness::traffic::{OPENING, exchange};
use crate::harness::{peer, us, wg};

fn second_address(outer: Family) -> (IpAddr, u8) {
    match outer {
        Family::V4 => ("10.200.0.77".parse().unwrap(), 24),
        Family::V6 => ("fd00:200::77".parse().unwrap(), 64),
    }
}

/// The peer knows only our second address; we know no endpoint at all.
fn addressed_at_the_second(partner: Implementation, outer: Family) -> (Tunnel, SocketAddr) {
    let tunnel = Tunnel::new([&us(), &peer(partner)]).unwrap();
    let (second, length) = second_address(outer);
    tunnel.namespace(0).add_address(VETH, second, length).unwrap();
    let peering = Peering { outer, knows_endpoint: [false, false], ..Peering::default() };
    tunnel.configure(0, &peering).unwrap();
    tunnel.configure(1, &peering).unwrap();
    let endpoint = SocketAddr::new(second, PORT);
    let key = tunnel.sides[0].keys.public.hex();
    uapi::set(&tunnel.sides[1].interface, &format!("public_key={key}\nendpoint={endpoint}\n")).unwrap();
    (tunnel, endpoint)
}

fn answers_from_there(partner: Implementation, outer: Family) {
    let (tunnel, endpoint) = addressed_at_the_second(partner, outer);
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    exchange(&tunnel, Family::V4, MTU as usize, 100_000);
    let theirs = tunnel.sides[1].endpoint(outer);
    let ours = capture.datagrams(PORT, Duration::from_millis(300));
    let ours: Vec<_> = ours.into_iter().filter(|datagram| datagram.destination == theirs).collect();
    assert!(ours.len() > 10, "captured only {} of our datagrams", ours.len());
    for datagram in ours {
        let kind = datagram.payload[0];
        assert_eq!(datagram.source, endpoint, "a message of type {kind} left from another address");
    }
    // A peer follows whoever it hears: it would have moved to another address of ours.
    assert_eq!(wg::only_peer(&tunnel.sides[1].interface).unwrap().endpoint, endpoint.to_string());
}

#[test]
fn over_v4_to_a_peer_of_ours() {
    answers_from_there(Implementation::Ringfort, Family::V4);
}

#[test]
fn over_v6_to_a_peer_of_ours() {
    answers_from_there(Implementation::Ringfort, Family::V6);
}

#[test]
fn over_v4_to_wireguard_go() {
    answers_from_there(Implementation::WireguardGo, Family::V4);
}

#[test]
fn over_v6_to_wireguard_go() {
    answers_from_there(Implementation::WireguardGo, Family::V6);
}

/// When that address goes away, we go on from another.
fn falls_back(outer: Family) {
    let (tunnel, _) = addressed_at_the_second(Implementation::WireguardGo, outer);
    tunnel.wait_until_open(1, OPENING).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let (second, length) = second_address(outer);
    tunnel.namespace(0).ip(&format!("address del {second}/{length} dev {VETH}")).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    exchange(&tunnel, Family::V4, MTU as usize, 100_000);
    assert_eq!(
        wg::only_peer(&tunnel.sides[1].interface).unwrap().endpoint,
        tunnel.sides[0].endpoint(outer).to_string()
    );
}

#[test]
fn a_deleted_v4_address_is_forgotten() {
    falls_back(Family::V4);
}

#[test]
fn a_deleted_v6_address_is_forgotten() {
    falls_back(Family::V6);
}

/// Where our next initiation leaves from, as the peer sees it.
fn next_initiation(capture: &Capture, tunnel: &Tunnel, outer: Family) -> SocketAddr {
    let theirs = tunnel.sides[1].endpoint(outer);
    let is_one = |datagram: &Datagram| datagram.destination == theirs && datagram.payload.first() == Some(&1);
    let seen = capture.datagrams_until(PORT, OPENING, |seen| seen.iter().any(is_one));
    seen.iter().find(|datagram| is_one(datagram)).expect("an initiation of ours").source
}

/// A handshake that we begin leaves from the address at which the peer knows us, whatever became of the session.
fn asks_from_there(partner: Implementation, outer: Family) {
    let (tunnel, endpoint) = addressed_at_the_second(partner, outer);
    tunnel.wait_until_open(1, OPENING).unwrap();
    let interface = &tunnel.sides[0].interface;
    for again in 0..3 {
        // Nothing is left of the sessions, and the operator says once more what is known already.
        tunnel.namespace(0).ip(&format!("link set {interface} down")).unwrap();
        let (key, theirs) = (tunnel.sides[1].keys.public.hex(), tunnel.sides[1].endpoint(outer));
        uapi::set(interface, &format!("public_key={key}\nendpoint={theirs}\n")).unwrap();
        let capture = Capture::start(tunnel.namespace(1)).unwrap();
        tunnel.namespace(0).ip(&format!("link set {interface} up")).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
        assert_eq!(next_initiation(&capture, &tunnel, outer), endpoint, "initiation {again}");
        assert_eq!(wg::only_peer(&tunnel.sides[1].interface).unwrap().endpoint, endpoint.to_string());
    }
}

#[test]
fn our_own_handshake_over_v4_leaves_from_where_a_peer_of_ours_knows_us() {
    asks_from_there(Implementation::Ringfort, Family::V4);
}

#[test]
fn our_own_handshake_over_v4_leaves_from_where_wireguard_go_knows_us() {
    asks_from_there(Implementation::WireguardGo, Family::V4);
}

#[test]
fn our_own_handshake_over_v6_leaves_from_where_wireguard_go_knows_us() {
    asks_from_there(Implementation::WireguardGo, Family::V6);
}

/// A peer that has never written to us is written to from the address that was set for it.
fn asks_from_the_source_that_was_set(outer: Family) {
    let tunnel = Tunnel::new([&us(), &us()]).unwrap();
    let (second, length) = second_address(outer);
    tunnel.namespace(0).add_address(VETH, second, length).unwrap();
    let peering = Peering { outer, knows_endpoint: [true, false], ..Peering::default() };
    let key = tunnel.sides[1].keys.public.hex();
    uapi::set(&tunnel.sides[0].interface, &format!("public_key={key}\nupdate_only=true\nsource={second}\n")).unwrap();
    tunnel.configure(0, &peering).unwrap();
    tunnel.configure(1, &peering).unwrap();
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let endpoint = SocketAddr::new(second, PORT);
    assert_eq!(next_initiation(&capture, &tunnel, outer), endpoint);
    assert_eq!(wg::only_peer(&tunnel.sides[1].interface).unwrap().endpoint, endpoint.to_string());
    // It may not be ours, as on a standby: then the kernel chooses.
    tunnel.namespace(0).ip(&format!("address del {second}/{length} dev {VETH}")).unwrap();
    tunnel.namespace(0).ip(&format!("link set {} down", tunnel.sides[0].interface)).unwrap();
    tunnel.namespace(0).ip(&format!("link set {} up", tunnel.sides[0].interface)).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    assert_eq!(
        wg::only_peer(&tunnel.sides[1].interface).unwrap().endpoint,
        tunnel.sides[0].endpoint(outer).to_string()
    );
}

#[test]
fn a_v4_source_can_be_set() {
    asks_from_the_source_that_was_set(Family::V4);
}

#[test]
fn a_v6_source_can_be_set() {
    asks_from_the_source_that_was_set(Family::V6);
}
