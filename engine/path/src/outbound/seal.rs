//! Packets with a key are sealed: many into one train, or each where it lies.

use arrayvec::ArrayVec;
use ring_buffers::View;
use ringfort_aead::{Geometry, Message, SEGMENTS_MAX, Source};
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, write_data_header};

use super::gather::Pending;
use super::train;
use crate::budget::line;
use crate::peers::Peer;
use crate::{DataPath, Stage, Watch};

impl<W: Watch> DataPath<W> {
    /// Seals the first packets into a slot of their own, the copy being part of the sealing: they leave as one. False:
    /// there is no slot, and each may leave by itself.
    pub(super) fn seal_train(&mut self, now: Time, packets: usize) -> bool {
        let Some(train) = self.pool.claim_for(line::TRAINS) else { return false };
        let pending = &self.gathered.0.make_contiguous()[..packets];
        let (id, ecn, stride, last) =
            (pending[0].peer, pending[0].ecn, pending[0].wire_len, pending[packets - 1].wire_len);
        let geometry = train::geometry(packets, stride, last, self.config.ragged);
        let geometry = geometry.expect("train_len keeps to what a train can be");
        let mut sources = [Source::default(); SEGMENTS_MAX];
        for (packet, source) in pending.iter().zip(&mut sources) {
            source.head = &packet.view[DATA_HEADER_LEN..];
        }
        let any_data = pending.iter().any(|p| p.view.len() > DATA_HEADER_LEN);
        let sealed = self.peers.get(id).and_then(|peer| peer.seal(train, geometry, &sources[..geometry.count()], now));
        if let Some(train) = sealed {
            if let Some(tap) = &mut self.tap {
                tap.sealed(now, id, &train, stride, &sources[..packets]);
            }
            self.gathered.0.drain(..packets);
            self.counters.keepalive_tails += (geometry.count() - packets) as u64;
            self.watch.lap(Stage::Seal);
            self.transmit(now, id, train, stride, ecn, any_data);
            self.ask_for_next_session(now, id);
        } else {
            self.stage_gathered(now, id);
        }
        true
    }

    /// Seals the first packets, all for one peer, where they lie, together: each leaves by itself.
    pub(super) fn seal_lone(&mut self, now: Time, packets: usize) {
        let mut any_data = 0_u64;
        let batch = &mut self.gathered.0.make_contiguous()[..packets];
        let id = batch[0].peer;
        let sending = self.peers.get(id).map(|peer| peer.cell().sending());
        let Some((session, first)) = sending.as_ref().and_then(|sending| sending.reserve(now, packets)) else {
            return self.stage_gathered(now, id);
        };
        if let Some(tap) = &mut self.tap {
            for (packet, counter) in batch.iter().zip(first..) {
                tap.sealing(now, id, session.remote_index(), counter, &packet.view[DATA_HEADER_LEN..]);
            }
        }
        let mut messages = ArrayVec::<_, SEGMENTS_MAX>::new();
        for (i, packet) in batch.iter_mut().enumerate() {
            let packet_end = packet.view.len();
            any_data |= u64::from(packet_end > DATA_HEADER_LEN) << i;
            packet.view.reserve_tail(packet.wire_len - packet_end).expect("admitted with room for padding and tag");
            packet.view[packet_end..].fill(0);
            let counter = first + i as u64;
            let (header, body) = packet.view.split_first_chunk_mut().expect("a pending packet has room for its header");
            write_data_header(header, session.remote_index(), counter);
            messages.push(Message::of_body(counter, body).expect("room for the tag was just reserved"));
        }
        session.key().seal_batch(&mut messages).expect("packets fit in datagrams, and are no more than a train");
        drop(messages);
        drop(sending);
        self.watch.lap(Stage::Seal);
        for i in 0..packets {
            let Pending { wire_len, ecn, view, .. } = self.gathered.0.pop_front().expect("counted before");
            self.transmit(now, id, view, wire_len, ecn, any_data >> i & 1 == 1);
        }
        self.ask_for_next_session(now, id);
    }

    /// The key is too old, or used up: what was gathered for the peer waits for the next one. All of it does: the next
    /// key may come at any moment, and what is behind must not leave under it first.
    fn stage_gathered(&mut self, now: Time, id: PeerId) {
        while let Some(packet) = self.gathered.0.pop_front_if(|packet| packet.peer == id) {
            self.stage(now, id, packet.view);
        }
    }
}

impl Peer {
    /// Seals a train of `sources` into `train`, data headers included. `None`: there is no session that can, and the
    /// packets must wait for one.
    pub(super) fn seal(&self, mut train: View, geometry: Geometry, sources: &[Source<'_>], now: Time) -> Option<View> {
        let sending = self.cell().sending();
        let (session, first) = sending.reserve(now, geometry.count())?;
        train.truncate(geometry.total_len());
        for (segment, counter) in train.chunks_mut(geometry.stride()).zip(first..) {
            let header = segment.first_chunk_mut().expect("a segment is at least header and tag");
            write_data_header(header, session.remote_index(), counter);
        }
        let sealed = session.key().seal_train_from(first, sources, &mut train, geometry);
        sealed.expect("geometry and sources were made for each other, and for a jumbo slot");
        Some(train)
    }
}
