//! What it gains to open the lone messages of a turn together: nanoseconds of a message's whole way through the data
//! path, one by one and together, and the ratio. `cargo bench -p ringfort-path`.
//!
//! Both ways take turns within a round, with the ciphers that are chosen on this machine. The ratio is what to compare
//! between machines and days. In the last column each message of a turn is of another session: nothing is opened
//! together, and the waiting itself shows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring_buffers::{Arena, Pool, View};
use ringfort_aead::{OpenKey, Plan, SealKey, Suite};
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::cell::{PeerShared, SessionNumber};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, write_data_header};
use ringfort_path::{
    Config, DataPath, Order, Outcome, PeerCell, Receiver, SessionOrder, Train, Unwatched, bare, budget,
};
use vnet_packets::Merge;

const NOW: Time = Time::from_secs(1_000);
const KEY: [u8; 32] = [7; 32];
/// Bytes of a packet.
const LENGTHS: [usize; 3] = [64, 576, 1_420];
/// Messages of a turn.
const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];
const ROUNDS: usize = 10;
/// Batches of either way in a round.
const BATCHES: usize = 1_000;
/// Messages of a batch, which are made at once and come between two looks at the clock.
const BATCH: usize = 16;

struct Bench {
    path: DataPath,
    seal: SealKey,
    counter: u64,
    pieces: Vec<View>,
}

/// With an argument, only suites whose names contain it.
fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let plan = ringfort_aead::choose().expect("a provider computes correctly").plan();
    for suite in Suite::ALL.into_iter().filter(|suite| suite.name().contains(&wanted)) {
        println!("{}: ns for a message, one by one / together, and how many times as fast (min-max)", suite.name());
        for len in LENGTHS {
            let cells = COUNTS.map(|count| cell(plan, suite, len, count, 1));
            println!("{len:>5} B  {}  {}", cells.join("  "), cell(plan, suite, len, BATCH, BATCH));
        }
    }
}

/// One figure of the table: `count` messages in a turn, of so many sessions.
fn cell(plan: Plan, suite: Suite, len: usize, count: usize, sessions: usize) -> String {
    let mut bench = Bench::new(plan, suite, sessions);
    let mut ratios = Vec::new();
    let (mut apart, mut together) = (Vec::new(), Vec::new());
    // The first round warms up, and is not counted.
    for round in 0..=ROUNDS {
        let mut spent = [Vec::new(), Vec::new()];
        for _ in 0..BATCHES {
            for (spent, together) in spent.iter_mut().zip([false, true]) {
                spent.push(bench.turns(len, count, sessions, together).as_nanos() as f64 / BATCH as f64);
            }
        }
        // Of a batch during which somebody else had the CPU, the median knows nothing.
        let [one_by_one, at_once] = spent.map(|spent| spread(spent).0);
        if round > 0 {
            apart.push(one_by_one);
            together.push(at_once);
            ratios.push(one_by_one / at_once);
        }
    }
    let name = if sessions > 1 { format!("{count} sessions") } else { format!("×{count}") };
    let [(apart, ..), (together, ..), (ratio, min, max)] = [apart, together, ratios].map(spread);
    format!("{name} {apart:.0}/{together:.0} {ratio:.2} ({min:.2}-{max:.2})")
}

/// Median, least and greatest.
fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let last = figures.len() - 1;
    (f64::midpoint(figures[last / 2], figures[last.div_ceil(2)]), figures[0], figures[last])
}

impl Bench {
    /// A worker with one peer, which has so many sessions.
    fn new(plan: Plan, suite: Suite, sessions: usize) -> Self {
        let config = Config { worker: 0, workers: 1, node: Node::SINGLE, mtu: 1_420, merge: Merge::ALL, ragged: false };
        let pool = Pool::new(Arena::heap(&budget::budget()));
        let mut path = DataPath::new(config, pool, Arc::new(Nesting::new()), Unwatched);
        let id = PeerId { index: 0, generation: 0 };
        let cell = Arc::new(PeerCell::new(id, Arc::new(PeerShared::new(1))));
        cell.shared().endpoint.set(endpoint());
        let mut routes = AllowedIps::new();
        routes.insert(Prefix::new(IpAddr::from([10, 0, 0, 1]), 32).expect("32 bits"), id);
        for order in [Order::AddPeer(cell.clone()), Order::Routes { routes, version: 1 }] {
            assert_eq!(path.handle_order(NOW, order), Outcome::Done);
        }
        for index in (0..sessions).map(index) {
            let receive = ReceiveSession::new(OpenKey::new(plan, suite, &KEY), index, NOW, true);
            let send = SendSession::new(SealKey::new(plan, suite, &KEY), index, index, NOW, true);
            let (receiver, _) = Receiver::new(cell.clone(), SessionNumber::default().next(), receive, send);
            path.handle_session(NOW, SessionOrder::Begin(Box::new(receiver)));
        }
        Self { path, seal: SealKey::new(plan, suite, &KEY), counter: 0, pieces: Vec::with_capacity(64) }
    }

    /// [`BATCH`] messages come in turns of `count` each.
    fn turns(&mut self, len: usize, count: usize, sessions: usize, together: bool) -> Duration {
        let packet = packet(len);
        let messages: Vec<Train> = (0..BATCH).map(|i| self.message(index(i % sessions), &packet)).collect();
        let mut turns: Vec<Vec<Train>> = Vec::new();
        for message in messages {
            match turns.last_mut().filter(|turn| turn.len() < count) {
                Some(turn) => turn.push(message),
                None => turns.push(vec![message]),
            }
        }
        let before = self.path.counters().tun_write_packets;
        let begin = Instant::now();
        for turn in &mut turns {
            if together {
                bare::turn_in(&mut self.path, NOW, turn, &mut self.pieces);
            } else {
                self.one_by_one(turn);
            }
        }
        let took = begin.elapsed();
        assert_eq!(self.path.counters().tun_write_packets - before, BATCH as u64, "all are delivered");
        took
    }

    /// [`bare::turn_in`], in which no message waits for another.
    fn one_by_one(&mut self, turn: &mut Vec<Train>) {
        for train in turn.drain(..) {
            self.path.handle_train(NOW, train, &mut || None);
        }
        self.path.flush_writes(NOW);
        while self.path.poll_write(&mut self.pieces) {
            self.pieces.clear();
        }
        while self.path.poll_event().is_some() {}
    }

    fn message(&mut self, index: u32, packet: &[u8]) -> Train {
        let mut message = vec![0; packet.len() + DATA_LEN_MIN];
        let (header, body) = message.split_first_chunk_mut::<DATA_HEADER_LEN>().expect("longer than a header");
        write_data_header(header, index, self.counter);
        self.seal.seal_from(self.counter, packet, body).expect("the body has room for packet and tag");
        self.counter += 1;
        let view = bare::filled(&self.path, budget::line::UDP_READS, &message).expect("all slots have come home");
        Train { view, stride: message.len(), endpoint: endpoint(), ecn: 0, handed: false }
    }
}

fn index(session: usize) -> u32 {
    0x1234_0000 + ((session as u32) << 8)
}

fn endpoint() -> Endpoint {
    Endpoint::new(SocketAddr::from(([192, 0, 2, 1], 51_820)))
}

/// An IPv4 packet of a protocol that nobody merges.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    let [high, low] = (len as u16).to_be_bytes();
    packet[..20].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet
}
