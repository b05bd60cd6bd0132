//! Which worker opens what, and when it knows that nobody can.

use std::collections::VecDeque;

use ringfort_core::drops::DropReason;
use ringfort_path::{Outcome, SessionOrder, Train, budget};

use crate::rig::{Gateway, INDEX, NOW, RECEIVER, SENDER, filled, packet, pair, received, transmits, writes};

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
