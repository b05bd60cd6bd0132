//! From the TUN to the socket: a packet finds its peer; the packets of one turn for one peer become trains. What no peer can
//! have is turned back (`turned_back.rs`).

use super::budget::{line, staging_line};
use super::peers::Peer;
use super::stages::Stage;
use super::supers::wire_len;
use super::trains;
use super::turn::{Worker, context_of};
use crate::link::Link;
use arrayvec::ArrayVec;
use ring_buffers::{PACKET_SIZE, Pool, SlotClass, View};
use ringfort_aead::{MAX_SEGMENT_LEN, MAX_SEGMENTS, Message, Source};
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::packet;
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN, write_data_header};
use tun_uring::{Received, VNET_HDR_LEN};
use udp_uring::{LocalAddr, Path, TRAIN_BYTES_MAX, Transmit};

// The room that the TUN leaves in front of a packet is that of the data header, so that a lone packet does not move.
const _: () = assert!(VNET_HDR_LEN == DATA_HEADER_LEN, "a packet is sealed where it lies");

/// Padding and tag behind the longest packet in a packet slot.
pub(super) const STAGED_PACKET_MAX: usize = PACKET_SIZE - TAG_LEN - 15;

/// A packet with a peer and, as of this turn, a key.
pub(super) struct Pending {
    peer: PeerId,
    /// Keeps the order of one peer's packets when the peers are sorted.
    order: u32,
    /// Bytes of the whole data message.
    wire_len: usize,
    ecn: u8,
    /// 16 bytes of room, then the packet. Empty behind the room: a keepalive.
    view: View,
}

impl Pending {
    /// Packets that are gathered before they are sealed: a train for each of two peers.
    pub(super) const MAX: usize = 2 * MAX_SEGMENTS;
}

impl Worker {
    /// A packet came from the TUN.
    pub(super) fn outbound(&mut self, mut view: View) {
        match tun_uring::virtio::parse(&view) {
            Ok(Received::Packet(None)) => {}
            Ok(Received::Packet(Some(partial))) => {
                if partial.complete(&mut view[VNET_HDR_LEN..]).is_err() {
                    return self.stats.count_drop(DropReason::BadVnetHeader, 1);
                }
            }
            Ok(Received::Super(geometry)) => return self.outbound_super(view, geometry),
            Err(_) => return self.stats.count_drop(DropReason::BadVnetHeader, 1),
        }
        self.stats.tun_read_packets.add(1);
        self.stats.tun_read_bytes.add((view.len() - VNET_HDR_LEN) as u64);
        let inner = match packet::parse(&view[VNET_HDR_LEN..]) {
            Ok(inner) => inner,
            Err(reason) => return self.stats.count_drop(reason, 1),
        };
        view.truncate(VNET_HDR_LEN + inner.len);
        match self.way_of(&view[VNET_HDR_LEN..], inner.destination) {
            Ok(peer) => self.admit(peer, view, packet::outer_ecn(inner.ecn)),
            Err(reason) => self.turn_back(reason, &view[VNET_HDR_LEN..]),
        }
    }

    /// Puts a packet in line for sealing, or lets it wait for a key.
    pub(super) fn admit(&mut self, id: PeerId, view: View, ecn: u8) {
        if !self.peers.get_mut(id).is_some_and(|peer| peer.has_session(self.now)) {
            return match self.peers.reachable(id) {
                Ok(_) => self.stage(id, view),
                Err(reason) => self.stats.count_drop(reason, 1),
            };
        }
        if self.staging.waiting(id) > 0 {
            // The key has come since, and what waited for it was read before.
            self.send_staged(id);
        }
        self.line_up(id, view, ecn);
    }

    /// Puts a packet in line for sealing.
    fn line_up(&mut self, id: PeerId, view: View, ecn: u8) {
        let wire_len = wire_len(view.len() - DATA_HEADER_LEN, self.mtu);
        if wire_len > MAX_SEGMENT_LEN || wire_len > view.len() + view.tail_room() {
            return self.stats.count_drop(DropReason::Oversized, 1);
        }
        if self.pending.len() == Pending::MAX {
            self.flush();
        }
        let order = u32::try_from(self.pending.len()).expect("bounded by Pending::MAX");
        self.pending.push_back(Pending { peer: id, order, wire_len, ecn, view });
    }

