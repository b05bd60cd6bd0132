//! One peer's handshakes: when to ask, asking, answering, and what each message proves (WireGuard paper, sections 5.4
//! and 6.4; the kernel's `send.c`, `receive.c` and `timers.c`).
//!
//! Unlike the kernel, which has one handshake per peer, an initiation of ours stays pending while we answer one of the
//! peer's: when both ask at once, both get an answer at once, and neither has to wait for its timer.

use zerocopy::IntoBytes;

use super::Device;
use super::api::Action;
use super::health::Failure;
use super::outbox::Place;
use super::peer::{Env, Peer};
use crate::constants::{INITIATION_INTERVAL_MIN, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, ZERO_KEYS_AFTER_TIME};
use crate::drops::DropReason;
use crate::ids::{Endpoint, PeerId};
use crate::noise::{ClaimedInitiation, create_initiation};
use crate::time::Time;
use crate::timers::Timer;
use crate::wire::{CookieReply, HandshakeInitiation, HandshakeResponse};

impl Device {
    /// A handshake message has left for its peer: only then is it counted as sent.
    pub fn handshake_left(&mut self, peer: PeerId, len: usize) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.handshake_traffic.tx_packets += 1;
            peer.handshake_traffic.tx_bytes += len as u64;
        }
    }

    /// Keeps a cookie for the next handshake message. No timer and no endpoint changes: the reply may be anybody's
    /// echo.
    pub(super) fn receive_cookie(&mut self, now: Time, message: &CookieReply) -> Result<(), DropReason> {
        let peer = self.asked_by(message.receiver_index.get())?;
        let peer = self.peers.get_mut(peer).ok_or(DropReason::UnknownIndex)?;
        peer.cookies.as_mut().ok_or(DropReason::InvalidCookieReply)?.consume_reply(now, message)?;
        let remote = peer.endpoint().map(|endpoint| endpoint.remote);
        peer.health.fail(Failure::CookieDemanded, remote, now);
        Ok(())
    }
}

impl Peer {
    /// There is something to send, and no session, or none that will last. Begins an attempt, or keeps one alive.
    ///
    /// If that is impossible because an endpoint, a key or a link is missing, the worker's request stays set, so it
    /// does not ask again with each packet; [`Peer::kick`] takes it up.
    pub fn want_handshake(&mut self, env: &mut Env<'_>) {
        self.attempt_started = env.now.mono;
        if !self.can_initiate(env) {
            return self.note_incapable(env);
        }
        match self.next_initiation_at() {
            Some(at) if env.now.mono < at => {
                if self.timers.get(Timer::Retransmit).is_none() {
                    self.timers.set(Timer::Retransmit, at + env.jitter());
                }
            }
            _ => self.initiate(env),
        }
    }

    /// No response came in time, or an initiation was wanted too soon after another handshake message.
    pub fn retransmit_due(&mut self, env: &mut Env<'_>) {
        let now = env.now.mono;
        if !self.can_initiate(env) {
            return;
        }
        if now.since(self.attempt_started) >= REKEY_ATTEMPT_TIME {
            return self.give_up(env);
        }
        if let Some(at) = self.next_initiation_at().filter(|&at| now < at) {
            return self.timers.set(Timer::Retransmit, at + env.jitter());
        }
        if self.pending.is_some() {
            let remote = self.endpoint().map(|endpoint| endpoint.remote);
            self.health.fail(Failure::Unanswered, remote, now);
        }
        self.note_silence(env);
        self.initiate(env);
    }

    /// What keeps us from asking, apart from the link.
    fn note_incapable(&mut self, env: &Env<'_>) {
        if env.up && env.local.is_none() {
            self.health.fail(Failure::NoPrivateKey, None, env.now.mono);
        }
        if env.up && self.endpoint().is_none() {
            self.health.fail(Failure::NoEndpoint, None, env.now.mono);
        }
    }

    pub(super) fn can_initiate(&self, env: &Env<'_>) -> bool {
        env.up && env.local.is_some() && self.endpoint().is_some()
    }

    pub(super) fn next_initiation_at(&self) -> Option<Time> {
        self.handshake_sent.map(|at| at + REKEY_TIMEOUT)
    }

