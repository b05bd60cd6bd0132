//! What runs, as a copy that can be compared without keeping control from its work. It is made in parts.

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
    /// Where it was said to be last, by a file or by `wg set`.
    pub configured: Option<SocketAddr>,
    /// In seconds; 0 is off.
    pub persistent_keepalive: u16,
    /// What is routed to it.
    pub allowed_ips: BTreeSet<Prefix>,
}

/// A copy under way: a part of it in each turn of control.
#[derive(Debug, Default)]
pub struct Copying {
    running: Running,
    next: Next,
}

/// What is copied next. Settings by key go on behind a key, peers with a slot.
#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Interface,
    Suites(Option<PublicKey>),
    Sources(Option<PublicKey>),
    Names(Option<PublicKey>),
    Peers(u32),
}

/// Peers, or settings of peers, that are copied in one turn: some hundred microseconds.
pub const COPIES_PER_STEP: usize = 512;

impl Copying {
    /// Does the next part. The copy is given away when it is complete.
    pub fn step(&mut self, device: &Device, sockets: &Sockets) -> Option<Running> {
        match self.next {
            Next::Interface => {
                self.interface(device, sockets);
                self.next = Next::Suites(None);
            }
            Next::Suites(after) => {
                let page = device.peer_suites_after(after).take(COPIES_PER_STEP);
                let last = extend(&mut self.running.suites, page.map(|(key, suite)| (*key, suite)));
                self.next = last.map_or(Next::Sources(None), |last| Next::Suites(Some(last)));
            }
            Next::Sources(after) => {
                let page = device.peer_sources_after(after).take(COPIES_PER_STEP);
                let last = extend(&mut self.running.sources, page.map(|(key, source)| (*key, source)));
                self.next = last.map_or(Next::Names(None), |last| Next::Sources(Some(last)));
            }
            Next::Names(after) => {
                let page = device.peer_names_after(after).take(COPIES_PER_STEP);
                let last = extend(&mut self.running.names, page.map(|(key, name)| (*key, name.clone())));
                self.next = last.map_or(Next::Peers(0), |last| Next::Names(Some(last)));
            }
            Next::Peers(slot) => match self.peers(slot, device) {
                Some(next) => self.next = Next::Peers(next),
                None => return Some(std::mem::take(&mut self.running)),
            },
        }
        None
    }

    fn interface(&mut self, device: &Device, sockets: &Sockets) {
        let running = &mut self.running;
        running.private_key = device.private_key().map(|key| SecretKey::copy_of(key.as_bytes()));
        running.public_key = device.public_key().copied();
        running.listen_port = sockets.port();
        running.fwmark = sockets.fwmark();
        running.cipher_suite = device.suite();
        running.peers.reserve(device.peer_count());
    }

    /// Peers from this slot on. Returns the slot to go on with, unless there are no more.
    fn peers(&mut self, slot: u32, device: &Device) -> Option<u32> {
        let (mut copied, mut next) = (0, slot);
        for peer in device.peers_from(slot).take(COPIES_PER_STEP) {
            let is_none = *peer.psk() == PresharedKey::default();
            let status = RunningPeer {
                preshared_key: (!is_none).then(|| SecretKey::copy_of(peer.psk().as_bytes())),
                endpoint: peer.endpoint().map(|endpoint| endpoint.remote),
                configured: peer.configured(),
                persistent_keepalive: peer.keepalive_secs(),
                allowed_ips: peer.allowed_ips().collect(),
            };
            self.running.peers.insert(*peer.public_key(), status);
            (copied, next) = (copied + 1, peer.id().index + 1);
        }
        (copied == COPIES_PER_STEP).then_some(next)
    }
}

/// Adds a page, and returns its last key if it was full.
fn extend<T>(all: &mut HashMap<PublicKey, T>, page: impl Iterator<Item = (PublicKey, T)>) -> Option<PublicKey> {
    let mut last = None;
    for (place, (key, value)) in page.enumerate() {
        all.insert(key, value);
        last = (place + 1 == COPIES_PER_STEP).then_some(key);
    }
    last
}

#[cfg(test)]
impl Running {
    /// A copy of what the device has.
    pub fn of(device: &Device, sockets: &Sockets) -> Self {
        let mut copying = Copying::default();
        loop {
            if let Some(running) = copying.step(device, sockets) {
                return running;
            }
        }
    }
}
