//! Packets as a TUN device hands them over.

use vnet_packets::VNET_HDR_LEN;

pub(crate) const SEGMENTS: usize = 44;
/// Bytes of a TCP segment's payload: with its headers a packet of 1,420 bytes.
const SEGMENT: usize = 1_380;

/// An IPv4 packet of `len` bytes, behind an empty virtio-net header. Its checksums are right: what is merged needs
/// that.
pub(crate) fn udp_packet(len: usize) -> Vec<u8> {
    let mut read = vec![0; VNET_HDR_LEN + len];
    let packet = &mut read[VNET_HDR_LEN..];
    ipv4(packet, 17);
    packet[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    packet[24..26].copy_from_slice(&u16::try_from(len - 20).expect("a packet").to_be_bytes());
    packet[28..].fill(0x5a);
    let sum = transport_sum(packet);
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    read
}

/// A TCP super-packet as the kernel hands it over: one header for all segments, the checksum that of the pseudo-header.
pub(crate) fn super_packet() -> Vec<u8> {
    let len = 40 + SEGMENTS * SEGMENT;
    let mut read = vec![0; VNET_HDR_LEN + len];
    // NEEDS_CSUM, GSO_TCPV4, 40 bytes of headers, segments, checksum at 20 + 16.
    let segment = u16::try_from(SEGMENT).expect("a segment").to_le_bytes();
    read[..10].copy_from_slice(&[1, 1, 40, 0, segment[0], segment[1], 20, 0, 16, 0]);
    let packet = &mut read[VNET_HDR_LEN..];
    ipv4(packet, 6);
    packet[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    // Data offset 5; ACK.
    packet[32..34].copy_from_slice(&[0x50, 0x10]);
    packet[34..36].copy_from_slice(&[0xff, 0xff]);
    packet[40..].fill(0x5a);
    read
}

fn ipv4(packet: &mut [u8], protocol: u8) {
    let len = u16::try_from(packet.len()).expect("a packet").to_be_bytes();
    packet[..4].copy_from_slice(&[0x45, 0, len[0], len[1]]);
    packet[6..10].copy_from_slice(&[0x40, 0, 64, protocol]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !fold(words(&packet[..20]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn transport_sum(packet: &[u8]) -> u16 {
    let len = u32::try_from(packet.len() - 20).expect("a packet");
    !fold(words(&packet[12..]) + u32::from(packet[9]) + len)
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}
