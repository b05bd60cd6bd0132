//! Packets that wait for peers that nobody reaches are in nobody's way.

use std::fmt::Write as _;
use std::net::UdpSocket;

use ringfort_testbed::capture::{Capture, Datagram};
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Family, KeyPair, Tunnel, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{drops, eventually, us, wg};

/// Peers at a port where nobody listens.
const DEAD_PEERS: u8 = 8;
/// Datagrams for each, more than may wait for one peer.
const BURST: usize = 200;
/// Keepalives that must come after the bursts: what is seen in a handful of seconds.
const KEEPALIVES: usize = 5;

/// Side 0 gets peers that never answer, as 10.77.0.11 and so on.
fn add_dead_peers(tunnel: &Tunnel) {
    let mut lines = String::new();
    for n in 0..DEAD_PEERS {
        let public = KeyPair::random().unwrap().public.hex();
        let _ = write!(lines, "public_key={public}\nendpoint=10.200.0.2:{}\n", 40_000 + u16::from(n));
        let _ = write!(lines, "replace_allowed_ips=true\nallowed_ip=10.77.0.{}/32\n", 11 + n);
    }
    uapi::set(&tunnel.sides[0].interface, &lines).unwrap();
}

/// Packets that wait, over all workers.
fn staged(interface: &str) -> u64 {
    let stats = uapi::stats(interface).unwrap();
    stats.iter().filter(|(name, _)| name.ends_with("_staged")).map(|(_, value)| value).sum()
}

#[test]
fn a_burst_for_dead_peers_does_not_stop_the_keepalives_of_living_ones() {
    let one_worker = us().with_options("--workers 1");
    let tunnel = Tunnel::new([&one_worker, &us()]).unwrap();
    tunnel.configure(1, &Peering { knows_endpoint: [true, false], ..Peering::default() }).unwrap();
    tunnel.configure(0, &Peering { keepalive_s: 1, ..Peering::default() }).unwrap();
    let interface = &tunnel.sides[0].interface;
    eventually(OPENING, "a session with the living peer", || wg::only_peer(interface).unwrap().latest_handshake > 0);
    add_dead_peers(&tunnel);
    let sender = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    // Workers take new routes a moment after the answer to `set`.
    eventually(PATIENCE, "a route to the last dead peer", || {
        sender.send_to(&[0; 200], ("10.77.0.18", 9)).unwrap();
        staged(interface) > 0
    });
    for _ in 0..BURST {
        for n in 0..DEAD_PEERS {
            sender.send_to(&[0; 200], format!("10.77.0.{}:9", 11 + n)).unwrap();
        }
    }
    eventually(PATIENCE, "more packets than may wait", || drops(interface, "staged_overflow") > 0);

    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    let from = tunnel.sides[0].endpoint(Family::V4);
    let is_keepalive = |datagram: &&Datagram| datagram.source == from && datagram.payload.len() == 32;
    let keepalives = |seen: &[Datagram]| seen.iter().filter(is_keepalive).count();
    let seen = capture.datagrams_until(PORT, PATIENCE, |seen| keepalives(seen) >= KEEPALIVES);
    let no_slot = drops(interface, "no_slot");
    assert!(keepalives(&seen) >= KEEPALIVES, "{} keepalives, {no_slot} without a slot", keepalives(&seen));
    assert_eq!(no_slot, 0);
    assert!(staged(interface) > 0, "packets still wait");
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    pinger.ping(56, PATIENCE).unwrap();
}
