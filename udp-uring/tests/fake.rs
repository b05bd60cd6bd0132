//! The edge on a kernel that misbehaves: each datagram has one outcome, slots add up, and all ends within bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ring_buffers::fake::{FakeKernel, Message, Script};
use ring_buffers::{Arena, Budget, BufferGroup, LineId, Pool, Ring, RingConfig, SlotClass, View, Wait};
use udp_uring::{
    EdgeConfig, Endpoint, LocalAddr, RECEIVE_BUFFER_LEN, Received, Segmentation, SocketConfig, SocketGroup,
    TrainRefusal, Transmit, UdpEdge, UdpEvent,
};

const EDGE: u8 = 3;
const PLACES: [u32; 2] = [0, 1];
const OPERATIONS: u16 = 10;
const READS: u16 = 6;
const TRAINS: u16 = 8;
/// Turns after which a kernel that behaves has done all that was asked of it.
const TURNS_MAX: usize = 200;

struct Rig {
    ring: Ring,
    kernel: FakeKernel,
    pool: Pool,
    edge: UdpEdge,
    sockets: SocketGroup,
    /// Datagrams without an outcome, by the train's context.
    trains: BTreeMap<u64, usize>,
    next: u64,
    delivered: usize,
    came: usize,
    held: Vec<View>,
    state: u64,
}

impl Rig {
    fn new(script: Script) -> Self {
        let budget =
            Budget::new().reserved("reads", SlotClass::Jumbo, READS).reserved("trains", SlotClass::Jumbo, TRAINS);
        let pool = Pool::new(Arena::heap(&budget));
        let config = RingConfig { submissions: 4, completions: 8, operations: OPERATIONS + 20 };
        let (mut ring, kernel) = Ring::on_fake(config, script);
        ring.register_files(&[None; 2]).expect("a fake takes anything");
        let group = BufferGroup::register(&mut ring, &pool, 0, SlotClass::Jumbo, READS, RECEIVE_BUFFER_LEN)
            .expect("a fake takes anything")
            .claiming_for(LineId(0));
        let config = EdgeConfig {
            edge: EDGE,
            place_v4: PLACES[0],
            place_v6: PLACES[1],
            operations: OPERATIONS,
            segmentation: Segmentation::On,
        };
        let sockets = SocketGroup::bind(&SocketConfig::new(0, 1)).expect("a port is free");
        let mut rig = Self {
            edge: UdpEdge::new(group, config),
            ring,
            kernel,
            pool,
            sockets,
            trains: BTreeMap::new(),
            next: 0,
            delivered: 0,
            came: 0,
            held: Vec::new(),
            state: script.seed,
        };
        rig.rebind();
        rig
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % end
    }

    fn rebind(&mut self) {
        // A ring that takes no cancellation now takes it some turns later.
        for _ in 0..TURNS_MAX {
            if self.edge.rebind(&mut self.ring, self.sockets.pair(0)).is_ok() {
                return;
            }
            self.turn();
        }
        panic!("the ring takes nothing any more");
    }

    fn step(&mut self) {
        match self.below(24) {
            0..=5 => {
                let len = 1 + self.below(3_000) as usize;
                let name = sockaddr(7);
                self.kernel.deliver(PLACES[0], Message { name, control: Vec::new(), bytes: vec![0x5a; len] });
                self.delivered += 1;
            }
            6..=11 => self.send(),
            12 => self.held.clear(),
            13 if self.below(4) == 0 => self.rebind(),
            _ => self.turn(),
        }
        assert!(self.pool.accounting().adds_up(), "{:?}", self.pool.accounting());
    }

    fn send(&mut self) {
        let Some(mut view) = self.pool.claim_for(LineId(1)) else { return };
        let len = 1 + self.below(6_000) as usize;
        let stride = 50 + self.below(2_000) as usize;
        view.truncate(len);
        view.fill(0xa5);
        let source = LocalAddr { addr: "192.0.2.9".parse().expect("literal"), ifindex: 0 };
        let remote: SocketAddr = "192.0.2.1:9".parse().expect("literal");
        let endpoint = Endpoint { remote, source: (self.below(2) == 0).then_some(source) };
        let (context, segments) = (self.next, len.div_ceil(stride));
        self.next += 1;
        self.trains.insert(context, segments);
        let transmit = Transmit { view, stride, endpoint, ecn: 1, context };
        if let Err(refused) = self.edge.send(&mut self.ring, transmit) {
            assert!(matches!(refused.why, TrainRefusal::Full | TrainRefusal::Ring(_)), "{refused:?}");
            self.outcome(context, refused.segments);
        }
    }

    /// Datagrams of a train have an outcome.
    fn outcome(&mut self, context: u64, segments: usize) {
        let left = self.trains.get_mut(&context).expect("a train that has no outcome yet");
        *left = left.checked_sub(segments).expect("each datagram has one outcome");
        if *left == 0 {
            self.trains.remove(&context);
        }
    }

