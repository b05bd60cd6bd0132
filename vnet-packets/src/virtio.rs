//! `struct virtio_net_hdr_v1_hash_tunnel` (`include/uapi/linux/virtio_net.h`; virtio 1.4 section 5.1.6), as TUN puts it
//! before each packet.
//!
//! `TUNSETVNETHDRSZ` makes room for all of it. A kernel that knows nothing of tunnels (before 6.17) uses the first 10
//! bytes, and leaves the others as they are. All fields are little-endian, since the device was told so
//! (`TUNSETVNETLE`).

use std::fmt;

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::error::VnetError;
use crate::headers::{PROTO_TCP, PROTO_UDP, Parts, TCP_CHECKSUM, UDP_CHECKSUM, Version, be16};
use crate::tunnel::{OuterOffset, Tunnel};

/// Bytes before each packet in either direction.
pub const VNET_HDR_LEN: usize = 24;

const F_NEEDS_CSUM: u8 = 1;
/// The outer UDP header has a checksum.
const F_UDP_TUNNEL_CSUM: u8 = 8;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// A flag beside the type: the TCP segments carry CWR, which only the first one keeps.
const GSO_ECN: u8 = 0x80;
/// Flags beside the type: a UDP tunnel over that version of IP is around the flow.
const GSO_UDP_TUNNEL_IPV4: u8 = 0x20;
const GSO_UDP_TUNNEL_IPV6: u8 = 0x40;
const GSO_UDP_TUNNEL: u8 = GSO_UDP_TUNNEL_IPV4 | GSO_UDP_TUNNEL_IPV6;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct VirtioNetHdr {
    flags: u8,
    gso_type: u8,
    /// Bytes of all headers. From the kernel this is a hint, which may cover payload as well.
    hdr_len: U16,
    /// Payload bytes of each segment but the last.
    gso_size: U16,
    /// Where the transport header begins.
    csum_start: U16,
    /// Where, from there, the checksum goes.
    csum_offset: U16,
    /// Merged buffers, and the hash of the flow: TUN knows neither.
    unused: [u8; 10],
    /// Where the outer UDP header of a tunnel begins. Not read: the packet itself says so.
    outer_th_offset: U16,
    /// Where the inner IP header begins.
    inner_nh_offset: U16,
}

const _: () = assert!(size_of::<VirtioNetHdr>() == VNET_HDR_LEN, "the uapi structure");

/// What a read from the TUN holds behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// One packet. Its checksum must be [completed](PartialChecksum::complete) before it leaves.
    Packet(Option<PartialChecksum>),
    /// A super-packet that must be cut into segments.
    Super(Super),
}

/// A checksum that the kernel left to us: the field holds the sum of the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    start: u16,
    offset: u16,
}

/// The protocols of a super-packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperKind {
    /// TCP in IPv4.
    Tcp4,
    /// TCP in IPv6.
    Tcp6,
    /// UDP in IPv4.
    Udp4,
    /// UDP in IPv6.
    Udp6,
}

/// The geometry of a super-packet: many segments of a flow behind one set of headers.
///
/// One that came from [`parse`] lies within its packet: `transport < header <= end <= packet.len()`. Kind, transport
/// and payload are those of the flow, also where a tunnel is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Super {
    /// Which protocols.
    pub kind: SuperKind,
    /// Offset of the TCP or UDP header in bytes.
    pub transport: u16,
    /// Offset of the payload: the length of all headers in bytes.
    pub header: u16,
    /// Payload bytes of each segment but the last, never 0.
    pub segment: u16,
    /// Length of the packet in bytes by its IP header; up to 65,535 with the IPv4 header, 65,575 with the IPv6 one.
    pub end: u32,
    /// The UDP tunnel around the flow.
    pub tunnel: Option<Tunnel>,
}

impl SuperKind {
    pub(crate) fn of(version: Version, protocol: u8) -> Option<Self> {
        match (version, protocol) {
            (Version::V4, PROTO_TCP) => Some(Self::Tcp4),
            (Version::V6, PROTO_TCP) => Some(Self::Tcp6),
            (Version::V4, PROTO_UDP) => Some(Self::Udp4),
            (Version::V6, PROTO_UDP) => Some(Self::Udp6),
            _ => None,
        }
    }

    /// Whether the transport is TCP.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp6)
    }

    /// Whether the network protocol is IPv4.
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Udp4)
    }

    fn gso_type(self) -> u8 {
        match self {
            Self::Tcp4 => GSO_TCPV4,
            Self::Tcp6 => GSO_TCPV6,
            Self::Udp4 | Self::Udp6 => GSO_UDP_L4,
        }
    }
}

