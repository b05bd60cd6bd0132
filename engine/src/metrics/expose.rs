//! From counters and a snapshot to the text of a scrape.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use ringfort_core::device::{Durations, PeerState};
use ringfort_core::drops::DropReason;
use ringfort_path::turns::{EVENTS_WAITING, HANDOFFS_WAITING, HANDSHAKES_WAITING};
use ringfort_path::{Stage, TrainLengths};
use ringfort_worker::{WorkerStats, thread_cpu_time};

use super::Registry;
use super::families::{self, About};
use super::sample::{ControlSample, PeerSample, Snapshot};
use super::text::{Format, Text};
use crate::cli::memory::Division;

/// The label `worker` of what control does.
const CONTROL: &str = "control";
/// About as long as the series of a peer are, all together.
const BYTES_PER_PEER: usize = 1_152;

/// How many peers are in each state, in the order of [`PeerState::ALL`].
pub type States = [u64; PeerState::ALL.len()];

/// How many of these peers are in each state.
pub fn states(peers: &[PeerSample]) -> States {
    PeerState::ALL.map(|state| peers.iter().filter(|peer| peer.state == state).count() as u64)
}

/// All metrics. `peers` are those that are shown, of which there may be fewer than there are peers; `states` of all, if
/// they were looked at.
pub fn text(
    format: Format,
    registry: &Registry,
    Snapshot { control, .. }: &Snapshot,
    peers: &[PeerSample],
    states: Option<States>,
) -> String {
    let mut text = Text::new(format, &registry.interface.get());
    text.reserve(64 * 1024 + peers.len() * BYTES_PER_PEER);
    let names: Vec<String> = (0..registry.workers.len()).map(|worker| worker.to_string()).collect();
    let workers: Vec<(&str, &WorkerStats)> =
        names.iter().map(String::as_str).zip(registry.workers.iter().map(AsRef::as_ref)).collect();
    identity(&mut text, registry);
    memory(&mut text, &registry.memory);
    state(&mut text, control, peers.len(), states);
    handshakes(&mut text, control);
    threads(&mut text, registry, control, &workers);
    queues(&mut text, registry, control, &names);
    drops(&mut text, control, &workers);
    figures(&mut text, control, &workers);
    trains(&mut text, &workers);
    stages(&mut text, &workers);
    each_peer(&mut text, peers);
    text.finish()
}

/// Which program runs, since when, and with what.
fn identity(text: &mut Text, registry: &Registry) {
    let mut build = text.family(&families::BUILD);
    build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    let started = registry.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family(&families::START_TIME).sample(&[], started.as_secs_f64());
    let mut ciphers = text.family(&families::CIPHER);
    for (suite, provider) in &registry.ciphers {
        ciphers.sample(&[("suite", suite.name()), ("provider", provider)], 1_u64);
    }
    let node = registry.node;
    if !node.is_single() {
        let [number, bits] = [node.number(), node.bits()].map(|number| number.to_string());
        text.family(&families::NODE).sample(&[("number", &number), ("bits", &bits)], 1_u64);
    }
}

/// What is given out once, at the start.
fn memory(text: &mut Text, division: &Division) {
    let mut family = text.family(&families::MEMORY);
    family.sample(&[("for", "packets")], division.packets() as u64);
    family.sample(&[("for", "sockets")], division.sockets() as u64);
    // Without one there is nothing to compare with.
    if let Some(bytes) = division.bound.limit() {
        text.family(&families::MEMORY_BOUND).sample(&[], bytes as u64);
    }
}

fn state(text: &mut Text, control: &ControlSample, shown: usize, states: Option<States>) {
    let mut gauge = |about: &About, value: u64| text.family(about).sample(&[], value);
    gauge(&families::UP, control.is_up.into());
    gauge(&families::PASSIVE, control.is_passive.into());
    gauge(&families::PRIVATE_KEY_SET, control.has_key.into());
    gauge(&families::PEERS, control.peers as u64);
    gauge(&families::PEERS_SHOWN, shown as u64);
    gauge(&families::ALLOWED_IPS, control.routes as u64);
    if let Some(counts) = states {
        let mut family = text.family(&families::PEERS_IN_STATE);
        for (state, count) in PeerState::ALL.into_iter().zip(counts) {
            family.sample(&[("state", state.name())], count);
        }
    }
}