    /// Which worker the next session goes to: that of the current one, if there is one.
    fn place(&self, otherwise: Place) -> Place {
        self.sessions.current().map_or(otherwise, |session| Place::With(session.local_index))
    }

    /// Sends an initiation, and repeats it until it is answered. [`Peer::can_initiate`] said yes.
    fn initiate(&mut self, env: &mut Env<'_>) {
        self.doubt_memory();
        let Some(endpoint) = self.initiation_endpoint() else { return };
        if !self.send_initiation(endpoint, env) {
            // No handshake with this key will ever succeed. The request stays set: nobody asks again.
            env.out.push(Action::DropStaged { peer: self.id });
            return;
        }
        if self.unanswered_since.is_none() {
            self.unanswered_since = Some(env.now.mono);
            self.health.heard_before = self.shared.traffic().rx_packets;
        }
        self.asking_since.get_or_insert(env.now.mono);
        self.initiations_unanswered = self.initiations_unanswered.saturating_add(1);
        let jitter = env.jitter();
        self.timers.set(Timer::Retransmit, env.now.mono + REKEY_TIMEOUT + jitter);
        // The next packet that finds no session shows that the attempt is still wanted.
        self.shared.activity.clear_request();
    }

    /// Sends one initiation, in place of the one that awaits its response. False: none can be made.
    pub(super) fn send_initiation(&mut self, endpoint: Endpoint, env: &mut Env<'_>) -> bool {
        let Some(local) = env.local else { return false };
        let now = env.now.mono;
        self.drop_pending(env.out);
        let timestamp = env.now.wall.max(self.timestamp_sent.successor());
        let index = env.out.indices.claim(self.id, self.place(Place::FirstIdle), env.rng);
        let (pending, mut message) = match create_initiation(local, &self.remote, timestamp, index, env.rng) {
            Ok(made) => made,
            Err(reason) => {
                env.out.indices.release(index);
                env.drops.bump(reason);
                return false;
            }
        };
        self.pending = Some(Box::new(pending));
        self.sessions.ask();
        self.timestamp_sent = timestamp;
        env.out.handshakes.initiations += 1;
        self.add_macs(now, message.as_mut_bytes());
        self.send_handshake(endpoint, index, message.as_bytes(), env);
        true
    }

    fn send_handshake(&mut self, endpoint: Endpoint, index: u32, message: &[u8], env: &mut Env<'_>) {
        self.handshake_sent = Some(env.now.mono);
        self.shared.handshake.note(index);
        self.shared.activity.control_sent(env.now.mono);
        env.out.send(endpoint, message, Some(self.id));
    }

    fn note_received_handshake(&mut self, endpoint: Endpoint, len: usize, env: &mut Env<'_>) {
        self.handshake_traffic.rx_packets += 1;
        self.handshake_traffic.rx_bytes += len as u64;
        self.roam(endpoint, env.now.mono, env.up && env.local.is_some());
        self.shared.activity.handshake_received(env.now.mono);
    }

    /// The attempt took Rekey-Attempt-Time: what waits is dropped, and nothing is tried until there is more to send.
    fn give_up(&mut self, env: &mut Env<'_>) {
        self.asking_since = None;
        env.out.handshakes.given_up += 1;
        self.shared.activity.forget_unreplied();
        self.shared.activity.clear_request();
        env.out.push(Action::DropStaged { peer: self.id });
        if self.timers.get(Timer::ZeroKeys).is_none() {
            self.timers.set(Timer::ZeroKeys, env.now.mono + ZERO_KEYS_AFTER_TIME);
        }
    }

    /// There was no new session for long: nothing must remain of the old ones, nor of an initiation that is not being
    /// repeated any more. One that is goes on; giving it up sets this timer again.
    pub fn zero_keys_due(&mut self, env: &mut Env<'_>) {
        if self.timers.get(Timer::Retransmit).is_none() {
            self.drop_pending(env.out);
        }
        self.clear_sessions(env.out);
    }

