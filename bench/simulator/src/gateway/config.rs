//! What the operator has set at a gateway, which outlives its processes.

use std::net::{IpAddr, SocketAddr};

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PresharedKey, PrivateKey, PublicKey};
use ringfort_core::suite::Suite;
use ringfort_path::Order;

use super::Gateway;
use crate::network::{Addresses, Network};
use crate::outside::Outside;
use crate::rng::mix;
use crate::scenario::Scenario;

/// What is behind one gateway: an address of 10.0.n.0/24 or of fd00::n:0/112.
#[must_use]
pub fn inner_address(gateway: usize, v6: bool) -> IpAddr {
    let n = gateway as u8;
    if v6 { [0xfd00, 0, 0, 0, 0, 0, u16::from(n), 1].into() } else { [10, 0, n, 1].into() }
}

/// Both prefixes of a gateway.
pub(super) fn prefixes(gateway: usize) -> [Prefix; 2] {
    [(false, 24), (true, 112)]
        .map(|(v6, len)| Prefix::new(inner_address(gateway, v6), len).expect("no family has fewer bits"))
}

/// The private key of a gateway, and of each of its lives.
pub(super) fn private_key(seed: u64, gateway: usize, generation: u8) -> PrivateKey {
    let word = |n: u64| mix(seed ^ mix(gateway as u64 * 256 + u64::from(generation)) ^ n.rotate_left(32));
    let mut bytes = [0; 32];
    bytes.chunks_mut(8).zip(1..).for_each(|(chunk, n)| chunk.copy_from_slice(&word(n).to_le_bytes()));
    PrivateKey::new(bytes)
}

/// All settings of a gateway.
pub(super) struct Configuration {
    pub(super) seed: u64,
    pub(super) generation: u8,
    pub(super) is_up: bool,
    /// Somebody has demoted it.
    pub(super) is_passive: bool,
    pub(super) mtu: usize,
    /// By number: gateways, then phantoms. None for itself.
    pub(super) peers: Vec<Option<PeerSettings>>,
    /// Which of its peers has what belongs to which, if not itself.
    pub(super) moved: Option<(usize, usize)>,
    /// Which of its peers leads to which addresses besides its own: a tunnel that runs in this one ends there.
    pub(super) within: Vec<(usize, Prefix)>,
}

/// The settings of one peer.
pub(super) struct PeerSettings {
    pub(super) key: PublicKey,
    /// Which of its keys that is.
    pub(super) generation: u8,
    pub(super) psk: u8,
    pub(super) suite: Suite,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) keepalive_secs: u16,
    /// It is configured at present.
    pub(super) is_present: bool,
}

impl Configuration {
    pub(super) fn new(gateway: usize, scenario: &Scenario, network: &Network) -> Self {
        let (seed, count) = (scenario.seed, scenario.gateways.len());
        let site = &scenario.gateways[gateway];
        let has = |bits: u64, other: usize| bits & Scenario::pair(gateway, other) != 0;
        let peer = |other: usize| {
            let is_known = gateway < other || !has(scenario.unknown, other);
            PeerSettings {
                key: private_key(seed, other, 0).public_key(),
                generation: 0,
                psk: 0,
                suite: Suite::ALL[usize::from(has(scenario.second_suite, other))],
                endpoint: is_known.then(|| network.addresses(other).outside(has(scenario.outer_v6, other))),
                keepalive_secs: site.keepalive_secs,
                is_present: true,
            }
        };
        let phantom = |number: usize| PeerSettings {
            key: private_key(seed, 1_000 + 16 * gateway + number, 0).public_key(),
            generation: 0,
            psk: 0,
            suite: Suite::default(),
            endpoint: Some(([203, 0, 113, number as u8], 9).into()),
            keepalive_secs: 0,
            is_present: true,
        };
        let others = (0..count).map(|other| (other != gateway).then(|| peer(other)));
        let peers = others.chain((0..site.phantoms).map(|number| Some(phantom(number)))).collect();
        // The third gateway is beside the first, the fourth beside the second.
        let ends_at = (scenario.nested && gateway < 2).then(|| (1 - gateway, network.addresses(3 - gateway)));
        let within = |(peer, addresses): (usize, Addresses)| {
            [false, true].map(|v6| addresses.outside(v6).ip()).map(|ip| {
                (peer, Prefix::new(ip, if ip.is_ipv6() { 128 } else { 32 }).expect("no family has fewer bits"))
            })
        };
        let within = ends_at.into_iter().flat_map(within).collect();
        Self { seed, generation: 0, is_up: true, is_passive: false, mtu: site.mtu, peers, moved: None, within }
    }
}

impl Gateway {
    /// Tells a new process everything.
    pub(super) fn configure(&mut self, out: &mut Outside) {
        let now = self.now(out.now).mono;
        self.device.remember(self.memory.drain(..));
        self.device.set_private_key(now, Some(private_key(self.config.seed, self.index, self.config.generation)));
        self.device.set_passive(now, self.config.is_passive);
        if self.config.is_up {
            self.device.link_up(now);
        }
        for number in 0..self.config.peers.len() {
            self.add_peer(number, out);
        }
        if let Some((of, to)) = self.config.moved {
            self.give_prefixes(of, to);
        }
        if self.config.mtu != self.site.mtu {
            let mtu = self.config.mtu as u32;
            self.broadcast(|| Order::Mtu(mtu), out);
        }
    }

    /// Adds a peer with all its settings, if it is configured.
    pub(super) fn add_peer(&mut self, number: usize, out: &mut Outside) {
        let now = self.now(out.now).mono;
        let Some(settings) = self.config.peers[number].as_ref().filter(|settings| settings.is_present) else { return };
        let PeerSettings { key, psk, suite, endpoint, keepalive_secs, .. } = *settings;
        let result = self.device.set_peer_suite(now, key, Some(suite)).map_err(|error| error.to_string());
        out.check(result);
        let id = match self.device.add_peer(key) {
            Ok(id) => id,
            Err(error) => return out.check(Err(format!("g{}: peer {number} cannot be added: {error}", self.index))),
        };
        self.names.insert(id, number);
        self.device.set_psk(id, PresharedKey::new([psk; 32]));
        self.device.place_peer(now, id, endpoint);
        let within = self.config.within.iter().filter(|(peer, _)| *peer == number).map(|&(_, prefix)| prefix);
        prefixes(number).into_iter().chain(within).for_each(|prefix| self.device.insert_allowed_ip(id, prefix));
        self.device.set_keepalive(now, id, keepalive_secs);
    }

    /// Removes a peer.
    pub(super) fn remove_peer(&mut self, number: usize) {
        if let Some(id) = self.peer_id(number) {
            self.device.remove_peer(id);
            // Whoever is forgotten may ask with what he asked with before.
            self.answered.clear();
        }
    }

    /// What belongs to one peer is given to another.
    pub(super) fn give_prefixes(&mut self, of: usize, to: usize) {
        if let Some(id) = self.peer_id(to) {
            prefixes(of).into_iter().for_each(|prefix| self.device.insert_allowed_ip(id, prefix));
        }
    }

    /// Whether it sends anything without a reason.
    #[must_use]
    pub fn sends_keepalives(&self) -> bool {
        self.config.peers.iter().flatten().any(|settings| settings.keepalive_secs > 0)
    }

    /// The present name of a peer.
    pub(super) fn peer_id(&self, number: usize) -> Option<ringfort_core::ids::PeerId> {
        let key = self.config.peers.get(number)?.as_ref()?.key;
        self.device.peer(&key)
    }
}
