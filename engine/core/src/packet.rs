//! Inner packets: what a tunnel carries, as far as a gateway must understand it.
//!
//! Everything here is pure arithmetic over bytes that a peer or the TUN device gave us; nothing is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::constants::PADDING_MULTIPLE;
use crate::drops::DropReason;

/// Length of an IPv4 header without options in bytes (RFC 791).
pub const IPV4_HEADER_LEN: usize = 20;
/// Length of the fixed IPv6 header in bytes (RFC 8200).
pub const IPV6_HEADER_LEN: usize = 40;

/// IPv6 next header value of the hop-by-hop options, the only one under which a payload length of zero is not final.
const HOP_BY_HOP: u8 = 0;

/// The two ECN bits of a traffic class (RFC 3168, section 5).
pub const ECN_MASK: u8 = 0b11;
/// ECN: the transport does not take part.
pub const ECN_NOT_ECT: u8 = 0b00;
/// ECN: capable, codepoint 1.
pub const ECN_ECT_1: u8 = 0b01;
/// ECN: capable, codepoint 0.
pub const ECN_ECT_0: u8 = 0b10;
/// ECN: congestion experienced.
pub const ECN_CE: u8 = 0b11;

/// The IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// What routing, the source check and the padding need to know of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPacket {
    /// The IP version.
    pub version: IpVersion,
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The length in bytes that the header states, without the padding behind it. Never more than was given.
    pub len: usize,
    /// The two ECN bits.
    pub ecn: u8,
}

/// Reads the header of an inner packet, which may be followed by padding.
///
/// # Errors
/// [`DropReason::NotIp`] if the first nibble is neither 4 nor 6 (or there is none); [`DropReason::MalformedIp`] if the
/// header does not fit or contradicts itself or the bytes that are there.
pub fn parse(bytes: &[u8]) -> Result<InnerPacket, DropReason> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => parse_v4(bytes),
        Some(6) => parse_v6(bytes),
        _ => Err(DropReason::NotIp),
    }
}

fn parse_v4(bytes: &[u8]) -> Result<InnerPacket, DropReason> {
    let header: &[u8; IPV4_HEADER_LEN] = bytes.first_chunk().ok_or(DropReason::MalformedIp)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // A total length below the header's own also catches the values below 20.
    if header_len < IPV4_HEADER_LEN || len < header_len || len > bytes.len() {
        return Err(DropReason::MalformedIp);
    }
    Ok(InnerPacket {
        version: IpVersion::V4,
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        len,
        ecn: header[1] & ECN_MASK,
    })
}

fn parse_v6(bytes: &[u8]) -> Result<InnerPacket, DropReason> {
    let header: &[u8; IPV6_HEADER_LEN] = bytes.first_chunk().ok_or(DropReason::MalformedIp)?;
    let payload_len = u16::from_be_bytes([header[4], header[5]]);
    // In `usize` the sum cannot wrap, as it would in the 16 bits that the payload length has.
    let len = if payload_len == 0 && header[6] == HOP_BY_HOP {
        bytes.len() // perhaps a jumbogram (RFC 2675): bounded by what is there
    } else {
        usize::from(payload_len) + IPV6_HEADER_LEN
    };
    if len > bytes.len() {
        return Err(DropReason::MalformedIp);
    }
    Ok(InnerPacket {
        version: IpVersion::V6,
        source: v6_address(header, 8).into(),
        destination: v6_address(header, 24).into(),
        len,
        ecn: (header[1] >> 4) & ECN_MASK,
    })
}

fn v6_address(header: &[u8; IPV6_HEADER_LEN], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    octets.into()
}

/// The length to which a packet of `len` bytes is padded before it is sealed: a multiple of 16 (paper, section 5.4.6)
/// that does not exceed the interface's `mtu`. With an `mtu` of 0 nothing bounds it.
///
/// A packet that is longer than the MTU (the kernel may hand such packets over while the MTU changes) is padded as if
/// it were the remainder behind the last whole MTU, so the result is never below `len`.
#[inline]
pub const fn padded_len(len: usize, mtu: usize) -> usize {
    if mtu == 0 {
        return len.next_multiple_of(PADDING_MULTIPLE);
    }
    let last = if len > mtu { len % mtu } else { len };
    let padded = last.next_multiple_of(PADDING_MULTIPLE);
    len - last + if padded > mtu { mtu } else { padded }
}

