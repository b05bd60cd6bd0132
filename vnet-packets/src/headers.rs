//! Where the parts of an inner packet lie: only as much of IP, TCP and UDP as cutting and merging need.

use crate::error::VnetError;

pub(crate) const IPV4_MIN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
pub(crate) const TCP_MIN: usize = 20;
pub(crate) const UDP_LEN: usize = 8;

/// TCP in the protocol field of IPv4 and the next header of IPv6.
pub const PROTO_TCP: u8 = 6;
/// UDP in these fields.
pub const PROTO_UDP: u8 = 17;

/// Offset of the checksum within the TCP and within the UDP header.
pub(crate) const TCP_CHECKSUM: usize = 16;
pub(crate) const UDP_CHECKSUM: usize = 6;

/// The routing header in the next header of IPv6.
const ROUTING: u8 = 43;

/// IPv6 extension headers that are walked over before a packet is taken for malformed: more than any real one has.
const EXTENSIONS_MAX: usize = 8;

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The parts of one unfragmented packet, all within its bytes: `transport <= header <= end <= packet.len()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Which IP.
    pub version: Version,
    /// What the transport header is: [`PROTO_TCP`] or [`PROTO_UDP`].
    pub protocol: u8,
    /// Offset of the TCP or UDP header.
    pub transport: usize,
    /// Offset of the payload.
    pub header: usize,
    /// The packet's length by its IP header.
    pub end: usize,
}

impl Parts {
    /// Finds the parts of a TCP or UDP packet.
    ///
    /// # Errors
    /// [`VnetError`] says what is malformed, or that it is a fragment or another protocol. A routing header of IPv6
    /// with segments left is [`VnetError::IpHeader`]: the checksum is over a destination that is not in the IPv6
    /// header.
    pub fn of(packet: &[u8]) -> Result<Self, VnetError> {
        Self::parse::<false>(packet)
    }

    /// The same for a packet that may be routed.
    pub(crate) fn of_any(packet: &[u8]) -> Result<Self, VnetError> {
        Self::parse::<true>(packet)
    }

    fn parse<const MAY_BE_ROUTED: bool>(packet: &[u8]) -> Result<Self, VnetError> {
        let (version, protocol, transport, end) = match packet.first().map(|b| b >> 4) {
            Some(4) => ipv4(packet)?,
            Some(6) => ipv6::<MAY_BE_ROUTED>(packet)?,
            _ => return Err(VnetError::NotIp),
        };
        let segment = &packet[transport..end];
        let header_len = match protocol {
            PROTO_TCP => tcp_header_len(segment)?,
            PROTO_UDP if segment.len() >= UDP_LEN => UDP_LEN,
            PROTO_UDP => return Err(VnetError::Transport),
            _ => return Err(VnetError::GsoProtocol),
        };
        Ok(Self { version, protocol, transport, header: transport + header_len, end })
    }

    /// Whether a routing header of IPv6 has segments left (RFC 8200 section 4.4).
    pub(crate) fn is_routed(&self, packet: &[u8]) -> bool {
        self.version == Version::V6 && is_routed(&packet[..self.transport])
    }

    /// Offset and end of the addresses, which the pseudo-header covers.
    #[must_use]
    pub fn addresses(&self) -> std::ops::Range<usize> {
        addresses(self.version)
    }

    /// Offset of the transport's checksum field.
    #[must_use]
    pub fn checksum(&self) -> usize {
        self.transport + if self.protocol == PROTO_TCP { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }
}

/// Offset and end of the addresses in the header of that version.
#[must_use]
pub fn addresses(version: Version) -> std::ops::Range<usize> {
    match version {
        Version::V4 => 12..20,
        Version::V6 => 8..40,
    }
}

fn ipv4(packet: &[u8]) -> Result<(Version, u8, usize, usize), VnetError> {
    if packet.len() < IPV4_MIN {
        return Err(VnetError::Truncated);
    }
    let header = usize::from(packet[0] & 15) * 4;
    let end = usize::from(be16(packet, 2));
    if end > packet.len() {
        return Err(VnetError::Truncated);
    }
    if header < IPV4_MIN || header > end {
        return Err(VnetError::IpHeader);
    }
    // More fragments to come, or an offset.
    if be16(packet, 6) & 0x3fff != 0 {
        return Err(VnetError::Fragment);
    }
    Ok((Version::V4, packet[9], header, end))
}

fn ipv6<const MAY_BE_ROUTED: bool>(packet: &[u8]) -> Result<(Version, u8, usize, usize), VnetError> {
    if packet.len() < IPV6_LEN {
        return Err(VnetError::Truncated);
    }
    let end = IPV6_LEN + usize::from(be16(packet, 4));
    if end > packet.len() {
        return Err(VnetError::Truncated);
    }
    let mut next = packet[6];
    let mut at = IPV6_LEN;
    for _ in 0..EXTENSIONS_MAX {
        match next {
            // Hop-by-hop options, routing, destination options (RFC 8200 section 4).
            0 | ROUTING | 60 => {
                let [following, len, _, left] = *packet[at..end].first_chunk().ok_or(VnetError::IpHeader)?;
                if !MAY_BE_ROUTED && next == ROUTING && left != 0 {
                    return Err(VnetError::IpHeader);
                }
                next = following;
                at += (usize::from(len) + 1) * 8;
                if at > end {
                    return Err(VnetError::IpHeader);
                }
            }
            44 => return Err(VnetError::Fragment),
            _ => return Ok((Version::V6, next, at, end)),
        }
    }
    Err(VnetError::IpHeader)
}

/// See [`Parts::is_routed`]. The IPv6 header and those behind it, up to the transport header.
pub(crate) fn is_routed(headers: &[u8]) -> bool {
    let (mut next, mut at) = (headers[6], IPV6_LEN);
    while let Some(&[following, len, _, left]) = headers.get(at..).and_then(<[u8]>::first_chunk) {
        if next == ROUTING && left != 0 {
            return true;
        }
        (next, at) = (following, at + (usize::from(len) + 1) * 8);
    }
    false
}

fn tcp_header_len(segment: &[u8]) -> Result<usize, VnetError> {
    if segment.len() < TCP_MIN {
        return Err(VnetError::Transport);
    }
    let len = usize::from(segment[12] >> 4) * 4;
    if len < TCP_MIN || len > segment.len() { Err(VnetError::TcpDataOffset) } else { Ok(len) }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
