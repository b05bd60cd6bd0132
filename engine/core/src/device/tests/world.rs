//! A virtual network of nodes with a virtual clock. One seed determines a run: what is lost, doubled and delayed, who
//! restarts when, and how long control takes to see a worker's event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rand_core::Rng as _;

use super::node::{Node, Sent, at, inner_packet, number};
use crate::device::PeerEvent;
use crate::suite::Suite;
use crate::test_support::SeededRng;
use crate::time::Time;

/// What the network does to datagrams while it is faulty. Chances are in 1/256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u8,
    pub duplication: u8,
    /// The greatest delay in milliseconds: reordering comes from it.
    pub delay_max_ms: u64,
    /// Events that find their queue full.
    pub event_loss: u8,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Datagram { from: std::net::SocketAddr, bytes: Vec<u8> },
    Event,
    Offer { to: usize, number: u32 },
    Restart { seed: u64 },
    Rebind,
    Load { on: bool },
}

pub struct World {
    pub nodes: Vec<Node>,
    pub now: Time,
    pub faults: Faults,
    /// Datagrams that were sent since this was last emptied.
    pub wire: Vec<Sent>,
    agenda: BinaryHeap<Reverse<(Time, u64, usize, What)>>,
    sequence: u64,
    rng: SeededRng,
    /// When each packet was offered, and to whom.
    offered: BTreeMap<u32, (Time, usize)>,
    arrived: BTreeMap<u32, Time>,
}

/// One way through the network when it is in order.
const LATENCY: Duration = Duration::from_millis(20);

