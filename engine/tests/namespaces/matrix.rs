//! Every pair of implementations × outer protocol × who initiates × preshared key; within each, both inner protocols
//! with ping, UDP and TCP in both directions.

use ringfort_testbed::tunnel::{MTU, Peering};
use ringfort_testbed::{Family, Implementation, Tunnel};

use crate::harness::traffic::{OPENING, TCP_BYTES, check_counters, exchange};
use crate::harness::{peer, us_measured, wg};

fn carries_traffic(implementation: Implementation, outer: Family, initiator: usize, preshared: bool) {
    let tunnel = Tunnel::new([&us_measured(), &peer(implementation)]).unwrap();
    let mut knows_endpoint = [false; 2];
    knows_endpoint[initiator] = true;
    let peering = Peering { outer, preshared, knows_endpoint, keepalive_s: 0 };
    wg::connect(&tunnel, &peering).unwrap();
    tunnel.wait_until_open(initiator, OPENING).unwrap();
    for inner in [Family::V4, Family::V6] {
        exchange(&tunnel, inner, MTU as usize, TCP_BYTES);
    }
    check_counters(&tunnel, 2 * TCP_BYTES);
}

/// The eight cases of one implementation.
macro_rules! cases {
    ($name:ident, $implementation:expr) => {
        mod $name {
            use ringfort_testbed::Family::{V4, V6};
            use ringfort_testbed::Implementation;

            use super::carries_traffic;

            #[test]
            fn over_v4_we_initiate() {
                carries_traffic($implementation, V4, 0, false);
            }

            #[test]
            fn over_v4_we_initiate_with_psk() {
                carries_traffic($implementation, V4, 0, true);
            }

            #[test]
            fn over_v4_they_initiate() {
                carries_traffic($implementation, V4, 1, false);
            }

            #[test]
            fn over_v4_they_initiate_with_psk() {
                carries_traffic($implementation, V4, 1, true);
            }

            #[test]
            fn over_v6_we_initiate() {
                carries_traffic($implementation, V6, 0, false);
            }

            #[test]
            fn over_v6_we_initiate_with_psk() {
                carries_traffic($implementation, V6, 0, true);
            }

            #[test]
            fn over_v6_they_initiate() {
                carries_traffic($implementation, V6, 1, false);
            }

            #[test]
            fn over_v6_they_initiate_with_psk() {
                carries_traffic($implementation, V6, 1, true);
            }
        }
    };
}

cases!(ringfort, Implementation::Ringfort);
cases!(wireguard_go, Implementation::WireguardGo);
cases!(boringtun, Implementation::Boringtun);
cases!(gotatun, Implementation::Gotatun);

/// Jumbo frames outside, a tunnel that fills them; and a tunnel larger than what carries it, so the outer
/// datagrams are fragmented.
fn carries_large_packets(implementation: Implementation, wire_mtu: u32, tunnel_mtu: u32) {
    let tunnel = Tunnel::new([&us_measured(), &peer(implementation)]).unwrap();
    tunnel.wire.set_mtu(wire_mtu).unwrap();
    tunnel.set_mtu(tunnel_mtu).unwrap();
    wg::connect(&tunnel, &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    for inner in [Family::V4, Family::V6] {
        exchange(&tunnel, inner, tunnel_mtu as usize, TCP_BYTES);
    }
}

#[test]
fn jumbo_frames_between_us() {
    carries_large_packets(Implementation::Ringfort, 9_000, 8_920);
}

#[test]
fn jumbo_frames_with_wireguard_go() {
    carries_large_packets(Implementation::WireguardGo, 9_000, 8_920);
}

#[test]
fn fragmented_datagrams_between_us() {
    carries_large_packets(Implementation::Ringfort, 1_500, 4_000);
}

#[test]
fn the_largest_interface_between_us() {
    carries_large_packets(Implementation::Ringfort, 65_535, 32_000);
}
