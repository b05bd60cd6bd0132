//! Whoever looks on sees each packet once on each side, and what was dropped with its reason. Nobody waits for him.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringfort_core::drops::DropReason;
use ringfort_core::gate::Proof;
use ringfort_core::ids::PeerId;
use ringfort_path::tap::{CAPACITY_MIN, Direction, Filter, Seen, Side, TapReader, tap};
use ringfort_path::{DataPath, HandshakeMessage, Order, Outcome, Train, bare, budget};
use vnet_packets::VNET_HDR_LEN;

use crate::allocation::allocations;
use crate::rig::{
    INDEX, NOW, PEER, RECEIVER, SENDER, endpoint, filled, packet, pair, received, super_packet, transmits, tunnelled,
    writes,
};

const PACKETS: usize = if cfg!(miri) { 3 } else { 40 };

pub fn look(path: &mut DataPath, filter: Filter) -> TapReader {
    let (tap, reader) = tap(Arc::new(filter), CAPACITY_MIN, Arc::new(|| {})).unwrap();
    assert_eq!(path.handle_order(NOW, Order::Tap(Some(tap))), Outcome::Done);
    reader
}

pub fn seen(reader: &mut TapReader) -> Vec<(Seen, Vec<u8>)> {
    let mut bytes = Vec::new();
    std::iter::from_fn(|| reader.next(&mut bytes).map(|seen| (seen, bytes.clone()))).collect()
}

fn on(side: Side, all: &[(Seen, Vec<u8>)]) -> Vec<&(Seen, Vec<u8>)> {
    all.iter().filter(|(seen, _)| seen.side == side).collect()
}

/// Packets of different lengths and bytes go out at once, and what leaves comes in.
fn walk(sender: &mut DataPath, receiver: &mut DataPath, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    for packet in packets {
        let view = filled(sender, budget::line::TUN_READS, packet);
        assert_eq!(sender.handle_packet(NOW, view), Outcome::Done);
    }
    sender.flush(NOW);
    let mut wire = Vec::new();
    for transmit in transmits(sender) {
        wire.extend(transmit.view.chunks(transmit.stride).map(<[u8]>::to_vec));
        let train = received(receiver, &transmit);
        receiver.handle_train(NOW, train, &mut || None);
    }
    wire
}

#[test]
fn each_packet_is_seen_once_on_each_side() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let (mut out, mut into) = (look(sender, Filter::default()), look(receiver, Filter::default()));
    // Some are a train, some leave alone, and some are cut from a super-packet.
    let mut packets: Vec<_> = (0..PACKETS).map(|n| packet(SENDER, RECEIVER, &vec![n as u8; 50 + n / 4 * 16])).collect();
    packets.push(super_packet(3));
    let wire = walk(sender, receiver, &packets);
    let inside = writes(receiver);
    let (out, into) = (seen(&mut out), seen(&mut into));
    for (seen, direction) in [(&out, Direction::Out), (&into, Direction::In)] {
        let plain = on(Side::Plain, seen);
        assert_eq!(plain.len(), PACKETS + 3);
        let bytes: Vec<_> = plain.iter().map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(bytes[..PACKETS], packets[..PACKETS].iter().map(|p| p[VNET_HDR_LEN..].to_vec()).collect::<Vec<_>>());
        let cipher = on(Side::Cipher, seen);
        assert_eq!(cipher.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), wire.iter().collect::<Vec<_>>());
        for (seen, bytes) in seen {
            assert_eq!((seen.direction, seen.peer, seen.dropped), (direction, Some(PEER), None));
            assert_eq!((seen.time, seen.len, seen.lost), (NOW, bytes.len(), 0));
            let remote = if direction == Direction::Out { "192.0.2.2:51820" } else { "192.0.2.1:51820" };
            assert_eq!(seen.endpoint, (seen.side == Side::Cipher).then(|| endpoint(remote)));
        }
    }
    assert!(inside.len() >= PACKETS, "and all of them arrived: {}", inside.len());
}

