//! The device goes to another process, and comes from one.
//!
//! The order at the side that gives: workers stop, control takes what they have told, [`Device::settle`], its actions
//! are carried out, and then [`Device::hand_over`]. Nothing is changed by that: whoever is not taken over goes on.

mod peer;

use std::net::IpAddr;
use std::sync::Arc;

use rand_core::CryptoRng;

use super::Device;
use super::names::Name;
use crate::constants::{PEERS_MAX, REJECT_AFTER_TIME};
use crate::crypto::{PrivateKey, PublicKey, X25519};
use crate::device::{Action, Remembered};
use crate::handover::{Handover, Progress, WaitingPacket};
use crate::ids::PeerId;
use crate::outpost::Outpost;
use crate::part::parts;
use crate::suite::Suite;
use crate::tai64n::Tai64N;
use crate::time::{Now, Time};
use peer::HandedPeer;

/// All of a device that another process needs.
pub(crate) struct State {
    /// When it was written.
    at: Time,
    link: bool,
    passive: bool,
    private_key: Option<PrivateKey>,
    suite: Suite,
    suites: Vec<(PublicKey, Suite)>,
    sources: Vec<(PublicKey, IpAddr)>,
    names: Vec<(PublicKey, Name)>,
    remembered: Vec<Remembered>,
    recovery_until: Time,
    doubts_sessions: bool,
    timestamp_of_removed: Tai64N,
    peers: Vec<HandedPeer>,
}

parts!(State {
    at,
    link,
    passive,
    private_key,
    suite,
    suites,
    sources,
    names,
    remembered,
    recovery_until,
    doubts_sessions,
    timestamp_of_removed,
    peers,
});

/// Why a device cannot be handed over now. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// Something is under way that concerns all peers, or the workers.
    #[error("a change of the configuration is being carried out: try again when it is done")]
    Busy,
    /// Without its window, messages could be accepted twice.
    #[error("no worker has reported how far the session {local_index:08x} is")]
    Unreported {
        /// The index of the session.
        local_index: u32,
    },
}

/// Why a device cannot go on here with what another process has handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    /// It says to come from the future, or from long ago: another boot, or another time namespace.
    #[error("the state is of another clock, or older than 180 s")]
    OtherClock,
    /// Two peers have one key, a peer has our own, or there are too many.
    #[error("the peers of the state contradict each other")]
    Peers,
    /// Two sessions have one index, or one has none of its own.
    #[error("the sessions of the state contradict each other")]
    Sessions,
}

impl Device {
    /// Takes notice of all that the workers have learned. To be called when they have stopped, and again until no
    /// action comes of it.
    pub fn settle(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        while self.is_renewing() {
            self.renew_some(now.mono);
        }
        let all: Vec<PeerId> = self.peers.iter().map(|peer| peer.id).collect();
        for peer in all {
            self.step(now, peer, rng, |_, _| {});
        }
    }

    /// The device as another process needs it, with what the workers know of its sessions and the packets that wait:
    /// at which worker, for whom, of each worker the oldest first.
    ///
    /// # Errors
    /// [`HandOverError`].
    pub fn hand_over(
        &self,
        now: Time,
        progress: &Progress,
        packets: impl IntoIterator<Item = (u8, PeerId, Vec<u8>)>,
    ) -> Result<Handover, HandOverError> {
        if self.is_renewing() || self.routes_held || self.is_releasing() || !self.out.is_empty() {
            return Err(HandOverError::Busy);
        }
        let peers = self.peers.iter().map(|peer| HandedPeer::of(peer, progress)).collect::<Result<_, _>>()?;
        let key = |id: PeerId| Some(*self.peers.get(id)?.remote.public());
        let packets = packets
            .into_iter()
            .filter_map(|(worker, id, packet)| Some(WaitingPacket { worker, peer: key(id)?, packet }));
        let state = State {
            at: now,
            link: self.link,
            passive: self.is_passive(),
            private_key: self.private_key().cloned(),
            suite: self.suite(),
            suites: self.peer_suites().map(|(key, suite)| (*key, suite)).collect(),
            sources: self.peer_sources_after(None).map(|(key, source)| (*key, source)).collect(),
            names: self.peer_names_after(None).map(|(key, name)| (*key, Name(name.to_string()))).collect(),
            remembered: self.gone().collect(),
            recovery_until: Some(self.recovery.until()).filter(|&until| now < until).unwrap_or_default(),
            doubts_sessions: self.recovery.doubts_sessions(now),
            timestamp_of_removed: self.timestamp_of_removed,
            peers,
        };
        Ok(Handover { state, packets: packets.collect() })
    }

    /// Goes on with what another process has handed over, with another number of workers perhaps. The actions of the
    /// device then make the workers. Who stands in front of the sockets is told of all that is handed over.
    ///
    /// # Errors
    /// [`TakeOverError`].
    pub fn take_over(
        now: Time,
        workers: u8,
        x25519: &'static dyn X25519,
        outpost: Option<Arc<dyn Outpost>>,
        handover: Handover,
    ) -> Result<Self, TakeOverError> {
        let Handover { state, packets } = handover;
        if state.at > now || now.since(state.at) >= REJECT_AFTER_TIME {
            return Err(TakeOverError::OtherClock);
        }
        let mut device = Self::new(workers);
        device.set_x25519(x25519);
        if let Some(outpost) = outpost {
            device.set_outpost(outpost);
        }
        device.resume(now, state)?;
        for WaitingPacket { worker, peer, packet } in packets {
            if let Some(peer) = device.peers.by_key(&peer) {
                device.out.push(Action::Offer { worker, peer, packet: packet.into() });
            }
        }
        Ok(device)
    }

    fn resume(&mut self, now: Time, state: State) -> Result<(), TakeOverError> {
        self.adopt_private_key(now, state.private_key);
        self.link = state.link;
        self.set_passive(now, state.passive);
        self.up = self.serves().is_ok();
        if self.up {
            self.renewal.note_link();
        }
        self.resume_settings(state.suite, state.suites, state.sources);
        self.names = state.names.into_iter().map(|(key, name)| (key, name.0.into())).collect();
        self.remember(state.remembered);
        self.timestamp_of_removed = state.timestamp_of_removed;
        if self.names.len().max(state.peers.len()) > PEERS_MAX {
            return Err(TakeOverError::Peers);
        }
        for peer in state.peers {
            self.resume_peer(peer)?;
        }
        // The workers have the routes before the first packet.
        self.publish_routes();
        if now < state.recovery_until {
            self.recovery.resume(state.recovery_until, state.doubts_sessions, &self.out);
        }
        // Peers may have moved since the other process kept where they are, and it does so no more.
        self.memory.moves.note();
        Ok(())
    }
}

impl State {
    /// Peers, and sessions of them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.peers.len(), self.peers.iter().map(HandedPeer::session_count).sum())
    }
}

#[cfg(test)]
mod tests;
