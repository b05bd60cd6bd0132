//! Datagrams from someone who has no session: each is dropped under its name, and the tunnel beside them loses nothing.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringfort_core::crypto;
use ringfort_testbed::payload::Dice;
use ringfort_testbed::ping::Background;
use ringfort_testbed::tunnel::{MTU, Peering};
use ringfort_testbed::{Family, Tunnel};

use crate::harness::traffic::{OPENING, PATIENCE, exchange};
use crate::harness::{drops, eventually, us, wg};

const INITIATION_LEN: usize = 148;
const RESPONSE_LEN: usize = 92;
const COOKIE_REPLY_LEN: usize = 64;
const MAC1_OFFSET: usize = 116;
/// What an initiation under the second cipher suite begins with.
const MARKED: [u8; 4] = *b"\x01GCM";

/// An open tunnel with a ping that runs while others do their worst.
struct Siege {
    tunnel: Tunnel,
    pings: Background,
    attacker: UdpSocket,
    target: SocketAddr,
}

impl Siege {
    fn lay(outer: Family) -> Self {
        let tunnel = Tunnel::connected([&us(), &us()], &Peering { outer, ..Peering::default() }).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
        let inner = tunnel.sides[0].inner(Family::V4);
        let pings = Background::start(tunnel.namespace(1), inner, Duration::from_millis(2), PATIENCE).unwrap();
        let from = SocketAddr::new(tunnel.sides[1].outer(outer), 0);
        let attacker = tunnel.namespace(1).enter(|| UdpSocket::bind(from)).unwrap();
        let target = tunnel.sides[0].endpoint(outer);
        Self { tunnel, pings, attacker, target }
    }

    fn interface(&self) -> &str {
        &self.tunnel.sides[0].interface
    }

    fn send(&self, datagram: &[u8]) {
        self.attacker.send_to(datagram, self.target).unwrap();
    }

    /// No ping was lost, the gateway lives, and everything still works.
    fn lift(mut self) {
        let tally = self.pings.finish_later();
        assert!(tally.sent > 20, "{tally:?}");
        assert!(tally.lost.is_empty(), "pings were lost: {tally:?}");
        assert!(self.tunnel.sides[0].daemon().is_running());
        exchange(&self.tunnel, Family::V4, MTU as usize, 200_000);
        let peer = wg::only_peer(&self.tunnel.sides[0].interface).unwrap();
        assert!(peer.endpoint.ends_with(":51820"), "the peer was moved to {}", peer.endpoint);
    }
}

/// A message of `len` bytes whose first four are the type and the reserved ones.
fn message(kind: [u8; 4], len: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.bytes(len);
    let head = len.min(4);
    bytes[..head].copy_from_slice(&kind[..head]);
    bytes
}

/// Each reason with datagrams that must be dropped for it.
fn cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut dice = Dice::new(1);
    let mut all = |kinds: &[[u8; 4]], lengths: &[usize]| -> Vec<Vec<u8>> {
        let pairs = kinds.iter().flat_map(|kind| lengths.iter().map(move |len| (*kind, *len)));
        pairs.map(|(kind, len)| message(kind, len, &mut dice)).collect()
    };
    let unknown = [[0; 4], [5, 0, 0, 0], [255, 0, 0, 0]];
    // An initiation may be marked with the second cipher suite, but not nearly, and nothing else may be.
    let reserved =
        [[1, 1, 0, 0], [2, 0, 1, 0], [3, 0, 0, 1], [4, 255, 255, 255], *b"\x01GCL", *b"\x02GCM", *b"\x04GCM"];
    let mut bad_lengths = all(&[[1, 0, 0, 0], MARKED], &[4, INITIATION_LEN - 1, INITIATION_LEN + 1, 1_400]);
    bad_lengths.extend(all(&[[2, 0, 0, 0]], &[4, RESPONSE_LEN - 1, RESPONSE_LEN + 1, INITIATION_LEN]));
    bad_lengths.extend(all(&[[3, 0, 0, 0]], &[4, COOKIE_REPLY_LEN - 1, COOKIE_REPLY_LEN + 1, INITIATION_LEN]));
    bad_lengths.extend(all(&[[4, 0, 0, 0]], &[4, 15, 16, 31]));
    vec![
        ("runt", all(&[[1, 0, 0, 0], [4, 0, 0, 0]], &[0, 1, 2, 3])),
        ("unknown_type", all(&unknown, &[4, 32, 148, 1_452])),
        ("bad_reserved", all(&reserved, &[32, 64, 92, 148, 1_452])),
        ("bad_length", bad_lengths),
        ("bad_mac1", all(&[[1, 0, 0, 0], MARKED], &[INITIATION_LEN; 20])),
        ("unknown_index", all(&[[2, 0, 0, 0]], &[RESPONSE_LEN; 2])),
        ("unknown_index", all(&[[4, 0, 0, 0]], &[32, 33, 48, 1_452, 1_472])),
    ]
}

