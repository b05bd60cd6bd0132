//! A UDP tunnel around a flow: VXLAN (RFC 7348) and Geneve (RFC 8926), as overlays of containers use them.
//!
//! ```text
//!   │ outer IP │ UDP │ tunnel header │ Ethernet │ inner IP │ TCP or UDP │ payload
//!              └ udp                            └ inner    └ transport  └ header
//! ```
//!
//! Cutting up takes the kernel's word for where the inner packet begins, so any tunnel will do. Merging has nobody to
//! ask. It knows the two tunnels by their ports, as the kernel's GRO does by the ports of its tunnel devices. Whoever
//! reads such a super-packet from a plain UDP socket gets it in one piece.

use crate::checksum::Sum;
use crate::headers::{IPV4_MIN, IPV6_LEN, PROTO_UDP, Parts, UDP_CHECKSUM, UDP_LEN, Version, addresses, be16};

/// Ports of VXLAN: IANA's, and the one that Linux had before there was one.
pub(crate) const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// Port of Geneve.
pub(crate) const GENEVE_PORT: u16 = 6081;

const VXLAN_LEN: usize = 8;
/// The VNI is valid, and (not set) an extension says what is inside.
const VXLAN_FLAGS: u8 = 0x0c;
const VXLAN_HAS_VNI: u8 = 0x08;

const GENEVE_LEN: usize = 8;
/// Geneve's version, all bits of which are 0.
const GENEVE_VERSION: u8 = 0xc0;
/// A message of the tunnel's own.
const GENEVE_CONTROL: u8 = 0x80;

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_TRANSPARENT_ETHERNET: u16 = 0x6558;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A UDP tunnel around a flow. Its headers are part of those of a super-packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The outer version of IP.
    pub version: Version,
    /// Offset of the outer UDP header in bytes.
    pub udp: u16,
    /// Offset of the inner IP header in bytes.
    pub inner: u16,
    /// Whether the outer UDP header has a checksum.
    pub checksum: bool,
}

/// Where the virtio-net header says that the outer UDP header of a super-packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterOffset {
    /// Where it does.
    Exact,
    /// 14 bytes further on. Linux 6.17 and some after it refuse an offset below that of an outer IP header behind an
    /// Ethernet header, though packets of TUN have none (`virtio_net_hdr_tnl_to_skb`). They find the UDP header anew
    /// when they look at the IP header.
    BehindEthernet,
}

impl OuterOffset {
    pub(crate) fn added(self) -> u16 {
        match self {
            Self::Exact => 0,
            Self::BehindEthernet => ETHERNET_LEN as u16,
        }
    }
}

impl Tunnel {
    /// Whether there is room for the outer headers. Between UDP and the inner packet there is an even number of bytes,
    /// as with every tunnel that the kernel has, so sums of both can be added.
    pub(crate) fn is_possible(self) -> bool {
        let ip_min = match self.version {
            Version::V4 => IPV4_MIN,
            Version::V6 => IPV6_LEN,
        };
        let (udp, inner) = (usize::from(self.udp), usize::from(self.inner));
        ip_min <= udp && udp + UDP_LEN <= inner && (inner - udp).is_multiple_of(2)
    }

    /// Makes the outer headers those of the packet with the number `index`, whose inner headers are finished.
    pub(crate) fn wrap(self, headers: &mut [u8], index: u16, payload_len: usize, payload: Sum) {
        let (len, udp) = (headers.len() + payload_len, usize::from(self.udp));
        if self.version == Version::V4 {
            let id = be16(headers, 4).wrapping_add(index);
            headers[4..6].copy_from_slice(&id.to_be_bytes());
        }
        self.set_lengths(headers, len);
        if self.checksum {
            let sum = self.pseudo_header(headers, len).plus(Sum::of(&headers[udp..])).plus(payload);
            headers[udp + UDP_CHECKSUM..][..2].copy_from_slice(&sum.transport_checksum());
        }
    }

