//! Merging the packets that came in into the super-packets that the TUN is written (what the kernel's GRO does).
//!
//! Packets of one flow that follow each other, and differ in nothing that cutting them up again would lose, become one
//! write: the headers of the first, and the payloads of all where they lie. The order within a flow is kept, also where
//! a packet does not say which flow it is of, as a fragment does not; flows may overtake each other, as they may in
//! GRO.
//!
//! The rules are those of `inet_gro_receive`, `ipv6_gro_receive`, `tcp_gro_receive` and `udp_gro_receive_segment`,
//! made stricter where GRO loses something: the TCP window and the urgent pointer must be equal as well.
//!
//! In a VXLAN or Geneve tunnel the rules hold for both packets, and the tunnel's header must be equal, as
//! `vxlan_gro_receive` and `geneve_gro_receive` have it. An outer flow has one run at a time: a packet of another inner
//! flow ends it, so nothing overtakes in an outer flow either.

mod candidate;

use ring_buffers::View;

use crate::checksum::Sum;
use crate::headers::{TCP_CHECKSUM, UDP_CHECKSUM, Version, addresses};
use crate::tunnel::OuterOffset;
use crate::virtio::{Super, VNET_HDR_LEN, WriteHeader};
pub use candidate::Merge;
use candidate::{Addresses, Candidate, FIN, FlowKey, PSH, Relation, relate};

/// Packets in a super-packet: what the kernel takes of UDP in one (`UDP_MAX_SEGMENTS`; more since 6.9), and what a
/// train has.
pub const SEGMENTS_MAX: usize = 64;

/// Flows that are merged at the same time: as many as GRO keeps in one of its buckets.
pub const FLOWS_MAX: usize = 8;

/// The IP length field; one limit for both versions.
const LEN_MAX: usize = 65_535;

/// Merges packets into writes. Allocates nothing after it was made.
#[derive(Debug)]
pub struct Coalescer {
    merge: Merge,
    /// Also for a run that was begun before merging in tunnels ended.
    offset: OuterOffset,
    runs: Vec<Run>,
    /// The run that makes room for a new flow when all are in use.
    oldest: usize,
    lone: Vec<View>,
}

/// What is known about the packets of one flow so far.
#[derive(Debug)]
struct Run {
    key: FlowKey,
    first: Candidate,
    /// The first packet whole, the payloads of the others. Empty: the run is not in use.
    pieces: Vec<View>,
    payload_len: usize,
    /// TCP flags that only the last packet had.
    last_flags: u8,
    identification: Identification,
    /// That of the packets around, in a tunnel.
    outer_identification: Identification,
    /// The checksums of the first packet were looked at; done only when there is a second.
    first_verified: bool,
}

/// How the IPv4 identification changes from packet to packet. Without fragmentation (DF) it means nothing, and
/// some senders leave it constant (RFC 6864 section 4); cutting up a super-packet always counts it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identification {
    Unknown,
    Constant,
    CountsUp,
}

impl Identification {
    /// How it goes on with `this`, of a packet that is `index` packets behind the first. `None`: neither way.
    fn next(self, first: u16, index: u16, this: u16, dont_fragment: bool) -> Option<Self> {
        let this = if this == first.wrapping_add(index) {
            Self::CountsUp
        } else if this == first && dont_fragment {
            Self::Constant
        } else {
            return None;
        };
        (self == Self::Unknown || self == this).then_some(this)
    }
}

/// What became of a packet that was offered to a run.
enum Offer {
    /// It belongs to it now.
    Merged { closed: bool },
    /// It may begin another run.
    Refused(View),
    /// Its checksum is wrong: the kernel shall see it as it is.
    Damaged(View),
}

impl Coalescer {
    /// A coalescer without packets.
    #[must_use]
    pub fn new(merge: Merge) -> Self {
        let runs = (0..FLOWS_MAX).map(|_| Run::empty()).collect();
        let offset = merge.tunnels.unwrap_or(OuterOffset::Exact);
        Self { merge, offset, runs, oldest: 0, lone: Vec::with_capacity(1) }
    }

    /// Changes what is merged from now on.
    pub fn set_merge(&mut self, merge: Merge) {
        self.merge = merge;
        self.offset = merge.tunnels.unwrap_or(self.offset);
    }

    /// What is merged.
    #[must_use]
    pub fn merge(&self) -> Merge {
        self.merge
    }

