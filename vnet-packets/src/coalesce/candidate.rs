//! What one packet is to the coalescer: which flow it is of, and whether it could be part of a run.

use crate::checksum::Sum;
use crate::error::VnetError;
use crate::headers::{IPV4_MIN, IPV6_LEN, PROTO_TCP, PROTO_UDP, Parts, UDP_LEN, Version, addresses, be16, be32};
use crate::tunnel::{self, OuterOffset, Tunnel};
use crate::virtio::SuperKind;

/// Which transports are merged; what the kernel refuses is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Runs of TCP segments.
    pub tcp: bool,
    /// Runs of UDP datagrams of equal size.
    pub udp: bool,
    /// Runs of either in a VXLAN or Geneve tunnel, and how their super-packets are described; `None` if they are not
    /// merged as such.
    pub tunnels: Option<OuterOffset>,
    /// Whether those with IPv6 inside the tunnel are as well.
    pub inner_ipv6: bool,
}

impl Merge {
    /// Nothing.
    pub const NONE: Self = Self { tcp: false, udp: false, tunnels: None, inner_ipv6: false };
    /// TCP and UDP, which every kernel takes that has the offloads. Not tunnels.
    pub const PLAIN: Self = Self { tcp: true, udp: true, tunnels: None, inner_ipv6: true };
    /// Everything, for a kernel without faults.
    pub const ALL: Self = Self { tcp: true, udp: true, tunnels: Some(OuterOffset::Exact), inner_ipv6: true };

    fn merges(self, kind: SuperKind) -> bool {
        if kind.is_tcp() { self.tcp } else { self.udp }
    }

    fn merges_inside(self, kind: SuperKind) -> bool {
        self.merges(kind) && (self.inner_ipv6 || kind.is_ipv4())
    }
}

pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// Bits beside IPv4's fragment offset.
const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;

/// Source and destination, IPv4 ones followed by zeroes.
pub(super) type Addresses = [u8; 32];

/// The tuple of a flow: addresses, ports, and what they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    kind: SuperKind,
    ports: u32,
    addresses: Addresses,
}

impl FlowKey {
    /// Whether packets between these addresses may belong to the flow.
    pub(super) fn is_between(&self, addresses: &Addresses) -> bool {
        self.addresses == *addresses
    }
}

/// How a packet relates to the runs that are held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Relation {
    /// None: only TCP and UDP are held, and it is neither.
    Stranger,
    /// It may belong to any flow between these addresses: a fragment, whose ports are elsewhere, or headers that
    /// cannot be followed up to the ports.
    Between(Addresses),
    /// A packet of this flow, and a candidate if it can be merged. What cannot be merged must still not overtake a run
    /// of its own flow.
    Of(FlowKey, Option<Candidate>),
}

impl Default for FlowKey {
    fn default() -> Self {
        Self { kind: SuperKind::Tcp4, ports: 0, addresses: [0; 32] }
    }
}

/// The tunnel around a packet that could be part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outer {
    pub(super) tunnel: Tunnel,
    /// IPv4 identification.
    pub(super) identification: u16,
    /// IPv4 DF.
    pub(super) dont_fragment: bool,
}

/// A packet that could be part of a run. What is in a tunnel counts, its offsets are those within the whole packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) outer: Option<Outer>,
    pub(super) kind: SuperKind,
    /// Offset of the transport header.
    pub(super) transport: usize,
    /// Length of all headers.
    pub(super) header_len: usize,
    /// Never 0.
    pub(super) payload_len: usize,
    /// TCP sequence number.
    pub(super) sequence: u32,
    /// TCP flags.
    pub(super) flags: u8,
    /// IPv4 identification.
    pub(super) identification: u16,
    /// IPv4 DF.
    pub(super) dont_fragment: bool,
}