    /// The peer, as it says, asks for a session. Nothing changes unless the message is authentic, new, under our suite
    /// and not too soon.
    pub fn receive_initiation(
        &mut self,
        claimed: ClaimedInitiation,
        endpoint: Endpoint,
        env: &mut Env<'_>,
    ) -> Result<(), DropReason> {
        let now = env.now.mono;
        let Some(local) = env.local else { return Err(DropReason::NoPrivateKey) };
        let verified = claimed.verify(local, &self.remote)?;
        if verified.timestamp() <= self.timestamp_received {
            let behind = verified.timestamp().behind(self.timestamp_received);
            self.health.fail(Failure::OldTimestamp { behind }, Some(endpoint.remote), now);
            return Err(DropReason::HandshakeReplay);
        }
        if verified.suite() != self.remote.suite() {
            // Noted, so it cannot be replayed; nothing else changes for the peer.
            self.timestamp_received = verified.timestamp();
            let theirs = verified.suite();
            self.health.fail(Failure::SuiteMismatch { theirs }, Some(endpoint.remote), now);
            return Err(self.refuse_suite(verified.suite(), endpoint, env));
        }
        if self.initiation_accepted.is_some_and(|at| now < at + INITIATION_INTERVAL_MIN) {
            return Err(DropReason::HandshakeFlood);
        }
        let timestamp = verified.timestamp();
        let index = env.out.indices.claim(self.id, self.place(Place::LastIdle), env.rng);
        let (session, mut response) =
            verified.create_response(&self.remote, index, env.rng).inspect_err(|_| env.out.indices.release(index))?;

        self.timestamp_received = timestamp;
        self.initiation_accepted = Some(now);
        env.out.handshakes.responses += 1;
        self.health.asked_from(endpoint.remote, now);
        if self.sessions.awaits_confirmation() {
            self.health.unused = self.health.unused.saturating_add(1);
            self.health.fail(Failure::Unused, Some(endpoint.remote), now);
        }
        self.note_received_handshake(endpoint, size_of::<HandshakeInitiation>(), env);
        self.add_macs(now, response.as_mut_bytes());
        self.sessions.begin_as_responder(self.id, session, now, env.out);
        self.timers.set(Timer::ZeroKeys, now + ZERO_KEYS_AFTER_TIME);
        self.send_handshake(endpoint, index, response.as_bytes(), env);
        Ok(())
    }

    /// The peer answers. Nothing changes unless the message is authentic and answers our last initiation.
    pub fn receive_response(
        &mut self,
        response: &HandshakeResponse,
        endpoint: Endpoint,
        env: &mut Env<'_>,
    ) -> Result<(), DropReason> {
        let (Some(local), Some(pending)) = (env.local, &self.pending) else { return Err(DropReason::UnknownIndex) };
        let session = match pending.consume_response(local, &self.remote, response) {
            Ok(session) => session,
            Err(reason) => {
                self.health.fail(Failure::BadResponse, Some(endpoint.remote), env.now.mono);
                return Err(reason);
            }
        };

        self.pending = None; // Its index lives on with the session.
        self.note_received_handshake(endpoint, size_of::<HandshakeResponse>(), env);
        self.sessions.begin_as_initiator(self.id, session, env.now.mono, env.out);
        self.timers.set(Timer::ZeroKeys, env.now.mono + ZERO_KEYS_AFTER_TIME);
        // The confirmation that leaves now is a reply to whatever came in.
        self.shared.activity.control_sent(env.now.mono);
        let began = self.asking_since.unwrap_or(env.now.mono);
        env.out.handshakes.initiated.record(env.now.mono.since(began));
        self.complete(env);
        Ok(())
    }

    pub(super) fn complete(&mut self, env: &Env<'_>) {
        self.timers.stop(Timer::Retransmit);
        self.shared.activity.clear_request();
        self.last_handshake = Some(env.now.wall);
        self.health.complete(env.now.mono, self.unanswered_since);
        self.health.before_session = self.shared.traffic();
        self.health.missing_before = 0;
        self.shared.counters.begin_session();
        self.unanswered_since = None;
        self.asking_since = None;
        self.initiations_unanswered = 0;
        self.silence_noticed = false;
        self.suite_noticed = None;
        self.recalled = None;
    }
}
