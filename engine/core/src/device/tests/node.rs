//! A gateway without I/O: a device, and the simplest data path that keeps the contract with it. Its cipher does not
//! hide anything, but it authenticates: the tag is a keyed hash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::allowed_ips::{AllowedIps, Prefix};
use crate::cell::{Followed, PeerCell, PeerShared, Receiver, SendState};
use crate::crypto::{PrivateKey, PublicKey, mac};
use crate::device::peer::Peer;
use crate::device::{Action, Device, HandshakeReason, MemoryCursor, Notice, Outgoing, PeerEvent, Remembered};
use crate::drops::{DropCounts, DropReason};
use crate::ids::{Endpoint, PeerId, owner};
use crate::keypair::{ReceiveSession, SendSession};
use crate::noise::NewSession;
use crate::packet;
use crate::suite::Suite;
use crate::tai64n::Tai64N;
use crate::test_support::SeededRng;
use crate::time::{Now, Time};
use crate::whereabouts::Whereabouts;
use crate::wire::{DATA_HEADER_LEN, TAG_LEN, TYPE_DATA, parse_data_header, write_data_header};

/// Packets that may wait for one peer's session, as in a worker.
const STAGED_MAX: usize = 128;

type CipherKey = (Suite, [u8; 32]);

/// The worker's view of a peer.
struct WorkerPeer {
    cell: Arc<PeerCell<CipherKey>>,
    staged: VecDeque<Vec<u8>>,
}

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
        self.kind() == TYPE_DATA && self.bytes.len() == DATA_HEADER_LEN + TAG_LEN
    }
}

pub struct Node {
    pub device: Device,
    pub key: PrivateKey,
    pub address: SocketAddr,
    pub inner: Ipv4Addr,
    pub now: Now,
    pub rng: SeededRng,
    pub under_load: bool,
    /// Datagrams that left.
    pub sent: Vec<Sent>,
    /// The queue of events takes no more.
    pub queue_full: bool,
    /// Events that control has not seen yet.
    pub events: VecDeque<PeerEvent>,
    /// Events on their way to control, where a test takes their time into account.
    pub in_flight: VecDeque<PeerEvent>,
    /// Inner packets for the TUN device.
    pub delivered: Vec<Vec<u8>>,
    /// What the data path dropped.
    pub drops: DropCounts,
    /// What the operator was told, and about whom.
    pub notices: Vec<(PublicKey, Notice)>,
    /// All actions so far, in words.
    pub log: Vec<String>,
    peers: BTreeMap<u32, (PeerId, WorkerPeer)>,
    receive: BTreeMap<u32, Receiver<CipherKey, CipherKey>>,
    routes: AllowedIps,
    whereabouts: Option<Arc<Whereabouts>>,
    used_nonces: BTreeSet<(CipherKey, u64)>,
}

/// The wall clock of all nodes when the virtual clock is at zero.
const WALL_START: u64 = 1_800_000_000;

pub fn at(mono: Time) -> Now {
    let nanos = mono.as_nanos();
    Now { mono, wall: Tai64N::from_unix(WALL_START + nanos / 1_000_000_000, (nanos % 1_000_000_000) as u32) }
}

impl Node {
    /// A node with a private key, its link up.
    pub fn new(number: u8, start: Time) -> Self {
        let inner = Ipv4Addr::new(10, 0, 0, number);
        let key = PrivateKey::new([number; 32]);
        let mut node = Self {
            device: Device::new(3),
            key: key.clone(),
            address: SocketAddr::from(([192, 0, 2, number], 51_820)),
            inner,
            now: at(start),
            rng: SeededRng::new(number.into()),
            under_load: false,
            sent: Vec::new(),
            queue_full: false,
            events: VecDeque::new(),
            in_flight: VecDeque::new(),
            delivered: Vec::new(),
            drops: DropCounts::new(),
            notices: Vec::new(),
            log: Vec::new(),
            peers: BTreeMap::new(),
            receive: BTreeMap::new(),
            routes: AllowedIps::new(),
            whereabouts: None,
            used_nonces: BTreeSet::new(),
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
            self.open(endpoint, bytes).inspect_err(|&reason| self.drops.bump(reason))
        } else {
            self.device.handle_datagram(self.now, endpoint, bytes, self.under_load, &mut self.rng)
        };
        self.apply_actions();
        result
    }

