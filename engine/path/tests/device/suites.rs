//! Cipher suites: who agrees has a session, who does not learns why, and nobody else notices.

use std::time::Duration;

use ringfort_core::constants::{PEERS_MAX, SUITE_NOTICE_INTERVAL};
use ringfort_core::cookie::CookieGenerator;
use ringfort_core::crypto::{PresharedKey, PublicKey};
use ringfort_core::device::{Device, Notice, PeerSettingsFull};
use ringfort_core::drops::DropReason;
use ringfort_core::suite::Suite::{self, Aes256Gcm, ChaCha20Poly1305};

use crate::{Node, Pair, START, kinds};

const SECOND: Duration = Duration::from_secs(1);

impl Pair {
    /// What each uses with the other.
    fn set_suites(&mut self, at_a: Suite, at_b: Suite) {
        let [a, b] = [self.a.public(), self.b.public()];
        for (node, other, suite) in [(&mut self.a, b, at_a), (&mut self.b, a, at_b)] {
            node.device.set_peer_suite(node.now.mono, other, Some(suite)).unwrap();
            node.settle();
        }
    }
}

fn refused(node: &Node) -> u64 {
    node.device.drops().get(DropReason::SuiteMismatch)
}

fn mismatch(ours: Suite, theirs: Suite) -> Notice {
    Notice::SuiteMismatch { ours, theirs }
}

#[test]
fn only_the_initiation_is_marked() {
    for &suite in Suite::ALL {
        let mut pair = Pair::new();
        pair.set_suites(suite, suite);
        pair.offer_a();
        let sent = pair.exchange();
        assert_eq!(kinds(&sent), [1, 2, 4]);
        assert_eq!(sent[0].bytes[1..4], suite.marker());
        assert!(sent[1..].iter().all(|message| message.bytes[1..4] == [0; 3]));
        assert_eq!(pair.b.delivered.len(), 1);
        assert!(pair.a.notices.is_empty() && pair.b.notices.is_empty());
    }
}

#[test]
fn a_mismatch_is_refused_and_both_sides_are_told() {
    for (at_a, at_b) in [(Aes256Gcm, ChaCha20Poly1305), (ChaCha20Poly1305, Aes256Gcm)] {
        let mut pair = Pair::new();
        pair.set_suites(at_a, at_b);
        pair.offer_a();
        let sent = pair.exchange();
        assert_eq!(kinds(&sent), [1, 1], "the refusal is shown by asking in turn, and not answered");
        assert_eq!(sent[0].bytes[1..4], at_a.marker());
        assert_eq!((&sent[1].bytes[1..4], sent[1].to), (&at_b.marker()[..], pair.a.address));
        assert!(sent[1].bytes.len() <= sent[0].bytes.len(), "no amplification");
        assert_eq!((refused(&pair.a), refused(&pair.b)), (1, 1));
        assert_eq!(pair.a.notices, [(pair.b.public(), mismatch(at_a, at_b))]);
        assert_eq!(pair.b.notices, [(pair.a.public(), mismatch(at_b, at_a))]);
        for (node, peer) in [(&pair.a, pair.b_at_a), (&pair.b, pair.a_at_b)] {
            assert!(!node.has_sending_session(peer) && node.receiving_sessions() == 0);
        }
        let status = pair.b.device.status(pair.a_at_b).unwrap();
        assert_eq!((status.endpoint(), status.traffic().rx_bytes), (None, 0), "nothing else changes");
    }
}

#[test]
fn one_attempt_is_one_notice_and_then_there_is_silence() {
    let mut pair = Pair::new();
    pair.set_suites(ChaCha20Poly1305, Aes256Gcm);
    pair.offer_a();
    let sent = pair.run_until(START + 3_000 * SECOND);
    let from_b = sent.iter().filter(|sent| sent.from == pair.b.address).count();
    assert_eq!(from_b, 1, "we asked once, for all of the peer's attempt");
    assert_eq!(sent.len() - from_b, 18, "the peer's attempt is one of 90 s");
    assert_eq!((pair.a.notices.len(), pair.b.notices.len()), (1, 1));
    assert_eq!((refused(&pair.a), refused(&pair.b)), (1, 18));
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.device.poll_timeout(), None, "nothing is left to wait for");
        node.check();
    }
    pair.offer_a();
    pair.exchange();
    assert_eq!((pair.a.notices.len(), pair.b.notices.len()), (2, 2), "the next attempt is told again");
}

#[test]
fn who_asks_anyway_does_not_ask_for_the_sake_of_showing_it() {
    let mut pair = Pair::new();
    pair.set_suites(ChaCha20Poly1305, Aes256Gcm);
    pair.b.device.set_endpoint(START, pair.a_at_b, pair.a.address);
    pair.b.settle();
    pair.offer_a();
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [1, 1]);
    assert_eq!((refused(&pair.a), refused(&pair.b)), (1, 1));
    assert_eq!((pair.a.notices.len(), pair.b.notices.len()), (1, 1));
}