    /// Takes a packet: [`VNET_HDR_LEN`] bytes of room, then IP, without any padding behind.
    ///
    /// Whatever can be written now is passed to `write`: one piece or many, the first of which begins with a finished
    /// virtio-net header. Pieces that `write` leaves are dropped. A view without room for the header is dropped, too.
    pub fn push(&mut self, packet: View, write: &mut impl FnMut(&mut Vec<View>)) {
        let Some(bytes) = packet.get(VNET_HDR_LEN..) else { return };
        let (key, candidate) = match relate(bytes, self.merge) {
            Relation::Stranger => return self.write_lone(packet, write),
            Relation::Between(addresses) => {
                self.finish_between(&addresses, write);
                return self.write_lone(packet, write);
            }
            Relation::Of(key, candidate) => (key, candidate),
        };
        let run = self.runs.iter().position(|run| run.is_of(&key));
        match (run, candidate) {
            (None, None) => self.write_lone(packet, write),
            (None, Some(candidate)) => {
                let run = self.make_room(write);
                self.begin(run, key, candidate, packet, write);
            }
            // What cannot be merged must not overtake its own flow.
            (Some(run), None) => {
                self.runs[run].finish(self.offset, write);
                self.write_lone(packet, write);
            }
            (Some(run), Some(candidate)) => match self.runs[run].offer(&candidate, packet) {
                Offer::Merged { closed: false } => {}
                Offer::Merged { closed: true } => self.runs[run].finish(self.offset, write),
                Offer::Refused(packet) => {
                    self.runs[run].finish(self.offset, write);
                    self.begin(run, key, candidate, packet, write);
                }
                Offer::Damaged(packet) => {
                    self.runs[run].finish(self.offset, write);
                    self.write_lone(packet, write);
                }
            },
        }
    }

    /// Writes all that is held, so nothing waits for packets that may never come.
    pub fn flush(&mut self, write: &mut impl FnMut(&mut Vec<View>)) {
        // From the oldest on, so flows come out about as they came in.
        for i in 0..self.runs.len() {
            let run = (self.oldest + i) % self.runs.len();
            self.runs[run].finish(self.offset, write);
        }
        self.oldest = 0;
    }

    /// Writes the runs of all flows between two addresses.
    fn finish_between(&mut self, addresses: &Addresses, write: &mut impl FnMut(&mut Vec<View>)) {
        let offset = self.offset;
        for run in self.runs.iter_mut().filter(|run| run.key.is_between(addresses)) {
            run.finish(offset, write);
        }
    }

    fn make_room(&mut self, write: &mut impl FnMut(&mut Vec<View>)) -> usize {
        if let Some(free) = self.runs.iter().position(|run| run.pieces.is_empty()) {
            return free;
        }
        let run = self.oldest;
        self.oldest = (run + 1) % self.runs.len();
        self.runs[run].finish(self.offset, write);
        run
    }

    fn begin(
        &mut self,
        run: usize,
        key: FlowKey,
        candidate: Candidate,
        packet: View,
        write: &mut impl FnMut(&mut Vec<View>),
    ) {
        if candidate.ends_a_run() {
            self.write_lone(packet, write);
        } else {
            self.runs[run].begin(key, candidate, packet);
        }
    }

    fn write_lone(&mut self, mut packet: View, write: &mut impl FnMut(&mut Vec<View>)) {
        let Some(header) = packet.first_chunk_mut() else { return };
        WriteHeader::Packet.write(header);
        self.lone.push(packet);
        write(&mut self.lone);
        self.lone.clear();
    }
}

impl Run {
    fn empty() -> Self {
        Self {
            key: FlowKey::default(),
            first: Candidate::default(),
            pieces: Vec::with_capacity(SEGMENTS_MAX),
            payload_len: 0,
            last_flags: 0,
            identification: Identification::Unknown,
            outer_identification: Identification::Unknown,
            first_verified: false,
        }
    }

    fn is_of(&self, key: &FlowKey) -> bool {
        !self.pieces.is_empty() && self.key == *key
    }

    fn begin(&mut self, key: FlowKey, candidate: Candidate, packet: View) {
        self.key = key;
        self.first = candidate;
        self.payload_len = candidate.payload_len;
        self.last_flags = 0;
        self.identification = Identification::Unknown;
        self.outer_identification = Identification::Unknown;
        self.first_verified = false;
        self.pieces.push(packet);
    }

    fn offer(&mut self, candidate: &Candidate, mut packet: View) -> Offer {
        let Some((identification, outer)) = self.accepts(candidate, &packet) else { return Offer::Refused(packet) };
        if !self.first_verified {
            if !self.first.is_intact(&self.pieces[0][VNET_HDR_LEN..]) {
                return Offer::Refused(packet);
            }
            self.first_verified = true;
        }
        if !candidate.is_intact(&packet[VNET_HDR_LEN..]) {
            return Offer::Damaged(packet);
        }
        self.identification = identification;
        self.outer_identification = outer;
        self.payload_len += candidate.payload_len;
        self.last_flags |= candidate.flags & (FIN | PSH);
        packet.advance(VNET_HDR_LEN + candidate.header_len);
        self.pieces.push(packet);
        let shorter = candidate.payload_len < self.first.payload_len;
        Offer::Merged { closed: shorter || candidate.ends_a_run() || self.pieces.len() == SEGMENTS_MAX }
    }

