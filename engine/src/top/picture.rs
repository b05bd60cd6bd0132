//! What changed between two answers of a gateway: rates, means, and what was thrown away.

use std::collections::{BTreeMap, HashMap};

use ringfort_core::device::PeerState;

use crate::metrics::{Overview, PeerOverview, WorkerOverview};

/// The state of a peer that has a session.
const UP: &str = PeerState::Up.name();

/// A gateway between two moments. Without an earlier one there are totals, but no rates.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// For how long it is up, in seconds.
    pub up_s: f64,
    /// The interface is up.
    pub is_up: bool,
    /// Another gateway serves the peers.
    pub is_passive: bool,
    /// There is a private key.
    pub has_key: bool,
    /// How many peers there are.
    pub peers: u64,
    /// How many of them are up.
    pub peers_up: u64,
    /// All workers together.
    pub all: ThreadRow,
    /// The control thread, then each worker.
    pub threads: Vec<ThreadRow>,
    /// Handshakes.
    pub handshakes: Handshakes,
    /// What was thrown away in the interval, by reason: how much a second, and in all.
    pub drops: BTreeMap<String, DropRate>,
    /// Peers, of which there may be more.
    pub rows: Vec<PeerRow>,
}

/// What one thread does, in a second.
#[derive(Clone, Debug, Default)]
pub struct ThreadRow {
    /// `control`, or the worker's number.
    pub name: String,
    /// Share of a CPU.
    pub busy: Option<f64>,
    /// Packets from peers and to them.
    pub packets: [f64; 2],
    /// Bits from peers and to them.
    pub bits: [f64; 2],
    /// Datagrams in a train, received and sent.
    pub train: [Option<f64>; 2],
    /// Operations in the ring.
    pub ring: u64,
    /// What waits for it, and packets that wait for a session.
    pub waiting: u64,
    /// What it throws away.
    pub drops: f64,
}

/// Handshakes in the interval, and in all.
#[derive(Clone, Debug, Default)]
pub struct Handshakes {
    /// Completed ones, in a second.
    pub rate: f64,
    /// Completed ones, in all.
    pub total: u64,
    /// Attempts that were given up, in all.
    pub given_up: u64,
    /// The mean duration of those that we began, in the interval or else in all.
    pub mean_s: Option<f64>,
    /// Messages that wait for control.
    pub waiting: u64,
}

/// What was thrown away for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropRate {
    /// In a second.
    pub rate: f64,
    /// In all.
    pub total: u64,
}

/// A peer.
#[derive(Clone, Debug, Default)]
pub struct PeerRow {
    /// Its name, or its key.
    pub name: String,
    /// How it does.
    pub state: String,
    /// Bits from it and to it in a second, if it was seen before.
    pub bits: Option<[f64; 2]>,
    /// Bytes from it and to it, in all.
    pub bytes: [u64; 2],
    /// How long ago the last handshake was, in seconds.
    pub handshake_s: Option<f64>,
    /// The worker that receives from it.
    pub worker: Option<usize>,
    /// What was thrown away of its packets.
    pub drops: u64,
    /// Where it is reached.
    pub endpoint: String,
}

impl Picture {
    /// What changed from `before` to `now`. An answer of another run of the daemon is not compared with.
    #[must_use]
    pub fn new(before: Option<&Overview>, now: &Overview) -> Self {
        let before = before.filter(|before| before.started_s == now.started_s && before.time_s < now.time_s);
        let interval = before.map(|before| now.time_s - before.time_s);
        let rate = |before: u64, now: u64| interval.map_or(0.0, |s| now.saturating_sub(before) as f64 / s);
        let drops = drops(before, now, rate);
        let mut threads = vec![control(before, now, interval, rate)];
        threads.extend(now.workers.iter().enumerate().map(|(index, worker)| {
            let before = before.and_then(|before| before.workers.get(index));
            thread(index.to_string(), before, worker, interval)
        }));
        Self {
            up_s: now.time_s - now.started_s,
            is_up: now.up,
            is_passive: now.passive,
            has_key: now.has_private_key,
            peers: now.peers,
            // A gateway of an older version does not count them.
            peers_up: now
                .peers_in_state
                .get(UP)
                .copied()
                .unwrap_or_else(|| now.busiest_peers.iter().filter(|peer| peer.state == UP).count() as u64),
            all: sum(&threads, drops.values().map(|drop| drop.rate).sum(), now, before),
            threads,
            handshakes: handshakes(before, now, rate),
            drops: drops.into_iter().filter(|(_, drop)| drop.rate > 0.0).collect(),
            rows: peers(before, now, interval),
        }
    }
}

fn figure(worker: &WorkerOverview, name: &str) -> u64 {
    worker.figures.get(name).copied().unwrap_or(0)
}