#[test]
fn a_replayed_mismatch_is_a_replay() {
    let mut pair = Pair::new();
    pair.set_suites(ChaCha20Poly1305, Aes256Gcm);
    pair.offer_a();
    let sent = pair.exchange();
    pair.b.advance_to(START + SUITE_NOTICE_INTERVAL + SECOND);
    let stranger = "203.0.113.9:1".parse().unwrap();
    assert_eq!(pair.b.receive(stranger, &sent[0].bytes), Err(DropReason::HandshakeReplay));
    assert!(pair.b.take_sent().is_empty() && pair.b.notices.len() == 1, "nobody can have it told again");
    // Nor after the peer was set right.
    pair.set_suites(ChaCha20Poly1305, ChaCha20Poly1305);
    assert_eq!(pair.b.receive(stranger, &sent[0].bytes), Err(DropReason::HandshakeReplay));
}

#[test]
fn a_changed_marker_makes_a_message_that_does_not_open() {
    for (suite, other) in [(Aes256Gcm, ChaCha20Poly1305), (ChaCha20Poly1305, Aes256Gcm)] {
        for at_b in [suite, other] {
            let mut pair = Pair::new();
            pair.set_suites(suite, at_b);
            pair.offer_a();
            let mut sent = pair.a.take_sent().remove(0);
            sent.bytes[1..4].copy_from_slice(&other.marker());
            assert_eq!(pair.b.receive(sent.from, &sent.bytes), Err(DropReason::BadMac1));
            // mac1 takes no more than our public key.
            CookieGenerator::new(&pair.b.public()).add_macs(START, &mut sent.bytes);
            assert_eq!(pair.b.receive(sent.from, &sent.bytes), Err(DropReason::BadHandshake));
            assert!(pair.b.notices.is_empty() && pair.b.take_sent().is_empty());
        }
    }
}

#[test]
fn claiming_to_be_a_peer_under_another_suite_tells_nobody() {
    // Who knows both public keys can seal the static key of a peer, but not the timestamp.
    let mut pair = Pair::new();
    pair.set_suites(ChaCha20Poly1305, Aes256Gcm);
    pair.offer_a();
    let mut sent = pair.a.take_sent().remove(0);
    sent.bytes[100] ^= 1;
    CookieGenerator::new(&pair.b.public()).add_macs(START, &mut sent.bytes);
    assert_eq!(pair.b.receive(sent.from, &sent.bytes), Err(DropReason::BadHandshake));
    assert!(pair.b.notices.is_empty() && pair.b.take_sent().is_empty());
}

#[test]
fn set_right_under_way_the_tunnel_opens_at_once() {
    for at_b in [ChaCha20Poly1305, Aes256Gcm] {
        let mut pair = Pair::new();
        let at_a = if at_b == Aes256Gcm { ChaCha20Poly1305 } else { Aes256Gcm };
        pair.set_suites(at_a, at_b);
        pair.offer_a();
        pair.exchange();
        pair.advance_to(START + SECOND);
        pair.set_suites(at_b, at_b);
        assert_eq!(kinds(&pair.exchange()), [1, 2, 4], "the packet that waited is not forgotten");
        assert_eq!(pair.b.delivered.len(), 1);
    }
}

#[test]
fn a_live_change_ends_the_sessions_of_that_peer_alone() {
    let mut pair = Pair::connected();
    pair.advance_to(START + SECOND);
    let third = Node::new(3, START + SECOND);
    pair.a.add_peer(&third, true);
    pair.a.send_packet(&crate::inner_packet(pair.a.inner, third.inner, 9));
    pair.a.settle();
    assert_eq!(kinds(&pair.a.take_sent()), [1]);

    let sessions = pair.a.receiving_sessions();
    pair.a.device.set_peer_suite(START, third.public(), Some(Aes256Gcm)).unwrap();
    pair.a.settle();
    assert_eq!(pair.a.receiving_sessions(), sessions);
    assert_eq!(pair.a.take_sent()[0].bytes[..4], *b"\x01GCM", "its attempt begins again");
    pair.offer_a();
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [4, 4], "the other peer noticed nothing");

    pair.a.device.set_suite(START, ChaCha20Poly1305);
    let public = pair.b.public();
    pair.a.device.set_peer_suite(START, public, Some(ChaCha20Poly1305)).unwrap();
    pair.a.settle();
    assert_eq!(pair.a.receiving_sessions(), sessions, "what it had by default is no change");
    pair.a.device.set_peer_suite(pair.a.now.mono, public, Some(Aes256Gcm)).unwrap();
    pair.a.settle();
    assert_eq!((pair.a.receiving_sessions(), pair.a.has_sending_session(pair.b_at_a)), (0, false));
    pair.b.device.set_peer_suite(pair.b.now.mono, pair.a.public(), Some(Aes256Gcm)).unwrap();
    pair.b.settle();
    assert_eq!(kinds(&pair.exchange())[..2], [1, 1], "both ask at once, instead of sending what the other cannot open");
    pair.offer_b();
    pair.exchange();
    assert_eq!(pair.a.delivered.len(), 2);
}

