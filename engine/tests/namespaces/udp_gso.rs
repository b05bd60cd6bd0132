//! `--udp-gso`: trains as they are, ragged, or none.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::capture::Capture;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Family, Implementation, Tunnel, uapi};

use crate::harness::traffic::{OPENING, PATIENCE, TCP_BYTES, exchange};
use crate::harness::{all_drops, eventually, peer, us};

fn figure(tunnel: &Tunnel, side: usize, name: &str) -> u64 {
    uapi::stats(&tunnel.sides[side].interface).unwrap()[name]
}

/// A tunnel from us, with `--udp-gso HOW`, to a partner.
fn tunnel(how: &str, partner: Implementation, outer: Family) -> Tunnel {
    let ours = us().with_options(&format!("--udp-gso {how}"));
    let peering = Peering { outer, ..Peering::default() };
    let tunnel = Tunnel::connected([&ours, &peer(partner)], &peering).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel
}

/// Every kind of traffic, both ways. All trains are ragged: the edge would have split one that is not.
fn ragged_trains_carry_everything(partner: Implementation, outer: Family) {
    let tunnel = tunnel("ragged", partner, outer);
    for inner in [Family::V4, Family::V6] {
        exchange(&tunnel, inner, MTU as usize, TCP_BYTES);
    }
    assert!(figure(&tunnel, 0, "keepalive_tails") > 0);
    assert_eq!(figure(&tunnel, 0, "udp_trains_split"), 0);
    assert_eq!(figure(&tunnel, 0, "udp_retries_unsegmented"), 0);
}

#[test]
fn ragged_trains_carry_everything_to_wireguard_go() {
    ragged_trains_carry_everything(Implementation::WireguardGo, Family::V4);
}

#[test]
fn ragged_trains_carry_everything_to_ours_over_v6() {
    ragged_trains_carry_everything(Implementation::Ringfort, Family::V6);
}

/// A keepalive at the end of a train is a keepalive: nothing comes out of the peer's tunnel, and nothing comes back.
fn a_tail_is_neither_delivered_nor_answered(partner: Implementation) {
    const TRAINS: u64 = 100;
    let tunnel = tunnel("ragged", partner, Family::V4);
    // Once more, so no answer to the first pings is underway.
    Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap().ping(56, PATIENCE).unwrap();
    let [sender, receiver] = [0, 1].map(|side: usize| {
        let address = SocketAddr::new(tunnel.sides[side].inner(Family::V4), 0);
        tunnel.namespace(side).enter(|| UdpSocket::bind(address)).unwrap()
    });
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    setsockopt(&sender, sockopt::UdpGsoSegment, &1_000).unwrap();
    let received_before = figure(&tunnel, 0, "udp_receive_datagrams");
    let tails_before = figure(&tunnel, 0, "keepalive_tails");
    let is_ours = partner == Implementation::Ringfort;
    let delivered_before = if is_ours { figure(&tunnel, 1, "tun_write_packets") } else { 0 };
    let mut buffer = [0; 2_000];
    for _ in 0..TRAINS {
        sender.send(&[7; 5_000]).unwrap();
        for _ in 0..5 {
            assert_eq!(receiver.recv(&mut buffer).unwrap(), 1_000);
        }
    }
    let tails = || figure(&tunnel, 0, "keepalive_tails") - tails_before;
    eventually(PATIENCE, "each train has its keepalive", || tails() == TRAINS);
    // What comes back are passive keepalives for the data, one in ten seconds.
    let answers = figure(&tunnel, 0, "udp_receive_datagrams") - received_before;
    assert!(answers < TRAINS / 10, "{answers} answers to {TRAINS} keepalives");
    if is_ours {
        assert_eq!(figure(&tunnel, 1, "tun_write_packets") - delivered_before, 5 * TRAINS);
        assert!(all_drops(&tunnel.sides[1].interface).is_empty());
    }
}

#[test]
fn a_tail_is_neither_delivered_nor_answered_by_wireguard_go() {
    a_tail_is_neither_delivered_nor_answered(Implementation::WireguardGo);
}

#[test]
fn a_tail_is_neither_delivered_nor_answered_by_ours() {
    a_tail_is_neither_delivered_nor_answered(Implementation::Ringfort);
}

/// Datagram by datagram.
#[test]
fn without_segmentation_everything_is_carried_too() {
    let tunnel = tunnel("off", Implementation::WireguardGo, Family::V4);
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    exchange(&tunnel, Family::V4, MTU as usize, TCP_BYTES);
    let seen = capture.datagrams(PORT, Duration::from_millis(100));
    let to_side_1 = seen.iter().filter(|datagram| datagram.destination.ip() == tunnel.sides[1].outer(Family::V4));
    let longest = to_side_1.map(|datagram| datagram.payload.len()).max();
    assert_eq!(longest, Some(MTU as usize + 32), "no train on the wire");
    assert!(figure(&tunnel, 0, "udp_trains_split") > 0, "trains are made all the same, and sealed at once");
    assert_eq!(figure(&tunnel, 0, "udp_retries_unsegmented"), 0);
    assert_eq!(figure(&tunnel, 0, "keepalive_tails"), 0);
}
