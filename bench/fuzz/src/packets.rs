//! TCP and UDP packets with right checksums, made field by field.

use crate::oracle::Located;

/// A packet to be made.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) is_ipv4: bool,
    pub(crate) is_tcp: bool,
    /// Last byte of the source address, and part of the source port.
    pub(crate) flow: u8,
    /// The traffic class.
    pub(crate) tos: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    pub(crate) identification: u16,
    /// Flags and fragment offset of IPv4.
    pub(crate) fragment: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) payload: &'a [u8],
}

pub(crate) const VXLAN_PORT: u16 = 4789;
const DONT_FRAGMENT: u16 = 0x4000;
const ACK: u8 = 0x10;

impl<'a> Packet<'a> {
    pub(crate) fn tcp(version: u8, payload: &'a [u8]) -> Self {
        Self {
            is_ipv4: version == 4,
            is_tcp: true,
            flow: 1,
            tos: 0,
            ttl: 64,
            identification: 0x1234,
            fragment: DONT_FRAGMENT,
            sequence: 0xffff_fc00,
            flags: ACK,
            window: 501,
            payload,
        }
    }

    pub(crate) fn udp(version: u8, payload: &'a [u8]) -> Self {
        Self { is_tcp: false, ..Self::tcp(version, payload) }
    }

    pub(crate) fn with_tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// The packet in VXLAN over IPv4 or IPv6, whose UDP has a checksum or none.
    pub(crate) fn in_vxlan(&self, version: u8, checksum: bool) -> Vec<u8> {
        let ethertype = if self.is_ipv4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let vxlan = [8, 0, 0, 0, 0, 0, 7, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let payload = [&vxlan[..], &ethertype, &self.bytes()].concat();
        let outer = Packet { flow: self.flow, identification: self.identification, ..Packet::udp(version, &payload) };
        let mut bytes = outer.bytes();
        let located = Located::of(&bytes).expect("a UDP packet");
        bytes[located.transport + 2..located.transport + 4].copy_from_slice(&VXLAN_PORT.to_be_bytes());
        if checksum {
            located.sign(&mut bytes);
        } else {
            bytes[located.checksum()..located.checksum() + 2].fill(0);
        }
        bytes
    }

    /// The packet from its IP header on, with right checksums. A fragment has none for its transport.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let protocol = if self.is_tcp { 6 } else { 17 };
        let mut packet = Vec::with_capacity(40 + transport.len());
        if self.is_ipv4 {
            packet.extend([0x45, self.tos]);
            packet.extend((20 + transport.len() as u16).to_be_bytes());
            packet.extend(self.identification.to_be_bytes());
            packet.extend(self.fragment.to_be_bytes());
            packet.extend([self.ttl, protocol, 0, 0, 10, 0, 0, self.flow, 10, 0, 1, 1]);
        } else {
            packet.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 7]);
            packet.extend((transport.len() as u16).to_be_bytes());
            packet.extend([protocol, self.ttl]);
            for last in [self.flow, 0xee] {
                packet.extend([0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, last]);
            }
        }
        packet.extend(transport);
        if let Some(located) = Located::of(&packet) {
            located.sign(&mut packet);
        }
        packet
    }

    fn transport(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(32 + self.payload.len());
        header.extend((40_000 + u16::from(self.flow)).to_be_bytes());
        header.extend(443_u16.to_be_bytes());
        if self.is_tcp {
            header.extend(self.sequence.to_be_bytes());
            header.extend(77_u32.to_be_bytes());
            // Eight words: a timestamp is among them.
            header.extend([0x80, self.flags]);
            header.extend(self.window.to_be_bytes());
            header.extend([0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        } else {
            header.extend((8 + self.payload.len() as u16).to_be_bytes());
            header.extend([0, 0]);
        }
        header.extend(self.payload);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_found_again() {
        for (version, header) in [(4, 20), (6, 40)] {
            for packet in [Packet::tcp(version, b"abc"), Packet::udp(version, b"abc")] {
                let bytes = packet.bytes();
                let located = Located::of(&bytes).expect("a whole packet");
                let transport = if packet.is_tcp { 32 } else { 8 };
                assert_eq!((located.transport, located.payload), (header, header + transport));
                assert_eq!(located.end, bytes.len());
                assert_eq!(&bytes[located.payload..], b"abc");
                assert!(located.header_is_intact(&bytes) && located.transport_is_intact(&bytes));
            }
        }
    }
}
