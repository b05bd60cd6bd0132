//! Ten thousand peers are copied in parts, and each once, whoever comes and goes meanwhile.

use ringfort_aead::{Plan, Provider};
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Device;
use ringfort_worker::queues::Queues;

use super::*;
use crate::control::sockets::Sockets;

struct Rig {
    device: Device,
    plane: DataPlane,
    exchange: Arc<Exchange>,
    gathering: Gathering,
}

fn key(number: u32) -> PublicKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key[31] = 1;
    PublicKey::new(key)
}

impl Rig {
    fn new(peers: u32) -> Self {
        let queues = Arc::new(Queues::new(1).unwrap());
        let plan = Plan::fixed(Provider::AwsLc);
        let mut device = Device::new(1);
        for number in 0..peers {
            device.add_peer(key(number)).unwrap();
        }
        let exchange = Arc::new(Exchange::new().unwrap());
        let gathering = Gathering::new(exchange.clone());
        Self {
            device,
            plane: DataPlane::new(queues, plan, Sockets::new(udp_uring::SocketConfig::new(0, 1)).unwrap()),
            exchange,
            gathering,
        }
    }

    fn ask(&self, room: usize) {
        let snapshot = Snapshot { peers: Vec::with_capacity(room), ..Snapshot::default() };
        assert!(self.exchange.ask(Box::new(snapshot)), "none is on its way");
    }

    fn step(&mut self) -> bool {
        let turns = Durations::default();
        let subject =
            Subject { device: &self.device, plane: &self.plane, handshakes_waiting: 3, turns: &turns, now: Time::ZERO };
        self.gathering.step(&subject)
    }

    /// Turns until there is nothing more to do, and the snapshot.
    fn run(&mut self) -> Snapshot {
        while self.step() {
            assert!(self.exchange.next_filled().is_none(), "it is not given away half");
        }
        *self.exchange.next_filled().expect("it is given when nothing is left to do")
    }
}

#[test]
fn nobody_asks_and_nothing_is_done() {
    let mut rig = Rig::new(3);
    assert!(!rig.step());
    assert!(rig.exchange.next_filled().is_none());
}

#[test]
fn ten_thousand_peers_take_forty_turns() {
    let mut rig = Rig::new(10_000);
    rig.ask(10_000);
    let snapshot = rig.run();
    assert_eq!((snapshot.peers.len(), snapshot.control.peers), (10_000, 10_000));
    assert_eq!(snapshot.turns as usize, 10_000_usize.div_ceil(PEERS_PER_TURN), "each turn does a bounded part");
    let number = |peer: &PeerSample| u32::from_le_bytes([peer.key[0], peer.key[1], peer.key[2], peer.key[3]]);
    assert!(snapshot.peers.iter().map(number).eq(0..10_000), "each once, in the order of their slots");
    assert_eq!(snapshot.control.handshakes_waiting, 3);
}

#[test]
fn control_takes_no_memory_for_it() {
    let mut rig = Rig::new(1_000);
    rig.ask(300);
    let snapshot = rig.run();
    assert!(snapshot.peers.capacity() < 1_000, "it has not grown");
    assert_eq!((snapshot.peers.len(), snapshot.control.peers), (snapshot.peers.capacity(), 1_000));
    rig.ask(0);
    assert_eq!(rig.run().peers.len(), 0);
    assert!(!rig.step(), "and then there is nothing to do");
}

#[test]
fn who_stays_is_there_once_whoever_comes_and_goes() {
    let mut rig = Rig::new(1_000);
    rig.ask(2_000);
    assert!(rig.step());
    for number in (0..1_000).step_by(3) {
        let peer = rig.device.peer(&key(number)).unwrap();
        rig.device.remove_peer(peer);
        while rig.device.poll_action().is_some() {}
        rig.device.add_peer(key(10_000 + number)).unwrap();
    }
    let snapshot = rig.run();
    for number in (0..1_000).filter(|number| number % 3 != 0) {
        let seen = snapshot.peers.iter().filter(|peer| peer.key == *key(number).as_bytes()).count();
        assert_eq!(seen, 1, "peer {number}");
    }
}
