//! Reads from the TUN: a virtio-net header and a packet, neither of which need fit the other. A lone packet gets the
//! checksum that the kernel left out; a super-packet is cut into packets that are whole in themselves and add up to it.
//!
//! The input: one byte of options, the number of bytes to append to the packet (two bytes), then the read. Bit 0 of the
//! options writes the packet's true length into its IP header.

use ringfort_core::packet;
use vnet_packets::virtio::{Received, Super, VNET_HDR_LEN, WriteHeader, parse};
use vnet_packets::{PartialChecksum, Segments, SuperKind, Tunnel};

use crate::Seed;
use crate::input::Input;
use crate::oracle::{Located, internet_sum};
use crate::packets::Packet;

const FIX_LENGTHS: u8 = 1;
/// So that a segment size of one byte does not make an input slow.
const SEGMENTS_CHECKED_MAX: usize = 300;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (options, extra) = (input.byte(), usize::from(input.u16()));
    let mut read = input.rest().to_vec();
    if read.len() > VNET_HDR_LEN {
        read.extend((0..extra).map(|i| (i * 7) as u8));
        read.truncate(VNET_HDR_LEN + 65_575);
        if options & FIX_LENGTHS != 0 {
            fix_lengths(&mut read[VNET_HDR_LEN..]);
        }
    }
    let Ok(received) = parse(&read) else { return };
    let (header, packet) = read.split_at(VNET_HDR_LEN);
    assert_eq!(matches!(received, Received::Packet(_)), header[1] == 0, "the GSO type decides");
    match received {
        Received::Packet(None) => assert_eq!(header[0] & 1, 0, "a checksum was asked for"),
        Received::Packet(Some(partial)) => lone(header, packet, partial),
        Received::Super(geometry) => cut(header, packet, geometry),
    }
}

fn fix_lengths(packet: &mut [u8]) {
    let len = packet.len();
    match packet.first().map(|first| first >> 4) {
        Some(4) if len >= 20 => packet[2..4].copy_from_slice(&(len.min(65_535) as u16).to_be_bytes()),
        Some(6) if len >= 40 => packet[4..6].copy_from_slice(&((len - 40).min(65_535) as u16).to_be_bytes()),
        _ => {}
    }
}

fn le16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn lone(header: &[u8], packet: &[u8], partial: PartialChecksum) {
    let (start, offset) = (le16(header, 6), le16(header, 8));
    let field = start + offset..start + offset + 2;
    let mut completed = packet.to_vec();
    partial.complete(&mut completed).expect("the packet that it was parsed from");
    let expected = match !internet_sum(&packet[start..]) {
        0 => 0xffff,
        other => other,
    };
    assert_eq!(completed[field.clone()], expected.to_be_bytes());
    completed[field.clone()].copy_from_slice(&packet[field.clone()]);
    assert_eq!(completed, packet, "nothing but the field changes");
    // A packet that was cut short since then is refused, not written beyond.
    let mut short = packet[..field.end - 1].to_vec();
    assert!(partial.complete(&mut short).is_err() && short == packet[..field.end - 1]);
}

fn cut(header: &[u8], packet: &[u8], geometry: Super) {
    let (transport, headers, end) =
        (usize::from(geometry.transport), usize::from(geometry.header), geometry.end as usize);
    assert!(20 <= transport && transport < headers && headers <= end && end <= packet.len(), "{geometry:?}");
    assert!(geometry.segment > 0 && usize::from(geometry.segment) == le16(header, 4));
    let network = geometry.tunnel.map_or(0, |tunnel| usize::from(tunnel.inner));
    if let Some(located) = Located::of(&packet[network..]) {
        let located = [located.transport, located.payload, located.end].map(|at| network + at);
        assert_eq!([transport, headers, end], located);
    }
    let is_routed = is_routed(&packet[network..transport]);
    assert!(!is_routed || header[0] & 1 != 0 && network == 0, "nobody knows the last destination");
    let segments = Segments::new(packet, geometry).expect("the geometry that was parsed");
    let payload = &packet[headers..end];
    let count = payload.len().div_ceil(geometry.segment.into()).max(1);
    assert_eq!((segments.len(), geometry.segments(), geometry.payload_len()), (count, count, payload.len()));
    assert!(Segments::new(&packet[..end - 1], geometry).is_err(), "a shorter packet is refused");

    let mut rest = payload;
    for (index, segment) in segments.enumerate() {
        let (part, behind) = rest.split_at(rest.len().min(geometry.segment.into()));
        rest = behind;
        assert_eq!(segment.payload(), part);
        assert_eq!((segment.header_len(), segment.len()), (headers, headers + part.len()));
        if index < SEGMENTS_CHECKED_MAX || index + 1 == count {
            let mut bytes = vec![0xee; headers];
            segment.write_headers(&mut bytes);
            bytes.extend(part);
            one_of(packet, &geometry, &bytes, index, index + 1 == count);
        }
    }
    assert!(rest.is_empty(), "the payloads add up");
    writes_as_it_was_read(packet, geometry);
}

