//! What control copies for somebody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringfort_core::activity::Traffic;
use ringfort_core::device::{Durations, HandshakeCounts, PeerState};
use ringfort_core::drops::{DropCounts, DropReason};

/// What only control knows, at one moment; of the peers, over a few of control's turns.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Of the whole gateway.
    pub control: ControlSample,
    /// Of each peer, in the order of their slots. The memory is that of whoever asks: control takes none. If there are
    /// more peers than fit, those that fit are here.
    pub peers: Vec<PeerSample>,
    /// In how many turns control has filled it.
    pub turns: u32,
}

/// What control knows of the whole gateway.
#[derive(Clone, Debug, Default)]
pub struct ControlSample {
    /// The interface is up, and there are sockets.
    pub is_up: bool,
    /// Another gateway serves the peers.
    pub is_passive: bool,
    /// There is a private key.
    pub has_key: bool,
    /// How many peers there are.
    pub peers: usize,
    /// How many allowed IPs.
    pub routes: usize,
    /// Handshake messages that wait for their turn.
    pub handshakes_waiting: usize,
    /// Handshake messages that left.
    pub handshakes_sent: u64,
    /// Handshake messages that the system refused.
    pub handshakes_unsent: u64,
    /// Cookies that control sent itself, which are among the handshake messages that left.
    pub cookies_sent: u64,
    /// What became of handshakes.
    pub handshakes: HandshakeCounts,
    /// What control has thrown away.
    pub drops: DropCounts,
    /// Turns of control, by how long they took.
    pub turns: Durations,
}

/// One peer, as far as it is shown.
#[derive(Clone, Debug, Default)]
pub struct PeerSample {
    /// Its public key.
    pub key: [u8; 32],
    /// What passed between it and us.
    pub traffic: Traffic,
    /// When the last handshake was completed, as time since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Where it is reached.
    pub endpoint: Option<SocketAddr>,
    /// What the operator calls it.
    pub name: Option<Arc<str>>,
    /// How it does.
    pub state: PeerState,
    /// The worker that receives from it, while there is a session.
    pub worker: Option<usize>,
    /// Handshakes that were completed with it.
    pub handshakes: u64,
    /// What was thrown away of its packets, for those reasons for which anything was.
    pub drops: Vec<(DropReason, u64)>,
}
