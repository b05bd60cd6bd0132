//! One peer on its way to another process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::health::Health;
use super::super::peer::{Peer, Recalled, Watch};
use super::super::sessions::Sessions;
use super::super::{Device, enter};
use super::{HandOverError, TakeOverError};
use crate::activity::{Noted, Sizes, Traffic};
use crate::allowed_ips::Prefix;
use crate::cell::SessionNumber;
use crate::cookie::{CookieGenerator, Kept};
use crate::crypto::{PresharedKey, PublicKey};
use crate::handover::{Progress, Resumed};
use crate::ids::Endpoint;
use crate::noise::{HandedInitiation, PendingInitiation};
use crate::on_demand::OnDemand;
use crate::part::{kinds, parts};
use crate::suite::Suite;
use crate::tai64n::Tai64N;
use crate::time::Time;
use crate::timers::Timers;

/// One peer.
pub(super) struct HandedPeer {
    key: PublicKey,
    psk: PresharedKey,
    suite: Suite,
    settings: Settings,
    prefixes: Vec<Prefix>,
    sessions: Option<Box<HandedSessions>>,
    pending: Option<Box<HandedInitiation>>,
    handshakes: Handshakes,
    timers: Timers,
    watch: Watch,
    jitter: Duration,
    shared: Shared,
    cookie: Option<Box<Kept>>,
    health: Option<Box<Health>>,
}

parts!(HandedPeer {
    key,
    psk,
    suite,
    settings,
    prefixes,
    sessions,
    pending,
    handshakes,
    timers,
    watch,
    jitter,
    shared,
    cookie,
    health,
});

/// What the operator has said of it.
struct Settings {
    source: Option<IpAddr>,
    configured: Option<SocketAddr>,
    recalled: Option<Box<Recalled>>,
    keepalive_secs: u16,
    keepalive_at_once: bool,
}

parts!(Settings { source, configured, recalled, keepalive_secs, keepalive_at_once });
parts!(Recalled { remote, configured });
kinds!(Watch, "whether a peer is watched");

/// Its sessions, as control and as the workers know them.
struct HandedSessions {
    sessions: Sessions,
    /// By index.
    resumed: Vec<(u32, Resumed)>,
}

parts!(HandedSessions { sessions, resumed });

/// What was asked and answered.
struct Handshakes {
    attempt_started: Time,
    initiations_unanswered: u32,
    handshake_sent: Option<Time>,
    timestamp_sent: Tai64N,
    timestamp_received: Tai64N,
    initiation_accepted: Option<Time>,
    last_handshake: Option<Tai64N>,
    unanswered_since: Option<Time>,
    asking_since: Option<Time>,
    suite_noticed: Option<Time>,
    silence_noticed: bool,
    traffic: Traffic,
}

parts!(Handshakes {
    attempt_started,
    initiations_unanswered,
    handshake_sent,
    timestamp_sent,
    timestamp_received,
    initiation_accepted,
    last_handshake,
    unanswered_since,
    asking_since,
    suite_noticed,
    silence_noticed,
    traffic,
});

/// What the workers know as well.
struct Shared {
    activity: Noted,
    traffic: Traffic,
    sizes: Sizes,
    endpoint: Option<Endpoint>,
    handshake: Option<u32>,
    lost_due: Time,
    confirmed: SessionNumber,
}

parts!(Shared { activity, traffic, sizes, endpoint, handshake, lost_due, confirmed });

impl HandedPeer {
    pub(super) fn of(peer: &Peer, progress: &Progress) -> Result<Self, HandOverError> {
        let sessions = peer.sessions.is_used().then(|| HandedSessions::of(peer, progress)).transpose()?;
        Ok(Self {
            key: *peer.remote.public(),
            psk: peer.remote.psk().clone(),
            suite: peer.remote.suite(),
            settings: Settings::of(peer),
            prefixes: peer.prefixes.after(None).collect(),
            sessions: sessions.map(Box::new),
            pending: peer.pending.as_ref().map(|pending| Box::new(pending.handed())),
            handshakes: Handshakes::of(peer),
            timers: peer.timers,
            watch: peer.watch,
            jitter: peer.jitter,
            shared: Shared::of(peer),
            cookie: peer.cookies.as_ref().map(|cookies| Box::new(cookies.kept())),
            health: peer.health.is_used().then(|| Box::new(Health::clone(&peer.health))),
        })
    }

    pub(super) fn session_count(&self) -> usize {
        self.sessions.as_ref().map_or(0, |sessions| sessions.resumed.len())
    }
}

impl Settings {
    fn of(peer: &Peer) -> Self {
        let &Peer { source, configured, ref recalled, keepalive_secs, keepalive_at_once, .. } = peer;
        Self { source, configured, recalled: recalled.clone(), keepalive_secs, keepalive_at_once }
    }
}

impl HandedSessions {
    fn of(peer: &Peer, progress: &Progress) -> Result<Self, HandOverError> {
        let resumed = peer.sessions.all().map(|session| {
            let local_index = session.local_index;
            let resumed = progress.of(peer.id, local_index).ok_or(HandOverError::Unreported { local_index })?;
            Ok((local_index, resumed))
        });
        Ok(Self { resumed: resumed.collect::<Result<_, _>>()?, sessions: peer.sessions.clone() })
    }
}

