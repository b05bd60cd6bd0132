//! One peer, as control knows it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;

use super::api::Action;
use super::health::Health;
use super::outbox::Outbox;
use super::prefixes::Prefixes;
use super::sessions::Sessions;
use crate::activity::Traffic;
use crate::cell::{Followed, PeerShared};
use crate::constants::REKEY_TIMEOUT_JITTER_MAX;
use crate::cookie::CookieGenerator;
use crate::crypto::PublicKey;
use crate::drops::DropCounts;
use crate::ids::{Endpoint, PeerId};
use crate::noise::{LocalIdentity, PendingInitiation, RemoteIdentity};
use crate::on_demand::OnDemand;
use crate::suite::Suite;
use crate::tai64n::Tai64N;
use crate::time::{Now, Time};
use crate::timers::{Timer, Timers};

/// What a step of one peer's state machine may read and use besides the peer.
pub(super) struct Env<'a> {
    pub now: Now,
    pub up: bool,
    pub local: Option<&'a LocalIdentity>,
    pub out: &'a mut Outbox,
    pub drops: &'a mut DropCounts,
    pub rng: &'a mut dyn CryptoRng,
}

impl Env<'_> {
    /// A random delay, so two peers that started together do not go on together.
    pub fn jitter(&mut self) -> Duration {
        let max = REKEY_TIMEOUT_JITTER_MAX.as_nanos() as u64;
        // The remainder of 64 random bits is uniform enough: the bias is below 2^-35.
        Duration::from_nanos(self.rng.next_u64() % max)
    }
}

/// Whether control looks at a peer's activity by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// No: a worker wakes it.
    Idle,
    /// Yes.
    Armed,
    /// Once more, in case a worker still saw the peer armed while it was disarmed.
    LastLook,
}

impl Watch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Idle, Self::Armed, Self::LastLook];
}

/// Where a peer was before a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recalled {
    pub remote: SocketAddr,
    /// Where the operator had said that it was.
    pub configured: Option<SocketAddr>,
}

pub(super) struct Peer {
    pub id: PeerId,
    pub shared: Arc<PeerShared>,
    pub remote: RemoteIdentity,
    /// What it was told of that concerns all peers.
    pub epoch: Epoch,
    /// For messages to it, from the first one on.
    pub cookies: Option<Box<CookieGenerator>>,
    /// The local address that the operator wants the peer to be written to from, until it writes to another one.
    pub source: Option<IpAddr>,
    /// Where the operator has said last that the peer is.
    pub configured: Option<SocketAddr>,
    /// Where it was before a restart, as long as nobody has answered there.
    pub recalled: Option<Box<Recalled>>,
    pub prefixes: Prefixes,

    /// Persistent keepalive in seconds; 0 is off.
    pub keepalive_secs: u16,
    /// Send the next persistent keepalive whatever passed before: it was just switched on.
    pub keepalive_at_once: bool,

    pub sessions: OnDemand<Sessions>,
    /// Our initiation that awaits its response.
    pub pending: Option<Box<PendingInitiation>>,
    /// When the present attempt began, or something was last to be sent in it.
    pub attempt_started: Time,
    /// Initiations since a session was last completed.
    pub initiations_unanswered: u32,
    /// When we last sent a handshake message.
    pub handshake_sent: Option<Time>,
    /// The timestamp of our last initiation. The next one is later even if the wall clock went back.
    pub timestamp_sent: Tai64N,
    /// The latest timestamp accepted from the peer.
    pub timestamp_received: Tai64N,
    /// When we last accepted an initiation.
    pub initiation_accepted: Option<Time>,
    /// Wall clock of the last completed handshake.
    pub last_handshake: Option<Tai64N>,
    /// When we first asked since then.
    pub unanswered_since: Option<Time>,
    /// When the first initiation of the present attempt left: how long the handshake takes counts from here.
    pub asking_since: Option<Time>,

    /// When the operator was last told that the peer uses another suite.
    pub suite_noticed: Option<Time>,
    /// The operator was told what the peer's silence may mean, or knows.
    pub silence_noticed: bool,

    pub timers: Timers,
    /// The deadline under which the peer is entered in the schedule.
    pub scheduled: Option<Time>,
    pub watch: Watch,
    /// Added to the time after which unanswered data leads to a handshake.
    pub jitter: Duration,
    /// Handshake messages, which no worker counts.
    pub handshake_traffic: Traffic,
    pub health: OnDemand<Health>,
}

/// What a peer was last told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    /// Which of our private keys this is, counted from the first.
    pub identity: u32,
    /// How often the link has come up and gone down: it is up if this is odd.
    pub link: u32,
    /// How often the sources of all peers were forgotten.
    pub sources: u32,
}

impl Epoch {
    pub const fn is_up(self) -> bool {
        self.link % 2 == 1
    }
}

