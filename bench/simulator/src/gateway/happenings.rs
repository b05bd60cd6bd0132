//! What happens to a gateway.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PresharedKey, PublicKey, hash, mac};
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_LEN_MIN, MAC_LEN, TYPE_DATA};
use ringfort_path::Order;

use super::config::{inner_address, private_key};
use super::turn::{SEGMENTS_MAX, TRAIN_MAX};
use super::worker::TunRead;
use super::{Gateway, TUN_READS};
use crate::network::{PORT, Wire};
use crate::outside::{LATE, Outside};
use crate::packets::{ROOM, write_unreachable};
use crate::rng::Rng;
use crate::scenario::{Disturbance, Flood};

const HOUR_SECS: i64 = 3_600;

impl Gateway {
    /// Something begins, or happens at once. It ends at `until`.
    pub fn begin(&mut self, event: Disturbance, until: Time, out: &mut Outside) {
        let now = self.now(out.now).mono;
        match event {
            Disturbance::Restart { .. } => self.restart(out),
            Disturbance::HandOver { workers, .. } => self.pass_on(workers, out),
            Disturbance::Suspend { secs, .. } => {
                // Time since the machine was started goes on while it sleeps, as that on the wall does.
                self.boot_ahead_secs += u64::from(secs);
                self.wall_ahead_secs += i64::from(secs);
                self.stops.control = until;
                self.workers.iter_mut().for_each(|worker| worker.stopped = until);
            }
            Disturbance::StopWorker { worker, .. } => {
                let place = worker % self.workers.len();
                self.workers[place].stopped = until;
            }
            Disturbance::StopControl { .. }
            | Disturbance::StopSocket { .. }
            | Disturbance::StopTun { .. }
            | Disturbance::RefuseSupers { .. }
            | Disturbance::RefuseSends { .. }
            | Disturbance::RefuseWrites { .. }
            | Disturbance::FullEvents { .. }
            | Disturbance::FullQueues { .. } => self.stops.begin(event, until),
            Disturbance::Rebind { at } => out.network.rebind(at),
            Disturbance::Move { at } => out.network.relocate(at),
            Disturbance::SetWall { hours, .. } => self.wall_ahead_secs += i64::from(hours) * HOUR_SECS,
            Disturbance::RemovePeer { peer, .. } => {
                self.remove_peer(peer);
                if let Some(settings) = &mut self.config.peers[peer] {
                    settings.is_present = false;
                }
            }
            Disturbance::MovePrefix { of, to, .. } if of != to => {
                self.config.moved = Some((of, to));
                self.give_prefixes(of, to);
            }
            Disturbance::MovePrefix { .. } => {}
            Disturbance::NewKey { .. } => {
                self.config.generation += 1;
                let key = private_key(self.config.seed, self.index, self.config.generation);
                self.device.set_private_key(now, Some(key));
            }
            Disturbance::NewPsk { peer, .. } => self.set_psk(peer),
            Disturbance::NewSuite { peer, .. } => self.set_suite(peer, out),
            Disturbance::Keepalive { peer, secs, .. } => self.set_keepalive(peer, secs, out),
            Disturbance::SetEndpoint { peer, .. } => self.set_endpoint(peer, out),
            Disturbance::LinkDown { .. } => {
                self.config.is_up = false;
                self.device.link_down(now);
                self.broadcast(|| Order::LinkDown, out);
            }
            Disturbance::StandBy { .. } => {
                self.config.is_passive = true;
                self.device.set_passive(now, true);
            }
            Disturbance::SetMtu { mtu, .. } => {
                self.config.mtu = mtu;
                self.broadcast(|| Order::Mtu(mtu as u32), out);
            }
            Disturbance::Flood { kind, count, .. } => self.flood(kind, count, until, out),
            Disturbance::Loop { peer, .. } => self.set_loop(peer, true, out),
            Disturbance::Nonsense { count, .. } => self.nonsense(count, out),
            Disturbance::Unreachable { count, .. } => self.write_to_nobody(count, out),
        }
        self.changed(out);
    }

