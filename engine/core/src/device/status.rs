//! Queries: what `get=1`, the metrics and the tests want to know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Device;
use super::outcomes::HandshakeCounts;
use super::peer::Peer;
use crate::activity::Traffic;
use crate::allowed_ips::{AllowedIps, Prefix};
use crate::crypto::{PresharedKey, PrivateKey, PublicKey};
use crate::drops::DropCounts;
use crate::ids::{Endpoint, PeerId};
use crate::suite::Suite;
use crate::tai64n::Tai64N;

/// One peer's settings and state.
pub struct PeerStatus<'a> {
    pub(super) peer: &'a Peer,
    pub(super) device: &'a Device,
}

impl<'a> PeerStatus<'a> {
    /// The peer's name.
    pub const fn id(&self) -> PeerId {
        self.peer.id
    }

    /// Its public key.
    pub const fn public_key(&self) -> &'a PublicKey {
        self.peer.remote.public()
    }

    /// What the operator calls it.
    pub fn name(&self) -> Option<&'a Arc<str>> {
        self.device.names.get(self.public_key())
    }

    /// The preshared key, all zero if there is none.
    pub const fn psk(&self) -> &'a PresharedKey {
        self.peer.remote.psk()
    }

    /// The suite that is used with it.
    pub const fn suite(&self) -> Suite {
        self.peer.remote.suite()
    }

    /// Where it is reached, if known.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.peer.endpoint()
    }

    /// Where the operator says that it is, if they do.
    pub const fn configured(&self) -> Option<SocketAddr> {
        self.peer.configured
    }

    /// The persistent keepalive in seconds, 0 if it is off.
    pub const fn keepalive_secs(&self) -> u16 {
        self.peer.keepalive_secs
    }

    /// When the last handshake was completed, as time since the Unix epoch, to about 17 ms.
    pub fn last_handshake(&self) -> Option<Duration> {
        self.peer.last_handshake.map(since_unix_epoch)
    }

    /// What was received from and sent to it: authenticated messages and their UDP payloads, handshakes and keepalives
    /// included, as other implementations count.
    pub fn traffic(&self) -> Traffic {
        self.peer.shared.traffic().plus(self.peer.handshake_traffic)
    }

    /// Its allowed IPs, in order.
    pub fn allowed_ips(&self) -> impl Iterator<Item = Prefix> + use<'a> {
        self.peer.prefixes.after(None)
    }

    /// Its allowed IPs after this one.
    pub fn allowed_ips_after(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> + use<'a> {
        self.peer.prefixes.after(Some(prefix))
    }
}

impl Device {
    /// Whether the link is up.
    pub const fn is_up(&self) -> bool {
        self.link
    }

    /// Our private key.
    pub fn private_key(&self) -> Option<&PrivateKey> {
        self.identity.as_ref().map(|identity| identity.local.private())
    }

    /// Our public key.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.identity.as_ref().map(|identity| identity.local.public())
    }

    /// The peer with a public key.
    pub fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.peers.by_key(key)
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Receiver indices that are in use: one of each receiving half, and of each handshake that awaits its response.
    pub fn indices(&self) -> usize {
        self.out.indices.len()
    }

    /// All peers, in the order of their slots: each new one last, or where another was removed.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus<'_>> {
        self.peers.iter().map(|peer| PeerStatus { peer, device: self })
    }

    /// As [`Device::peers`], from a slot on: whoever looks at a part of them at a time goes on behind the last one. A
    /// peer that stays is seen exactly once, whoever comes and goes meanwhile.
    pub fn peers_from(&self, slot: u32) -> impl Iterator<Item = PeerStatus<'_>> {
        self.peers.iter_from(slot).map(|peer| PeerStatus { peer, device: self })
    }

    /// One peer, if it is still there.
    pub fn status(&self, peer: PeerId) -> Option<PeerStatus<'_>> {
        self.peers.get(peer).map(|peer| PeerStatus { peer, device: self })
    }

    /// The present routes, published or not.
    pub const fn routes(&self) -> &AllowedIps {
        &self.routes
    }

    /// What became of handshakes.
    pub const fn handshakes(&self) -> &HandshakeCounts {
        &self.out.handshakes
    }

    /// The peer that the last handshake message was of, with its name. If it was refused, that may be a lie.
    pub fn blamed(&self) -> Option<(&PublicKey, Option<&str>)> {
        let key = self.peers.get(self.blamed?)?.remote.public();
        Some((key, self.peer_name(key)))
    }

    /// The same peer, by its place in the device.
    pub fn blamed_id(&self) -> Option<PeerId> {
        self.blamed
    }

    /// What [`Device::handle_datagram`] refused, by reason.
    pub const fn drops(&self) -> &DropCounts {
        &self.drops
    }
}

/// The inverse of [`Tai64N::from_unix`].
pub(super) fn since_unix_epoch(timestamp: Tai64N) -> Duration {
    let parts = |timestamp: Tai64N| {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = *timestamp.as_bytes();
        (u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), u32::from_be_bytes([n0, n1, n2, n3]))
    };
    let (epoch, _) = parts(Tai64N::from_unix(0, 0));
    let (seconds, nanos) = parts(timestamp);
    Duration::new(seconds.saturating_sub(epoch), nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_survives_the_detour() {
        let timestamp = Tai64N::from_unix(1_800_000_000, 1 << 24);
        assert_eq!(since_unix_epoch(timestamp), Duration::new(1_800_000_000, 1 << 24));
        assert_eq!(since_unix_epoch(Tai64N::ZERO), Duration::ZERO);
    }
}
