//! The control side of a WireGuard interface, without I/O: who the peers are, when hands are shaken, which session is
//! used, what is due when.
//!
//! ```text
//!             handle_datagram   handle_event   handle_timeout   set_…, add_…, remove_…
//!                    │               │               │                   │
//!                    ▼               ▼               ▼                   ▼
//!             ┌──────────────────────────────────────────────────────────────┐
//!             │ Device: peers, each with handshake, sessions, timers; routes │
//!             └──────────────────────────────────────────────────────────────┘
//!                    │                               │                   │
//!                    ▼                               ▼                   ▼
//!              poll_action                      poll_timeout         status, drops
//! ```
//!
//! After any call of the upper row, take all actions, then wait until [`Device::poll_timeout`] at most. Nothing here
//! blocks, reads a clock or draws randomness.

mod admission;
mod api;
mod changes;
mod config;
mod hand_over;
mod handshake;
mod health;
mod memory;
mod names;
mod outbox;
mod outcomes;
mod peer;
mod peers;
mod places;
mod prefixes;
mod recovery;
mod renewal;
mod role;
mod sessions;
mod snapshot;
mod sources;
mod status;
mod strangers;
mod suites;
mod traffic;
mod verdict;
mod walk;

pub use api::{Action, AddPeerError, Datagram, HandshakeReason, Notice, Outgoing, PeerEvent, PeerSettingsFull};
pub use changes::{Change, WatchCursor, What};
pub(crate) use hand_over::State;
pub use hand_over::{HandOverError, TakeOverError};
pub use health::{Failure, FailureRecord, PeerState, Unreachable};
pub use memory::{MemoryCursor, Remembered};
pub use names::{NAME_LEN_MAX, is_name};
pub use outcomes::{Durations, HandshakeCounts};
pub use snapshot::{DeviceSnapshot, PeerSnapshot, SessionSnapshot};
pub use status::PeerStatus;
pub use strangers::{MacStranger, Stranger, Unrouted};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rand_core::CryptoRng;

use crate::allowed_ips::AllowedIps;
use crate::cookie::CookieChecker;
use crate::crypto::{Portable, PublicKey, X25519};
use crate::drops::{DropCounts, DropReason};
use crate::gate::Proof;
use crate::ids::{Endpoint, PeerId};
use crate::limiter::{LIMITER_SOURCES_MAX, Limiter};
use crate::noise::{LocalIdentity, consume_initiation};
use crate::suite::Suite;
use crate::tai64n::Tai64N;
use crate::time::{Now, Time};
use crate::timers::{Schedule, Timer};
use crate::wire::{HandshakeInitiation, HandshakeResponse, Message, classify};
use admission::{Published, asks_limiter};
use changes::Changes;
use memory::Memory;
use outbox::Outbox;
use peer::{Env, Peer};
use peers::Peers;
use recovery::Recovery;
use renewal::{Renewal, Target};
use strangers::Strangers;
use suites::Suites;

/// Peers whose timers one call of [`Device::handle_timeout`] serves, so 100,000 that are due at once do not keep
/// handshakes waiting for seconds.
const PEERS_PER_TIMEOUT: usize = 64;

/// A WireGuard interface, as control sees it. It starts without a private key, without peers, and with the link down.
pub struct Device {
    workers: u8,
    /// Who computes handshakes.
    x25519: &'static dyn X25519,
    /// The link is up.
    link: bool,
    /// How often the role has changed. Odd: another gateway serves our peers.
    role_changes: u64,
    /// We serve them: the link is up, and we are not passive.
    up: bool,
    identity: Option<Identity>,
    published: Published,
    limiter: Limiter,
    peers: Peers,
    suites: Suites,
    /// Local addresses that were set for single peers, by key for the same reason as suites.
    sources: BTreeMap<PublicKey, IpAddr>,
    /// Where peers were that are not configured at present.
    memory: Memory,
    recovery: Recovery,
    renewal: Renewal,
    /// What the operator calls the peers, likewise.
    names: BTreeMap<PublicKey, Arc<str>>,
    strangers: Strangers,
    /// What has happened to peers, while somebody watches.
    changes: Option<Box<Changes>>,
    /// Whom the last handshake message was of, as it says.
    blamed: Option<PeerId>,
    schedule: Schedule,
    routes: AllowedIps,
    /// The workers have not been given the present routes.
    routes_changed: bool,
    /// And they shall not be yet.
    routes_held: bool,
    /// Peers that are gone here, and not yet at the workers.
    removed: Vec<PeerId>,
    /// How many of these may go until the next call of [`Device::handle_timeout`].
    releases_left: usize,
    /// The latest timestamp of an initiation to any of the peers that are gone. Who is added again begins after it, or
    /// would be refused until a wall clock that went back has caught up.
    timestamp_of_removed: Tai64N,
    out: Outbox,
    drops: DropCounts,
}

