//! Peers change while others carry traffic: nobody else notices.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use ringfort_testbed::ping::{self, Background, Pinger};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, Key, KeyPair, Tunnel, uapi};

use crate::harness::traffic::{AT_ONCE, OPENING, PATIENCE};
use crate::harness::{peer, us, wg};

fn open(partner: Implementation) -> Tunnel {
    let tunnel = Tunnel::connected([&us(), &peer(partner)], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel
}

/// Pings from the far side while `change` works on ours; none may be lost, and no new handshake may be needed.
fn disturbs_nobody(change: impl FnOnce(&str)) {
    let tunnel = open(Implementation::Ringfort);
    let interface = &tunnel.sides[0].interface;
    let handshake = wg::only_peer(interface).unwrap().latest_handshake;
    let inner = tunnel.sides[0].inner(Family::V4);
    let pings = Background::start(tunnel.namespace(1), inner, Duration::from_millis(1), PATIENCE).unwrap();
    change(interface);
    let tally = pings.finish_later();
    assert!(tally.sent > 10, "{tally:?}");
    assert!(tally.lost.is_empty(), "pings were lost: {tally:?}");
    let key = tunnel.sides[1].keys.public.base64();
    let peers = wg::peers(interface).unwrap();
    let ours = peers.iter().find(|peer| peer.public_key == key).unwrap();
    assert_eq!(ours.latest_handshake, handshake, "the session was replaced");
}

#[test]
fn three_hundred_peers_come_and_go() {
    disturbs_nobody(|interface| {
        let keys: Vec<Key> = (0..300).map(|_| KeyPair::random().unwrap().public).collect();
        for (number, key) in keys.iter().enumerate() {
            let lines = format!("public_key={}\nallowed_ip=10.78.{}.{}/32\n", key.hex(), number / 250, number % 250);
            uapi::set(interface, &lines).unwrap();
        }
        assert_eq!(wg::peers(interface).unwrap().len(), 301);
        for key in &keys {
            uapi::set(interface, &format!("public_key={}\nremove=true\n", key.hex())).unwrap();
        }
        assert_eq!(wg::peers(interface).unwrap().len(), 1);
    });
}

#[test]
fn another_peer_changes_in_every_way() {
    disturbs_nobody(|interface| {
        let key = KeyPair::random().unwrap().public.hex();
        for round in 0..100 {
            let mut lines = format!("public_key={key}\n");
            let _ = writeln!(lines, "preshared_key={}", Key::random().unwrap().hex());
            let _ = writeln!(lines, "cipher_suite={}", ["aes256gcm", "chacha20poly1305", "default"][round % 3]);
            let _ = writeln!(lines, "endpoint=10.200.0.{}:{}", 100 + round, 1_000 + round);
            let _ = writeln!(lines, "persistent_keepalive_interval={}", round % 3);
            let _ = writeln!(lines, "replace_allowed_ips=true\nallowed_ip=10.79.{round}.0/24\nallowed_ip=fd00:79::/64");
            uapi::set(interface, &lines).unwrap();
        }
    });
}

#[test]
fn a_hundred_thousand_prefixes_come_and_go() {
    disturbs_nobody(|interface| {
        let key = KeyPair::random().unwrap().public.hex();
        let mut lines = format!("public_key={key}\n");
        for number in 0..100_000_u32 {
            let [_, a, b, c] = number.to_be_bytes();
            let _ = writeln!(lines, "allowed_ip=11.{a}.{b}.{c}/32");
        }
        uapi::set(interface, &lines).unwrap();
        uapi::set(interface, &format!("public_key={key}\nremove=true\n")).unwrap();
    });
}

/// One client's request of 30,000 peers, and another client that looks at the counters meanwhile: it is served between
/// two parts of the request. The peer at work is not disturbed.
#[test]
fn a_large_request_keeps_nobody_waiting() {
    const PEERS: u64 = 30_000;
    disturbs_nobody(|interface| {
        let mut lines = String::new();
        for number in 0..PEERS {
            let _ = writeln!(lines, "public_key={:064x}", 0x10_0000 + number);
        }
        let seen = std::thread::scope(|scope| {
            let setting = scope.spawn(|| uapi::set(interface, &lines).unwrap());
            let mut seen = BTreeSet::new();
            while !setting.is_finished() {
                seen.insert(uapi::stats(interface).unwrap()["peers"]);
            }
            setting.join().unwrap();
            seen
        });
        let half_done = seen.range(2..=PEERS).count();
        assert!(half_done >= 3, "others were served at these counts of peers: {seen:?}");
        assert_eq!(wg::peers(interface).unwrap().len() as u64, PEERS + 1);
    });
}

/// The same value again is no change.
#[test]
fn repeating_the_configuration_changes_nothing() {
    disturbs_nobody(|interface| {
        let config = wg::wg(&format!("showconf {interface}")).unwrap();
        for _ in 0..20 {
            wg::wg_with_input(&format!("syncconf {interface} /dev/stdin"), &config).unwrap();
            wg::wg_with_input(&format!("addconf {interface} /dev/stdin"), &config).unwrap();
        }
    });
}

/// Crypto-routing: the longest prefix across all peers decides, and a prefix has one owner.
#[test]
fn a_prefix_that_moves_to_another_peer_and_back() {
    let tunnel = open(Implementation::Ringfort);
    let ours = &tunnel.sides[0].interface;
    let other = KeyPair::random().unwrap().public;
    let [them, other] = [tunnel.sides[1].keys.public.base64(), other.base64()];
    let target = tunnel.sides[1].inner(Family::V4);
    let reaches = |what: &str, expected: bool| {
        let patience = if expected { PATIENCE } else { Duration::from_millis(700) };
        let mut pinger = Pinger::new(tunnel.namespace(0), target).unwrap();
        assert_eq!(pinger.ping(56, patience).is_ok(), expected, "{what}");
    };
    reaches("at first", true);
    wg::wg(&format!("set {ours} peer {other} allowed-ips 10.77.0.2/32")).unwrap();
    reaches("while another owns the address", false);
    let first = wg::peers(ours).unwrap().into_iter().find(|peer| peer.public_key == them).unwrap();
    assert_eq!(first.allowed_ips, ["fd00:77::2/128"], "the prefix has one owner");
    wg::wg(&format!("set {ours} peer {them} allowed-ips 10.77.0.0/24,fd00:77::2/128")).unwrap();
    reaches("while another has the longer prefix", false);
    wg::wg(&format!("set {ours} peer {other} remove")).unwrap();
    reaches("when only the shorter prefix is left", true);
}

/// Both sides change what they know of the key; traffic is back as soon as a handshake takes.
#[test]
fn our_private_key_changes() {
    for partner in [Implementation::Ringfort, Implementation::WireguardGo] {
        let mut tunnel = open(partner);
        let old = tunnel.sides[0].keys.public.hex();
        tunnel.sides[0].keys = KeyPair::random().unwrap();
        let private = tunnel.sides[0].keys.private.base64();
        let ours = &tunnel.sides[0].interface;
        wg::wg_with_input(&format!("set {ours} private-key /dev/stdin"), &private).unwrap();
        uapi::set(&tunnel.sides[1].interface, &format!("public_key={old}\nremove=true\n")).unwrap();
        tunnel.configure(1, &Peering::default()).unwrap();
        tunnel.wait_until_open(1, AT_ONCE).unwrap_or_else(|error| panic!("{partner:?}: {error}"));
        tunnel.wait_until_open(0, OPENING).unwrap();
    }
}

/// A preshared key that is set on both sides takes effect with the next handshake, which both can make.
#[test]
fn a_preshared_key_is_added() {
    let tunnel = open(Implementation::WireguardGo);
    let preshared = Peering { preshared: true, ..Peering::default() };
    for side in [0, 1] {
        tunnel.configure(side, &preshared).unwrap();
    }
    tunnel.wait_until_open(0, OPENING).unwrap();
    let known = wg::only_peer(&tunnel.sides[0].interface).unwrap().preshared_key;
    assert_eq!(known, tunnel.preshared.base64());
}

/// Removed, nothing goes through; added again, it does.
#[test]
fn a_peer_is_removed_and_added_again() {
    let tunnel = open(Implementation::WireguardGo);
    let ours = &tunnel.sides[0].interface;
    let key = tunnel.sides[1].keys.public.base64();
    wg::wg(&format!("set {ours} peer {key} remove")).unwrap();
    assert!(wg::peers(ours).unwrap().is_empty());
    let target = tunnel.sides[1].inner(Family::V4);
    assert!(ping::until_answered(tunnel.namespace(0), target, Duration::from_millis(500)).is_err());
    tunnel.configure(0, &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
}
