//! Making packets, by code that the gateway does not use.

use std::net::IpAddr;

use super::table::{body, fold, payload_sum, sum};
use super::{FIRST_LEN, Flow, LATER_LEN, NUMBER_LEN, Number, ROOM, Shape, Transport};
use crate::rng::mix;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const UDP_LEN: u16 = 8;
const TCP_ACK: u8 = 0x10;
const TCP_PUSH: u8 = 0x08;
const SOURCE_PORT: u16 = 10_000;
const DESTINATION_PORT: u16 = 20_000;
/// The hop limit of nearly all packets.
const HOPS: u8 = 64;
const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
/// The longest headers that a packet here has.
const HEADERS_MAX: usize = 68;

/// All headers of one packet.
pub(super) struct Headers {
    bytes: [u8; HEADERS_MAX],
    len: usize,
}

impl Headers {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes a packet with its virtio-net header in front to `to`, and returns how long both are. `partial`: its transport
/// checksum is left to whoever reads it.
pub fn write_packet(flow: &Flow, number: Number, partial: bool, to: &mut [u8]) -> usize {
    let headers = headers(flow, number, flow.ecn, None);
    let ip_len = flow.ip_len(number.shape);
    to[..ROOM].fill(0);
    let payload = ROOM + headers.len;
    to[ROOM..payload].copy_from_slice(headers.bytes());
    put_payload(number, &mut to[payload..]);
    if partial && number.shape == Shape::Whole && flow.transport != Transport::Icmp {
        let at = checksum_at(flow);
        let pseudo = fold(pseudo_sum(flow, flow.transport_len(Shape::Whole) + usize::from(number.len)));
        to[0] = NEEDS_CHECKSUM;
        to[6..8].copy_from_slice(&(ip_len as u16).to_le_bytes());
        to[8..10].copy_from_slice(&(at as u16).to_le_bytes());
        to[ROOM + ip_len + at..][..2].copy_from_slice(&pseudo.to_be_bytes());
    }
    payload + usize::from(number.len)
}

/// Writes `count` packets as one super-packet, the last with `last` bytes of payload. Returns its length with the
/// virtio-net header in front.
pub fn write_super(flow: &Flow, sequence: u32, count: u16, last: u16, to: &mut [u8]) -> usize {
    let first = flow.number(sequence, if count == 1 { last } else { flow.segment });
    let mut headers = headers(flow, first, flow.ecn, None);
    let (ip_len, transport_len) = (flow.ip_len(Shape::Whole), flow.transport_len(Shape::Whole));
    let payload_len = usize::from(count - 1) * usize::from(flow.segment) + usize::from(last);
    set_lengths(flow, &mut headers.bytes, payload_len);
    let pseudo = fold(pseudo_sum(flow, transport_len + payload_len));
    let at = ip_len + checksum_at(flow);
    headers.bytes[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    if flow.transport == Transport::Tcp {
        headers.bytes[ip_len + 13] = tcp_flags(flow, last);
    }
    write_vnet(flow, ip_len, headers.len, to);
    to[ROOM..ROOM + headers.len].copy_from_slice(headers.bytes());
    let mut end = ROOM + headers.len;
    for n in 0..count {
        let len = if n + 1 == count { last } else { flow.segment };
        put_payload(flow.number(sequence.wrapping_add(n.into()), len), &mut to[end..]);
        end += usize::from(len);
    }
    end
}

fn write_vnet(flow: &Flow, ip_len: usize, headers_len: usize, to: &mut [u8]) {
    to[..ROOM].fill(0);
    to[0] = NEEDS_CHECKSUM;
    to[1] = gso_type(flow);
    to[2..4].copy_from_slice(&(headers_len as u16).to_le_bytes());
    to[4..6].copy_from_slice(&flow.segment.to_le_bytes());
    to[6..8].copy_from_slice(&(ip_len as u16).to_le_bytes());
    to[8..10].copy_from_slice(&(checksum_at(flow) as u16).to_le_bytes());
}

pub(super) fn gso_type(flow: &Flow) -> u8 {
    match (flow.transport, flow.is_v4()) {
        (Transport::Tcp, true) => GSO_TCPV4,
        (Transport::Tcp, false) => GSO_TCPV6,
        _ => GSO_UDP,
    }
}

/// Where the checksum is in the transport header.
pub(super) fn checksum_at(flow: &Flow) -> usize {
    match flow.transport {
        Transport::Udp => 6,
        Transport::Tcp => 16,
        Transport::Icmp => 2,
    }
}

/// The last packet of a write is pushed if it is shorter than the others.
pub(super) fn tcp_flags(flow: &Flow, len: u16) -> u8 {
    if len == flow.segment || len == 0 { TCP_ACK } else { TCP_ACK | TCP_PUSH }
}

/// Each eighth packet has another, where packets need not be alike.
fn tcp_window(flow: &Flow, sequence: u32) -> u16 {
    let changes = flow.lone && mix(u64::from(flow.id) << 32 | u64::from(sequence)).is_multiple_of(8);
    0x7000 | u16::from(changes)
}

/// The flow and the place of a packet without payload, from its headers.
pub(super) fn unpack_empty(ip: &[u8], transport: &[u8], is_tcp: bool) -> Option<(u16, u32)> {
    let word = |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let flow = word(transport, 0)?.checked_sub(SOURCE_PORT)?;
    let (high, low) = if is_tcp {
        (word(transport, 8)?, word(transport, 10)?)
    } else {
        let (hops, low) = if ip.first()? >> 4 == 4 { (ip.get(8), word(ip, 4)) } else { (ip.get(7), word(ip, 2)) };
        (hops?.checked_sub(HOPS)?.into(), low?)
    };
    Some((flow, u32::from(high) << 16 | u32::from(low)))
}

/// The sequence number of TCP: packets that are shorter than a segment leave a gap.
pub(super) fn tcp_sequence(flow: &Flow, sequence: u32) -> u32 {
    sequence.wrapping_mul(flow.segment.into())
}

fn put_payload(number: Number, to: &mut [u8]) {
    if number.len == 0 {
        return;
    }
    to[..NUMBER_LEN].copy_from_slice(&number.bits().to_be_bytes());
    to[NUMBER_LEN..usize::from(number.len)].copy_from_slice(body(number));
}

/// The headers of a packet with this ECN field behind its DSCP, and with this IPv4 identification if one is given.
pub(super) fn headers(flow: &Flow, number: Number, ecn: u8, id: Option<u16>) -> Headers {
    let (ip_len, transport_len) = (flow.ip_len(number.shape), flow.transport_len(number.shape));
    let mut headers = Headers { bytes: [0; HEADERS_MAX], len: ip_len + transport_len };
    let (ip, transport) = headers.bytes.split_at_mut(ip_len);
    let behind = (transport_len + usize::from(number.len)) as u16;
    let class = flow.dscp << 2 | ecn;
    match (flow.source, flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let id = id.unwrap_or_else(|| identification(flow, number));
            let fragment = fragment_word(number.shape) | if flow.counts_up { 0 } else { DONT_FRAGMENT };
            ip[..2].copy_from_slice(&[0x45, class]);
            ip[2..4].copy_from_slice(&(20 + behind).to_be_bytes());
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            ip[6..8].copy_from_slice(&fragment.to_be_bytes());
            ip[8..10].copy_from_slice(&[hops(flow, number), flow.protocol()]);
            ip[12..16].copy_from_slice(&source.octets());
            ip[16..20].copy_from_slice(&destination.octets());
            let checksum = !fold(sum(&ip[..20]));
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (source, destination) => {
            let is_fragment = number.shape != Shape::Whole;
            ip[..2].copy_from_slice(&[0x60 | class >> 4, class << 4]);
            if is_empty_udp(flow, number) {
                // In the flow label.
                ip[2..4].copy_from_slice(&(number.sequence as u16).to_be_bytes());
            }
            ip[4..6].copy_from_slice(&(behind + if is_fragment { 8 } else { 0 }).to_be_bytes());
            ip[6..8].copy_from_slice(&[if is_fragment { 44 } else { flow.protocol() }, hops(flow, number)]);
            put_v6(source, &mut ip[8..24]);
            put_v6(destination, &mut ip[24..40]);
            if is_fragment {
                let word = if number.shape == Shape::First { 1 } else { FIRST_LEN + UDP_LEN };
                ip[40] = flow.protocol();
                ip[42..44].copy_from_slice(&word.to_be_bytes());
                ip[44..48].copy_from_slice(&u32::from(identification(flow, number)).to_be_bytes());
            }
        }
    }
    put_transport(flow, number, &mut transport[..transport_len]);
    headers
}

fn identification(flow: &Flow, number: Number) -> u16 {
    match number.shape {
        Shape::Later => number.sequence.wrapping_sub(1) as u16,
        _ if flow.counts_up || number.shape == Shape::First || is_empty_udp(flow, number) => number.sequence as u16,
        Shape::Whole | Shape::First => 0x1d,
    }
}

/// The hop limit. Of a packet that has no other place for it, it says how often its number has gone round: a port would
/// make another flow of it, whose order is another.
fn hops(flow: &Flow, number: Number) -> u8 {
    if is_empty_udp(flow, number) { HOPS + (number.sequence >> 16) as u8 } else { HOPS }
}

pub(super) fn is_empty_udp(flow: &Flow, number: Number) -> bool {
    number.len == 0 && flow.transport == Transport::Udp
}

fn fragment_word(shape: Shape) -> u16 {
    match shape {
        Shape::Whole => 0,
        Shape::First => MORE_FRAGMENTS,
        Shape::Later => (FIRST_LEN + UDP_LEN) / 8,
    }
}

fn put_v6(address: IpAddr, to: &mut [u8]) {
    if let IpAddr::V6(address) = address {
        to.copy_from_slice(&address.octets());
    }
}

fn put_transport(flow: &Flow, number: Number, to: &mut [u8]) {
    if number.shape == Shape::Later {
        return;
    }
    if flow.transport != Transport::Icmp {
        to[..2].copy_from_slice(&(SOURCE_PORT + flow.id).to_be_bytes());
        to[2..4].copy_from_slice(&DESTINATION_PORT.to_be_bytes());
    }
    match flow.transport {
        Transport::Udp => {
            let behind = if number.shape == Shape::First { LATER_LEN } else { 0 };
            to[4..6].copy_from_slice(&(UDP_LEN + number.len + behind).to_be_bytes());
        }
        Transport::Tcp => {
            to[4..8].copy_from_slice(&tcp_sequence(flow, number.sequence).to_be_bytes());
            let acknowledged = if number.len == 0 { number.sequence } else { 0x0ac0_0ac0 };
            to[8..12].copy_from_slice(&acknowledged.to_be_bytes());
            to[12..14].copy_from_slice(&[5 << 4, tcp_flags(flow, number.len)]);
            to[14..16].copy_from_slice(&tcp_window(flow, number.sequence).to_be_bytes());
        }
        Transport::Icmp => {
            to[0] = if flow.is_v4() { 8 } else { 128 };
            to[4..6].copy_from_slice(&flow.id.to_be_bytes());
            to[6..8].copy_from_slice(&(number.sequence as u16).to_be_bytes());
        }
    }
    let checksum = match number.shape {
        // It would be over the fragments together, and nobody on the way puts them together.
        Shape::First => 0x5e1f,
        _ => transport_checksum(flow, number, to),
    };
    let at = checksum_at(flow);
    to[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn transport_checksum(flow: &Flow, number: Number, header: &[u8]) -> u16 {
    let is_icmp_v4 = flow.transport == Transport::Icmp && flow.is_v4();
    let pseudo = if is_icmp_v4 { 0 } else { pseudo_sum(flow, header.len() + usize::from(number.len)) };
    let checksum = !fold(pseudo + sum(header) + payload_sum(number));
    // Of UDP a checksum of zero would mean none; of TCP both say the same.
    if checksum == 0 && flow.transport != Transport::Icmp { 0xffff } else { checksum }
}

/// The sum over the pseudo-header of `len` bytes of transport header and payload.
pub(super) fn pseudo_sum(flow: &Flow, len: usize) -> u64 {
    let address = |address| match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    };
    address(flow.source) + address(flow.destination) + u64::from(flow.protocol()) + len as u64
}

/// Makes the lengths in the headers those of a super-packet, and the IPv4 checksum right.
fn set_lengths(flow: &Flow, headers: &mut [u8], payload_len: usize) {
    let (ip_len, transport_len) = (flow.ip_len(Shape::Whole), flow.transport_len(Shape::Whole));
    let behind = transport_len + payload_len;
    if flow.is_v4() {
        headers[2..4].copy_from_slice(&((20 + behind) as u16).to_be_bytes());
        headers[10..12].fill(0);
        let checksum = !fold(sum(&headers[..20]));
        headers[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        headers[4..6].copy_from_slice(&(behind as u16).to_be_bytes());
    }
    if flow.transport == Transport::Udp {
        headers[ip_len + 4..ip_len + 6].copy_from_slice(&(behind as u16).to_be_bytes());
    }
}
