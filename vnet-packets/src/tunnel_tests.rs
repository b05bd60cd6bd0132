use proptest::prelude::*;
use ring_buffers::View;

use super::*;
use crate::coalesce::{Coalescer, Merge};
use crate::sample::{KINDS, Packet, payload};
use crate::segment::Segments;
use crate::virtio::{Received, Super, SuperKind, VNET_HDR_LEN, WriteHeader, parse};
use crate::{SEGMENTS_MAX, VnetError};

const OUTER: [SuperKind; 2] = [SuperKind::Udp4, SuperKind::Udp6];

/// A flow in a tunnel, packet by packet.
#[derive(Clone, Debug)]
struct Flow {
    inner: Packet,
    outer: Packet,
    geneve: bool,
}

impl Flow {
    fn new(inner: SuperKind, outer: SuperKind) -> Self {
        Self { inner: Packet::new(inner), outer: Packet::new(outer), geneve: false }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn packet(&self) -> Packet {
        if self.geneve { self.inner.in_geneve(&self.outer) } else { self.inner.in_vxlan(&self.outer) }
    }

    fn geometry(&self, segment: u16) -> Super {
        self.inner.geometry_in(&self.packet(), segment)
    }

    /// As the sender's own stack would have made the packets of a payload, one by one.
    fn run(&self, segment: usize) -> Vec<Vec<u8>> {
        let whole = &self.inner.payload;
        let count = whole.len().div_ceil(segment).max(1);
        let one = |i: usize| {
            self.clone().with(|flow| {
                let (inner, outer) = (&mut flow.inner, &mut flow.outer);
                inner.payload = whole[i * segment..((i + 1) * segment).min(whole.len())].to_vec();
                inner.identification = inner.identification.wrapping_add(i as u16);
                outer.identification = outer.identification.wrapping_add(i as u16);
                inner.sequence = inner.sequence.wrapping_add((i * segment) as u32);
                if i + 1 < count {
                    inner.flags &= !0x09;
                }
                if i > 0 {
                    inner.flags &= !0x80;
                }
            })
        };
        (0..count).map(|i| one(i).packet().bytes()).collect()
    }
}

/// Every inner flow in every tunnel.
fn flows() -> impl Iterator<Item = Flow> {
    let tunnels = OUTER.into_iter().flat_map(|outer| [(outer, false), (outer, true)]);
    let tunnels = tunnels.flat_map(|(outer, geneve)| [(outer, geneve, false), (outer, geneve, true)]);
    tunnels.flat_map(|(outer, geneve, checksum)| {
        KINDS.map(|inner| {
            Flow::new(inner, outer).with(|flow| {
                flow.geneve = geneve;
                flow.outer.checksum = checksum;
            })
        })
    })
}

fn cut(packet: &[u8], geometry: Super) -> Vec<Vec<u8>> {
    let segments = Segments::new(packet, geometry).expect("the geometry is that of the packet");
    segments
        .map(|segment| {
            let mut bytes = vec![0xee; segment.len()];
            segment.write(&mut bytes);
            bytes
        })
        .collect()
}

fn writes_with(merge: Merge, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut writes = Vec::new();
    let mut write = |pieces: &mut Vec<View>| writes.push(pieces.drain(..).flat_map(|piece| piece.to_vec()).collect());
    let mut coalescer = Coalescer::new(merge);
    for packet in packets {
        coalescer.push(View::heap([&[0xee; VNET_HDR_LEN], &packet[..]].concat()), &mut write);
    }
    coalescer.flush(&mut write);
    writes
}

/// What a write is to the kernel.
fn split(write: &[u8]) -> Vec<Vec<u8>> {
    let packet = &write[VNET_HDR_LEN..];
    match parse(write).expect("a well-formed write") {
        Received::Packet(_) => vec![packet.to_vec()],
        Received::Super(geometry) => cut(packet, geometry),
    }
}

/// How many packets each write holds.
fn sizes(packets: &[Vec<u8>]) -> Vec<usize> {
    writes_with(Merge::ALL, packets).iter().map(|write| split(write).len()).collect()
}

fn read(geometry: Super, packet: &[u8]) -> Vec<u8> {
    let mut read = vec![0; VNET_HDR_LEN];
    WriteHeader::Super(geometry).write(read.first_chunk_mut().expect("room for the header"));
    read.extend(packet);
    read
}

#[test]
fn each_flow_in_each_tunnel_is_cut_up_as_its_sender_would_have_sent_it() {
    for flow in flows() {
        for len in [1, 99, 100, 101, 999, 1000] {
            let flow = flow.clone().with(|flow| flow.inner.payload = payload(len));
            assert_eq!(cut(&flow.packet().bytes(), flow.geometry(100)), flow.run(100), "{flow:?}");
        }
    }
}

#[test]
fn a_run_in_each_tunnel_is_one_write_and_cuts_up_to_itself() {
    for flow in flows() {
        let flow = flow.with(|flow| flow.inner.payload = payload(20 * 1000 + 77));
        let packets = flow.run(1000);
        let writes = writes_with(Merge::ALL, &packets);
        assert_eq!(writes.len(), 1, "{flow:?}");
        let Ok(Received::Super(geometry)) = parse(&writes[0]) else { panic!("no super-packet: {flow:?}") };
        assert_eq!(geometry, flow.geometry(1000));
        assert_eq!(split(&writes[0]), packets, "{flow:?}");
    }
}

#[test]
fn a_run_is_no_longer_than_a_packet_can_be() {
    let flow = Flow::new(SuperKind::Udp4, SuperKind::Udp6).with(|flow| flow.inner.payload = payload(150 * 10));
    assert_eq!(sizes(&flow.run(10)), [SEGMENTS_MAX, SEGMENTS_MAX, 22]);
    // 102 bytes of headers and 46 × 1418 are 65,330.
    let flow = Flow::new(SuperKind::Tcp4, SuperKind::Udp4).with(|flow| flow.inner.payload = payload(50 * 1418));
    assert_eq!(flow.run(1418).len(), 50);
    assert_eq!(sizes(&flow.run(1418)), [46, 4]);
}

#[test]
fn the_header_is_what_the_kernel_defines() {
    let flow = Flow::new(SuperKind::Tcp4, SuperKind::Udp4);
    let mut to = [0xee; VNET_HDR_LEN];
    // Offsets, little-endian: 20 of outer IP, 50 with UDP, VXLAN and Ethernet, 70 with inner IP, 102 with TCP.
    WriteHeader::Super(flow.geometry(1000)).write(&mut to);
    assert_eq!(to, [9, 0x21, 102, 0, 0xe8, 3, 70, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 50, 0]);
    WriteHeader::Tunnel(flow.geometry(1000), OuterOffset::BehindEthernet).write(&mut to);
    assert_eq!(to[20..], [34, 0, 50, 0]);
    let flow = Flow::new(SuperKind::Udp6, SuperKind::Udp6).with(|flow| flow.outer.checksum = false);
    WriteHeader::Super(flow.geometry(1000)).write(&mut to);
    assert_eq!((to[0], to[1]), (1, 0x45));
    assert_eq!(to[20..], [40, 0, 70, 0]);
}

#[test]
fn either_way_of_counting_reads_back() {
    for flow in flows() {
        let mut header = [0; VNET_HDR_LEN];
        WriteHeader::Tunnel(flow.geometry(100), OuterOffset::BehindEthernet).write(&mut header);
        let bytes = [&header[..], &flow.packet().bytes()].concat();
        assert_eq!(parse(&bytes), Ok(Received::Super(flow.geometry(100))));
    }
}

#[test]
fn what_differs_in_tunnel_or_inner_flow_is_not_merged() {
    let base = Flow::new(SuperKind::Tcp4, SuperKind::Udp4).with(|flow| flow.inner.payload = payload(2000));
    let packets = base.run(1000);
    assert_eq!(sizes(&packets), [2]);
    let second = |change: &dyn Fn(&mut Flow)| {
        let changed = base.clone().with(|flow| change(flow));
        sizes(&[packets[0].clone(), changed.run(1000).swap_remove(1)])
    };
    assert_eq!(second(&|_| {}), [2]);
    assert_eq!(second(&|flow| flow.inner.flow = 9), [1, 1], "inner addresses and ports");
    assert_eq!(second(&|flow| flow.inner.port = 80), [1, 1], "inner port");
    assert_eq!(second(&|flow| flow.inner.tos = 4), [1, 1]);
    assert_eq!(second(&|flow| flow.inner.ttl = 63), [1, 1]);
    assert_eq!(second(&|flow| flow.inner.kind = SuperKind::Tcp6), [1, 1]);
    assert_eq!(second(&|flow| flow.inner.identification = 7), [1, 1]);
    assert_eq!(second(&|flow| flow.outer.identification = 7), [1, 1]);
    assert_eq!(second(&|flow| flow.outer.ttl = 63), [1, 1]);
    assert_eq!(second(&|flow| flow.outer.tos = 4), [1, 1]);
    assert_eq!(second(&|flow| flow.outer.checksum = false), [1, 1]);
    assert_eq!(second(&|flow| flow.outer.flow = 2), [1, 1], "another outer flow");
    assert_eq!(second(&|flow| flow.geneve = true), [1, 1]);
}

#[test]
fn every_byte_of_the_tunnel_header_counts() {
    for geneve in [false, true] {
        let flow = Flow::new(SuperKind::Tcp4, SuperKind::Udp4).with(|flow| {
            flow.geneve = geneve;
            flow.outer.checksum = false;
            flow.inner.payload = payload(2000);
        });
        let packets = flow.run(1000);
        for at in 28..usize::from(flow.geometry(1000).tunnel.expect("it has one").inner) {
            let mut other = packets[1].clone();
            other[at] ^= 0x10;
            let all = [packets[0].clone(), other];
            let writes = writes_with(Merge::ALL, &all);
            assert_eq!(writes.iter().flat_map(|write| split(write)).collect::<Vec<_>>(), all, "byte {at}");
            assert_eq!(writes.len(), 2, "byte {at}");
        }
    }
}

#[test]
fn a_wrong_checksum_inside_or_outside_keeps_a_packet_out() {
    for flow in flows() {
        let flow = flow.with(|flow| flow.inner.payload = payload(3000));
        let packets = flow.run(1000);
        let tunnel = flow.geometry(1000).tunnel.expect("it has one");
        let mut places = vec![packets[1].len() - 1];
        if flow.outer.checksum {
            places.push(usize::from(tunnel.udp) + UDP_CHECKSUM);
        }
        if flow.outer.kind.is_ipv4() {
            places.push(10);
        }
        if flow.inner.kind.is_ipv4() {
            places.push(usize::from(tunnel.inner) + 10);
        }
        for at in places {
            let mut packets = packets.clone();
            packets[1][at] ^= 0x40;
            let writes = writes_with(Merge::ALL, &packets);
            assert_eq!(writes.len(), 3, "byte {at} of {flow:?}");
            assert_eq!(writes.iter().map(|write| write[VNET_HDR_LEN..].to_vec()).collect::<Vec<_>>(), packets);
        }
    }
}

#[test]
fn where_tunnels_are_not_merged_they_are_plain_udp() {
    let flow = Flow::new(SuperKind::Tcp4, SuperKind::Udp4).with(|flow| flow.inner.payload = payload(3000));
    let plain = writes_with(Merge::PLAIN, &flow.run(1000));
    assert_eq!(plain.len(), 1);
    let Ok(Received::Super(geometry)) = parse(&plain[0]) else { panic!("no super-packet") };
    assert_eq!((geometry.kind, geometry.tunnel), (SuperKind::Udp4, None));
    // On another port, with a header that is none, or with something else than IP inside, it is no tunnel.
    for (at, byte) in [(22, 0xff), (28, 0), (28, 0x0c), (49, 1)] {
        let mut packets = flow.clone().with(|flow| flow.outer.checksum = false).run(1000);
        packets.iter_mut().for_each(|packet| packet[at] = byte);
        assert_eq!(sizes(&packets), [1, 1, 1], "byte {at}");
    }
    let inner_ipv4_only = Merge { inner_ipv6: false, ..Merge::ALL };
    for inner in [SuperKind::Tcp4, SuperKind::Tcp6] {
        let packets = Flow::new(inner, SuperKind::Udp4).with(|flow| flow.inner.payload = payload(3000)).run(1000);
        let writes = writes_with(inner_ipv4_only, &packets);
        let Ok(Received::Super(geometry)) = parse(&writes[0]) else { panic!("no super-packet") };
        assert_eq!(geometry.tunnel.is_some(), inner.is_ipv4(), "{inner}");
    }
    let off = writes_with(Merge { tcp: false, ..Merge::ALL }, &flow.run(1000));
    let Ok(Received::Super(geometry)) = parse(&off[0]) else { panic!("no super-packet") };
    assert_eq!(geometry.tunnel, None, "TCP inside is not merged where TCP is not");
}

#[test]
fn inner_flows_of_one_outer_flow_do_not_overtake() {
    let one = Flow::new(SuperKind::Tcp4, SuperKind::Udp4).with(|flow| flow.inner.payload = payload(3000));
    let other = one.clone().with(|flow| flow.inner.flow = 5);
    let (one, other) = (one.run(1000), other.run(1000));
    let all = [&one[0], &other[0], &one[1], &other[1]].map(Clone::clone);
    let came: Vec<_> = writes_with(Merge::ALL, &all).iter().flat_map(|write| split(write)).collect();
    assert_eq!(came, all);
}

#[test]
fn identifications_stay_only_where_nothing_is_fragmented() {
    let of = |inner_df: bool, outer_df: bool, stays: [bool; 2]| {
        let flow = Flow::new(SuperKind::Udp4, SuperKind::Udp4).with(|flow| {
            flow.inner.dont_fragment = inner_df;
            flow.outer.dont_fragment = outer_df;
        });
        let counted = |n: u16, stays: bool| if stays { 5 } else { 5 + n };
        let packet = |n| {
            flow.clone().with(|flow| {
                flow.inner.identification = counted(n, stays[0]);
                flow.outer.identification = counted(n, stays[1]);
            })
        };
        sizes(&[0, 1, 2].map(|n| packet(n).packet().bytes())).len() == 1
    };
    for (inner_stays, outer_stays) in [(false, false), (false, true), (true, false), (true, true)] {
        for (inner_df, outer_df) in [(false, false), (false, true), (true, false), (true, true)] {
            let merges = of(inner_df, outer_df, [inner_stays, outer_stays]);
            assert_eq!(merges, (inner_df || !inner_stays) && (outer_df || !outer_stays));
        }
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let flow = Flow::new(SuperKind::Tcp4, SuperKind::Udp4);
    let good = read(flow.geometry(100), &flow.packet().bytes());
    assert!(parse(&good).is_ok());
    let lie = |changes: &[(usize, u8)]| {
        let mut bytes = good.clone();
        changes.iter().for_each(|&(at, byte)| bytes[at] = byte);
        parse(&bytes)
    };
    // Offsets: of the inner packet (22), of the inner transport (6), of what is announced (0 and 1).
    assert_eq!(lie(&[(22, 27)]), Err(VnetError::TunnelHeader), "within the UDP header");
    assert_eq!(lie(&[(22, 51)]), Err(VnetError::TunnelHeader), "odd");
    assert_eq!(lie(&[(23, 0xff)]), Err(VnetError::TunnelHeader), "behind the packet");
    assert_eq!(lie(&[(6, 20)]), Err(VnetError::ChecksumElsewhere));
    assert_eq!(lie(&[(0, 8)]), Err(VnetError::ChecksumElsewhere), "a finished inner checksum");
    assert_eq!(lie(&[(0, 1)]), Err(VnetError::TunnelHeader), "an outer checksum that is not announced");
    assert_eq!(lie(&[(1, 0x41)]), Err(VnetError::GsoVersion));
    assert_eq!(lie(&[(1, 0x61)]), Err(VnetError::GsoType(0x61)));
    assert_eq!(lie(&[(1, 0x24)]), Err(VnetError::GsoVersion), "the inner packet is IPv4");
    let at = VNET_HDR_LEN;
    assert_eq!(lie(&[(at + 9, 1)]), Err(VnetError::GsoProtocol), "ICMP outside");
    assert_eq!(lie(&[(at + 50 + 9, 17)]), Err(VnetError::GsoProtocol), "UDP inside");
    assert_eq!(lie(&[(at + 50 + 3, 0)]), Err(VnetError::TunnelLength));
    assert_eq!(lie(&[(at + 50 + 6, 0x20)]), Err(VnetError::Fragment));
    for len in 0..good.len() {
        assert!(parse(&good[..len]).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn damaged_reads_are_cut_up_or_refused(
        index in 0..32usize,
        len in 0..300usize,
        segment in 1..200u16,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let flow = flows().nth(index).expect("as many").with(|flow| flow.inner.payload = payload(len));
        let mut bytes = read(flow.geometry(segment), &flow.packet().bytes());
        for (at, byte) in damage {
            // Mostly headers.
            let at = at.index(bytes.len().min(180));
            bytes[at] = byte;
        }
        if let Ok(Received::Super(geometry)) = parse(&bytes) {
            cut(&bytes[VNET_HDR_LEN..], geometry);
        }
    }

    /// Whatever was merged, cutting it up gives what came in, each outer flow in its order.
    #[test]
    fn splitting_what_was_merged_gives_what_came_in(
        picks in prop::collection::vec((0..32usize, 0..3u8, 1..4usize, 0..5u8, any::<prop::sample::Index>()), 1..12),
        damaged: u8,
    ) {
        let mut packets = Vec::new();
        for (number, (index, flow_of, count, tweak, at)) in picks.into_iter().enumerate() {
            let flow = flows().nth(index).expect("as many").with(|flow| {
                flow.inner.flow = flow_of;
                // An identification that stays the same counts up when a run is cut up.
                flow.inner.identification = 100 * number as u16;
                flow.outer.identification = 100 * number as u16;
                flow.inner.payload = payload(200 * count - usize::from(tweak));
                flow.inner.dont_fragment = tweak != 1;
                flow.outer.dont_fragment = tweak != 2;
            });
            let mut run = flow.run(200);
            if tweak == 4 && damaged > 128 {
                // Behind what says which outer flow it is of.
                let packet = run.last_mut().expect("a run has packets");
                let at = 44 + at.index(packet.len() - 44);
                packet[at] ^= damaged;
            }
            packets.extend(run);
        }
        let came: Vec<_> = writes_with(Merge::ALL, &packets).iter().flat_map(|write| split(write)).collect();
        prop_assert_eq!(came.len(), packets.len());
        // Source and destination, and the ports, are one key.
        let key = |packet: &[u8]| match packet[0] >> 4 {
            4 => packet.get(12..24).map(<[u8]>::to_vec),
            _ => packet.get(8..44).map(<[u8]>::to_vec),
        };
        for packet in &packets {
            let of = |all: &[Vec<u8>]| -> Vec<_> {
                all.iter().filter(|other| key(other) == key(packet)).cloned().collect()
            };
            prop_assert_eq!(of(&came), of(&packets));
        }
    }
}
