//! The least request that makes what runs equal to what a file says.
//!
//! What is equal is not touched: a session survives everything but a change of our own private key, or the removal of
//! its peer. An unchanged file makes an empty request.
//!
//! Endpoints are special, since peers roam. The address in the file is where a peer is looked for first. So what counts
//! is whether the *file* has changed: only an endpoint that is new in the file replaces the one in use.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use ringfort_config::{Config, Endpoint, Peer, SecretKey};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PrivateKey, PublicKey};

use super::Scope;
use super::running::{Running, RunningPeer};
use crate::control::uapi::{AllowedIpUpdate, DeviceUpdate, PeerSource, PeerSuite, PeerUpdate, SetRequest};

/// What is compared.
pub struct Comparison<'a> {
    /// What the file says.
    pub config: &'a Config,
    /// What it said when it was applied last, if it ever was.
    pub previous: Option<&'a Config>,
    /// What runs.
    pub running: &'a Running,
    /// How much of the file is meant.
    pub scope: Scope,
    /// The mark of our datagrams; `None` leaves it as it is.
    pub fwmark: Option<u32>,
}

/// The request. It is empty if nothing differs.
#[must_use]
pub fn difference(comparison: &Comparison<'_>) -> SetRequest {
    let before = Before::of(comparison);
    let mut peers = if comparison.scope == Scope::Settings {
        settings_of_peers(comparison)
    } else {
        // At first, whatever is there was set by PreUp, and stays: as with `wg addconf`.
        let mut peers = comparison.previous.map_or_else(Vec::new, |_| removed(comparison));
        let all = comparison.config.others(before.own);
        peers.extend(all.filter_map(|peer| peer_update(comparison, &before, peer)));
        peers
    };
    peers.extend(settings_taken_back(comparison, &before));
    SetRequest { device: device_update(comparison), peers }
}

/// Whether a request changes nothing.
#[must_use]
pub fn is_empty(request: &SetRequest) -> bool {
    let DeviceUpdate { private_key, listen_port, fwmark, cipher_suite, replace_peers } = &request.device;
    let device = private_key.is_none() && listen_port.is_none() && fwmark.is_none() && cipher_suite.is_none();
    device && !replace_peers && request.peers.is_empty()
}

/// The peers of the file as it was, by their keys, and which prefixes the file as it is gives to peers.
struct Before<'a> {
    /// Our own public key: that peer is left out, as in wireguard-go.
    own: Option<PublicKey>,
    peers: HashMap<PublicKey, &'a Peer>,
    claimed: OnceCell<HashSet<Prefix>>,
}

impl<'a> Before<'a> {
    fn of(comparison: &Comparison<'a>) -> Self {
        let peers = comparison.previous.into_iter().flat_map(|config| &config.peers);
        let own = comparison.config.own_key().or(comparison.running.public_key);
        Self { own, peers: peers.map(|peer| (peer.public_key, peer)).collect(), claimed: OnceCell::new() }
    }

    /// Whether some peer of the file gets this prefix, which takes it from whoever has it.
    fn is_claimed(&self, config: &Config, prefix: &Prefix) -> bool {
        let all = || config.others(self.own).flat_map(|peer| peer.allowed_ips.iter().copied()).collect();
        self.claimed.get_or_init(all).contains(prefix)
    }
}

fn device_update(comparison: &Comparison<'_>) -> DeviceUpdate {
    let (interface, running) = (&comparison.config.interface, comparison.running);
    let suite = interface.cipher_suite.unwrap_or_default();
    let mut update =
        DeviceUpdate { cipher_suite: (suite != running.cipher_suite).then_some(suite), ..DeviceUpdate::default() };
    if comparison.scope == Scope::Settings {
        return update;
    }
    update.private_key = interface.private_key.as_ref().filter(|key| !is_same_key(key, running)).cloned();
    // 0 asks for any port, and one that was chosen is as good as another.
    update.listen_port = interface.listen_port.filter(|&port| port != running.listen_port && port != 0);
    update.fwmark = comparison.fwmark.filter(|&mark| mark != running.fwmark);
    update
}

fn is_same_key(key: &SecretKey, running: &Running) -> bool {
    let clamped = PrivateKey::copy_of(key.expose());
    running.private_key.as_ref().is_some_and(|key| *key == SecretKey::copy_of(clamped.as_bytes()))
}

