//! Whether what a gateway writes to its TUN device is what was offered to another, bit for bit.

use super::error::is_icmp_error;
use super::table::{body, fold, sum};
use super::write::{
    Headers, checksum_at, gso_type, headers, is_empty_udp, pseudo_sum, tcp_flags, tcp_sequence, unpack_empty,
};
use super::{Flow, NUMBER_LEN, Number, ROOM, Shape, Transport};

/// What a write was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Packets of our flows.
    Numbered,
    /// An ICMP error, which the gateway makes itself.
    IcmpError,
}

const ECN_MASK: u8 = 3;
const CONGESTION_EXPERIENCED: u8 = 3;
const PUSH: u8 = 0x08;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Compares one write, whose pieces follow each other, with what its packets were when they were offered. `each` is
/// called for each packet in it, with the ECN field that it has now.
///
/// # Errors
/// What differs.
pub fn check<P: AsRef<[u8]>>(
    pieces: &[P],
    flows: &[Flow],
    each: &mut dyn FnMut(Number, u8) -> Result<(), String>,
) -> Result<Written, String> {
    let first = pieces.first().map(AsRef::as_ref).unwrap_or_default();
    let (vnet, packet) = first.split_at_checked(ROOM).ok_or("a write without a virtio-net header")?;
    if vnet[1] != 0 {
        return check_super(vnet, packet, &pieces[1..], flows, each).map(|()| Written::Numbered);
    }
    if vnet.iter().any(|&byte| byte != 0) || pieces.len() != 1 {
        return Err(format!("a lone packet of {} pieces with the virtio-net header {vnet:x?}", pieces.len()));
    }
    if is_icmp_error(packet) {
        return Ok(Written::IcmpError);
    }
    let (flow, number) = identify(packet, flows)?;
    let ecn = ecn_of(packet, flow)?;
    let id = free_identification(packet, flow, number);
    let expected = headers(flow, number, ecn, id);
    let (header, payload) = packet.split_at_checked(expected.bytes().len()).ok_or("a packet without its headers")?;
    if header != expected.bytes() {
        return Err(format!("the headers of {number:?} are {header:x?} instead of {:x?}", expected.bytes()));
    }
    check_payload(number, payload)?;
    each(number, ecn).map(|()| Written::Numbered)
}

/// The number of a packet, and its flow, from where they must be.
fn identify<'a>(packet: &[u8], flows: &'a [Flow]) -> Result<(&'a Flow, Number), String> {
    let (protocol, ip_len, later) = match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => (packet[9], 20, packet[6] & 0x1f != 0 || packet[7] != 0),
        Some(6) if packet.len() >= 48 && packet[6] == 44 => (packet[40], 48, packet[42] != 0 || packet[43] > 7),
        Some(6) if packet.len() >= 40 => (packet[6], 40, false),
        _ => return Err(format!("{} bytes that are no IP packet", packet.len())),
    };
    let transport_len = match protocol {
        _ if later => 0,
        TCP => 20,
        _ => 8,
    };
    let payload = packet.get(ip_len + transport_len..).unwrap_or_default();
    let number = if payload.is_empty() && [TCP, UDP].contains(&protocol) {
        let empty = packet.split_at_checked(ip_len);
        let number = empty.and_then(|(ip, transport)| unpack_empty(ip, transport, protocol == TCP));
        number.map(|(flow, sequence)| Number { flow, shape: Shape::Whole, sequence, len: 0 })
    } else {
        payload.first_chunk::<NUMBER_LEN>().and_then(|bits| Number::of_bits(u64::from_be_bytes(*bits)))
    };
    let number = number.ok_or_else(|| format!("a packet of protocol {protocol} that has no number"))?;
    let flow = flows.get(usize::from(number.flow)).ok_or_else(|| format!("{number:?} is of no flow"))?;
    let has_number = usize::from(number.len) >= NUMBER_LEN || payload.is_empty();
    if has_number { Ok((flow, number)) } else { Err(format!("{number:?} is shorter than a number")) }
}

/// The ECN field. On the way it can only become Congestion Experienced, and only where the transport learns of it.
fn ecn_of(packet: &[u8], flow: &Flow) -> Result<u8, String> {
    let ecn = if flow.is_v4() { packet[1] } else { packet[1] >> 4 } & ECN_MASK;
    let can_change = flow.ecn != 0 && ecn == CONGESTION_EXPERIENCED;
    if ecn == flow.ecn || can_change { Ok(ecn) } else { Err(format!("ECN {} became {ecn}", flow.ecn)) }
}

/// The identification of a packet that may have any: without fragmentation it means nothing.
fn free_identification(packet: &[u8], flow: &Flow, number: Number) -> Option<u16> {
    let is_free = flow.is_v4() && !flow.counts_up && number.shape == Shape::Whole && !is_empty_udp(flow, number);
    is_free.then(|| u16::from_be_bytes([packet[4], packet[5]]))
}