#[test]
fn a_peer_of_its_own_suite_does_not_follow_the_interface() {
    let mut pair = Pair::connected();
    pair.advance_to(START + SECOND);
    let (a, b) = (pair.a.public(), pair.b.public());
    pair.a.device.set_peer_suite(START, b, Some(ChaCha20Poly1305)).unwrap();
    pair.a.device.set_suite(START, Aes256Gcm);
    pair.a.settle();
    assert!(pair.a.has_sending_session(pair.b_at_a));
    let later = pair.a.device.add_peer(PublicKey::new([9; 32])).unwrap();
    let suite = |pair: &Pair, peer| pair.a.device.status(peer).unwrap().suite();
    assert_eq!((suite(&pair, pair.b_at_a), suite(&pair, later)), (ChaCha20Poly1305, Aes256Gcm));

    pair.a.device.set_peer_suite(START, b, None).unwrap();
    pair.b.device.set_suite(START, Aes256Gcm);
    pair.a.settle();
    pair.b.settle();
    assert_eq!(pair.a.device.peer_suite(&b), None);
    assert_eq!(pair.b.device.peer_suite(&a), None);
    assert!(!pair.a.has_sending_session(pair.b_at_a));
    pair.offer_a();
    let sent = pair.exchange();
    assert!(sent.iter().filter(|sent| sent.kind() == 1).all(|sent| sent.bytes[1..4] == Aes256Gcm.marker()));
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_suite_waits_for_its_peer_and_outlives_it() {
    let mut device = Device::new(1);
    let key = PublicKey::new([5; 32]);
    device.set_peer_suite(START, key, Some(Aes256Gcm)).unwrap();
    for _ in 0..2 {
        let peer = device.add_peer(key).unwrap();
        assert_eq!(device.status(peer).unwrap().suite(), Aes256Gcm);
        device.remove_peer(peer);
        while device.poll_action().is_some() {}
    }
    assert_eq!(device.peer_suites().collect::<Vec<_>>(), [(&key, Aes256Gcm)]);
    device.set_peer_suite(START, key, None).unwrap();
    let peer = device.add_peer(key).unwrap();
    assert_eq!((device.status(peer).unwrap().suite(), device.peer_suites().count()), (ChaCha20Poly1305, 0));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut device = Device::new(1);
    let key = |number: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        PublicKey::new(key)
    };
    for number in 0..PEERS_MAX {
        device.set_peer_suite(START, key(number), Some(Aes256Gcm)).unwrap();
    }
    assert_eq!(device.set_peer_suite(START, key(PEERS_MAX), Some(Aes256Gcm)), Err(PeerSettingsFull));
    assert_eq!(device.peer_suite(&key(PEERS_MAX)), None);
    assert_eq!(device.set_peer_suite(START, key(0), Some(ChaCha20Poly1305)), Ok(()), "it has a place");
    assert_eq!(device.set_peer_suite(START, key(PEERS_MAX), None), Ok(()));
    device.set_peer_suite(START, key(0), None).unwrap();
    assert_eq!(device.set_peer_suite(START, key(PEERS_MAX), Some(Aes256Gcm)), Ok(()));
}

#[test]
fn a_peer_that_does_not_know_the_suite_is_said_to_be_silent() {
    for (suite, notices) in [(Aes256Gcm, 1), (ChaCha20Poly1305, 0)] {
        let mut a = Node::new(1, START);
        a.device.set_suite(START, suite);
        let peer = a.add_peer_as(PublicKey::new([9; 32]), [10, 0, 0, 9].into(), Some("192.0.2.9:1".parse().unwrap()));
        // Traffic all the time, so no attempt ever ends.
        for second in 0..600u32 {
            a.send_packet(&crate::inner_packet(a.inner, [10, 0, 0, 9].into(), second));
            a.advance_to(START + second * SECOND);
            let told = if second < 20 { 0 } else { notices };
            assert!(a.notices.len() <= told && (second < 26 || a.notices.len() == told), "after {second} s");
        }
        assert!(a.notices.iter().all(|(_, notice)| *notice == Notice::SuiteSilence { suite }));
        assert!(!a.has_sending_session(peer));
    }
}

#[test]
fn preshared_keys_and_cookies_work_in_every_suite() {
    for &suite in Suite::ALL {
        let mut pair = Pair::new();
        pair.set_suites(suite, suite);
        pair.b.under_load = true;
        pair.a.device.set_psk(pair.b_at_a, PresharedKey::new([7; 32]));
        pair.offer_a();
        assert_eq!(kinds(&pair.exchange()), [1, 3], "a cookie comes before any suite");
        assert_eq!(kinds(&pair.run_until(START + 6 * SECOND)), [1, 2], "another preshared key");
        pair.b.device.set_psk(pair.a_at_b, PresharedKey::new([7; 32]));
        assert_eq!(kinds(&pair.run_until(START + 12 * SECOND)), [1, 2, 4]);
    }
}
