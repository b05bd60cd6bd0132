//! Gateways that end and come back: the tunnel recovers without help.

use std::time::Duration;

use ringfort_testbed::tunnel::{MTU, Peering};
use ringfort_testbed::{Family, Implementation, Tunnel};

use crate::harness::traffic::{AT_ONCE, OPENING, exchange};
use crate::harness::{peer, us};

/// Who still has a session notices after KEEPALIVE_TIMEOUT + REKEY_TIMEOUT that nobody answers, and may lose
/// handshakes.
const AFTER_SILENCE: Duration = Duration::from_secs(15 + 14);

const TCP_BYTES: u64 = 200_000;

fn restart(tunnel: &mut Tunnel, side: usize, crash: bool) {
    let daemon = tunnel.sides[side].daemon.take().unwrap();
    if crash { daemon.kill() } else { daemon.stop() }.unwrap();
    tunnel.start(side).unwrap();
    tunnel.configure(side, &Peering::default()).unwrap();
}

fn recovers(partner: Implementation, restarted: usize, crash: bool, first_to_send: usize) {
    let mut tunnel = Tunnel::connected([&us(), &peer(partner)], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    restart(&mut tunnel, restarted, crash);
    // Who has no session any more initiates at its first packet.
    let patience = if first_to_send == restarted { AT_ONCE } else { AFTER_SILENCE };
    tunnel.wait_until_open(first_to_send, patience).unwrap();
    exchange(&tunnel, Family::V4, MTU as usize, TCP_BYTES);
}

#[test]
fn a_peer_of_ours_restarts_and_speaks_first() {
    recovers(Implementation::Ringfort, 1, false, 1);
}

#[test]
fn a_peer_of_ours_restarts_and_is_spoken_to() {
    recovers(Implementation::Ringfort, 1, false, 0);
}

#[test]
fn wireguard_go_restarts_and_speaks_first() {
    recovers(Implementation::WireguardGo, 1, false, 1);
}

#[test]
fn wireguard_go_crashes_and_is_spoken_to() {
    recovers(Implementation::WireguardGo, 1, true, 0);
}

#[test]
fn we_crash_and_speak_first() {
    recovers(Implementation::WireguardGo, 0, true, 0);
}

#[test]
fn we_crash_and_are_spoken_to() {
    recovers(Implementation::WireguardGo, 0, true, 1);
}

/// A crash leaves the socket's file behind: the next start replaces it, and says so to nobody.
#[test]
fn a_stale_socket_is_replaced() {
    let mut tunnel = Tunnel::new([&us(), &us()]).unwrap();
    for _ in 0..3 {
        let daemon = tunnel.sides[0].daemon.take().unwrap();
        daemon.kill().unwrap();
        let socket = ringfort_testbed::uapi::socket_path(&tunnel.sides[0].interface);
        assert!(socket.exists(), "SIGKILL leaves no time to remove {}", socket.display());
        tunnel.start(0).unwrap();
    }
}