    /// Something ends.
    pub fn end(&mut self, event: Disturbance, out: &mut Outside) {
        let now = self.now(out.now).mono;
        match event {
            Disturbance::RemovePeer { peer, .. } => {
                if let Some(settings) = &mut self.config.peers[peer]
                    && !std::mem::replace(&mut settings.is_present, true)
                {
                    self.add_peer(peer, out);
                }
            }
            Disturbance::MovePrefix { of, .. } => {
                self.config.moved = None;
                self.give_prefixes(of, of);
            }
            Disturbance::LinkDown { .. } => {
                self.config.is_up = true;
                self.device.link_up(now);
            }
            Disturbance::StandBy { .. } => {
                self.config.is_passive = false;
                self.device.set_passive(now, false);
            }
            Disturbance::Loop { peer, .. } => self.set_loop(peer, false, out),
            _ => return,
        }
        self.changed(out);
    }

    /// Learns what another gateway has for a peer since: a key, a secret, a suite.
    pub fn learn(&mut self, event: Disturbance, out: &mut Outside) {
        match event {
            Disturbance::NewKey { at } => {
                self.remove_peer(at);
                if let Some(settings) = &mut self.config.peers[at] {
                    settings.generation += 1;
                    settings.key = private_key(self.config.seed, at, settings.generation).public_key();
                    self.add_peer(at, out);
                }
            }
            Disturbance::NewPsk { at, .. } => self.set_psk(at),
            Disturbance::NewSuite { at, .. } => self.set_suite(at, out),
            _ => return,
        }
        self.changed(out);
    }

    /// The operator's settings are carried out.
    fn changed(&mut self, out: &mut Outside) {
        self.nesting.forget();
        self.wake_control(out);
    }

    fn set_psk(&mut self, peer: usize) {
        let id = self.peer_id(peer);
        if let Some(settings) = &mut self.config.peers[peer] {
            settings.psk += 1;
            let psk = PresharedKey::new([settings.psk; 32]);
            id.into_iter().for_each(|id| self.device.set_psk(id, psk.clone()));
        }
    }

    fn set_suite(&mut self, peer: usize, out: &mut Outside) {
        let now = self.now(out.now).mono;
        if let Some(settings) = &mut self.config.peers[peer] {
            settings.suite = if settings.suite == Suite::default() { Suite::Aes256Gcm } else { Suite::default() };
            let result = self.device.set_peer_suite(now, settings.key, Some(settings.suite));
            out.check(result.map_err(|error| error.to_string()));
        }
    }

    fn set_endpoint(&mut self, peer: usize, out: &Outside) {
        let now = self.now(out.now).mono;
        let endpoint = self.config.peers[peer].as_ref().and_then(|settings| settings.endpoint);
        if let (Some(endpoint), Some(id)) = (endpoint, self.peer_id(peer)) {
            self.device.set_endpoint(now, id, endpoint);
        }
    }

    fn set_keepalive(&mut self, peer: usize, secs: u16, out: &mut Outside) {
        let (now, id) = (self.now(out.now).mono, self.peer_id(peer));
        if let Some(settings) = &mut self.config.peers[peer] {
            settings.keepalive_secs = secs;
            id.into_iter().for_each(|id| self.device.set_keepalive(now, id, secs));
        }
    }

    /// What we send to a peer is routed to the peer.
    fn set_loop(&mut self, peer: usize, begins: bool, out: &Outside) {
        self.stops.looped = begins.then_some(peer);
        let Some(id) = self.peer_id(peer) else { return };
        for v6 in [false, true] {
            let address = out.network.addresses(peer).outside(v6).ip();
            let Some(prefix) = Prefix::new(address, if v6 { 128 } else { 32 }) else { continue };
            if begins {
                self.device.insert_allowed_ip(id, prefix);
            } else {
                self.device.remove_allowed_ip(id, prefix);
            }
        }
    }

    /// Strangers send, evenly until some time.
    fn flood(&mut self, kind: Flood, count: u16, until: Time, out: &mut Outside) {
        let public = private_key(self.config.seed, self.index, self.config.generation).public_key();
        let to = out.network.addresses(self.index).outside(false);
        let lasts = until.since(out.now);
        for n in 0..u32::from(count) {
            let wire = match kind {
                Flood::Trains => Some(self.train(to, out)),
                _ => datagram(kind, &public, to, out),
            };
            let Some(wire) = wire else { return };
            let at = out.now + lasts * n / u32::from(count) + Duration::from_nanos(n.into());
            out.agenda.enter(at, crate::outside::What::Arrive(wire));
        }
    }