    /// Seals and sends what was gathered.
    pub(super) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.stopwatch.lap(Stage::Route);
        let pending = self.pending.make_contiguous();
        if !pending.is_sorted_by_key(|p| p.peer) {
            pending.sort_unstable_by_key(|p| (p.peer, p.order));
        }
        while !self.pending.is_empty() {
            let packets = train_len(self.pending.make_contiguous(), self.ragged);
            if packets == 1 || !self.send_train(packets) {
                let lone = lone_len(self.pending.make_contiguous(), self.ragged).max(packets);
                self.send_lone(lone);
            }
        }
    }

    /// Seals the first packets into a slot of their own, the copy being part of the sealing, and sends them as one.
    /// False: there is no slot, and each may leave by itself.
    fn send_train(&mut self, packets: usize) -> bool {
        let Some(train) = self.pool.claim_for(line::TRAINS) else { return false };
        let pending = &self.pending.make_contiguous()[..packets];
        let (id, ecn, stride, last) =
            (pending[0].peer, pending[0].ecn, pending[0].wire_len, pending[packets - 1].wire_len);
        let geometry = trains::geometry(packets, stride, last, self.ragged);
        let geometry = geometry.expect("train_len keeps to what a train can be");
        let mut sources = [Source::default(); MAX_SEGMENTS];
        for (packet, source) in pending.iter().zip(&mut sources) {
            source.head = &packet.view[DATA_HEADER_LEN..];
        }
        let any_data = pending.iter().any(|p| p.view.len() > DATA_HEADER_LEN);
        let sealed =
            self.peers.get_mut(id).and_then(|peer| peer.seal(train, geometry, &sources[..geometry.count()], self.now));
        if let Some(train) = sealed {
            self.pending.drain(..packets);
            self.stats.keepalive_tails.add((geometry.count() - packets) as u64);
            self.stopwatch.lap(Stage::Seal);
            self.send(id, train, stride, ecn, any_data);
            self.ask_for_next_session(id);
            self.stopwatch.lap(Stage::Transmit);
        } else {
            self.stage_pending(packets);
        }
        true
    }

    /// The key is too old, or used up: the first packets wait for the next one.
    fn stage_pending(&mut self, packets: usize) {
        for _ in 0..packets {
            let Some(packet) = self.pending.pop_front() else { return };
            self.stage(packet.peer, packet.view);
        }
    }

    /// Seals the first packets, all for one peer, where they lie, together, and sends each by itself.
    fn send_lone(&mut self, packets: usize) {
        let mut any_data = 0_u64;
        let batch = &mut self.pending.make_contiguous()[..packets];
        let id = batch[0].peer;
        let sending = self.peers.get_mut(id).map(|peer| peer.cell.sending());
        let Some((session, first)) = sending.as_ref().and_then(|sending| sending.reserve(self.now, packets)) else {
            return self.stage_pending(packets);
        };
        let mut messages = ArrayVec::<_, MAX_SEGMENTS>::new();
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
        self.stopwatch.lap(Stage::Seal);
        for i in 0..packets {
            let Pending { wire_len, ecn, view, .. } = self.pending.pop_front().expect("counted before");
            self.send(id, view, wire_len, ecn, any_data >> i & 1 == 1);
        }
        self.ask_for_next_session(id);
        self.stopwatch.lap(Stage::Transmit);
    }

    /// Gives a sealed train to the socket, and notes what follows from that.
    pub(super) fn send(&mut self, id: PeerId, view: View, stride: usize, ecn: u8, any_data: bool) {
        // As many as it takes if the kernel does not cut the train.
        if self.sends_free() < MAX_SEGMENTS {
            self.make_room();
        }
        let mut bytes = view.len();
        let mut segments = bytes.div_ceil(stride);
        let Some(peer) = self.peers.get_mut(id) else {
            return self.stats.count_drop(DropReason::Down, segments);
        };
        let cell = &peer.cell;
        let Some(endpoint) = cell.endpoint() else {
            return self.stats.count_drop(DropReason::NoEndpoint, segments);
        };
        let transmit = Transmit { view, stride, path: path_of(&endpoint), ecn, context: context_of(id) };
        if let Err(refused) = self.udp.send(&mut self.ring, transmit) {
            self.stats.count_drop(DropReason::SendFailed, refused.segments);
            if refused.segments == segments {
                return;
            }
            // Only a ring that is at its end takes a part.
            segments -= refused.segments;
            bytes = segments * stride;
        }
        self.stats.udp_send_trains.add(1);
        self.stats.udp_send_datagrams.add(segments as u64);
        cell.shared().counters[self.index].sent(segments as u64, bytes as u64);
        let activity = &cell.shared().activity;
        if !any_data {
            activity.keepalive_sent(self.now);
        } else if activity.data_sent(self.now) && !self.link.control.push_event(PeerEvent::Awake(id)) {
            activity.disarm();
        }
    }

    /// After something was sent: the session may be so old, or have sent so much, that it wants to be replaced.
    pub(super) fn ask_for_next_session(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if let Some(session) = peer.cell.sending().session()
            && session.wants_rekey(self.now)
        {
            let reason = HandshakeReason::KeyAging { local_index: session.local_index() };
            request_handshake(&self.link, peer, reason);
        }
    }

    /// Lets a packet wait until the peer has a key, in a slot of its own size.
    pub(super) fn stage(&mut self, id: PeerId, view: View) {
        let Some(peer) = self.peers.get_mut(id) else {
            return self.stats.count_drop(DropReason::Down, 1);
        };
        request_handshake(&self.link, peer, peer.lacks());
        if view.len() <= DATA_HEADER_LEN {
            // A keepalive says "I am here", and the handshake will.
            return;
        }
        let class = if view.len() <= STAGED_PACKET_MAX { SlotClass::Packet } else { SlotClass::Jumbo };
        let waiting = match class {
            // It has waited before.
            _ if self.pool.charged(&view) == Some(staging_line(class)) => Some(view),
            SlotClass::Packet => self.claim_to_wait(id, class).map(|mut slot| {
                slot.truncate(view.len());
                slot.copy_from_slice(&view);
                slot
            }),
            SlotClass::Jumbo => {
                let transferred = |pool: &Pool| pool.transfer(&view, staging_line(class)).then_some(());
                self.with_room(id, class, transferred).map(|()| view)
            }
        };
        match waiting {
            Some(view) => self.push_staged(id, class, view),
            None => self.stats.count_drop(DropReason::StagedOverflow, 1),
        }
    }

    /// A slot for a packet that has to wait.
    pub(super) fn claim_to_wait(&mut self, id: PeerId, class: SlotClass) -> Option<View> {
        self.with_room(id, class, |pool| pool.claim_for(staging_line(class)))
    }

    /// Tries to get a slot, and once more after the oldest packet of the greediest peer has made room.
    fn with_room<T>(&mut self, id: PeerId, class: SlotClass, attempt: impl Fn(&Pool) -> Option<T>) -> Option<T> {
        if !self.staging.is_full(class)
            && let Some(got) = attempt(&self.pool)
        {
            return Some(got);
        }
        let evicted = self.staging.make_room(id, class);
        self.stats.count_drop(DropReason::StagedOverflow, usize::from(evicted.is_some()));
        drop(evicted);
        attempt(&self.pool)
    }

    /// Lets a packet wait that is in a slot of its own size.
    pub(super) fn push_staged(&mut self, id: PeerId, class: SlotClass, view: View) {
        let evicted = self.staging.push(id, class, view);
        self.stats.count_drop(DropReason::StagedOverflow, usize::from(evicted.is_some()));
    }

    /// Gives up what waits for a peer.
    pub(super) fn drop_staged(&mut self, id: PeerId, reason: DropReason) {
        self.stats.count_drop(reason, self.staging.drop_all(id));
    }

    /// Sends what waited for a key, in the order in which it came.
    pub(super) fn send_staged(&mut self, id: PeerId) {
        // As many as wait now: what the new key refuses waits again, behind them.
        for _ in 0..self.staging.waiting(id) {
            let Some(view) = self.staging.pop(id) else { break };
            let ecn = packet::parse(&view[DATA_HEADER_LEN..]).map_or(0, |inner| packet::outer_ecn(inner.ecn));
            self.line_up(id, view, ecn);
        }
        self.flush();
    }
}

