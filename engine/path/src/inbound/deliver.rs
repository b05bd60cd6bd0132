//! Packets go up. Runs of one flow become one write to the TUN.

use std::collections::VecDeque;

use ring_buffers::View;
use ringfort_aead::Geometry;
use ringfort_core::drops::DropReason;
use ringfort_core::packet;
use ringfort_core::time::Time;
use vnet_packets::{Coalescer, FLOWS_MAX, Merge, Received, SEGMENTS_MAX, Segments, VNET_HDR_LEN, WriteHeader, virtio};

use super::TRAIN_ROOM;
use super::check::Lengths;
use crate::outputs::pop;
use crate::tap::Direction;
use crate::{DATAGRAMS_MAX, DataPath, LONE_MAX, Watch};

/// Packets that one step can deliver: a train's, and those of messages that waited before it.
const PACKETS_MAX: usize = DATAGRAMS_MAX + LONE_MAX;
/// Writes that they can cause: each packet alone, and the runs that were held before.
const WRITES_MAX: usize = PACKETS_MAX + FLOWS_MAX;
/// Of these, writes of more than one piece.
const GATHERS_MAX: usize = PACKETS_MAX / 2 + FLOWS_MAX;

/// Pieces of a write: the first packet with its headers, and the payloads of the others.
const PIECES_MAX: usize = SEGMENTS_MAX;

/// One write to the TUN.
enum Write {
    Lone(View),
    Run(Vec<View>),
}

/// Merges packets into writes, which wait here until they are taken.
pub(crate) struct Merging {
    coalescer: Coalescer,
    /// The kernel has not refused a merged packet so far.
    works: bool,
    ready: Ready,
}

struct Ready {
    writes: VecDeque<Write>,
    /// Room for pieces that no write uses.
    spare: Vec<Vec<View>>,
}

impl Merging {
    pub(crate) fn new(merge: Merge) -> Self {
        let spare = (0..GATHERS_MAX).map(|_| Vec::with_capacity(PIECES_MAX)).collect();
        let ready = Ready { writes: VecDeque::with_capacity(WRITES_MAX), spare };
        Self { coalescer: Coalescer::new(merge), works: true, ready }
    }

    pub(crate) const fn works(&self) -> bool {
        self.works
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.ready.writes.is_empty()
    }

    pub(crate) fn poll(&mut self, pieces: &mut Vec<View>) -> bool {
        match pop(&mut self.ready.writes) {
            None => false,
            Some(Write::Lone(view)) => {
                pieces.push(view);
                true
            }
            Some(Write::Run(mut run)) => {
                std::mem::swap(pieces, &mut run);
                self.ready.give_back(run);
                true
            }
        }
    }

    /// A packet, or the run that it ends, may be written now.
    fn push(&mut self, packet: View) {
        let Self { coalescer, ready, .. } = self;
        coalescer.push(packet, &mut |pieces| ready.push(pieces));
    }

    fn flush(&mut self) {
        let Self { coalescer, ready, .. } = self;
        coalescer.flush(&mut |pieces| ready.push(pieces));
    }

    /// A packet that is written as it is.
    pub(crate) fn push_lone(&mut self, packet: View) {
        self.ready.writes.push_back(Write::Lone(packet));
    }
}

impl Ready {
    fn push(&mut self, pieces: &mut Vec<View>) {
        let write = match pieces.len() {
            0 => return,
            1 => pieces.pop().map(Write::Lone),
            _ => {
                let spare = self.spare.pop().unwrap_or_default();
                Some(Write::Run(std::mem::replace(pieces, spare)))
            }
        };
        self.writes.extend(write);
    }

    fn give_back(&mut self, mut pieces: Vec<View>) {
        pieces.clear();
        self.spare.push(pieces);
    }
}

impl<W: Watch> DataPath<W> {
    /// Delivers the packets that were checked. Returns what is behind them in the train.
    pub(super) fn deliver(&mut self, mut train: View, geometry: Geometry, lengths: &Lengths) -> Option<View> {
        let last = geometry.count() - 1;
        for (i, &len) in lengths[..last].iter().enumerate() {
            let packet = train.split_to(geometry.segment_len(i));
            self.deliver_one(packet, len);
        }
        let segment = geometry.segment_len(last);
        let behind = (train.len() > segment + TRAIN_ROOM).then(|| {
            let packet = train.split_to(segment);
            std::mem::replace(&mut train, packet)
        });
        self.deliver_one(train, lengths[last]);
        behind
    }

