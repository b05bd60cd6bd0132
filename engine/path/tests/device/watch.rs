//! What somebody who watches hears of peers, whenever he reads.

use std::time::Duration;

use ringfort_core::constants::REJECT_AFTER_TIME;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::{Change, Device, WatchCursor, What};
use ringfort_core::ids::PeerId;

use crate::node::at;
use crate::rng::SeededRng;
use crate::{Node, Pair, START};

const NOTHING: What = What { added: false, confirmed: false, moved: false, ended: false };
const CONFIRMED: What = What { confirmed: true, ..NOTHING };
const MOVED: What = What { moved: true, ..NOTHING };
const ENDED: What = What { ended: true, ..NOTHING };

/// All that a node tells a reader now.
fn told(node: &mut Node, cursor: &mut WatchCursor) -> Vec<Change> {
    told_by(&mut node.device, cursor)
}

fn told_by(device: &mut Device, cursor: &mut WatchCursor) -> Vec<Change> {
    let all = std::iter::from_fn(|| device.next_change(START, cursor)).collect();
    assert!(!device.has_changes(cursor), "it has said all");
    all
}

/// A node that is watched, with what its reader has heard of: all peers.
fn watched(node: &mut Node) -> WatchCursor {
    let mut cursor = node.device.watch();
    told(node, &mut cursor);
    cursor
}

fn changed(peer: PeerId, what: What) -> Vec<Change> {
    vec![Change::Changed { peer, what }]
}

#[test]
fn a_reader_hears_of_all_peers_and_then_of_what_happens_to_them() {
    let mut pair = Pair::new();
    let peer = pair.a_at_b;
    let mut cursor = pair.b.device.watch();
    assert_eq!(told(&mut pair.b, &mut cursor), [Change::Listed(peer), Change::Complete]);
    pair.offer_a();
    pair.exchange();
    // It was not known where the first one is.
    assert_eq!(told(&mut pair.b, &mut cursor), changed(peer, What { moved: true, ..CONFIRMED }));
    assert_eq!(told(&mut pair.b, &mut cursor), []);
    let mut there = watched(&mut pair.a);
    pair.offer_b();
    pair.exchange();
    assert_eq!(told(&mut pair.a, &mut there), [], "data is no news");
}

#[test]
fn who_asks_hears_that_it_was_answered() {
    let mut pair = Pair::new();
    let mut cursor = watched(&mut pair.a);
    pair.offer_a();
    assert_eq!(told(&mut pair.a, &mut cursor), [], "an initiation proves nothing");
    pair.exchange();
    assert_eq!(told(&mut pair.a, &mut cursor), changed(pair.b_at_a, CONFIRMED));
}

#[test]
fn an_initiation_alone_confirms_nothing() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    let later = START + Duration::from_secs(121);
    pair.advance_to(later);
    pair.offer_a();
    let asked = pair.a.take_sent();
    for sent in asked.iter().filter(|sent| sent.kind() == 1) {
        pair.b.receive(sent.from, &sent.bytes).expect("it is new");
        pair.b.settle();
    }
    assert!(pair.b.take_sent().iter().any(|sent| sent.kind() == 2), "it is answered");
    assert_eq!(told(&mut pair.b, &mut cursor), []);
}

/// A worker learns of it, and each time control is told.
#[test]
fn each_move_is_told_whoever_has_learned_of_it() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    for port in 1..=3 {
        pair.a.address.set_port(port);
        pair.offer_a();
        pair.exchange();
        assert_eq!(told(&mut pair.b, &mut cursor), changed(pair.a_at_b, MOVED), "to port {port}");
        let endpoint = pair.b.device.status(pair.a_at_b).and_then(|peer| peer.endpoint()).expect("it is known");
        assert_eq!(endpoint.remote, pair.a.address);
    }
    pair.b.device.set_endpoint(START, pair.a_at_b, "203.0.113.1:1".parse().unwrap());
    assert_eq!(told(&mut pair.b, &mut cursor), changed(pair.a_at_b, MOVED), "the operator says so");
}

/// Control's queue of events was full. All peers are looked at instead.
#[test]
fn a_move_that_could_not_be_told_is_found() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    pair.a.address.set_port(9);
    pair.offer_a();
    for sent in pair.a.take_sent() {
        pair.b.receive(sent.from, &sent.bytes).expect("data");
    }
    pair.b.events.clear();
    pair.b.shared(pair.a_at_b).untold_move();
    let now = pair.b.now;
    pair.b.device.handle_timeout(now, &mut SeededRng::new(1));
    assert_eq!(told(&mut pair.b, &mut cursor), changed(pair.a_at_b, MOVED));
}

#[test]
fn what_happens_to_one_peer_before_anybody_reads_is_one_change() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    for port in 1..=100 {
        pair.a.address.set_port(port);
        pair.offer_a();
        pair.exchange();
    }
    pair.b.device.link_down(START);
    pair.b.settle();
    let what = What { moved: true, ..ENDED };
    assert_eq!(told(&mut pair.b, &mut cursor), changed(pair.a_at_b, what));
}

