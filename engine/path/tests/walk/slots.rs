//! A step that finds no slot says so, and goes on where it stopped.

use ringfort_core::drops::DropReason;
use ringfort_path::{Order, Outcome, budget};

use crate::rig::{NOW, PEER, SEGMENT, filled, pair, received, super_packet, take_all, transmits, writes};

#[test]
#[cfg_attr(miri, ignore = "64 KiB take minutes to encrypt; allocation.rs has less")]
fn a_super_packet_without_a_slot_goes_on_where_it_stopped() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    // 64 segments: one train cannot carry them.
    let read = filled(sender, budget::line::TUN_READS, &super_packet(64));
    let mut taken = take_all(sender, budget::line::TRAINS);
    taken.pop();
    assert_eq!(sender.handle_packet(NOW, read), Outcome::NoSlot, "for the second train");
    let first = transmits(sender);
    assert_eq!(first.len(), 1);
    assert_eq!(sender.resume(NOW), Outcome::NoSlot, "nothing has come home");
    drop(taken);
    assert_eq!(sender.resume(NOW), Outcome::Done);
    let second = transmits(sender);
    assert_eq!(first[0].datagrams() + second.iter().map(|train| train.datagrams()).sum::<usize>(), 64);
    let mut payloads = Vec::new();
    for transmit in first.iter().chain(&second) {
        let train = received(receiver, transmit);
        receiver.handle_train(NOW, train, &mut || None);
        payloads.extend(writes(receiver).into_iter().flat_map(|written| written[28..].to_vec()));
    }
    let expected: Vec<u8> = (0..64).flat_map(|n| [n; SEGMENT]).collect();
    assert_eq!(payloads, expected, "each segment once, in order");
    drop((first, second));
    assert_eq!(sender.pool().accounting().held, 0);
    assert_eq!(sender.counters().drops.total(), 0);
}

#[test]
fn what_is_not_resumed_is_dropped_by_name() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let read = filled(sender, budget::line::TUN_READS, &super_packet(64));
    let taken = take_all(sender, budget::line::TRAINS);
    assert_eq!(sender.handle_packet(NOW, read), Outcome::NoSlot);
    sender.give_up(NOW);
    assert_eq!(sender.counters().drops.get(DropReason::NoSlot), 64);
    assert_eq!(sender.resume(NOW), Outcome::Done, "there is nothing left of it");
    drop(taken);
    assert_eq!(sender.pool().accounting().held, 0);
}

#[test]
#[cfg_attr(miri, ignore = "64 KiB take minutes to encrypt; allocation.rs has less")]
fn the_next_step_gives_up_what_was_not_resumed() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let reads: Vec<_> = (0..2).map(|_| filled(sender, budget::line::TUN_READS, &super_packet(64))).collect();
    let taken = take_all(sender, budget::line::TRAINS);
    for read in reads {
        assert_eq!(sender.handle_packet(NOW, read), Outcome::NoSlot);
    }
    assert_eq!(sender.counters().drops.get(DropReason::NoSlot), 64, "of the first");
    drop(taken);
    assert_eq!(sender.resume(NOW), Outcome::Done);
    assert_eq!(transmits(sender).iter().map(|train| train.datagrams()).sum::<usize>(), 64, "the second");
}

#[test]
fn a_keepalive_waits_for_a_slot() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let taken = take_all(sender, budget::line::KEEPALIVES);
    assert_eq!(sender.handle_order(NOW, Order::SendKeepalive { peer: PEER }), Outcome::NoSlot);
    assert!(sender.is_drained());
    drop(taken);
    assert_eq!(sender.resume(NOW), Outcome::Done);
    let sent = transmits(sender);
    assert_eq!((sent.len(), sent[0].view.len(), sent[0].any_data), (1, 32, false));
}
