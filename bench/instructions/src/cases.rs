//! The work that is counted.

use std::sync::Arc;

use ring_buffers::View;
use ringfort_path::budget::line;
use ringfort_path::tap::{CAPACITY_MIN, Filter, Side, TapReader, tap};
use ringfort_path::{DataPath, Order, Outcome, Train, Transmit, bare};
use vnet_packets::VNET_HDR_LEN;

use crate::rig::{NOW, Rig, filled};

/// How often the work of a case is done: so often that what is done once does not count.
pub(crate) const ROUNDS: u32 = 500;

/// One kind of packets, one way.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    batch: Batch,
    /// The network brings a train datagram by datagram.
    is_cut: bool,
    /// Somebody looks on, and sees all of them on both sides.
    is_seen: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Out,
    In,
}

/// What comes in one turn.
#[derive(Clone, Copy, Debug)]
enum Batch {
    /// So many UDP packets of that length, each by itself.
    Lone { packets: usize, len: usize },
    /// A TCP super-packet of 44 segments.
    Super,
}

const SEGMENTS: usize = 44;
/// Bytes of a TCP segment's payload: with its headers a packet of 1,420 bytes.
const SEGMENT: usize = 1_380;

const fn lone(name: &'static str, way: Way, packets: usize, len: usize) -> Case {
    Case { name, way, batch: Batch::Lone { packets, len }, is_cut: false, is_seen: false }
}

/// What comes in datagram by datagram.
const fn cut(name: &'static str, packets: usize, len: usize) -> Case {
    Case { is_cut: true, ..lone(name, Way::In, packets, len) }
}

const fn super_packets(name: &'static str, way: Way, is_seen: bool) -> Case {
    Case { name, way, batch: Batch::Super, is_cut: false, is_seen }
}

impl Case {
    pub(crate) const ALL: [Self; 14] = [
        lone("out-64-alone", Way::Out, 1, 64),
        lone("out-64-of-32", Way::Out, 32, 64),
        lone("out-1420-alone", Way::Out, 1, 1_420),
        lone("out-1420-of-32", Way::Out, 32, 1_420),
        super_packets("out-super-44", Way::Out, false),
        super_packets("out-super-44-seen", Way::Out, true),
        lone("in-64-alone", Way::In, 1, 64),
        lone("in-64-of-32", Way::In, 32, 64),
        cut("in-64-lone-of-32", 32, 64),
        lone("in-1420-alone", Way::In, 1, 1_420),
        lone("in-1420-of-32", Way::In, 32, 1_420),
        cut("in-1420-lone-of-32", 32, 1_420),
        super_packets("in-super-44", Way::In, false),
        super_packets("in-super-44-seen", Way::In, true),
    ];

    /// Packets of one round.
    pub(crate) const fn packets(&self) -> usize {
        match self.batch {
            Batch::Lone { packets, .. } => packets,
            Batch::Super => SEGMENTS,
        }
    }
}

/// Does the work of a case, the uncounted part of it outside of the two functions that are.
pub(crate) fn run(case: &Case) {
    let Rig { mut sender, mut receiver } = Rig::new();
    let mut sent = Vec::with_capacity(64);
    let mut pieces = Vec::with_capacity(64);
    let mut readers = Vec::new();
    if case.is_seen {
        readers.extend([&mut sender, &mut receiver].map(look));
    }
    let mut bytes = Vec::new();
    let reads = match case.batch {
        Batch::Lone { packets, len } => vec![udp_packet(len); packets],
        Batch::Super => vec![super_packet()],
    };
    for round in 1..=ROUNDS {
        let mut batch: Vec<View> = reads.iter().map(|read| filled(&sender, line::TUN_READS, read)).collect();
        match case.way {
            Way::Out => measured_out(&mut sender, &mut batch, &mut sent),
            Way::In => {
                bare::turn_out(&mut sender, NOW, &mut batch, &mut sent);
                let received = sent.drain(..).flat_map(|transmit| received(&receiver, &transmit, case.is_cut));
                let mut trains: Vec<Train> = received.collect();
                measured_in(&mut receiver, &mut trains, &mut pieces);
            }
        }
        let (out, into) = (sender.counters().udp_send_datagrams, receiver.counters().tun_write_packets);
        let done = if matches!(case.way, Way::Out) { out } else { into };
        assert_eq!(done, u64::from(round) * case.packets() as u64, "all packets get through");
        for reader in &mut readers {
            while reader.next(&mut bytes).is_some() {}
            let lost = Side::ALL.map(|side| reader.counts().lost(side));
            assert_eq!(lost, [0, 0], "there is room for all of them");
        }
    }
}