struct Identity {
    local: LocalIdentity,
    checker: CookieChecker,
}

/// Inputs and outputs. Configuration and queries are in other files.
impl Device {
    /// A device whose data path has that many workers.
    pub fn new(workers: u8) -> Self {
        Self {
            workers,
            x25519: &Portable,
            link: false,
            role_changes: 0,
            up: false,
            identity: None,
            published: Published::default(),
            limiter: Limiter::new(LIMITER_SOURCES_MAX),
            peers: Peers::default(),
            suites: Suites::default(),
            sources: BTreeMap::new(),
            memory: Memory::default(),
            recovery: Recovery::default(),
            renewal: Renewal::default(),
            names: BTreeMap::new(),
            strangers: Strangers::default(),
            changes: None,
            blamed: None,
            schedule: Schedule::default(),
            routes: AllowedIps::new(),
            routes_changed: false,
            routes_held: false,
            removed: Vec::new(),
            releases_left: config::RELEASES_PER_TURN,
            timestamp_of_removed: Tai64N::ZERO,
            out: Outbox::new(workers),
            drops: DropCounts::new(),
        }
    }

    /// Takes a datagram that is not a data message. `under_load`: the queue of such datagrams is, or was within the
    /// last second, so long that their senders must prove their addresses first.
    ///
    /// # Errors
    /// Why the datagram had no effect other than, perhaps, a cookie reply. It is counted in [`Device::drops`].
    pub fn handle_datagram(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        datagram: &[u8],
        under_load: bool,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DropReason> {
        self.handle_admitted(now, endpoint, datagram, (Proof::Unasked, under_load), rng)
    }

    /// The same for a datagram whose sender may have proved something to a worker's gate.
    ///
    /// # Errors
    /// As [`Device::handle_datagram`].
    pub fn handle_admitted(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        datagram: &[u8],
        admission: (Proof, bool),
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DropReason> {
        self.blamed = None;
        let result = self.receive(now, endpoint, datagram, admission, rng);
        result.inspect_err(|&reason| self.drops.bump(reason))
    }

    /// Takes what a worker reports.
    pub fn handle_event(&mut self, now: Now, event: PeerEvent, rng: &mut dyn CryptoRng) {
        let (PeerEvent::Awake(peer)
        | PeerEvent::NeedHandshake { peer, .. }
        | PeerEvent::Confirmed(peer)
        | PeerEvent::Dropped { peer, .. }
        | PeerEvent::Found(peer)
        | PeerEvent::LostSession(peer)
        | PeerEvent::Moved(peer)) = event
        else {
            return self.handle_stranger(now.mono, event);
        };
        if event == PeerEvent::Moved(peer)
            && let Some(peer) = self.peers.get(peer)
        {
            peer.shared.hear_move();
        }
        if event == PeerEvent::LostSession(peer) && self.up {
            self.note_lost_session(now.mono, peer);
        }
        self.step(now, peer, rng, |peer, env| {
            if !env.up {
                // The link went down after the event was sent. When it comes up, requests are taken up and the rest is
                // forgotten.
                return;
            }
            match event {
                PeerEvent::Awake(_) => peer.awake(env),
                PeerEvent::NeedHandshake { reason, .. } => peer.handshake_requested(reason, env),
                // Every step begins with taking notice of it. That may have been while the worker was about to make the
                // session the one to send with, and another found none: now it is.
                PeerEvent::Confirmed(_) => peer.send_staged(env),
                PeerEvent::Found(_) => peer.kick(env.now.mono, env.local.is_some()),
                // It waits for its turn. And whoever keeps what is remembered asks by himself.
                PeerEvent::LostSession(_) | PeerEvent::Moved(_) => {}
                PeerEvent::Dropped { reason, .. } => peer.tell_drop(reason, env),
                PeerEvent::Unrouted { .. } | PeerEvent::WrongKey { .. } => {}
            }
        });
    }

    /// Does what is due. A bounded amount of it: if [`Device::poll_timeout`] is still not after `now`, there is more.
    pub fn handle_timeout(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        self.releases_left = config::RELEASES_PER_TURN;
        self.renew_some(now.mono);
        self.fill_table();
        self.recover_due(now, rng);
        self.keep_changes(now.mono);
        self.keep_gate(now.mono, rng);
        for _ in 0..PEERS_PER_TIMEOUT {
            let Some(due) = self.schedule.first_due(now.mono) else { return };
            self.step(now, due, rng, |peer, env| {
                while let Some(timer) = peer.timers.pop_due(env.now.mono) {
                    match timer {
                        Timer::Retransmit => peer.retransmit_due(env),
                        Timer::Watch => peer.watch_due(env),
                        Timer::PersistentKeepalive => peer.persistent_keepalive_due(env),
                        Timer::ZeroKeys => peer.zero_keys_due(env),
                    }
                }
            });
        }
    }

    /// What to do next, if there is anything.
    ///
    /// Routes are published, and peers removed from the workers, once nothing else is left to do: a configuration of
    /// many lines publishes one version if its actions are taken after the last line.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.out.is_empty() {
            self.publish_routes();
            self.publish_whereabouts();
        }
        self.out.pop()
    }

