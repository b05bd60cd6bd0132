//! What runs, as a copy that can be compared without keeping control from its work.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringfort_config::SecretKey;
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PresharedKey, PublicKey};
use ringfort_core::device::Device;
use ringfort_core::suite::Suite;

use crate::control::sockets::Sockets;

/// The configuration that a daemon has now.
#[derive(Debug, Default)]
pub struct Running {
    /// Clamped.
    pub private_key: Option<SecretKey>,
    /// Of the private key.
    pub public_key: Option<PublicKey>,
    /// 0 if none was chosen yet.
    pub listen_port: u16,
    /// 0 is none.
    pub fwmark: u32,
    /// Of the interface.
    pub cipher_suite: Suite,
    /// Of keys that have their own, whether their peers are there or not.
    pub suites: HashMap<PublicKey, Suite>,
    /// Likewise.
    pub sources: HashMap<PublicKey, IpAddr>,
    /// What the operator calls them, likewise.
    pub names: HashMap<PublicKey, Arc<str>>,
    /// All peers.
    pub peers: HashMap<PublicKey, RunningPeer>,
}

/// A peer of a daemon.
#[derive(Debug, Default)]
pub struct RunningPeer {
    /// `None` if it is all zero.
    pub preshared_key: Option<SecretKey>,
    /// Where it is reached now.
    pub endpoint: Option<SocketAddr>,
    /// In seconds; 0 is off.
    pub persistent_keepalive: u16,
    /// What is routed to it.
    pub allowed_ips: BTreeSet<Prefix>,
}

impl Running {
    /// A copy of what the device has.
    #[must_use]
    pub fn of(device: &Device, sockets: &Sockets) -> Self {
        let peers = device.peers().map(|peer| {
            let is_none = *peer.psk() == PresharedKey::default();
            let status = RunningPeer {
                preshared_key: (!is_none).then(|| SecretKey::copy_of(peer.psk().as_bytes())),
                endpoint: peer.endpoint().map(|endpoint| endpoint.remote),
                persistent_keepalive: peer.keepalive_secs(),
                allowed_ips: peer.allowed_ips().collect(),
            };
            (*peer.public_key(), status)
        });
        Self {
            private_key: device.private_key().map(|key| SecretKey::copy_of(key.as_bytes())),
            public_key: device.public_key().copied(),
            listen_port: sockets.port(),
            fwmark: sockets.fwmark(),
            cipher_suite: device.suite(),
            suites: device.peer_suites().map(|(key, suite)| (*key, suite)).collect(),
            sources: device.peer_sources().map(|(key, source)| (*key, source)).collect(),
            names: device.peer_names().map(|(key, name)| (*key, name.clone())).collect(),
            peers: peers.collect(),
        }
    }
}