impl Super {
    /// Payload bytes over all segments.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.end as usize - usize::from(self.header)
    }

    /// How many segments it is cut into, at least 1.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.payload_len().div_ceil(usize::from(self.segment)).max(1)
    }

    /// Offset of the IP header that the transport header belongs to.
    pub(crate) fn network(&self) -> usize {
        self.tunnel.map_or(0, |tunnel| usize::from(tunnel.inner))
    }

    /// Offset of the checksum, from the transport header.
    pub(crate) fn checksum_offset(&self) -> u16 {
        (if self.kind.is_tcp() { TCP_CHECKSUM } else { UDP_CHECKSUM }) as u16
    }
}

impl fmt::Display for SuperKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp4 => "TCP over IPv4",
            Self::Tcp6 => "TCP over IPv6",
            Self::Udp4 => "UDP over IPv4",
            Self::Udp6 => "UDP over IPv6",
        })
    }
}

/// Understands one read from the TUN: [`VNET_HDR_LEN`] bytes of header and a packet.
///
/// A lone packet is not looked into: whether it is IP at all is for the core to say.
///
/// # Errors
/// [`VnetError`], to be dropped and counted.
pub fn parse(read: &[u8]) -> Result<Received, VnetError> {
    let (header, packet) = VirtioNetHdr::ref_from_prefix(read).map_err(|_| VnetError::ShortRead)?;
    if usize::from(header.hdr_len) > packet.len() {
        return Err(VnetError::HeaderBeyondPacket);
    }
    let partial = header.partial_checksum(packet)?;
    if header.gso_type == GSO_NONE {
        return Ok(Received::Packet(partial));
    }
    header.super_packet(packet, partial).map(Received::Super)
}

/// Whether `packet`, which begins with its header, says that it is a super-packet.
#[must_use]
pub fn is_super(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|&gso_type| gso_type != GSO_NONE)
}

/// Whether `packet`, which begins with its header, says that it is a super-packet of a flow in a tunnel.
#[must_use]
pub fn is_tunnel(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|&gso_type| gso_type & GSO_UDP_TUNNEL != 0)
}

impl VirtioNetHdr {
    fn partial_checksum(&self, packet: &[u8]) -> Result<Option<PartialChecksum>, VnetError> {
        if self.flags & F_NEEDS_CSUM == 0 {
            return Ok(None);
        }
        let partial = PartialChecksum { start: self.csum_start.get(), offset: self.csum_offset.get() };
        // Two 16-bit numbers cannot wrap a usize.
        if partial.field().end > packet.len() {
            return Err(VnetError::ChecksumBeyondPacket);
        }
        Ok(Some(partial))
    }

    fn super_packet(&self, packet: &[u8], partial: Option<PartialChecksum>) -> Result<Super, VnetError> {
        let segment = self.gso_size.get();
        if segment == 0 {
            return Err(VnetError::ZeroSegment);
        }
        let (version, protocol) = match self.gso_type & !GSO_ECN & !GSO_UDP_TUNNEL {
            GSO_TCPV4 => (Some(Version::V4), PROTO_TCP),
            GSO_TCPV6 => (Some(Version::V6), PROTO_TCP),
            GSO_UDP_L4 if self.gso_type & GSO_ECN == 0 => (None, PROTO_UDP),
            _ => return Err(VnetError::GsoType(self.gso_type)),
        };
        let tunnel = self.tunnel(packet)?;
        let network = tunnel.map_or(0, |tunnel| usize::from(tunnel.inner));
        // The kernel's hdr_len may cover payload (a forwarded packet); only the packet itself says where that begins.
        let parts = Parts::of_any(&packet[network..])?;
        // The sum of the pseudo-header is in the checksum field alone then.
        if parts.is_routed(&packet[network..]) && (partial.is_none() || tunnel.is_some()) {
            return Err(VnetError::IpHeader);
        }
        if version.is_some_and(|v| v != parts.version) {
            return Err(VnetError::GsoVersion);
        }
        if parts.protocol != protocol {
            return Err(VnetError::GsoProtocol);
        }
        let is_elsewhere = |p: PartialChecksum| {
            usize::from(p.start) != network + parts.transport || p.field().start != network + parts.checksum()
        };
        if partial.map_or(tunnel.is_some(), is_elsewhere) {
            return Err(VnetError::ChecksumElsewhere);
        }
        let end = network + parts.end;
        if tunnel.is_some() && Parts::of(packet)?.end != end {
            return Err(VnetError::TunnelLength);
        }
        Ok(Super {
            kind: SuperKind::of(parts.version, parts.protocol).ok_or(VnetError::GsoProtocol)?,
            // IPv4 headers have up to 60 bytes; with IPv6 extensions the sum may leave 16 bits only if it is hostile.
            transport: u16::try_from(network + parts.transport).map_err(|_| VnetError::IpHeader)?,
            header: u16::try_from(network + parts.header).map_err(|_| VnetError::IpHeader)?,
            segment,
            end: end as u32,
            tunnel,
        })
    }

