//! What is between the gateways: it loses, doubles, delays, changes, cuts, merges and leads astray.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringfort_core::ids::Endpoint;
use ringfort_core::time::Time;

use crate::rng::Rng;
use crate::scenario::{Faults, LATENCY, START, Scenario};

/// Datagrams that strangers have recorded.
const RECORDED: usize = 64;
/// The first port of all gateways.
pub const PORT: u16 = 51_820;

/// Datagrams on their way, of equal length except for the last.
#[derive(Clone, Debug)]
pub struct Wire {
    /// As the receiver sees it.
    pub from: SocketAddr,
    /// As the sender wrote it.
    pub to: SocketAddr,
    /// The ECN field.
    pub ecn: u8,
    /// A router has written it.
    pub marked: bool,
    /// Bytes from one to the next.
    pub stride: usize,
    /// All of them.
    pub bytes: Vec<u8>,
    /// They come to the worker of this number, whatever the reuseport program says.
    pub stray: Option<usize>,
}

/// The addresses of one gateway.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    v4: IpAddr,
    v6: IpAddr,
    port: u16,
    moves: u8,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    faults: Faults,
    latency: Duration,
    faulty_until: Time,
    rng: Rng,
    gateways: Vec<Addresses>,
    recorded: Vec<Wire>,
    buffers: Vec<Vec<u8>>,
}

impl Addresses {
    fn new(gateway: usize, moves: u8) -> Self {
        let gateway = gateway as u8 + 1;
        Self {
            v4: [192, 0, 2 + moves, gateway].into(),
            v6: [0x2001, 0xdb8, 0, 0, 0, 0, moves.into(), gateway.into()].into(),
            port: PORT,
            moves,
        }
    }

    /// Where others reach it.
    #[must_use]
    pub const fn outside(&self, v6: bool) -> SocketAddr {
        SocketAddr::new(if v6 { self.v6 } else { self.v4 }, self.port)
    }

    /// Whether it has this address now.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        address == self.v4 || address == self.v6
    }
}

