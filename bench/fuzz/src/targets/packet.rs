//! Inner packets: the parser's lengths and addresses against the RFCs' tables, padding, and the ECN of the outer
//! header, which may change two bits and the checksum over them, and nothing else. The ICMP answer to a packet goes
//! back to where that came from, with right checksums, and gets no answer itself.
//!
//! The input: the outer ECN bits (one byte), an MTU (two bytes), then the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfort_core::drops::DropReason;
use ringfort_core::packet::{InnerPacket, IpVersion, apply_outer_ecn, outer_ecn, padded_len, parse};
use ringfort_core::{icmp, looped};

use crate::Seed;
use crate::input::Input;
use crate::oracle::internet_sum;
use crate::packets::Packet;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (outer, mtu) = (input.byte(), usize::from(input.u16()));
    let bytes = input.rest();
    let inner = match parse(bytes) {
        Ok(inner) => inner,
        Err(reason) => {
            assert_eq!(Err(reason), table(bytes));
            // Nobody applies ECN to a packet that was refused, but it must not panic either.
            let _ = apply_outer_ecn(&mut bytes.to_vec(), outer);
            return;
        }
    };
    assert_eq!(table(bytes), Ok(inner.len));
    fields(bytes, &inner);
    assert_eq!(parse(&bytes[..inner.len]), Ok(inner), "the padding does not matter");
    answer(&bytes[..inner.len], &inner);
    let _ = looped::mark(&bytes[..inner.len]);
    padding(inner.len, mtu);
    ecn(&bytes[..inner.len], &inner, outer);
}

fn answer(packet: &[u8], inner: &InnerPacket) {
    let mut answer = [0xee; icmp::ANSWER_LEN_MAX];
    let Some(len) = icmp::unreachable(packet, &mut answer) else { return };
    let answer = &answer[..len];
    let read = parse(answer).expect("an answer is a packet");
    assert_eq!((read.len, read.source, read.destination), (len, inner.destination, inner.source));
    assert!(!icmp::may_answer(answer), "an error is answered");
    match read.version {
        IpVersion::V4 => assert_eq!((internet_sum(&answer[..20]), internet_sum(&answer[20..])), (0xffff, 0xffff)),
        IpVersion::V6 => {
            let pseudo = [&answer[8..40], &answer[4..6], &[0, 58], &answer[40..]].concat();
            assert_eq!(internet_sum(&pseudo), 0xffff);
        }
    }
}

/// The length by RFC 791 section 3.1 and RFC 8200 section 3, or why there is none.
fn table(bytes: &[u8]) -> Result<usize, DropReason> {
    let number = |at: usize| usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1]);
    let (header, len) = match bytes.first().map(|first| (first >> 4, first & 15)) {
        Some((4, words)) if words >= 5 && bytes.len() >= 20 => (usize::from(words) * 4, number(2)),
        Some((6, _)) if bytes.len() >= 40 => match (number(4), bytes[6]) {
            (0, 0) => (40, bytes.len()),
            (payload, _) => (40, 40 + payload),
        },
        Some((4 | 6, _)) => return Err(DropReason::MalformedIp),
        _ => return Err(DropReason::NotIp),
    };
    if len < header || len > bytes.len() { Err(DropReason::MalformedIp) } else { Ok(len) }
}

fn fields(bytes: &[u8], inner: &InnerPacket) {
    let (version, source, destination, ecn) = match bytes[0] >> 4 {
        4 => {
            let at = |at: usize| IpAddr::V4(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]));
            (IpVersion::V4, at(12), at(16), bytes[1] & 3)
        }
        _ => {
            let at = |at: usize| {
                let octets: [u8; 16] = std::array::from_fn(|i| bytes[at + i]);
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            (IpVersion::V6, at(8), at(24), bytes[1] >> 4 & 3)
        }
    };
    assert_eq!((inner.version, inner.source, inner.destination, inner.ecn), (version, source, destination, ecn));
    assert_eq!(outer_ecn(inner.ecn), ecn, "ECN is copied outwards, DSCP is not");
}