impl Peer {
    pub fn new(id: PeerId, public: PublicKey, suite: Suite, shared: PeerShared) -> Self {
        let mut remote = RemoteIdentity::new(public);
        remote.set_suite(suite);
        Self {
            id,
            shared: Arc::new(shared),
            remote,
            epoch: Epoch::default(),
            cookies: None,
            source: None,
            configured: None,
            recalled: None,
            prefixes: Prefixes::default(),
            keepalive_secs: 0,
            keepalive_at_once: false,
            sessions: OnDemand::default(),
            pending: None,
            attempt_started: Time::ZERO,
            initiations_unanswered: 0,
            handshake_sent: None,
            timestamp_sent: Tai64N::ZERO,
            timestamp_received: Tai64N::ZERO,
            initiation_accepted: None,
            last_handshake: None,
            unanswered_since: None,
            asking_since: None,
            suite_noticed: None,
            silence_noticed: false,
            timers: Timers::default(),
            scheduled: None,
            watch: Watch::Idle,
            jitter: Duration::ZERO,
            handshake_traffic: Traffic::default(),
            health: OnDemand::default(),
        }
    }

    /// Where the peer is reached, which workers may know since just now.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.shared.endpoint.get()
    }

    /// Follows the peer to where an authenticated handshake message came from.
    pub fn roam(&mut self, endpoint: Endpoint, now: Time, ready: bool) {
        let followed = self.shared.endpoint.follow(endpoint);
        if followed != Followed::Same {
            self.shared.moves.note();
        }
        if followed == Followed::Found {
            self.kick(now, ready);
        }
    }

    /// The operator says where the peer is. The address at which the peer knows us stays if that is nothing new.
    pub fn set_remote(&mut self, remote: SocketAddr) {
        if self.endpoint().is_none_or(|endpoint| endpoint.remote != remote) {
            self.shared.endpoint.set(Endpoint { remote, source: self.own_source(remote) });
        }
    }

    /// Takes notice of what a worker has learned: the peer has the session that we answered for.
    pub fn settle(&mut self, env: &mut Env<'_>) {
        if self.sessions.is_used() && self.sessions.confirm(self.id, self.shared.confirmed(), env.now.mono, env.out) {
            self.drop_pending(env.out); // It is not needed any more.
            let accepted = self.initiation_accepted.unwrap_or(env.now.mono);
            env.out.handshakes.answered.record(env.now.mono.since(accepted));
            self.complete(env);
        }
    }

    /// Has the workers send what waits for a session, if there is one.
    pub fn send_staged(&self, env: &mut Env<'_>) {
        if self.sessions.current().is_some() {
            env.out.push(Action::SendStaged { peer: self.id, confirm: None });
        }
    }

    /// Takes up what had to wait for an endpoint, for a private key or for the link. `ready`: the latter two are there.
    pub fn kick(&mut self, now: Time, ready: bool) {
        if !ready || self.endpoint().is_none() {
            return;
        }
        if self.keepalive_secs > 0 && self.timers.get(Timer::PersistentKeepalive).is_none() {
            self.timers.set(Timer::PersistentKeepalive, now);
        }
        if self.shared.activity.is_requested() && self.timers.get(Timer::Retransmit).is_none() {
            self.attempt_started = now;
            self.timers.set(Timer::Retransmit, now);
        }
    }

    /// Forgets our initiation, if one awaits its response.
    pub fn drop_pending(&mut self, out: &mut Outbox) {
        if let Some(pending) = self.pending.take() {
            out.indices.release(pending.local_index());
        }
    }

    /// Forgets all sessions, if there ever was one.
    pub fn clear_sessions(&mut self, out: &mut Outbox) {
        if self.sessions.is_used() {
            self.sessions.clear(self.id, out);
        }
    }

    /// Fills in both macs of a handshake message to the peer.
    pub fn add_macs(&mut self, now: Time, message: &mut [u8]) {
        let public = self.remote.public();
        self.cookies.get_or_insert_with(|| Box::new(CookieGenerator::new(public))).add_macs(now, message);
    }

    /// Starts from nothing: keys, timers and what the workers noted. Settings and timestamps stay.
    pub fn reset(&mut self, out: &mut Outbox) {
        self.drop_pending(out);
        self.clear_sessions(out);
        self.timers.stop_all();
        self.watch = Watch::Idle;
        self.handshake_sent = None;
        self.unanswered_since = None;
        self.asking_since = None;
        self.initiations_unanswered = 0;
        self.shared.activity.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_small() {
        // A device must hold 100,000 peers; see also `PeerCounters`.
        assert!(size_of::<Peer>() <= 512, "{} bytes", size_of::<Peer>());
        assert!(size_of::<Action>() < 300, "{} bytes", size_of::<Action>());
    }
}
