//! The same as JSON: what `--stats --json` prints, and what `ringfort top` reads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use ringfort_core::drops::DropReason;
use ringfort_worker::{WorkerStats, thread_cpu_time};
use serde::{Deserialize, Serialize};

use super::Registry;
use super::sample::{ControlSample, PeerSample};

/// Names with a number each.
pub type Figures = BTreeMap<Cow<'static, str>, u64>;

/// A gateway at one moment. Counters count since it began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The interface.
    pub interface: String,
    /// The program's version.
    pub version: String,
    /// Now, in seconds since the Unix epoch.
    pub time_s: f64,
    /// When the daemon began.
    pub started_s: f64,
    /// The interface is up, and there are sockets.
    pub up: bool,
    /// Another gateway serves the peers.
    #[serde(default)]
    pub passive: bool,
    /// Which of several gateways this is, as `--node` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// There is a private key.
    pub has_private_key: bool,
    /// How many peers there are.
    pub peers: u64,
    /// How many allowed IPs.
    pub allowed_ips: u64,
    /// The implementation that does most of the work of each suite.
    pub ciphers: BTreeMap<Cow<'static, str>, Cow<'static, str>>,
    /// Handshakes.
    pub handshakes: HandshakeOverview,
    /// The control thread.
    pub control: ControlOverview,
    /// The workers, in order.
    pub workers: Vec<WorkerOverview>,
    /// How many peers are in each state, of all that there are. Not in `--stats --json`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers_in_state: Figures,
    /// The peers with most traffic lately. Not in `--stats --json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busiest_peers: Vec<PeerOverview>,
}

/// What became of handshakes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HandshakeOverview {
    /// Initiations that we made.
    pub initiations: u64,
    /// Responses that we made.
    pub responses: u64,
    /// Handshakes that we began and that yielded a session.
    pub initiated: u64,
    /// How long these took together, in seconds.
    pub initiated_s: f64,
    /// Handshakes that a peer began and that yielded a session.
    pub answered: u64,
    /// How long these took together, in seconds.
    pub answered_s: f64,
    /// Attempts that were given up.
    pub given_up: u64,
}

/// The control thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlOverview {
    /// CPU time in seconds.
    pub cpu_s: Option<f64>,
    /// Handshake messages that wait for it.
    pub handshakes_waiting: u64,
    /// Events that wait for it.
    pub events_waiting: u64,
    /// Handshake messages that left.
    pub handshakes_sent: u64,
    /// Handshake messages that the system refused.
    pub handshakes_unsent: u64,
    /// Cookies that it sent itself, for messages that reached it before a worker could ask for proof.
    #[serde(default)]
    pub cookies_sent: u64,
    /// What it has thrown away, by reason.
    pub drops: Figures,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerOverview {
    /// CPU time in seconds.
    pub cpu_s: Option<f64>,
    /// Its counters and gauges, by their names in `--stats`.
    pub figures: Figures,
    /// What it has thrown away, by reason.
    pub drops: Figures,
    /// Trains that left, of up to 1, 2, 4, 8, 16, 32, 64 and 128 datagrams.
    pub send_trains: Vec<u64>,
    /// Trains received of up to as many.
    pub receive_trains: Vec<u64>,
    /// What waits for it.
    pub queues: Figures,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerOverview {
    /// Its public key, as `wg` prints it.
    pub public_key: String,
    /// What the operator calls it.
    pub name: Option<String>,
    /// How it does: idle, waiting, asking, up, unreachable or refused.
    pub state: Cow<'static, str>,
    /// The worker that receives from it, while there is a session.
    pub worker: Option<usize>,
    /// Where it is reached.
    pub endpoint: Option<String>,
    /// When the last handshake was completed, in seconds since the Unix epoch.
    pub last_handshake_s: Option<f64>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Messages received.
    pub rx_packets: u64,
    /// Messages sent.
    pub tx_packets: u64,
    /// Handshakes that were completed.
    pub handshakes: u64,
    /// What was thrown away of its packets, for those reasons for which anything was.
    pub drops: Figures,
}

impl Overview {
    /// Of a gateway that runs.
    #[must_use]
    pub fn new(registry: &Registry, control: &ControlSample) -> Self {
        let counts = &control.handshakes;
        let drops = DropReason::ALL.iter().map(|&reason| (reason.name().into(), control.drops.get(reason)));
        Self {
            interface: registry.interface.get().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time_s: since_epoch(SystemTime::now()).as_secs_f64(),
            started_s: since_epoch(registry.started).as_secs_f64(),
            up: control.is_up,
            passive: control.is_passive,
            node: (!registry.node.is_single()).then(|| registry.node.to_string()),
            has_private_key: control.has_key,
            peers: control.peers as u64,
            allowed_ips: control.routes as u64,
            ciphers: registry.ciphers.iter().map(|&(suite, provider)| (suite.name().into(), provider.into())).collect(),
            handshakes: HandshakeOverview {
                initiations: counts.initiations,
                responses: counts.responses,
                initiated: counts.initiated.count(),
                initiated_s: counts.initiated.sum().as_secs_f64(),
                answered: counts.answered.count(),
                answered_s: counts.answered.sum().as_secs_f64(),
                given_up: counts.given_up,
            },
            control: ControlOverview {
                cpu_s: thread_cpu_time(registry.control_thread).map(|time| time.as_secs_f64()),
                handshakes_waiting: control.handshakes_waiting as u64,
                events_waiting: registry.queues.control.events_waiting() as u64,
                handshakes_sent: control.handshakes_sent,
                handshakes_unsent: control.handshakes_unsent,
                cookies_sent: control.cookies_sent,
                drops: drops.collect(),
            },
            workers: (0..registry.workers.len()).map(|worker| worker_overview(registry, worker)).collect(),
            peers_in_state: Figures::new(),
            busiest_peers: Vec::new(),
        }
    }
}

impl From<&PeerSample> for PeerOverview {
    fn from(peer: &PeerSample) -> Self {
        Self {
            public_key: Base64::encode_string(&peer.key),
            name: peer.name.as_deref().map(str::to_owned),
            state: peer.state.name().into(),
            worker: peer.worker,
            endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
            last_handshake_s: peer.last_handshake.map(|at| at.as_secs_f64()),
            rx_bytes: peer.traffic.rx_bytes,
            tx_bytes: peer.traffic.tx_bytes,
            rx_packets: peer.traffic.rx_packets,
            tx_packets: peer.traffic.tx_packets,
            handshakes: peer.handshakes,
            drops: peer.drops.iter().map(|&(reason, count)| (reason.name().into(), count)).collect(),
        }
    }
}

fn worker_overview(registry: &Registry, worker: usize) -> WorkerOverview {
    let stats: &WorkerStats = &registry.workers[worker];
    let lengths = registry.queues.workers[worker].lengths();
    let queues = [("sessions", lengths.sessions), ("orders", lengths.mail), ("handoffs", lengths.handoffs)];
    WorkerOverview {
        cpu_s: stats.cpu_time().map(|time| time.as_secs_f64()),
        figures: stats.figures().into_iter().map(|(name, value)| (name.into(), value)).collect(),
        drops: DropReason::ALL.iter().map(|&reason| (reason.name().into(), stats.dropped(reason))).collect(),
        send_trains: stats.send_trains().counts().to_vec(),
        receive_trains: stats.receive_trains().counts().to_vec(),
        queues: queues.into_iter().map(|(name, len)| (name.into(), len as u64)).collect(),
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