impl Default for Candidate {
    fn default() -> Self {
        Self {
            outer: None,
            kind: SuperKind::Tcp4,
            transport: 0,
            header_len: 0,
            payload_len: 0,
            sequence: 0,
            flags: 0,
            identification: 0,
            dont_fragment: false,
        }
    }
}

/// Finds out which runs a packet must not overtake, and whether it could be part of one.
pub(super) fn relate(packet: &[u8], merge: Merge) -> Relation {
    let parts = match Parts::of(packet) {
        Ok(parts) => parts,
        Err(VnetError::GsoProtocol) => return Relation::Stranger,
        Err(_) => return addresses_of(packet).map_or(Relation::Stranger, Relation::Between),
    };
    let (Some(kind), Some(addresses)) = (SuperKind::of(parts.version, parts.protocol), addresses_of(packet)) else {
        return Relation::Stranger;
    };
    let key = FlowKey { kind, ports: be32(packet, parts.transport), addresses };
    let tunnelled = if merge.tunnels.is_some() && !kind.is_tcp() { tunnelled(packet, &parts, merge) } else { None };
    let plain = || merge.merges(kind).then(|| Candidate::of(packet, &parts, kind)).flatten();
    Relation::Of(key, tunnelled.or_else(plain))
}

/// A UDP packet as a candidate of the flow in the tunnel that it is of.
fn tunnelled(packet: &[u8], outer: &Parts, merge: Merge) -> Option<Candidate> {
    let tunnel = tunnel::around(packet, outer)?;
    let udp_len = usize::from(be16(packet, outer.transport + 4));
    let (identification, fragment) = fragmentation(packet, outer.version);
    if !is_plain(packet, outer) || udp_len != outer.end - outer.transport || fragment & RESERVED != 0 {
        return None;
    }
    let network = usize::from(tunnel.inner);
    let parts = Parts::of(&packet[network..]).ok()?;
    let kind = SuperKind::of(parts.version, parts.protocol).filter(|&kind| merge.merges_inside(kind))?;
    let inner = Candidate::of(&packet[network..], &parts, kind)?;
    Some(Candidate {
        outer: Some(Outer { tunnel, identification, dont_fragment: fragment & DONT_FRAGMENT != 0 }),
        transport: network + inner.transport,
        header_len: network + inner.header_len,
        ..inner
    })
}

/// No IPv4 options, no IPv6 extensions; nothing behind the packet that a merged one would take for payload.
fn is_plain(packet: &[u8], parts: &Parts) -> bool {
    let plain = match parts.version {
        Version::V4 => IPV4_MIN,
        Version::V6 => IPV6_LEN,
    };
    parts.transport == plain && parts.end == packet.len()
}

/// IPv4's identification, and its flags and fragment offset.
fn fragmentation(packet: &[u8], version: Version) -> (u16, u16) {
    if version == Version::V4 { (be16(packet, 4), be16(packet, 6)) } else { (0, 0) }
}

/// `None` if the packet is too short to have any.
fn addresses_of(packet: &[u8]) -> Option<Addresses> {
    let version = if packet.first()? >> 4 == 6 { Version::V6 } else { Version::V4 };
    let found = packet.get(addresses(version))?;
    let mut all = [0; size_of::<Addresses>()];
    all[..found.len()].copy_from_slice(found);
    Some(all)
}

impl Candidate {
    fn of(packet: &[u8], parts: &Parts, kind: SuperKind) -> Option<Self> {
        let payload_len = parts.end - parts.header;
        if !is_plain(packet, parts) || payload_len == 0 {
            return None;
        }
        let transport = &packet[parts.transport..];
        let (sequence, flags) = if kind.is_tcp() {
            let flags = transport[13];
            // No SYN, RST, URG; no CWR, which cutting up would keep on the first packet only.
            if flags & !(PSH | FIN | ECE) != ACK {
                return None;
            }
            (be32(transport, 4), flags)
        } else {
            let has_checksum = be16(transport, 6) != 0;
            if !has_checksum || usize::from(be16(transport, 4)) != transport.len() {
                return None;
            }
            (0, 0)
        };
        let (identification, fragment) = fragmentation(packet, parts.version);
        // That it is no fragment was checked.
        if fragment & RESERVED != 0 {
            return None;
        }
        Some(Self {
            outer: None,
            kind,
            transport: parts.transport,
            header_len: parts.header,
            payload_len,
            sequence,
            flags,
            identification,
            dont_fragment: fragment & DONT_FRAGMENT != 0,
        })
    }

