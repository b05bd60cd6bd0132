//! What the kernel writes in front of a received datagram: lengths, address, control messages. It is not trusted to be
//! well-formed. And what we write beside a datagram that is sent, read back.
//!
//! The input: one byte that chooses. 0: the rest is control messages. 1: the rest is a received buffer. 2: flags (one
//! byte), lengths of name, control and payload (one byte each), and their bytes: a buffer with lengths that fit. Other:
//! a path, a traffic class and a segment length to be written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ring_buffers::View;
use udp_uring::cmsg::{ECN_MASK, ReceiveControl, SendControl};
use udp_uring::{Endpoint, LocalAddr, PAYLOAD_OFFSET, ReceiveDrop, Received};

use crate::Seed;
use crate::input::Input;

const NAME_AT: usize = 16;
const CONTROL_AT: usize = 48;
const ALIGN: usize = size_of::<usize>();
/// `struct cmsghdr`: length with this header (a word), level, type (32 bits each).
const HEADER: usize = ALIGN + 8;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        0 => control(input.rest()),
        1 => buffer(input.rest()),
        2 => buffer(&fitting(&mut input)),
        _ => sent(&mut input),
    }
}

/// The messages of a control buffer, up to the first that does not lie within it (`CMSG_NXTHDR(3)`).
fn messages(mut bytes: &[u8]) -> Vec<(i32, i32, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let word = |at: usize| i32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        let len = usize::from_ne_bytes(std::array::from_fn(|i| bytes[i]));
        if len < HEADER || len > bytes.len() {
            break;
        }
        found.push((word(ALIGN), word(ALIGN + 4), &bytes[HEADER..len]));
        bytes = &bytes[len.next_multiple_of(ALIGN).min(bytes.len())..];
    }
    found
}

/// `ReceiveControl::parse`, message by message; the last of a kind holds.
fn expected(bytes: &[u8]) -> ReceiveControl {
    let mut control = ReceiveControl::default();
    let number = |data: &[u8]| data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    for (level, kind, data) in messages(bytes) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => control.stride = number(data).filter(|n| *n > 0).map(|n| n as usize),
            (libc::IPPROTO_IP, libc::IP_TOS) if data.len() == 1 => control.ecn = data[0] & ECN_MASK,
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                control.ecn = number(data).unwrap_or(0).to_le_bytes()[0] & ECN_MASK;
            }
            // struct in_pktinfo: interface, local address, address of the header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                control.local = (data.len() >= 12)
                    .then(|| {
                        let addr = Ipv4Addr::new(data[4], data[5], data[6], data[7]);
                        (!addr.is_unspecified() && !addr.is_multicast())
                            .then(|| LocalAddr { addr: addr.into(), ifindex: number(data).unwrap_or(0) as u32 })
                    })
                    .flatten();
            }
            // struct in6_pktinfo: address, interface.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                control.local = data.first_chunk::<16>().zip(number(data.get(16..).unwrap_or_default())).and_then(
                    |(octets, ifindex)| {
                        let addr = Ipv6Addr::from(*octets);
                        (!addr.is_unspecified() && !addr.is_multicast())
                            .then(|| LocalAddr { addr: addr.into(), ifindex: ifindex as u32 })
                    },
                );
            }
            _ => {}
        }
    }
    control
}

fn control(bytes: &[u8]) {
    assert_eq!(ReceiveControl::parse(bytes), expected(bytes));
}

fn fitting(input: &mut Input<'_>) -> Vec<u8> {
    let [flags, name_len, control_len, payload_len] = input.array();
    let mut bytes = vec![0; PAYLOAD_OFFSET];
    let lengths = [name_len % 32, control_len % 144, payload_len, flags & 0x2f].map(|n| u32::from(n).to_ne_bytes());
    bytes[..NAME_AT].copy_from_slice(&lengths.concat());
    for (at, len) in [(NAME_AT, name_len % 32), (CONTROL_AT, control_len % 144)] {
        let part = input.take(len.into());
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes.extend((0..payload_len).map(|i| i.wrapping_mul(3)));
    bytes
}

fn buffer(bytes: &[u8]) {
    let words: Option<&[u8; 16]> = bytes.first_chunk();
    let word = |at: usize| words.map_or(0, |w| u32::from_ne_bytes(std::array::from_fn(|i| w[4 * at + i])) as usize);
    let (name, control, payload, flags) = (word(0), word(1), word(2), word(3));
    let is_cut_off = flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) as usize != 0;
    match Received::parse(View::heap(bytes.to_vec())) {
        Ok(received) => {
            assert!(!is_cut_off && name <= 32 && control <= 144 && payload > 0);
            assert_eq!(&*received.view, &bytes[PAYLOAD_OFFSET..]);
            assert_eq!(received.view.len(), payload);
            let control = expected(&bytes[CONTROL_AT..CONTROL_AT + control]);
            assert_eq!(received.ecn, control.ecn);
            assert_eq!(received.endpoint.source, control.local);
            assert_eq!(received.stride, control.stride.unwrap_or(payload).min(payload));
            assert!((1..=payload).contains(&received.stride));
            let family = u16::from_ne_bytes([bytes[NAME_AT], bytes[NAME_AT + 1]]);
            let is_ipv4 = i32::from(family) == libc::AF_INET;
            assert_eq!(received.endpoint.remote.is_ipv4(), is_ipv4);
            assert_eq!(received.endpoint.remote.port().to_be_bytes(), bytes[NAME_AT + 2..NAME_AT + 4]);
        }
        Err(ReceiveDrop::Truncated) => assert!(is_cut_off),
        Err(ReceiveDrop::Empty) => assert!(!is_cut_off && payload == 0 && bytes.len() == PAYLOAD_OFFSET),
        Err(ReceiveDrop::Malformed) => assert!(!is_cut_off || bytes.len() < NAME_AT),
    }
}

