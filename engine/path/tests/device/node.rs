//! A gateway without I/O: the control core, and a data path for each of three workers. What passes between the threads
//! arrives at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ring_buffers::{Arena, Pool};
use ringfort_aead::{Plan, Provider};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::cell::PeerShared;
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, MemoryCursor, Notice, Outgoing, PeerEvent, Remembered};
use ringfort_core::drops::{DropCounts, DropReason};
use ringfort_core::gate::Proof;
use ringfort_core::ids::{Endpoint, PeerId, owner};
use ringfort_core::looped::Nesting;
use ringfort_core::node;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::{Now, Time};
use ringfort_core::wire::{DATA_LEN_MIN, TYPE_DATA, parse_data_header};
use ringfort_path::{
    Config, DataPath, Dispatch, Mailboxes, Order, Outcome, PeerCell, SessionOrder, TRAIN_ROOM, Train, Unwatched, budget,
};
use vnet_packets::{Merge, VNET_HDR_LEN};

use crate::rng::SeededRng;

pub(super) const WORKERS: usize = 3;

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Sent {
    pub fn kind(&self) -> u8 {
        self.bytes[0]
    }

    pub fn is_keepalive(&self) -> bool {
        self.kind() == TYPE_DATA && self.bytes.len() == DATA_LEN_MIN
    }
}

/// The mail of all workers.
#[derive(Default)]
struct Mail {
    orders: [VecDeque<Order>; WORKERS],
    sessions: [VecDeque<SessionOrder>; WORKERS],
}

pub struct Node {
    pub device: Device,
    pub key: PrivateKey,
    pub address: SocketAddr,
    pub inner: Ipv4Addr,
    pub now: Now,
    pub rng: SeededRng,
    pub under_load: bool,
    /// What the worker says that senders have proved.
    pub proof: Proof,
    /// Datagrams that left.
    pub sent: Vec<Sent>,
    /// Events that control has not seen yet.
    pub events: VecDeque<PeerEvent>,
    /// Inner packets for the TUN device.
    pub delivered: Vec<Vec<u8>>,
    /// What the operator was told, and about whom.
    pub notices: Vec<(PublicKey, Notice)>,
    /// All actions so far, in words.
    pub log: Vec<String>,
    pub(super) dispatch: Dispatch,
    pub(super) workers: Vec<DataPath>,
    pub(super) cells: BTreeMap<PeerId, Arc<PeerCell>>,
}

/// The wall clock of all nodes when the virtual clock is at zero.
const WALL_START: u64 = 1_800_000_000;

pub fn at(mono: Time) -> Now {
    let nanos = mono.as_nanos();
    Now { mono, wall: Tai64N::from_unix(WALL_START + nanos / 1_000_000_000, (nanos % 1_000_000_000) as u32) }
}

/// Two runs of packets are never merged: each is delivered by itself.
pub(super) fn worker(worker: usize) -> DataPath {
    let merge = Merge::NONE;
    let config = Config { worker, workers: WORKERS, node: node::Node::SINGLE, mtu: 1_420, merge, ragged: false };
    DataPath::new(config, Pool::new(Arena::heap(&budget::budget())), Arc::new(Nesting::new()), Unwatched)
}

pub(super) fn dispatch() -> Dispatch {
    Dispatch::new(Plan::fixed(Provider::RustCrypto), WORKERS)
}

impl Mailboxes for Mail {
    fn order(&mut self, worker: usize, order: Order) {
        self.orders[worker].push_back(order);
    }

    fn session(&mut self, worker: usize, order: SessionOrder) {
        self.sessions[worker].push_back(order);
    }

    fn wake(&mut self, _: usize) {}
}

impl Node {
    /// A node with a private key, its link up.
    pub fn new(number: u8, start: Time) -> Self {
        let inner = Ipv4Addr::new(10, 0, 0, number);
        let key = PrivateKey::new([number; 32]);
        let mut node = Self {
            device: Device::new(WORKERS as u8),
            key: key.clone(),
            address: SocketAddr::from(([192, 0, 2, number], 51_820)),
            inner,
            now: at(start),
            rng: SeededRng::new(number.into()),
            under_load: false,
            proof: Proof::Unasked,
            sent: Vec::new(),
            events: VecDeque::new(),
            delivered: Vec::new(),
            notices: Vec::new(),
            log: Vec::new(),
            dispatch: dispatch(),
            workers: (0..WORKERS).map(worker).collect(),
            cells: BTreeMap::new(),
        };
        node.device.set_private_key(start, Some(key));
        node.device.link_up(start);
        node
    }

    pub fn public(&self) -> PublicKey {
        self.key.public_key()
    }

    pub fn add_peer(&mut self, other: &Self, knows_endpoint: bool) -> PeerId {
        self.add_peer_as(other.public(), other.inner, knows_endpoint.then_some(other.address))
    }

