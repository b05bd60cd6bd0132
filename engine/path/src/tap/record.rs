//! Packets as bytes in the queue: a head of fixed length, then as much of the packet as is kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, LocalAddr, PeerId};
use ringfort_core::time::Time;
use rtrb::Consumer;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Direction, Packet, Side, TapCounts};

/// The most that is kept of a packet: the longest that IP has.
pub(super) const RECORD_LEN_MAX: usize = 65_535;

const CIPHER: u8 = 1;
const OUT: u8 = 1 << 1;
const HAS_PEER: u8 = 1 << 2;
const HAS_ENDPOINT: u8 = 1 << 3;
const HAS_SOURCE: u8 = 1 << 4;

/// What precedes the bytes of each packet. Both ends are in one process, so numbers are as the processor has them.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    time: u64,
    peer_index: u32,
    peer_generation: u32,
    len: u32,
    kept: u32,
    lost: u32,
    remote_port: u16,
    class: u8,
    flags: u8,
    remote: [u8; 16],
    source: [u8; 16],
    /// One more than the reason's index; 0 if it is not dropped.
    dropped: u8,
    /// 1 if a handshake message was accepted.
    accepted: u8,
    unused: [u8; 6],
}

impl Head {
    pub(super) fn new(now: Time, packet: &Packet<'_>) -> Self {
        let peer = packet.peer.unwrap_or(PeerId { index: 0, generation: 0 });
        let out = if packet.direction == Direction::Out { OUT } else { 0 };
        let len = packet.parts[0].len() + packet.parts[1].len();
        Self {
            time: now.as_nanos(),
            peer_index: peer.index,
            peer_generation: peer.generation,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            flags: out | if packet.peer.is_some() { HAS_PEER } else { 0 },
            dropped: packet.dropped.map_or(0, |reason| reason as u8 + 1),
            ..Self::default()
        }
    }

    /// The same on the wire.
    pub(super) fn on_the_wire(mut self, endpoint: Option<Endpoint>, class: u8) -> Self {
        self.flags |= CIPHER;
        self.class = class;
        if let Some(endpoint) = endpoint {
            self.flags |= HAS_ENDPOINT;
            self.remote = octets(endpoint.remote.ip());
            self.remote_port = endpoint.remote.port();
            if let Some(source) = endpoint.usable_source() {
                self.flags |= HAS_SOURCE;
                self.source = octets(source.addr);
            }
        }
        self
    }

    /// The same of a handshake message that was accepted.
    pub(super) const fn accepted(mut self) -> Self {
        self.accepted = 1;
        self
    }

    pub(super) fn holds(&mut self, len: usize, lost: u32) {
        self.kept = u32::try_from(len).unwrap_or(u32::MAX);
        self.lost = lost;
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn seen(&self) -> Seen {
        let endpoint = self.has(HAS_ENDPOINT).then(|| Endpoint {
            remote: SocketAddr::new(address(self.remote), self.remote_port),
            source: self.has(HAS_SOURCE).then(|| LocalAddr { addr: address(self.source), ifindex: 0 }),
        });
        Seen {
            time: Time(self.time),
            side: if self.has(CIPHER) { Side::Cipher } else { Side::Plain },
            direction: if self.has(OUT) { Direction::Out } else { Direction::In },
            peer: self.has(HAS_PEER).then_some(PeerId { index: self.peer_index, generation: self.peer_generation }),
            dropped: self.dropped.checked_sub(1).and_then(|index| DropReason::ALL.get(usize::from(index)).copied()),
            is_accepted: self.accepted == 1,
            len: self.len as usize,
            lost: self.lost,
            endpoint,
            class: self.class,
        }
    }
}

/// IPv4 as IPv4-mapped IPv6.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address(octets: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(octets);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
}

/// What is known of a packet that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The time of the turn in which it was seen.
    pub time: Time,
    /// Where.
    pub side: Side,
    /// Which way it goes.
    pub direction: Direction,
    /// Whose it is, if that is known.
    pub peer: Option<PeerId>,
    /// Why it goes no further, if it does not.
    pub dropped: Option<DropReason>,
    /// It is a handshake message, and was accepted.
    pub is_accepted: bool,
    /// Its whole length in bytes.
    pub len: usize,
    /// How many of its side were lost between the one before and this.
    pub lost: u32,
    /// On the wire: where it comes from, or goes to.
    pub endpoint: Option<Endpoint>,
    /// On the wire: DSCP and ECN of the outer header, as far as they are known.
    pub class: u8,
}

/// The end of a tap that is read.
#[derive(Debug)]
pub struct TapReader {
    queue: Consumer<u8>,
    counts: Arc<TapCounts>,
    /// What was read of the next packet.
    head: Option<Head>,
}

impl TapReader {
    pub(super) const fn new(queue: Consumer<u8>, counts: Arc<TapCounts>) -> Self {
        Self { queue, counts, head: None }
    }

    /// When the next packet was seen, if there is one.
    pub fn next_time(&mut self) -> Option<Time> {
        if self.head.is_none() {
            let mut head = Head::default();
            self.queue.pop_entire_slice(head.as_mut_bytes()).ok()?;
            self.head = Some(head);
        }
        self.head.map(|head| Time(head.time))
    }

    /// Takes the next packet. What was kept of it goes into `bytes`.
    pub fn next(&mut self, bytes: &mut Vec<u8>) -> Option<Seen> {
        self.next_time()?;
        let head = self.head?;
        bytes.resize(head.kept as usize, 0);
        // The head may be there before the rest is.
        self.queue.pop_entire_slice(bytes).ok()?;
        self.head = None;
        Some(head.seen())
    }

    /// Whether nothing more can come: the other end is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.queue.is_abandoned()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &TapCounts {
        &self.counts
    }
}
