//! Cutting a super-packet into the packets that go out (what the kernel's `tcp_gso_segment` and `__udp_gso_segment`
//! do).
//!
//! Nothing is copied here: each [`Segment`] says where its payload lies in the super-packet and writes its headers to
//! wherever they are needed, so one pass over the payload (sealing it) moves it to its place.

use crate::checksum::Sum;
use crate::error::VnetError;
use crate::headers::{self, IPV6_LEN, PROTO_TCP, PROTO_UDP, TCP_MIN, UDP_LEN, Version, be16, be32};
use crate::virtio::Super;

const FIN: u16 = 0x01;
const PSH: u16 = 0x08;
const CWR: u16 = 0x80;

/// Where the varying fields are, from the IPv4 and from the transport header.
mod at {
    pub(super) const IPV4_LEN: usize = 2;
    pub(super) const IPV4_ID: usize = 4;
    pub(super) const IPV4_CHECKSUM: usize = 10;
    pub(super) const IPV6_PAYLOAD_LEN: usize = 4;
    pub(super) const TCP_SEQUENCE: usize = 4;
    /// Data offset, reserved bits and flags: one word for the checksum.
    pub(super) const TCP_FLAGS: usize = 12;
    pub(super) const TCP_CHECKSUM: usize = 16;
    pub(super) const UDP_LEN: usize = 4;
    pub(super) const UDP_CHECKSUM: usize = 6;
}

/// What all segments of a super-packet share: its headers, and the sums of what does not vary in them.
#[derive(Clone, Copy, Debug)]
struct Template<'a> {
    headers: &'a [u8],
    geometry: Super,
    /// IPv4 header without length, identification and checksum; the inner one of a tunnel.
    ip: Sum,
    /// Pseudo-header without length; transport header without what varies and without its checksum.
    transport: Sum,
}

/// The segments of a super-packet, in order.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    template: Template<'a>,
    payload: &'a [u8],
    index: usize,
    count: usize,
}

/// One packet of a super-packet.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    template: Template<'a>,
    payload: &'a [u8],
    index: usize,
    last: bool,
}

impl<'a> Segments<'a> {
    /// Cuts `packet`, which begins with its IP header, into the segments that `geometry` describes.
    ///
    /// # Errors
    /// [`VnetError::HeaderBeyondPacket`] if `geometry` is not that of `packet` ([`crate::virtio::parse`] gave it for
    /// other bytes).
    pub fn new(packet: &'a [u8], geometry: Super) -> Result<Self, VnetError> {
        let (transport, header, end) =
            (usize::from(geometry.transport), usize::from(geometry.header), geometry.end as usize);
        let transport_min = if geometry.kind.is_tcp() { TCP_MIN } else { UDP_LEN };
        let ip_min = if geometry.kind.is_ipv4() { headers::IPV4_MIN } else { IPV6_LEN };
        let network = geometry.network();
        let fits = network + ip_min <= transport
            && transport + transport_min <= header
            && header <= end
            && end <= packet.len();
        if !fits || geometry.segment == 0 || geometry.tunnel.is_some_and(|tunnel| !tunnel.is_possible()) {
            return Err(VnetError::HeaderBeyondPacket);
        }
        let (headers, payload) = packet[..end].split_at(header);
        let template = Template::new(headers, geometry);
        Ok(Self { template, payload, index: 0, count: geometry.segments() })
    }