    /// Takes an inner packet from the TUN device.
    pub fn send_packet(&mut self, inner: Vec<u8>) {
        let parsed = packet::parse(&inner).expect("a good packet");
        match self.routes.lookup(parsed.destination) {
            None => self.drops.bump(DropReason::NoRoute),
            Some(peer) => self.seal_or_stage(peer, inner),
        }
    }

    /// Forgets everything but its configuration, as a killed process does.
    pub fn restart(&mut self, seed: u64) {
        let settings =
            |peer: &Peer| (*peer.remote.public(), peer.prefixes.first().copied(), peer.configured, peer.keepalive_secs);
        let peers: Vec<_> = self.device.peers.iter().map(settings).collect();
        let memory = self.memory();
        let (suite, suites) =
            (self.device.suite(), self.device.peer_suites().map(|(k, s)| (*k, s)).collect::<Vec<_>>());
        self.device = Device::new(3);
        self.device.remember(memory);
        self.device.set_suite(self.now.mono, suite);
        for (key, suite) in suites {
            self.device.set_peer_suite(self.now.mono, key, Some(suite)).expect("room");
        }
        self.rng = SeededRng::new(seed);
        self.peers.clear();
        self.receive.clear();
        self.routes = AllowedIps::new();
        self.whereabouts = None;
        self.events.clear();
        self.in_flight.clear();
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
        while self.device.memory_page(&mut cursor, 2, WALL_START + self.now.mono.as_nanos() / 1_000_000_000, &mut all) {
        }
        all
    }

    pub fn has_sending_session(&self, peer: PeerId) -> bool {
        self.peers.get(&peer.index).is_some_and(|(_, p)| p.cell.sending().session().is_some())
    }

    pub fn receiving_sessions(&self) -> usize {
        self.receive.len()
    }

    /// Which of the three workers have receiving halves.
    pub fn receiving_workers(&self) -> BTreeSet<usize> {
        self.receive.keys().map(|&index| owner(index, 3)).collect()
    }

    pub fn staged(&self, peer: PeerId) -> usize {
        self.peers.get(&peer.index).map_or(0, |(_, p)| p.staged.len())
    }

    pub fn shared(&self, peer: PeerId) -> &PeerShared {
        self.peers[&peer.index].1.cell.shared()
    }

    /// What must hold whenever control has settled.
    fn check(&self) {
        if let Some(due) = self.device.poll_timeout() {
            assert!(due > self.now.mono, "no deadline in the past");
        }
        self.check_indices();
    }

    pub fn check_indices(&self) {
        let indices = self.device.out.indices.len();
        let pending = self.device.peers.iter().filter(|peer| peer.pending.is_some()).count();
        assert_eq!(indices, pending + self.receive.len(), "every index is a handshake's or a receiving half's");
    }

    fn worker_peer(&mut self, peer: PeerId) -> &mut WorkerPeer {
        let (id, worker_peer) = self.peers.get_mut(&peer.index).expect("an action names a peer that is there");
        assert_eq!(*id, peer, "an action names the occupant of its slot");
        worker_peer
    }

    pub fn apply_actions(&mut self) -> bool {
        let mut any = false;
        while let Some(action) = self.device.poll_action() {
            any = true;
            self.log.push(format!("{action:?}").split([' ', '(']).next().expect("a name").to_owned());
            self.apply(action);
        }
        any
    }

