//! A peer that moves: its new address is learned from the first authenticated packet, and from nothing else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringfort_testbed::capture::Capture;
use ringfort_testbed::netns::VETH;
use ringfort_testbed::ping::{self, Pinger};
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Family, Implementation, Tunnel};

use crate::harness::traffic::{OPENING, PATIENCE, exchange};
use crate::harness::{drops, eventually, peer, us, wg};

/// Another outer address of one side.
fn moved(side: usize, outer: Family) -> IpAddr {
    let host = 11 + side as u8;
    match outer {
        Family::V4 => IpAddr::from([10, 200, 0, host]),
        Family::V6 => IpAddr::from([0xfd00, 0x200, 0, 0, 0, 0, 0, u16::from(host)]),
    }
}

/// The peer of one side is where the last packet came from. A worker follows at once; what is shown follows it.
fn expect_endpoint(tunnel: &Tunnel, side: usize, endpoint: SocketAddr) {
    let known = || wg::only_peer(&tunnel.sides[side].interface).unwrap().endpoint;
    eventually(PATIENCE, &format!("{endpoint} is shown instead of {}", known()), || known() == endpoint.to_string());
}

fn moves(partner: Implementation, mover: usize, outer: Family) {
    let peering = Peering { outer, ..Peering::default() };
    let tunnel = Tunnel::connected([&us(), &peer(partner)], &peering).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let (old, new) = (tunnel.sides[mover].outer(outer), moved(mover, outer));
    let length = if outer == Family::V4 { 24 } else { 64 };
    // In this order: with an IPv4 address go the later ones of its network.
    tunnel.namespace(mover).ip(&format!("address del {old}/{length} dev {VETH}")).unwrap();
    tunnel.namespace(mover).add_address(VETH, new, length).unwrap();
    if partner == Implementation::WireguardGo && mover == 1 {
        // wireguard-go keeps sending from an address that is gone (it takes EINVAL for that, but the kernel says
        // ENETUNREACH over IPv4), until it is told the endpoint again.
        tunnel.configure(mover, &peering).unwrap();
    }

    tunnel.wait_until_open(mover, OPENING).unwrap();
    expect_endpoint(&tunnel, 1 - mover, SocketAddr::new(new, PORT));
    exchange(&tunnel, Family::V6, MTU as usize, 200_000);
}

#[test]
fn a_peer_of_ours_moves_over_v4() {
    moves(Implementation::Ringfort, 1, Family::V4);
}

#[test]
fn a_peer_of_ours_moves_over_v6() {
    moves(Implementation::Ringfort, 1, Family::V6);
}

#[test]
fn wireguard_go_moves_over_v4() {
    moves(Implementation::WireguardGo, 1, Family::V4);
}

#[test]
fn wireguard_go_moves_over_v6() {
    moves(Implementation::WireguardGo, 1, Family::V6);
}

#[test]
fn we_move_over_v4() {
    moves(Implementation::WireguardGo, 0, Family::V4);
}

#[test]
fn we_move_over_v6() {
    moves(Implementation::WireguardGo, 0, Family::V6);
}

/// From one protocol to the other: the session does not care.
#[test]
fn a_peer_moves_from_v4_to_v6() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let ours = &tunnel.sides[0];
    let endpoint = ours.endpoint(Family::V6);
    let mover = &tunnel.sides[1];
    wg::wg(&format!("set {} peer {} endpoint {endpoint}", mover.interface, ours.keys.public.base64())).unwrap();
    ping::until_answered(tunnel.namespace(1), ours.inner(Family::V4), OPENING).unwrap();
    expect_endpoint(&tunnel, 0, mover.endpoint(Family::V6));
    exchange(&tunnel, Family::V4, MTU as usize, 200_000);
}

/// A peer that changes its port keeps its session, on both implementations.
#[test]
fn a_peer_changes_its_port() {
    for partner in [Implementation::Ringfort, Implementation::WireguardGo] {
        let tunnel = Tunnel::connected([&us(), &peer(partner)], &Peering::default()).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
        wg::wg(&format!("set {} listen-port 51999", tunnel.sides[1].interface)).unwrap();
        let target = tunnel.sides[0].inner(Family::V4);
        ping::until_answered(tunnel.namespace(1), target, OPENING).unwrap();
        expect_endpoint(&tunnel, 0, SocketAddr::new(tunnel.sides[1].outer(Family::V4), 51_999));
        exchange(&tunnel, Family::V4, MTU as usize, 200_000);
    }
}

/// Whoever replays or alters a datagram from elsewhere moves nobody.
#[test]
fn replayed_and_forged_datagrams_move_nobody() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    let mut pinger = Pinger::new(tunnel.namespace(1), tunnel.sides[0].inner(Family::V4)).unwrap();
    for _ in 0..10 {
        pinger.ping(100, PATIENCE).unwrap();
    }
    let target = tunnel.sides[0].endpoint(Family::V4);
    let seen = capture.datagrams(PORT, Duration::from_millis(200));
    let sent: Vec<Vec<u8>> =
        seen.into_iter().filter(|datagram| datagram.destination == target).map(|datagram| datagram.payload).collect();
    assert!(sent.len() >= 10, "captured only {} datagrams", sent.len());

    let interface = &tunnel.sides[0].interface;
    let (replays, bad_tags) = (drops(interface, "replay"), drops(interface, "bad_tag"));
    let intruder = tunnel.namespace(1).enter(|| std::net::UdpSocket::bind("10.200.0.2:0")).unwrap();
    for datagram in &sent {
        intruder.send_to(datagram, target).unwrap();
        let mut forged = datagram.clone();
        // A counter never seen, so only the tag speaks against it.
        forged[8..16].copy_from_slice(&1_000_000_u64.to_le_bytes());
        intruder.send_to(&forged, target).unwrap();
    }
    // What was forged with a far counter must not have moved the window either: the next ping has a small one.
    pinger.ping(100, PATIENCE).unwrap();
    let known = wg::only_peer(interface).unwrap().endpoint;
    assert_eq!(known, tunnel.sides[1].endpoint(Family::V4).to_string());
    assert!(drops(interface, "replay") >= replays + 10, "replays are counted");
    assert!(drops(interface, "bad_tag") >= bad_tags + 10, "forgeries are counted");
}
