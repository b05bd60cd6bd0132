//! Two gateways of some workers each, without control and without a network: the test carries what passes between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ring_buffers::{Arena, LineId, Pool, View};
use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::cell::{PeerShared, SendState, SessionNumber};
use ringfort_core::device::PeerEvent;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::time::Time;
use ringfort_path::{
    Config, DataPath, Order, Outcome, PeerCell, Receiver, SessionOrder, Train, Transmit, Unwatched, Watch, bare, budget,
};
use vnet_packets::sample::{Packet, payload};
use vnet_packets::virtio::SuperKind;
use vnet_packets::{Merge, OuterOffset, VNET_HDR_LEN};

pub const NOW: Time = Time::from_secs(1_000);
pub const PEER: PeerId = PeerId { index: 0, generation: 0 };
/// Of a session of the receiving gateway; worker 0 owns it.
pub const INDEX: u32 = 0x1234_5600;
/// Bytes of a super-packet's segments: 64 are too much for one train. Miri encrypts a thousand times slower.
pub const SEGMENT: usize = if cfg!(miri) { 40 } else { 1_000 };
const TO: [u8; 32] = [1; 32];
const FROM: [u8; 32] = [2; 32];
pub const SENDER: [u8; 4] = [10, 0, 0, 1];
pub const RECEIVER: [u8; 4] = [10, 0, 0, 2];

pub struct Gateway {
    pub workers: Vec<DataPath>,
    pub cell: Arc<PeerCell>,
}

fn key(bytes: &[u8; 32]) -> (SealKey, OpenKey) {
    let (plan, suite) = (Plan::fixed(Provider::RustCrypto), Suite::ChaCha20Poly1305);
    (SealKey::new(plan, suite, bytes), OpenKey::new(plan, suite, bytes))
}

pub fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse::<SocketAddr>().unwrap())
}

/// A worker that knows nobody.
pub fn empty<W: Watch>(worker: usize, workers: usize, watch: W) -> DataPath<W> {
    empty_of(Node::SINGLE, worker, workers, watch)
}

/// The same of one of several gateways.
pub fn empty_of<W: Watch>(node: Node, worker: usize, workers: usize, watch: W) -> DataPath<W> {
    let merge = Merge::ALL;
    let config = Config { worker, workers, node, mtu: 1_420, merge, ragged: false };
    DataPath::new(config, Pool::new(Arena::heap(&budget::budget())), Arc::new(Nesting::new()), watch)
}

/// Tells it of a peer that has that address in the tunnel.
pub fn meet<W: Watch>(path: &mut DataPath<W>, cell: &Arc<PeerCell>, peer: [u8; 4]) {
    for order in [Order::AddPeer(cell.clone()), Order::Routes { routes: route(peer, PEER), version: 1 }] {
        assert_eq!(path.handle_order(NOW, order), Outcome::Done);
    }
}

/// The route of one address.
pub fn route(address: [u8; 4], peer: PeerId) -> AllowedIps {
    let mut routes = AllowedIps::new();
    routes.insert(Prefix::new(IpAddr::from(address), 32).unwrap(), peer);
    routes
}

impl Gateway {
    /// A gateway whose only peer has that address in the tunnel, and is reached at that endpoint.
    pub fn new(workers: usize, peer: [u8; 4], reached_at: &str) -> Self {
        let cell = Arc::new(PeerCell::new(PEER, Arc::new(PeerShared::new(workers))));
        cell.shared().endpoint.set(endpoint(reached_at));
        let path = |worker| {
            let mut path = empty(worker, workers, Unwatched);
            meet(&mut path, &cell, peer);
            path
        };
        Self { workers: (0..workers).map(path).collect(), cell }
    }

    /// A session to send under, asked for by us.
    pub fn sends(&self) {
        assert!(sends_under(&self.cell, SessionNumber::default().next(), 0));
    }

    /// A session to receive under, for the worker that owns its index.
    pub fn receiver(&self, local_index: u32, initiator: bool, created: Time) -> SessionOrder {
        let receive = ReceiveSession::new(key(&TO).1, local_index, created, initiator);
        let send = SendSession::new(key(&FROM).0, local_index, INDEX, created, initiator);
        let number = SessionNumber::default().next();
        SessionOrder::Begin(Box::new(Receiver::new(self.cell.clone(), number, receive, send).0))
    }
}

/// A session to send under, of that number, asked for by us, whose first message has that counter. False: there is one
/// of a higher number.
pub fn sends_under(cell: &PeerCell, number: SessionNumber, counter: u64) -> bool {
    let session = SendSession::new(key(&TO).0, INDEX, INDEX, NOW, true).with_first_counter(counter);
    cell.advance(Arc::new(SendState::session(number, session)))
}

