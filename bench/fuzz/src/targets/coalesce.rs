//! There and back: packets are merged into super-packets, which are cut up again. Each comes out once, in the order of
//! its flow, and as it was, except the IPv4 identification under DF, which means nothing (RFC 6864 section 4.1).
//!
//! The input: operations of four bytes, some with a packet behind.

use std::collections::BTreeMap;

use ring_buffers::View;
use vnet_packets::virtio::parse;
use vnet_packets::{Coalescer, Merge, OuterOffset, Received, SEGMENTS_MAX, Segments, VNET_HDR_LEN};

use crate::Seed;
use crate::input::Input;
use crate::oracle::{Flow, Located};
use crate::packets::Packet;

const FLOWS: usize = 16;
const PAYLOAD_MAX: usize = 255 * 6 + 7;
const VXLAN_AND_ETHERNET: usize = 8 + 14;

/// A packet as it was pushed or as it came out.
#[derive(Clone, Debug)]
struct Passed {
    bytes: Vec<u8>,
    /// Whether it was part of a super-packet, whose headers were made anew.
    merged: Option<Merged>,
    /// Of a fragment: packets before it of the flows between its addresses, of any of which it may be.
    before: usize,
}

/// Which headers of a packet were made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merged {
    Plain,
    /// Those of the packet inside as well.
    InTunnel,
}

/// What each flow has sent. Packets of no flow are under `None`, and may overtake each other and all flows; fragments
/// no flow between their addresses.
type Flows = BTreeMap<Option<Flow>, Vec<Passed>>;

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    sequence: u32,
    identification: u16,
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut coalescer = Coalescer::new(Merge::ALL);
    let (mut pushed, mut written) = (Flows::new(), Flows::new());
    let mut counters = [Counters::default(); FLOWS];
    while !input.is_empty() {
        let mut write = |pieces: &mut Vec<View>| collect(pieces, &mut written);
        let [operation, a, b, c] = input.array();
        let packet = match operation & 15 {
            0..=10 => next_packet(&mut counters, operation >> 4, a, b, c),
            11 => {
                let mut packet = next_packet(&mut counters, 0, a, b, 0);
                let at = usize::from(c) % packet.len();
                packet[at] ^= operation >> 4 | 1;
                packet
            }
            12 => input.take(a.into()).to_vec(),
            13 => {
                coalescer.flush(&mut write);
                continue;
            }
            14 => {
                coalescer.set_merge(Merge {
                    tcp: a & 1 == 0,
                    udp: a & 2 == 0,
                    tunnels: (a & 4 == 0).then_some(OuterOffset::Exact),
                    inner_ipv6: a & 8 == 0,
                });
                continue;
            }
            _ => {
                coalescer.push(View::heap(vec![0; usize::from(a) % VNET_HDR_LEN]), &mut write);
                continue;
            }
        };
        note(&mut pushed, packet.clone(), None);
        coalescer.push(View::heap([&[0xee; VNET_HDR_LEN], &packet[..]].concat()), &mut write);
    }
    coalescer.flush(&mut |pieces: &mut Vec<View>| collect(pieces, &mut written));
    coalescer.flush(&mut |_: &mut Vec<View>| panic!("nothing is left after a flush"));
    compare(pushed, written);
}

