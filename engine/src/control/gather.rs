//! Fills snapshots for whoever shows metrics, a bounded number of peers in each turn. So looking at ten thousand peers
//! keeps nobody's handshake waiting.

use std::sync::Arc;

use ringfort_core::device::{Device, Durations};
use ringfort_core::time::Time;

use super::data_plane::DataPlane;
use crate::metrics::{ControlSample, Exchange, PeerSample, Snapshot};

/// Peers that are copied in one turn: some ten microseconds.
pub const PEERS_PER_TURN: usize = 256;

/// The snapshot that is being filled, if there is one.
#[derive(Debug)]
pub struct Gathering {
    exchange: Arc<Exchange>,
    current: Option<Box<Snapshot>>,
    /// The slot to go on with.
    next_slot: u32,
}

/// What control shows of itself.
pub struct Subject<'a> {
    /// The peers.
    pub device: &'a Device,
    /// The network.
    pub plane: &'a DataPlane,
    /// Handshake messages that wait for their turn.
    pub handshakes_waiting: usize,
    /// How long turns took.
    pub turns: &'a Durations,
    /// The time of this turn.
    pub now: Time,
}

impl Subject<'_> {
    /// All but the peers.
    #[must_use]
    pub fn sample(&self) -> ControlSample {
        let Self { device, plane, handshakes_waiting, turns, .. } = *self;
        ControlSample {
            is_up: device.is_up(),
            is_passive: device.is_passive(),
            has_key: device.private_key().is_some(),
            peers: device.peer_count(),
            routes: device.routes().len(),
            handshakes_waiting,
            handshakes_sent: plane.handshakes_sent,
            handshakes_unsent: plane.handshakes_unsent,
            cookies_sent: plane.cookies_sent,
            handshakes: device.handshakes().clone(),
            drops: device.drops().clone(),
            turns: turns.clone(),
        }
    }
}

impl Gathering {
    /// For those who ask here.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange, current: None, next_slot: 0 }
    }

    /// Does one turn's part. True: there is more to do at once.
    pub fn step(&mut self, subject: &Subject<'_>) -> bool {
        if self.current.is_none() {
            let Some(mut snapshot) = self.exchange.next_asked() else { return false };
            snapshot.control = subject.sample();
            self.current = Some(snapshot);
            self.next_slot = 0;
        }
        let Some(snapshot) = &mut self.current else { return false };
        snapshot.turns += 1;
        // Memory is that of whoever asks: where there is none left, no more is copied.
        let room = (snapshot.peers.capacity() - snapshot.peers.len()).min(PEERS_PER_TURN);
        let mut copied = 0;
        for peer in subject.device.peers_from(self.next_slot).take(room) {
            self.next_slot = peer.id().index + 1;
            snapshot.peers.push(PeerSample {
                key: *peer.public_key().as_bytes(),
                traffic: peer.traffic(),
                last_handshake: peer.last_handshake(),
                endpoint: peer.endpoint().map(|endpoint| endpoint.remote),
                name: peer.name().cloned(),
                state: peer.state(subject.now),
                worker: peer.session(subject.now).map(|session| session.worker),
                handshakes: peer.handshakes(),
                drops: peer.drops().map(|drop| (drop.reason, drop.count)).collect(),
            });
            copied += 1;
        }
        let more = copied == PEERS_PER_TURN;
        if !more && let Some(snapshot) = self.current.take() {
            self.exchange.give(snapshot);
        }
        more
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