    /// Length in bytes of the last segment. The others are as long as the headers and a whole share of the payload.
    #[must_use]
    pub fn last_len(&self) -> usize {
        let before = self.len().saturating_sub(1) * usize::from(self.template.geometry.segment);
        self.template.headers.len() + self.payload.len().saturating_sub(before)
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        if self.index == self.count {
            return None;
        }
        let size = usize::from(self.template.geometry.segment).min(self.payload.len());
        let (payload, rest) = self.payload.split_at(size);
        self.payload = rest;
        let index = self.index;
        self.index += 1;
        Some(Segment { template: self.template, payload, index, last: self.index == self.count })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.index;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Segments<'_> {}

impl<'a> Template<'a> {
    fn new(headers: &'a [u8], geometry: Super) -> Self {
        let (ip, l4) = headers.split_at(usize::from(geometry.transport));
        let ip = &ip[geometry.network()..];
        let (version, ip_sum) = if geometry.kind.is_ipv4() {
            let without = [&ip[..at::IPV4_LEN], &ip[at::IPV4_ID + 2..at::IPV4_CHECKSUM], &ip[at::IPV4_CHECKSUM + 2..]];
            (Version::V4, sum_of(without))
        } else {
            (Version::V6, Sum::ZERO)
        };
        let (protocol, l4_sum) = if geometry.kind.is_tcp() {
            let without = [
                &l4[..at::TCP_SEQUENCE],
                &l4[at::TCP_SEQUENCE + 4..at::TCP_FLAGS],
                &l4[at::TCP_FLAGS + 2..at::TCP_CHECKSUM],
                &l4[at::TCP_CHECKSUM + 2..],
            ];
            (PROTO_TCP, sum_of(without))
        } else {
            (PROTO_UDP, Sum::of(&l4[..at::UDP_LEN]))
        };
        let pseudo = if version == Version::V6 && headers::is_routed(ip) {
            // The kernel has summed the last destination, and the length of the whole.
            let at = usize::from(geometry.checksum_offset());
            let len = geometry.end - u32::from(geometry.transport);
            Sum::of(&l4[at..at + 2]).plus(Sum::of_u32(!len))
        } else {
            Sum::pseudo_header(&ip[headers::addresses(version)], protocol, 0)
        };
        Self { headers, geometry, ip: ip_sum, transport: pseudo.plus(l4_sum) }
    }
}

/// Pieces of even length.
fn sum_of<const N: usize>(pieces: [&[u8]; N]) -> Sum {
    pieces.iter().fold(Sum::ZERO, |sum, piece| sum.plus(Sum::of(piece)))
}

impl<'a> Segment<'a> {
    /// Length of the packet in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a packet has headers and is never empty")]
    pub fn len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    /// Length of all its headers in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.template.headers.len()
    }

    /// Its payload, in the super-packet.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Writes its headers, checksums included, to the [`Segment::header_len`] bytes of `to`.
    ///
    /// # Panics
    /// If `to` has another length.
    pub fn write_headers(&self, to: &mut [u8]) {
        self.write_headers_with(to, Sum::of(self.payload));
    }

    /// Writes the whole packet to the [`Segment::len`] bytes of `to`; the payload is summed while it is copied.
    ///
    /// # Panics
    /// If `to` has another length.
    pub fn write(&self, to: &mut [u8]) {
        let (headers, body) = to.split_at_mut(self.header_len());
        self.write_headers_with(headers, Sum::of_copy(self.payload, body));
    }

    fn write_headers_with(&self, to: &mut [u8], payload: Sum) {
        to.copy_from_slice(self.template.headers);
        let geometry = &self.template.geometry;
        let (ip, l4) = to.split_at_mut(usize::from(geometry.transport));
        self.patch_ip(&mut ip[geometry.network()..]);
        if geometry.kind.is_tcp() {
            self.patch_tcp(l4, payload)
        } else {
            self.patch_udp(l4, payload)
        }
        if let Some(tunnel) = geometry.tunnel {
            tunnel.wrap(to, self.index as u16, self.payload.len(), payload);
        }
    }

    fn patch_ip(&self, ip: &mut [u8]) {
        if self.template.geometry.kind.is_ipv4() {
            let len = (self.len() - self.template.geometry.network()) as u16;
            let id = be16(ip, at::IPV4_ID).wrapping_add(self.index as u16);
            put(ip, at::IPV4_LEN, len.to_be_bytes());
            put(ip, at::IPV4_ID, id.to_be_bytes());
            let sum = self.template.ip.plus(Sum::of_u16(len)).plus(Sum::of_u16(id));
            put(ip, at::IPV4_CHECKSUM, sum.checksum());
        } else {
            let len = (self.len() - self.template.geometry.network() - IPV6_LEN) as u16;
            put(ip, at::IPV6_PAYLOAD_LEN, len.to_be_bytes());
        }
    }

    fn patch_tcp(&self, tcp: &mut [u8], payload: Sum) {
        let offset = self.index as u32 * u32::from(self.template.geometry.segment);
        let sequence = be32(tcp, at::TCP_SEQUENCE).wrapping_add(offset);
        let mut flags = be16(tcp, at::TCP_FLAGS);
        if !self.last {
            flags &= !(FIN | PSH);
        }
        if self.index > 0 {
            flags &= !CWR;
        }
        put(tcp, at::TCP_SEQUENCE, sequence.to_be_bytes());
        put(tcp, at::TCP_FLAGS, flags.to_be_bytes());
        let len = (tcp.len() + self.payload.len()) as u32;
        let varying = Sum::of_u32(sequence).plus(Sum::of_u16(flags)).plus(Sum::of_u32(len));
        put(tcp, at::TCP_CHECKSUM, self.checksum_with(varying, payload));
    }

    fn patch_udp(&self, udp: &mut [u8], payload: Sum) {
        let len = (UDP_LEN + self.payload.len()) as u16;
        put(udp, at::UDP_LEN, len.to_be_bytes());
        // Once in the header and once in the pseudo-header.
        let varying = Sum::of_u16(len).plus(Sum::of_u16(len));
        put(udp, at::UDP_CHECKSUM, self.checksum_with(varying, payload));
    }

    fn checksum_with(&self, varying: Sum, payload: Sum) -> [u8; 2] {
        self.template.transport.plus(varying).plus(payload).transport_checksum()
    }
}

fn put<const N: usize>(to: &mut [u8], at: usize, bytes: [u8; N]) {
    to[at..at + N].copy_from_slice(&bytes);
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