#[test]
fn what_is_dropped_is_seen_with_its_reason() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let (mut out, mut into) =
        (look(sender, Filter::default()), look(receiver, Filter { drops_only: true, ..Filter::default() }));
    let nobody = [203, 0, 113, 9];
    let unrouted = packet(SENDER, nobody, b"to nobody");
    let spoofed = packet(nobody, RECEIVER, b"of nobody");
    let good = packet(SENDER, RECEIVER, b"good");
    for read in [&unrouted, &spoofed, &good] {
        let view = filled(sender, budget::line::TUN_READS, read);
        assert_eq!(sender.handle_packet(NOW, view), Outcome::Done);
    }
    sender.flush(NOW);
    let transmits = transmits(sender);
    let mut wire = Vec::new();
    for transmit in &transmits {
        // Again, which is a replay; and with a tag that is wrong.
        for change in [0, 0, 1] {
            let mut train = received(receiver, transmit);
            let len = train.view.len();
            train.view[len - 1] ^= change;
            wire.push(train.view.to_vec());
            receiver.handle_train(NOW, train, &mut || None);
        }
    }
    let strange = [4, 0, 0, 0, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    for bytes in [&strange[..], &[1, 2, 3], &[0; 40]] {
        let view = filled(receiver, budget::line::UDP_READS, bytes);
        let train = Train { view, stride: bytes.len(), endpoint: endpoint("198.51.100.1:1"), ecn: 0, handed: false };
        receiver.handle_train(NOW, train, &mut || None);
    }
    let dropped: Vec<_> = seen(&mut out).into_iter().filter(|(seen, _)| seen.dropped.is_some()).collect();
    let [(why, bytes)] = &dropped[..] else { panic!("{dropped:?}") };
    assert_eq!((why.dropped, why.peer, why.side), (Some(DropReason::NoRoute), None, Side::Plain));
    assert_eq!(bytes[..], unrouted[VNET_HDR_LEN..]);

    let dropped = seen(&mut into);
    let reasons = |side| on(side, &dropped).iter().map(|(seen, _)| seen.dropped.unwrap().name()).collect::<Vec<_>>();
    assert_eq!(reasons(Side::Plain), ["source_not_allowed"]);
    assert_eq!(on(Side::Plain, &dropped)[0].1, spoofed[VNET_HDR_LEN..]);
    let (known, strange): (Vec<_>, Vec<_>) =
        on(Side::Cipher, &dropped).into_iter().partition(|(seen, _)| seen.peer == Some(PEER));
    assert_eq!(
        strange.iter().map(|(seen, _)| seen.dropped.unwrap().name()).collect::<Vec<_>>(),
        ["unknown_index", "runt", "unknown_type"]
    );
    let names: Vec<_> = known.iter().map(|(seen, _)| seen.dropped.unwrap().name()).collect();
    // Both are one train. The second time both are old; the third time one is, and the other's tag is wrong.
    assert_eq!((transmits.len(), &names[..]), (1, &["replay", "replay", "replay", "bad_tag"][..]));
    assert!(known.iter().all(|(_, bytes)| wire.iter().any(|train| train.windows(bytes.len()).any(|w| w == bytes))));
}

#[test]
fn a_super_packet_whose_headers_are_too_long_is_seen_in_one_piece() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let mut out = look(sender, Filter::default());
    let read = tunnelled(100);
    let view = filled(sender, budget::line::TUN_READS, &read);
    assert_eq!(sender.handle_packet(NOW, view), Outcome::Done);
    assert_eq!(sender.counters().drops.total(), 1);
    let dropped = seen(&mut out);
    let [(why, bytes)] = &dropped[..] else { panic!("{dropped:?}") };
    assert_eq!((why.dropped, why.len), (Some(DropReason::BadVnetHeader), read.len() - VNET_HDR_LEN));
    assert_eq!(bytes[..], read[VNET_HDR_LEN..][..bytes.len()]);
}

