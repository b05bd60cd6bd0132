use proptest::prelude::*;

use super::*;
use crate::sample::{KINDS, Packet, payload};
use crate::segment::Segments;
use crate::virtio::{Received, SuperKind, parse};

#[path = "order_tests.rs"]
mod order;

const ALL: Merge = Merge::ALL;

fn view(packet: &[u8]) -> View {
    View::heap([&[0xee; VNET_HDR_LEN], packet].concat())
}

/// What is written for `packets`, each write in one piece.
fn writes_with(merge: Merge, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut writes = Vec::new();
    let mut write = |pieces: &mut Vec<View>| {
        assert!((1..=SEGMENTS_MAX).contains(&pieces.len()));
        writes.push(pieces.drain(..).flat_map(|piece| piece.to_vec()).collect());
    };
    let mut coalescer = Coalescer::new(merge);
    for packet in packets {
        coalescer.push(view(packet), &mut write);
    }
    coalescer.flush(&mut write);
    writes
}

fn writes(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    writes_with(ALL, packets)
}

/// How many packets each write holds.
fn sizes(packets: &[Packet]) -> Vec<usize> {
    let packets: Vec<_> = packets.iter().map(Packet::bytes).collect();
    writes(&packets).iter().map(|write| split(write).len()).collect()
}

/// Cuts up a write as the kernel would.
fn split(write: &[u8]) -> Vec<Vec<u8>> {
    let packet = &write[VNET_HDR_LEN..];
    match parse(write).expect("a well-formed write") {
        Received::Packet(partial) => {
            assert_eq!(partial, None);
            vec![packet.to_vec()]
        }
        Received::Super(geometry) => {
            assert_eq!(geometry.end as usize, packet.len());
            assert!(packet.len() <= LEN_MAX && geometry.segments() > 1);
            Segments::new(packet, geometry)
                .expect("its own geometry")
                .map(|segment| {
                    let mut bytes = vec![0; segment.header_len()];
                    segment.write_headers(&mut bytes);
                    bytes.extend(segment.payload());
                    bytes
                })
                .collect()
        }
    }
}

/// `count` packets of a flow in a row, the last with `last` bytes.
fn run_of(template: &Packet, count: usize, last: usize) -> Vec<Packet> {
    (0..count)
        .map(|i| {
            template.clone().with(|p| {
                p.sequence = p.sequence.wrapping_add((i * p.payload.len()) as u32);
                p.identification = p.identification.wrapping_add(i as u16);
                if i + 1 == count {
                    p.payload.truncate(last);
                }
                p.payload.iter_mut().for_each(|b| *b ^= i as u8);
            })
        })
        .collect()
}

#[test]
fn a_run_of_each_kind_is_one_write_and_cuts_up_to_itself() {
    for kind in KINDS {
        for last in [1, 999, 1000] {
            let packets: Vec<_> = run_of(&Packet::new(kind), 20, last).iter().map(Packet::bytes).collect();
            let writes = writes(&packets);
            assert_eq!(writes.len(), 1, "{kind:?}");
            assert_eq!(split(&writes[0]), packets, "{kind:?}, last {last}");
        }
    }
}

#[test]
fn the_payload_stays_where_it_is() {
    let packets = run_of(&Packet::new(SuperKind::Tcp4), 3, 500);
    let mut coalescer = Coalescer::new(ALL);
    let mut addresses = Vec::new();
    for packet in &packets {
        let view = view(&packet.bytes());
        let skip = if addresses.is_empty() { 0 } else { VNET_HDR_LEN + packet.header_len() };
        addresses.push((view[skip..].as_ptr(), view.len() - skip));
        coalescer.push(view, &mut |pieces: &mut Vec<View>| {
            // The third is shorter and ends the run.
            let at: Vec<_> = pieces.iter().map(|piece| (piece.as_ptr(), piece.len())).collect();
            assert_eq!((at.len(), &at), (3, &addresses));
        });
    }
    coalescer.flush(&mut |_: &mut Vec<View>| panic!("everything was written, and what was left is dropped"));
}