/// A segment is a packet in its own right, and differs from the super-packet only where it must: the packet around it
/// if it is in a tunnel, and the one inside.
fn one_of(whole: &[u8], geometry: &Super, segment: &[u8], index: usize, is_last: bool) {
    let Some(tunnel) = geometry.tunnel else { return one_of_flow(whole, geometry, segment, index, is_last) };
    one_around(whole, tunnel, segment, index);
    let (inner, at) = (tunnel.inner, usize::from(tunnel.inner));
    let geometry = Super {
        transport: geometry.transport - inner,
        header: geometry.header - inner,
        end: geometry.end - u32::from(inner),
        tunnel: None,
        ..*geometry
    };
    one_of_flow(&whole[at..], &geometry, &segment[at..], index, is_last);
}

fn one_around(whole: &[u8], tunnel: Tunnel, segment: &[u8], index: usize) {
    let (is_ipv4, udp) = (segment[0] >> 4 == 4, usize::from(tunnel.udp));
    assert_eq!(packet::parse(segment).expect("a segment is a packet").len, segment.len(), "its length is its own");
    let be16 = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let mut varying = vec![4, 5, udp + 4, udp + 5];
    if is_ipv4 {
        assert_eq!(internet_sum(&segment[..udp]), 0xffff, "outer IPv4 header checksum");
        assert_eq!(be16(segment, 4), be16(whole, 4).wrapping_add(index as u16), "outer identification");
        varying.extend([2, 3, 10, 11]);
    }
    assert_eq!(usize::from(be16(segment, udp + 4)), segment.len() - udp, "outer UDP length");
    if tunnel.checksum {
        assert!(is_sound(segment, udp, is_ipv4, false), "outer checksum of segment {index}");
        varying.extend([udp + 6, udp + 7]);
    } else {
        assert_eq!(be16(segment, udp + 6), 0, "no checksum is made up");
    }
    for at in (0..usize::from(tunnel.inner)).filter(|at| !varying.contains(at)) {
        assert_eq!(segment[at], whole[at], "byte {at} of the outer headers");
    }
}

fn one_of_flow(whole: &[u8], geometry: &Super, segment: &[u8], index: usize, is_last: bool) {
    let (is_ipv4, is_tcp) = (geometry.kind.is_ipv4(), geometry.kind.is_tcp());
    let transport = usize::from(geometry.transport);
    let inner = packet::parse(segment).expect("a segment is a packet");
    let of_whole = packet::parse(whole).expect("a super-packet is a packet");
    assert_eq!(inner.len, segment.len(), "its length is its own");
    assert_eq!((inner.source, inner.destination, inner.ecn), (of_whole.source, of_whole.destination, of_whole.ecn));
    let offset = index as u32 * u32::from(geometry.segment);
    let be16 = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let be32 = |bytes: &[u8], at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
    let mut varying: Vec<usize> = Vec::new();
    if is_ipv4 {
        assert_eq!(internet_sum(&segment[..transport]), 0xffff, "IPv4 header checksum");
        assert_eq!(be16(segment, 4), be16(whole, 4).wrapping_add(index as u16), "identification");
        varying.extend([2, 3, 4, 5, 10, 11]);
    } else {
        varying.extend([4, 5]);
    }
    let is_sound = if is_routed(&segment[..transport]) {
        is_summed_as(whole, geometry, segment)
    } else {
        is_sound(segment, transport, is_ipv4, is_tcp)
    };
    assert!(is_sound, "transport checksum of segment {index}");
    if is_tcp {
        let at = transport + 4;
        assert_eq!(be32(segment, at), be32(whole, at).wrapping_add(offset), "sequence");
        let (flags, of_whole) = (segment[transport + 13], whole[transport + 13]);
        let kept = if is_last { 0xff } else { !0x09 } & if index == 0 { 0xff } else { !0x80 };
        assert_eq!(flags, of_whole & kept, "FIN and PSH on the last, CWR on the first");
        varying.extend([4, 5, 6, 7, 13, 16, 17].map(|at| transport + at));
    } else {
        assert_eq!(usize::from(be16(segment, transport + 4)), segment.len() - transport, "UDP length");
        varying.extend([4, 5, 6, 7].map(|at| transport + at));
    }
    let constant = (0..geometry.header.into()).filter(|at| !varying.contains(at));
    for at in constant {
        assert_eq!(segment[at], whole[at], "byte {at} of the headers");
    }
}

