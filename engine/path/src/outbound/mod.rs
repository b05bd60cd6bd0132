//! From the TUN to the wire, one file for each step: a packet finds its peer, the packets of one batch for one peer
//! become trains, and are sealed. A super-packet is cut up straight into its trains. What has no key waits. In a large
//! table of routes, packets wait for each other before they find their peers (`arrive.rs`).

mod arrive;
mod gather;
mod keepalive;
mod route;
mod seal;
mod segment;
mod stage;
mod train;

pub(crate) use arrive::Arrivals;
pub(crate) use gather::Gathered;
pub(crate) use segment::{Heads, SuperPacket, no_heads};

use ring_buffers::View;
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::packet;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN};
use vnet_packets::{Received, VNET_HDR_LEN, virtio};

use crate::tap::{Datagrams, Direction};
use crate::{DataPath, Outcome, Transmit, Watch};
use arrive::Arrival;

/// What a virtio-net header has more than the data header that takes its place: a lone packet does not move.
const SURPLUS: usize = VNET_HDR_LEN - DATA_HEADER_LEN;

/// A step that found no slot.
pub(crate) enum Stalled {
    Keepalive(PeerId),
    SuperPacket(SuperPacket),
}

impl<W: Watch> DataPath<W> {
    /// A packet came from the TUN: a virtio-net header in [`VNET_HDR_LEN`] bytes, then a packet, or a super-packet.
    pub fn handle_packet(&mut self, now: Time, mut view: View) -> Outcome {
        self.give_up(now);
        let is_good = match virtio::parse(&view) {
            Ok(Received::Packet(None)) => true,
            Ok(Received::Packet(Some(partial))) => partial.complete(&mut view[VNET_HDR_LEN..]).is_ok(),
            Ok(Received::Super(geometry)) => return self.handle_super(now, view, geometry),
            Err(_) => false,
        };
        if is_good {
            view.advance(SURPLUS);
            self.handle_lone(now, view);
        } else {
            let packet = view.get(SURPLUS..).unwrap_or_default();
            self.drop_outgoing(now, None, DropReason::BadVnetHeader, packet);
        }
        Outcome::Done
    }

    /// Throws away a packet from inside, with the room of a data header in front of it.
    #[cold]
    fn drop_outgoing(&mut self, now: Time, peer: Option<PeerId>, reason: DropReason, view: &[u8]) {
        match peer {
            Some(peer) => self.drop_of(now, peer, reason, 1),
            None => self.counters.drop(reason, 1),
        }
        if let Some(tap) = &mut self.tap {
            let packet = view.get(DATA_HEADER_LEN..).unwrap_or_default();
            tap.dropped(now, Direction::Out, peer, reason, [packet, &[]]);
        }
    }

    /// A packet behind the room of a data header.
    fn handle_lone(&mut self, now: Time, mut view: View) {
        self.counters.tun_read_packets += 1;
        self.counters.tun_read_bytes += (view.len() - DATA_HEADER_LEN) as u64;
        let inner = match packet::parse(&view[DATA_HEADER_LEN..]) {
            Ok(inner) => inner,
            Err(reason) => return self.drop_outgoing(now, None, reason, &view),
        };
        view.truncate(DATA_HEADER_LEN + inner.len);
        let (destination, ecn) = (inner.destination, packet::outer_ecn(inner.ecn));
        if self.routes.is_large() {
            return self.arrive(now, Arrival { destination, ecn, view });
        }
        match self.route(&view[DATA_HEADER_LEN..], destination) {
            Ok(peer) => self.admit(now, peer, view, ecn),
            Err(reason) => self.turn_back(now, reason, destination, &view[DATA_HEADER_LEN..]),
        }
    }

    /// A sealed train waits for the socket.
    fn transmit(&mut self, now: Time, peer: PeerId, view: View, stride: usize, ecn: u8, any_data: bool) {
        let endpoint = match self.peers.get(peer) {
            None => Err(DropReason::Down),
            Some(known) => known.cell().endpoint().ok_or(DropReason::NoEndpoint),
        };
        if let Some(tap) = self.tap.as_mut().filter(|tap| tap.wants_peer(Some(peer))) {
            let datagrams = Datagrams { peer: Some(peer), stride, endpoint: endpoint.ok(), ecn };
            tap.sent(now, &datagrams, &view, endpoint.err());
        }
        match endpoint {
            Ok(endpoint) => {
                if let Some(known) = self.peers.get(peer) {
                    known.cell().shared().counters[self.config.worker].sent_up_to(stride.min(view.len()));
                }
                self.outputs.transmits.push_back(Transmit { peer, view, stride, endpoint, ecn, any_data });
            }
            Err(reason) => self.drop_of(now, peer, reason, view.len().div_ceil(stride)),
        }
    }

    /// After something was sealed: the session may be so old, or have sent so much, that it wants to be replaced.
    fn ask_for_next_session(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if let Some(session) = peer.cell().sending().session()
            && session.wants_rekey(now)
        {
            let reason = HandshakeReason::KeyAging { local_index: session.local_index() };
            self.request_handshake(id, reason);
        }
    }

    fn request_handshake(&mut self, peer: PeerId, reason: HandshakeReason) {
        if self.peers.get(peer).is_some_and(|peer| peer.cell().shared().activity.request_handshake()) {
            self.report(PeerEvent::NeedHandshake { peer, reason }, None);
        }
    }

    fn wire_len(&self, packet_len: usize) -> usize {
        wire_len(packet_len, self.config.mtu)
    }
}

/// Bytes of the data message that carries a packet of `packet_len` bytes.
fn wire_len(packet_len: usize, mtu: usize) -> usize {
    DATA_HEADER_LEN + packet::padded_len(packet_len, mtu) + TAG_LEN
}