#[test]
fn the_same_packets_are_sampled_on_both_sides_and_at_both_gateways() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let filter = || Filter { one_in: 4, ..Filter::default() };
    let (mut out, mut into) = (look(sender, filter()), look(receiver, filter()));
    let rounds = if cfg!(miri) { 4 } else { 50 };
    for round in 0..rounds {
        let packets: Vec<_> = (0..4).map(|n| packet(SENDER, RECEIVER, &[round, n])).collect();
        walk(sender, receiver, &packets);
        let _ = writes(receiver);
    }
    let total = u64::from(rounds) * 4;
    for reader in [&out, &into] {
        for side in Side::ALL {
            assert_eq!(reader.counts().seen(side), total);
            assert_eq!(reader.counts().lost(side), 0);
        }
    }
    let left_out = out.counts().left_out(Side::Plain);
    let (out, into) = (seen(&mut out), seen(&mut into));
    let payloads = |seen: &[(Seen, Vec<u8>)]| -> Vec<Vec<u8>> {
        on(Side::Plain, seen).iter().map(|(_, bytes)| bytes.clone()).collect()
    };
    assert_eq!(payloads(&out), payloads(&into));
    assert_eq!(payloads(&out).len() as u64, total - left_out);
    assert_eq!(on(Side::Cipher, &out).len(), payloads(&out).len());
    if !cfg!(miri) {
        assert!((25..=75).contains(&payloads(&out).len()), "a quarter of 200: {}", payloads(&out).len());
    }
}

#[test]
fn no_sample_is_without_handshakes_but_a_flood_is_sampled() {
    let (_, mut receiver) = pair();
    let receiver = &mut receiver.workers[0];
    let filter = Filter { one_in: u32::MAX, ..Filter::default() };
    let mut into = look(receiver, filter.clone());
    // What is passed on is shown by whoever takes it.
    let (mut control, mut taken) = tap(Arc::new(filter), 0, Arc::new(|| ())).unwrap();
    let rounds = if cfg!(miri) { 2 } else { 20 };
    for _ in 0..rounds {
        for kind in [1, 77] {
            let mut bytes = [0; 148];
            bytes[0] = kind;
            let view = filled(receiver, budget::line::UDP_READS, &bytes);
            let train = Train { view, stride: 148, endpoint: endpoint("192.0.2.1:51820"), ecn: 2, handed: false };
            receiver.handle_train(NOW, train, &mut || None);
        }
        while let Some(message) = receiver.poll_handshake() {
            control.handshake_received(NOW, Some(PEER), &message, Ok(()), |_| false);
            control.handshake_received(NOW, None, &message, Err(DropReason::BadMac1), |_| false);
        }
    }
    assert_eq!(seen(&mut into), []);
    let seen = seen(&mut taken);
    assert_eq!(seen.len(), rounds);
    assert!(seen.iter().all(|(seen, bytes)| seen.is_accepted && seen.dropped.is_none() && bytes[0] == 1), "{seen:?}");
    assert!(seen.iter().all(|(seen, _)| seen.peer == Some(PEER) && seen.class == 2), "{seen:?}");
}

/// A capture of one peer has what comes from where that peer is, even if nobody can tell whose it is.
#[test]
fn what_may_be_a_peer_s_is_shown_to_whoever_looks_at_that_peer() {
    let filter = Filter { peers: [PEER].into(), ..Filter::default() };
    let (mut control, mut taken) = tap(Arc::new(filter), 0, Arc::new(|| ())).unwrap();
    let message = HandshakeMessage::new(endpoint("192.0.2.1:51820"), &[1; 148], Proof::Unasked).unwrap();
    let other = PeerId { index: 7, generation: 0 };
    for (peer, is_there) in [(Some(PEER), false), (None, true), (None, false), (Some(other), false)] {
        control.handshake_received(NOW, peer, &message, Err(DropReason::UnknownPeer), |peer| {
            assert_eq!(peer, PEER);
            is_there
        });
    }
    let seen = seen(&mut taken);
    let peers: Vec<_> = seen.iter().map(|(seen, _)| (seen.peer, seen.dropped, seen.is_accepted)).collect();
    let dropped = Some(DropReason::UnknownPeer);
    assert_eq!(peers, [(Some(PEER), dropped, false), (None, dropped, false)]);
}