    /// The tunnel around the flow of a super-packet. Where the inner packet begins is all that the header is asked.
    fn tunnel(&self, packet: &[u8]) -> Result<Option<Tunnel>, VnetError> {
        let version = match self.gso_type & GSO_UDP_TUNNEL {
            0 => return Ok(None),
            GSO_UDP_TUNNEL_IPV4 => Version::V4,
            GSO_UDP_TUNNEL_IPV6 => Version::V6,
            _ => return Err(VnetError::GsoType(self.gso_type)),
        };
        let outer = Parts::of(packet)?;
        if outer.version != version {
            return Err(VnetError::GsoVersion);
        }
        if outer.protocol != PROTO_UDP {
            return Err(VnetError::GsoProtocol);
        }
        let checksum = self.flags & F_UDP_TUNNEL_CSUM != 0;
        let udp = u16::try_from(outer.transport).map_err(|_| VnetError::IpHeader)?;
        let tunnel = Tunnel { version, udp, inner: self.inner_nh_offset.get(), checksum };
        // A checksum that is not told apart from none would be wrong on every segment.
        let has_checksum = be16(packet, outer.checksum()) != 0;
        if !tunnel.is_possible() || usize::from(tunnel.inner) > outer.end || has_checksum && !checksum {
            return Err(VnetError::TunnelHeader);
        }
        Ok(Some(tunnel))
    }
}

impl PartialChecksum {
    fn field(self) -> std::ops::Range<usize> {
        let at = usize::from(self.start) + usize::from(self.offset);
        at..at + 2
    }

    /// Finishes the checksum in place. `packet` is the one that [`parse`] was given, without its header.
    ///
    /// # Errors
    /// [`VnetError::ChecksumBeyondPacket`] if it was shortened since then; it is unchanged.
    pub fn complete(self, packet: &mut [u8]) -> Result<(), VnetError> {
        if self.field().end > packet.len() {
            return Err(VnetError::ChecksumBeyondPacket);
        }
        let checksum = Sum::of(&packet[usize::from(self.start)..]).transport_checksum();
        packet[self.field()].copy_from_slice(&checksum);
        Ok(())
    }
}

/// What a packet that is written to the TUN says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteHeader {
    /// One packet; the kernel checks its checksums. (TUN does not listen to `VIRTIO_NET_HDR_F_DATA_VALID`, which would
    /// spare it that.)
    Packet,
    /// A super-packet. Its checksum field holds the sum of the pseudo-header.
    Super(Super),
    /// A super-packet of a flow in a tunnel, for a kernel that counts offsets in this way.
    Tunnel(Super, OuterOffset),
}

impl WriteHeader {
    /// Writes the header.
    pub fn write(self, to: &mut [u8; VNET_HDR_LEN]) {
        let header = match self {
            Self::Packet => VirtioNetHdr::default(),
            Self::Super(s) => VirtioNetHdr::of(&s, OuterOffset::Exact),
            Self::Tunnel(s, offset) => VirtioNetHdr::of(&s, offset),
        };
        to.copy_from_slice(header.as_bytes());
    }
}

impl VirtioNetHdr {
    fn of(s: &Super, offset: OuterOffset) -> Self {
        let header = Self {
            flags: F_NEEDS_CSUM,
            gso_type: s.kind.gso_type(),
            hdr_len: s.header.into(),
            gso_size: s.segment.into(),
            csum_start: s.transport.into(),
            csum_offset: s.checksum_offset().into(),
            ..Self::default()
        };
        let Some(tunnel) = s.tunnel else { return header };
        Self {
            flags: header.flags | if tunnel.checksum { F_UDP_TUNNEL_CSUM } else { 0 },
            gso_type: header.gso_type
                | match tunnel.version {
                    Version::V4 => GSO_UDP_TUNNEL_IPV4,
                    Version::V6 => GSO_UDP_TUNNEL_IPV6,
                },
            outer_th_offset: (tunnel.udp + offset.added()).into(),
            inner_nh_offset: tunnel.inner.into(),
            ..header
        }
    }
}

/// Writes the header of a packet whose transport checksum is left to the kernel: the field holds the sum of the
/// pseudo-header. The data path has no such packets; the self-test has.
pub fn write_partial(to: &mut [u8; VNET_HDR_LEN], parts: &Parts) {
    let header = VirtioNetHdr {
        flags: F_NEEDS_CSUM,
        csum_start: (parts.transport as u16).into(),
        csum_offset: ((parts.checksum() - parts.transport) as u16).into(),
        ..VirtioNetHdr::default()
    };
    to.copy_from_slice(header.as_bytes());
}

#[cfg(test)]
#[path = "virtio_tests.rs"]
mod tests;