/// How many packets from the front form one train: one peer, one ECN field, one length but for the last, which may be
/// shorter, and no more than one send can carry. In a ragged train the last is shorter, or a keepalive follows it.
fn train_len(pending: &[Pending], ragged: bool) -> usize {
    let first = &pending[0];
    let mut bytes = first.wire_len;
    let mut n = 1;
    for next in pending[1..].iter().take(MAX_SEGMENTS - 1) {
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
    trains::packets_of(n, first.wire_len, pending[n - 1].wire_len, ragged)
}

/// How many packets from the front are for one peer and begin no train with their successor: they leave one by one.
fn lone_len(pending: &[Pending], ragged: bool) -> usize {
    let most = pending.len().min(MAX_SEGMENTS);
    (1..most).find(|&n| pending[n].peer != pending[0].peer || train_len(&pending[n..], ragged) > 1).unwrap_or(most)
}

pub(super) fn request_handshake(link: &Link, peer: &Peer, reason: HandshakeReason) {
    let (activity, peer) = (&peer.cell.shared().activity, peer.cell.id());
    if activity.request_handshake() && !link.control.push_event(PeerEvent::NeedHandshake { peer, reason }) {
        activity.clear_request();
    }
}

/// A peer's path, as the socket knows it.
fn path_of(endpoint: &Endpoint) -> Path {
    let source = endpoint.source.map(|s| LocalAddr { addr: s.addr, ifindex: s.ifindex });
    Path { remote: endpoint.remote, source }
}
