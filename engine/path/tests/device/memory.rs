//! What is remembered of where peers were, and what the operator says to it.

use std::net::SocketAddr;
use std::time::Duration;

use ringfort_core::constants::RECOVERY_TIME;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::{Device, MemoryCursor, Remembered};
use ringfort_core::ids::{Endpoint, LocalAddr, PeerId};

use crate::{Node, Pair, START};

const KEY: PublicKey = PublicKey::new([5; 32]);
const DAY: u64 = 86_400;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn remembered(configured: Option<&str>) -> Remembered {
    let source = Some(LocalAddr { addr: [192, 0, 2, 7].into(), ifindex: 3 });
    let endpoint = Endpoint { remote: address("198.51.100.9:777"), source };
    Remembered { key: KEY, endpoint, configured: configured.map(address), gone_since: None }
}

/// A device that remembers a peer, and is then configured.
fn configured(before: Option<&str>, now: Option<&str>) -> (Device, PeerId) {
    let mut device = Device::new(1);
    device.remember([remembered(before)]);
    let peer = device.add_peer(KEY).unwrap();
    device.place_peer(START, peer, now.map(address));
    (device, peer)
}

fn endpoint(device: &Device, peer: PeerId) -> Option<Endpoint> {
    device.status(peer).and_then(|status| status.endpoint())
}

#[test]
fn who_says_something_new_is_right() {
    const A: &str = "203.0.113.1:51820";
    const C: &str = "203.0.113.3:51820";
    let seen = Some(remembered(None).endpoint);
    for (before, now, expected) in [
        (None, None, seen),
        (Some(A), Some(A), seen),
        (Some(A), None, seen),
        (None, Some(A), Some(Endpoint::new(address(A)))),
        (Some(A), Some(C), Some(Endpoint::new(address(C)))),
    ] {
        let (device, peer) = configured(before, now);
        assert_eq!(endpoint(&device, peer), expected, "{before:?} in the old file, {now:?} in the new one");
    }
}

/// The name of an endpoint is resolved when the peer is there already.
#[test]
fn a_name_that_is_resolved_late_says_no_more_than_at_the_start() {
    const A: &str = "203.0.113.1:51820";
    const C: &str = "203.0.113.3:51820";
    let seen = Some(remembered(None).endpoint);
    for (before, now, expected) in
        [(Some(A), A, seen), (Some(A), C, Some(Endpoint::new(address(C)))), (None, A, Some(Endpoint::new(address(A))))]
    {
        let (mut device, peer) = configured(before, None);
        device.place_peer_late(START, peer, address(now));
        assert_eq!(endpoint(&device, peer), expected, "{before:?} in the old file, {now} in the new one");
        let (mut rows, mut cursor) = (Vec::new(), MemoryCursor::default());
        while device.memory_page(&mut cursor, 1, 0, &mut rows) {}
        let says = rows.first().map(|row| row.configured);
        // Where the operator says so, there is nothing to remember.
        assert_eq!(says, (expected == seen).then_some(Some(address(now))));
    }
    let mut device = Device::new(1);
    let peer = device.add_peer(KEY).unwrap();
    device.place_peer_late(START, peer, address(A));
    assert_eq!(endpoint(&device, peer), Some(Endpoint::new(address(A))));
}

/// Who is not where he was is perhaps where he should be.
#[test]
fn where_nobody_answers_the_operator_is_asked() {
    let mut pair = Pair::connected();
    let configured = pair.b.address;
    // It moves for a while.
    pair.b.address.set_port(9);
    pair.offer_b();
    pair.exchange();
    pair.a.restart(5);
    pair.b.address = configured;
    let now = pair.a.now.mono;
    pair.offer_a();
    let mut seen = Vec::new();
    for seconds in 0..20 {
        pair.a.advance_to(now + Duration::from_secs(seconds));
        seen.extend(pair.a.take_sent().iter().map(|sent| sent.to.port()));
    }
    assert_eq!(seen, [9, 9, 9, configured.port()]);
}

#[test]
fn the_operator_s_own_source_counts() {
    let mut device = Device::new(1);
    device.remember([remembered(None)]);
    device.set_peer_source(KEY, Some([192, 0, 2, 8].into())).unwrap();
    let peer = device.add_peer(KEY).unwrap();
    device.place_peer(START, peer, None);
    let source = endpoint(&device, peer).and_then(|endpoint| endpoint.source);
    assert_eq!(source.map(|source| source.addr), Some([192, 0, 2, 8].into()));
}

/// What is set while the gateway runs is always obeyed.
#[test]
fn an_endpoint_that_is_set_later_is_news() {
    const A: &str = "203.0.113.1:51820";
    let (mut device, peer) = configured(Some(A), Some(A));
    device.set_endpoint(START, peer, address(A));
    assert_eq!(endpoint(&device, peer), Some(Endpoint::new(address(A))));
}

#[test]
fn a_page_has_what_was_learned_and_nothing_that_the_operator_says_anyway() {
    let mut pair = Pair::connected();
    // The first was told where the second is, and has learned no more.
    assert_eq!(pair.a.memory(), []);
    let expected = Remembered {
        key: pair.a.public(),
        endpoint: Endpoint::new(pair.a.address),
        configured: None,
        gone_since: None,
    };
    assert_eq!(pair.b.memory(), [expected]);
    pair.b.address.set_port(9);
    pair.offer_b();
    pair.exchange();
    let seen = Endpoint::new(pair.b.address);
    assert_eq!(pair.a.memory()[0].endpoint, seen);
    assert_eq!(pair.a.memory()[0].configured.map(|was| was.port()), Some(51_820));
}