    fn turn(&mut self) {
        // What the ring does not take now it is asked again in the next turn.
        let _ = self.edge.prepare(&mut self.ring);
        self.ring.turn(Wait::No).expect("all errors of this kernel pass");
        let mut completions = Vec::new();
        self.ring.reap(6, |completion| completions.push(completion));
        for completion in completions {
            assert_eq!(completion.edge(), EDGE);
            let event = self.edge.complete(&mut self.ring, completion);
            let left_behind = self.edge.take_left_behind().map_or(0, |left| left.segments);
            match event {
                UdpEvent::Received(Received { view, endpoint, .. }) => {
                    assert_eq!(endpoint.remote.to_string(), "192.0.2.7:7");
                    assert!(view.iter().all(|&byte| byte == 0x5a));
                    self.came += 1;
                    self.held.push(view);
                }
                UdpEvent::Late { datagrams } => self.came += datagrams,
                UdpEvent::Sent(sent) => {
                    assert!(sent.lost >= left_behind, "{sent:?}");
                    self.outcome(sent.context, sent.segments + sent.lost);
                }
                UdpEvent::SendFailed(failed) => {
                    assert!(failed.segments > left_behind, "{failed:?}");
                    self.outcome(failed.context, failed.segments);
                }
                UdpEvent::Nothing => {}
                other => panic!("{other:?}"),
            }
            self.edge.take_notice();
        }
        for (_, Message { bytes, name, .. }) in self.kernel.take_written() {
            assert!(name[2..8] == [0, 9, 192, 0, 2, 1] && bytes.iter().all(|&byte| byte == 0xa5));
        }
    }

    /// The kernel behaves from now on: all that was delivered is received, and all sends end.
    fn recover(&mut self) {
        self.kernel.follow(Script::calm(0));
        for _ in 0..TURNS_MAX {
            self.held.clear();
            self.turn();
        }
        assert_eq!((self.kernel.unread(PLACES[0]), self.came), (0, self.delivered));
        assert!(self.trains.is_empty(), "{:?}", self.trains);
        assert_eq!((self.edge.sends_in_flight(), self.edge.is_releasing()), (0, false));
    }

    fn finish(mut self) {
        while self.edge.close(&mut self.ring).is_err() {
            self.turn();
        }
        for _ in 0..TURNS_MAX {
            self.turn();
            self.held.clear();
        }
        let (releasing, sends) = (self.edge.is_releasing(), self.edge.sends_in_flight());
        assert_eq!((releasing, sends, self.trains.len()), (false, 0, 0), "{:?}", self.kernel);
        let Self { ring, edge, pool, .. } = self;
        drop(edge);
        drop(ring);
        assert_eq!(pool.accounting().free, usize::from(READS + TRAINS));
    }
}

/// `struct sockaddr_in` of 192.0.2.7.
fn sockaddr(port: u16) -> Vec<u8> {
    let family = (libc::AF_INET as u16).to_ne_bytes();
    [&family[..], &port.to_be_bytes(), &[192, 0, 2, 7], &[0; 8]].concat()
}

#[test]
fn the_edge_recovers_from_whatever_the_kernel_does() {
    let (mut failed, mut retried) = (0, 0);
    for seed in 0..300 {
        let mut rig = Rig::new(Script::wild(seed));
        for _ in 0..400 {
            rig.step();
        }
        if seed % 3 != 0 {
            rig.recover();
        }
        failed += rig.kernel.done().failed;
        retried += rig.edge.counters().retries_unsegmented + rig.edge.counters().retries_without_source;
        rig.finish();
    }
    assert!(failed > 1_000 && retried > 100, "{failed} failed, {retried} were tried again");
}

/// The ring goes first, with receives and sends in flight, or the edge does.
#[test]
fn whoever_goes_first_no_slot_is_lost() {
    for seed in 0..200 {
        let mut rig = Rig::new(Script::wild(seed));
        for _ in 0..60 {
            rig.step();
        }
        let Rig { ring, edge, pool, held, kernel, .. } = rig;
        drop(held);
        if seed % 2 == 0 {
            drop(ring);
            drop(edge);
        } else {
            drop(edge);
            drop(ring);
        }
        assert_eq!((pool.accounting().free, kernel.in_flight()), (usize::from(READS + TRAINS), 0), "seed {seed}");
    }
}

/// The ring could not let go of one socket. Its port is free once it has.
#[test]
fn closing_may_fail_and_is_tried_again() {
    for places in [0..1, 0..2] {
        let mut rig = Rig::new(Script::calm(5));
        (0..3).for_each(|_| rig.turn());
        let Rig { edge, ring, kernel, .. } = &mut rig;
        for _ in places {
            kernel.refuse_update(libc::ENOMEM);
            assert!(edge.close(ring).is_err());
            assert!(PLACES.iter().any(|&place| kernel.has_file(place)), "a socket is still there");
        }
        // Nobody wants what comes meanwhile.
        rig.kernel.deliver(PLACES[0], Message { name: sockaddr(7), control: Vec::new(), bytes: vec![0x5a; 9] });
        (0..3).for_each(|_| rig.turn());
        assert_eq!(rig.came, 0);
        let Rig { edge, ring, kernel, .. } = &mut rig;
        edge.close(ring).expect("it goes now");
        assert!(PLACES.iter().all(|&place| !kernel.has_file(place)), "no socket is there any more");
        (0..TURNS_MAX).for_each(|_| rig.turn());
        assert!(!rig.edge.is_releasing() && rig.edge.is_idle(), "nothing of it is in flight");
    }
}
