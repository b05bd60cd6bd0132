//! Ten thousand peers are copied in parts, and each once, whoever comes and goes meanwhile.

use std::net::UdpSocket;
use std::time::UNIX_EPOCH;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_aead::{Plan, Provider};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::Endpoint;
use ringfort_core::node::Node;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::Now;
use ringfort_worker::WorkerStats;
use ringfort_worker::queues::Queues;

use super::*;
use crate::cli::memory::{Bound, Memory};
use crate::control::answer;
use crate::control::sockets::Sockets;
use crate::control::uapi::Reply;
use crate::metrics::{InterfaceName, Registry};

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

/// What asks a device with the first key for a session.
fn initiation(now: Now) -> Vec<u8> {
    let mut device = Device::new(1);
    device.set_private_key(now.mono, Some(PrivateKey::new([2; 32])));
    device.link_up(now.mono);
    let peer = device.add_peer(PrivateKey::new([1; 32]).public_key()).unwrap();
    device.set_endpoint(now.mono, peer, "127.0.0.1:9".parse().unwrap());
    let need = PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession };
    device.handle_event(now, need, &mut UnwrapErr(SysRng));
    loop {
        let action = device.poll_action().expect("an initiation is made");
        if let Action::Outgoing(Outgoing::Send { datagram, .. }) = action {
            return datagram.as_ref().to_vec();
        }
    }
}

#[test]
fn a_cookie_of_control_counts_when_it_has_left() {
    let now = Now { mono: Time::from_secs(7), wall: Tai64N::from_unix(1_800_000_000, 0) };
    let (mut rig, message, remote) = (Rig::new(0), initiation(now), UdpSocket::bind("127.0.0.1:0").unwrap());
    rig.device.set_private_key(now.mono, Some(PrivateKey::new([1; 32])));
    rig.device.link_up(now.mono);
    let endpoint = Endpoint::new(remote.local_addr().unwrap());
    for (cookies, unsent) in [(0, 1), (1, 1)] {
        // It was let through before there was load.
        let verdict = rig.device.handle_datagram(now, endpoint, &message, true, &mut UnwrapErr(SysRng));
        assert_eq!(verdict, Err(DropReason::CookieRequired));
        rig.plane.carry_out(&mut rig.device, now.mono);
        rig.ask(0);
        let control = rig.run().control;
        assert_eq!((control.cookies_sent, control.handshakes_unsent), (cookies, unsent));
        rig.plane.sockets_mut().want(now.mono);
        assert!(rig.plane.listen(now.mono), "the second has a socket to leave by");
    }
    let registry = registry();
    registry.workers[0].cookies_sent.set(5);
    let text = stats(&rig, &registry);
    assert!(text.lines().any(|line| line == "cookies_sent=6"), "{text}");
}

fn registry() -> Registry {
    Registry {
        interface: InterfaceName::new("wg0"),
        started: UNIX_EPOCH,
        ciphers: Vec::new(),
        control_thread: 0,
        workers: vec![Arc::new(WorkerStats::default())],
        queues: Arc::new(Queues::new(1).unwrap()),
        memory: Memory { bound: Bound::None, receive_buffer: None }.divide(1),
        node: Node::new(1, 2).unwrap(),
    }
}

/// What `ringfort stats` prints.
fn stats(rig: &Rig, registry: &Registry) -> String {
    let mut reply = Reply::default();
    answer::stats(&mut reply, &rig.device, &rig.plane, 0, registry);
    String::from_utf8(reply.unwritten().to_vec()).unwrap()
}

/// What the handbook looks for among the counters is there.
#[test]
fn figures_of_the_handbook_have_these_names() {
    let mut rig = Rig::new(0);
    rig.device.set_node(Time::ZERO, Node::new(1, 2).unwrap());
    let (text, mut count) = (stats(&rig, &registry()), 0);
    for page in ringfort_handbook::pages().unwrap() {
        for (_, pattern) in page.text.lines().filter_map(|line| line.split_once("ringfort stats wg0 | grep ")) {
            for word in pattern.trim_start_matches("-E ").trim_matches('\'').split('|') {
                let (start, word) = (word.starts_with('^'), word.trim_start_matches('^'));
                let is_there = |line: &str| if start { line.starts_with(word) } else { line.contains(word) };
                assert!(text.lines().any(is_there), "{}: no counter has {word} in its name", page.file);
                count += 1;
            }
        }
    }
    assert!(count > 5, "there are such commands: {count}");
}