    /// Data under indices of anybody, and now and then a message among it that is genuine.
    fn train(&self, to: SocketAddr, out: &mut Outside) -> Wire {
        let recording = out.network.recording().filter(|_| out.rng.chance(32));
        let Outside { network, rng, .. } = out;
        // Whoever was there when it was recorded may have moved since.
        let is_theirs = |wire: &Wire| {
            wire.bytes[0] == TYPE_DATA
                && network.owner(wire.to) == Some(self.index)
                && network.owner(wire.from).is_some()
        };
        let genuine = recording.filter(is_theirs);
        let stranger = SocketAddr::from(([198, 51, 100, rng.next() as u8], PORT));
        let (from, to) = genuine.as_ref().map_or((stranger, to), |wire| (wire.from, wire.to));
        let stride = genuine.as_ref().map_or(DATA_LEN_MIN, |wire| wire.bytes.len());
        let mut bytes = vec![0; SEGMENTS_MAX.min(TRAIN_MAX / stride) * stride];
        for datagram in bytes.chunks_mut(stride) {
            let random: [u8; 28] = std::array::from_fn(|_| rng.next() as u8);
            datagram[0] = TYPE_DATA;
            datagram[4..DATA_LEN_MIN].copy_from_slice(&random);
        }
        if let Some(wire) = genuine {
            let at = rng.index(bytes.len() / stride) * stride;
            bytes[at..at + stride].copy_from_slice(&wire.bytes);
        }
        Wire { from, to, ecn: 0, marked: false, stride, bytes, stray: None }
    }