#[test]
fn a_session_that_runs_out_is_gone_without_anybody_sending() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    pair.b.advance_to(START + REJECT_AFTER_TIME - Duration::from_nanos(1));
    assert_eq!(told(&mut pair.b, &mut cursor), []);
    pair.b.advance_to(START + REJECT_AFTER_TIME);
    assert_eq!(told(&mut pair.b, &mut cursor), changed(pair.a_at_b, ENDED));
    pair.b.advance_to(START + 4 * REJECT_AFTER_TIME);
    assert_eq!(told(&mut pair.b, &mut cursor), [], "once, also when the keys are wiped");
}

/// Of two sessions that follow each other the first one's end is no news.
#[test]
fn a_session_that_is_replaced_is_not_gone() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    let later = START + Duration::from_secs(121);
    pair.advance_to(later);
    pair.offer_a();
    pair.exchange();
    assert_eq!(told(&mut pair.b, &mut cursor), changed(pair.a_at_b, CONFIRMED));
    pair.run_until(later + Duration::from_secs(100));
    assert_eq!(told(&mut pair.b, &mut cursor), []);
}

#[test]
fn a_peer_that_goes_and_comes_again_is_told_in_that_order() {
    let mut pair = Pair::connected();
    let mut cursor = watched(&mut pair.b);
    let key = pair.a.public();
    pair.b.device.remove_peer(pair.a_at_b);
    pair.b.settle();
    let again = pair.b.add_peer(&pair.a, false);
    let added = Change::Changed { peer: again, what: What { added: true, ..NOTHING } };
    assert_eq!(told(&mut pair.b, &mut cursor), [Change::Removed(key), added]);
    pair.b.device.remove_all_peers();
    pair.b.settle();
    assert_eq!(told(&mut pair.b, &mut cursor), [Change::Removed(key)]);
}

/// A gateway with so many peers that nobody has heard from.
fn crowd(peers: u32) -> (Device, Vec<PeerId>) {
    let mut device = Device::new(1);
    device.link_up(START);
    let ids = (0..peers).map(|n| device.add_peer(key(n)).expect("a new peer")).collect();
    while device.poll_action().is_some() {}
    (device, ids)
}

fn key(n: u32) -> PublicKey {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&n.to_le_bytes());
    PublicKey::new(key)
}

/// Whoever comes or goes while peers are listed is told of, before or after: a reader's table is right in the end.
#[test]
fn peers_that_come_and_go_while_they_are_listed() {
    let (mut device, ids) = crowd(100);
    let mut cursor = device.watch();
    let mut table = std::collections::BTreeSet::new();
    let mut note = |device: &Device, change| match change {
        Change::Listed(peer) | Change::Changed { peer, .. } => {
            let key = device.status(peer).map(|peer| *peer.public_key());
            table.extend(key);
        }
        Change::Removed(key) => _ = table.remove(&key),
        Change::Complete | Change::Resync => {}
    };
    for n in 0..100 {
        let change = device.next_change(START, &mut cursor).expect("there is more");
        note(&device, change);
        if n % 3 == 0 {
            // One that was listed, or one that is yet to be.
            device.remove_peer(ids[(n * 37 + 11) % 100]);
            while device.poll_action().is_some() {}
        }
        if n % 4 == 0 {
            device.add_peer(key(1_000 + n as u32)).expect("a new peer");
        }
    }
    while let Some(change) = device.next_change(START, &mut cursor) {
        note(&device, change);
    }
    let there: std::collections::BTreeSet<_> = device.peers().map(|peer| *peer.public_key()).collect();
    assert_eq!(table, there);
}

/// What is remembered has a bound. Who has missed something begins anew.
#[test]
fn who_has_missed_a_removal_hears_of_all_peers_again() {
    let (mut device, _) = crowd(3);
    let mut slow = device.watch();
    told_by(&mut device, &mut slow);
    let mut quick = slow;
    for n in 0..20_000 {
        let peer = device.add_peer(key(1_000 + n)).expect("a new peer");
        device.remove_peer(peer);
        while device.poll_action().is_some() {}
        device.handle_timeout(at(START), &mut SeededRng::new(1));
        if n % 1_000 == 0 {
            told_by(&mut device, &mut quick);
        }
    }
    assert!(!told_by(&mut device, &mut quick).contains(&Change::Resync), "it has read in time");
    let all = told_by(&mut device, &mut slow);
    assert_eq!((all.first(), all.len()), (Some(&Change::Resync), 1 + 3 + 1), "{all:?}");
    assert_eq!(all.last(), Some(&Change::Complete));
}

/// Nothing of it stays when nobody watches, and who comes meanwhile gets all of it.
#[test]
fn when_nobody_watches_nothing_is_remembered() {
    let (mut device, ids) = crowd(3_000);
    assert!(!device.is_watched());
    let mut cursor = device.watch();
    assert_eq!(told_by(&mut device, &mut cursor).len(), 3_001);
    device.end_watching();
    assert!(!device.is_watched());
    let mut turns = 0;
    while device.poll_timeout().is_some_and(|due| due <= START) {
        device.handle_timeout(at(START), &mut SeededRng::new(1));
        turns += 1;
        if turns == 2 {
            // It is half gone.
            let mut again = device.watch();
            assert_eq!(told_by(&mut device, &mut again).len(), 3_001);
            device.set_endpoint(START, ids[0], "192.0.2.1:1".parse().unwrap());
            assert_eq!(told_by(&mut device, &mut again), changed(ids[0], MOVED));
            device.end_watching();
        }
    }
    assert_eq!(turns, 2 + 3, "in parts");
}