/// Has a data path show all of each packet.
fn look(path: &mut DataPath) -> TapReader {
    let (tap, reader) = tap(Arc::new(Filter::default()), CAPACITY_MIN, Arc::new(|| {}));
    assert_eq!(path.handle_order(NOW, Order::Tap(Some(tap))), Outcome::Done);
    reader
}

/// The slots go home as well.
#[inline(never)]
fn measured_out(path: &mut DataPath, batch: &mut Vec<View>, sent: &mut Vec<Transmit>) {
    bare::turn_out(path, NOW, batch, sent);
    sent.clear();
}

#[inline(never)]
fn measured_in(path: &mut DataPath, trains: &mut Vec<Train>, pieces: &mut Vec<View>) {
    bare::turn_in(path, NOW, trains, pieces);
}

/// What a receiver's kernel makes of a transmission.
fn received(receiver: &DataPath, transmit: &Transmit, is_cut: bool) -> Vec<Train> {
    let &Transmit { stride, endpoint, ecn, .. } = transmit;
    let together = if is_cut { stride } else { transmit.view.len() };
    let train = |datagrams: &[u8]| {
        let view = filled(receiver, line::UDP_READS, datagrams);
        Train { view, stride: stride.min(datagrams.len()), endpoint, ecn, handed: false }
    };
    transmit.view.chunks(together).map(train).collect()
}

/// An IPv4 packet of `len` bytes, behind an empty virtio-net header. Its checksums are right: what is merged needs
/// that.
fn udp_packet(len: usize) -> Vec<u8> {
    let mut read = vec![0; VNET_HDR_LEN + len];
    let packet = &mut read[VNET_HDR_LEN..];
    ipv4(packet, 17);
    packet[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    packet[24..26].copy_from_slice(&u16::try_from(len - 20).expect("a packet").to_be_bytes());
    packet[28..].fill(0x5a);
    let sum = transport_sum(packet);
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    read
}

/// A TCP super-packet as the kernel hands it over: one header for all segments, the checksum that of the pseudo-header.
fn super_packet() -> Vec<u8> {
    let len = 40 + SEGMENTS * SEGMENT;
    let mut read = vec![0; VNET_HDR_LEN + len];
    // NEEDS_CSUM, GSO_TCPV4, 40 bytes of headers, segments, checksum at 20 + 16.
    let segment = u16::try_from(SEGMENT).expect("a segment").to_le_bytes();
    read[..10].copy_from_slice(&[1, 1, 40, 0, segment[0], segment[1], 20, 0, 16, 0]);
    let packet = &mut read[VNET_HDR_LEN..];
    ipv4(packet, 6);
    packet[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    // Data offset 5; ACK.
    packet[32..34].copy_from_slice(&[0x50, 0x10]);
    packet[34..36].copy_from_slice(&[0xff, 0xff]);
    packet[40..].fill(0x5a);
    read
}

fn ipv4(packet: &mut [u8], protocol: u8) {
    let len = u16::try_from(packet.len()).expect("a packet").to_be_bytes();
    packet[..4].copy_from_slice(&[0x45, 0, len[0], len[1]]);
    packet[6..10].copy_from_slice(&[0x40, 0, 64, protocol]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !fold(words(&packet[..20]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn transport_sum(packet: &[u8]) -> u16 {
    let len = u32::try_from(packet.len() - 20).expect("a packet");
    !fold(words(&packet[12..]) + u32::from(packet[9]) + len)
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_carries_its_packets() {
        Case::ALL.iter().for_each(run);
    }
}
