//! The other end of a tunnel, for the target of the data path: it has the keys, seals whatever it is told to, and opens
//! what comes out.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::cell::{PeerShared, SessionNumber};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::packet;
use ringfort_core::replay::WINDOW_SIZE;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN, parse_data_header, write_data_header};
use ringfort_path::{PeerCell, Receiver, SessionOrder};

/// The keys of both directions: they protect nobody.
const TO_GATEWAY: [u8; 32] = [1; 32];
const FROM_GATEWAY: [u8; 32] = [2; 32];

/// A peer with at most one session at a time.
pub(crate) struct Remote {
    pub(crate) cell: Arc<PeerCell>,
    suite: Suite,
    number: SessionNumber,
    /// The index that this end has given to the latest session.
    remote_index: u32,
    seal: SealKey,
    open: OpenKey,
    /// The receiver index that the gateway has given to the session.
    pub(crate) local_index: u32,
    created: Time,
    /// The gateway has the receiving half.
    pub(crate) is_open: bool,
    /// Where the gateway has known it to be, or may have, since nothing waited.
    pub(crate) was_at: Vec<Endpoint>,
    /// Counters that the gateway has accepted.
    accepted: BTreeSet<u64>,
    /// What the gateway has sent under: our index of a session, and the counter.
    received: HashSet<(u32, u64)>,
}

impl Remote {
    pub(crate) fn new(index: u32, suite: Suite, endpoint: Option<Endpoint>) -> Self {
        let shared = Arc::new(PeerShared::new(2));
        endpoint.map(|endpoint| shared.endpoint.set(endpoint));
        Self {
            cell: Arc::new(PeerCell::new(PeerId { index, generation: 0 }, shared)),
            suite,
            number: SessionNumber::default(),
            remote_index: index,
            seal: SealKey::new(plan(), suite, &TO_GATEWAY),
            open: OpenKey::new(plan(), suite, &FROM_GATEWAY),
            local_index: 0,
            created: Time::ZERO,
            is_open: false,
            was_at: Vec::new(),
            accepted: BTreeSet::new(),
            received: HashSet::new(),
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.cell.id()
    }

    /// A new session, with the receiving half for the gateway. The index belongs to worker 0 of 2. `initiator`: the
    /// gateway asked for it.
    pub(crate) fn begin(&mut self, now: Time, initiator: bool) -> SessionOrder {
        self.number = self.number.next();
        self.remote_index = self.remote_index.wrapping_add(1 << 8);
        self.local_index =
            0x5e55_0000 | self.id().index << 8 | u32::from(self.local_index as u8).wrapping_add(2) & 0xfe;
        (self.created, self.is_open) = (now, true);
        self.accepted.clear();
        let open = OpenKey::new(plan(), self.suite, &TO_GATEWAY);
        let receive = ReceiveSession::new(open, self.local_index, now, initiator);
        let seal = SealKey::new(plan(), self.suite, &FROM_GATEWAY);
        let send = SendSession::new(seal, self.local_index, self.remote_index, now, initiator);
        let (receiver, sends_now) = Receiver::new(self.cell.clone(), self.number, receive, send);
        sends_now.map(|state| self.cell.advance(state));
        SessionOrder::Begin(Box::new(receiver))
    }

    /// A data message with this counter around a plaintext.
    pub(crate) fn seal(&self, counter: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut message = vec![0; DATA_HEADER_LEN + plaintext.len() + TAG_LEN];
        let (header, body) = message.split_first_chunk_mut().expect("as long as a header, at least");
        write_data_header(header, self.local_index, counter);
        self.seal.seal_from(counter, plaintext, body).expect("the body has room for the plaintext and a tag");
        message
    }

    /// Whether the gateway must take an authentic message with this counter, by the rules of the paper. It has then.
    pub(crate) fn accepts(&mut self, now: Time, counter: u64) -> bool {
        let highest = self.accepted.last().copied().unwrap_or(0);
        let usable = self.is_open && now.since(self.created).as_secs() < 180;
        let in_window = counter.saturating_add(WINDOW_SIZE) >= highest && counter < u64::MAX - (1 << 13);
        usable && in_window && self.accepted.insert(counter)
    }

    /// Opens a datagram of the gateway: the packet in it, or nothing. Panics if it is not for this peer, or takes a
    /// counter for a second time.
    pub(crate) fn receive(&mut self, datagram: &[u8]) -> Vec<u8> {
        let header = parse_data_header(datagram).expect("a data message");
        assert_eq!(header.receiver & 0xff, self.id().index, "an index of this peer's");
        let mut body = datagram[DATA_HEADER_LEN..].to_vec();
        self.open.open(header.counter, &mut body).expect("sealed for this peer");
        assert!(self.received.insert((header.receiver, header.counter)), "counter {} twice", header.counter);
        body.truncate(body.len() - TAG_LEN);
        body
    }

    /// Whether an address belongs to this peer.
    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => addr.octets()[..2] == self.net4().octets()[..2],
            IpAddr::V6(addr) => addr.octets()[..2] == self.net6().octets()[..2],
        }
    }

    /// 10.x.0.0/16
    pub(crate) fn net4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.id().index as u8, 0, 0)
    }

    /// fdxx::/16
    pub(crate) fn net6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00 | self.id().index as u16, 0, 0, 0, 0, 0, 0, 0)
    }

    /// What the gateway must write of an accepted message: the packet, if this peer may send it.
    pub(crate) fn passes(&self, plaintext: &[u8], ecn: u8) -> Option<Vec<u8>> {
        let inner = packet::parse(plaintext).ok().filter(|inner| self.has(inner.source))?;
        let mut packet = plaintext[..inner.len].to_vec();
        packet::apply_outer_ecn(&mut packet, ecn).ok()?;
        Some(packet)
    }
}

fn plan() -> Plan {
    Plan::fixed(Provider::AwsLc)
}
