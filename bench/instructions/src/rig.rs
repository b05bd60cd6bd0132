//! Two data paths with a session: one seals what the other opens.

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
use ringfort_path::{Config, DataPath, Order, Outcome, PeerCell, Receiver, SessionOrder, bare, budget};
use vnet_packets::Merge;

/// The time, which stands still.
pub(crate) const NOW: Time = Time::from_secs(1_000);
const PEER: PeerId = PeerId { index: 0, generation: 0 };
const INDEX: u32 = 0x1234_5600;
const KEY: [u8; 32] = [7; 32];
/// Everybody's interface.
const MTU: usize = 1_420;

/// Who sends, and who receives.
pub(crate) struct Rig {
    pub(crate) sender: DataPath,
    pub(crate) receiver: DataPath,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let plan = Plan::fixed(Provider::RustCrypto);
        let (mut sender, sends_to) = data_path("10.0.0.2", "192.0.2.2:51820");
        let seal = SealKey::new(plan, Suite::ChaCha20Poly1305, &KEY);
        let session = SendSession::new(seal, INDEX, INDEX, NOW, true);
        assert!(sends_to.advance(Arc::new(SendState::session(SessionNumber::default().next(), session))));
        let (mut receiver, hears_from) = data_path("10.0.0.1", "192.0.2.1:51820");
        let open = ReceiveSession::new(OpenKey::new(plan, Suite::ChaCha20Poly1305, &KEY), INDEX, NOW, true);
        let seal = SealKey::new(plan, Suite::ChaCha20Poly1305, &KEY);
        let unused = SendSession::new(seal, INDEX, INDEX, NOW, true);
        let (session, _) = Receiver::new(hears_from, SessionNumber::default().next(), open, unused);
        receiver.handle_session(NOW, SessionOrder::Begin(Box::new(session)));
        assert_eq!(sender.handle_order(NOW, Order::SendStaged { peer: PEER }), Outcome::Done);
        Self { sender, receiver }
    }
}

/// A data path whose only peer has that address in the tunnel, and is reached at that endpoint.
fn data_path(peer: &str, endpoint: &str) -> (DataPath, Arc<PeerCell>) {
    let arena = Arena::heap(&budget::budget());
    let merge = Merge::ALL;
    let config = Config { worker: 0, workers: 1, node: Node::SINGLE, mtu: MTU, merge, ragged: false };
    let mut path = DataPath::new(config, Pool::new(arena), Arc::new(Nesting::new()), ringfort_path::Unwatched);
    let cell = Arc::new(PeerCell::new(PEER, Arc::new(PeerShared::new(1))));
    cell.shared().endpoint.set(Endpoint::new(endpoint.parse::<SocketAddr>().expect("a literal")));
    let mut routes = AllowedIps::new();
    let address: IpAddr = peer.parse().expect("a literal");
    routes.insert(Prefix::new(address, 32).expect("32 bits"), PEER);
    for order in [Order::AddPeer(cell.clone()), Order::Routes { routes, version: 1 }] {
        assert_eq!(path.handle_order(NOW, order), Outcome::Done);
    }
    (path, cell)
}

/// A slot with these bytes, as the kernel would have filled it.
pub(crate) fn filled(path: &DataPath, line: LineId, bytes: &[u8]) -> View {
    bare::filled(path, line, bytes).expect("all slots have come home")
}
