//! Which worker opens what, and when it knows that nobody can.

use std::collections::VecDeque;

use ringfort_core::cell::SessionNumber;
use ringfort_core::constants::REJECT_AFTER_MESSAGES;
use ringfort_core::drops::DropReason;
use ringfort_path::{Order, Outcome, SessionOrder, Train, budget};

use crate::rig::{Gateway, INDEX, NOW, PEER, RECEIVER, SENDER, filled, packet, pair, received, transmits, writes};

#[test]
fn a_session_that_began_meanwhile_is_found_in_the_mailbox() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(1, SENDER, "192.0.2.1:51820");
    // Many other orders lie before it.
    let mut mailbox: VecDeque<_> = (0..1_000).map(|n| SessionOrder::End { local_index: n << 8 }).collect();
    mailbox.push_back(receiver.receiver(INDEX, false, NOW));
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    sender.flush(NOW);
    let train = received(receiver, &transmits(sender)[0]);
    receiver.handle_train(NOW, train, &mut || mailbox.pop_front());
    assert_eq!(writes(receiver).len(), 1);
    assert_eq!(receiver.counters().drops.total(), 0);
}

#[test]
fn a_train_for_another_worker_is_handed_over_once() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(2, SENDER, "192.0.2.1:51820");
    let session = receiver.receiver(INDEX, true, NOW);
    receiver.workers[0].handle_session(NOW, session);
    let sender = &mut sender.workers[0];
    for n in 0..3u8 {
        let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, &[n; 100]));
        assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    }
    sender.flush(NOW);
    let [first, second] = &mut receiver.workers[..] else { unreachable!("there are two") };
    let train = received(second, &transmits(sender)[0]);
    second.handle_train(NOW, train, &mut || unreachable!("another worker owns the index"));
    let (worker, handoff) = second.poll_handoff().expect("it is of no use here");
    assert_eq!((worker, handoff.datagrams), (0, 3));
    second.note_handoff(NOW, None);
    assert_eq!(second.counters().handoffs, 1);
    let (view, stride) = (handoff.parcel.arrive(), handoff.stride);
    first.handle_train(
        NOW,
        Train { view, stride, endpoint: handoff.endpoint, ecn: handoff.ecn, handed: true },
        &mut || None,
    );
    assert_eq!(writes(first).len(), 3);
    second.pool().drain_returns();
    assert_eq!(second.pool().accounting().held, 0, "the slot has come home");
}

#[test]
fn what_was_handed_over_in_vain_is_not_handed_on() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(2, SENDER, "192.0.2.1:51820");
    let sender = &mut sender.workers[0];
    let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    sender.flush(NOW);
    let second = &mut receiver.workers[1];
    let train = Train { handed: true, ..received(second, &transmits(sender)[0]) };
    second.handle_train(NOW, train, &mut || None);
    assert!(second.poll_handoff().is_none());
    assert_eq!(second.counters().drops.get(DropReason::UnknownIndex), 1);
}

#[test]
fn packets_keep_their_order_when_the_counters_of_a_key_are_used_up() {
    // The next key comes when all packets wait for it, or while the last ones are read.
    for comes_after in [None, Some(5), Some(6), Some(8)] {
        let number = SessionNumber::default().next();
        let (mut sender, mut receiver) = (Gateway::new(1, RECEIVER, "192.0.2.2:51820"), pair().1);
        sender.sends_from(number, REJECT_AFTER_MESSAGES - 2);
        // Two batches: the first two packets leave, all others wait.
        for batch in [0..5u8, 5..9] {
            for n in batch {
                let path = &mut sender.workers[0];
                let read = filled(path, budget::line::TUN_READS, &packet(SENDER, RECEIVER, &[n; 100]));
                assert_eq!(path.handle_packet(NOW, read), Outcome::Done);
                if n == 1 {
                    path.flush(NOW);
                }
                if comes_after == Some(n) {
                    sender.sends_from(number.next(), 0);
                }
            }
            sender.workers[0].flush(NOW);
        }
        if comes_after.is_none() {
            sender.sends_from(number.next(), 0);
        }
        assert_eq!(sender.workers[0].handle_order(NOW, Order::SendStaged { peer: PEER }), Outcome::Done);
        let receiver = &mut receiver.workers[0];
        let mut arrived = Vec::new();
        let transmits = transmits(&mut sender.workers[0]);
        assert_eq!(transmits[0].datagrams(), 2, "one train of the first two");
        // They are of another session than the receiver's.
        for transmit in &transmits[1..] {
            let train = received(receiver, transmit);
            receiver.handle_train(NOW, train, &mut || None);
            arrived.extend(writes(receiver).iter().filter_map(|packet| packet.last().copied()));
        }
        assert_eq!(arrived, [2, 3, 4, 5, 6, 7, 8], "it comes after {comes_after:?}");
    }
}