    pub fn apply(&mut self, action: Action) {
        match action {
            Action::Outgoing(Outgoing::Send { endpoint, datagram, peer }) => {
                if let Some(peer) = peer {
                    self.device.handshake_left(peer, datagram.as_ref().len());
                }
                self.transmit(endpoint, datagram.as_ref().to_vec());
            }
            Action::AddPeer { peer, shared } => {
                let fresh = WorkerPeer { cell: Arc::new(PeerCell::new(peer, shared)), staged: VecDeque::new() };
                assert!(self.peers.insert(peer.index, (peer, fresh)).is_none(), "the slot was free");
            }
            Action::RemovePeer { peer } => {
                assert!(
                    self.receive.values().all(|receiver| receiver.cell().id() != peer),
                    "nothing is received from it"
                );
                self.worker_peer(peer);
                self.peers.remove(&peer.index);
            }
            Action::Routes(routes) => self.routes = routes,
            Action::BeginSession { peer, number, created, session } => {
                let NewSession { keys, local_index, remote_index, initiator, suite } = *session;
                let receive = (suite, *keys.receive.as_bytes());
                let receive = ReceiveSession::new(receive, local_index, created, initiator);
                let send = (suite, *keys.send.as_bytes());
                let send = SendSession::new(send, local_index, remote_index, created, initiator);
                let cell = self.worker_peer(peer).cell.clone();
                let (receiver, sends_now) = Receiver::new(cell.clone(), number, receive, send);
                assert!(self.receive.insert(local_index, receiver).is_none(), "indices are unique");
                sends_now.map(|state| cell.advance(state));
            }
            Action::RetireReceive { local_index } => {
                assert!(self.receive.remove(&local_index).is_some(), "a receiving half is retired once");
            }
            Action::SendStaged { peer, confirm } => {
                let owned = confirm.is_none_or(|local_index| self.receive.contains_key(&local_index));
                assert!(owned, "the receiving half is there first");
                self.flush(peer, confirm.is_some());
            }
            Action::EndSessions { peer, number } => {
                self.worker_peer(peer).cell.advance(Arc::new(SendState::end(number)));
            }
            Action::SendKeepalive { peer } => self.flush(peer, true),
            Action::DropStaged { peer } => {
                let dropped = std::mem::take(&mut self.worker_peer(peer).staged).len();
                self.drops.add(DropReason::NoSession, dropped as u64);
            }
            Action::Recover(whereabouts) => self.whereabouts = whereabouts,
            Action::Outgoing(Outgoing::Notify {
                peer,
                notice: notice @ (Notice::SuiteMismatch { .. } | Notice::SuiteSilence { .. }),
            }) => self.notices.push((peer, notice)),
            Action::Outgoing(Outgoing::Notify { .. }) => {}
        }
    }

    /// Sends what is staged; if that is nothing, a keepalive if one is wanted.
    fn flush(&mut self, peer: PeerId, keepalive: bool) {
        let staged = std::mem::take(&mut self.worker_peer(peer).staged);
        if staged.is_empty() && keepalive {
            self.seal_or_stage(peer, Vec::new());
        }
        for inner in staged {
            self.seal_or_stage(peer, inner);
        }
    }

    fn seal_or_stage(&mut self, peer: PeerId, inner: Vec<u8>) {
        let now = self.now.mono;
        let worker_peer = self.worker_peer(peer);
        let cell = worker_peer.cell.clone();
        let Some(endpoint) = cell.endpoint() else { return self.drops.bump(DropReason::NoEndpoint) };
        let sending = cell.sending();
        let reserved = sending.session().and_then(|session| Some((session, session.reserve(now, 1).ok()?)));
        let Some((session, counter)) = reserved else {
            if !inner.is_empty() {
                worker_peer.staged.push_back(inner);
            }
            let overflow = worker_peer.staged.len() > STAGED_MAX;
            if overflow {
                worker_peer.staged.pop_front();
            }
            self.drops.add(DropReason::StagedOverflow, overflow.into());
            let aging = sending.session().map(|session| session.local_index());
            let reason =
                aging.map_or(HandshakeReason::NoSession, |local_index| HandshakeReason::KeyAging { local_index });
            _ = self.request_handshake(peer, reason);
            return;
        };
        let (key, local_index) = (*session.key(), session.local_index());
        let bytes = seal(&key, session.remote_index(), counter, &inner);
        let aging = session.wants_rekey(now);
        cell.shared().counters[0].sent(1, bytes.len() as u64);
        let awake = if inner.is_empty() {
            cell.shared().activity.keepalive_sent(now);
            false
        } else {
            cell.shared().activity.data_sent(now)
        };
        assert!(self.used_nonces.insert((key, counter)), "never the same key and nonce twice");
        self.transmit(endpoint, bytes);
        if awake {
            self.wake_control(peer);
        }
        if aging {
            _ = self.request_handshake(peer, HandshakeReason::KeyAging { local_index });
        }
    }

    /// Puts an event into the queue, if it has room.
    fn tell(&mut self, event: PeerEvent) -> bool {
        if !self.queue_full {
            self.events.push_back(event);
        }
        !self.queue_full
    }

    /// Tells control of a peer without a session, if it was last at this endpoint.
    fn note_lost_session(&mut self, endpoint: Endpoint) {
        let (now, remote) = (self.now.mono, endpoint.remote);
        let found = self.whereabouts.iter().flat_map(|places| places.find(now, remote));
        let mut cells = found.filter_map(|index| self.peers.get(&index)).map(|(_, peer)| &peer.cell);
        let is_meant = |cell: &&Arc<PeerCell<CipherKey>>| {
            let is_there = cell.endpoint().is_some_and(|endpoint| endpoint.remote == remote);
            let has_session = cell.sending().session().is_some_and(|session| session.usable(now));
            is_there && !has_session && cell.shared().lost.tell(now)
        };
        let Some(cell) = cells.find(is_meant).cloned() else { return };
        drop(cells);
        if !self.tell(PeerEvent::LostSession(cell.id())) {
            cell.shared().lost.untold();
        }
    }