    /// Makes the outer headers those of a super-packet of `len` bytes: the UDP checksum is left to the kernel.
    pub(crate) fn wrap_super(self, packet: &mut [u8], len: usize) {
        self.set_lengths(packet, len);
        if self.checksum {
            let sum = self.pseudo_header(packet, len);
            packet[usize::from(self.udp) + UDP_CHECKSUM..][..2].copy_from_slice(&sum.to_bytes());
        }
    }

    /// Whether the outer checksums are right. `packet` is one packet, `transport` the offset of the inner transport
    /// header, and `inner` the sum of everything from there on.
    pub(crate) fn is_intact(self, packet: &[u8], transport: usize, inner: Sum) -> bool {
        let udp = usize::from(self.udp);
        let header_is_intact = self.version == Version::V6 || Sum::of(&packet[..udp]).is_valid();
        let sum = || self.pseudo_header(packet, packet.len()).plus(Sum::of(&packet[udp..transport])).plus(inner);
        header_is_intact && (!self.checksum || sum().is_valid())
    }

    /// The outer IP header with its checksum, and the outer UDP header without.
    fn set_lengths(self, packet: &mut [u8], len: usize) {
        let udp = usize::from(self.udp);
        match self.version {
            Version::V4 => {
                packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                packet[10..12].fill(0);
                let checksum = Sum::of(&packet[..udp]).checksum();
                packet[10..12].copy_from_slice(&checksum);
            }
            Version::V6 => packet[4..6].copy_from_slice(&((len - IPV6_LEN) as u16).to_be_bytes()),
        }
        packet[udp + 4..udp + 6].copy_from_slice(&((len - udp) as u16).to_be_bytes());
        if self.checksum {
            packet[udp + UDP_CHECKSUM..][..2].fill(0);
        }
    }

    fn pseudo_header(self, packet: &[u8], len: usize) -> Sum {
        Sum::pseudo_header(&packet[addresses(self.version)], PROTO_UDP, (len - usize::from(self.udp)) as u32)
    }
}

/// The tunnel that a UDP packet is of, if it is one of those that are merged and has an IP packet inside.
pub(crate) fn around(packet: &[u8], outer: &Parts) -> Option<Tunnel> {
    let header = &packet[outer.header..outer.end];
    let port = be16(packet, outer.transport + 2);
    let len = if VXLAN_PORTS.contains(&port) {
        vxlan(header)?
    } else if port == GENEVE_PORT {
        geneve(header)?
    } else {
        return None;
    };
    let version = match be16(header.get(len..len + ETHERNET_LEN)?, ETHERNET_LEN - 2) {
        ETHERTYPE_IPV4 => 4,
        ETHERTYPE_IPV6 => 6,
        _ => return None,
    };
    let inner = len + ETHERNET_LEN;
    if header.get(inner)? >> 4 != version {
        return None;
    }
    let has_checksum = be16(packet, outer.checksum()) != 0;
    let (udp, inner) = (outer.transport as u16, (outer.header + inner) as u16);
    Some(Tunnel { version: outer.version, udp, inner, checksum: has_checksum })
}

/// The length of a VXLAN header.
fn vxlan(header: &[u8]) -> Option<usize> {
    (header.first()? & VXLAN_FLAGS == VXLAN_HAS_VNI).then_some(VXLAN_LEN)
}

/// The length of a Geneve header with its options.
fn geneve(header: &[u8]) -> Option<usize> {
    let [first, flags, high, low, ..] = *header.first_chunk::<GENEVE_LEN>()?;
    let carries = u16::from_be_bytes([high, low]);
    let is_data = first & GENEVE_VERSION == 0 && flags & GENEVE_CONTROL == 0;
    (is_data && carries == ETHERTYPE_TRANSPARENT_ETHERNET).then_some(GENEVE_LEN + usize::from(first) * 4)
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