#[test]
fn a_lone_packet_is_written_as_it_is() {
    for kind in KINDS {
        let packet = Packet::new(kind).bytes();
        let writes = writes(std::slice::from_ref(&packet));
        assert_eq!(writes, [[&[0; VNET_HDR_LEN], &packet[..]].concat()]);
    }
    for other in [&b""[..], b"x", &[0x45; 20], &[0x60; 40], &[0xff; 100]] {
        assert_eq!(writes(&[other.to_vec()]), [[&[0; VNET_HDR_LEN], other].concat()]);
    }
}

#[test]
fn a_view_without_room_for_the_header_is_dropped() {
    let mut coalescer = Coalescer::new(ALL);
    coalescer.push(View::heap(vec![0; VNET_HDR_LEN - 1]), &mut |_: &mut Vec<View>| panic!("there is no room for it"));
}

#[test]
fn limits_of_segments_and_bytes() {
    let small = Packet::new(SuperKind::Udp4).with(|p| p.payload.truncate(10));
    assert_eq!(sizes(&run_of(&small, 150, 10)), [64, 64, 22]);
    // 52 bytes of headers and 45 × 1448 would be 65,212; one more would be beyond 65,535.
    let large = Packet::new(SuperKind::Tcp4).with(|p| p.payload = payload(1448));
    assert_eq!(sizes(&run_of(&large, 60, 1448)), [45, 15]);
    let jumbo = Packet::new(SuperKind::Udp6).with(|p| p.payload = payload(40_000));
    assert_eq!(sizes(&run_of(&jumbo, 2, 40_000)), [1, 1]);
}

#[test]
fn a_shorter_packet_ends_a_run_and_a_longer_one_begins_another() {
    for kind in KINDS {
        let mut packets = run_of(&Packet::new(kind), 3, 400);
        packets.extend(run_of(&packets[2].clone().with(|p| next_of(p, 1)), 2, 400));
        assert_eq!(sizes(&packets), [3, 2], "{kind:?}");
        let shorts = run_of(&Packet::new(kind).with(|p| p.payload.truncate(100)), 2, 100);
        let long = shorts[1].clone().with(|p| {
            next_of(p, 1);
            p.payload = payload(101);
        });
        assert_eq!(sizes(&[&shorts[..], &[long]].concat()), [2, 1], "{kind:?}");
    }
}

/// Makes `p` the packet that is `steps` after it.
fn next_of(p: &mut Packet, steps: usize) {
    p.sequence = p.sequence.wrapping_add((steps * p.payload.len()) as u32);
    p.identification = p.identification.wrapping_add(steps as u16);
}