    pub fn add_peer_as(&mut self, key: PublicKey, inner: Ipv4Addr, endpoint: Option<SocketAddr>) -> PeerId {
        let peer = self.device.add_peer(key).expect("a new peer");
        self.device.insert_allowed_ip(peer, Prefix::new(inner.into(), 32).expect("32 bits"));
        if let Some(endpoint) = endpoint {
            self.device.set_endpoint(self.now.mono, peer, endpoint);
        }
        self.settle();
        peer
    }

    /// Lets control see all events and do all that is due, and does what it says.
    pub fn settle(&mut self) {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.device.handle_event(self.now, event, &mut self.rng);
            } else if self.device.poll_timeout().is_some_and(|due| due <= self.now.mono) {
                self.device.handle_timeout(self.now, &mut self.rng);
            } else if !self.apply_actions() {
                break;
            }
        }
        self.check();
    }

    /// Lets time pass without a datagram arriving, and each deadline be met on time.
    pub fn advance_to(&mut self, until: Time) {
        while let Some(due) = self.device.poll_timeout().filter(|&due| due <= until) {
            assert!(due >= self.now.mono, "no deadline in the past");
            self.now = at(due);
            self.settle();
        }
        self.now = at(until);
        self.settle();
    }

    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Takes a datagram from the network.
    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), DropReason> {
        let endpoint = Endpoint::new(from);
        let result = if bytes.first() == Some(&TYPE_DATA) {
            self.open(endpoint, bytes)
        } else {
            self.device.handle_admitted(self.now, endpoint, bytes, (self.proof, self.under_load), &mut self.rng)
        };
        self.apply_actions();
        result
    }

    /// Takes an inner packet from the TUN device, at the first worker.
    pub fn send_packet(&mut self, inner: &[u8]) {
        self.send_packet_at(0, inner);
    }

    /// The kernel gives each flow to one worker.
    pub fn send_packet_at(&mut self, worker: usize, inner: &[u8]) {
        let (path, now) = (&mut self.workers[worker], self.now.mono);
        let mut view = path.pool().claim_for(budget::line::TUN_READS).expect("a free slot");
        view.truncate(VNET_HDR_LEN + inner.len());
        view[..VNET_HDR_LEN].fill(0);
        view[VNET_HDR_LEN..].copy_from_slice(inner);
        assert_eq!(path.handle_packet(now, view), Outcome::Done);
        path.flush(now);
        self.drain(worker);
    }

    /// Forgets everything but its configuration and where peers were, as a killed process does.
    pub fn restart(&mut self, seed: u64) {
        let peers: Vec<_> = self
            .device
            .peers()
            .map(|p| (*p.public_key(), p.allowed_ips().next(), p.configured(), p.keepalive_secs()))
            .collect();
        let memory = self.memory();
        let (suite, suites) =
            (self.device.suite(), self.device.peer_suites().map(|(k, s)| (*k, s)).collect::<Vec<_>>());
        self.device = Device::new(WORKERS as u8);
        self.device.remember(memory);
        self.device.set_suite(self.now.mono, suite);
        for (key, suite) in suites {
            self.device.set_peer_suite(self.now.mono, key, Some(suite)).expect("room");
        }
        self.rng = SeededRng::new(seed);
        self.dispatch = dispatch();
        self.workers = (0..WORKERS).map(worker).collect();
        self.cells.clear();
        self.events.clear();
        self.device.set_private_key(self.now.mono, Some(self.key.clone()));
        self.device.link_up(self.now.mono);
        for (key, prefix, configured, keepalive_secs) in peers {
            let peer = self.device.add_peer(key).expect("a new peer");
            if let Some(prefix) = prefix {
                self.device.insert_allowed_ip(peer, prefix);
            }
            self.device.place_peer(self.now.mono, peer, configured);
            self.device.set_keepalive(self.now.mono, peer, keepalive_secs);
        }
        self.settle();
    }

    /// All that another process should know of where peers are, a few peers at a time.
    pub fn memory(&mut self) -> Vec<Remembered> {
        let (mut all, mut cursor) = (Vec::new(), MemoryCursor::default());
        let wall = WALL_START + self.now.mono.as_nanos() / 1_000_000_000;
        while self.device.memory_page(&mut cursor, 2, wall, &mut all) {}
        all
    }

    pub fn has_sending_session(&self, peer: PeerId) -> bool {
        self.sending_index(peer).is_some()
    }

    /// The receiving half of the session that the peer is sent under.
    pub fn sending_index(&self, peer: PeerId) -> Option<u32> {
        let sending = self.cells.get(&peer)?.sending();
        sending.session().map(|session| session.local_index())
    }

    pub fn receiving_sessions(&self) -> usize {
        self.workers.iter().map(DataPath::sessions).sum()
    }

    /// Which of the three workers have receiving halves.
    pub fn receiving_workers(&self) -> BTreeSet<usize> {
        (0..WORKERS).filter(|&worker| self.workers[worker].sessions() > 0).collect()
    }

    pub fn staged(&self, peer: PeerId) -> usize {
        self.workers.iter().map(|path| path.staged_for(peer)).sum()
    }

    /// What the data path dropped.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.workers.iter().map(|path| path.counters().drops.get(reason)).sum()
    }

    pub fn shared(&self, peer: PeerId) -> &PeerShared {
        self.cells[&peer].shared()
    }

    /// Does what control says. False: it says nothing.
    pub fn apply_actions(&mut self) -> bool {
        let mut any = false;
        while let Some(action) = self.device.poll_action() {
            any = true;
            self.log.push(format!("{action:?}").split([' ', '(']).next().expect("a name").to_owned());
            self.apply(action);
        }
        any
    }

    /// What must hold whenever control has settled.
    pub fn check(&self) {
        if let Some(due) = self.device.poll_timeout() {
            assert!(due > self.now.mono, "no deadline in the past");
        }
        let (indices, sessions) = (self.device.indices(), self.receiving_sessions());
        let handshakes = indices.checked_sub(sessions).expect("a receiving half has an index that is in use");
        assert!(handshakes <= self.device.peer_count(), "all other indices are of handshakes, one of a peer");
    }

    pub fn apply(&mut self, action: Action) {
        let mut mail = Mail::default();
        match self.dispatch.apply(action, &mut mail) {
            Some(Outgoing::Send { endpoint, datagram, peer }) => {
                if let Some(peer) = peer {
                    self.device.handshake_left(peer, datagram.as_ref().len());
                }
                let (from, to, bytes) = (self.address, endpoint.remote, datagram.as_ref().to_vec());
                self.sent.push(Sent { from, to, bytes });
            }
            Some(Outgoing::Notify {
                peer,
                notice: notice @ (Notice::SuiteMismatch { .. } | Notice::SuiteSilence { .. }),
            }) => self.notices.push((peer, notice)),
            Some(Outgoing::Notify { .. }) | None => {}
        }
        for worker in 0..WORKERS {
            for order in mail.sessions[worker].drain(..) {
                self.workers[worker].handle_session(self.now.mono, order);
            }
            for order in mail.orders[worker].drain(..) {
                match &order {
                    Order::AddPeer(cell) => _ = self.cells.insert(cell.id(), cell.clone()),
                    Order::RemovePeer { peer } => _ = self.cells.remove(peer),
                    _ => {}
                }
                assert_eq!(self.workers[worker].handle_order(self.now.mono, order), Outcome::Done);
            }
            self.drain(worker);
        }
    }

    /// Opens a data message at the worker that its index names. The error is what the data path dropped it for.
    fn open(&mut self, endpoint: Endpoint, bytes: &[u8]) -> Result<(), DropReason> {
        let worker = parse_data_header(bytes).map_or(0, |header| owner(header.receiver, WORKERS));
        let (path, now) = (&mut self.workers[worker], self.now.mono);
        let mut view = path.pool().claim_for(budget::line::UDP_READS).expect("a free slot");
        view.advance(TRAIN_ROOM);
        view.truncate(bytes.len());
        view.copy_from_slice(bytes);
        let before = path.counters().drops.clone();
        path.handle_train(now, Train { view, stride: bytes.len(), endpoint, ecn: 0, handed: false }, &mut || None);
        path.flush_writes(now);
        self.drain(worker);
        first_difference(&before, &self.workers[worker].counters().drops).map_or(Ok(()), Err)
    }

    /// Takes all that a data path has: its socket, its TUN device and control take everything.
    pub(super) fn drain(&mut self, worker: usize) {
        let (path, now) = (&mut self.workers[worker], self.now.mono);
        while let Some(transmit) = path.poll_transmit() {
            path.handle_sent(now, transmit.note());
            path.handle_left(transmit.all());
            let (from, to) = (self.address, transmit.endpoint.remote);
            let datagrams = transmit.view.chunks(transmit.stride);
            self.sent.extend(datagrams.map(|bytes| Sent { from, to, bytes: bytes.to_vec() }));
        }
        let mut pieces = Vec::new();
        while path.poll_write(&mut pieces) {
            self.delivered.push(pieces.drain(..).flat_map(|piece| piece.to_vec()).skip(VNET_HDR_LEN).collect());
        }
        while let Some(report) = path.poll_event() {
            self.events.push_back(report.event);
        }
        assert!(path.is_drained(), "nothing is for another worker");
        path.pool().drain_returns();
    }
}

fn first_difference(before: &DropCounts, after: &DropCounts) -> Option<DropReason> {
    before.iter().zip(after.iter()).find(|(before, after)| before != after).map(|((reason, _), _)| reason)
}

/// An inner IPv4 packet that is recognised by its number.
pub fn inner_packet(source: Ipv4Addr, destination: Ipv4Addr, number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&24u16.to_be_bytes());
    bytes[12..16].copy_from_slice(&source.octets());
    bytes[16..20].copy_from_slice(&destination.octets());
    bytes[20..].copy_from_slice(&number.to_be_bytes());
    bytes
}