fn check_payload(number: Number, payload: &[u8]) -> Result<(), String> {
    if payload.len() != usize::from(number.len) {
        return Err(format!("{number:?} has {} bytes of payload", payload.len()));
    }
    if payload.get(NUMBER_LEN..).unwrap_or_default() == body(number) {
        Ok(())
    } else {
        Err(format!("the payload of {number:?} is another"))
    }
}

/// A super-packet: what the kernel will cut it into must be what was offered.
fn check_super<P: AsRef<[u8]>>(
    vnet: &[u8],
    packet: &[u8],
    rest: &[P],
    flows: &[Flow],
    each: &mut dyn FnMut(Number, u8) -> Result<(), String>,
) -> Result<(), String> {
    let (flow, first) = identify(packet, flows)?;
    let (ip_len, headers_len) =
        (flow.ip_len(Shape::Whole), flow.ip_len(Shape::Whole) + flow.transport_len(Shape::Whole));
    let (header, payload) = packet.split_at_checked(headers_len).ok_or("a super-packet without its headers")?;
    let pieces = || std::iter::once(payload).chain(rest.iter().map(AsRef::as_ref));
    let payload_len: usize = pieces().map(<[u8]>::len).sum();
    let number = |at: usize| u16::from_le_bytes([vnet[at], vnet[at + 1]]);
    let segment = usize::from(number(4));
    let said = (vnet[0], vnet[1], usize::from(number(2)), usize::from(number(6)), usize::from(number(8)));
    let expected = (1, gso_type(flow), headers_len, ip_len, checksum_at(flow));
    if said != expected || segment != payload.len() {
        return Err(format!("a super-packet of {first:?} says {said:?}, segments of {segment} bytes"));
    }
    check_super_header(flow, header, payload_len)?;
    let ecn = ecn_of(header, flow)?;
    let count = 1 + rest.len();
    for (n, piece) in pieces().enumerate() {
        let is_last = n + 1 == count;
        if piece.len() > segment || piece.len() < segment && !is_last {
            return Err(format!("a piece of {} bytes is no segment of {segment}", piece.len()));
        }
        let bits = piece.first_chunk::<NUMBER_LEN>().ok_or("a segment without a number")?;
        let number = Number::of_bits(u64::from_be_bytes(*bits)).filter(|number| number.flow == flow.id);
        let number = number.ok_or_else(|| format!("segment {n} of a super-packet of {first:?} is of another flow"))?;
        check_segment(flow, header, (n, is_last, segment), &headers(flow, number, ecn, None), number)?;
        check_payload(number, piece)?;
        each(number, ecn)?;
    }
    Ok(())
}

/// What the header of a super-packet says of it as a whole.
fn check_super_header(flow: &Flow, header: &[u8], payload_len: usize) -> Result<(), String> {
    let ip_len = flow.ip_len(Shape::Whole);
    let behind = header.len() - ip_len + payload_len;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (said, len) = if flow.is_v4() { (word(2), 20 + behind) } else { (word(4), behind) };
    let udp_len = if flow.transport == Transport::Udp { usize::from(word(ip_len + 4)) } else { behind };
    let sum_is_right = !flow.is_v4() || fold(sum(&header[..20])) == 0xffff;
    let pseudo = word(ip_len + checksum_at(flow)) == fold(pseudo_sum(flow, behind));
    if usize::from(said) != len || udp_len != behind || !sum_is_right || !pseudo {
        return Err(format!("the headers of a super-packet with {payload_len} bytes are {header:x?}"));
    }
    Ok(())
}