fn handshakes(text: &mut Text, control: &ControlSample) {
    let counts = &control.handshakes;
    let mut family = text.family(&families::HANDSHAKES);
    family.sample(&[("role", "initiator"), ("outcome", "completed")], counts.initiated.count());
    family.sample(&[("role", "initiator"), ("outcome", "given_up")], counts.given_up);
    family.sample(&[("role", "responder"), ("outcome", "completed")], counts.answered.count());
    let mut family = text.family(&families::HANDSHAKE_DURATION);
    for (role, durations) in [("initiator", &counts.initiated), ("responder", &counts.answered)] {
        let (buckets, longer) = buckets(durations);
        family.histogram(&[("role", role)], buckets, longer, durations.sum().as_secs_f64());
    }
    let mut family = text.family(&families::HANDSHAKE_MESSAGES_MADE);
    family.sample(&[("type", "initiation")], counts.initiations);
    family.sample(&[("type", "response")], counts.responses);
    let mut family = text.family(&families::HANDSHAKE_MESSAGES_SENT);
    family.sample(&[("outcome", "sent")], control.handshakes_sent);
    family.sample(&[("outcome", "refused")], control.handshakes_unsent);
}

fn buckets(durations: &Durations) -> (impl Iterator<Item = (f64, u64)>, u64) {
    let counts = durations.counts();
    let bounds = Durations::BOUNDS.iter().map(Duration::as_secs_f64);
    (bounds.zip(counts.iter().copied()), counts[Durations::BOUNDS.len()])
}

/// What the threads cost.
fn threads(text: &mut Text, registry: &Registry, control: &ControlSample, workers: &[(&str, &WorkerStats)]) {
    let mut family = text.family(&families::CPU);
    if let Some(time) = thread_cpu_time(registry.control_thread) {
        family.sample(&[("worker", CONTROL)], time.as_secs_f64());
    }
    for (worker, stats) in workers {
        if let Some(time) = stats.cpu_time() {
            family.sample(&[("worker", worker)], time.as_secs_f64());
        }
    }
    let mut family = text.family(&families::CONTROL_TURN);
    let (buckets, longer) = buckets(&control.turns);
    family.histogram(&[], buckets, longer, control.turns.sum().as_secs_f64());
}

/// What waits for each thread, and for how much there is room.
fn queues(text: &mut Text, registry: &Registry, control: &ControlSample, names: &[String]) {
    let queues = &registry.queues;
    let mut family = text.family(&families::QUEUE_LENGTH);
    let mut sample = |worker: &str, queue, len: usize| {
        family.sample(&[("worker", worker), ("queue", queue)], len as u64);
    };
    sample(CONTROL, "handshakes", control.handshakes_waiting);
    sample(CONTROL, "events", queues.control.events_waiting());
    for (name, inbox) in names.iter().zip(&queues.workers) {
        let lengths = inbox.lengths();
        sample(name, "sessions", lengths.sessions);
        sample(name, "orders", lengths.mail);
        sample(name, "handoffs", lengths.handoffs);
    }
    let mut family = text.family(&families::QUEUE_CAPACITY);
    family.sample(&[("worker", CONTROL), ("queue", "handshakes")], HANDSHAKES_WAITING as u64);
    family.sample(&[("worker", CONTROL), ("queue", "events")], EVENTS_WAITING as u64);
    for name in names {
        family.sample(&[("worker", name), ("queue", "handoffs")], HANDOFFS_WAITING as u64);
    }
}

fn drops(text: &mut Text, control: &ControlSample, workers: &[(&str, &WorkerStats)]) {
    let mut family = text.family(&families::DROPS);
    for &reason in DropReason::ALL {
        family.sample(&[("worker", CONTROL), ("reason", reason.name())], control.drops.get(reason));
        for (worker, stats) in workers {
            family.sample(&[("worker", worker), ("reason", reason.name())], stats.dropped(reason));
        }
    }
}