    /// When to call [`Device::handle_timeout`]: a time that is not in the future means now, `None` means that nothing
    /// is waited for.
    pub fn poll_timeout(&self) -> Option<Time> {
        let at_once = [self.renewal.due(), self.filling_due(), self.releases_due()];
        let others = [self.recovery.next_deadline(), self.gate_due(), self.changes_due()];
        self.schedule.next().into_iter().chain(at_once.into_iter().chain(others).flatten()).min()
    }
}

impl Device {
    fn receive(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        datagram: &[u8],
        admission: (Proof, bool),
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DropReason> {
        let message = classify(datagram)?;
        self.serves()?;
        match message {
            Message::Initiation(suite, message) => {
                self.admit(now, endpoint, (datagram, message.sender_index.get()), admission, rng)?;
                let result = self.receive_initiation(now, endpoint, suite, message, rng);
                result.inspect_err(|_| self.note_wasted(now.mono, admission, rng))?;
            }
            Message::Response(message) => {
                self.admit(now, endpoint, (datagram, message.sender_index.get()), admission, rng)?;
                let result = self.receive_response(now, endpoint, message, rng);
                result.inspect_err(|_| self.note_wasted(now.mono, admission, rng))?;
            }
            Message::CookieReply(message) => return self.receive_cookie(now.mono, message),
            Message::Data(_) => return Err(DropReason::UnknownType), // for a worker, not for us
        }
        if asks_limiter(admission) {
            self.limiter.repay(endpoint.remote.ip());
        }
        self.published.note_peer(endpoint.remote, admission.0);
        Ok(())
    }

    fn receive_initiation(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        suite: Suite,
        message: &HandshakeInitiation,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DropReason> {
        let Some(Identity { local, .. }) = &self.identity else { return Err(DropReason::NoPrivateKey) };
        let claimed = consume_initiation(local, suite, message)?;
        let Some(peer) = self.peers.by_key(claimed.remote_public()) else {
            return Err(self.refuse_stranger(claimed, endpoint, now.mono));
        };
        self.blamed = Some(peer);
        self.step(now, peer, rng, |peer, env| peer.receive_initiation(claimed, endpoint, env))
            .unwrap_or(Err(DropReason::UnknownPeer))
    }

    fn receive_response(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        message: &HandshakeResponse,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DropReason> {
        let peer = self.asked_by(message.receiver_index.get())?;
        self.blamed = Some(peer);
        self.step(now, peer, rng, |peer, env| peer.receive_response(message, endpoint, env))
            .unwrap_or(Err(DropReason::UnknownIndex))
    }

    /// Lets a peer take a step, and enters its next deadline. `None` if the peer is gone.
    fn step<R>(
        &mut self,
        now: Now,
        peer: PeerId,
        rng: &mut dyn CryptoRng,
        step: impl FnOnce(&mut Peer, &mut Env<'_>) -> R,
    ) -> Option<R> {
        let peer = self.peers.get_mut(peer)?;
        let local = self.identity.as_ref().map(|identity| &identity.local);
        let mut env = Env { now, up: self.up, local, out: &mut self.out, drops: &mut self.drops, rng };
        if self.renewal.due().is_some() {
            let target = Target { epoch: self.renewal.epoch(), suite: self.suites.of(peer.remote.public()) };
            peer.renew(target, now.mono, env.up && env.local.is_some(), env.out);
        }
        peer.settle(&mut env);
        let result = step(peer, &mut env);
        peer.tell_state(&mut env);
        follow(&mut self.changes, &mut self.schedule, peer, now.mono);
        Some(result)
    }
}

/// Something has happened to a peer: whoever watches is told of it, and its next deadline may be another one.
fn follow(changes: &mut Option<Box<Changes>>, schedule: &mut Schedule, peer: &mut Peer, now: Time) {
    if let Some(changes) = changes {
        changes.look(peer, now);
    }
    enter(schedule, peer);
}

/// Enters a peer into the schedule under its next deadline.
fn enter(schedule: &mut Schedule, peer: &mut Peer) {
    let next = peer.timers.next();
    schedule.reschedule(peer.id, peer.scheduled, next);
    peer.scheduled = next;
}