fn removed(comparison: &Comparison<'_>) -> Vec<PeerUpdate> {
    let kept: HashSet<PublicKey> = comparison.config.peers.iter().map(|peer| peer.public_key).collect();
    let gone = comparison.running.peers.keys().filter(|key| !kept.contains(key));
    gone.map(|key| PeerUpdate { remove: true, ..PeerUpdate::new(*key.as_bytes()) }).collect()
}

/// What differs for a peer of the file, if anything does.
fn peer_update(comparison: &Comparison<'_>, before: &Before<'_>, peer: &Peer) -> Option<PeerUpdate> {
    let running = comparison.running.peers.get(&peer.public_key);
    let nothing = RunningPeer::default();
    let now = running.unwrap_or(&nothing);
    let mut update = PeerUpdate::new(*peer.public_key.as_bytes());
    // A peer that somebody removes while we compare must not come back as half of one.
    update.update_only = running.is_some();
    if peer.preshared_key != now.preshared_key {
        update.preshared_key = Some(peer.preshared_key.clone().unwrap_or_else(SecretKey::zero));
    }
    let keepalive = peer.persistent_keepalive.unwrap_or(0);
    update.persistent_keepalive = (keepalive != now.persistent_keepalive).then_some(keepalive);
    let added = peer.allowed_ips.difference(&now.allowed_ips).map(|prefix| AllowedIpUpdate::Add(*prefix));
    let removed = now.allowed_ips.difference(&peer.allowed_ips);
    // What moves to another peer goes with its addition there.
    let removed = removed.filter(|prefix| !before.is_claimed(comparison.config, prefix));
    update.allowed_ips = removed.map(|prefix| AllowedIpUpdate::Remove(*prefix)).chain(added).collect();
    let is_news = before.peers.get(&peer.public_key).is_none_or(|before| before.endpoint != peer.endpoint);
    update.endpoint = match peer.endpoint {
        Some(Endpoint::Address(addr)) if is_news || running.is_none() => {
            Some(addr).filter(|_| now.endpoint != Some(addr))
        }
        _ => None,
    };
    set_what_belongs_to_the_key(comparison, peer, &mut update);
    let differs = running.is_none() || differs(&update);
    differs.then_some(update)
}

/// The suites, sources and names of a file that has nothing else.
fn settings_of_peers(comparison: &Comparison<'_>) -> Vec<PeerUpdate> {
    let updates = comparison.config.peers.iter().map(|peer| {
        let mut update = PeerUpdate { update_only: true, ..PeerUpdate::new(*peer.public_key.as_bytes()) };
        set_what_belongs_to_the_key(comparison, peer, &mut update);
        update
    });
    updates.filter(differs).collect()
}

fn set_what_belongs_to_the_key(comparison: &Comparison<'_>, peer: &Peer, update: &mut PeerUpdate) {
    let key = &peer.public_key;
    if peer.cipher_suite != comparison.running.suites.get(key).copied() {
        update.cipher_suite = Some(peer.cipher_suite.map_or(PeerSuite::Interface, PeerSuite::Own));
    }
    if peer.source != comparison.running.sources.get(key).copied() {
        update.source = Some(peer.source.map_or(PeerSource::Any, PeerSource::Own));
    }
    if peer.name.as_deref() != comparison.running.names.get(key).map(AsRef::as_ref) {
        update.name = Some(peer.name.clone());
    }
}

/// Suites, sources and names outlive their peers. Those that came from the file go with its section.
fn settings_taken_back(comparison: &Comparison<'_>, before: &Before<'_>) -> Vec<PeerUpdate> {
    let kept: HashSet<PublicKey> = comparison.config.peers.iter().map(|peer| peer.public_key).collect();
    let gone = before.peers.values().filter(|peer| !kept.contains(&peer.public_key));
    let updates = gone.map(|peer| {
        let mut update = PeerUpdate { update_only: true, ..PeerUpdate::new(*peer.public_key.as_bytes()) };
        let bare = Peer::new(peer.public_key);
        set_what_belongs_to_the_key(comparison, &bare, &mut update);
        update
    });
    updates.filter(differs).collect()
}

fn differs(update: &PeerUpdate) -> bool {
    update.preshared_key.is_some()
        || update.cipher_suite.is_some()
        || update.source.is_some()
        || update.name.is_some()
        || update.endpoint.is_some()
        || update.persistent_keepalive.is_some()
        || !update.allowed_ips.is_empty()
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
