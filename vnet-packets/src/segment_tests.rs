use proptest::prelude::*;

use super::*;
use crate::headers::Parts;
use crate::sample::{KINDS, Packet, payload};
use crate::virtio::{Received, SuperKind, VNET_HDR_LEN, WriteHeader, parse};

fn cut(packet: &[u8], geometry: Super) -> Vec<Vec<u8>> {
    let segments = Segments::new(packet, geometry).expect("the geometry is that of the packet");
    let (count, last_len) = (segments.len(), segments.last_len());
    let all: Vec<Vec<u8>> = segments
        .map(|segment| {
            let mut bytes = vec![0xee; segment.header_len()];
            segment.write_headers(&mut bytes);
            bytes.extend(segment.payload());
            let mut at_once = vec![0xee; segment.len()];
            segment.write(&mut at_once);
            assert_eq!(bytes, at_once, "in one pass or in two");
            bytes
        })
        .collect();
    assert_eq!((all.len(), count), (geometry.segments(), count));
    assert_eq!(all.last().map(Vec::len), Some(last_len));
    let mut part = Segments::new(packet, geometry).expect("as before");
    while part.next().is_some() && part.len() > 0 {
        assert_eq!(part.last_len(), last_len, "the last is the last, whatever was taken before");
    }
    all
}

/// The segments as the sender's own stack would have made them, one by one.
fn expected(whole: &Packet, segment: usize) -> Vec<Vec<u8>> {
    let count = whole.payload.len().div_ceil(segment).max(1);
    (0..count)
        .map(|i| {
            let mut one = whole.clone();
            let end = ((i + 1) * segment).min(whole.payload.len());
            one.payload = whole.payload[i * segment..end].to_vec();
            one.identification = whole.identification.wrapping_add(i as u16);
            one.sequence = whole.sequence.wrapping_add((i * segment) as u32);
            if i + 1 < count {
                one.flags &= !0x09;
            }
            if i > 0 {
                one.flags &= !0x80;
            }
            one.bytes()
        })
        .collect()
}