/// As `Located::transport_is_intact`, but behind IPv6 extension headers as well.
fn is_sound(segment: &[u8], transport: usize, is_ipv4: bool, is_tcp: bool) -> bool {
    let checksum = transport + if is_tcp { 16 } else { 6 };
    let mut covered = if is_ipv4 { &segment[12..20] } else { &segment[8..40] }.to_vec();
    covered.extend(((segment.len() - transport) as u32).to_be_bytes());
    covered.extend([0, 0, 0, if is_tcp { 6 } else { 17 }]);
    covered.extend(&segment[transport..]);
    segment[checksum..checksum + 2] != [0, 0] && internet_sum(&covered) == 0xffff
}

/// Whether the headers of a packet, up to that of its transport, have a routing header of IPv6 with segments left.
fn is_routed(headers: &[u8]) -> bool {
    let (mut next, mut rest) = (headers[6], headers.get(40..).unwrap_or_default());
    while headers[0] >> 4 == 6 && rest.len() >= 8 {
        if next == 43 && rest[3] > 0 {
            return true;
        }
        next = rest[0];
        rest = rest.get(8 * (1 + usize::from(rest[1]))..).unwrap_or_default();
    }
    false
}

/// Whether the checksum is over the pseudo-header whose sum is in the field of the super-packet, apart from the length.
fn is_summed_as(whole: &[u8], geometry: &Super, segment: &[u8]) -> bool {
    let transport = usize::from(geometry.transport);
    let field = transport + if geometry.kind.is_tcp() { 16 } else { 6 };
    let len = (geometry.end as usize - transport) as u32;
    let mut covered = whole[field..field + 2].to_vec();
    covered.extend((!len).to_be_bytes());
    covered.extend(((segment.len() - transport) as u32).to_be_bytes());
    covered.extend(&segment[transport..]);
    segment[field..field + 2] != [0, 0] && internet_sum(&covered) == 0xffff
}

fn writes_as_it_was_read(packet: &[u8], geometry: Super) {
    let mut write = [&[0xee; VNET_HDR_LEN], packet].concat();
    let header = write.first_chunk_mut().expect("room was just made");
    WriteHeader::Super(geometry).write(header);
    assert_eq!(parse(&write), Ok(Received::Super(geometry)));
    let kind = match (geometry.kind.is_ipv4(), geometry.kind.is_tcp()) {
        (true, true) => SuperKind::Tcp4,
        (false, true) => SuperKind::Tcp6,
        (true, false) => SuperKind::Udp4,
        (false, false) => SuperKind::Udp6,
    };
    assert_eq!(geometry.kind, kind);
}

