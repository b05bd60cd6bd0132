//! What the targets compare with: the plainest way to compute a checksum and to tell a flow, shared by several.

/// The one's-complement sum of RFC 1071 over big-endian words, an odd last byte padded, folded to 16 bits.
pub(crate) fn internet_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A TCP or UDP packet, found by the text of RFC 791, 8200, 9293 and 768. Only the plain cases: no fragments, no IPv6
/// extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) is_ipv4: bool,
    pub(crate) is_tcp: bool,
    /// Offset of the transport header.
    pub(crate) transport: usize,
    /// Offset of the payload.
    pub(crate) payload: usize,
    /// The packet's end by its IP header.
    pub(crate) end: usize,
}

/// What packets of one flow have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    is_tcp: bool,
    pub(crate) addresses: Vec<u8>,
    ports: [u8; 4],
}

impl Located {
    /// `None` if the packet is another one, or its lengths contradict each other.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (is_ipv4, protocol, transport, end) = match packet.first()? >> 4 {
            4 if packet.len() >= 20 => {
                let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff;
                let header = usize::from(packet[0] & 15) * 4;
                if fragment != 0 || header < 20 {
                    return None;
                }
                (true, packet[9], header, usize::from(u16::from_be_bytes([packet[2], packet[3]])))
            }
            6 if packet.len() >= 40 => {
                (false, packet[6], 40, 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])))
            }
            _ => return None,
        };
        let segment = packet.get(..end)?.get(transport..)?;
        let (is_tcp, header) = match protocol {
            6 if segment.len() >= 20 => (true, usize::from(segment[12] >> 4) * 4),
            17 if segment.len() >= 8 => (false, 8),
            _ => return None,
        };
        let sound = header <= segment.len() && (!is_tcp || header >= 20);
        sound.then_some(Self { is_ipv4, is_tcp, transport, payload: transport + header, end })
    }

    pub(crate) fn flow(&self, packet: &[u8]) -> Flow {
        let ports = [0, 1, 2, 3].map(|i| packet[self.transport + i]);
        Flow { is_tcp: self.is_tcp, addresses: self.addresses(packet).to_vec(), ports }
    }

    fn addresses<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        if self.is_ipv4 { &packet[12..20] } else { &packet[8..40] }
    }

    /// Offset of the checksum of the transport header.
    pub(crate) fn checksum(&self) -> usize {
        self.transport + if self.is_tcp { 16 } else { 6 }
    }

    /// Whether the IPv4 header's checksum is right; IPv6 has none.
    pub(crate) fn header_is_intact(&self, packet: &[u8]) -> bool {
        !self.is_ipv4 || internet_sum(&packet[..self.transport]) == 0xffff
    }

    /// Whether the transport's checksum is right. That of UDP may also be absent (zero), which is not called right
    /// here.
    pub(crate) fn transport_is_intact(&self, packet: &[u8]) -> bool {
        let absent = !self.is_tcp && packet[self.checksum()..self.checksum() + 2] == [0, 0];
        !absent && internet_sum(&self.with_pseudo_header(packet)) == 0xffff
    }

    /// Writes right checksums into a packet that was changed.
    pub(crate) fn sign(&self, packet: &mut [u8]) {
        if self.is_ipv4 {
            packet[10..12].fill(0);
            let sum = internet_sum(&packet[..self.transport]);
            packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
        }
        let at = self.checksum();
        packet[at..at + 2].fill(0);
        let checksum = match !internet_sum(&self.with_pseudo_header(packet)) {
            0 => 0xffff_u16,
            other => other,
        };
        packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    fn with_pseudo_header(&self, packet: &[u8]) -> Vec<u8> {
        let segment = &packet[self.transport..self.end];
        let mut covered = self.addresses(packet).to_vec();
        covered.extend((segment.len() as u32).to_be_bytes());
        covered.extend([0, 0, 0, if self.is_tcp { 6 } else { 17 }]);
        covered.extend(segment);
        covered
    }
}

/// A packet without what merging may change: the identification, which means nothing under DF, and the checksum over
/// it.
pub(crate) fn plain(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 20 && packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(internet_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(internet_sum(&[0xff; 70_001]), 0xff00, "an odd last byte is the high one");
    }

    #[test]
    fn a_signed_packet_is_intact_until_a_bit_flips() {
        let mut packet = vec![0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0, 53, 4, 0, 0, 11, 0, 0, b'a', b'b', b'c']);
        let located = Located::of(&packet).expect("a whole datagram");
        assert_eq!((located.transport, located.payload, located.end), (20, 28, 31));
        located.sign(&mut packet);
        assert!(located.header_is_intact(&packet) && located.transport_is_intact(&packet));
        for bit in 0..8 * packet.len() {
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(!located.header_is_intact(&packet) || !located.transport_is_intact(&packet), "bit {bit}");
            packet[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
