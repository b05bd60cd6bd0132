//! A super-packet is cut up straight into its trains: sealing is the copy.

use ring_buffers::View;
use ringfort_aead::{SEGMENTS_MAX, Source};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::packet;
use ringfort_core::time::Time;
use vnet_packets::{Segment, Segments, Super, VNET_HDR_LEN};

use super::{SURPLUS, Stalled, train};
use crate::budget::line;
use crate::tap::Direction;
use crate::{DataPath, HEADERS_MAX, Outcome, Stage, TRAIN_BYTES_MAX, Watch};

/// The headers that are made for the segments of one train. Their payload stays where it was read.
pub(crate) type Heads = [[u8; HEADERS_MAX]; SEGMENTS_MAX];

pub(crate) fn no_heads() -> Box<Heads> {
    Box::new([[0; _]; _])
}

/// A super-packet with a peer, some of whose segments were sealed.
pub(crate) struct SuperPacket {
    view: View,
    geometry: Super,
    peer: PeerId,
    ecn: u8,
    /// How many segments were sealed.
    sealed: usize,
}

impl SuperPacket {
    /// The segments that were not sealed.
    fn rest(&self) -> Segments<'_> {
        let segments = Segments::new(&self.view[VNET_HDR_LEN..], self.geometry);
        let mut segments = segments.expect("the geometry was that of the packet when it came");
        if let Some(last) = self.sealed.checked_sub(1) {
            segments.nth(last);
        }
        segments
    }
}

impl<W: Watch> DataPath<W> {
    /// A super-packet came from the TUN: many segments of one flow behind one set of headers.
    pub(super) fn handle_super(&mut self, now: Time, view: View, geometry: Super) -> Outcome {
        let packet = &view[VNET_HDR_LEN..];
        let parsed = packet::parse(packet).ok().zip(Segments::new(packet, geometry).ok());
        let Some((inner, segments)) = parsed.filter(|_| usize::from(geometry.header) <= HEADERS_MAX) else {
            self.drop_outgoing(now, None, DropReason::BadVnetHeader, &view[SURPLUS..]);
            return Outcome::Done;
        };
        self.counters.tun_read_packets += segments.len() as u64;
        self.counters.tun_read_bytes += packet.len() as u64;
        // What was read before leaves before.
        self.route_arrivals(now);
        let peer = match self.route(packet, inner.destination) {
            Ok(peer) => peer,
            Err(reason) => {
                self.turn_back_super(now, reason, inner.destination, segments);
                return Outcome::Done;
            }
        };
        self.make_room_to_enter(now);
        if !self.peers.get(peer).is_some_and(|known| known.has_session(now)) {
            self.seal_gathered_of(now, peer);
            self.stage_super(now, peer, segments);
            return Outcome::Done;
        }
        // The same here. What the key refuses of it waits, and is then asked for.
        if self.gathered.0.is_empty() {
            self.watch.lap(Stage::Route);
        } else {
            self.seal_gathered(now);
        }
        if self.staging.waiting(peer) > 0 {
            self.send_staged(now, peer);
            if self.staging.waiting(peer) > 0 {
                self.stage_super(now, peer, segments);
                return Outcome::Done;
            }
        }
        let ecn = packet::outer_ecn(inner.ecn);
        self.send_super(now, SuperPacket { view, geometry, peer, ecn, sealed: 0 })
    }

    /// Seals the segments straight out of the super-packet, in as few trains as a send can carry.
    pub(crate) fn send_super(&mut self, now: Time, mut packet: SuperPacket) -> Outcome {
        let SuperPacket { geometry, peer, ecn, .. } = packet;
        let stride = self.wire_len(usize::from(geometry.header) + usize::from(geometry.segment));
        let longest = (TRAIN_BYTES_MAX / stride).clamp(1, SEGMENTS_MAX);
        let mut segments = packet.rest();
        while segments.len() > 0 {
            let left = segments.len();
            let most = left.min(longest);
            let last_of = |count| if count < left { stride } else { self.wire_len(segments.last_len()) };
            let count = train::packets_of(most, stride, last_of(most), self.config.ragged);
            let last = last_of(count);
            let Some(train) = self.pool.claim_for(line::TRAINS) else {
                packet.sealed = geometry.segments() - left;
                self.stalled = Some(Stalled::SuperPacket(packet));
                return Outcome::NoSlot;
            };
            let before = segments.clone();
            let mut sources = [Source::default(); SEGMENTS_MAX];
            for ((segment, head), source) in segments.by_ref().take(count).zip(&mut *self.heads).zip(&mut sources) {
                let head = &mut head[..segment.header_len()];
                segment.write_headers(head);
                *source = Source { head, body: segment.payload() };
            }
            let Ok(shape) = train::geometry(count, stride, last, self.config.ragged) else {
                self.drop_segments(now, peer, DropReason::Oversized, before);
                return Outcome::Done;
            };
            self.watch.lap(Stage::Segment);
            let sealed =
                self.peers.get(peer).and_then(|known| known.seal(train, shape, &sources[..shape.count()], now));
            let Some(train) = sealed else {
                self.stage_super(now, peer, before);
                return Outcome::Done;
            };
            if let Some(tap) = &mut self.tap {
                tap.sealed(now, peer, &train, stride, &sources[..count]);
            }
            self.counters.keepalive_tails += (shape.count() - count) as u64;
            self.watch.lap(Stage::Seal);
            self.transmit(now, peer, train, stride, ecn, true);
            self.ask_for_next_session(now, peer);
        }
        Outcome::Done
    }

    /// Throws away what is left of a super-packet.
    pub(crate) fn drop_super(&mut self, now: Time, packet: &SuperPacket, reason: DropReason) {
        self.drop_segments(now, packet.peer, reason, packet.rest());
    }

    /// Throws away segments of a super-packet from inside.
    #[cold]
    pub(super) fn drop_segments<'a>(
        &mut self,
        now: Time,
        peer: PeerId,
        reason: DropReason,
        segments: impl ExactSizeIterator<Item = Segment<'a>>,
    ) {
        self.drop_of(now, peer, reason, segments.len());
        if let Some(tap) = &mut self.tap {
            tap.dropped_segments(now, Direction::Out, Some(peer), reason, segments);
        }
    }
}
