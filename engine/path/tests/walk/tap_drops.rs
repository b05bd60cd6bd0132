//! What is refused after a step of the data path was done with it is shown to whoever looks on, with its bytes and why.

use std::sync::Arc;

use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_path::tap::{Direction, Filter, Seen, Side, TapReader, tap};
use ringfort_path::{DataPath, HANDSHAKE_TRAFFIC_CLASS, Order, Outcome, Train, Unsent, budget};
use vnet_packets::VNET_HDR_LEN;

use crate::rig::{
    Gateway, INDEX, NOW, PEER, RECEIVER, SENDER, endpoint, filled, packet, pair, received, super_packet, take_all,
    transmits,
};
use crate::tap::{look, seen};

const SEGMENTS: u8 = 3;

fn dropped(reader: &mut TapReader) -> Vec<(Seen, Vec<u8>)> {
    seen(reader).into_iter().filter(|(seen, _)| seen.dropped.is_some()).collect()
}

/// What they have in common, if that is all that there is to say.
fn assert_all(dropped: &[(Seen, Vec<u8>)], side: Side, direction: Direction, peer: Option<PeerId>, reason: DropReason) {
    for (seen, _) in dropped {
        let common = (seen.side, seen.direction, seen.peer, seen.dropped);
        assert_eq!(common, (side, direction, peer, Some(reason)), "{dropped:?}");
    }
}

fn bytes(seen: &[(Seen, Vec<u8>)]) -> Vec<&[u8]> {
    seen.iter().map(|(_, bytes)| &bytes[..]).collect()
}

fn send(sender: &mut DataPath, packets: &[Vec<u8>]) -> Outcome {
    let outcomes = packets.iter().map(|packet| {
        let view = filled(sender, budget::line::TUN_READS, packet);
        sender.handle_packet(NOW, view)
    });
    let last = outcomes.last().unwrap();
    sender.flush(NOW);
    last
}

#[test]
fn what_the_socket_does_not_send_is_seen_again_as_dropped() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let mut out = look(sender, Filter::default());
    assert_eq!(send(sender, &[super_packet(SEGMENTS)]), Outcome::Done);
    let left = transmits(sender);
    for transmit in &left {
        let &ringfort_path::Transmit { peer, stride, endpoint, ecn, ref view, .. } = transmit;
        let reason = DropReason::SendFailed;
        sender.show_unsent(NOW, Unsent { peer, bytes: view, stride, endpoint, ecn, reason });
    }
    let seen = seen(&mut out);
    let (dropped, sent): (Vec<_>, Vec<_>) =
        seen.into_iter().filter(|(seen, _)| seen.side == Side::Cipher).partition(|(seen, _)| seen.dropped.is_some());
    assert_eq!((dropped.len(), bytes(&dropped)), (SEGMENTS.into(), bytes(&sent)));
    assert_all(&dropped, Side::Cipher, Direction::Out, Some(PEER), DropReason::SendFailed);
    assert!(dropped.iter().all(|(seen, _)| seen.endpoint == Some(endpoint("192.0.2.2:51820"))));

    // A cookie, which is for nobody whom we know.
    let (at, ecn, reason) = (endpoint("198.51.100.1:1"), HANDSHAKE_TRAFFIC_CLASS, DropReason::Down);
    sender.show_unsent(NOW, Unsent { peer: PeerId::NOBODY, bytes: &[3; 64], stride: 64, endpoint: at, ecn, reason });
    let cookie = self::dropped(&mut out);
    assert_eq!(bytes(&cookie), [[3; 64]]);
    assert_all(&cookie, Side::Cipher, Direction::Out, None, DropReason::Down);
    assert_eq!((cookie[0].0.endpoint, cookie[0].0.class), (Some(at), ecn));
}

