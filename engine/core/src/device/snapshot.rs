//! Everything that is known of a peer and of the interface at one moment, as plain values.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Device;
use super::health::{FailureRecord, PeerState};
use super::status::{PeerStatus, since_unix_epoch};
use super::strangers::{MacStranger, Stranger, Unrouted};
use crate::activity::{Sizes, Traffic};
use crate::crypto::{PresharedKey, PublicKey};
use crate::drops::DropCounts;
use crate::ids::{Endpoint, PeerId, owner};
use crate::node::Node;
use crate::peer_drops::{PeerDrop, SendError};
use crate::suite::Suite;
use crate::time::Time;

/// One peer, at one moment. No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// When this was.
    pub now: Time,
    /// The peer's place.
    pub id: PeerId,
    /// Its key.
    pub public_key: PublicKey,
    /// What the operator calls it.
    pub name: Option<Arc<str>>,
    /// How it does.
    pub state: PeerState,
    /// Where it is reached, and from which local address.
    pub endpoint: Option<Endpoint>,
    /// The cipher suite that it is set to.
    pub suite: Suite,
    /// It has a preshared key.
    pub has_psk: bool,
    /// Persistent keepalive in seconds, 0 if it is off.
    pub keepalive_secs: u16,
    /// How many prefixes it has.
    pub allowed_ips: usize,
    /// The session that is used to send.
    pub session: Option<SessionSnapshot>,
    /// When the last handshake was completed, as time since the Unix epoch, to about 17 ms.
    pub last_handshake: Option<Duration>,
    /// How long the last one that we asked for took.
    pub handshake_took: Option<Duration>,
    /// How many were completed. All but the first replaced a key.
    pub handshakes: u64,
    /// Initiations of ours since then that had no answer yet.
    pub initiations_unanswered: u32,
    /// For how long.
    pub unanswered_for: Option<Duration>,
    /// Something waits to be sent, and nobody can ask for a session.
    pub is_waiting: bool,
    /// What went wrong with handshakes.
    pub failures: Vec<FailureRecord>,
    /// What was thrown away of its packets.
    pub drops: Vec<PeerDrop>,
    /// An inner source address that it may not use, and used lately.
    pub refused_source: Option<IpAddr>,
    /// Why datagrams to it last did not leave.
    pub send_error: Option<SendError>,
    /// Data messages that passed: authenticated, keepalives included.
    pub data: Traffic,
    /// Those of them since the present session began, or since another process handed it over.
    pub session_data: Traffic,
    /// Handshake messages that passed.
    pub handshake_traffic: Traffic,
    /// The sizes of data messages that passed since the present session began, and how many of it are missing. Those
    /// that were missing when another process handed it over do not count.
    pub sizes: Sizes,
    /// How often it lately went back and forth between two addresses, and which.
    pub returns: Option<(u32, [SocketAddr; 2])>,
}

/// The session that is used to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The worker that receives under it.
    pub worker: usize,
    /// Its age.
    pub age: Duration,
    /// It has not run out.
    pub is_valid: bool,
}

/// The interface, and who is not a peer of it, at one moment.
#[derive(Clone, Debug)]
pub struct DeviceSnapshot {
    /// When this was.
    pub now: Time,
    /// The link is up.
    pub is_up: bool,
    /// It stands by.
    pub is_passive: bool,
    /// Which of several gateways it is.
    pub node: Node,
    /// There is a private key.
    pub has_private_key: bool,
    /// Our public key.
    pub public_key: Option<PublicKey>,
    /// Who lately asked for a session and is not a peer here, the latest first.
    pub strangers: Vec<Stranger>,
    /// Whence handshakes lately came that are meant for another public key, the latest first.
    pub wrong_keys: Vec<MacStranger>,
    /// Inner destinations that lately belonged to no peer, the latest first.
    pub unrouted: Vec<Unrouted>,
    /// What control threw away.
    pub drops: DropCounts,
}

impl PeerStatus<'_> {
    /// How the peer does.
    pub fn state(&self, now: Time) -> PeerState {
        self.peer.state(now, self.device.up && self.device.identity.is_some())
    }

    /// How many handshakes were completed with it. All but the first replaced a key.
    pub fn handshakes(&self) -> u64 {
        self.peer.health.handshakes
    }

    /// How long the last handshake that we asked for took.
    pub fn handshake_took(&self) -> Option<Duration> {
        self.peer.health.took
    }

    /// What went wrong with handshakes, one record for each kind.
    pub fn failures(&self) -> &[FailureRecord] {
        self.peer.health.failures.all()
    }

    /// What was thrown away of its packets.
    pub fn drops(&self) -> impl Iterator<Item = PeerDrop> + '_ {
        self.peer.shared.drops.iter()
    }

    /// The session that is used to send.
    pub fn session(&self, now: Time) -> Option<SessionSnapshot> {
        let session = self.peer.sessions.current()?;
        Some(SessionSnapshot {
            worker: owner(session.local_index, usize::from(self.device.workers.max(1))),
            age: now.since(session.created),
            is_valid: session.valid(now, 0),
        })
    }

    /// Everything at once.
    pub fn snapshot(&self, now: Time) -> PeerSnapshot {
        let peer = self.peer;
        let (data, sizes) = (peer.shared.traffic(), peer.shared.sizes());
        PeerSnapshot {
            now,
            id: peer.id,
            public_key: *peer.remote.public(),
            name: self.name().cloned(),
            state: self.state(now),
            endpoint: peer.endpoint(),
            suite: peer.remote.suite(),
            has_psk: *peer.remote.psk() != PresharedKey::default(),
            keepalive_secs: peer.keepalive_secs,
            allowed_ips: peer.prefixes.len(),
            session: self.session(now),
            last_handshake: peer.last_handshake.map(since_unix_epoch),
            handshake_took: peer.health.took,
            handshakes: peer.health.handshakes,
            initiations_unanswered: peer.initiations_unanswered,
            unanswered_for: peer.unanswered_since.map(|since| now.since(since)),
            is_waiting: peer.shared.activity.is_requested(),
            failures: self.failures().to_vec(),
            drops: self.drops().collect(),
            refused_source: peer.shared.drops.source(),
            send_error: peer.shared.drops.send_error(),
            data,
            session_data: data.since(peer.health.before_session),
            handshake_traffic: peer.handshake_traffic,
            sizes: Sizes { rx_missing: sizes.rx_missing.saturating_sub(peer.health.missing_before), ..sizes },
            returns: peer.health.returns(now),
        }
    }
}

impl Device {
    /// What is known of the interface itself, and of who is not a peer of it.
    pub fn snapshot(&self, now: Time) -> DeviceSnapshot {
        DeviceSnapshot {
            now,
            is_up: self.link,
            is_passive: self.is_passive(),
            node: self.node(),
            has_private_key: self.identity.is_some(),
            public_key: self.public_key().copied(),
            strangers: self.strangers.keys(),
            wrong_keys: self.strangers.wrong_keys(),
            unrouted: self.strangers.unrouted(),
            drops: self.drops.clone(),
        }
    }
}
