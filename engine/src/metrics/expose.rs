//! From counters and a snapshot to the text of a scrape.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use ringfort_core::device::{Durations, PeerState};
use ringfort_core::drops::DropReason;
use ringfort_path::{Stage, TrainLengths};

use super::Source;
use super::sample::{ControlSample, PeerSample, Snapshot};
use super::text::{Format, Text, Type};
use crate::queues::{EVENTS_WAITING, HANDOFFS_WAITING, HANDSHAKES_WAITING};
use crate::worker::{Kind, WorkerStats, thread_cpu_time};

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
    source: &Source,
    Snapshot { control, .. }: &Snapshot,
    peers: &[PeerSample],
    states: Option<States>,
) -> String {
    let mut text = Text::new(format, &source.interface.get());
    text.reserve(64 * 1024 + peers.len() * BYTES_PER_PEER);
    let names: Vec<String> = (0..source.workers.len()).map(|worker| worker.to_string()).collect();
    let workers: Vec<(&str, &WorkerStats)> =
        names.iter().map(String::as_str).zip(source.workers.iter().map(AsRef::as_ref)).collect();
    identity(&mut text, source);
    state(&mut text, control, peers.len(), states);
    handshakes(&mut text, control);
    threads(&mut text, source, control, &workers);
    queues(&mut text, source, control, &names);
    drops(&mut text, control, &workers);
    figures(&mut text, &workers);
    trains(&mut text, &workers);
    stages(&mut text, &workers);
    each_peer(&mut text, peers);
    text.finish()
}

/// Which program runs, since when, and with what.
fn identity(text: &mut Text, source: &Source) {
    let mut build = text.family("build", Type::Info, "The program that runs.");
    build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    let started = source.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "When the daemon began, since the Unix epoch. time() less this is how long it is up.";
    text.family("start_time_seconds", Type::Gauge, help).sample(&[], started.as_secs_f64());
    let help = "The implementation of each cipher suite that full trains of full packets are sealed with.";
    let mut ciphers = text.family("cipher", Type::Info, help);
    for (suite, provider) in &source.ciphers {
        ciphers.sample(&[("suite", suite.name()), ("provider", provider)], 1_u64);
    }
}

fn state(text: &mut Text, control: &ControlSample, shown: usize, states: Option<States>) {
    let mut gauge = |name, help, value: u64| text.family(name, Type::Gauge, help).sample(&[], value);
    gauge("up", "Whether the interface is up and there are sockets (1) or not (0).", control.is_up.into());
    gauge("private_key_set", "Whether there is a private key (1) or not (0).", control.has_key.into());
    gauge("peers", "Peers that are configured.", control.peers as u64);
    gauge("peers_shown", "Peers that have series of their own (--metrics-peers).", shown as u64);
    gauge("allowed_ips", "Allowed IPs of all peers.", control.routes as u64);
    if let Some(counts) = states {
        let help = "Peers by how they do, of all that are configured. `ringfort peers NAME` says which.";
        let mut family = text.family("peers_in_state", Type::Gauge, help);
        for (state, count) in PeerState::ALL.into_iter().zip(counts) {
            family.sample(&[("state", state.name())], count);
        }
    }
}

fn handshakes(text: &mut Text, control: &ControlSample) {
    let counts = &control.handshakes;
    let help = "Handshakes by who began them and what became of them. An attempt of ours is given up after 90 s \
                without an answer.";
    let mut family = text.family("handshakes", Type::Counter, help);
    family.sample(&[("role", "initiator"), ("outcome", "completed")], counts.initiated.count());
    family.sample(&[("role", "initiator"), ("outcome", "given_up")], counts.given_up);
    family.sample(&[("role", "responder"), ("outcome", "completed")], counts.answered.count());
    let help = "How long completed handshakes took: for the initiator from its first initiation, for the responder \
                from its response to the first message of the peer.";
    let mut family = text.family("handshake_duration_seconds", Type::Histogram, help);
    for (role, durations) in [("initiator", &counts.initiated), ("responder", &counts.answered)] {
        let (buckets, longer) = buckets(durations);
        family.histogram(&[("role", role)], buckets, longer, durations.sum().as_secs_f64());
    }
    let help = "Handshake messages that were made, repetitions included.";
    let mut family = text.family("handshake_messages_made", Type::Counter, help);
    family.sample(&[("type", "initiation")], counts.initiations);
    family.sample(&[("type", "response")], counts.responses);
    let help = "Handshake messages and cookies given to the socket, by whether the system took them.";
    let mut family = text.family("handshake_messages_sent", Type::Counter, help);
    family.sample(&[("outcome", "sent")], control.handshakes_sent);
    family.sample(&[("outcome", "refused")], control.handshakes_unsent);
}

