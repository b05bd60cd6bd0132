//! Packets for one peer leave in the order in which they were read, whatever becomes of its keys meanwhile.

use std::sync::Arc;

use ringfort_core::cell::{SendState, SessionNumber};
use ringfort_core::constants::REJECT_AFTER_MESSAGES;
use ringfort_path::{DataPath, Order, Outcome, PeerCell, Stage, Watch, budget};

use crate::rig::{
    Gateway, NOW, PEER, RECEIVER, SENDER, empty, filled, meet, packet, pair, received, sends_under, super_packet,
    transmits, writes,
};

/// Brings a peer's second session at a moment that a test cannot choose otherwise: when a stage ends, for the `left`th
/// time.
struct NextKey {
    cell: Arc<PeerCell>,
    stage: Stage,
    left: usize,
}

impl Watch for NextKey {
    fn lap(&mut self, stage: Stage) {
        if stage == self.stage && self.left > 0 {
            self.left -= 1;
            if self.left == 0 {
                sends_under(&self.cell, session(2), 0);
            }
        }
    }
}

fn session(n: u64) -> SessionNumber {
    (0..n).fold(SessionNumber::default(), |number, _| number.next())
}

/// A gateway whose peer has no session. The second one comes as [`NextKey`] says; for 0 laps it does not.
fn gateway(stage: Stage, laps: usize) -> (DataPath<NextKey>, Arc<PeerCell>) {
    let cell = Gateway::new(1, RECEIVER, "192.0.2.2:51820").cell;
    let mut path = empty(0, 1, NextKey { cell: cell.clone(), stage, left: laps });
    meet(&mut path, &cell, RECEIVER);
    (path, cell)
}

/// The first session, which can seal so many messages more.
fn is_nearly_used_up(cell: &PeerCell, counters: u64) {
    assert!(sends_under(cell, session(1), REJECT_AFTER_MESSAGES - counters));
}

/// Reads a packet of so many bytes of payload, each its number. Of one line alone there are not slots enough.
fn read(path: &mut DataPath<NextKey>, number: u8, len: usize) {
    let line = if len < 2_000 { budget::line::STAGED } else { budget::line::TUN_READS };
    let read = filled(path, line, &packet(SENDER, RECEIVER, &vec![number; len]));
    assert_eq!(path.handle_packet(NOW, read), Outcome::Done);
}

fn read_super(path: &mut DataPath<NextKey>) {
    let read = filled(path, budget::line::TUN_READS, &super_packet(3));
    assert_eq!(path.handle_packet(NOW, read), Outcome::Done);
}

/// All leaves that can, as when control has told that there is a session.
fn send(path: &mut DataPath<NextKey>) {
    path.flush(NOW);
    assert_eq!(path.handle_order(NOW, Order::SendStaged { peer: PEER }), Outcome::Done);
    assert_eq!(path.staged(), 0);
}

/// The number of each packet that has left, except under the last counters of a key.
fn numbers(path: &mut DataPath<NextKey>) -> Vec<u8> {
    let receiver = &mut pair().1.workers[0];
    let mut arrived = Vec::new();
    for transmit in transmits(path) {
        let counter = u64::from_le_bytes(transmit.view[8..16].try_into().unwrap());
        if counter < REJECT_AFTER_MESSAGES / 2 {
            let train = received(receiver, &transmit);
            receiver.handle_train(NOW, train, &mut || None);
            arrived.extend(writes(receiver).iter().filter_map(|packet| packet.last().copied()));
        }
    }
    arrived
}

#[test]
fn packets_keep_their_order_when_the_counters_of_a_key_are_used_up() {
    // The next key comes when all packets wait for it, or while the last ones are read.
    for comes_after in [None, Some(5), Some(6), Some(8)] {
        let (mut sender, mut receiver) = (Gateway::new(1, RECEIVER, "192.0.2.2:51820"), pair().1);
        is_nearly_used_up(&sender.cell, 2);
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
                    assert!(sends_under(&sender.cell, session(2), 0));
                }
            }
            sender.workers[0].flush(NOW);
        }
        if comes_after.is_none() {
            assert!(sends_under(&sender.cell, session(2), 0));
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

/// Of the batch the first train leaves, and the second one is refused.
#[test]
fn who_finds_the_batch_full_waits_behind_what_a_used_up_key_refuses_of_it() {
    let (mut path, cell) = gateway(Stage::Route, 0);
    is_nearly_used_up(&cell, 100);
    for number in 0..=128 {
        read(&mut path, number, 100);
    }
    assert!(sends_under(&cell, session(2), 0));
    send(&mut path);
    assert!(numbers(&mut path).into_iter().eq(64..=128));
}

/// The next key comes as soon as anything more is sealed.
#[test]
fn of_what_waited_the_second_batch_stays_behind_what_a_used_up_key_refuses_of_the_first() {
    let (mut path, cell) = gateway(Stage::Route, 2);
    for number in 0..136 {
        read(&mut path, number, if number < 128 { 100 } else { 2_100 });
    }
    path.flush(NOW);
    assert_eq!(path.staged(), 136);
    is_nearly_used_up(&cell, 100);
    assert_eq!(path.handle_order(NOW, Order::SendStaged { peer: PEER }), Outcome::Done);
    assert_eq!(path.staged(), 136 - 64, "all but one train");
    send(&mut path);
    assert!(numbers(&mut path).into_iter().eq(64..136));
}

/// The next key comes as soon as a super-packet is cut up.
#[test]
fn a_super_packet_waits_behind_what_a_used_up_key_refuses() {
    let (mut path, cell) = gateway(Stage::Segment, 1);
    is_nearly_used_up(&cell, 2);
    (0..5).for_each(|number| read(&mut path, number, 100));
    read_super(&mut path);
    sends_under(&cell, session(2), 0);
    send(&mut path);
    let numbers = numbers(&mut path);
    assert!(numbers.len() > 5 && numbers[..5] == [0, 1, 2, 3, 4], "{numbers:?}");
}

#[test]
fn what_is_read_after_a_session_has_ended_waits_behind_what_was_gathered_before() {
    for is_super in [false, true] {
        let (mut path, cell) = gateway(Stage::Route, 0);
        assert!(sends_under(&cell, session(1), 0));
        (0..3).for_each(|number| read(&mut path, number, 100));
        assert!(cell.advance(Arc::new(SendState::end(session(2)))));
        if is_super {
            read_super(&mut path)
        } else {
            read(&mut path, 3, 100)
        }
        path.flush(NOW);
        assert!(transmits(&mut path).is_empty());
        assert!(sends_under(&cell, session(3), 0));
        send(&mut path);
        let numbers = numbers(&mut path);
        assert!(numbers.len() > 3 && numbers[..3] == [0, 1, 2], "{numbers:?}");
    }
}