impl World {
    /// As many nodes as asked for, each a peer of each other. `knows` tells who knows whose endpoint.
    pub fn new(count: usize, seed: u64, knows: impl Fn(usize, usize) -> bool) -> Self {
        let start = Time::from_secs(1_000);
        let mut nodes: Vec<_> = (0..count).map(|n| Node::new(n as u8 + 1, start)).collect();
        for a in 0..count {
            for b in (0..count).filter(|&b| b != a) {
                let (key, inner, address) = (nodes[b].public(), nodes[b].inner, nodes[b].address);
                nodes[a].add_peer_as(key, inner, knows(a, b).then_some(address));
            }
            nodes[a].rng = SeededRng::new(seed.wrapping_mul(1_000_003) ^ a as u64);
        }
        Self {
            nodes,
            now: start,
            faults: Faults::default(),
            wire: Vec::new(),
            agenda: BinaryHeap::new(),
            sequence: 0,
            rng: SeededRng::new(seed),
            offered: BTreeMap::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// Sets the suite that each uses with each other; `suite` is asked for both directions.
    pub fn set_suites(&mut self, suite: impl Fn(usize, usize) -> Suite) {
        let keys: Vec<_> = self.nodes.iter().map(Node::public).collect();
        for (a, node) in self.nodes.iter_mut().enumerate() {
            for (b, &key) in keys.iter().enumerate().filter(|&(b, _)| b != a) {
                node.device.set_peer_suite(self.now, key, Some(suite(a, b))).expect("room");
            }
            node.apply_pending();
        }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    /// Offers a packet to a node's TUN device at a time to come.
    pub fn offer(&mut self, when: Time, from: usize, to: usize) {
        let number = self.offered.len() as u32;
        self.offered.insert(number, (when, to));
        self.schedule(when, from, What::Offer { to, number });
    }

    pub fn restart(&mut self, when: Time, node: usize) {
        let seed = self.rng.next_u64();
        self.schedule(when, node, What::Restart { seed });
    }

    /// The node's address changes, and nobody is told.
    pub fn rebind(&mut self, when: Time, node: usize) {
        self.schedule(when, node, What::Rebind);
    }

    /// The node's handshake queue gets long, or short again.
    pub fn load(&mut self, when: Time, node: usize, on: bool) {
        self.schedule(when, node, What::Load { on });
    }

    /// Runs until a time; every deadline is met, everything that is due happens in order.
    pub fn run_until(&mut self, until: Time) {
        self.collect();
        while let Some(next) = self.next_at().filter(|&next| next <= until) {
            assert!(next >= self.now, "no deadline in the past");
            self.now = next;
            for node in &mut self.nodes {
                node.now = at(next);
            }
            while let Some((node, what)) = self.pop_due(next) {
                self.nodes[node].queue_full = self.chance(self.faults.event_loss);
                self.happen(node, what);
            }
            for node in &mut self.nodes {
                while node.device.poll_timeout().is_some_and(|due| due <= next) {
                    node.device.handle_timeout(node.now, &mut node.rng);
                    node.apply_pending();
                }
            }
            self.collect();
        }
        self.now = until;
        for node in &mut self.nodes {
            node.now = at(until);
        }
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Packets offered from a time on that never arrived.
    pub fn missing_since(&self, since: Time) -> Vec<u32> {
        let missing = |(number, (when, _)): (&u32, &(Time, usize))| {
            (*when >= since && !self.arrived.contains_key(number)).then_some(*number)
        };
        self.offered.iter().filter_map(missing).collect()
    }

    /// How long the slowest of the packets offered from a time on took, of those that arrived.
    pub fn slowest_since(&self, since: Time) -> Duration {
        let took = |(number, arrived): (&u32, &Time)| arrived.since(self.offered[number].0);
        let recent = self.arrived.iter().filter(|(number, _)| self.offered[number].0 >= since);
        recent.map(took).max().unwrap_or_default()
    }

    fn next_at(&self) -> Option<Time> {
        let agenda = self.agenda.peek().map(|Reverse((when, ..))| *when);
        let deadlines = self.nodes.iter().filter_map(|node| node.device.poll_timeout());
        deadlines.chain(agenda).min()
    }

    fn pop_due(&mut self, now: Time) -> Option<(usize, What)> {
        self.agenda.peek().filter(|Reverse((when, ..))| *when <= now)?;
        self.agenda.pop().map(|Reverse((_, _, node, what))| (node, what))
    }

    fn schedule(&mut self, when: Time, node: usize, what: What) {
        self.sequence += 1;
        self.agenda.push(Reverse((when, self.sequence, node, what)));
    }

    fn happen(&mut self, index: usize, what: What) {
        let node = &mut self.nodes[index];
        match what {
            // Whatever is wrong with it is the network's doing; the counters of a test's choice tell.
            What::Datagram { from, bytes } => drop(node.receive(from, &bytes)),
            What::Event => node.see_event(),
            What::Offer { to, number } => {
                let (source, destination) = (node.inner, self.nodes[to].inner);
                self.nodes[index].send_packet(inner_packet(source, destination, number));
            }
            What::Restart { seed } => node.restart(seed),
            What::Rebind => node.address.set_port(node.address.port() + 1),
            What::Load { on } => node.under_load = on,
        }
        self.collect();
    }

    /// Takes what the nodes have produced: datagrams go to the network, events on their way to control.
    fn collect(&mut self) {
        for index in 0..self.nodes.len() {
            for sent in self.nodes[index].take_sent() {
                self.transmit(sent);
            }
            for inner in std::mem::take(&mut self.nodes[index].delivered) {
                let number = number(&inner);
                assert_eq!(self.offered[&number].1, index, "a packet arrives where it was sent to");
                assert!(self.arrived.insert(number, self.now).is_none(), "a packet arrives at most once");
            }
            for _ in 0..self.nodes[index].unscheduled_events() {
                let delay = Duration::from_micros(self.random(2_000));
                self.schedule(self.now + delay, index, What::Event);
            }
        }
    }

    fn transmit(&mut self, sent: Sent) {
        self.wire.push(sent.clone());
        let Some(to) = self.nodes.iter().position(|node| node.address == sent.to) else { return };
        let copies = if self.chance(self.faults.loss) {
            0
        } else if self.chance(self.faults.duplication) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = Duration::from_millis(self.random(self.faults.delay_max_ms + 1));
            let what = What::Datagram { from: sent.from, bytes: sent.bytes.clone() };
            self.schedule(self.now + LATENCY + delay, to, what);
        }
    }

    fn chance(&mut self, of_256: u8) -> bool {
        self.random(256) < u64::from(of_256)
    }
}

/// What control sees of the workers' events, one at a time and late.
impl Node {
    fn see_event(&mut self) {
        if let Some(event) = self.in_flight.pop_front() {
            let event: PeerEvent = event;
            self.device.handle_event(self.now, event, &mut self.rng);
            self.apply_pending();
        }
    }

    fn unscheduled_events(&mut self) -> usize {
        let count = self.events.len();
        self.in_flight.append(&mut self.events);
        count
    }

    fn apply_pending(&mut self) {
        self.apply_actions();
        self.check_indices();
    }
}