    fn wake_control(&mut self, peer: PeerId) {
        if !self.tell(PeerEvent::Awake(peer)) {
            self.shared(peer).activity.disarm();
        }
    }

    /// True if control was told now.
    fn request_handshake(&mut self, peer: PeerId, reason: HandshakeReason) -> bool {
        if !self.shared(peer).activity.request_handshake() {
            return false;
        }
        let told = self.tell(PeerEvent::NeedHandshake { peer, reason });
        if !told {
            self.shared(peer).activity.clear_request();
        }
        told
    }

    fn transmit(&mut self, endpoint: Endpoint, bytes: Vec<u8>) {
        self.sent.push(Sent { from: self.address, to: endpoint.remote, bytes });
    }

    fn open(&mut self, endpoint: Endpoint, bytes: &[u8]) -> Result<(), DropReason> {
        let now = self.now.mono;
        let header = parse_data_header(bytes)?;
        let Some(receiver) = self.receive.get_mut(&header.receiver) else {
            self.note_lost_session(endpoint);
            return Err(DropReason::UnknownIndex);
        };
        let session = &mut receiver.session;
        if !session.usable(now) {
            return Err(DropReason::ExpiredSession);
        }
        let inner = open(session.key(), header.counter, bytes).ok_or(DropReason::BadTag)?;
        session.accept(header.counter).map_err(|_| DropReason::Replay)?;
        let local_index = session.local_index();
        let unconfirmed = session.awaits_confirmation();
        let aging = session.wants_rekey(now);
        let begins = receiver.note_authentic();
        let cell = receiver.cell().clone();
        let peer = cell.id();
        let followed = cell.shared().endpoint.follow(endpoint);
        if followed != Followed::Same && cell.shared().moves.note() {
            self.tell(PeerEvent::Moved(peer));
        }
        if begins {
            self.flush(peer, false);
        }
        if unconfirmed && self.tell(PeerEvent::Confirmed(peer)) {
            self.receive.get_mut(&header.receiver).expect("it was there above").session.confirm();
        }
        cell.shared().counters[0].received(1, bytes.len() as u64);
        let awake = if inner.is_empty() {
            cell.shared().activity.keepalive_received(now);
            false
        } else {
            cell.shared().activity.data_received(now)
        };
        if followed == Followed::Found {
            self.tell(PeerEvent::Found(peer));
        }
        if aging && self.request_handshake(peer, HandshakeReason::KeyAging { local_index }) {
            self.receive.get_mut(&header.receiver).expect("it was there above").session.note_rekey_asked();
        }
        if awake {
            self.wake_control(peer);
        }
        if inner.is_empty() {
            return Ok(());
        }
        let parsed = packet::parse(inner)?;
        if self.routes.lookup(parsed.source) != Some(peer) {
            return Err(DropReason::SourceNotAllowed);
        }
        self.delivered.push(inner[..parsed.len].to_vec());
        Ok(())
    }
}

fn tag(key: &CipherKey, counter: u64, inner: &[u8]) -> [u8; TAG_LEN] {
    let (suite, key) = key;
    mac(key, &[suite.name().as_bytes(), &counter.to_le_bytes(), inner])
}

fn seal(key: &CipherKey, receiver: u32, counter: u64, inner: &[u8]) -> Vec<u8> {
    let mut header = [0; DATA_HEADER_LEN];
    write_data_header(&mut header, receiver, counter);
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(inner);
    bytes.resize(DATA_HEADER_LEN + packet::padded_len(inner.len(), 1420), 0);
    let tag = tag(key, counter, &bytes[DATA_HEADER_LEN..]);
    bytes.extend_from_slice(&tag);
    bytes
}

fn open<'a>(key: &CipherKey, counter: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (inner, claimed) = bytes[DATA_HEADER_LEN..].split_last_chunk::<TAG_LEN>()?;
    (tag(key, counter, inner) == *claimed).then_some(inner)
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

/// The number of an inner packet.
pub fn number(inner: &[u8]) -> u32 {
    u32::from_be_bytes(inner[20..24].try_into().expect("four bytes"))
}