/// The packet that continues a flow, with one thing about it that does not.
fn next_packet(counters: &mut [Counters; FLOWS], oddity: u8, a: u8, b: u8, c: u8) -> Vec<u8> {
    let flow = usize::from(a) % FLOWS;
    let payload: [u8; PAYLOAD_MAX] = std::array::from_fn(|i| (i as u8).wrapping_mul(31).wrapping_add(c));
    let len = usize::from(b) * 6 + usize::from(a >> 4 & 7);
    let version = if flow & 1 == 0 { 4 } else { 6 };
    let counter = &mut counters[flow];
    let mut packet = match flow & 2 {
        0 => Packet::tcp(version, &payload[..len]),
        _ => Packet::udp(version, &payload[..len]),
    };
    packet.flow = flow as u8;
    packet.sequence = counter.sequence;
    packet.identification = counter.identification;
    match oddity {
        1 => packet.flags |= 0x08,
        2 => packet.flags |= 0x01,
        3 => packet.ttl = c,
        4 => packet.sequence = packet.sequence.wrapping_add(u32::from(c)),
        5 => packet.window = c.into(),
        6 => packet.fragment = 0,
        7 => packet.identification = packet.identification.wrapping_add(c.into()),
        8 => packet.tos = c,
        9 => packet.flags = c,
        10 => packet.fragment = u16::from(c) << 8,
        // As a sender that leaves the identification alone.
        11 => counter.identification = counter.identification.wrapping_sub(1),
        _ => {}
    }
    counter.sequence = packet.sequence.wrapping_add(len as u32);
    counter.identification = counter.identification.wrapping_add(1);
    let mut bytes = match flow >> 2 {
        0 | 2 => packet.bytes(),
        // The outer UDP of the others has no checksum.
        n => packet.in_vxlan(if c & 1 == 0 { 4 } else { 6 }, n == 1),
    };
    match oddity {
        12 => bytes.extend([0; 3]),
        // UDP without a checksum; for TCP a wrong one.
        13 => {
            if let Some(located) = Located::of(&bytes) {
                bytes[located.checksum()..located.checksum() + 2].fill(0);
            }
        }
        14 => *bytes.last_mut().expect("a packet has headers") ^= 1,
        15 => bytes[10] ^= c,
        _ => {}
    }
    bytes
}

fn flow_of(packet: &[u8]) -> Option<Flow> {
    Located::of(packet).map(|located| located.flow(packet))
}

fn note(flows: &mut Flows, bytes: Vec<u8>, merged: Option<Merged>) {
    let before = fragment_addresses(&bytes).map_or(0, |addresses| {
        let between = |flow: &Option<Flow>| flow.as_ref().is_some_and(|flow| flow.addresses == addresses);
        flows.iter().filter(|(flow, _)| between(flow)).map(|(_, passed)| passed.len()).sum()
    });
    flows.entry(flow_of(&bytes)).or_default().push(Passed { bytes, merged, before });
}

/// The addresses of an IPv4 fragment.
fn fragment_addresses(packet: &[u8]) -> Option<&[u8]> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    (header[0] >> 4 == 4 && is_fragment).then_some(&packet[12..20])
}

/// One write to the TUN, as the kernel understands it.
fn collect(pieces: &mut Vec<View>, written: &mut Flows) {
    assert!((1..=SEGMENTS_MAX).contains(&pieces.len()), "{} pieces", pieces.len());
    let count = pieces.len();
    let write: Vec<u8> = pieces.drain(..).flat_map(|piece| piece.to_vec()).collect();
    let packet = &write[VNET_HDR_LEN..];
    match parse(&write).expect("a well-formed write") {
        Received::Packet(partial) => {
            assert!(partial.is_none() && count == 1, "a lone packet is complete");
            assert_eq!(write[..VNET_HDR_LEN], [0; VNET_HDR_LEN]);
            note(written, packet.to_vec(), None);
        }
        Received::Super(geometry) => {
            assert_eq!(geometry.end as usize, packet.len());
            assert!(packet.len() <= 65_535 && count > 1);
            let segments = Segments::new(packet, geometry).expect("its own geometry");
            assert_eq!(segments.len(), count, "one segment for each packet that was merged");
            for segment in segments {
                let mut bytes = vec![0; segment.header_len()];
                segment.write_headers(&mut bytes);
                bytes.extend(segment.payload());
                let merged = if geometry.tunnel.is_some() { Merged::InTunnel } else { Merged::Plain };
                note(written, bytes, Some(merged));
            }
        }
    }
}

fn compare(mut pushed: Flows, mut written: Flows) {
    for unordered in [&mut pushed, &mut written].into_iter().filter_map(|flows| flows.get_mut(&None)) {
        unordered.sort_by(|a, b| (&a.bytes, a.before).cmp(&(&b.bytes, b.before)));
    }
    assert!(pushed.keys().eq(written.keys()), "flows are neither lost nor made up");
    for (flow, sent) in pushed {
        let came = &written[&flow];
        assert_eq!(sent.len(), came.len(), "packets of {flow:?}");
        for (place, (sent, came)) in sent.iter().zip(came).enumerate() {
            if let Some(merged) = came.merged {
                assert_eq!(essence(&sent.bytes, merged), essence(&came.bytes, merged), "packet {place} of {flow:?}");
            } else {
                assert_eq!(sent.bytes, came.bytes, "packet {place} of {flow:?} went through alone");
                assert_eq!(sent.before, came.before, "a fragment, and packets of flows between its addresses");
            }
        }
    }
}