#[test]
fn each_kind_at_each_boundary() {
    for kind in KINDS {
        for len in [0, 1, 99, 100, 101, 199, 200, 201, 999, 1000, 1001] {
            let whole = Packet::new(kind).with(|p| p.payload = payload(len));
            assert_eq!(cut(&whole.bytes(), whole.geometry(100)), expected(&whole, 100), "{kind:?}, {len}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "65,000 segments take too long; the small ones are cut by the same code")]
fn the_largest_super_packet() {
    for kind in KINDS {
        let whole = Packet::new(kind).with(|p| p.payload = payload(65_000));
        let segments = cut(&whole.bytes(), whole.geometry(1368));
        assert_eq!(segments.len(), 48);
        assert_eq!(segments, expected(&whole, 1368));
        assert_eq!(cut(&whole.bytes(), whole.geometry(1)).len(), 65_000);
    }
}

#[test]
fn sequence_and_identification_wrap() {
    let whole = Packet::new(SuperKind::Tcp4).with(|p| {
        p.sequence = u32::MAX - 50;
        p.identification = u16::MAX;
    });
    assert_eq!(cut(&whole.bytes(), whole.geometry(100)), expected(&whole, 100));
}

#[test]
fn flags_that_only_one_segment_keeps() {
    let whole = Packet::new(SuperKind::Tcp6).with(|p| p.flags = 0xd9);
    let segments = cut(&whole.bytes(), whole.geometry(300));
    let flags: Vec<u8> = segments.iter().map(|s| s[40 + 13]).collect();
    assert_eq!(flags, [0xd0, 0x50, 0x50, 0x59]);
}

#[test]
fn the_checksum_field_of_the_super_packet_does_not_matter() {
    for kind in KINDS {
        let whole = Packet::new(kind);
        let mut bytes = whole.bytes();
        let at = usize::from(whole.geometry(100).transport) + if kind.is_tcp() { 16 } else { 6 };
        bytes[at] ^= 0x5a;
        assert_eq!(cut(&bytes, whole.geometry(100)), expected(&whole, 100));
    }
}

#[test]
fn ipv6_extensions_are_part_of_the_headers() {
    let whole = Packet::new(SuperKind::Udp6);
    let mut bytes = whole.bytes();
    bytes[6] = 60;
    let len = u16::from_be_bytes([bytes[4], bytes[5]]) + 8;
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes.splice(40..40, [PROTO_UDP, 0, 1, 4, 0, 0, 0, 0]);
    let old = whole.geometry(400);
    let geometry = Super { transport: old.transport + 8, header: old.header + 8, end: old.end + 8, ..old };
    for (segment, plain) in cut(&bytes, geometry).iter().zip(expected(&whole, 400)) {
        assert_eq!(segment[40..48], [PROTO_UDP, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(segment[48..], plain[40..]);
        assert_eq!(usize::from(be16(segment, 4)), segment.len() - 40);
    }
}

/// As Linux hands it over with a route that has `encap seg6 mode inline`: the IPv6 header has the first destination,
/// and the checksum is over the last one.
#[test]
fn a_packet_that_is_routed_has_the_sum_of_its_last_destination() {
    for kind in [SuperKind::Tcp6, SuperKind::Udp6] {
        let whole = Packet::new(kind);
        let mut bytes = whole.bytes();
        let transport_len = (bytes.len() - 40) as u32;
        let protocol = std::mem::replace(&mut bytes[6], 43);
        let field = 40 + if kind.is_tcp() { 16 } else { 6 };
        let sum = Sum::pseudo_header(&bytes[8..40], protocol, transport_len);
        bytes[field..field + 2].copy_from_slice(&sum.to_bytes());
        let destination: [u8; 16] = *bytes[24..].first_chunk().expect("an IPv6 header");
        bytes[39] ^= 0xff;
        let routing = [&[protocol, 2, 4, 1, 0, 0, 0, 0], &destination[..]].concat();
        bytes[4..6].copy_from_slice(&(transport_len as u16 + 24).to_be_bytes());
        bytes.splice(40..40, routing.iter().copied());

        let old = whole.geometry(300);
        let geometry = Super { transport: old.transport + 24, header: old.header + 24, end: old.end + 24, ..old };
        let mut header = [0; VNET_HDR_LEN];
        WriteHeader::Super(geometry).write(&mut header);
        assert_eq!(parse(&[&header[..], &bytes].concat()), Ok(Received::Super(geometry)));
        for (segment, plain) in cut(&bytes, geometry).iter().zip(expected(&whole, 300)) {
            assert_eq!(segment[40..64], routing);
            assert_eq!(segment[64..], plain[40..], "as if it had never been routed");
        }
        // Nobody has summed anything: there is no way to a checksum. Merging leaves it alone.
        header[0] = 0;
        assert_eq!(parse(&[&header[..], &bytes].concat()), Err(VnetError::IpHeader));
        assert_eq!(Parts::of(&bytes), Err(VnetError::IpHeader));
    }
}

#[test]
fn a_geometry_of_another_packet_is_refused() {
    let whole = Packet::new(SuperKind::Tcp4);
    let (bytes, right) = (whole.bytes(), whole.geometry(100));
    for wrong in [
        Super { segment: 0, ..right },
        Super { transport: 19, ..right },
        Super { header: right.transport + 19, ..right },
        Super { header: 2000, ..right },
        Super { end: right.end + 1, ..right },
        Super { end: 10, ..right },
        Super { kind: SuperKind::Tcp6, ..right },
    ] {
        assert!(matches!(Segments::new(&bytes, wrong), Err(VnetError::HeaderBeyondPacket)), "{wrong:?}");
    }
    assert!(Segments::new(&bytes[..bytes.len() - 1], right).is_err());
}

proptest! {
    #[test]
    fn any_super_packet(kind in 0..4usize, len in 0..5000usize, segment in 1..3000u16, flags: u8, words in 0..10usize) {
        let whole = Packet::new(KINDS[kind]).with(|p| {
            p.payload = payload(len);
            p.flags = flags;
            p.options = if p.kind.is_tcp() { payload(4 * words) } else { Vec::new() };
        });
        prop_assert_eq!(cut(&whole.bytes(), whole.geometry(segment)), expected(&whole, usize::from(segment)));
    }

    #[test]
    fn what_was_parsed_can_be_cut(
        kind in 0..4usize,
        len in 0..300usize,
        segment in 1..200u16,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let whole = Packet::new(KINDS[kind]).with(|p| p.payload = payload(len));
        let mut read = vec![0; VNET_HDR_LEN];
        let header = read.first_chunk_mut().expect("room for the header");
        WriteHeader::Super(whole.geometry(segment)).write(header);
        read.extend(whole.bytes());
        for (at, byte) in damage {
            let at = at.index(read.len());
            read[at] = byte;
        }
        if let Ok(Received::Super(geometry)) = parse(&read) {
            cut(&read[VNET_HDR_LEN..], geometry);
        }
    }
}