/// A sender with one worker and a session, and a receiver with one worker and the same session.
pub fn pair() -> (Gateway, Gateway) {
    let sender = Gateway::new(1, RECEIVER, "192.0.2.2:51820");
    sender.sends();
    let mut receiver = Gateway::new(1, SENDER, "192.0.2.1:51820");
    let session = receiver.receiver(INDEX, true, NOW);
    receiver.workers[0].handle_session(NOW, session);
    (sender, receiver)
}

/// A slot with these bytes, as the kernel would have filled it.
pub fn filled<W: Watch>(path: &DataPath<W>, line: LineId, bytes: &[u8]) -> View {
    bare::filled(path, line, bytes).expect("a free slot")
}

/// All slots that a line could have.
pub fn take_all<W: Watch>(path: &DataPath<W>, line: LineId) -> Vec<View> {
    std::iter::from_fn(|| path.pool().claim_for(line)).collect()
}

/// What the sender's data path has for the socket, which takes all of it.
pub fn transmits<W: Watch>(path: &mut DataPath<W>) -> Vec<Transmit> {
    let mut sent = Vec::new();
    bare::take_transmits(path, NOW, &mut sent);
    sent
}

/// What a receiver's kernel makes of a transmission.
pub fn received<W: Watch>(receiver: &DataPath<W>, transmit: &Transmit) -> Train {
    let view = filled(receiver, budget::line::UDP_READS, &transmit.view);
    let (stride, ecn) = (transmit.stride, transmit.ecn);
    Train { view, stride, endpoint: endpoint("192.0.2.1:51820"), ecn, handed: false }
}

/// The packets that a data path has for the TUN, super-packets as they are.
pub fn writes<W: Watch>(path: &mut DataPath<W>) -> Vec<Vec<u8>> {
    path.flush_writes(NOW);
    let mut written = Vec::new();
    let mut pieces = Vec::new();
    while path.poll_write(&mut pieces) {
        written.push(pieces.drain(..).flat_map(|piece| piece.to_vec()).skip(VNET_HDR_LEN).collect());
    }
    written
}

pub fn events<W: Watch>(path: &mut DataPath<W>) -> Vec<PeerEvent> {
    std::iter::from_fn(|| path.poll_event()).map(|report| report.event).collect()
}

/// A UDP packet behind an empty virtio-net header, without the optional checksum: it is never merged.
pub fn packet(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut read = vec![0; VNET_HDR_LEN + 28];
    read.extend_from_slice(payload);
    let packet = &mut read[VNET_HDR_LEN..];
    let len = u16::try_from(packet.len()).unwrap();
    packet[..4].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8]);
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 17]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    packet[24..26].copy_from_slice(&(len - 20).to_be_bytes());
    read
}

/// A UDP super-packet of so many segments of [`SEGMENT`] bytes, each filled with its number.
pub fn super_packet(segments: u8) -> Vec<u8> {
    let payload: Vec<u8> = (0..segments).flat_map(|n| [n; SEGMENT]).collect();
    let mut read = packet(SENDER, RECEIVER, &payload);
    // NEEDS_CSUM, GSO_UDP_L4, 28 bytes of headers, the length of a segment, checksum at 20 + 6.
    let [low, high] = (SEGMENT as u16).to_le_bytes();
    read[..10].copy_from_slice(&[1, 5, 28, 0, low, high, 20, 0, 6, 0]);
    read
}

/// Where [`tunnelled`] goes.
pub const TUNNEL_END: [u8; 4] = [10, 0, 1, 1];

/// Three segments of TCP with all options over IPv6, in Geneve with all options, from [`SENDER`] to [`TUNNEL_END`].
/// `more` bytes stand before the header of Geneve.
pub fn tunnelled(more: usize) -> Vec<u8> {
    let inner = Packet::new(SuperKind::Tcp6).with(|inner| {
        inner.options = vec![1; 40];
        inner.payload = payload(3 * SEGMENT);
    });
    let whole = inner.in_geneve_with(&Packet::new(SuperKind::Udp4), &payload(252));
    let whole = whole.with(|outer| outer.payload.splice(..0, vec![0; more]).for_each(drop));
    let mut read = vec![0; VNET_HDR_LEN];
    let header = read.first_chunk_mut().unwrap();
    let geometry = inner.geometry_in(&whole, SEGMENT as u16);
    vnet_packets::WriteHeader::Tunnel(geometry, OuterOffset::Exact).write(header);
    read.extend(whole.bytes());
    read
}
