//! The packets of one batch are gathered, and the packets for one peer become trains.

use std::collections::VecDeque;

use ring_buffers::View;
use ringfort_aead::{SEGMENT_LEN_MAX, SEGMENTS_MAX};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;
use ringfort_core::wire::DATA_HEADER_LEN;

use super::{train, wire_len};
use crate::budget::GATHERED_MAX;
use crate::{DataPath, Stage, TRAIN_BYTES_MAX, Watch};

/// A packet with a peer and, as of this batch, a key.
pub(crate) struct Pending {
    pub(super) peer: PeerId,
    /// Keeps the order of one peer's packets when the peers are sorted.
    order: u32,
    /// Bytes of the whole data message.
    pub(super) wire_len: usize,
    pub(super) ecn: u8,
    /// 16 bytes of room, then the packet. Empty behind the room: a keepalive.
    pub(super) view: View,
}

/// Packets that are gathered.
pub(crate) struct Gathered(pub(super) VecDeque<Pending>);

impl Gathered {
    pub(crate) fn new() -> Self {
        Self(VecDeque::with_capacity(GATHERED_MAX))
    }
}

impl<W: Watch> DataPath<W> {
    /// Puts a packet in line for sealing, or lets it wait for a key. Of one peer, packets are in line or wait, never
    /// both: what was read before leaves before.
    pub(super) fn admit(&mut self, now: Time, id: PeerId, view: View, ecn: u8) {
        if self.gathered.0.len() == GATHERED_MAX {
            // Before anybody asks who waits: a key that is used up refuses what was gathered, and that waits then.
            self.make_room_to_enter(now);
            self.seal_gathered(now);
        }
        if !self.peers.get(id).is_some_and(|peer| peer.has_session(now)) {
            return match self.peers.reachable(id) {
                Ok(_) => self.hold_back(now, id, view),
                Err(reason) => self.drop_outgoing(now, Some(id), reason, &view),
            };
        }
        if self.staging.waiting(id) > 0 {
            // The key has come since, and what waited for it was read before.
            self.send_staged(now, id);
            if self.staging.waiting(id) > 0 {
                // It is used up. The next one may be there before this batch is sealed.
                self.make_room_to_enter(now);
                return self.stage(now, id, view);
            }
        }
        self.line_up(now, id, view, ecn);
    }

    /// Lets a packet of a peer without a session wait, behind those that were gathered while there was one.
    fn hold_back(&mut self, now: Time, id: PeerId, view: View) {
        self.make_room_to_enter(now);
        self.seal_gathered_of(now, id);
        self.stage(now, id, view);
    }

    /// Puts a packet in line for sealing. There is room: no more than [`GATHERED_MAX`] come between two sealings.
    pub(super) fn line_up(&mut self, now: Time, id: PeerId, view: View, ecn: u8) {
        let wire_len = wire_len(view.len() - DATA_HEADER_LEN, self.config.mtu);
        if wire_len > SEGMENT_LEN_MAX || wire_len > view.len() + view.tail_room() {
            return self.drop_outgoing(now, Some(id), DropReason::Oversized, &view);
        }
        let order = u32::try_from(self.gathered.0.len()).expect("bounded by GATHERED_MAX");
        self.gathered.0.push_back(Pending { peer: id, order, wire_len, ecn, view });
    }

    /// The end of a batch of packets: seals what was gathered. To be called before the worker sleeps.
    pub fn flush(&mut self, now: Time) {
        self.route_arrivals(now);
        self.seal_gathered(now);
        // Asked for in every turn, and hardly ever is there anybody.
        if !self.entered.is_empty() {
            self.look_again(now);
        }
    }

    /// Seals what was gathered if anything of it is for this peer, which has lost its session since.
    pub(super) fn seal_gathered_of(&mut self, now: Time, id: PeerId) {
        if self.gathered.0.iter().any(|packet| packet.peer == id) {
            self.seal_gathered(now);
        }
    }

    /// Seals what was gathered.
    pub(crate) fn seal_gathered(&mut self, now: Time) {
        if self.gathered.0.is_empty() {
            return;
        }
        self.watch.lap(Stage::Route);
        let gathered = self.gathered.0.make_contiguous();
        if !gathered.is_sorted_by_key(|p| p.peer) {
            gathered.sort_unstable_by_key(|p| (p.peer, p.order));
        }
        while !self.gathered.0.is_empty() {
            let ragged = self.config.ragged;
            let packets = train_len(self.gathered.0.make_contiguous(), ragged);
            if packets == 1 || !self.seal_train(now, packets) {
                let lone = lone_len(self.gathered.0.make_contiguous(), ragged).max(packets);
                self.seal_lone(now, lone);
            }
        }
    }
}

/// How many packets from the front form one train: one peer, one ECN field, one length except for the last, which may
/// be shorter, and no more than one send can carry. In a ragged train the last is shorter, or a keepalive follows it.
fn train_len(gathered: &[Pending], ragged: bool) -> usize {
    let first = &gathered[0];
    let mut bytes = first.wire_len;
    let mut n = 1;
    for next in gathered[1..].iter().take(SEGMENTS_MAX - 1) {
        bytes += next.wire_len;
        let joins = next.peer == first.peer && next.ecn == first.ecn && next.wire_len <= first.wire_len;
        if !joins || bytes > TRAIN_BYTES_MAX {
            break;
        }
        n += 1;
        if next.wire_len < first.wire_len {
            break;
        }
    }
    train::packets_of(n, first.wire_len, gathered[n - 1].wire_len, ragged)
}

/// How many packets from the front are for one peer and begin no train with their successor: they leave one by one.
fn lone_len(gathered: &[Pending], ragged: bool) -> usize {
    let most = gathered.len().min(SEGMENTS_MAX);
    (1..most).find(|&n| gathered[n].peer != gathered[0].peer || train_len(&gathered[n..], ragged) > 1).unwrap_or(most)
}
