//! Two gateways with a session, as far as both data paths and workers need them: one seals what the other opens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ring_buffers::{Arena, LineId, Pool, View};
use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::cell::{PeerShared, SendState, SessionNumber};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::time::Time;
use ringfort_path::{Config, DataPath, Order, Outcome, PeerCell, Receiver, SessionOrder, Transmit, bare, budget};
use vnet_packets::Merge;

/// The time, which stands still.
pub(crate) const NOW: Time = Time::from_secs(1_000);
const PEER: PeerId = PeerId { index: 0, generation: 0 };
const INDEX: u32 = 0x1234_5600;
const KEY: [u8; 32] = [7; 32];
/// Everybody's interface.
pub(crate) const MTU: usize = 1_420;

/// The sender, as the receiver reaches it, and the receiver.
pub(crate) const SENDER: Host = Host { tunnel: "10.0.0.1", outside: "192.0.2.1:51820" };
pub(crate) const RECEIVER: Host = Host { tunnel: "10.0.0.2", outside: "192.0.2.2:51820" };

/// Where a gateway is.
pub(crate) struct Host {
    tunnel: &'static str,
    outside: &'static str,
}

impl Host {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.outside.parse::<SocketAddr>().expect("a literal"))
    }

    /// A peer that is there, and the orders by which a data path knows it.
    pub(crate) fn peer(&self) -> (Arc<PeerCell>, [Order; 2]) {
        let cell = Arc::new(PeerCell::new(PEER, Arc::new(PeerShared::new(1))));
        cell.shared().endpoint.set(self.endpoint());
        let mut routes = AllowedIps::new();
        let address: IpAddr = self.tunnel.parse().expect("a literal");
        routes.insert(Prefix::new(address, 32).expect("32 bits"), PEER);
        (cell.clone(), [Order::AddPeer(cell), Order::Routes { routes, version: 1 }])
    }
}

/// Who sends, and who receives.
pub(crate) struct Rig {
    pub(crate) sender: DataPath,
    pub(crate) receiver: DataPath,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let mut sender = data_path();
        let (cell, orders) = RECEIVER.peer();
        let begin = begin_sending(&cell, NOW);
        for order in orders.into_iter().chain([begin]) {
            assert_eq!(sender.handle_order(NOW, order), Outcome::Done);
        }
        let mut receiver = data_path();
        let (cell, orders) = SENDER.peer();
        for order in orders {
            assert_eq!(receiver.handle_order(NOW, order), Outcome::Done);
        }
        receiver.handle_session(NOW, begin_receiving(cell, NOW));
        Self { sender, receiver }
    }
}

/// Gives a peer's cell a session to send under, and returns the order that says so.
pub(crate) fn begin_sending(cell: &PeerCell, now: Time) -> Order {
    let seal = SealKey::new(Plan::fixed(Provider::RustCrypto), Suite::ChaCha20Poly1305, &KEY);
    let session = SendSession::new(seal, INDEX, INDEX, now, true);
    assert!(cell.advance(Arc::new(SendState::session(SessionNumber::default().next(), session))));
    Order::SendStaged { peer: PEER }
}

/// The order to receive under that session.
pub(crate) fn begin_receiving(cell: Arc<PeerCell>, now: Time) -> SessionOrder {
    let plan = Plan::fixed(Provider::RustCrypto);
    let open = ReceiveSession::new(OpenKey::new(plan, Suite::ChaCha20Poly1305, &KEY), INDEX, now, true);
    let seal = SealKey::new(plan, Suite::ChaCha20Poly1305, &KEY);
    let unused = SendSession::new(seal, INDEX, INDEX, now, true);
    let (session, _) = Receiver::new(cell, SessionNumber::default().next(), open, unused);
    SessionOrder::Begin(Box::new(session))
}

fn data_path() -> DataPath {
    let arena = Arena::heap(&budget::budget());
    let merge = Merge::ALL;
    let config = Config { worker: 0, workers: 1, node: Node::SINGLE, mtu: MTU, merge, ragged: false };
    DataPath::new(config, Pool::new(arena), Arc::new(Nesting::new()), ringfort_path::Unwatched)
}

/// What a receiver's kernel makes of a transmission: the length of the datagrams, and what comes at once.
pub(crate) fn received(transmit: &Transmit, is_cut: bool) -> Vec<(usize, Vec<u8>)> {
    let together = if is_cut { transmit.stride } else { transmit.view.len() };
    transmit.view.chunks(together).map(|train| (transmit.stride.min(train.len()), train.to_vec())).collect()
}

/// A slot with these bytes, as the kernel would have filled it.
pub(crate) fn filled(path: &DataPath, line: LineId, bytes: &[u8]) -> View {
    bare::filled(path, line, bytes).expect("all slots have come home")
}