/// The ECN bits of the outer header for an inner packet's: a copy (RFC 6040, section 4.1, normal mode).
///
/// The other six bits of the outer traffic class stay zero, so the inner DSCP is not leaked.
#[inline]
pub const fn outer_ecn(inner_ecn: u8) -> u8 {
    inner_ecn & ECN_MASK
}

/// Carries the outer header's ECN bits over to the inner packet (RFC 6040, section 4.2), with the IPv4 header checksum
/// kept right. `inner` must have passed [`parse`]; a packet that is too short for it is left alone.
///
/// # Errors
/// [`DropReason::CongestionNotCapable`] for Congestion Experienced over a packet whose transport cannot learn of it.
pub fn apply_outer_ecn(inner: &mut [u8], outer_ecn: u8) -> Result<(), DropReason> {
    let outer = outer_ecn & ECN_MASK;
    if outer == ECN_NOT_ECT || inner.len() < IPV4_HEADER_LEN {
        return Ok(());
    }
    let version = inner[0] >> 4;
    let ecn = if version == 4 { inner[1] } else { inner[1] >> 4 } & ECN_MASK;
    let merged = match (ecn, outer) {
        (ECN_NOT_ECT, ECN_CE) => return Err(DropReason::CongestionNotCapable),
        (ECN_NOT_ECT | ECN_CE, _) => ecn,
        (_, ECN_CE) => ECN_CE,
        (_, ECN_ECT_1) => ECN_ECT_1,
        _ => ecn,
    };
    if merged == ecn {
        return Ok(());
    }
    match version {
        4 => set_ecn_v4(inner, merged),
        6 => inner[1] = inner[1] & !(ECN_MASK << 4) | merged << 4,
        _ => {}
    }
    Ok(())
}