fn padding(len: usize, mtu: usize) {
    let padded = padded_len(len, mtu);
    assert!((len..len + 16).contains(&padded), "{len} of {mtu} becomes {padded}");
    assert!(mtu == 0 || len > mtu || padded <= mtu, "{len} of {mtu} becomes {padded}");
    assert!(padded.is_multiple_of(16) || padded == mtu || (mtu != 0 && len > mtu), "{len} of {mtu} becomes {padded}");
}

/// RFC 6040, figure 4: rows are the inner field (Not-ECT, ECT(1), ECT(0), CE), columns the outer one.
const FIGURE_4: [[Option<u8>; 4]; 4] = [
    [Some(0), Some(0), Some(0), None],
    [Some(1), Some(1), Some(1), Some(3)],
    [Some(2), Some(1), Some(2), Some(3)],
    [Some(3), Some(3), Some(3), Some(3)],
];

fn ecn(packet: &[u8], inner: &InnerPacket, outer: u8) {
    let mut changed = packet.to_vec();
    let applied = apply_outer_ecn(&mut changed, outer);
    let Some(expected) = FIGURE_4[usize::from(inner.ecn)][usize::from(outer & 3)] else {
        assert_eq!(applied, Err(DropReason::CongestionNotCapable));
        assert_eq!(changed, packet, "a refused packet is as it was");
        return;
    };
    assert_eq!(applied, Ok(()));
    let after = parse(&changed).expect("the packet stays well-formed");
    assert_eq!(after, InnerPacket { ecn: expected, ..*inner });
    let may_change = |at: usize| at == 1 || (inner.version == IpVersion::V4 && (10..12).contains(&at));
    let others_are_equal = (0..packet.len()).all(|at| may_change(at) || packet[at] == changed[at]);
    assert!(others_are_equal && changed.len() == packet.len(), "{packet:?}\n{changed:?}");
    let mask = if inner.version == IpVersion::V4 { 3 } else { 0x30 };
    assert_eq!(packet[1] & !mask, changed[1] & !mask, "DSCP and flow label stay");
    if inner.version == IpVersion::V4 {
        // A right checksum stays right, and a wrong one stays as wrong as it was. (All ones and zero are one number.)
        let header = usize::from(packet[0] & 15) * 4;
        assert_eq!(internet_sum(&changed[..header]) % 0xffff, internet_sum(&packet[..header]) % 0xffff);
        assert!(expected != inner.ecn || changed == packet, "nothing to change");
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let with = |outer: u8, mtu: u16, packet: &[u8]| [&[outer][..], &mtu.to_le_bytes(), packet].concat();
    let tcp4 = Packet::tcp(4, b"payload").with_tos(2).bytes();
    let udp6 = Packet::udp(6, b"payload").with_tos(1).bytes();
    let padded = [&tcp4[..], &[0; 9]].concat();
    let mut options = vec![0x46, 2, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 0];
    let checksum = !internet_sum(&options);
    options[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut jumbo = vec![0; 56];
    jumbo[0] = 0x60;
    let mut wrapping = vec![0; 64];
    (wrapping[0], wrapping[4], wrapping[5], wrapping[6]) = (0x60, 0xff, 0xff, 17);
    vec![
        Seed::new("ipv4-congestion", with(3, 1420, &tcp4)),
        Seed::new("ipv6-congestion", with(3, 1420, &udp6)),
        Seed::new("ipv4-padded", with(1, 60, &padded)),
        Seed::new("ipv4-options", with(3, 0, &options)),
        Seed::new("ipv4-not-capable", with(3, 0, &Packet::udp(4, b"").bytes())),
        Seed::new("ipv6-no-payload-length", with(0, 0, &jumbo)),
        Seed::new("ipv6-longest-payload-length", with(0, 0, &wrapping)),
        Seed::new("not-ip", with(0, 0, &[0x50; 60])),
    ]
}
