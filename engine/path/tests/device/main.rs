//! The control core and the data path together, step by step: handshakes, timers, settings. Whole networks under faults
//! are simulated elsewhere (`bench/simulator`).

mod all_peers;
mod config;
mod cookies;
mod crossing;
mod effects;
mod hand_over;
mod handshake;
mod hours;
mod memory;
mod node;
mod passive;
mod recovery;
#[path = "../../../core/src/seeded_rng.rs"]
mod rng;
mod sources;
mod suites;
mod timers;
mod watch;

// Where the file of `rng` looks for it.
use ringfort_core::crypto;
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;

use node::{Node, Sent, inner_packet};

const START: Time = Time::from_secs(1_000);

/// Two nodes that know each other's keys; only the first knows the other's endpoint.
struct Pair {
    a: Node,
    b: Node,
    /// The second as the first knows it, and the other way round.
    b_at_a: PeerId,
    a_at_b: PeerId,
    numbers: u32,
}

impl Pair {
    fn new() -> Self {
        let (mut a, mut b) = (Node::new(1, START), Node::new(2, START));
        let b_at_a = a.add_peer(&b, true);
        let a_at_b = b.add_peer(&a, false);
        Self { a, b, b_at_a, a_at_b, numbers: 0 }
    }

    /// Two nodes that have shaken hands and exchanged a packet each way; nothing is on the wire.
    fn connected() -> Self {
        let mut pair = Self::new();
        pair.offer_a();
        pair.exchange();
        pair.offer_b();
        pair.exchange();
        assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1));
        pair.a.delivered.clear();
        pair.b.delivered.clear();
        pair
    }

    /// A packet from the first to the second.
    fn offer_a(&mut self) {
        self.numbers += 1;
        let packet = inner_packet(self.a.inner, self.b.inner, self.numbers);
        self.a.send_packet(&packet);
        self.a.settle();
    }

    /// A packet from the second to the first.
    fn offer_b(&mut self) {
        self.numbers += 1;
        let packet = inner_packet(self.b.inner, self.a.inner, self.numbers);
        self.b.send_packet(&packet);
        self.b.settle();
    }

    /// Carries datagrams both ways, without loss and in no time, until none is left. Returns them.
    fn exchange(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        loop {
            let (from_a, from_b) = (self.a.take_sent(), self.b.take_sent());
            if from_a.is_empty() && from_b.is_empty() {
                return all;
            }
            for sent in &from_a {
                let _ = self.b.receive(sent.from, &sent.bytes);
                self.b.settle();
            }
            for sent in &from_b {
                let _ = self.a.receive(sent.from, &sent.bytes);
                self.a.settle();
            }
            all.extend(from_a.into_iter().chain(from_b));
        }
    }

    /// Lets both clocks run, without anything being carried.
    fn advance_to(&mut self, until: Time) {
        self.a.advance_to(until);
        self.b.advance_to(until);
    }

    /// Lets both clocks run, everything being carried at once, and returns what was.
    fn run_until(&mut self, until: Time) -> Vec<Sent> {
        let mut all = self.exchange();
        loop {
            let due = [&self.a, &self.b].into_iter().filter_map(|node| node.device.poll_timeout()).min();
            let Some(due) = due.filter(|&due| due <= until) else { break };
            self.advance_to(due);
            all.extend(self.exchange());
        }
        self.advance_to(until);
        all
    }
}

/// The message types of what was sent; keepalives are 40.
fn kinds(sent: &[Sent]) -> Vec<u8> {
    sent.iter().map(|sent| if sent.is_keepalive() { 40 } else { sent.kind() }).collect()
}
