//! Replies leave from the address that the datagram came to, whatever the routing table would choose.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringfort_testbed::capture::Capture;
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