pub(super) fn seeds() -> Vec<Seed> {
    let read = |options: u8, extra: u16, gso: u8, segment: u16, packet: &Packet<'_>| {
        let bytes = packet.bytes();
        let start: u16 = if packet.is_ipv4 { 20 } else { 40 };
        let offset: u16 = if packet.is_tcp { 16 } else { 6 };
        let hdr_len = bytes.len() as u16 - packet.payload.len() as u16;
        let fields = [hdr_len, segment, start, offset].map(u16::to_le_bytes).concat();
        let [low, high] = extra.to_le_bytes();
        [&[options, low, high, 1, gso][..], &fields, &[0; VNET_HDR_LEN - 10], &bytes].concat()
    };
    let payload: Vec<u8> = (0..200).collect();
    let tcp4 = Packet { flags: 0x19, ..Packet::tcp(4, &payload) };
    let mut extension = read(0, 0, 4, 50, &Packet::tcp(6, &payload));
    // A destination options header of eight bytes between IPv6 and TCP.
    let at = 3 + VNET_HDR_LEN;
    extension.splice(at + 40..at + 40, [6, 0, 1, 4, 0, 0, 0, 0]);
    extension[at + 6] = 60;
    extension[at + 5] += 8;
    extension[3 + 6] += 8;
    // A routing header of 24 bytes with one segment left in its place.
    let mut routed = read(FIX_LENGTHS, 0, 4, 50, &Packet::tcp(6, &payload));
    routed.splice(at + 40..at + 40, [[6, 2, 4, 1, 0, 0, 0, 0], [0xfd; 8], [9; 8]].concat());
    routed[at + 6] = 43;
    routed[3 + 6] += 24;
    let unchecked = {
        let mut read = read(0, 0, 5, 64, &Packet::udp(4, &payload));
        read[3] = 0;
        read
    };
    // Behind outer IPv4 or IPv6, UDP, VXLAN and Ethernet.
    let tunnelled = |gso: u8, outer: u8, checksum: bool, inner: &Packet<'_>| {
        let (plain, outer) = (read(0, 0, gso, 60, inner), inner.in_vxlan(outer, checksum));
        let (udp, network) = if outer[0] >> 4 == 4 { (20, 50) } else { (40, 70) };
        let mut read = [&plain[..at], &outer].concat();
        read[3] |= if checksum { 8 } else { 0 };
        // hdr_len and csum_start, then both offsets of the tunnel.
        read[5] += network;
        read[9] += network;
        read[3 + 20] = udp;
        read[3 + 22] = network;
        read
    };
    vec![
        Seed::new("tcp4-in-vxlan4", tunnelled(0x21, 4, true, &tcp4)),
        Seed::new("tcp6-in-vxlan4-unchecked", tunnelled(0x24, 4, false, &Packet::tcp(6, &payload))),
        Seed::new("udp4-in-vxlan6", tunnelled(0x45, 6, true, &Packet::udp(4, &payload))),
        Seed::new("udp6-in-vxlan6-unchecked", tunnelled(0x45, 6, false, &Packet::udp(6, &payload))),
        Seed::new("tcp4", read(0, 0, 1, 60, &tcp4)),
        Seed::new("tcp6", read(0, 0, 4, 60, &Packet { flags: 0x90, ..Packet::tcp(6, &payload) })),
        Seed::new("tcp4-with-cwr", read(0, 0, 0x81, 60, &Packet { flags: 0xd9, ..Packet::tcp(4, &payload) })),
        Seed::new("udp4", read(0, 0, 5, 50, &Packet::udp(4, &payload))),
        Seed::new("udp6", read(0, 0, 5, 199, &Packet::udp(6, &payload))),
        Seed::new("udp-without-checksum-request", unchecked),
        Seed::new("tcp6-behind-an-extension", extension),
        Seed::new("tcp6-that-is-routed", routed),
        Seed::new("lone-tcp4", read(0, 0, 0, 0, &Packet::tcp(4, b"odd"))),
        Seed::new("lone-udp6", read(0, 0, 0, 0, &Packet::udp(6, b""))),
        Seed::new("longest-ipv4", read(FIX_LENGTHS, 65_535 - 252, 1, 1448, &tcp4)),
        Seed::new("longest-ipv6", read(FIX_LENGTHS, 65_535, 4, 1428, &Packet::tcp(6, &payload))),
        Seed::new("no-segment-size", read(0, 0, 1, 0, &tcp4)),
        Seed::new("wrong-version", read(0, 0, 4, 60, &tcp4)),
    ]
}