#[test]
fn header_fields_that_must_be_equal() {
    type Change = (&'static str, fn(&mut Packet));
    let changes: [Change; 12] = [
        ("ttl", |p| p.ttl -= 1),
        ("tos", |p| p.tos = 0x10),
        ("ecn", |p| p.tos = 3),
        ("gap", |p| p.sequence = p.sequence.wrapping_add(1)),
        ("overlap", |p| p.sequence = p.sequence.wrapping_sub(1)),
        ("acknowledgement", |p| p.acknowledgement += 1),
        ("window", |p| p.window += 1),
        ("timestamp", |p| p.options[7] += 1),
        ("other options", |p| p.options.extend([1; 4])),
        ("ece", |p| p.flags |= 0x40),
        ("identification", |p| p.identification = p.identification.wrapping_add(5)),
        ("df", |p| p.dont_fragment = false),
    ];
    for kind in KINDS {
        for (name, change) in changes {
            let tcp_only =
                ["gap", "overlap", "acknowledgement", "window", "timestamp", "other options", "ece"].contains(&name);
            let ipv4_only = ["identification", "df"].contains(&name);
            if (tcp_only && !kind.is_tcp()) || (ipv4_only && !kind.is_ipv4()) {
                continue;
            }
            let mut packets = run_of(&Packet::new(kind), 4, 1000);
            change(&mut packets[2]);
            let sizes = sizes(&packets);
            assert_eq!(sizes[0], 2, "{kind:?}, {name}: {sizes:?}");
        }
    }
}

#[test]
fn flags_that_end_a_run_and_flags_that_never_join_one() {
    let flags = |flags: u8| {
        let mut packets = run_of(&Packet::new(SuperKind::Tcp4), 5, 1000);
        packets[2].flags = flags;
        sizes(&packets)
    };
    assert_eq!(flags(0x18), [3, 2], "PSH");
    assert_eq!(flags(0x11), [3, 2], "FIN");
    for alone in [0x12, 0x14, 0x30, 0x90, 0x00] {
        assert_eq!(flags(alone), [2, 1, 2], "{alone:#x}");
    }
    let mut packets = run_of(&Packet::new(SuperKind::Tcp6), 3, 1000);
    packets[0].flags = 0x18;
    assert_eq!(sizes(&packets), [1, 2], "PSH on the first");
}

#[test]
fn identification_constant_only_without_fragmentation() {
    for (dont_fragment, want) in [(true, vec![4]), (false, vec![1; 4])] {
        let packets: Vec<_> = run_of(&Packet::new(SuperKind::Udp4), 4, 1000)
            .into_iter()
            .map(|p| {
                p.with(|p| {
                    p.identification = 0;
                    p.dont_fragment = dont_fragment;
                })
            })
            .collect();
        assert_eq!(sizes(&packets), want);
    }
    // Neither becomes the other within a run.
    let mut packets = run_of(&Packet::new(SuperKind::Udp4), 4, 1000);
    packets[3].identification = packets[0].identification;
    assert_eq!(sizes(&packets), [3, 1]);
}

#[test]
fn checksums_are_verified_before_merging() {
    for kind in KINDS {
        for damaged in 0..4 {
            let mut packets: Vec<_> = run_of(&Packet::new(kind), 4, 1000).iter().map(Packet::bytes).collect();
            *packets[damaged].last_mut().expect("not empty") ^= 1;
            let writes = writes(&packets);
            let all: Vec<_> = writes.iter().flat_map(|write| split(write)).collect();
            assert_eq!(all, packets, "{kind:?}: the damaged one arrives as it is");
            assert_eq!(writes.len(), [2, 3, 3, 2][damaged], "{kind:?}, {damaged}");
        }
    }
    let mut packets: Vec<_> = run_of(&Packet::new(SuperKind::Udp4), 3, 1000).iter().map(Packet::bytes).collect();
    packets[1][10] ^= 1;
    let all: Vec<_> = writes(&packets).iter().flat_map(|write| split(write)).collect();
    assert_eq!(all, packets, "the IPv4 header's own checksum");
}

#[test]
fn udp_without_a_checksum_or_with_a_wrong_length_is_left_alone() {
    for (at, bytes) in [(26, [0, 0]), (24, [0, 9])] {
        let mut packets: Vec<_> = run_of(&Packet::new(SuperKind::Udp4), 3, 1000).iter().map(Packet::bytes).collect();
        packets.iter_mut().for_each(|p| p[at..at + 2].copy_from_slice(&bytes));
        assert_eq!(writes(&packets).len(), 3);
    }
}

#[test]
fn padding_behind_a_packet_keeps_it_out() {
    let mut packets: Vec<_> = run_of(&Packet::new(SuperKind::Udp4), 3, 1000).iter().map(Packet::bytes).collect();
    packets[1].push(0);
    assert_eq!(writes(&packets).len(), 3);
}

#[test]
fn transports_are_switched_off_one_by_one() {
    let mut packets = Vec::new();
    for i in 0..6 {
        for kind in [SuperKind::Tcp4, SuperKind::Udp4] {
            packets.push(Packet::new(kind).with(|p| next_of(p, i)).bytes());
        }
    }
    let count = |tcp, udp| writes_with(Merge { tcp, udp, ..Merge::NONE }, &packets).len();
    assert_eq!((count(true, true), count(true, false), count(false, true), count(false, false)), (2, 7, 7, 12));
}

#[test]
fn interleaved_flows_are_merged_each() {
    let flows = |n: u8| -> Vec<Vec<u8>> {
        (0..6)
            .flat_map(|i| (0..n).map(move |flow| (i, flow)))
            .map(|(i, flow)| {
                Packet::new(KINDS[usize::from(flow) % 4])
                    .with(|p| {
                        p.flow = flow;
                        next_of(p, i);
                    })
                    .bytes()
            })
            .collect()
    };
    assert_eq!(writes(&flows(FLOWS_MAX as u8)).len(), FLOWS_MAX);
    // One more than there is room for: nothing is lost, and nothing is merged.
    assert_eq!(writes(&flows(FLOWS_MAX as u8 + 1)).len(), 6 * (FLOWS_MAX + 1));
}

/// Fewer under Miri, which is a thousand times slower.
const STEPS_MAX: usize = if cfg!(miri) { 20 } else { 200 };

/// A packet of a few flows that mostly continues its flow.
fn step() -> impl Strategy<Value = (u8, usize, u8, u8)> {
    (0..6u8, prop_oneof![4 => Just(100usize), 1 => 0..100usize, 1 => 101..3000usize], 0..40u8, any::<u8>())
}

/// The packet without the IPv4 identification where that means nothing (and so without the header's checksum).
fn normal(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

proptest! {
    /// Whatever comes in comes out: per flow in order and byte for byte, once the writes are cut up.
    #[test]
    fn splitting_what_was_merged_gives_what_came_in(steps in prop::collection::vec(step(), 0..STEPS_MAX)) {
        let mut next: Vec<Packet> = (0..6).map(|flow| Packet::new(KINDS[flow % 4]).with(|p| {
            p.flow = flow as u8;
            p.dont_fragment = flow % 2 == 0;
        })).collect();
        let mut sent = vec![Vec::new(); 6];
        let mut packets = Vec::new();
        for (flow, len, event, noise) in steps {
            let state = &mut next[usize::from(flow)];
            let mut packet = state.clone().with(|p| p.payload = payload(len));
            match event {
                0 => packet.flags = noise,
                1 => packet.flags |= PSH,
                2 => state.sequence = state.sequence.wrapping_add(u32::from(noise)),
                3 => state.acknowledgement += 1,
                4 => state.identification = u16::from(noise),
                5 => packet.ttl = noise,
                6 => state.window = u16::from(noise),
                _ => {}
            }
            let mut bytes = packet.bytes();
            if event == 7 {
                // The payload, or else the IPv4 TTL or the IPv6 hop limit.
                let lifetime = [8, 7][usize::from(flow) % 2];
                let at = if len > 0 { packet.header_len() + usize::from(noise) % len } else { lifetime };
                bytes[at] ^= 0x40;
            }
            state.sequence = state.sequence.wrapping_add(len as u32);
            state.identification = state.identification.wrapping_add(1);
            sent[usize::from(flow)].push(normal(bytes.clone()));
            packets.push(bytes);
        }
        let mut got = vec![Vec::new(); 6];
        for packet in writes(&packets).iter().flat_map(|write| split(write)) {
            let flow = packet[if packet[0] >> 4 == 4 { 15 } else { 23 }];
            got[usize::from(flow)].push(normal(packet));
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn noise_passes_unchanged(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..50)) {
        let mut got: Vec<_> = writes(&packets).into_iter().map(|write| write[VNET_HDR_LEN..].to_vec()).collect();
        let mut sent = packets;
        got.sort();
        sent.sort();
        prop_assert_eq!(got, sent);
    }
}
