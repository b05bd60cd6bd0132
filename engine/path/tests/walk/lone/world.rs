//! A worker with two peers and three sessions, and datagrams for them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use ring_buffers::View;
use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::cell::{PeerShared, SessionNumber};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN, write_data_header};
use ringfort_path::{DataPath, Order, Outcome, PeerCell, Receiver, SessionOrder, TRAIN_ROOM, Train};
use vnet_packets::VNET_HDR_LEN;

use crate::rig::{NOW, RECEIVER, empty, endpoint, packet};
use crate::stages::Laps;

/// The peers' addresses in the tunnel.
pub const PEERS: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 3]];
/// Nobody's.
pub const NOBODY: [u8; 4] = [10, 0, 0, 9];

/// Whose session it is, which index it has, and whether we asked for it. The second replaces the first.
pub const SESSIONS: [(usize, u32, bool); 3] = [(0, 0x1100, true), (0, 0x2200, false), (1, 0x3300, false)];
/// Of a session that never was.
pub const UNKNOWN: usize = SESSIONS.len();

pub const SUITES: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];

pub struct World {
    pub path: DataPath<Laps>,
    pub cells: Vec<Arc<PeerCell>>,
    /// Orders about sessions that came while the turn went on.
    pub mailbox: VecDeque<SessionOrder>,
    cipher: (Provider, Suite),
}

/// What comes at once.
#[derive(Clone, Debug)]
pub struct Datagrams {
    pub bytes: Vec<u8>,
    pub stride: usize,
    /// The last part of the address that they come from.
    pub from: u8,
    pub ecn: u8,
}

pub const fn peer(index: usize) -> PeerId {
    PeerId { index: index as u32, generation: 0 }
}

/// Where a datagram comes from.
pub fn place(from: u8) -> Endpoint {
    endpoint(&format!("192.0.2.{from}:51820"))
}

impl World {
    /// The first session of each peer has begun.
    pub fn new(cipher: (Provider, Suite)) -> Self {
        let mut path = empty(0, 1, Laps::default());
        let mut routes = AllowedIps::new();
        let mut cells = Vec::new();
        for (index, address) in PEERS.into_iter().enumerate() {
            let cell = Arc::new(PeerCell::new(peer(index), Arc::new(PeerShared::new(1))));
            cell.shared().endpoint.set(place(100));
            routes.insert(Prefix::new(IpAddr::from(address), 32).unwrap(), peer(index));
            assert_eq!(path.handle_order(NOW, Order::AddPeer(cell.clone())), Outcome::Done);
            cells.push(cell);
        }
        assert_eq!(path.handle_order(NOW, Order::Routes { routes, version: 1 }), Outcome::Done);
        let mut world = Self { path, cells, mailbox: VecDeque::new(), cipher };
        for session in [0, 2] {
            let order = world.begin(session);
            world.path.handle_session(NOW, order);
        }
        world
    }

    pub fn begin(&self, session: usize) -> SessionOrder {
        let (whose, index, initiator) = SESSIONS[session];
        let (plan, suite, key) = self.key(session);
        let receive = ReceiveSession::new(OpenKey::new(plan, suite, &key), index, NOW, initiator);
        let send = SendSession::new(SealKey::new(plan, suite, &[9; 32]), index, index, NOW, initiator);
        let number = (0..=session).fold(SessionNumber::default(), |number, _| number.next());
        SessionOrder::Begin(Box::new(Receiver::new(self.cells[whose].clone(), number, receive, send).0))
    }

    pub const fn end(session: usize) -> SessionOrder {
        SessionOrder::End { local_index: SESSIONS[session].1 }
    }

    fn key(&self, session: usize) -> (Plan, Suite, [u8; 32]) {
        (Plan::fixed(self.cipher.0), self.cipher.1, [session as u8; 32])
    }

    /// A sealed message.
    pub fn seal(&self, session: usize, counter: u64, plaintext: &[u8]) -> Vec<u8> {
        let (plan, suite, key) = self.key(session);
        let mut message = vec![0; DATA_HEADER_LEN + plaintext.len() + TAG_LEN];
        let (header, body) = message.split_first_chunk_mut().unwrap();
        write_data_header(header, SESSIONS.get(session).map_or(0x4400, |known| known.1), counter);
        SealKey::new(plan, suite, &key).seal_from(counter, plaintext, body).unwrap();
        message
    }

    /// A message with a packet of the session's peer around a payload.
    pub fn data(&self, session: usize, counter: u64, payload: &[u8]) -> Vec<u8> {
        self.seal(session, counter, &inner(PEERS[SESSIONS[session].0], payload))
    }

    /// One message comes, and others follow it.
    pub fn gather(&mut self, message: Vec<u8>) {
        let stride = message.len();
        self.receive(&Datagrams { bytes: message, stride, from: 1, ecn: 0 }, true);
    }

    pub fn receive(&mut self, datagrams: &Datagrams, others_follow: bool) {
        let mut view = View::heap([&[0; TRAIN_ROOM], &datagrams.bytes[..]].concat());
        view.advance(TRAIN_ROOM);
        let &Datagrams { stride, from, ecn, .. } = datagrams;
        self.handle(Train { view, stride, endpoint: place(from), ecn, handed: false }, others_follow);
    }

    pub fn handle(&mut self, train: Train, others_follow: bool) {
        let Self { path, mailbox, .. } = self;
        let late = &mut || mailbox.pop_front();
        if others_follow { path.gather_train(NOW, train, late) } else { path.handle_train(NOW, train, late) }
    }
}

/// A packet of somebody for the receiver.
pub fn inner(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    packet(source, RECEIVER, payload).split_off(VNET_HDR_LEN)
}