#[test]
fn a_move_is_noted_whoever_sees_it() {
    let mut pair = Pair::connected();
    assert!(pair.b.device.take_moves(), "it has heard of the first");
    pair.offer_a();
    pair.exchange();
    assert!(!pair.b.device.take_moves(), "it has heard nothing new");
    pair.a.address.set_port(9);
    pair.offer_a();
    pair.exchange();
    assert!(pair.b.device.take_moves(), "a data message says so");
    let b = pair.a_at_b;
    pair.b.device.set_endpoint(pair.b.now.mono, b, address("203.0.113.1:1"));
    assert!(pair.b.device.take_moves(), "the operator says so");
    pair.b.device.remove_peer(b);
    assert!(pair.b.device.take_moves(), "there is one less");
}

#[test]
fn replaced_peers_are_remembered_and_removed_ones_are_not() {
    let mut pair = Pair::connected();
    let before = pair.b.memory();
    pair.b.device.remove_all_peers();
    pair.b.settle();
    let rows = pair.b.memory();
    assert_eq!((rows[0].key, rows[0].endpoint), (before[0].key, before[0].endpoint));
    assert!(rows[0].gone_since.is_some());
    let peer = pair.b.device.add_peer(pair.a.public()).unwrap();
    pair.b.device.place_peer(pair.b.now.mono, peer, None);
    pair.b.settle();
    assert_eq!(pair.b.memory(), before);
    // It still has its session, of which nobody else knows.
    assert!(pair.b.now.mono < START + RECOVERY_TIME);
    pair.offer_a();
    pair.exchange();
    assert!(pair.b.has_sending_session(peer));

    pair.b.device.remove_peer(peer);
    pair.b.settle();
    assert_eq!(pair.b.memory(), []);
}

#[test]
fn who_is_not_configured_is_forgotten_after_a_day() {
    let mut device = Device::new(1);
    let many = (0..10).map(|n| Remembered { key: PublicKey::new([n; 32]), ..remembered(None) });
    device.remember(many);
    let mut rows = |unix_secs| {
        let (mut rows, mut cursor) = (Vec::new(), MemoryCursor::default());
        while device.memory_page(&mut cursor, 3, unix_secs, &mut rows) {}
        rows
    };
    assert!(rows(1_000).iter().all(|row| row.gone_since == Some(1_000)));
    assert_eq!(rows(1_000 + DAY - 1).len(), 10);
    assert_eq!(rows(500).len(), 10, "a clock that goes back forgets nobody");
    assert_eq!(rows(1_000 + DAY), []);
    assert_eq!(rows(1_000), [], "for good");
}

#[test]
fn pages_have_each_peer_once() {
    let mut node = Node::new(1, START);
    for n in 0..50 {
        let mut other = Node::new(100 + n, START);
        other.address.set_port(n.into());
        let peer = node.add_peer(&other, true);
        let learned = Endpoint::new(address("203.0.113.1:1"));
        node.shared(peer).endpoint.set(learned);
        if n % 7 == 0 {
            node.device.remove_peer(peer);
        }
    }
    node.settle();
    let mut keys: Vec<_> = node.memory().iter().map(|row| row.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), node.memory().len()), (42, 42));
}

/// Another gateway served meanwhile, and knows better; but not better than the operator.
#[test]
fn what_another_gateway_knows_is_newer() {
    const A: &str = "203.0.113.1:51820";
    const C: &str = "203.0.113.3:51820";
    let news = Remembered { endpoint: Endpoint::new(address("198.51.100.77:1")), ..remembered(None) };
    for (here, there, is_taken) in [
        (None, None, true),
        (None, Some(A), true),
        (Some(A), Some(A), true),
        (Some(A), None, false),
        (Some(A), Some(C), false),
    ] {
        let (mut device, peer) = configured(here, here);
        let before = endpoint(&device, peer);
        device.set_passive(START, true);
        let stranger = Remembered { key: PublicKey::new([6; 32]), ..news };
        device.relocate(START, [Remembered { configured: there.map(address), ..news }, stranger]);
        let expected = if is_taken { Some(news.endpoint) } else { before };
        assert_eq!(endpoint(&device, peer), expected, "{here:?} here, {there:?} there");
        let added = device.add_peer(stranger.key).unwrap();
        device.place_peer(START, added, None);
        assert_eq!(endpoint(&device, added), Some(news.endpoint), "who comes later is remembered");
    }
}

/// Who has a source of his own here is asked from there.
#[test]
fn the_source_that_is_set_here_counts() {
    let (mut device, peer) = configured(None, None);
    device.set_peer_source(KEY, Some([192, 0, 2, 100].into())).unwrap();
    device.relocate(START, [remembered(None)]);
    let source = endpoint(&device, peer).and_then(|endpoint| endpoint.source);
    assert_eq!(source, Some(LocalAddr { addr: [192, 0, 2, 100].into(), ifindex: 0 }));
}