fn buckets(durations: &Durations) -> (impl Iterator<Item = (f64, u64)>, u64) {
    let counts = durations.counts();
    let bounds = Durations::BOUNDS.iter().map(Duration::as_secs_f64);
    (bounds.zip(counts.iter().copied()), counts[Durations::BOUNDS.len()])
}

/// What the threads cost.
fn threads(text: &mut Text, source: &Source, control: &ControlSample, workers: &[(&str, &WorkerStats)]) {
    let help = "CPU time of a thread, in user and kernel mode. With --busy-poll that includes looking for packets.";
    let mut family = text.family("cpu_seconds", Type::Counter, help);
    if let Some(time) = thread_cpu_time(source.control_thread) {
        family.sample(&[("worker", CONTROL)], time.as_secs_f64());
    }
    for (worker, stats) in workers {
        if let Some(time) = stats.cpu_time() {
            family.sample(&[("worker", worker)], time.as_secs_f64());
        }
    }
    let help = "How long turns of the control thread took. Requests of wg(8) are in them: a large one is a long turn.";
    let mut family = text.family("control_turn_seconds", Type::Histogram, help);
    let (buckets, longer) = buckets(&control.turns);
    family.histogram(&[], buckets, longer, control.turns.sum().as_secs_f64());
}

/// What waits for each thread, and for how much there is room.
fn queues(text: &mut Text, source: &Source, control: &ControlSample, names: &[String]) {
    let queues = &source.queues;
    let help = "What waits for a thread: handshake messages and events for control; orders about sessions, other \
                orders and trains from other workers for a worker. One that sleeps leaves orders that can wait.";
    let mut family = text.family("queue_length", Type::Gauge, help);
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
    let help = "For how much a bounded queue has room. What does not fit is dropped, or tried again.";
    let mut family = text.family("queue_capacity", Type::Gauge, help);
    family.sample(&[("worker", CONTROL), ("queue", "handshakes")], HANDSHAKES_WAITING as u64);
    family.sample(&[("worker", CONTROL), ("queue", "events")], EVENTS_WAITING as u64);
    for name in names {
        family.sample(&[("worker", name), ("queue", "handoffs")], HANDOFFS_WAITING as u64);
    }
}

fn drops(text: &mut Text, control: &ControlSample, workers: &[(&str, &WorkerStats)]) {
    let help = "What was thrown away, by reason and by who did it.";
    let mut family = text.family("drops", Type::Counter, help);
    for &reason in DropReason::ALL {
        family.sample(&[("worker", CONTROL), ("reason", reason.name())], control.drops.get(reason));
        for (worker, stats) in workers {
            family.sample(&[("worker", worker), ("reason", reason.name())], stats.dropped(reason));
        }
    }
}

