//! A gateway goes on in another process, at every point of a session's life. Whole gateways with traffic, and other
//! numbers of workers, are handed over in the simulator.

use std::collections::BTreeSet;
use std::time::Duration;

use ringfort_core::crypto::Portable;
use ringfort_core::device::Device;
use ringfort_core::drops::DropReason;
use ringfort_core::handover::{Handover, Progress};
use ringfort_core::wire::parse_data_header;
use ringfort_path::DataPath;

use super::node::{WORKERS, dispatch, worker};
use super::*;

impl Node {
    /// Another process takes over. This one is gone.
    pub fn hand_over(&mut self) {
        self.settle();
        self.device.settle(self.now, &mut self.rng);
        self.apply_actions();
        let mut progress = Progress::default();
        self.dispatch.note_sending(&mut progress);
        self.workers.iter().flat_map(|path| path.session_reports()).for_each(|report| progress.note_receiver(report));
        let packets = self.workers.iter().flat_map(DataPath::waiting_packets);
        let handover = self.device.hand_over(self.now.mono, &progress, packets).expect("nothing is under way");
        let mut bytes = vec![0; handover.encoded_len()];
        handover.write(&mut bytes);
        let handover = Handover::read(&bytes).expect("what was just written");
        let device = Device::take_over(self.now.mono, WORKERS as u8, &Portable, None, handover);
        self.device = device.expect("the same clock");
        self.dispatch = dispatch();
        self.workers = (0..WORKERS).map(worker).collect();
        self.cells.clear();
        self.apply_actions();
        for worker in 0..WORKERS {
            self.workers[worker].flush(self.now.mono);
            self.drain(worker);
        }
        self.settle();
    }
}

impl Pair {
    fn hand_over(&mut self) {
        self.a.hand_over();
        self.b.hand_over();
        // A number is the same in each process: they come and go in one order.
        assert!(self.a.cells.contains_key(&self.b_at_a) && self.b.cells.contains_key(&self.a_at_b));
    }
}

#[test]
fn nobody_notices() {
    let mut pair = Pair::connected();
    for _ in 0..3 {
        pair.hand_over();
        assert!(pair.a.take_sent().is_empty() && pair.b.take_sent().is_empty(), "no handshake, no keepalive");
        pair.offer_a();
        pair.offer_b();
        let kinds_before = (kinds(&pair.a.sent), kinds(&pair.b.sent));
        assert_eq!(kinds_before, (vec![4], vec![4]));
        pair.exchange();
    }
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (3, 3));
}

#[test]
fn no_counter_is_used_twice() {
    let mut pair = Pair::connected();
    let mut counters = BTreeSet::new();
    for _ in 0..10 {
        pair.offer_a();
        for sent in pair.a.take_sent() {
            let header = parse_data_header(&sent.bytes).unwrap();
            assert!(counters.insert((header.receiver, header.counter)), "{header:?}");
        }
        pair.a.hand_over();
    }
    assert_eq!(counters.len(), 10);
}

#[test]
fn what_was_received_before_is_not_received_again() {
    let mut pair = Pair::connected();
    pair.offer_a();
    let sent = pair.a.take_sent().remove(0);
    pair.b.receive(sent.from, &sent.bytes).unwrap();
    pair.b.hand_over();
    assert_eq!(pair.b.receive(sent.from, &sent.bytes), Err(DropReason::Replay));
}

/// The question is on its way, then the answer, then the first packet, and then the first one back.
#[test]
fn a_handshake_goes_on() {
    let mut pair = Pair::new();
    pair.offer_a();
    for _ in 0..4 {
        pair.hand_over();
        let (from_a, from_b) = (pair.a.take_sent(), pair.b.take_sent());
        pair.hand_over();
        from_a.iter().for_each(|sent| pair.b.receive(sent.from, &sent.bytes).unwrap());
        pair.hand_over();
        from_b.iter().for_each(|sent| pair.a.receive(sent.from, &sent.bytes).unwrap());
    }
    assert_eq!(pair.b.delivered.len(), 1, "the packet has waited in several processes");
    pair.offer_b();
    pair.exchange();
    assert_eq!(pair.a.delivered.len(), 1);
}

/// What comes later of its flow comes to the same worker, and must not leave before it.
#[test]
fn what_waits_at_a_worker_waits_at_the_same_one() {
    let mut pair = Pair::new();
    for (worker, number) in [2, 0, 2].into_iter().zip(1..) {
        pair.a.send_packet_at(worker, &inner_packet(pair.a.inner, pair.b.inner, number));
    }
    pair.a.settle();
    let waiting = |node: &Node| node.workers.iter().map(DataPath::waiting_packets).collect::<Vec<_>>();
    let before = waiting(&pair.a);
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
    pair.a.hand_over();
    assert_eq!(waiting(&pair.a), before);
    pair.exchange();
    assert_eq!(pair.b.delivered.len(), 3);
}

#[test]
fn a_session_that_was_confirmed_just_now_is_sent_under() {
    let mut pair = Pair::new();
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
    let response = pair.b.take_sent().remove(0);
    pair.a.receive(response.from, &response.bytes).unwrap();
    let first = pair.a.take_sent().remove(0);
    pair.b.receive(first.from, &first.bytes).unwrap();
    // The worker has told it, and control has not heard of it.
    assert!(!pair.b.events.is_empty());
    pair.b.hand_over();
    assert!(pair.b.has_sending_session(pair.a_at_b));
    pair.offer_b();
    assert_eq!(kinds(&pair.b.take_sent()), [4]);
}

#[test]
fn sessions_age_as_they_would_have() {
    let mut pair = Pair::connected();
    let start = pair.a.now.mono;
    // Whoever asked replaces a session up to 15 s before 120 s are over.
    for secs in [60, 90, 100] {
        pair.advance_to(start + Duration::from_secs(secs));
        pair.hand_over();
        pair.a.take_sent();
        pair.offer_a();
        pair.exchange();
    }
    pair.advance_to(start + Duration::from_secs(121));
    pair.a.take_sent();
    pair.offer_a();
    let sent = pair.a.take_sent();
    assert!(kinds(&sent).contains(&1), "its initiator replaces it: {:?}", kinds(&sent));
}

#[test]
fn keys_end_as_they_would_have() {
    let mut pair = Pair::connected();
    let start = pair.a.now.mono;
    pair.hand_over();
    assert_eq!(pair.a.receiving_sessions(), 1);
    pair.advance_to(start + Duration::from_secs(600));
    assert_eq!((pair.a.receiving_sessions(), pair.b.receiving_sessions()), (0, 0));
}