    /// Offset of the IP header that the transport header belongs to.
    pub(super) fn network(&self) -> usize {
        self.outer.map_or(0, |outer| usize::from(outer.tunnel.inner))
    }

    /// Whether nothing may follow it in a run.
    pub(super) fn ends_a_run(&self) -> bool {
        self.flags & (PSH | FIN) != 0
    }

    /// Whether `other`, a packet of the same flow with headers as long, has the same header fields as `first`, which
    /// this candidate describes, except for those that count on.
    pub(super) fn is_like(&self, first: &[u8], other: &[u8]) -> bool {
        let Some(outer) = self.outer else {
            return ip_is_like(self.version(), first, other) && self.transport_is_like(first, other);
        };
        let (udp, inner) = (usize::from(outer.tunnel.udp), self.network());
        // The key is that of the outer flow, so all that follows its UDP header has to be compared.
        ip_is_like(outer.tunnel.version, first, other)
            && first[udp + UDP_LEN..inner] == other[udp + UDP_LEN..inner]
            && ip_is_like(self.version(), &first[inner..], &other[inner..])
            && first[inner..][addresses(self.version())] == other[inner..][addresses(self.version())]
            && first[self.transport..self.transport + 4] == other[self.transport..self.transport + 4]
            && self.transport_is_like(first, other)
    }

    fn transport_is_like(&self, first: &[u8], other: &[u8]) -> bool {
        !self.kind.is_tcp() || self.tcp_is_like(first, other)
    }

    fn tcp_is_like(&self, first: &[u8], other: &[u8]) -> bool {
        let (first, other) = (&first[self.transport..self.header_len], &other[self.transport..self.header_len]);
        // Acknowledgement, data offset and reserved bits; flags but those of the end; window; urgent pointer, options.
        first[8..13] == other[8..13]
            && (first[13] ^ other[13]) & !(PSH | FIN) == 0
            && first[14..16] == other[14..16]
            && first[18..] == other[18..]
    }

    /// Whether the checksums of the packet are right.
    pub(super) fn is_intact(&self, packet: &[u8]) -> bool {
        let (ip, transport) = (&packet[self.network()..], &packet[self.transport..]);
        let header_is_intact = !self.kind.is_ipv4() || Sum::of(&ip[..IPV4_MIN]).is_valid();
        let pseudo = Sum::pseudo_header(&ip[addresses(self.version())], self.protocol(), transport.len() as u32);
        let sum = Sum::of(transport);
        header_is_intact
            && pseudo.plus(sum).is_valid()
            && self.outer.is_none_or(|outer| outer.tunnel.is_intact(packet, self.transport, sum))
    }

    pub(super) fn version(&self) -> Version {
        if self.kind.is_ipv4() { Version::V4 } else { Version::V6 }
    }

    pub(super) fn protocol(&self) -> u8 {
        if self.kind.is_tcp() { PROTO_TCP } else { PROTO_UDP }
    }
}

/// Whether two IP headers differ in nothing but lengths, identification and checksum, and perhaps addresses.
fn ip_is_like(version: Version, first: &[u8], other: &[u8]) -> bool {
    match version {
        // Version, header length, TOS; then DF, TTL.
        Version::V4 => first[..2] == other[..2] && first[6..9] == other[6..9],
        // Version, traffic class, flow label; then the hop limit.
        Version::V6 => first[..4] == other[..4] && first[7] == other[7],
    }
}