#[test]
fn malformed_datagrams_are_dropped_by_name() {
    for outer in [Family::V4, Family::V6] {
        let siege = Siege::lay(outer);
        for (reason, datagrams) in cases() {
            let before = drops(siege.interface(), reason);
            for datagram in &datagrams {
                siege.send(datagram);
            }
            let expected = before + datagrams.len() as u64;
            eventually(PATIENCE, reason, || drops(siege.interface(), reason) >= expected);
            assert_eq!(drops(siege.interface(), reason), expected, "{reason}");
        }
        siege.lift();
    }
}

/// Larger than any packet of the tunnel, up to what UDP can carry; fragmented on the way.
#[test]
fn the_largest_datagrams_are_survived() {
    for outer in [Family::V4, Family::V6] {
        let siege = Siege::lay(outer);
        let mut dice = Dice::new(2);
        let total = || {
            let stats = ringfort_testbed::uapi::stats(siege.interface()).unwrap();
            ["unknown_index", "bad_length", "truncated_datagram", "oversized"]
                .map(|reason| stats.get(&format!("drop_{reason}")).copied().unwrap_or(0))
                .iter()
                .sum::<u64>()
        };
        let before = total();
        for len in [2_049, 9_000, 65_000, 65_507] {
            for kind in [1, 4] {
                siege.send(&message([kind, 0, 0, 0], len, &mut dice));
                sleep(Duration::from_millis(20));
            }
        }
        eventually(PATIENCE, "all eight are counted", || total() == before + 8);
        siege.lift();
    }
}

/// A cookie reply that nobody waits for changes nothing.
#[test]
fn unexpected_cookie_replies_change_nothing() {
    let siege = Siege::lay(Family::V4);
    let mut dice = Dice::new(3);
    let count = || drops(siege.interface(), "unknown_index") + drops(siege.interface(), "invalid_cookie_reply");
    let before = count();
    for _ in 0..50 {
        siege.send(&message([3, 0, 0, 0], COOKIE_REPLY_LEN, &mut dice));
    }
    eventually(PATIENCE, "all fifty are counted", || count() == before + 50);
    siege.lift();
}

/// Initiations with a correct mac1, for which anyone needs only our public key, and nonsense inside; every second one
/// is marked with the second cipher suite.
fn initiations(tunnel: &Tunnel, count: usize) -> Vec<Vec<u8>> {
    let public = tunnel.sides[0].keys.public.0;
    let key = crypto::hash(&[b"mac1----", &public]);
    let mut dice = Dice::new(4);
    let make = |number: usize| {
        let kind = [[1, 0, 0, 0], MARKED][number % 2];
        let mut initiation = message(kind, INITIATION_LEN, &mut dice);
        let mac1 = crypto::mac(&key, &[&initiation[..MAC1_OFFSET]]);
        initiation[MAC1_OFFSET..MAC1_OFFSET + 16].copy_from_slice(&mac1);
        initiation[MAC1_OFFSET + 16..].fill(0);
        initiation
    };
    (0..count).map(make).collect()
}