fn thread(name: String, before: Option<&WorkerOverview>, now: &WorkerOverview, interval: Option<f64>) -> ThreadRow {
    let since = |name: &str| before.map_or(0, |before| figure(now, name).saturating_sub(figure(before, name))) as f64;
    let per_second = |count: f64| interval.map_or(0.0, |s| count / s);
    let mean = |sum: &str, trains: &str| (since(trains) > 0.0).then(|| since(sum) / since(trains));
    let dropped = |of: &WorkerOverview| of.drops.values().sum::<u64>();
    ThreadRow {
        name,
        busy: busy(before.and_then(|before| before.cpu_s), now.cpu_s, interval),
        packets: ["tun_write_packets", "tun_read_packets"].map(|name| per_second(since(name))),
        bits: ["tun_write_bytes", "tun_read_bytes"].map(|name| 8.0 * per_second(since(name))),
        train: [mean("udp_receive_datagrams", "udp_receive_trains"), mean("udp_send_datagrams", "udp_send_trains")],
        ring: figure(now, "ring_operations"),
        waiting: figure(now, "staged") + now.queues.values().sum::<u64>(),
        drops: per_second(before.map_or(0.0, |before| dropped(now).saturating_sub(dropped(before)) as f64)),
    }
}

fn control(
    before: Option<&Overview>,
    now: &Overview,
    interval: Option<f64>,
    rate: impl Fn(u64, u64) -> f64,
) -> ThreadRow {
    let dropped = |of: &Overview| of.control.drops.values().sum::<u64>();
    ThreadRow {
        name: "control".to_owned(),
        busy: busy(before.and_then(|before| before.control.cpu_s), now.control.cpu_s, interval),
        waiting: now.control.handshakes_waiting + now.control.events_waiting,
        drops: before.map_or(0.0, |before| rate(dropped(before), dropped(now))),
        ..ThreadRow::default()
    }
}

fn busy(before: Option<f64>, now: Option<f64>, interval: Option<f64>) -> Option<f64> {
    Some(((now? - before?) / interval?).max(0.0))
}

/// All workers together; the means of trains are over all of their trains.
fn sum(threads: &[ThreadRow], drops: f64, now: &Overview, before: Option<&Overview>) -> ThreadRow {
    let of = |overview: &Overview, name: &str| overview.workers.iter().map(|worker| figure(worker, name)).sum::<u64>();
    let since = |name: &str| before.map_or(0, |before| of(now, name).saturating_sub(of(before, name))) as f64;
    let mean = |sum: &str, trains: &str| (since(trains) > 0.0).then(|| since(sum) / since(trains));
    let add =
        |pick: fn(&ThreadRow) -> [f64; 2]| threads.iter().map(pick).fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    ThreadRow {
        name: "all".to_owned(),
        packets: add(|row| row.packets),
        bits: add(|row| row.bits),
        train: [mean("udp_receive_datagrams", "udp_receive_trains"), mean("udp_send_datagrams", "udp_send_trains")],
        drops,
        ..ThreadRow::default()
    }
}

fn drops(before: Option<&Overview>, now: &Overview, rate: impl Fn(u64, u64) -> f64) -> BTreeMap<String, DropRate> {
    let of = |overview: &Overview| -> HashMap<String, u64> {
        let mut sums = HashMap::new();
        let each = overview.workers.iter().map(|worker| &worker.drops).chain([&overview.control.drops]);
        for (reason, count) in each.flatten() {
            *sums.entry(reason.to_string()).or_insert(0) += count;
        }
        sums
    };
    let earlier = before.map(of);
    let drop = |(reason, total): (String, u64)| {
        let earlier = earlier.as_ref().and_then(|earlier| earlier.get(&reason).copied());
        (reason, DropRate { rate: earlier.map_or(0.0, |earlier| rate(earlier, total)), total })
    };
    of(now).into_iter().map(drop).collect()
}

fn handshakes(before: Option<&Overview>, now: &Overview, rate: impl Fn(u64, u64) -> f64) -> Handshakes {
    let completed = |of: &Overview| of.handshakes.initiated + of.handshakes.answered;
    let earlier = before.map(|before| &before.handshakes).filter(|h| h.initiated < now.handshakes.initiated);
    let (count, sum_s) = earlier.map_or((0, 0.0), |earlier| (earlier.initiated, earlier.initiated_s));
    let fresh = now.handshakes.initiated - count;
    Handshakes {
        rate: before.map_or(0.0, |before| rate(completed(before), completed(now))),
        total: completed(now),
        given_up: now.handshakes.given_up,
        mean_s: (fresh > 0).then(|| (now.handshakes.initiated_s - sum_s) / fresh as f64),
        waiting: now.control.handshakes_waiting,
    }
}

fn peers(before: Option<&Overview>, now: &Overview, interval: Option<f64>) -> Vec<PeerRow> {
    let earlier: HashMap<&str, &PeerOverview> = before
        .map(|before| before.busiest_peers.iter().map(|peer| (peer.public_key.as_str(), peer)).collect())
        .unwrap_or_default();
    let row = |peer: &PeerOverview| {
        let rates = earlier.get(peer.public_key.as_str()).zip(interval).map(|(earlier, s)| {
            [(earlier.rx_bytes, peer.rx_bytes), (earlier.tx_bytes, peer.tx_bytes)]
                .map(|(before, now)| 8.0 * now.saturating_sub(before) as f64 / s)
        });
        PeerRow {
            name: peer.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| peer.public_key.clone()),
            state: peer.state.to_string(),
            bits: rates,
            bytes: [peer.rx_bytes, peer.tx_bytes],
            handshake_s: peer.last_handshake_s.map(|at| (now.time_s - at).max(0.0)),
            worker: peer.worker,
            drops: peer.drops.values().sum(),
            endpoint: peer.endpoint.clone().unwrap_or_default(),
        }
    };
    now.busiest_peers.iter().map(row).collect()
}
