//! Configuration: what the operator sets. A [`PeerId`] whose peer is gone is ignored everywhere.
//!
//! Nothing here sends by itself. What a setting makes possible or necessary is due at once, see
//! [`Device::poll_timeout`], so the settings of one request are complete before the first of them takes effect.

use std::net::SocketAddr;
use std::sync::Arc;

use super::api::{Action, AddPeerError};
use super::peer::Peer;
use super::{Device, Identity, enter, follow};
use crate::allowed_ips::Prefix;
use crate::cell::PeerShared;
use crate::constants::PEERS_MAX;
use crate::cookie::{CookieChecker, mac1_key};
use crate::crypto::{PresharedKey, PrivateKey, PublicKey, X25519};
use crate::ids::PeerId;
use crate::node::Node;
use crate::noise::LocalIdentity;
use crate::outpost::Outpost;
use crate::time::Time;
use crate::timers::Timer;

/// Removed peers that the workers are told of in one turn.
pub(super) const RELEASES_PER_TURN: usize = 1024;

/// The interface.
impl Device {
    /// Has another library compute handshakes, under private keys that are set from now on.
    pub const fn set_x25519(&mut self, x25519: &'static dyn X25519) {
        self.x25519 = x25519;
    }

    /// Something stands in front of the sockets from now on. It must be told before there is a key, a peer or a link.
    pub fn set_outpost(&mut self, outpost: Arc<dyn Outpost>) {
        self.published.set_outpost(outpost.clone());
        self.out.indices.outpost = Some(outpost);
    }

    /// Which of several gateways this is: all indices that are chosen from now on say so. Those that there are stay.
    pub fn set_node(&mut self, now: Time, node: Node) {
        self.out.indices.node = node;
        if self.identity.is_some() {
            self.publish_gate(now);
        }
    }

    /// Which of several gateways this is.
    pub const fn node(&self) -> Node {
        self.out.indices.node
    }

    /// Sets or, with `None`, forgets our private key. All sessions end, since they prove the old one; a peer whose
    /// public key becomes our own is removed. Setting the key that is set already changes nothing. With many peers it
    /// takes more than this call, see [`Device::is_renewing`].
    pub fn set_private_key(&mut self, now: Time, key: Option<PrivateKey>) {
        if key.as_ref() == self.private_key() {
            return;
        }
        self.adopt_private_key(now, key);
        if let Some(own) = self.public_key().and_then(|own| self.peers.by_key(own)) {
            self.remove_peer(own);
        }
        self.renewal.note_identity();
        self.begin_renewal(now);
    }

    /// This is our private key from now on, as all know who ask handshake messages before we do.
    pub(super) fn adopt_private_key(&mut self, now: Time, key: Option<PrivateKey>) {
        self.identity = key.map(|key| {
            let local = LocalIdentity::computed_by(self.x25519, key);
            let checker = CookieChecker::new(local.public());
            Identity { local, checker }
        });
        if let Some(outpost) = &self.out.indices.outpost {
            outpost.set_mac1_key(self.public_key().map(mac1_key).as_ref());
        }
        self.publish_gate(now);
    }

    /// The link came up: peers with a persistent keepalive hear from us at once. With many peers it takes more than
    /// this call, see [`Device::is_renewing`].
    pub fn link_up(&mut self, now: Time) {
        self.link = true;
        self.follow_role(now);
    }

    /// The link went down: all sessions are zeroed, what is staged is dropped, no timer runs. No handshake message is
    /// taken from now on. With many peers the rest takes more than this call, see [`Device::is_renewing`].
    pub fn link_down(&mut self, now: Time) {
        self.link = false;
        self.follow_role(now);
    }
}

/// Peers.
impl Device {
    /// Adds a peer without endpoint (see [`Device::place_peer`]), allowed IPs, preshared key and keepalive, under the
    /// suite that was set for its key or else that of the interface.
    ///
    /// # Errors
    /// [`AddPeerError`], and nothing changes.
    pub fn add_peer(&mut self, key: PublicKey) -> Result<PeerId, AddPeerError> {
        if self.public_key() == Some(&key) {
            return Err(AddPeerError::OwnKey);
        }
        if let Some(peer) = self.peers.by_key(&key) {
            return Err(AddPeerError::Exists(peer));
        }
        if self.peers.len() + self.removed.len() >= PEERS_MAX {
            return Err(AddPeerError::Full);
        }
        let suite = self.suites.of(&key);
        let shared = PeerShared::with_moves(self.workers.into(), self.memory.moves.clone());
        let id = self.peers.add(key, |id| Peer::new(id, key, suite, shared));
        let peer = self.peers.get_mut(id).expect("the peer was added a line above");
        peer.epoch = self.renewal.epoch();
        peer.source = self.sources.get(&key).copied();
        peer.timestamp_sent = self.timestamp_of_removed;
        if let Some(changes) = &mut self.changes {
            changes.add(peer);
        }
        let shared = peer.shared.clone();
        self.out.push(Action::AddPeer { peer: id, shared });
        Ok(id)
    }