    /// Whether the packet continues the run, and how its identification and that around it do. `None` if it does not.
    fn accepts(&self, candidate: &Candidate, packet: &View) -> Option<(Identification, Identification)> {
        let fits = candidate.payload_len <= self.first.payload_len
            && self.first.header_len + self.payload_len + candidate.payload_len <= LEN_MAX;
        let follows = candidate.header_len == self.first.header_len
            && candidate.kind == self.first.kind
            && (!candidate.kind.is_tcp()
                || candidate.sequence == self.first.sequence.wrapping_add(self.payload_len as u32));
        let tunnel = |candidate: &Candidate| candidate.outer.map(|outer| outer.tunnel);
        let around = tunnel(candidate) == tunnel(&self.first);
        if !fits || !follows || !around || !self.first.is_like(&self.pieces[0][VNET_HDR_LEN..], &packet[VNET_HDR_LEN..])
        {
            return None;
        }
        Some((self.next_identification(candidate)?, self.next_outer_identification(candidate)?))
    }

    fn next_identification(&self, next: &Candidate) -> Option<Identification> {
        if !next.kind.is_ipv4() {
            return Some(Identification::Unknown);
        }
        let index = self.pieces.len() as u16;
        self.identification.next(self.first.identification, index, next.identification, next.dont_fragment)
    }

    fn next_outer_identification(&self, next: &Candidate) -> Option<Identification> {
        match (self.first.outer, next.outer) {
            (None, None) => Some(Identification::Unknown),
            (Some(first), Some(next)) => match next.tunnel.version {
                Version::V6 => Some(Identification::Unknown),
                Version::V4 => {
                    let index = self.pieces.len() as u16;
                    let known = self.outer_identification;
                    known.next(first.identification, index, next.identification, next.dont_fragment)
                }
            },
            _ => None,
        }
    }

    /// Completes the headers and passes the run on; it is free afterwards. Does nothing if it is not in use.
    fn finish(&mut self, offset: OuterOffset, write: &mut impl FnMut(&mut Vec<View>)) {
        let merged = self.pieces.len() > 1;
        let Some(first) = self.pieces.first_mut() else { return };
        let transmit = if merged {
            let (first, flags) = (&mut first[VNET_HDR_LEN..], self.last_flags);
            WriteHeader::Tunnel(super_headers(first, &self.first, self.payload_len, flags), offset)
        } else {
            WriteHeader::Packet
        };
        if let Some(header) = first.first_chunk_mut() {
            transmit.write(header);
        }
        write(&mut self.pieces);
        self.pieces.clear();
    }
}

/// Makes the headers of `packet` those of a super-packet with `payload_len` bytes.
fn super_headers(packet: &mut [u8], first: &Candidate, payload_len: usize, flags: u8) -> Super {
    let end = first.header_len + payload_len;
    let transport_len = (end - first.transport) as u32;
    if let Some(outer) = first.outer {
        outer.tunnel.wrap_super(packet, end);
    }
    let ip = &mut packet[first.network()..first.transport];
    if first.kind.is_ipv4() {
        ip[2..4].copy_from_slice(&((end - first.network()) as u16).to_be_bytes());
        ip[10..12].fill(0);
        let checksum = Sum::of(ip).checksum();
        ip[10..12].copy_from_slice(&checksum);
    } else {
        ip[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
    }
    let pseudo = Sum::pseudo_header(&ip[addresses(first.version())], first.protocol(), transport_len);
    let checksum_at = if first.kind.is_tcp() {
        packet[first.transport + 13] |= flags;
        first.transport + TCP_CHECKSUM
    } else {
        packet[first.transport + 4..first.transport + 6].copy_from_slice(&(transport_len as u16).to_be_bytes());
        first.transport + UDP_CHECKSUM
    };
    packet[checksum_at..checksum_at + 2].copy_from_slice(&pseudo.to_bytes());
    Super {
        kind: first.kind,
        transport: first.transport as u16,
        header: first.header_len as u16,
        segment: first.payload_len as u16,
        end: end as u32,
        tunnel: first.outer.map(|outer| outer.tunnel),
    }
}

#[cfg(test)]
mod tests;