/// What the kernel makes of the header for one segment.
fn check_segment(
    flow: &Flow,
    header: &[u8],
    (n, is_last, segment): (usize, bool, usize),
    expected: &Headers,
    number: Number,
) -> Result<(), String> {
    let (ip_len, e) = (flow.ip_len(Shape::Whole), expected.bytes());
    let word = |from: &[u8], at: usize| u16::from_be_bytes([from[at], from[at + 1]]);
    let same = |range: std::ops::Range<usize>| header[range.clone()] == e[range];
    let ip_is_right = match flow.is_v4() {
        true => {
            let id = word(header, 4).wrapping_add(n as u16);
            let id_is_right = !flow.counts_up || id == word(e, 4);
            same(0..2) && id_is_right && same(6..10) && same(12..20)
        }
        false => same(0..4) && same(6..40),
    };
    let at = |offset: usize| ip_len + offset;
    let transport_is_right = match flow.transport {
        Transport::Tcp => {
            let sequence = u32::from_be_bytes([header[at(4)], header[at(5)], header[at(6)], header[at(7)]]);
            let sequence = sequence.wrapping_add((n * segment) as u32);
            let flags = if is_last { header[at(13)] } else { header[at(13)] & !PUSH };
            let varying = sequence == tcp_sequence(flow, number.sequence) && flags == tcp_flags(flow, number.len);
            varying && same(at(0)..at(4)) && same(at(8)..at(13)) && same(at(14)..at(16)) && same(at(18)..at(20))
        }
        _ => same(at(0)..at(4)),
    };
    if ip_is_right && transport_is_right {
        return Ok(());
    }
    Err(format!(
        "segment {n} of a super-packet, {number:?}, has the headers {header:x?} before it is cut, and had {e:x?}"
    ))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vnet_packets::{Segments, virtio};

    use super::super::{FIRST_LEN, LATER_LEN, write_packet, write_super};
    use super::*;

    fn flow(transport: Transport, v4: bool) -> Flow {
        let address = |n: u8| -> IpAddr {
            if v4 { [10, 0, n, 1].into() } else { [0xfd, 0, 0, 0, 0, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 1].into() }
        };
        Flow {
            id: 0,
            source: address(1),
            destination: address(2),
            transport,
            dscp: 10,
            segment: 700,
            ecn: 2,
            lone: true,
            counts_up: true,
        }
    }

    fn read(flow: Flow, bytes: &[u8]) -> Result<Vec<u32>, String> {
        let mut seen = Vec::new();
        check(&[bytes], &[flow], &mut |number, _| {
            seen.push(number.sequence);
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn what_is_written_is_recognised_and_each_changed_bit_is_noticed() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Icmp] {
            for v4 in [true, false] {
                let flow = flow(transport, v4);
                let shapes =
                    [(Shape::Whole, 99), (Shape::Whole, 0), (Shape::First, FIRST_LEN), (Shape::Later, LATER_LEN)];
                let count = match transport {
                    Transport::Udp => 4,
                    Transport::Tcp => 2,
                    Transport::Icmp => 1,
                };
                for (shape, len) in shapes.into_iter().take(count) {
                    let number = Number { flow: 0, shape, sequence: 7, len };
                    let mut packet = [0; 2_000];
                    let len = write_packet(&flow, number, false, &mut packet);
                    assert_eq!(read(flow, &packet[..len]), Ok(vec![7]), "{transport:?} {shape:?}");
                    for bit in 8 * ROOM..8 * len {
                        packet[bit / 8] ^= 1 << (bit % 8);
                        // A router may say Congestion Experienced, but over IPv4 the checksum then says so as well.
                        let is_mark = !v4 && bit == 8 * (ROOM + 1) + 4;
                        // No checksum has the flow label and the hop limit, where an empty datagram has its number.
                        let is_number = !v4 && is_empty_udp(&flow, number) && [2, 3, 7].contains(&(bit / 8 - ROOM));
                        let may_change = is_mark || is_number;
                        assert!(read(flow, &packet[..len]).is_err() || may_change, "bit {bit} of {len} bytes");
                        packet[bit / 8] ^= 1 << (bit % 8);
                    }
                }
            }
        }
    }

    /// As far as the gateway looks. Otherwise packets might overtake each other when numbers go round.
    #[test]
    fn a_flow_stays_one_flow_whatever_its_numbers() {
        for transport in [Transport::Udp, Transport::Tcp] {
            for v4 in [true, false] {
                let flow = flow(transport, v4);
                let ports = [7, 65_543, 12_000_007].map(|sequence| {
                    let mut packet = [0; 2_000];
                    let number = Number { flow: 0, shape: Shape::Whole, sequence, len: 0 };
                    let len = write_packet(&flow, number, false, &mut packet);
                    assert_eq!(read(flow, &packet[..len]), Ok(vec![sequence]), "{transport:?}");
                    let transport = ROOM + if v4 { 20 } else { 40 };
                    packet[transport..transport + 4].to_vec()
                });
                assert_eq!((&ports[0], &ports[0]), (&ports[1], &ports[2]));
            }
        }
    }

    #[test]
    fn checksums_are_those_of_the_gateway() {
        for transport in [Transport::Udp, Transport::Tcp] {
            for v4 in [true, false] {
                let (flow, mut whole, mut partial) = (flow(transport, v4), [0; 2_000], [0; 2_000]);
                let number = flow.number(9, 333);
                let len = write_packet(&flow, number, false, &mut whole);
                write_packet(&flow, number, true, &mut partial);
                let Ok(virtio::Received::Packet(Some(left))) = virtio::parse(&partial[..len]) else {
                    panic!("it is partial")
                };
                left.complete(&mut partial[ROOM..len]).unwrap();
                assert_eq!(whole[ROOM..len], partial[ROOM..len]);
            }
        }
    }

    #[test]
    fn a_super_packet_is_cut_into_what_was_meant() {
        for transport in [Transport::Udp, Transport::Tcp] {
            for v4 in [true, false] {
                let (flow, mut bytes) = (Flow { lone: false, ..flow(transport, v4) }, [0; 9_000]);
                let len = write_super(&flow, 5, 4, 100, &mut bytes);
                let Ok(virtio::Received::Super(geometry)) = virtio::parse(&bytes[..len]) else {
                    panic!("a super-packet")
                };
                for (n, segment) in Segments::new(&bytes[ROOM..len], geometry).unwrap().enumerate() {
                    let mut packet = vec![0; ROOM + segment.len()];
                    segment.write(&mut packet[ROOM..]);
                    assert_eq!(read(flow, &packet), Ok(vec![5 + n as u32]));
                }
            }
        }
    }
}
