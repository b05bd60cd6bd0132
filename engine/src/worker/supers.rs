//! Super-packets: out, one read becomes one train or two; in, runs of packets become one write.

use super::budget::line;
use super::counters::WorkerStats;
use super::outbound::{STAGED_PACKET_MAX, request_handshake};
use super::stages::Stage;
use super::steering::Steering;
use super::trains;
use super::turn::Worker;
use ring_buffers::{Ring, SlotClass, View};
use ringfort_aead::{MAX_SEGMENTS, Source};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::packet;
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN};
use tun_uring::{Received, Segments, Super, TunEdge, VNET_HDR_LEN, WriteFailed};
use udp_uring::TRAIN_BYTES_MAX;

/// Longest headers of a segment: IPv4 and TCP with all options, or IPv6 with some extensions and TCP.
const HEADERS_MAX: usize = 256;

/// The headers that are made for the segments of one train. Their payload stays where it was read.
pub(super) type Heads = [[u8; HEADERS_MAX]; MAX_SEGMENTS];

impl Worker {
    /// A super-packet came from the TUN: many segments of one flow behind one set of headers.
    pub(super) fn outbound_super(&mut self, view: View, geometry: Super) {
        let packet = &view[VNET_HDR_LEN..];
        let (Ok(inner), Ok(segments)) = (packet::parse(packet), Segments::new(packet, geometry)) else {
            return self.stats.count_drop(DropReason::BadVnetHeader, 1);
        };
        if usize::from(geometry.header) > HEADERS_MAX {
            return self.stats.count_drop(DropReason::BadVnetHeader, 1);
        }
        let count = segments.len();
        self.stats.tun_read_packets.add(count as u64);
        self.stats.tun_read_bytes.add(packet.len() as u64);
        let id = match self.way_of(packet, inner.destination) {
            Ok(id) => id,
            Err(reason) => return self.turn_back_super(reason, segments),
        };
        let Some(peer) = self.peers.get_mut(id) else {
            return self.stats.count_drop(DropReason::Down, count);
        };
        if !peer.has_session(self.now) {
            return self.stage_super(id, segments);
        }
        if self.staging.waiting(id) > 0 {
            self.send_staged(id);
        }
        // What was read before leaves before.
        if self.pending.is_empty() {
            self.stopwatch.lap(Stage::Route);
        } else {
            self.flush();
        }
        self.send_super(id, segments, geometry, packet::outer_ecn(inner.ecn));
    }

    /// Seals the segments straight out of the super-packet, in as few trains as a send can carry.
    fn send_super(&mut self, id: PeerId, mut segments: Segments<'_>, geometry: Super, ecn: u8) {
        let full = usize::from(geometry.header) + usize::from(geometry.segment);
        let stride = self.wire_len(full);
        let longest = (TRAIN_BYTES_MAX / stride).clamp(1, MAX_SEGMENTS);
        while segments.len() > 0 {
            let left = segments.len();
            let most = left.min(longest);
            let last_of = |count| if count < left { stride } else { wire_len(segments.last_len(), self.mtu) };
            let count = trains::packets_of(most, stride, last_of(most), self.ragged);
            let last = last_of(count);
            if self.pool.available(line::TRAINS) == 0 {
                self.make_room();
            }
            let Some(train) = self.pool.claim_for(line::TRAINS) else {
                return self.stats.count_drop(DropReason::NoSlot, left);
            };
            let before = segments.clone();
            let mut sources = [Source::default(); MAX_SEGMENTS];
            for ((segment, head), source) in segments.by_ref().take(count).zip(&mut *self.heads).zip(&mut sources) {
                let head = &mut head[..segment.header_len()];
                segment.write_headers(head);
                *source = Source { head, body: segment.payload() };
            }
            let Ok(geometry) = trains::geometry(count, stride, last, self.ragged) else {
                return self.stats.count_drop(DropReason::Oversized, left);
            };
            self.stopwatch.lap(Stage::Segment);
            let sealed =
                self.peers.get_mut(id).and_then(|p| p.seal(train, geometry, &sources[..geometry.count()], self.now));
            let Some(train) = sealed else { return self.stage_super(id, before) };
            self.stats.keepalive_tails.add((geometry.count() - count) as u64);
            self.stopwatch.lap(Stage::Seal);
            self.send(id, train, stride, ecn, true);
            self.ask_for_next_session(id);
            self.stopwatch.lap(Stage::Transmit);
        }
    }