/// What was merged into one write is seen packet by packet, as it came.
#[test]
fn what_the_tun_does_not_take_is_seen_again_as_dropped() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let mut into = look(receiver, Filter { sides: [true, false], ..Filter::default() });
    let read = [super_packet(SEGMENTS), packet(SENDER, RECEIVER, b"alone")];
    assert_eq!(send(sender, &read), Outcome::Done);
    for transmit in transmits(sender) {
        let train = received(receiver, &transmit);
        receiver.handle_train(NOW, train, &mut || None);
    }
    receiver.flush_writes(NOW);
    let (mut pieces, mut writes) = (Vec::new(), Vec::new());
    while receiver.poll_write(&mut pieces) {
        writes.push(pieces.len());
        let rest = pieces.split_off(1);
        // That a packet alone is wrong means that it is.
        let is_wrong = rest.is_empty();
        assert!(!receiver.handle_write_failed(NOW, pieces.pop().unwrap(), rest, is_wrong) || is_wrong);
    }
    assert_eq!(writes, [usize::from(SEGMENTS), 1]);
    assert_eq!(receiver.counters().drops.get(DropReason::TunWriteFailed), u64::from(SEGMENTS) + 1);
    let (dropped, delivered): (Vec<_>, Vec<_>) =
        seen(&mut into).into_iter().partition(|(seen, _)| seen.dropped.is_some());
    assert_eq!((dropped.len(), bytes(&dropped)), (usize::from(SEGMENTS) + 1, bytes(&delivered)));
    assert_all(&dropped, Side::Plain, Direction::In, Some(PEER), DropReason::TunWriteFailed);
    assert_eq!(receiver.pool().accounting().held, 0);
}

#[test]
fn segments_that_find_no_slot_are_seen_and_keepalives_have_nothing_to_see() {
    let (Gateway { workers: mut sender, cell }, _) = pair();
    let sender = &mut sender[0];
    let mut out = look(sender, Filter { sides: [true, false], ..Filter::default() });
    let taken = take_all(sender, budget::line::TRAINS);
    assert_eq!(send(sender, &[super_packet(SEGMENTS)]), Outcome::NoSlot);
    sender.give_up(NOW);
    drop(taken);
    let dropped = dropped(&mut out);
    assert_eq!(sender.counters().drops.get(DropReason::NoSlot), SEGMENTS.into());
    assert_all(&dropped, Side::Plain, Direction::Out, Some(PEER), DropReason::NoSlot);
    assert_eq!(send(sender, &[super_packet(SEGMENTS)]), Outcome::Done);
    assert_eq!((dropped.len(), bytes(&dropped)), (SEGMENTS.into(), bytes(&seen(&mut out))), "as they would leave");

    let taken = take_all(sender, budget::line::KEEPALIVES);
    assert_eq!(sender.handle_order(NOW, Order::SendKeepalive { peer: PEER }), Outcome::NoSlot);
    sender.give_up(NOW);
    drop(taken);
    assert_eq!(sender.counters().drops.get(DropReason::NoSlot), u64::from(SEGMENTS) + 1);
    assert_eq!(cell.shared().drops.get(DropReason::NoSlot).map(|drop| drop.count), Some(u64::from(SEGMENTS) + 1));
    assert_eq!(seen(&mut out), []);
}

#[test]
fn what_another_worker_cannot_have_is_seen() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(2, SENDER, "192.0.2.1:51820");
    let (sender, second) = (&mut sender.workers[0], &mut receiver.workers[1]);
    let mut into = look(second, Filter::default());
    assert_eq!(send(sender, &[super_packet(SEGMENTS)]), Outcome::Done);
    let transmit = transmits(sender).remove(0);
    let sent: Vec<_> = transmit.view.chunks(transmit.stride).collect();
    let receive = |second: &mut DataPath| {
        let train = received(second, &transmit);
        second.handle_train(NOW, train, &mut || unreachable!("another worker owns the index"));
    };
    let taken = take_all(second, budget::line::HANDOFFS);
    receive(second);
    drop(taken);
    let no_slot = dropped(&mut into);
    assert_eq!(bytes(&no_slot), sent);
    assert_all(&no_slot, Side::Cipher, Direction::In, None, DropReason::NoSlot);

    receive(second);
    let (_, handoff) = second.poll_handoff().expect("there is a slot");
    second.note_handoff(NOW, Some(handoff));
    let full = dropped(&mut into);
    assert_eq!(bytes(&full), sent);
    assert_all(&full, Side::Cipher, Direction::In, None, DropReason::HandoffFull);
    let drops = &second.counters().drops;
    assert_eq!((drops.get(DropReason::NoSlot), drops.get(DropReason::HandoffFull)), (3, 3));
    second.pool().drain_returns();
    assert_eq!(second.pool().accounting().held, 0);
    assert_eq!(sent[0][4..8], INDEX.to_le_bytes());
}

