//! Every family of metrics: its name, its kind, its labels and its meaning. The writer takes them from here, and the
//! handbook lists them, so neither can have one that the other has not.

use ringfort_worker::{Figure, Kind, WorkerStats};

/// Begins the name of every family.
pub const PREFIX: &str = "ringfort_";

/// What kind of metrics a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Always 1, and tells by its labels; its samples end in `_info`.
    Info,
    /// Counts in buckets.
    Histogram,
}

impl Type {
    /// Its name in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }

    /// What the names of its samples end in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Without prefix and suffix. It ends in its unit if it has one.
    pub name: &'static str,
    /// How its samples behave.
    pub ty: Type,
    /// Which labels a sample has, besides `interface`.
    pub labels: &'static [&'static str],
    /// What it counts, in sentences.
    pub help: &'static str,
}

impl About {
    /// The name of its samples, as Prometheus shows it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{PREFIX}{}{}", self.name, self.ty.suffix())
    }
}

/// All families, in the order in which they are written.
#[must_use]
pub fn all() -> Vec<About> {
    let mut figures: Vec<About> = WorkerStats::TABLE.iter().map(of).collect();
    figures.dedup_by_key(|about| about.name);
    BEFORE_FIGURES.iter().copied().chain(figures).chain(AFTER_FIGURES.iter().copied()).collect()
}

/// The family that a figure of the workers is in.
pub(super) fn of(figure: &Figure) -> About {
    let ty = match figure.kind {
        Kind::Counter => Type::Counter,
        Kind::Gauge => Type::Gauge,
    };
    About { name: figure.family, ty, labels: figure.labels, help: figure.help.trim_ascii() }
}

/// Defines the families and their lists.
macro_rules! families {
    ($($list:ident: {$(
        $id:ident = $name:literal, $ty:ident, [$($label:literal),*], $help:literal;
    )+})+) => {
        $($(
            pub(super) const $id: About =
                About { name: $name, ty: Type::$ty, labels: &[$($label),*], help: $help };
        )+)+
        $(const $list: &[About] = &[$($id),+];)+
    };
}

families! {
    BEFORE_FIGURES: {
        BUILD = "build", Info, ["version"], "The program that runs.";
        START_TIME = "start_time_seconds", Gauge, [],
            "When the daemon began, since the Unix epoch. time() less this is how long it is up.";
        CIPHER = "cipher", Info, ["suite", "provider"],
            "The implementation of each cipher suite that full trains of full packets are sealed with.";
        NODE = "node", Info, ["number", "bits"],
            "Which of several gateways this is (--node), if it is one of several.";
        MEMORY = "memory_bytes", Gauge, ["for"],
            "The most that packets and the buffers of the UDP sockets take. Peers and keys are not in it.";
        MEMORY_BOUND = "memory_bound_bytes", Gauge, [],
            "What both may take together (--memory), or else a quarter of the memory of the machine or control group.";
        UP = "up", Gauge, [], "Whether the interface is up and there are sockets (1) or not (0).";
        PASSIVE = "passive", Gauge, [],
            "Whether the gateway is passive (1), because another one serves its peers, or serves them itself (0).";
        PRIVATE_KEY_SET = "private_key_set", Gauge, [], "Whether there is a private key (1) or not (0).";
        PEERS = "peers", Gauge, [], "Peers that are configured.";
        PEERS_SHOWN = "peers_shown", Gauge, [], "Peers that have series of their own (--metrics-peers).";
        ALLOWED_IPS = "allowed_ips", Gauge, [], "Allowed IPs of all peers.";
        PEERS_IN_STATE = "peers_in_state", Gauge, ["state"],
            "Peers by how they do, of all that are configured. `ringfort peers NAME` says which.";
        HANDSHAKES = "handshakes", Counter, ["role", "outcome"],
            "Handshakes by who began them and what became of them. An attempt of ours is given up after 90 s without \
             an answer.";
        HANDSHAKE_DURATION = "handshake_duration_seconds", Histogram, ["role"],
            "How long completed handshakes took: for the initiator from its first initiation, for the responder from \
             its response to the first message of the peer.";
        HANDSHAKE_MESSAGES_MADE = "handshake_messages_made", Counter, ["type"],
            "Handshake messages that were made, repetitions included.";
        HANDSHAKE_MESSAGES_SENT = "handshake_messages_sent", Counter, ["outcome"],
            "Handshake messages and cookies given to the socket, by whether the system took them.";
        CPU = "cpu_seconds", Counter, ["worker"],
            "CPU time of a thread, in user and kernel mode. With --busy-poll that includes looking for packets.";
        CONTROL_TURN = "control_turn_seconds", Histogram, [],
            "How long turns of the control thread took. Requests of wg(8) are in them: a large one is a long turn.";
        QUEUE_LENGTH = "queue_length", Gauge, ["worker", "queue"],
            "What waits for a thread: handshake messages and events for control; orders about sessions, other orders \
             and trains from other workers for a worker. One that sleeps leaves orders that can wait.";
        QUEUE_CAPACITY = "queue_capacity", Gauge, ["worker", "queue"],
            "For how much a bounded queue has room. What does not fit is dropped, or tried again.";
        DROPS = "drops", Counter, ["worker", "reason"], "What was thrown away, by reason and by who did it.";
    }
    AFTER_FIGURES: {
        SEND_TRAINS = "send_train_datagrams", Histogram, ["worker"],
            "Datagrams of the trains that left, a lone datagram being a train of one.";
        RECEIVE_TRAINS = "receive_train_datagrams", Histogram, ["worker"],
            "Datagrams of the trains that were received, as the kernel coalesced them.";
        STAGE = "stage_seconds", Counter, ["worker", "stage"],
            "Time in each stage of a worker's turns, in those turns that are measured (--stages).";
        PEER_RECEIVE_BYTES = "peer_receive_bytes", Counter, ["peer"],
            "Bytes of authentic messages from a peer, with WireGuard's headers, handshakes and keepalives.";
        PEER_TRANSMIT_BYTES = "peer_transmit_bytes", Counter, ["peer"],
            "Bytes of messages to a peer, with WireGuard's headers, handshakes and keepalives.";
        PEER_RECEIVE_PACKETS = "peer_receive_packets", Counter, ["peer"], "Authentic messages from a peer.";
        PEER_TRANSMIT_PACKETS = "peer_transmit_packets", Counter, ["peer"], "Messages to a peer.";
        PEER_HANDSHAKES = "peer_handshakes", Counter, ["peer"], "Handshakes that were completed with a peer.";
        PEER = "peer", Info, ["peer", "name"],
            "The name that the operator gave a peer, empty if none. Join on the label `peer`.";
        PEER_UP = "peer_up", Gauge, ["peer"], "Whether there is a session with a peer (1) or not (0).";
        PEER_DROPS = "peer_drops", Counter, ["peer", "reason"],
            "What was thrown away of a peer's packets, by reason. Reasons that never applied are left out.";
        PEER_LAST_HANDSHAKE = "peer_last_handshake_timestamp_seconds", Gauge, ["peer"],
            "When the last handshake with a peer was completed, since the Unix epoch. Not there before the first.";
    }
}