/// Everything in the table of the workers' figures. One of these control has as well.
fn figures(text: &mut Text, control: &ControlSample, workers: &[(&str, &WorkerStats)]) {
    let values: Vec<_> = workers.iter().map(|(_, stats)| stats.figures()).collect();
    let mut rows = WorkerStats::TABLE.iter().enumerate().peekable();
    while let Some((first, figure)) = rows.next() {
        let mut family = text.family(&families::of(figure));
        if figure.name == "cookies_sent" {
            family.sample(&[("worker", CONTROL)], control.cookies_sent);
        }
        let others = std::iter::from_fn(|| rows.next_if(|(_, other)| other.family == figure.family));
        for (row, figure) in std::iter::once((first, figure)).chain(others) {
            for ((worker, _), values) in workers.iter().zip(&values) {
                let (_, value) = values[row];
                match figure.label {
                    Some(label) => family.sample(&[("worker", worker), label], value),
                    None => family.sample(&[("worker", worker)], value),
                }
            }
        }
    }
}

fn trains(text: &mut Text, workers: &[(&str, &WorkerStats)]) {
    let mut histogram = |about: &About, of: fn(&WorkerStats) -> (TrainLengths, u64)| {
        let mut family = text.family(about);
        for (worker, stats) in workers {
            let (lengths, datagrams) = of(stats);
            let bounds = TrainLengths::BOUNDS.iter().map(|&bound| bound as f64);
            family.histogram(&[("worker", worker)], bounds.zip(lengths.counts().iter().copied()), 0, datagrams);
        }
    };
    histogram(&families::SEND_TRAINS, |stats| (stats.send_trains(), stats.udp_send_datagrams.get()));
    histogram(&families::RECEIVE_TRAINS, |stats| (stats.receive_trains(), stats.udp_receive_datagrams.get()));
}

/// With `--stages`.
fn stages(text: &mut Text, workers: &[(&str, &WorkerStats)]) {
    let tables: BTreeMap<&str, _> =
        workers.iter().filter_map(|(worker, stats)| Some((*worker, stats.stages()?))).collect();
    if tables.is_empty() {
        return;
    }
    let mut family = text.family(&families::STAGE);
    for (worker, table) in tables {
        for stage in Stage::ALL {
            let time = Duration::from_nanos(table.of(stage).total_ns());
            family.sample(&[("worker", worker), ("stage", stage.name())], time.as_secs_f64());
        }
    }
}

fn each_peer(text: &mut Text, peers: &[PeerSample]) {
    let keys: Vec<String> = peers.iter().map(|peer| Base64::encode_string(&peer.key)).collect();
    let mut counter = |about: &About, of: fn(&PeerSample) -> u64| {
        let mut family = text.family(about);
        for (key, peer) in keys.iter().zip(peers) {
            family.sample(&[("peer", key)], of(peer));
        }
    };
    counter(&families::PEER_RECEIVE_BYTES, |peer| peer.traffic.rx_bytes);
    counter(&families::PEER_TRANSMIT_BYTES, |peer| peer.traffic.tx_bytes);
    counter(&families::PEER_RECEIVE_PACKETS, |peer| peer.traffic.rx_packets);
    counter(&families::PEER_TRANSMIT_PACKETS, |peer| peer.traffic.tx_packets);
    counter(&families::PEER_HANDSHAKES, |peer| peer.handshakes);
    let mut family = text.family(&families::PEER);
    for (key, peer) in keys.iter().zip(peers) {
        family.sample(&[("peer", key), ("name", peer.name.as_deref().unwrap_or_default())], 1_u64);
    }
    let mut family = text.family(&families::PEER_UP);
    for (key, peer) in keys.iter().zip(peers) {
        family.sample(&[("peer", key)], u64::from(peer.state == PeerState::Up));
    }
    let mut family = text.family(&families::PEER_DROPS);
    for (key, peer) in keys.iter().zip(peers) {
        for (reason, count) in &peer.drops {
            family.sample(&[("peer", key), ("reason", reason.name())], *count);
        }
    }
    let mut family = text.family(&families::PEER_LAST_HANDSHAKE);
    for (key, peer) in keys.iter().zip(peers) {
        if let Some(at) = peer.last_handshake {
            family.sample(&[("peer", key)], at.as_secs_f64());
        }
    }
}