#[test]
fn a_filter_keeps_others_out_and_long_packets_short() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let other = PeerId { index: 7, generation: 0 };
    let mut out = look(sender, Filter { peers: [other].into(), ..Filter::default() });
    let filter = Filter { peers: [PEER].into(), sides: [false, true], snap_len: 20, ..Filter::default() };
    let mut into = look(receiver, filter);
    let wire = walk(sender, receiver, &[packet(SENDER, RECEIVER, &[1; 30])]);
    // What nobody understands, from where the peer is and from elsewhere.
    for from in ["192.0.2.1:51820", "198.51.100.1:1"] {
        let mut bytes = [0; 148];
        bytes[0] = 77;
        let view = filled(receiver, budget::line::UDP_READS, &bytes);
        receiver.handle_train(
            NOW,
            Train { view, stride: 148, endpoint: endpoint(from), ecn: 0, handed: false },
            &mut || None,
        );
    }
    assert_eq!(seen(&mut out), []);
    let into = seen(&mut into);
    let lens: Vec<_> = into.iter().map(|(seen, bytes)| (seen.len, bytes.len(), seen.peer)).collect();
    assert_eq!(lens, [(wire[0].len(), 20, Some(PEER)), (148, 20, None)]);
    assert_eq!(into[0].1, wire[0][..20]);
    assert_eq!(into[0].1[4..8], INDEX.to_le_bytes());
}

#[test]
fn what_finds_no_room_is_counted_and_nothing_is_allocated() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = woken.clone();
    let wake = Arc::new(move || _ = counter.fetch_add(1, Ordering::Relaxed));
    let (tap, mut reader) = tap(Arc::new(Filter::default()), CAPACITY_MIN, wake).unwrap();
    assert_eq!(sender.handle_order(NOW, Order::Tap(Some(tap))), Outcome::Done);
    let mut sent = Vec::with_capacity(64);
    let len = if cfg!(miri) { 100 } else { 1_300 };
    let rounds = if cfg!(miri) { 2 } else { 120 };
    for round in 0..rounds {
        let mut reads = vec![filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, &vec![round; len]))];
        let made = allocations(|| {
            bare::turn_out(sender, NOW, &mut reads, &mut sent);
            sender.tell_tap();
        });
        assert!(round == 0 || made == 0, "round {round}: {made}");
        sent.clear();
    }
    let lost = |reader: &TapReader| reader.counts().lost(Side::Plain) + reader.counts().lost(Side::Cipher);
    let was_lost = lost(&reader);
    let all = seen(&mut reader);
    assert_eq!(all.len() as u64 + was_lost, 2 * u64::from(rounds));
    assert!(cfg!(miri) || was_lost > 0 && all.iter().all(|(seen, _)| seen.lost == 0), "{was_lost}");
    assert!(woken.load(Ordering::Relaxed) > 0);
    // The first after a gap says how long it was.
    let mut reads = vec![filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"x"))];
    bare::turn_out(sender, NOW, &mut reads, &mut sent);
    let behind: u64 = seen(&mut reader).iter().map(|(seen, _)| u64::from(seen.lost)).sum();
    assert_eq!(behind, was_lost);
    assert!(!reader.is_abandoned());
    assert_eq!(sender.handle_order(NOW, Order::Tap(None)), Outcome::Done);
    assert!(reader.is_abandoned());
}