/// A packet with right checksums, without what may change: the identification under DF, and which of its two forms a
/// checksum of zero has.
fn essence(packet: &[u8], merged: Merged) -> Vec<u8> {
    let located = Located::of(packet).expect("only TCP and UDP packets are merged");
    let (checksum, dont_fragment) = (located.checksum(), packet[6] & 0x40 != 0);
    let is_absent = merged == Merged::InTunnel && packet[checksum..checksum + 2] == [0, 0];
    let is_intact = located.header_is_intact(packet) && (is_absent || located.transport_is_intact(packet));
    assert!(is_intact, "merging hides no damage");
    let mut packet = packet.to_vec();
    if merged == Merged::InTunnel {
        let inner = essence(&packet[located.payload + VXLAN_AND_ETHERNET..], Merged::Plain);
        packet.truncate(located.payload + VXLAN_AND_ETHERNET);
        packet.extend(inner);
        packet.push(is_absent.into());
    }
    packet[checksum..checksum + 2].fill(0);
    if located.is_ipv4 {
        packet[10..12].fill(0);
        if dont_fragment {
            packet[4..6].fill(0);
        }
    }
    packet
}

pub(super) fn seeds() -> Vec<Seed> {
    let run = |flow: u8, count: usize, len: u8| [0, flow, len, flow].repeat(count);
    let odd: Vec<u8> =
        (0..16).flat_map(|oddity: u8| [run(0, 2, 40), vec![oddity << 4, 0, 40, 0x5a]].concat()).collect();
    let odd_udp: Vec<u8> =
        (0..16).flat_map(|oddity: u8| [run(2, 2, 9), vec![oddity << 4, 2, 9, 0x5a]].concat()).collect();
    let odd_vxlan: Vec<u8> =
        (0..16).flat_map(|oddity: u8| [run(4, 2, 40), vec![oddity << 4, 4, 40, 0x5a]].concat()).collect();
    let fragments: Vec<u8> =
        (0..4).flat_map(|i: u8| [run(2, 3, 40), vec![10 << 4, 2, 40, 0x20 + i]].concat()).collect();
    let interleaved: Vec<u8> = (0..48).flat_map(|i: u8| [0, i % 12, 30, i]).collect();
    let shrinking: Vec<u8> = (0..20).flat_map(|i: u8| [0, 1, 60 - 3 * i, i]).collect();
    let switched = [run(0, 2, 20), vec![14, 1, 0, 0], run(0, 2, 20), vec![14, 0, 0, 0], run(0, 2, 20)].concat();
    let damaged: Vec<u8> = (0..20).flat_map(|i: u8| [run(1, 2, 5), vec![11, 1, 5, i]].concat()).collect();
    let raw = [&[12, 20, 0, 0][..], &[0x45; 20], &[12, 40, 0, 0], &[0x60; 40], &[12, 0, 0, 0, 15, 3, 0, 0]].concat();
    vec![
        Seed::new("runs", [run(0, 5, 200), run(1, 5, 200), run(2, 5, 200), run(3, 5, 200)].concat()),
        Seed::new("longest-run", run(2, 70, 1)),
        Seed::new("largest-run", run(1, 48, 240)),
        Seed::new("oddities-tcp4", odd),
        Seed::new("oddities-udp4", odd_udp),
        Seed::new("fragments-between", fragments),
        Seed::new("more-flows-than-runs", interleaved),
        Seed::new("shrinking", shrinking),
        Seed::new("switched-off-and-on", switched),
        Seed::new("damaged", damaged),
        Seed::new("not-tcp-nor-udp", raw),
        Seed::new("in-vxlan", [run(4, 5, 200), run(6, 5, 200), run(12, 5, 200), run(14, 5, 9)].concat()),
        Seed::new("in-vxlan-over-ipv6", [run(5, 5, 200), run(7, 5, 200), run(13, 5, 200), run(15, 5, 9)].concat()),
        Seed::new("oddities-in-vxlan", odd_vxlan),
    ]
}