    /// Room, data header, a packet of `len` bytes, padding. The end of what was the tag is the room in front of the
    /// next.
    #[inline]
    pub(super) fn deliver_one(&mut self, mut packet: View, len: usize) {
        if len > 0 {
            packet.truncate(VNET_HDR_LEN + len);
            self.counters.tun_write_packets += 1;
            self.counters.tun_write_bytes += len as u64;
            self.merging.push(packet);
        }
    }

    /// The end of a batch of trains: messages that wait are opened, and runs that were held for more packets are
    /// written.
    pub fn flush_writes(&mut self, now: Time) {
        self.open_waiting(now);
        self.merging.flush();
    }

    /// The TUN did not take a write. Where `merged_is_wrong`, the kernel found a super-packet wrong: then its packets
    /// are written again one by one, and merging ends, or only that in tunnels if it was of one. Returns true when it
    /// ends. Otherwise they are dropped: [`DataPath::drop_write`].
    pub fn handle_write_failed(&mut self, now: Time, first: View, rest: Vec<View>, merged_is_wrong: bool) -> bool {
        if !merged_is_wrong {
            self.drop_write(now, &first, &rest);
            return false;
        }
        if !self.write_again(&first, &rest) {
            self.drop_write(now, &first, &rest);
        }
        let merge = self.merging.coalescer.merge();
        if virtio::is_tunnel(&first) {
            if merge.tunnels.is_none() {
                return false;
            }
            self.merging.coalescer.set_merge(Merge { tunnels: None, ..merge });
            return true;
        }
        self.merging.coalescer.set_merge(Merge::NONE);
        std::mem::take(&mut self.merging.works)
    }

    /// The packets of a write will not be written: they are dropped as [`DropReason::TunWriteFailed`].
    #[cold]
    pub fn drop_write(&mut self, now: Time, first: &[u8], rest: &[View]) {
        self.counters.drop(DropReason::TunWriteFailed, 1 + rest.len());
        let Some(tap) = &mut self.tap else { return };
        let whole = whole(first, rest);
        let packet = whole.get(VNET_HDR_LEN..).unwrap_or_default();
        let peer = packet::parse(packet).ok().and_then(|inner| self.routes.lookup(inner.source));
        let (direction, reason) = (Direction::In, DropReason::TunWriteFailed);
        match segments(&whole) {
            Some(segments) => tap.dropped_segments(now, direction, peer, reason, segments),
            None => tap.dropped(now, direction, peer, reason, [packet, &[]]),
        }
    }

    /// Queues the packets that a refused super-packet was made of one by one, and says how many there are.
    ///
    /// They come from the heap. Merging has ended with the first refusal, so this happens for what was in flight then
    /// and never again. It must not fail because something else needs the slots.
    fn write_again(&mut self, first: &[u8], rest: &[View]) -> bool {
        let whole = whole(first, rest);
        let Some(segments) = segments(&whole) else { return false };
        for segment in segments {
            let mut packet = vec![0; VNET_HDR_LEN + segment.len()];
            segment.write(&mut packet[VNET_HDR_LEN..]);
            let header = packet.first_chunk_mut().expect("it begins with room for the header");
            WriteHeader::Packet.write(header);
            self.merging.push_lone(View::heap(packet));
        }
        true
    }
}

/// A write in one piece.
fn whole(first: &[u8], rest: &[View]) -> Vec<u8> {
    let mut whole = first.to_vec();
    rest.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole
}

/// The packets that a super-packet was made of, behind its virtio-net header. `None`: it is not one.
fn segments(whole: &[u8]) -> Option<Segments<'_>> {
    let Ok(Received::Super(geometry)) = virtio::parse(whole) else { return None };
    Segments::new(&whole[VNET_HDR_LEN..], geometry).ok()
}
