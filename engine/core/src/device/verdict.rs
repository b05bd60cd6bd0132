//! The state of a peer: a function of what is known of it, and what the operator hears when it changes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Device;
use super::api::Notice;
use super::health::{Failure, PeerState, Unreachable};
use super::peer::{Env, Peer};
use crate::constants::REJECT_AFTER_TIME;
use crate::drops::DropReason;
use crate::ids::PeerId;
use crate::peer_drops::{QUIET, SendError};
use crate::time::Time;
use crate::timers::Timer;

/// Initiations in a row without an answer that make a peer unreachable: with the next, 15 s have passed.
const UNREACHABLE_AFTER: u32 = 3;
/// A refusal is what keeps a peer away for so long after it.
const REFUSAL_COUNTS_FOR: Duration = REJECT_AFTER_TIME;
/// Answers in a row that a peer makes no use of, until it is not taken for a lost datagram.
const UNUSED_MIN: u32 = 2;

impl Peer {
    /// How the peer does. `ready`: the link is up and we have a private key.
    pub fn state(&self, now: Time, ready: bool) -> PeerState {
        let silent = self.initiations_unanswered > UNREACHABLE_AFTER;
        let has_session = self.sessions.current().is_some_and(|session| session.valid(now, 0));
        if has_session && !(silent && self.is_mute()) {
            PeerState::Up
        } else if self.refusal(now).is_some() {
            PeerState::Refused
        } else if silent {
            PeerState::Unreachable
        } else if self.waits(now, ready) {
            PeerState::Waiting
        } else if self.initiations_unanswered > 0 || self.timers.get(Timer::Retransmit).is_some() {
            PeerState::Asking
        } else {
            PeerState::Idle
        }
    }

    /// What refuses the peer's handshakes, or ours, since the last one that succeeded.
    fn refusal(&self, now: Time) -> Option<Failure> {
        let counts =
            |failure: Failure| failure.is_refusal() && (failure != Failure::Unused || self.health.unused >= UNUSED_MIN);
        let record = self.health.failures.latest(counts)?;
        let is_newer = self.health.completed.is_none_or(|completed| completed < record.last);
        (is_newer && now.since(record.last) < REFUSAL_COUNTS_FOR).then_some(record.failure)
    }

    /// Nothing came from the peer since we began to ask.
    fn is_mute(&self) -> bool {
        self.shared.traffic().rx_packets == self.health.heard_before
    }

    fn waits(&self, now: Time, ready: bool) -> bool {
        let has_endpoint = self.endpoint().is_some();
        let refused = self.shared.drops.get(DropReason::NoEndpoint);
        let wanted = refused.is_some_and(|drop| now.since(drop.last) < REFUSAL_COUNTS_FOR);
        !(ready && has_endpoint) && self.shared.activity.is_requested() || !has_endpoint && wanted
    }

    /// Tells the operator if the state is another one than he knows, or the peer is elsewhere.
    pub fn tell_state(&mut self, env: &mut Env<'_>) {
        let now = env.now.mono;
        let state = self.state(now, env.up && env.local.is_some());
        if !state.is_news() {
            return;
        }
        let remote = self.endpoint().map(|endpoint| endpoint.remote);
        let notice = if state != self.health.told {
            let reason = if state == PeerState::Refused { self.refusal(now) } else { None };
            let was = self.health.told;
            Notice::State { state, was, reason, remote, took: self.health.took.filter(|_| state == PeerState::Up) }
        } else {
            let (Some(from), Some(to)) = (self.health.told_remote, remote.filter(|_| state == PeerState::Up)) else {
                return;
            };
            if from == to {
                return;
            }
            Notice::Roamed { from, to }
        };
        if self.health.may_tell(now) {
            (self.health.told, self.health.told_remote) = (state, remote);
            env.out.notify(*self.remote.public(), notice);
        }
    }

    /// Tells the operator of packets that only he can help. `reason` is one that workers report.
    pub fn tell_drop(&mut self, reason: DropReason, env: &mut Env<'_>) {
        if self.shared.drops.get(reason).is_some() && self.health.may_tell(env.now.mono) {
            let source = self.shared.drops.source().filter(|_| reason == DropReason::SourceNotAllowed);
            let error = self.shared.drops.send_error().filter(|_| reason == DropReason::SendFailed);
            let notice = Notice::Dropped { reason, source, error };
            env.out.notify(*self.remote.public(), notice);
        }
    }
}

/// What the shell has found out.
impl Device {
    /// The network says that the initiation with this index did not reach `remote`. Ignored unless it is the one that
    /// awaits its answer.
    pub fn note_unreachable(
        &mut self,
        now: Time,
        remote: SocketAddr,
        index: u32,
        unreachable: Unreachable,
        reporter: IpAddr,
    ) {
        let Some(peer) = self.asked_by(index).ok().and_then(|peer| self.peers.get_mut(peer)) else { return };
        let is_pending = peer.pending.as_ref().is_some_and(|pending| pending.local_index() == index);
        if is_pending && peer.endpoint().is_some_and(|endpoint| endpoint.remote == remote) {
            peer.health.fail(Failure::Undeliverable { unreachable, reporter }, Some(remote), now);
        }
    }

    /// The system refused to send a handshake message to a peer: `errno` is its number for why.
    pub fn send_failed(&mut self, now: Time, peer: PeerId, remote: SocketAddr, errno: i32) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        let before = peer.health.failures.latest(|failure| matches!(failure, Failure::NotSent { .. }));
        let is_news = before.is_none_or(|record| now.since(record.last) >= QUIET);
        peer.health.fail(Failure::NotSent { errno }, Some(remote), now);
        if is_news && peer.health.may_tell(now) {
            let error = Some(SendError::System(errno));
            let notice = Notice::Dropped { reason: DropReason::SendFailed, source: None, error };
            self.out.notify(*peer.remote.public(), notice);
        }
    }
}