    /// Packets for addresses that no peer has, and ICMP errors among them.
    fn write_to_nobody(&mut self, count: u16, out: &mut Outside) {
        let (w, nobody) = (out.rng.index(self.workers.len()), [192, 88, 99, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for _ in 0..count {
            let (v6, is_error) = (out.rng.chance(128), out.rng.chance(64));
            let packet = match inner_address(self.index, v6) {
                IpAddr::V4(source) => write_unreachable(v6, &source.octets(), &nobody[..4], is_error),
                IpAddr::V6(source) => write_unreachable(v6, &source.octets(), &nobody, is_error),
            };
            if self.workers[w].tun.len() < TUN_READS {
                self.workers[w].tun.push_back(TunRead::Raw(packet));
                self.wake(w, out);
            }
        }
    }

    /// Packets that nobody can make sense of.
    fn nonsense(&mut self, count: u16, out: &mut Outside) {
        for _ in 0..count {
            let rng = &mut out.rng;
            let len = rng.pick(&[0, 1, ROOM - 1, ROOM, ROOM + 1, ROOM + 20, ROOM + 60, 1_400]);
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
            // Mostly something that looks like a packet.
            if bytes.len() > ROOM && rng.chance(200) {
                bytes[..ROOM].fill(0);
                bytes[0] = rng.pick(&[0, 0, 1]);
                bytes[1] = rng.pick(&[0, 0, 1, 4, 5, 0x81, 9]);
                bytes[4] = rng.pick(&[0, 1, 100]);
                bytes[ROOM] = rng.pick(&[0x45, 0x60, 0x4f, 0x10]);
            }
            let w = rng.index(self.workers.len());
            if self.workers[w].tun.len() < TUN_READS {
                self.workers[w].tun.push_back(TunRead::Raw(bytes));
                self.wake(w, out);
            }
        }
    }
}

/// One datagram of a flood.
fn datagram(kind: Flood, public: &PublicKey, to: SocketAddr, out: &mut Outside) -> Option<Wire> {
    let recording = out.network.recording();
    let rng = &mut out.rng;
    let stranger = SocketAddr::from(([198, 51, 100, rng.next() as u8], PORT));
    let random = |rng: &mut Rng, len: usize| (0..len).map(|_| rng.next() as u8).collect::<Vec<u8>>();
    let (from, to, bytes) = match kind {
        Flood::Junk => {
            let len = rng.pick(&[0, 1, 3, 31, 32, 64, 92, 148, 149, 1_500]).max(1);
            let mut bytes = random(rng, len);
            bytes[0] = rng.pick(&[0, 1, 2, 3, 4, 5, 255]);
            bytes[1..].iter_mut().take(3).for_each(|byte| *byte = 0);
            (stranger, to, bytes)
        }
        Flood::Replayed => {
            let wire = recording?;
            (wire.from, wire.to, wire.bytes)
        }
        Flood::Forged => {
            let wire = recording?;
            let mut bytes = wire.bytes;
            // Whoever sends on what somebody else has made, and the receiver has not seen, is taken for its sender. So
            // what is changed must not be mac2, which nobody looks at without load.
            let unlooked_at = if bytes[0] == TYPE_DATA { 0 } else { MAC_LEN };
            let bit = rng.index(8 * (bytes.len() - unlooked_at.min(bytes.len() - 1)));
            bytes[bit / 8] ^= 1 << (bit % 8);
            (stranger, wire.to, bytes)
        }
        // These are more than one.
        Flood::Trains => return None,
        Flood::Initiations => {
            let mut bytes = random(rng, 148);
            bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
            let key = hash(&[b"mac1----", public.as_bytes()]);
            let mac1: [u8; 16] = mac(&key, &[&bytes[..116]]);
            bytes[116..132].copy_from_slice(&mac1);
            bytes[132..].fill(0);
            (stranger, to, bytes)
        }
    };
    Some(Wire { from, to, ecn: 0, marked: false, stride: bytes.len(), bytes, stray: None })
}

impl Disturbance {
    /// The gateways that it concerns; the first is the one that it happens to.
    #[must_use]
    pub fn gateways(&self) -> Vec<usize> {
        match *self {
            Self::RemovePeer { at, peer }
            | Self::NewPsk { at, peer }
            | Self::NewSuite { at, peer }
            | Self::Keepalive { at, peer, .. }
            | Self::SetEndpoint { at, peer }
            | Self::Loop { at, peer } => vec![at, peer],
            Self::MovePrefix { at, of, to } => vec![at, of, to],
            Self::Restart { at }
            | Self::HandOver { at, .. }
            | Self::Suspend { at, .. }
            | Self::StopControl { at }
            | Self::StopWorker { at, .. }
            | Self::StopSocket { at }
            | Self::StopTun { at }
            | Self::RefuseSupers { at }
            | Self::RefuseSends { at }
            | Self::RefuseWrites { at }
            | Self::FullEvents { at }
            | Self::FullQueues { at }
            | Self::Rebind { at }
            | Self::Move { at }
            | Self::SetWall { at, .. }
            | Self::NewKey { at }
            | Self::LinkDown { at }
            | Self::StandBy { at }
            | Self::SetMtu { at, .. }
            | Self::Flood { at, .. }
            | Self::Nonsense { at, .. }
            | Self::Unreachable { at, .. } => vec![at],
        }
    }

    /// Who suffers, and how long after its end: what was asked meanwhile may stay without an answer.
    pub fn disturb(&self, until: Time, out: &mut Outside) {
        let gateways = self.gateways();
        let late = match self {
            // Nobody notices.
            Self::HandOver { .. } | Self::Flood { kind: Flood::Trains, .. } => return,
            // The first answer is right, whatever comes late to control.
            Self::StopControl { .. } | Self::FullEvents { .. } | Self::FullQueues { .. } => return,
            Self::RefuseSupers { .. } | Self::SetWall { .. } | Self::SetMtu { .. } | Self::Keepalive { .. } => return,
            // These have no duration. What is asked afterwards is answered right.
            Self::Restart { .. } => return out.disturb(gateways[0], out.now),
            Self::Rebind { .. }
            | Self::Move { .. }
            | Self::SetEndpoint { .. }
            | Self::Nonsense { .. }
            | Self::Unreachable { .. } => {
                return out.disturb(gateways[0], out.now + LATE);
            }
            _ => LATE,
        };
        if matches!(self, Self::NewKey { .. }) {
            (0..out.disturbed.len()).for_each(|gateway| out.disturb(gateway, until + late));
        }
        gateways.into_iter().for_each(|gateway| out.disturb(gateway, until + late));
    }
}