#[test]
fn a_handshake_message_that_control_has_no_room_for_is_seen() {
    let (_, mut receiver) = pair();
    let receiver = &mut receiver.workers[0];
    let mut into = look(receiver, Filter::default());
    let mut bytes = [0; 148];
    bytes[0] = 1;
    let view = filled(receiver, budget::line::UDP_READS, &bytes);
    let train = Train { view, stride: 148, endpoint: endpoint("192.0.2.1:51820"), ecn: 2, handed: false };
    receiver.handle_train(NOW, train, &mut || None);
    let message = receiver.poll_handshake().expect("control is asked");
    assert_eq!(seen(&mut into), [], "nobody knows what becomes of it");
    receiver.note_handshake(NOW, Some(&message));
    let dropped = dropped(&mut into);
    assert_eq!(self::bytes(&dropped), [bytes]);
    assert_all(&dropped, Side::Cipher, Direction::In, None, DropReason::HandshakeQueueFull);
    assert_eq!((dropped[0].0.class, dropped[0].0.endpoint), (2, Some(endpoint("192.0.2.1:51820"))));
    assert_eq!(receiver.counters().handshakes, 0);
}

/// Control sends by itself.
#[test]
fn a_handshake_message_that_does_not_leave_is_seen() {
    let (mut control, mut taken) = tap(Arc::new(Filter::default()), 0, Arc::new(|| ())).unwrap();
    let (to, class) = (endpoint("192.0.2.1:51820"), HANDSHAKE_TRAFFIC_CLASS);
    for verdict in [Ok(()), Err(DropReason::SendFailed)] {
        control.handshake_sent(NOW, Some(PEER), to, class, &[1; 148], verdict);
    }
    let seen = seen(&mut taken);
    let verdicts: Vec<_> = seen.iter().map(|(seen, _)| (seen.direction, seen.peer, seen.dropped)).collect();
    assert_eq!(verdicts, [None, Some(DropReason::SendFailed)].map(|dropped| (Direction::Out, Some(PEER), dropped)));
    assert_eq!(bytes(&seen), [[1; 148]; 2]);
}

#[test]
fn what_waits_when_the_interface_goes_down_is_seen() {
    let Gateway { workers: mut sender, cell } = Gateway::new(1, RECEIVER, "192.0.2.2:51820");
    let sender = &mut sender[0];
    let mut out = look(sender, Filter::default());
    let read = [b"one", b"two"].map(|payload| packet(SENDER, RECEIVER, payload));
    assert_eq!(send(sender, &read), Outcome::Done);
    assert_eq!((sender.staged_for(PEER), seen(&mut out)), (2, vec![]), "they wait for a session");
    // They stay those of the peer that they wait for, although routes lead elsewhere now.
    let elsewhere = Order::Routes { routes: AllowedIps::new(), version: 2 };
    assert_eq!(sender.handle_order(NOW, elsewhere), Outcome::Done);
    assert_eq!(sender.handle_order(NOW, Order::LinkDown), Outcome::Done);
    let dropped = dropped(&mut out);
    assert_eq!(bytes(&dropped), read.each_ref().map(|read| &read[VNET_HDR_LEN..]));
    assert_all(&dropped, Side::Plain, Direction::Out, Some(PEER), DropReason::Down);
    assert_eq!(sender.counters().drops.get(DropReason::Down), 2);
    assert_eq!(cell.shared().drops.get(DropReason::Down).map(|drop| drop.count), Some(2));
}