    /// Lets each segment wait in a slot of its own: a super-packet must not pin 64 KiB until there is a key.
    fn stage_super(&mut self, id: PeerId, segments: Segments<'_>) {
        let Some(peer) = self.peers.get_mut(id) else {
            return self.stats.count_drop(DropReason::Down, segments.len());
        };
        request_handshake(&self.link, peer, peer.lacks());
        for segment in segments {
            let len = DATA_HEADER_LEN + segment.len();
            let class = if len <= STAGED_PACKET_MAX { SlotClass::Packet } else { SlotClass::Jumbo };
            let Some(mut view) = self.claim_to_wait(id, class) else {
                self.stats.count_drop(DropReason::StagedOverflow, 1);
                continue;
            };
            view.truncate(len);
            segment.write(&mut view[DATA_HEADER_LEN..]);
            self.push_staged(id, class, view);
        }
    }

    fn wire_len(&self, packet_len: usize) -> usize {
        wire_len(packet_len, self.mtu)
    }

    /// Writes what is held of the runs of this turn.
    pub(super) fn flush_runs(&mut self) {
        let writes = self.tun.counters().writes;
        let Self { coalescer, tun, ring, stats, steering, .. } = self;
        coalescer.flush(&mut |pieces| write_run(tun, ring, stats, steering, pieces));
        if self.tun.counters().writes != writes {
            self.stopwatch.lap(Stage::Coalesce);
        }
    }

    /// A packet for the TUN: 16 bytes of room, then IP. It may wait until the end of the turn for its neighbours.
    pub(super) fn write_packet(&mut self, packet: View) {
        self.stats.tun_write_packets.add(1);
        self.stats.tun_write_bytes.add((packet.len() - VNET_HDR_LEN) as u64);
        let Self { coalescer, tun, ring, stats, steering, .. } = self;
        coalescer.push(packet, &mut |pieces| write_run(tun, ring, stats, steering, pieces));
    }

    /// The kernel did not take a packet. A super-packet goes out again as what it was made of.
    pub(super) fn on_write_failed(&mut self, failed: WriteFailed) {
        let packets = 1 + failed.rest.len();
        log::debug!("worker {}: the TUN did not take {packets} packets: {:?}", self.index, failed.error);
        if !failed.is_super() || failed.error != tun_uring::WriteError::Invalid {
            return self.stats.count_drop(DropReason::TunWriteFailed, packets);
        }
        self.give_up_merging();
        let written = self.write_again(&failed);
        self.stats.count_drop(DropReason::TunWriteFailed, packets - written);
    }

    /// Writes the packets that a refused super-packet was made of one by one, and says how many the ring took.
    ///
    /// They come from the heap: merging has ended with the first refusal, so that this happens for what was in flight
    /// then and never again, and it must not fail for want of slots that something else is in need of.
    fn write_again(&mut self, failed: &WriteFailed) -> usize {
        let mut whole = failed.first.to_vec();
        failed.rest.iter().for_each(|piece| whole.extend_from_slice(piece));
        let whole = View::heap(whole);
        let Ok(Received::Super(geometry)) = tun_uring::virtio::parse(&whole) else { return 0 };
        let Ok(segments) = Segments::new(&whole[VNET_HDR_LEN..], geometry) else { return 0 };
        let mut written = 0;
        for segment in segments {
            let mut packet = vec![0; VNET_HDR_LEN + segment.len()];
            segment.write(&mut packet[VNET_HDR_LEN..]);
            let header = packet.first_chunk_mut().expect("it begins with room for the header");
            tun_uring::Transmit::Packet.write(header);
            if self.tun.writes_free() == 0 {
                self.make_room();
            }
            if self.tun.write(&mut self.ring, View::heap(packet), 0).is_ok() {
                self.stats.tun_writes.add(1);
                written += 1;
            }
        }
        written
    }

    /// Takes merging out of service: the kernel refuses what comes of it.
    fn give_up_merging(&mut self) {
        if std::mem::take(&mut self.merging) {
            log::warn!("worker {}: the kernel refused a super-packet; packets are written one by one", self.index);
            self.coalescer.set_merge(tun_uring::Merge { tcp: false, udp: false });
        }
    }
}

/// Bytes of the data message that carries a packet of `packet_len` bytes.
pub(super) fn wire_len(packet_len: usize, mtu: usize) -> usize {
    DATA_HEADER_LEN + packet::padded_len(packet_len, mtu) + TAG_LEN
}

fn write_run(tun: &mut TunEdge, ring: &mut Ring, stats: &WorkerStats, steering: &mut Steering, pieces: &mut Vec<View>) {
    let packets = pieces.len();
    if let Some(first) = pieces.first() {
        steering.note_received(&first[VNET_HDR_LEN..], pieces.iter().map(|piece| piece.len()).sum());
    }
    let written = match pieces.pop_if(|_| packets == 1) {
        Some(lone) => tun.write(ring, lone, 0).is_ok(),
        None => tun.write_gathered(ring, pieces, 0).is_ok(),
    };
    if !written {
        stats.count_drop(DropReason::TunWriteFailed, packets);
    }
}