impl Handshakes {
    const fn of(peer: &Peer) -> Self {
        Self {
            attempt_started: peer.attempt_started,
            initiations_unanswered: peer.initiations_unanswered,
            handshake_sent: peer.handshake_sent,
            timestamp_sent: peer.timestamp_sent,
            timestamp_received: peer.timestamp_received,
            initiation_accepted: peer.initiation_accepted,
            last_handshake: peer.last_handshake,
            unanswered_since: peer.unanswered_since,
            asking_since: peer.asking_since,
            suite_noticed: peer.suite_noticed,
            silence_noticed: peer.silence_noticed,
            traffic: peer.handshake_traffic,
        }
    }

    const fn resume(self, peer: &mut Peer) {
        peer.attempt_started = self.attempt_started;
        peer.initiations_unanswered = self.initiations_unanswered;
        peer.handshake_sent = self.handshake_sent;
        peer.timestamp_sent = self.timestamp_sent;
        peer.timestamp_received = self.timestamp_received;
        peer.initiation_accepted = self.initiation_accepted;
        peer.last_handshake = self.last_handshake;
        peer.unanswered_since = self.unanswered_since;
        peer.asking_since = self.asking_since;
        peer.suite_noticed = self.suite_noticed;
        peer.silence_noticed = self.silence_noticed;
        peer.handshake_traffic = self.traffic;
    }
}

impl Shared {
    fn of(peer: &Peer) -> Self {
        let shared = &peer.shared;
        Self {
            activity: shared.activity.noted(),
            traffic: shared.traffic(),
            // How many are missing is said by each session that goes on, with the next message.
            sizes: Sizes { rx_missing: 0, ..shared.sizes() },
            endpoint: shared.endpoint.get(),
            handshake: shared.handshake.get(),
            lost_due: shared.lost.due(),
            confirmed: shared.confirmed(),
        }
    }

    fn resume(self, peer: &Peer) {
        let shared = &peer.shared;
        shared.activity.resume(&self.activity);
        if self.traffic != Traffic::default() {
            // Who carried it does not matter. There is one worker at least.
            let Traffic { rx_bytes, tx_bytes, rx_packets, tx_packets } = self.traffic;
            let first = &shared.counters[0];
            first.received(rx_packets, rx_bytes);
            first.sent(tx_packets, tx_bytes);
            // An earlier version has handed over how many were missing as well.
            first.received_up_to(self.sizes.rx_largest as usize, 0);
            first.sent_up_to(self.sizes.tx_largest as usize);
        }
        self.endpoint.into_iter().for_each(|endpoint| _ = shared.endpoint.set(endpoint));
        self.handshake.into_iter().for_each(|index| shared.handshake.note(index));
        shared.lost.resume(self.lost_due);
        shared.resume_confirmed(self.confirmed);
    }
}

impl Device {
    pub(super) fn resume_peer(&mut self, state: HandedPeer) -> Result<(), TakeOverError> {
        let id = self.add_peer(state.key).map_err(|_| TakeOverError::Peers)?;
        for prefix in state.prefixes {
            self.insert_allowed_ip(id, prefix);
        }
        let Self { peers, identity, published, out, schedule, .. } = self;
        let peer = peers.get_mut(id).ok_or(TakeOverError::Peers)?;
        peer.remote.set_suite(state.suite);
        peer.remote.set_psk(state.psk);
        let Settings { source, configured, recalled, keepalive_secs, keepalive_at_once } = state.settings;
        (peer.source, peer.configured, peer.recalled) = (source, configured, recalled);
        (peer.keepalive_secs, peer.keepalive_at_once) = (keepalive_secs, keepalive_at_once);
        state.handshakes.resume(peer);
        (peer.timers, peer.watch, peer.jitter) = (state.timers, state.watch, state.jitter);
        state.shared.resume(peer);
        if let Some(endpoint) = peer.endpoint() {
            published.locate(endpoint.remote);
        }
        if let Some(kept) = state.cookie {
            peer.cookies = Some(Box::new(CookieGenerator::resumed(peer.remote.public(), &kept)));
        }
        if let Some(health) = state.health {
            peer.health = OnDemand::of(*health);
        }
        if let (Some(handed), Some(identity)) = (state.pending, identity) {
            if !out.indices.claim_this(handed.local_index, id) {
                return Err(TakeOverError::Sessions);
            }
            peer.pending = Some(Box::new(PendingInitiation::resumed(&identity.local, *handed)));
        }
        if let Some(handed) = state.sessions {
            let HandedSessions { sessions, mut resumed } = *handed;
            let current = sessions.current().map(|session| session.local_index);
            for session in sessions.all() {
                let place = resumed.iter().position(|(index, _)| *index == session.local_index);
                let (index, resumed) = resumed.swap_remove(place.ok_or(TakeOverError::Sessions)?);
                if Some(index) == current {
                    // What came under it before is known as a part of all that came, and no more.
                    peer.health.before_session = peer.shared.traffic();
                    peer.health.missing_before = resumed.received.missing();
                }
                if !session.resume(id, resumed, out) {
                    return Err(TakeOverError::Sessions);
                }
            }
            peer.sessions = OnDemand::of(sessions);
        }
        enter(schedule, peer);
        Ok(())
    }
}
