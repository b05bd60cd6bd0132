//! What a packet costs in a gateway with many peers, each packet for another one: nanoseconds of the data path, the
//! cipher included, going out and coming in. `cargo bench -p ringfort-path -- [PEERS]`.
//!
//! Most of what such a packet needs is in no cache: the routes, the peer, its session, its key. Turns are as large as a
//! worker's. Of their times the median counts, so what others do on the machine hardly does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring_buffers::{Arena, Pool, View};
use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::cell::{PeerShared, SendState, SessionNumber};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::time::Time;
use ringfort_path::{
    Config, DataPath, Order, Outcome, PeerCell, Receiver, SessionOrder, Train, Transmit, Unwatched, bare, budget,
};
use vnet_packets::{Merge, VNET_HDR_LEN};

const NOW: Time = Time::from_secs(1_000);
const KEY: [u8; 32] = [7; 32];
const LEN: usize = 64;
/// Packets of a turn. Both ways have slots for so many.
const BATCH: usize = 16;
const TURNS: usize = 8_000;

/// A gateway whose peers each have a session.
struct Gateway {
    path: DataPath,
    cells: Vec<Arc<PeerCell>>,
}

impl Gateway {
    fn new(peers: u32) -> Self {
        let config = Config { worker: 0, workers: 1, node: Node::SINGLE, mtu: 1_420, merge: Merge::ALL, ragged: false };
        let pool = Pool::new(Arena::heap(&budget::budget()));
        let mut path = DataPath::new(config, pool, Arc::new(Nesting::new()), Unwatched);
        let mut routes = AllowedIps::new();
        let cells: Vec<_> = (0..peers).map(cell).collect();
        for cell in &cells {
            routes.insert(Prefix::new(address(cell.id().index), 32).expect("32 bits"), cell.id());
            assert_eq!(path.handle_order(NOW, Order::AddPeer(cell.clone())), Outcome::Done);
        }
        assert_eq!(path.handle_order(NOW, Order::Routes { routes, version: 1 }), Outcome::Done);
        Self { path, cells }
    }
}

fn cell(index: u32) -> Arc<PeerCell> {
    let cell = PeerCell::new(PeerId { index, generation: 0 }, Arc::new(PeerShared::new(1)));
    cell.shared().endpoint.set(Endpoint::new(SocketAddr::from(([192, 0, 2, 1], 51_820))));
    Arc::new(cell)
}

fn main() {
    let peers = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let (plan, suite) = (Plan::fixed(Provider::AwsLc), Suite::ChaCha20Poly1305);
    let (mut sender, mut receiver) = (Gateway::new(peers), Gateway::new(peers));
    let number = SessionNumber::default().next();
    for (index, (from, to)) in (0..peers).zip(receiver.cells.iter().zip(&sender.cells)) {
        let send = || SendSession::new(SealKey::new(plan, suite, &KEY), index, index, NOW, true);
        assert!(to.advance(Arc::new(SendState::session(number, send()))));
        let open = ReceiveSession::new(OpenKey::new(plan, suite, &KEY), index, NOW, true);
        let (session, _) = Receiver::new(from.clone(), number, open, send());
        receiver.path.handle_session(NOW, SessionOrder::Begin(Box::new(session)));
    }
    let (mut out, mut into) = (Vec::with_capacity(TURNS), Vec::with_capacity(TURNS));
    let (mut sent, mut pieces) = (Vec::with_capacity(64), Vec::with_capacity(64));
    // The first half of the turns meets what is only slow once.
    for turn in 0..2 * TURNS {
        let number = |i: usize| random((turn * BATCH + i) as u64) as u32 % peers;
        let mut reads: Vec<View> = (0..BATCH).map(|i| read(&sender.path, number(i))).collect();
        let began = Instant::now();
        bare::turn_out(&mut sender.path, NOW, &mut reads, &mut sent);
        out.push(began.elapsed());
        let mut trains: Vec<Train> = sent.drain(..).map(|transmit| received(&receiver.path, &transmit)).collect();
        let began = Instant::now();
        bare::turn_in(&mut receiver.path, NOW, &mut trains, &mut pieces);
        into.push(began.elapsed());
    }
    assert_eq!(receiver.path.counters().tun_write_packets, (2 * TURNS * BATCH) as u64, "all packets get through");
    let [out, into] = [out, into].map(|mut turns| median(&mut turns[TURNS..]));
    println!("{peers} peers, ns per packet: out {out:.0}, in {into:.0}");
}

fn median(turns: &mut [Duration]) -> f64 {
    turns.sort_unstable();
    turns[turns.len() / 2].as_nanos() as f64 / BATCH as f64
}

/// A packet from and to the address of a peer: the other gateway knows it by the same.
fn read(path: &DataPath, peer: u32) -> View {
    let IpAddr::V4(address) = address(peer) else { unreachable!("all are of IPv4") };
    let mut read = [0; VNET_HDR_LEN + LEN];
    let packet = &mut read[VNET_HDR_LEN..];
    packet[..4].copy_from_slice(&[0x45, 0, 0, LEN as u8]);
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 17]);
    packet[12..16].copy_from_slice(&address.octets());
    packet[16..20].copy_from_slice(&address.octets());
    packet[20..26].copy_from_slice(&[0x10, 0, 0x20, 0, 0, LEN as u8 - 20]);
    bare::filled(path, budget::line::TUN_READS, &read).expect("all slots have come home")
}

fn received(receiver: &DataPath, transmit: &Transmit) -> Train {
    let view = bare::filled(receiver, budget::line::UDP_READS, &transmit.view).expect("all slots have come home");
    Train { view, stride: transmit.stride, endpoint: transmit.endpoint, ecn: transmit.ecn, handed: false }
}

/// Spread over all addresses, and different for different peers.
fn address(peer: u32) -> IpAddr {
    Ipv4Addr::from_bits(peer.wrapping_mul(0x9e37_79b1)).into()
}

/// The same for the same number (splitmix64).
const fn random(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