/// Replaces the ECN bits and updates the header checksum incrementally (RFC 1624, equation 3: HC' = ~(~HC + ~m + m')).
fn set_ecn_v4(inner: &mut [u8], ecn: u8) {
    let old = u16::from_be_bytes([inner[0], inner[1]]);
    inner[1] = inner[1] & !ECN_MASK | ecn;
    let new = u16::from_be_bytes([inner[0], inner[1]]);
    let checksum = u16::from_be_bytes([inner[10], inner[11]]);
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    inner[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(total_len: u16, ihl: u8, size: usize) -> Vec<u8> {
        let mut packet = vec![0; size];
        packet[0] = 0x40 | ihl;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet
    }

    fn v6(payload_len: u16, next_header: u8, size: usize) -> Vec<u8> {
        let mut packet = vec![0; size];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
        packet[6] = next_header;
        packet[23] = 1;
        packet[39] = 2;
        packet
    }

    /// The checksum of RFC 1071, the slow way: over the header with its checksum field, a right one gives zero.
    fn header_checksum(header: &[u8]) -> u16 {
        let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn good_packets_are_read_and_their_padding_is_left_out() {
        let packet = parse(&v4(28, 5, 32)).unwrap();
        assert_eq!((packet.version, packet.len), (IpVersion::V4, 28));
        assert_eq!(packet.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(packet.destination, IpAddr::from([10, 0, 0, 2]));

        let packet = parse(&v6(5, 17, 48)).unwrap();
        assert_eq!((packet.version, packet.len), (IpVersion::V6, 45));
        assert_eq!(packet.source, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(packet.destination, "::2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn other_versions_are_not_ip() {
        assert_eq!(parse(&[]), Err(DropReason::NotIp));
        for version in (0..16u8).filter(|v| ![4, 6].contains(v)) {
            assert_eq!(parse(&[version << 4; 64]), Err(DropReason::NotIp));
        }
    }

    #[test]
    fn malformed_v4_headers() {
        for (total_len, ihl, size) in [
            (0, 5, 20),      // below the header
            (19, 5, 20),     // below the header by one
            (21, 5, 20),     // beyond the payload
            (65535, 5, 100), // far beyond the payload
            (20, 4, 20),     // header length below 5 words
            (20, 0, 20),     // no header length
            (20, 6, 24),     // header beyond the packet, though within the payload
            (24, 15, 24),    // header beyond payload and packet
        ] {
            assert_eq!(parse(&v4(total_len, ihl, size)), Err(DropReason::MalformedIp), "{total_len} {ihl} {size}");
        }
        assert_eq!(parse(&[0x45; 19]), Err(DropReason::MalformedIp));
        assert_eq!(parse(&v4(24, 6, 24)).unwrap().len, 24);
    }

    #[test]
    fn malformed_v6_headers() {
        assert_eq!(parse(&[0x60; 39]), Err(DropReason::MalformedIp));
        assert_eq!(parse(&v6(1, 17, 40)), Err(DropReason::MalformedIp));
        for payload_len in 65_496..=65_535 {
            assert_eq!(parse(&v6(payload_len, 17, 1500)), Err(DropReason::MalformedIp), "{payload_len}");
        }
    }

    #[test]
    fn v6_payload_length_zero() {
        // A header alone (no next header, say) is 40 bytes long; what follows is padding.
        assert_eq!(parse(&v6(0, 59, 48)).unwrap().len, 40);
        // With hop-by-hop options there may be a jumbo payload option: the datagram bounds it.
        assert_eq!(parse(&v6(0, 0, 48)).unwrap().len, 48);
    }

    #[test]
    fn padding_is_to_sixteen_and_never_past_the_mtu() {
        for (len, mtu, padded) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (16, 1420, 16),
            (17, 1420, 32),
            (1408, 1420, 1408),
            (1409, 1420, 1420),
            (1420, 1420, 1420),
            (1421, 1420, 1436),
            (2839, 1420, 2840),
            (1421, 0, 1424),
            (5, 1, 5),
        ] {
            assert_eq!(padded_len(len, mtu), padded, "{len} of {mtu}");
        }
    }

    #[test]
    fn ecn_table_of_rfc_6040() {
        // Figure 4: rows are the inner field, columns the outer one.
        let table = [
            (ECN_NOT_ECT, [Ok(ECN_NOT_ECT), Ok(ECN_NOT_ECT), Ok(ECN_NOT_ECT), Err(DropReason::CongestionNotCapable)]),
            (ECN_ECT_0, [Ok(ECN_ECT_0), Ok(ECN_ECT_0), Ok(ECN_ECT_1), Ok(ECN_CE)]),
            (ECN_ECT_1, [Ok(ECN_ECT_1), Ok(ECN_ECT_1), Ok(ECN_ECT_1), Ok(ECN_CE)]),
            (ECN_CE, [Ok(ECN_CE), Ok(ECN_CE), Ok(ECN_CE), Ok(ECN_CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [ECN_NOT_ECT, ECN_ECT_0, ECN_ECT_1, ECN_CE].into_iter().zip(row) {
                for mut packet in [v4(20, 5, 20), v6(0, 59, 40)] {
                    let is_v4 = packet[0] >> 4 == 4;
                    packet[1] |= if is_v4 { 0b1010_1000 | inner } else { inner << 4 | 0x0f };
                    let result = apply_outer_ecn(&mut packet, outer).map(|()| parse(&packet).unwrap().ecn);
                    assert_eq!(result, expected, "inner {inner:02b} outer {outer:02b}");
                    // The DSCP and the flow label beside the two bits stay.
                    let beside = if is_v4 { packet[1] & !ECN_MASK } else { packet[1] & !(ECN_MASK << 4) };
                    assert_eq!(beside, if is_v4 { 0b1010_1000 } else { 0x0f });
                }
            }
        }
        for inner in 0..=255 {
            assert_eq!(outer_ecn(inner), inner & 3);
        }
    }

    proptest! {
        #[test]
        fn parse_never_lies_about_the_length(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..100), v6 in any::<bool>(),
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x40 | *first & 0x0f };
            }
            if let Ok(packet) = parse(&bytes) {
                prop_assert!(packet.len <= bytes.len());
                let header_len = if v6 { IPV6_HEADER_LEN } else { IPV4_HEADER_LEN };
                prop_assert!(packet.len >= header_len);
            }
        }

        #[test]
        fn the_checksum_survives_the_ecn_change(mut header in any::<[u8; 20]>(), outer in 0u8..4) {
            header[0] = 0x45;
            header[2..4].copy_from_slice(&20u16.to_be_bytes());
            header[10..12].fill(0);
            let checksum = header_checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            if apply_outer_ecn(&mut header, outer).is_ok() {
                prop_assert_eq!(header_checksum(&header), 0);
            }
        }

        #[test]
        fn padding_bounds(len in 0usize..70_000, mtu in 0usize..70_000) {
            let padded = padded_len(len, mtu);
            prop_assert!(padded >= len && padded < len + PADDING_MULTIPLE);
            prop_assert!(mtu == 0 || len > mtu || padded <= mtu);
        }

        #[test]
        fn ecn_on_anything_does_not_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..64), outer in any::<u8>(),
        ) {
            let _ = apply_outer_ecn(&mut bytes, outer);
        }
    }
}