impl Network {
    /// That of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let (faults, latency, faulty_until) = (scenario.network, scenario.latency, START + scenario.faulty);
        let (gateways, seed) = (scenario.gateways.len(), scenario.seed);
        let gateways = (0..gateways).map(|gateway| Addresses::new(gateway, 0)).collect();
        let (recorded, buffers) = (Vec::new(), Vec::new());
        Self { faults, latency, faulty_until, rng: Rng::new(seed, 2), gateways, recorded, buffers }
    }

    /// The addresses of a gateway.
    #[must_use]
    pub fn addresses(&self, gateway: usize) -> Addresses {
        self.gateways[gateway]
    }

    /// Others see a gateway by another port.
    pub fn rebind(&mut self, gateway: usize) {
        self.gateways[gateway].port += 1;
    }

    /// A gateway is somewhere else.
    pub fn relocate(&mut self, gateway: usize) {
        let before = self.gateways[gateway];
        self.gateways[gateway] = Addresses { port: before.port, ..Addresses::new(gateway, before.moves + 1) };
    }

    /// Who is reached at an address now.
    #[must_use]
    pub fn owner(&self, to: SocketAddr) -> Option<usize> {
        self.gateways.iter().position(|addresses| addresses.has(to.ip()) && addresses.port == to.port())
    }

    /// The address that a gateway's datagram for an endpoint leaves from, and whether it is the one that was asked for.
    #[must_use]
    pub fn source(&self, gateway: usize, endpoint: &Endpoint) -> (SocketAddr, bool) {
        let addresses = &self.gateways[gateway];
        let works = endpoint.source.is_none_or(|source| addresses.has(source.addr));
        (addresses.outside(endpoint.remote.is_ipv6()), works)
    }

    /// Whether datagrams that were sent at this time or later may be lost, or be late.
    #[must_use]
    pub fn loses_since(&self, time: Time) -> bool {
        let Faults { loss, corruption, truncation, congestion, delay_max, .. } = self.faults;
        let loses = loss > 0 || corruption > 0 || truncation > 0 || congestion > 0 || !delay_max.is_zero();
        loses && time < self.faulty_until + delay_max + LATENCY
    }

    /// How likely datagrams that can be merged are.
    pub fn merges(&mut self) -> bool {
        self.rng.chance(self.faults.merge)
    }

    /// A stranger's choice of what was seen on the wire.
    pub fn recording(&mut self) -> Option<Wire> {
        let place = (!self.recorded.is_empty()).then(|| self.rng.index(self.recorded.len()))?;
        Some(self.recorded[place].clone())
    }

    /// A buffer for a train.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// A buffer that is not used any more.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < 64 {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Takes a train on its way. `arrive` is told what arrives when.
    pub fn send(&mut self, now: Time, wire: Wire, arrive: &mut dyn FnMut(Time, Wire)) {
        self.record(&wire);
        let is_faulty = now < self.faulty_until;
        let is_quiet = !is_faulty && self.faults.cut == 0;
        if is_quiet {
            return arrive(now + self.latency, wire);
        }
        let mut piece = self.piece(&wire);
        for datagram in wire.bytes.chunks(wire.stride) {
            let fate = if is_faulty { self.fate() } else { Fate::default() };
            if fate.is_ordinary && !self.rng.chance(self.faults.cut) {
                piece.bytes.extend_from_slice(datagram);
                continue;
            }
            self.emit(now, &mut piece, arrive);
            if fate.is_ordinary {
                piece.bytes.extend_from_slice(datagram);
                continue;
            }
            for _ in 0..fate.copies {
                let mut lone = self.piece(&wire);
                lone.bytes.extend_from_slice(datagram);
                let delay = self.spoil(&mut lone, &fate);
                if !lone.bytes.is_empty() {
                    arrive(now + self.latency + delay, lone);
                }
            }
        }
        self.emit(now, &mut piece, arrive);
        self.give_back(wire.bytes);
    }

    fn piece(&mut self, of: &Wire) -> Wire {
        Wire { bytes: self.buffer(), ..piece_of(of) }
    }

    fn emit(&mut self, now: Time, piece: &mut Wire, arrive: &mut dyn FnMut(Time, Wire)) {
        if !piece.bytes.is_empty() {
            let next = self.piece(piece);
            arrive(now + self.latency, std::mem::replace(piece, next));
        }
    }

    fn fate(&mut self) -> Fate {
        let Faults { loss, duplication, corruption, truncation, stray, congestion, delay_max, .. } = self.faults;
        let mut fate = Fate {
            copies: if self.rng.chance(loss) { 0 } else { 1 + usize::from(self.rng.chance(duplication)) },
            is_corrupt: self.rng.chance(corruption),
            is_cut: self.rng.chance(truncation),
            is_stray: self.rng.chance(stray),
            is_marked: self.rng.chance(congestion),
            is_late: !delay_max.is_zero(),
            is_ordinary: false,
        };
        let Fate { is_corrupt, is_cut, is_stray, is_marked, is_late, .. } = fate;
        fate.is_ordinary = fate.copies == 1 && !(is_corrupt || is_cut || is_stray || is_marked || is_late);
        fate
    }

    /// Does to a datagram what its fate is. Returns its delay.
    fn spoil(&mut self, wire: &mut Wire, fate: &Fate) -> Duration {
        if fate.is_corrupt {
            let bit = self.rng.index(8 * wire.bytes.len());
            wire.bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if fate.is_cut {
            let len = self.rng.index(wire.bytes.len());
            wire.bytes.truncate(len);
        }
        if fate.is_stray {
            wire.stray = Some(self.rng.index(256));
        }
        if fate.is_marked {
            (wire.ecn, wire.marked) = (3, true);
        }
        wire.stride = wire.bytes.len().max(1);
        let delay_max = self.faults.delay_max.as_nanos() as u64;
        Duration::from_nanos(if delay_max == 0 { 0 } else { self.rng.below(delay_max) })
    }

    fn record(&mut self, wire: &Wire) {
        // Handshakes are worth more to a stranger than data, of which there is a lot.
        let is_interesting = wire.bytes[0] != 4 || self.rng.chance(32);
        if !is_interesting {
            return;
        }
        let datagram = wire.bytes[..wire.stride.min(wire.bytes.len())].to_vec();
        let recorded = Wire { stride: datagram.len(), bytes: datagram, ..piece_of(wire) };
        if self.recorded.len() < RECORDED {
            self.recorded.push(recorded);
        } else {
            let place = self.rng.index(RECORDED);
            self.recorded[place] = recorded;
        }
    }
}

const fn piece_of(wire: &Wire) -> Wire {
    let &Wire { from, to, ecn, marked, stride, stray, .. } = wire;
    Wire { from, to, ecn, marked, stride, stray, bytes: Vec::new() }
}

/// What the network does with one datagram.
#[derive(Debug)]
struct Fate {
    copies: usize,
    is_corrupt: bool,
    is_cut: bool,
    is_stray: bool,
    is_marked: bool,
    is_late: bool,
    is_ordinary: bool,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            copies: 1,
            is_corrupt: false,
            is_cut: false,
            is_stray: false,
            is_marked: false,
            is_late: false,
            is_ordinary: true,
        }
    }
}