#[test]
fn initiations_that_do_not_decrypt_are_dropped_by_name() {
    let siege = Siege::lay(Family::V4);
    let reasons = || drops(siege.interface(), "bad_handshake");
    let before = reasons();
    // One by one, so the gateway is not under load and answers no cookies.
    for (number, initiation) in (1..).zip(initiations(&siege.tunnel, 20)) {
        siege.send(&initiation);
        eventually(PATIENCE, "each is counted", || reasons() == before + number);
    }
    siege.lift();
}

/// Whoever does not know our key cannot make us demand cookies of honest peers: their first handshakes take no longer.
#[test]
fn bursts_of_nonsense_are_no_load() {
    let siege = Siege::lay(Family::V4);
    let mut dice = Dice::new(6);
    let nonsense: Vec<Vec<u8>> = [(1, INITIATION_LEN), (2, RESPONSE_LEN), (3, COOKIE_REPLY_LEN)]
        .into_iter()
        .cycle()
        .take(1_500)
        .map(|(kind, len)| message([kind, 0, 0, 0], len, &mut dice))
        .collect();
    let plausible = initiations(&siege.tunnel, 60);
    let dropped = |reason| drops(siege.interface(), reason);
    let before = dropped("bad_handshake");
    // An honest message in the midst of each burst, which is decrypted and not asked for a cookie.
    for (honest, number) in plausible.iter().zip(1..) {
        nonsense.iter().for_each(|datagram| siege.send(datagram));
        // The socket may have been full.
        eventually(PATIENCE, "an honest message is looked at", || {
            siege.send(honest);
            dropped("bad_handshake") >= before + number
        });
    }
    assert!(dropped("bad_mac1") > 10_000, "{}", dropped("bad_mac1"));
    assert_eq!(dropped("cookie_required"), 0);
    siege.lift();
}

/// As many as the attacker can send, from many ports: control is busy, the tunnel is not.
#[test]
fn a_flood_of_initiations_does_not_touch_the_tunnel() {
    let mut siege = Siege::lay(Family::V4);
    let initiations = initiations(&siege.tunnel, 20_000);
    let memory_before = siege.tunnel.sides[0].daemon().memory_kib().unwrap();
    let from = SocketAddr::new(siege.tunnel.sides[1].outer(Family::V4), 0);
    let bind = || siege.tunnel.namespace(1).enter(|| UdpSocket::bind(from)).unwrap();
    let attackers: Vec<UdpSocket> = std::iter::repeat_with(bind).take(50).collect();
    let counted = || {
        let reasons = ["bad_handshake", "cookie_required", "cookie_budget", "rate_limited", "handshake_queue_full"];
        reasons.iter().map(|reason| drops(siege.interface(), reason)).sum::<u64>()
    };
    let flood = || {
        for (batch, initiations) in initiations.chunks(600).enumerate() {
            let goal = counted() + 300;
            for (index, initiation) in initiations.iter().enumerate() {
                let _ = attackers[(batch + index) % attackers.len()].send_to(initiation, siege.target);
            }
            // Without optimisation a gateway may be slower than we are. Then the pings would wait behind the flood.
            let sent = Instant::now();
            while counted() < goal && sent.elapsed() < Duration::from_millis(200) {
                sleep(Duration::from_millis(5));
            }
        }
    };
    // A gateway that is not run drops them in its sockets.
    eventually(Duration::from_secs(100), "more than half of a flood is counted", || {
        flood();
        counted() > 10_000
    });
    let memory_after = siege.tunnel.sides[0].daemon().memory_kib().unwrap();
    assert!(memory_after < memory_before + 4_096, "memory grew from {memory_before} to {memory_after} KiB");
    // Only what answers an initiation may come back, and it is smaller: nobody is amplified.
    for attacker in &attackers {
        attacker.set_nonblocking(true).unwrap();
        let mut buffer = [0; 2_048];
        while let Ok(len) = attacker.recv(&mut buffer) {
            assert_eq!((buffer[0], len), (3, COOKIE_REPLY_LEN), "an answer to a stranger that is no cookie reply");
        }
    }
    siege.lift();
}