    /// Removes a peer: first what is received from it, then its routes, then itself.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.clear_allowed_ips(id);
        let Some(mut peer) = self.peers.remove(id) else { return };
        peer.reset(&mut self.out);
        enter(&mut self.schedule, &mut peer);
        self.timestamp_of_removed = self.timestamp_of_removed.max(peer.timestamp_sent);
        self.removed.push(id);
        if let Some(changes) = &mut self.changes {
            changes.remove(id, *peer.remote.public());
        }
        self.memory.moves.note();
    }

    /// Removes all peers, however many, in this call. Where they were is remembered, should they be added again.
    pub fn remove_all_peers(&mut self) {
        let all: Vec<_> = self.peers.iter().map(|peer| peer.id).collect();
        for peer in all {
            self.replace_peer(peer);
        }
    }

    /// Removes one of all peers, which are replaced one by one. Where it was is remembered.
    pub fn replace_peer(&mut self, peer: PeerId) {
        self.remember_peer(peer);
        self.remove_peer(peer);
    }

    /// Sets the preshared key; all zero is none. Sessions stay, the next handshake uses it.
    pub fn set_psk(&mut self, peer: PeerId, psk: PresharedKey) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.remote.set_psk(psk);
        }
    }

    /// Sets where the peer is reached. If that is news, the local address that was learned is forgotten.
    pub fn set_endpoint(&mut self, now: Time, id: PeerId, remote: SocketAddr) {
        let ready = self.up && self.identity.is_some();
        if let Some(peer) = self.peers.get_mut(id) {
            peer.set_remote(remote);
            peer.health.placed(remote);
            peer.configured = Some(remote);
            self.recovery.locate(remote, id);
            self.published.locate(remote);
            self.memory.moves.note();
            peer.kick(now, ready);
            follow(&mut self.changes, &mut self.schedule, peer, now);
        }
    }

    /// Sets the persistent keepalive in seconds; 0 switches it off. Switched on, the first one is due at once.
    pub fn set_keepalive(&mut self, now: Time, peer: PeerId, seconds: u16) {
        let ready = self.up && self.identity.is_some();
        if let Some(peer) = self.peers.get_mut(peer) {
            let before = std::mem::replace(&mut peer.keepalive_secs, seconds);
            if before != seconds {
                peer.keepalive_at_once = seconds > 0 && (before == 0 || peer.keepalive_at_once);
                peer.timers.stop(Timer::PersistentKeepalive);
                peer.kick(now, ready);
                enter(&mut self.schedule, peer);
            }
        }
    }
}

/// Allowed IPs.
impl Device {
    /// Gives a prefix to a peer; whoever had it loses it.
    pub fn insert_allowed_ip(&mut self, id: PeerId, prefix: Prefix) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if !peer.prefixes.insert(prefix) {
            return;
        }
        self.routes_changed = true;
        if let Some(before) = self.routes.insert(prefix, id).and_then(|before| self.peers.get_mut(before)) {
            before.prefixes.remove(&prefix);
        }
    }

    /// Takes a prefix away from a peer, if it has it.
    pub fn remove_allowed_ip(&mut self, id: PeerId, prefix: Prefix) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.prefixes.remove(&prefix) {
            self.routes_changed |= self.routes.remove(prefix, id);
        }
    }

    /// Takes all its prefixes away from a peer.
    pub fn clear_allowed_ips(&mut self, id: PeerId) {
        self.clear_some_allowed_ips(id, usize::MAX);
    }

    /// Takes at most so many of its prefixes away from a peer, and says how many. Fewer than that: it has none left.
    pub fn clear_some_allowed_ips(&mut self, id: PeerId, most: usize) -> usize {
        let Some(peer) = self.peers.get_mut(id) else { return 0 };
        let mut cleared = 0;
        while cleared < most
            && let Some(prefix) = peer.prefixes.pop_last()
        {
            self.routes_changed |= self.routes.remove(prefix, id);
            cleared += 1;
        }
        cleared
    }

    /// Keeps routes that change from the workers for now, and the names of removed peers with them. For a change of
    /// many parts. With half of it, packets for one peer would go to another that has a shorter prefix, and be taken
    /// from it. And each version of the routes needs memory for as long as a worker uses it.
    pub const fn hold_routes(&mut self, hold: bool) {
        self.routes_held = hold;
    }

    /// Gives the workers the present routes, and then forgets peers that no route leads to any more, a bounded number
    /// of them: each is an order for each worker.
    pub(super) fn publish_routes(&mut self) {
        if self.routes_held {
            return;
        }
        if std::mem::take(&mut self.routes_changed) {
            self.out.push(Action::Routes(self.routes.clone()));
        }
        let count = self.removed.len().min(self.releases_left);
        self.releases_left -= count;
        for peer in self.removed.drain(self.removed.len() - count..) {
            self.out.push(Action::RemovePeer { peer });
            self.peers.release(peer);
        }
    }

    /// Whether the workers have yet to be told of removed peers, whose places are taken until then.
    pub fn is_releasing(&self) -> bool {
        !self.removed.is_empty()
    }

    /// More removed peers wait to go: at once.
    pub(super) fn releases_due(&self) -> Option<Time> {
        (self.releases_left == 0 && !self.removed.is_empty() && !self.routes_held).then_some(Time::ZERO)
    }
}