fn address(input: &mut Input<'_>, is_ipv6: bool) -> IpAddr {
    if is_ipv6 { Ipv6Addr::from(input.array::<16>()).into() } else { Ipv4Addr::from(input.array::<4>()).into() }
}

fn sent(input: &mut Input<'_>) {
    let [families, traffic_class] = input.array();
    let remote = SocketAddr::new(address(input, families & 1 != 0), 51_820);
    let ifindex = input.u32();
    let source = (families & 4 != 0).then(|| LocalAddr { addr: address(input, families & 2 != 0), ifindex });
    let segment = Some(input.u16()).filter(|&segment| segment > 0);
    let endpoint = Endpoint { remote, source };
    let mut control = SendControl::default();
    // What was in it before must not show.
    control.fill(&Endpoint { remote: ([0xff; 16], 1).into(), source }, 0xff, Some(0xffff));
    control.fill(&endpoint, traffic_class, segment);

    let mut expected: Vec<(i32, i32, Vec<u8>)> = Vec::new();
    match (source.map(|local| local.addr), remote) {
        (Some(IpAddr::V4(addr)), SocketAddr::V4(_)) => {
            let info = [[0; 4], addr.octets(), [0; 4]].concat();
            expected.push((libc::IPPROTO_IP, libc::IP_PKTINFO, info));
        }
        (Some(IpAddr::V6(addr)), SocketAddr::V6(_)) => {
            let link = if addr.segments()[0] & 0xffc0 == 0xfe80 { ifindex } else { 0 };
            let info = [&addr.octets()[..], &link.to_ne_bytes()].concat();
            expected.push((libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info));
        }
        _ => {}
    }
    if traffic_class != 0 {
        let (level, kind) =
            if remote.is_ipv4() { (libc::IPPROTO_IP, libc::IP_TOS) } else { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) };
        expected.push((level, kind, i32::from(traffic_class).to_ne_bytes().to_vec()));
    }
    expected.extend(segment.map(|segment| (libc::SOL_UDP, libc::UDP_SEGMENT, segment.to_ne_bytes().to_vec())));
    let found: Vec<_> =
        messages(control.as_bytes()).into_iter().map(|(level, kind, data)| (level, kind, data.to_vec())).collect();
    assert_eq!(found, expected);
    assert!(control.as_bytes().len().is_multiple_of(ALIGN));
}

fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes
}

pub(super) fn seeds() -> Vec<Seed> {
    let info4 = [[7, 0, 0, 0], [192, 0, 2, 1], [192, 0, 2, 1]].concat();
    let info6 = [&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[9, 0, 0, 0]].concat();
    let ipv4 = [
        message(libc::IPPROTO_IP, libc::IP_TOS, &[3]),
        message(libc::IPPROTO_IP, libc::IP_PKTINFO, &info4),
        message(libc::SOL_UDP, libc::UDP_GRO, &100_i32.to_ne_bytes()),
    ]
    .concat();
    let ipv6 = [
        message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &1_i32.to_ne_bytes()),
        message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info6),
        message(libc::SOL_UDP, libc::UDP_GRO, &1452_i32.to_ne_bytes()),
    ]
    .concat();
    let name4 =
        [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0xca, 0x6c, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut name6 = vec![0; 28];
    name6[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    name6[23] = 1;
    let fit = |flags: u8, name: &[u8], control: &[u8], payload: u8| {
        [&[2, flags, name.len() as u8, control.len() as u8, payload], name, control].concat()
    };
    let whole = fitting(&mut Input::new(&fit(0, &name4, &ipv4, 250)[1..]));
    vec![
        Seed::new("control-ipv4", [&[0], &ipv4[..]].concat()),
        Seed::new("control-ipv6", [&[0], &ipv6[..]].concat()),
        Seed::new("control-cut-off", [&[0], &ipv4[..ipv4.len() - 5]].concat()),
        Seed::new("buffer", [&[1], &whole[..]].concat()),
        Seed::new("train-ipv4", fit(0, &name4, &ipv4, 250)),
        Seed::new("train-ipv6", fit(0, &name6, &ipv6, 250)),
        Seed::new("lone", fit(0, &name4, &[], 1)),
        Seed::new("nothing", fit(0, &name4, &[], 0)),
        Seed::new("truncated", fit(0x20, &name4, &ipv4, 9)),
        Seed::new("sent-ipv4", vec![3, 4, 2, 192, 0, 2, 1, 7, 0, 0, 0, 192, 0, 2, 2, 100, 0]),
        Seed::new("sent-ipv6", [&[3, 7, 0][..], &[0xfd; 16], &[7, 0, 0, 0], &[0xfe; 16], &[100, 0]].concat()),
        Seed::new("sent-with-a-source-of-the-other-family", [&[3, 6, 1][..], &[1; 30]].concat()),
    ]
}