/// Everything in the table of the workers' figures.
fn figures(text: &mut Text, workers: &[(&str, &WorkerStats)]) {
    let values: Vec<_> = workers.iter().map(|(_, stats)| stats.figures()).collect();
    let mut rows = WorkerStats::TABLE.iter().enumerate().peekable();
    while let Some((first, figure)) = rows.next() {
        let ty = match figure.kind {
            Kind::Counter => Type::Counter,
            Kind::Gauge => Type::Gauge,
        };
        let mut family = text.family(figure.family, ty, figure.help);
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
    let mut histogram = |name, help, of: fn(&WorkerStats) -> (TrainLengths, u64)| {
        let mut family = text.family(name, Type::Histogram, help);
        for (worker, stats) in workers {
            let (lengths, datagrams) = of(stats);
            let bounds = TrainLengths::BOUNDS.iter().map(|&bound| bound as f64);
            family.histogram(&[("worker", worker)], bounds.zip(lengths.counts().iter().copied()), 0, datagrams);
        }
    };
    let help = "Datagrams of the trains that were given to the socket, a lone datagram being a train of one.";
    histogram("send_train_datagrams", help, |stats| (stats.send_trains(), stats.udp_send_datagrams.get()));
    let help = "Datagrams of the trains that were received, as the kernel coalesced them.";
    histogram("receive_train_datagrams", help, |stats| (stats.receive_trains(), stats.udp_receive_datagrams.get()));
}

/// With `--stages`.
fn stages(text: &mut Text, workers: &[(&str, &WorkerStats)]) {
    let tables: BTreeMap<&str, _> =
        workers.iter().filter_map(|(worker, stats)| Some((*worker, stats.stages()?))).collect();
    if tables.is_empty() {
        return;
    }
    let help = "Time in each stage of a worker's turns, in those turns that are measured (--stages).";
    let mut family = text.family("stage_seconds", Type::Counter, help);
    for (worker, table) in tables {
        for stage in Stage::ALL {
            let time = Duration::from_nanos(table.of(stage).total_ns());
            family.sample(&[("worker", worker), ("stage", stage.name())], time.as_secs_f64());
        }
    }
}

fn each_peer(text: &mut Text, peers: &[PeerSample]) {
    let keys: Vec<String> = peers.iter().map(|peer| Base64::encode_string(&peer.key)).collect();
    let mut counter = |name, help, of: fn(&PeerSample) -> u64| {
        let mut family = text.family(name, Type::Counter, help);
        for (key, peer) in keys.iter().zip(peers) {
            family.sample(&[("peer", key)], of(peer));
        }
    };
    let help = "Bytes of authentic messages from a peer, with WireGuard's headers, handshakes and keepalives.";
    counter("peer_receive_bytes", help, |peer| peer.traffic.rx_bytes);
    let help = "Bytes of messages to a peer, with WireGuard's headers, handshakes and keepalives.";
    counter("peer_transmit_bytes", help, |peer| peer.traffic.tx_bytes);
    counter("peer_receive_packets", "Authentic messages from a peer.", |peer| peer.traffic.rx_packets);
    counter("peer_transmit_packets", "Messages to a peer.", |peer| peer.traffic.tx_packets);
    counter("peer_handshakes", "Handshakes that were completed with a peer.", |peer| peer.handshakes);
    let help = "The name that the operator gave a peer, empty if none. Join on the label `peer`.";
    let mut family = text.family("peer", Type::Info, help);
    for (key, peer) in keys.iter().zip(peers) {
        family.sample(&[("peer", key), ("name", peer.name.as_deref().unwrap_or_default())], 1_u64);
    }
    let mut family = text.family("peer_up", Type::Gauge, "Whether there is a session with a peer (1) or not (0).");
    for (key, peer) in keys.iter().zip(peers) {
        family.sample(&[("peer", key)], u64::from(peer.state == PeerState::Up));
    }
    let help = "What was thrown away of a peer's packets, by reason. Reasons that never applied are left out.";
    let mut family = text.family("peer_drops", Type::Counter, help);
    for (key, peer) in keys.iter().zip(peers) {
        for (reason, count) in &peer.drops {
            family.sample(&[("peer", key), ("reason", reason.name())], *count);
        }
    }
    let help = "When the last handshake with a peer was completed, since the Unix epoch. Not there before the first.";
    let mut family = text.family("peer_last_handshake_timestamp_seconds", Type::Gauge, help);
    for (key, peer) in keys.iter().zip(peers) {
        if let Some(at) = peer.last_handshake {
            family.sample(&[("peer", key)], at.as_secs_f64());
        }
    }
}
