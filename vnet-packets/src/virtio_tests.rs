use proptest::prelude::*;

use super::*;

/// An IPv4 packet with a TCP header of `words` words and `payload` bytes.
fn tcp4(words: u8, payload: usize) -> Vec<u8> {
    let mut p = ipv4(PROTO_TCP, usize::from(words) * 4 + payload);
    p[32] = words << 4;
    p
}

fn ipv4(protocol: u8, len: usize) -> Vec<u8> {
    let mut p = vec![0; 20 + len];
    p[0] = 0x45;
    p[2..4].copy_from_slice(&(20 + len as u16).to_be_bytes());
    p[9] = protocol;
    p[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    p
}

fn udp4(payload: usize) -> Vec<u8> {
    let mut p = ipv4(PROTO_UDP, 8 + payload);
    p[24..26].copy_from_slice(&(8 + payload as u16).to_be_bytes());
    p
}

/// An IPv6 packet with `extensions` extension headers of 8 bytes before its transport header.
fn ipv6(protocol: u8, extensions: usize, payload: usize) -> Vec<u8> {
    let transport = if protocol == PROTO_TCP { 20 } else { 8 };
    let len = 40 + 8 * extensions + transport + payload;
    let mut p = vec![0; len];
    p[0] = 0x60;
    p[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    p[6] = if extensions > 0 { 60 } else { protocol };
    for i in 0..extensions {
        p[40 + 8 * i] = if i + 1 < extensions { 60 } else { protocol };
    }
    if protocol == PROTO_TCP {
        p[40 + 8 * extensions + 12] = 5 << 4;
    }
    p
}

#[derive(Clone, Copy)]
struct Fields {
    flags: u8,
    gso: u8,
    hdr_len: u16,
    size: u16,
    start: u16,
    offset: u16,
}

const TSO4: Fields = Fields { flags: F_NEEDS_CSUM, gso: GSO_TCPV4, hdr_len: 40, size: 100, start: 20, offset: 16 };
const USO4: Fields = Fields { flags: F_NEEDS_CSUM, gso: GSO_UDP_L4, hdr_len: 28, size: 100, start: 20, offset: 6 };
const PLAIN: Fields = Fields { flags: 0, gso: GSO_NONE, hdr_len: 0, size: 0, start: 0, offset: 0 };

fn read(f: Fields, packet: &[u8]) -> Vec<u8> {
    let mut r = vec![f.flags, f.gso];
    for n in [f.hdr_len, f.size, f.start, f.offset] {
        r.extend(n.to_le_bytes());
    }
    // The slack is never looked at.
    r.extend([0xee; VNET_HDR_LEN - 10]);
    r.extend(packet);
    r
}

#[test]
fn a_plain_packet_is_not_looked_into() {
    assert_eq!(parse(&read(PLAIN, b"anything")), Ok(Received::Packet(None)));
    assert_eq!(parse(&read(PLAIN, b"")), Ok(Received::Packet(None)));
}

#[test]
fn super_packets_of_each_kind() {
    let got = parse(&read(TSO4, &tcp4(8, 250)));
    let want = Super { kind: SuperKind::Tcp4, transport: 20, header: 52, segment: 100, end: 302, tunnel: None };
    assert_eq!(got, Ok(Received::Super(want)));
    assert_eq!((want.payload_len(), want.segments()), (250, 3));

    let f = Fields { gso: GSO_TCPV6, start: 40, ..TSO4 };
    let want = Super { kind: SuperKind::Tcp6, transport: 40, header: 60, segment: 100, end: 260, tunnel: None };
    assert_eq!(parse(&read(f, &ipv6(PROTO_TCP, 0, 200))), Ok(Received::Super(want)));
    assert_eq!(want.segments(), 2);

    let want = Super { kind: SuperKind::Udp4, transport: 20, header: 28, segment: 100, end: 229, tunnel: None };
    assert_eq!(parse(&read(USO4, &udp4(201))), Ok(Received::Super(want)));

    let f = Fields { start: 56, ..USO4 };
    let want = Super { kind: SuperKind::Udp6, transport: 56, header: 64, segment: 100, end: 264, tunnel: None };
    assert_eq!(parse(&read(f, &ipv6(PROTO_UDP, 2, 200))), Ok(Received::Super(want)));
}

#[test]
fn a_header_length_that_covers_payload_is_only_a_hint() {
    let f = Fields { hdr_len: 290, ..TSO4 };
    let Ok(Received::Super(s)) = parse(&read(f, &tcp4(5, 250))) else { panic!("not a super-packet") };
    assert_eq!(s.header, 40);
}

#[test]
fn the_ecn_flag_goes_with_tcp_only() {
    let f = Fields { gso: GSO_TCPV4 | GSO_ECN, ..TSO4 };
    assert!(matches!(parse(&read(f, &tcp4(5, 250))), Ok(Received::Super(_))));
    let f = Fields { gso: GSO_UDP_L4 | GSO_ECN, ..USO4 };
    assert_eq!(parse(&read(f, &udp4(250))), Err(VnetError::GsoType(0x85)));
}

#[test]
fn padding_behind_the_packet_does_not_count() {
    let mut packet = tcp4(5, 250);
    packet.extend([0; 30]);
    let Ok(Received::Super(s)) = parse(&read(TSO4, &packet)) else { panic!("not a super-packet") };
    assert_eq!(s.end, 290);
}

#[test]
fn reads_shorter_than_the_header() {
    let whole = read(TSO4, &tcp4(5, 250));
    for len in 0..VNET_HDR_LEN {
        assert_eq!(parse(&whole[..len]), Err(VnetError::ShortRead), "{len}");
    }
}

#[test]
fn truncated_super_packets_at_every_length() {
    for (f, packet) in [
        (TSO4, tcp4(5, 250)),
        (USO4, udp4(250)),
        (Fields { gso: GSO_TCPV6, start: 40, hdr_len: 60, ..TSO4 }, ipv6(PROTO_TCP, 0, 250)),
    ] {
        let whole = read(f, &packet);
        for len in VNET_HDR_LEN..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn header_fields_that_lie() {
    let lie = |f| parse(&read(f, &tcp4(5, 250)));
    assert_eq!(lie(Fields { size: 0, ..TSO4 }), Err(VnetError::ZeroSegment));
    assert_eq!(lie(Fields { hdr_len: 291, ..TSO4 }), Err(VnetError::HeaderBeyondPacket));
    assert_eq!(lie(Fields { hdr_len: 291, ..PLAIN }), Err(VnetError::HeaderBeyondPacket));
    for (start, offset) in [(20, 269), (289, 0), (290, 0), (0xffff, 0xffff), (0xfff0, 0x10), (0, 289)] {
        let e = lie(Fields { start, offset, ..TSO4 });
        assert_eq!(e, Err(VnetError::ChecksumBeyondPacket), "{start} {offset}");
        let e = lie(Fields { flags: F_NEEDS_CSUM, start, offset, ..PLAIN });
        assert_eq!(e, Err(VnetError::ChecksumBeyondPacket), "{start} {offset}");
    }
    for (start, offset) in [(20, 6), (0, 16), (24, 16), (0, 36), (36, 0)] {
        assert_eq!(lie(Fields { start, offset, ..TSO4 }), Err(VnetError::ChecksumElsewhere), "{start} {offset}");
    }
    for gso in [2, 3, 6, 0x20, 0x40, 0x60, 0x61, 0x65, 0x7f, 0x80, 0x83, 0xff] {
        assert_eq!(lie(Fields { gso, ..TSO4 }), Err(VnetError::GsoType(gso)));
    }
}

#[test]
fn types_that_do_not_match_the_packet() {
    let tso6 = Fields { gso: GSO_TCPV6, ..TSO4 };
    assert_eq!(parse(&read(tso6, &tcp4(5, 250))), Err(VnetError::GsoVersion));
    let tso4 = Fields { start: 40, ..TSO4 };
    assert_eq!(parse(&read(tso4, &ipv6(PROTO_TCP, 0, 250))), Err(VnetError::GsoVersion));
    assert_eq!(parse(&read(TSO4, &udp4(250))), Err(VnetError::GsoProtocol));
    assert_eq!(parse(&read(USO4, &tcp4(5, 250))), Err(VnetError::GsoProtocol));
    let mut icmp = tcp4(5, 250);
    icmp[9] = 1;
    assert_eq!(parse(&read(TSO4, &icmp)), Err(VnetError::GsoProtocol));
}

#[test]
fn packets_that_lie_about_themselves() {
    let lie = |change: fn(&mut Vec<u8>)| {
        let mut packet = tcp4(5, 250);
        change(&mut packet);
        parse(&read(TSO4, &packet))
    };
    assert_eq!(lie(|p| p[0] = 0x55), Err(VnetError::NotIp));
    assert_eq!(lie(|p| p[0] = 0x44), Err(VnetError::IpHeader));
    assert_eq!(lie(|p| p[2..4].copy_from_slice(&[0, 19])), Err(VnetError::IpHeader));
    assert_eq!(lie(|p| p[2..4].copy_from_slice(&[0, 0])), Err(VnetError::IpHeader));
    assert_eq!(lie(|p| p[2..4].copy_from_slice(&[1, 0x23])), Err(VnetError::Truncated));
    assert_eq!(lie(|p| p[2..4].copy_from_slice(&[0, 39])), Err(VnetError::Transport));
    assert_eq!(lie(|p| p[6] = 0x20), Err(VnetError::Fragment));
    assert_eq!(lie(|p| p[7] = 1), Err(VnetError::Fragment));
    for words in 0..5 {
        let mut packet = tcp4(5, 250);
        packet[32] = words << 4;
        assert_eq!(parse(&read(TSO4, &packet)), Err(VnetError::TcpDataOffset), "{words}");
    }
    let mut packet = tcp4(5, 0);
    packet[32] = 6 << 4;
    assert_eq!(parse(&read(TSO4, &packet)), Err(VnetError::TcpDataOffset));
}

#[test]
fn ipv6_extensions_that_lie() {
    let tso6 = Fields { gso: GSO_TCPV6, flags: 0, hdr_len: 0, ..TSO4 };
    let mut beyond = ipv6(PROTO_TCP, 1, 100);
    beyond[41] = 255;
    assert_eq!(parse(&read(tso6, &beyond)), Err(VnetError::IpHeader));
    let mut fragment = ipv6(PROTO_TCP, 1, 100);
    fragment[6] = 44;
    assert_eq!(parse(&read(tso6, &fragment)), Err(VnetError::Fragment));
    assert_eq!(parse(&read(tso6, &ipv6(PROTO_TCP, 40, 100))), Err(VnetError::IpHeader));
    let mut empty = ipv6(PROTO_TCP, 0, 0);
    empty[4..6].fill(0);
    empty[6] = 0;
    assert_eq!(parse(&read(tso6, &empty)), Err(VnetError::IpHeader));
    let mut wrapping = ipv6(PROTO_TCP, 0, 100);
    wrapping[4..6].fill(0xff);
    assert_eq!(parse(&read(tso6, &wrapping)), Err(VnetError::Truncated));
}

#[test]
fn a_partial_checksum_is_completed_in_place() {
    let mut packet = udp4(7);
    packet[28..].copy_from_slice(b"payload");
    let pseudo = Sum::pseudo_header(&packet[12..20], PROTO_UDP, 15);
    packet[26..28].copy_from_slice(&pseudo.to_bytes());
    let f = Fields { flags: F_NEEDS_CSUM, start: 20, offset: 6, ..PLAIN };
    let Ok(Received::Packet(Some(partial))) = parse(&read(f, &packet)) else { panic!("no partial checksum") };
    let before = packet.clone();
    partial.complete(&mut packet).expect("it fits");
    assert_eq!((&packet[..26], &packet[28..]), (&before[..26], &before[28..]));
    assert!(pseudo.plus(Sum::of(&packet[20..])).is_valid());
    assert_eq!(partial.complete(&mut packet[..27]), Err(VnetError::ChecksumBeyondPacket));
}

#[test]
fn what_is_written_is_what_the_kernel_defines() {
    let mut to = [0xee; VNET_HDR_LEN];
    WriteHeader::Packet.write(&mut to);
    assert_eq!(to, [0; VNET_HDR_LEN]);
    let s = Super { kind: SuperKind::Tcp6, transport: 40, header: 72, segment: 0x0578, end: 9000, tunnel: None };
    WriteHeader::Super(s).write(&mut to);
    assert_eq!(to[..10], [1, 4, 72, 0, 0x78, 0x05, 40, 0, 16, 0]);
    assert_eq!(to[10..], [0; 14]);
}

proptest! {
    #[test]
    fn no_read_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(Received::Packet(Some(partial))) = parse(&bytes) {
            partial.complete(&mut bytes[VNET_HDR_LEN..]).expect("parse checked it");
        }
    }

    /// Mostly well-formed reads with a few bytes changed get deeper than noise does.
    #[test]
    fn no_damaged_read_panics(
        kind in 0..4usize,
        payload in 0..300usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match kind {
            0 => read(TSO4, &tcp4(8, payload)),
            1 => read(USO4, &udp4(payload)),
            2 => read(Fields { gso: GSO_TCPV6, start: 48, ..TSO4 }, &ipv6(PROTO_TCP, 1, payload)),
            _ => read(Fields { flags: F_NEEDS_CSUM, start: 20, offset: 6, ..PLAIN }, &udp4(payload)),
        };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        match parse(&bytes) {
            Ok(Received::Packet(Some(partial))) => {
                partial.complete(&mut bytes[VNET_HDR_LEN..]).expect("parse checked it");
            }
            Ok(Received::Super(s)) => {
                prop_assert!(s.segment > 0 && s.transport < s.header);
                prop_assert!(usize::from(s.header) <= s.end as usize && s.end as usize <= bytes.len() - VNET_HDR_LEN);
                prop_assert!((s.segments() - 1) * usize::from(s.segment) <= s.payload_len());
            }
            _ => {}
        }
    }

    #[test]
    fn a_written_super_packet_reads_back(kind in 0..4usize, payload in 0..2000usize, segment in 1..u16::MAX) {
        let (kind, packet) = match kind {
            0 => (SuperKind::Tcp4, tcp4(8, payload)),
            1 => (SuperKind::Udp4, udp4(payload)),
            2 => (SuperKind::Tcp6, ipv6(PROTO_TCP, 0, payload)),
            _ => (SuperKind::Udp6, ipv6(PROTO_UDP, 1, payload)),
        };
        let parts = Parts::of(&packet).expect("well formed");
        let (transport, header) = (parts.transport as u16, parts.header as u16);
        let s = Super { kind, transport, header, segment, end: parts.end as u32, tunnel: None };
        let mut header = [0xee; VNET_HDR_LEN];
        WriteHeader::Super(s).write(&mut header);
        let bytes = [&header[..], &packet].concat();
        prop_assert_eq!(parse(&bytes), Ok(Received::Super(s)));
    }
}