#[test]
fn random_datagrams_are_survived() {
    let siege = Siege::lay(Family::V4);
    let mut dice = Dice::new(5);
    for round in 0..10_000 {
        let len = dice.below(if round % 10 == 0 { 4_000 } else { 200 });
        let mut datagram = dice.bytes(len);
        if round % 3 != 0 && len >= 4 {
            // Most of it gets past the first check.
            let kind = [1 + dice.below(4) as u8, 0, 0, 0];
            datagram[..4].copy_from_slice(if dice.below(8) == 0 { &MARKED } else { &kind });
        }
        siege.send(&datagram);
        if round % 64 == 0 {
            sleep(Duration::from_millis(2));
        }
    }
    siege.lift();
}

/// Someone with valid keys of whom we know nothing.
#[test]
fn an_unknown_peer_gets_no_session() {
    let tunnel = Tunnel::new([&us(), &us()]).unwrap();
    tunnel.configure(1, &Peering::default()).unwrap();
    let key = tunnel.sides[0].keys.private.base64();
    wg::wg_with_input(&format!("set {} listen-port 51820 private-key /dev/stdin", tunnel.sides[0].interface), &key)
        .unwrap();
    assert!(tunnel.wait_until_open(1, Duration::from_secs(2)).is_err());
    eventually(PATIENCE, "it is counted", || drops(&tunnel.sides[0].interface, "unknown_peer") > 0);
    assert_eq!(wg::only_peer(&tunnel.sides[1].interface).unwrap().latest_handshake, 0);
}

/// Two that do not agree on the preshared key.
#[test]
fn a_wrong_preshared_key_makes_no_session() {
    let tunnel = Tunnel::new([&us(), &us()]).unwrap();
    tunnel.configure(0, &Peering { preshared: true, ..Peering::default() }).unwrap();
    tunnel.configure(1, &Peering::default()).unwrap();
    assert!(tunnel.wait_until_open(0, Duration::from_secs(2)).is_err());
    assert!(tunnel.wait_until_open(1, Duration::from_secs(2)).is_err());
    let refused = || [0, 1].map(|side| drops(&tunnel.sides[side].interface, "bad_handshake"));
    eventually(PATIENCE, "it is counted", || refused().iter().sum::<u64>() > 0);
    for side in &tunnel.sides {
        assert_eq!(wg::only_peer(&side.interface).unwrap().latest_handshake, 0);
    }
}

/// An authenticated peer that sends from an address that is not its own, and packets of ours that nobody owns.
#[test]
fn addresses_that_nobody_may_use_are_dropped_by_name() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let [ours, theirs] = [0, 1].map(|side| tunnel.sides[side].interface.as_str());
    tunnel.namespace(1).add_address(theirs, "10.77.0.99".parse().unwrap(), 24).unwrap();
    let stranger = tunnel.namespace(1).enter(|| UdpSocket::bind("10.77.0.99:0")).unwrap();
    let sender = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    let receiver = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:4444")).unwrap();
    let mut before = BTreeMap::new();
    for reason in ["source_not_allowed", "no_route"] {
        before.insert(reason, drops(ours, reason));
    }
    for _ in 0..10 {
        stranger.send_to(b"not mine to send", "10.77.0.1:4444").unwrap();
        sender.send_to(b"to nobody", "10.77.0.200:9").unwrap();
    }
    for (reason, before) in before {
        eventually(PATIENCE, reason, || drops(ours, reason) >= before + 10);
    }
    receiver.set_nonblocking(true).unwrap();
    assert!(receiver.recv(&mut [0; 100]).is_err(), "it must not have been delivered");
}
