//! The local addresses that peers are written to from.
//!
//! A peer is answered from the address that it wrote to, and asked for a session from there too: behind a virtual
//! address, or one of several uplinks, it may know us by no other. The kernel's WireGuard forgets that address whenever
//! a peer falls silent, and its next handshake leaves from the primary one; the peer then follows it there. Here the
//! address is kept until it is known to be wrong: the kernel refuses it, or an address or a route has changed. Only
//! where neither says anything, but several initiations in a row have had no answer, every second one leaves from where
//! the kernel likes.
//!
//! An operator may name the address for a peer that has not written yet, or not since it was forgotten.

use std::net::{IpAddr, SocketAddr};

use super::peer::Peer;
use super::peers::keys_after;
use super::{Device, PeerSettingsFull};
use crate::constants::{INITIATIONS_FROM_SOURCE, PEERS_MAX};
use crate::crypto::PublicKey;
use crate::ids::{Endpoint, LocalAddr, PeerId};
use crate::time::Time;

/// What the operator sets, and what the shell finds out.
impl Device {
    /// Sets the local address that a peer is written to from, as long as it has not written to another one. `None`
    /// takes the setting back. It belongs to the key, as a suite does: it waits for a peer that is not there yet, and
    /// outlives one that is removed.
    ///
    /// # Errors
    /// [`PeerSettingsFull`], and nothing changes.
    pub fn set_peer_source(&mut self, key: PublicKey, source: Option<IpAddr>) -> Result<(), PeerSettingsFull> {
        match source {
            None => _ = self.sources.remove(&key),
            Some(_) if self.source_room() == 0 && !self.sources.contains_key(&key) => return Err(PeerSettingsFull),
            Some(source) => _ = self.sources.insert(key, source),
        }
        if let Some(peer) = self.peers.by_key(&key).and_then(|id| self.peers.get_mut(id)) {
            peer.source = source;
            peer.forget_source();
        }
        Ok(())
    }

    /// The local address that was set for the peer with this key, whether it is there or not.
    pub fn peer_source(&self, key: &PublicKey) -> Option<IpAddr> {
        self.sources.get(key).copied()
    }

    /// The keys for which a source was set, whether their peers are there or not: all, or those after a key.
    pub fn peer_sources_after(&self, key: Option<PublicKey>) -> impl Iterator<Item = (&PublicKey, IpAddr)> {
        self.sources.range(keys_after(key)).map(|(key, source)| (key, *source))
    }

    /// For how many more peers a source may be set.
    pub fn source_room(&self) -> usize {
        PEERS_MAX.saturating_sub(self.sources.len())
    }

    /// The source of this endpoint does not work. It is forgotten, unless the peer is somewhere else by now.
    pub fn source_failed(&mut self, peer: PeerId, endpoint: Endpoint) {
        if let Some(peer) = self.peers.get(peer) {
            peer.shared.endpoint.change(endpoint, endpoint.without_source());
        }
    }

    /// The mark of our datagrams has changed: sources that were learned may belong to another route. With many peers it
    /// takes more than this call, see [`Device::is_renewing`].
    pub fn clear_sources(&mut self, now: Time) {
        self.renewal.note_sources();
        self.begin_renewal(now);
    }
}

impl Peer {
    /// Forgets the local address that was learned. What the operator has set takes its place.
    pub(super) fn forget_source(&self) {
        if let Some(endpoint) = self.endpoint() {
            let source = self.own_source(endpoint.remote);
            self.shared.endpoint.change(endpoint, Endpoint { source, ..endpoint });
        }
    }

    /// The source that the operator wants for this remote address.
    pub(super) fn own_source(&self, remote: SocketAddr) -> Option<LocalAddr> {
        let addr = self.source.filter(|addr| addr.is_ipv4() == remote.is_ipv4())?;
        Some(LocalAddr { addr, ifindex: 0 })
    }

    /// Where the next initiation goes to, and which address it leaves from.
    pub(super) fn initiation_endpoint(&self) -> Option<Endpoint> {
        let endpoint = self.endpoint()?;
        let own = self.own_source(endpoint.remote);
        if endpoint.source.is_none() && own.is_some() {
            // It did not work once, and may work again.
            let with_own = Endpoint { source: own, ..endpoint };
            self.shared.endpoint.change(endpoint, with_own);
            return Some(with_own);
        }
        let in_doubt = self.initiations_unanswered >= INITIATIONS_FROM_SOURCE && self.initiations_unanswered % 2 == 1;
        Some(if in_doubt && endpoint.source != own { endpoint.without_source() } else { endpoint })
    }
}
