//! The places of the two walks where a tap looks, in the order in which packets pass them.

use ringfort_aead::Source;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, parse_data_header};
use vnet_packets::Segment;

use super::{Direction, Packet, Pick, Side, Tap};
use crate::HEADERS_MAX;

/// Datagrams side by side, and what is known of all of them.
#[derive(Clone, Copy)]
pub(crate) struct Datagrams {
    /// Whose they are.
    pub(crate) peer: Option<PeerId>,
    /// Bytes of each but the last.
    pub(crate) stride: usize,
    /// Where they come from, or go to.
    pub(crate) endpoint: Option<Endpoint>,
    /// The ECN field of their outer header.
    pub(crate) ecn: u8,
}

impl Tap {
    /// Whether a peer's packets are of interest; of nobody's only if all are.
    pub(crate) fn wants_peer(&self, peer: Option<PeerId>) -> bool {
        self.filter.wants_peer(peer)
    }

    /// The peers whose packets are of interest; none if all are.
    pub(crate) fn peers(&self) -> &[PeerId] {
        &self.filter.peers
    }

    /// Packets were sealed into a train, whose headers name them.
    #[cold]
    pub(crate) fn sealed(&mut self, now: Time, peer: PeerId, train: &[u8], stride: usize, sources: &[Source<'_>]) {
        if !self.filter.wants_peer(Some(peer)) {
            return;
        }
        for (datagram, source) in train.chunks(stride).zip(sources) {
            self.inside(now, Direction::Out, Some(peer), pick(datagram), None, [source.head, source.body]);
        }
    }

    /// A packet is about to be sealed where it lies.
    #[cold]
    pub(crate) fn sealing(&mut self, now: Time, peer: PeerId, receiver: u32, counter: u64, packet: &[u8]) {
        if self.filter.wants_peer(Some(peer)) {
            let pick = Pick::Message { receiver, counter };
            self.inside(now, Direction::Out, Some(peer), pick, None, [packet, &[]]);
        }
    }

    /// Sealed datagrams leave, or are dropped.
    #[cold]
    pub(crate) fn sent(&mut self, now: Time, datagrams: &Datagrams, bytes: &[u8], dropped: Option<DropReason>) {
        self.on_the_wire(now, Direction::Out, datagrams, bytes, |_| dropped);
    }

    /// Datagrams came that nobody will open.
    #[cold]
    pub(crate) fn received(&mut self, now: Time, datagrams: &Datagrams, bytes: &[u8], dropped: Option<DropReason>) {
        self.on_the_wire(now, Direction::In, datagrams, bytes, |_| dropped);
    }

    /// Datagrams are about to be opened in place.
    #[cold]
    pub(crate) fn hold(&mut self, peer: PeerId, bytes: &[u8]) {
        self.held.clear();
        if self.filter.side(Side::Cipher) && self.filter.wants_peer(Some(peer)) {
            // A received train is in one slot, and there is room for the largest.
            self.held.extend_from_slice(bytes);
        }
    }

    /// Those that were held have been opened, or dropped.
    #[cold]
    pub(crate) fn opened(&mut self, now: Time, datagrams: &Datagrams, dropped: impl Fn(usize) -> Option<DropReason>) {
        let held = std::mem::take(&mut self.held);
        self.on_the_wire(now, Direction::In, datagrams, &held, dropped);
        self.held = held;
    }

    /// Opened messages are delivered: of each that many bytes behind its header.
    #[cold]
    pub(crate) fn delivered(
        &mut self,
        now: Time,
        peer: PeerId,
        receiver: u32,
        opened: impl Iterator<Item = (u64, (usize, impl AsRef<[u8]>))>,
    ) {
        if !self.filter.wants_peer(Some(peer)) {
            return;
        }
        for (counter, (len, message)) in opened.filter(|(_, (len, _))| *len > 0) {
            let pick = Pick::Message { receiver, counter };
            let packet = &message.as_ref()[DATA_HEADER_LEN..DATA_HEADER_LEN + len];
            self.inside(now, Direction::In, Some(peer), pick, None, [packet, &[]]);
        }
    }

    /// A packet is dropped that was, or would be, in the tunnel.
    #[cold]
    pub(crate) fn dropped(
        &mut self,
        now: Time,
        direction: Direction,
        peer: Option<PeerId>,
        reason: DropReason,
        parts: [&[u8]; 2],
    ) {
        if self.filter.wants_peer(peer) {
            self.inside(now, direction, peer, Pick::Next, Some(reason), parts);
        }
    }

    /// Packets of a super-packet are dropped, which were read as one, or written.
    #[cold]
    pub(crate) fn dropped_segments<'a>(
        &mut self,
        now: Time,
        direction: Direction,
        peer: Option<PeerId>,
        reason: DropReason,
        segments: impl Iterator<Item = Segment<'a>>,
    ) {
        let mut head = [0; HEADERS_MAX];
        for segment in segments {
            // None has longer headers: what is read was checked, and what is written came in a packet of a peer.
            let Some(head) = head.get_mut(..segment.header_len()) else { return };
            segment.write_headers(head);
            self.dropped(now, direction, peer, reason, [head, segment.payload()]);
        }
    }

    fn inside(
        &mut self,
        now: Time,
        direction: Direction,
        peer: Option<PeerId>,
        pick: Pick,
        dropped: Option<DropReason>,
        parts: [&[u8]; 2],
    ) {
        // A keepalive has nothing in it.
        if parts.iter().any(|part| !part.is_empty()) {
            self.plain(now, &Packet { direction, peer, pick, dropped, parts });
        }
    }

    fn on_the_wire(
        &mut self,
        now: Time,
        direction: Direction,
        datagrams: &Datagrams,
        bytes: &[u8],
        dropped: impl Fn(usize) -> Option<DropReason>,
    ) {
        let &Datagrams { peer, stride, endpoint, ecn } = datagrams;
        for (i, datagram) in bytes.chunks(stride.max(1)).enumerate() {
            let dropped = dropped(i);
            let pick = match pick(datagram) {
                // A handshake message, or a cookie.
                Pick::Next if dropped.is_none() => Pick::Always,
                pick => pick,
            };
            let packet = Packet { direction, peer, pick, dropped, parts: [datagram, &[]] };
            self.cipher(now, &packet, endpoint, ecn);
        }
    }
}

/// Data messages are sampled by their names. Of all else, what is dropped may be a flood.
fn pick(datagram: &[u8]) -> Pick {
    match parse_data_header(datagram) {
        Ok(header) => Pick::Message { receiver: header.receiver, counter: header.counter },
        Err(_) => Pick::Next,
    }
}
