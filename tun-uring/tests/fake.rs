//! The edge on a kernel that misbehaves: each write has one outcome, slots add up, and everything ends within bounds.

use std::collections::BTreeSet;
use std::fs::OpenOptions;

use ring_buffers::fake::{FakeKernel, Message, Script};
use ring_buffers::{Arena, Budget, Capabilities, LineId, Pool, Ring, RingConfig, SlotClass, View, Wait};
use tun_uring::{EdgeConfig, TunEdge, TunEvent, VNET_HDR_LEN, WriteRefusal};

const PLACE: u32 = 1;
const EDGE: u8 = 4;
const SLOTS: usize = 8 + 24;
/// Turns after which a kernel that behaves has done all that was asked of it.
const TURNS_MAX: usize = 200;

struct Rig {
    ring: Ring,
    kernel: FakeKernel,
    pool: Pool,
    edge: TunEdge,
    /// Contexts of writes without an outcome.
    writes: BTreeSet<u64>,
    next: u64,
    delivered: usize,
    read: usize,
    held: Vec<View>,
    state: u64,
}

impl Rig {
    fn new(script: Script, read_multishot: bool) -> Self {
        let budget = Budget::new().reserved("reads", SlotClass::Jumbo, 8).line("packets", SlotClass::Packet, 24);
        let pool = Pool::new(Arena::heap(&budget));
        let config = RingConfig { submissions: 4, completions: 8, operations: 32 };
        let (mut ring, kernel) = Ring::on_fake(config, script);
        ring.register_pool(&pool).expect("a fake takes anything");
        ring.register_files(&[None; 2]).expect("a fake takes anything");
        // Nobody reads from it or writes to it.
        let queue = OpenOptions::new().read(true).write(true).open("/dev/null").expect("there is one").into();
        let capabilities = Capabilities { read_multishot, writev_fixed: script.seed.is_multiple_of(2) };
        let config = EdgeConfig {
            edge: EDGE,
            place: PLACE,
            group: 0,
            read_slots: 4,
            line: LineId(0),
            writes: 12,
            gathers: 4,
            capabilities,
        };
        let edge = TunEdge::new(&mut ring, &pool, queue, config).expect("a fake takes anything");
        Self {
            ring,
            kernel,
            pool,
            edge,
            writes: BTreeSet::new(),
            next: 0,
            delivered: 0,
            read: 0,
            held: Vec::new(),
            state: script.seed,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % end
    }

    fn step(&mut self) {
        match self.below(8) {
            0 | 1 => {
                let bytes = vec![0x5a; VNET_HDR_LEN + 1 + self.below(3_000) as usize];
                self.kernel.deliver(PLACE, Message { bytes, ..Message::default() });
                self.delivered += 1;
            }
            2 => self.write(),
            3 => self.write_gathered(),
            4 => self.held.clear(),
            _ => self.turn(),
        }
        assert!(self.pool.accounting().adds_up(), "{:?}", self.pool.accounting());
        assert!(self.edge.writes_free() <= 12 - self.writes.len());
    }

    fn packet(&self) -> Option<View> {
        let mut view = self.pool.claim(SlotClass::Packet)?;
        view.truncate(1_000);
        view.fill(0xa5);
        Some(view)
    }

    fn write(&mut self) {
        let Some(packet) = self.packet() else { return };
        match self.edge.write(&mut self.ring, packet, self.next) {
            Ok(()) => assert!(self.writes.insert(self.next)),
            Err(refused) => {
                assert!(matches!(refused.why, WriteRefusal::Full | WriteRefusal::Ring(_)), "{}", refused.why);
                assert_eq!(refused.view.len(), 1_000);
            }
        }
        self.next += 1;
    }

    fn write_gathered(&mut self) {
        let Some(mut packet) = self.packet() else { return };
        let mut pieces = vec![packet.split_to(100), packet.split_to(0), packet];
        match self.edge.write_gathered(&mut self.ring, &mut pieces, self.next) {
            Ok(()) => assert!(pieces.is_empty() && self.writes.insert(self.next)),
            Err(why) => {
                assert!(matches!(why, WriteRefusal::Full | WriteRefusal::Ring(_)), "{why}");
                assert_eq!(pieces.len(), 3);
            }
        }
        self.next += 1;
    }

    fn turn(&mut self) {
        // What the ring does not take now it is asked again in the next turn.
        let _ = self.edge.prepare(&mut self.ring, 0);
        self.ring.turn(Wait::No).expect("all errors of this kernel pass");
        let mut completions = Vec::new();
        self.ring.reap(6, |completion| completions.push(completion));
        for completion in completions {
            assert_eq!(completion.edge(), EDGE);
            match self.edge.complete(completion) {
                TunEvent::Read(view) => {
                    assert!(view.iter().all(|&byte| byte == 0x5a));
                    self.read += 1;
                    self.held.push(view);
                }
                TunEvent::Wrote { context } => assert!(self.writes.remove(&context), "an outcome for each, and one"),
                TunEvent::WriteFailed(failed) => {
                    assert!(self.writes.remove(&failed.context), "an outcome for each, and one");
                    let all = std::iter::once(&failed.first).chain(&failed.rest);
                    assert_eq!(all.map(|piece| piece.len()).sum::<usize>(), 1_000, "all of it comes back");
                }
                TunEvent::Nothing => {}
                TunEvent::Gone | TunEvent::ReadFailed(_) => panic!("none of these errors is the end"),
            }
        }
        for (_, Message { bytes, .. }) in self.kernel.take_written() {
            assert!(bytes.iter().all(|&byte| byte == 0xa5));
        }
    }

    /// The kernel behaves from now on: all that was delivered is read, and all writes end.
    fn recover(&mut self) {
        self.kernel.follow(Script::calm(0));
        for _ in 0..TURNS_MAX {
            self.held.clear();
            self.turn();
        }
        assert_eq!((self.kernel.unread(PLACE), self.read, self.writes.len()), (0, self.delivered, 0));
        assert_eq!((self.edge.writes_free(), self.edge.gathers_free()), (12, 4));
    }

    fn finish(mut self) {
        self.held.clear();
        while self.edge.close(&mut self.ring).is_err() {
            self.turn();
        }
        for _ in 0..TURNS_MAX {
            if self.edge.is_idle() {
                break;
            }
            self.turn();
            self.held.clear();
        }
        assert_eq!(self.edge.counters().late_completions, 0);
        self.edge.finish(&mut self.ring).expect("nothing of it is in flight");
        assert_eq!(self.pool.accounting().free, SLOTS);
    }
}

#[test]
fn the_edge_recovers_from_whatever_the_kernel_does() {
    for seed in 0..200 {
        let mut rig = Rig::new(Script::wild(seed), true);
        for _ in 0..300 {
            rig.step();
        }
        if seed % 3 == 0 {
            // It ends while the kernel is still wild.
            rig.finish();
            continue;
        }
        rig.recover();
        rig.finish();
    }
}

/// A packet for which the driver has no header is its loss alone. If nothing else comes, that is said at some time.
#[test]
fn packets_that_cannot_be_described_are_not_the_end() {
    let script = Script { ended: 400, ends: &[libc::EINVAL], ..Script::calm(7) };
    let mut rig = Rig::new(script, true);
    for _ in 0..300 {
        rig.step();
    }
    assert!(rig.edge.counters().read_errors > 10);
    rig.recover();
    rig.kernel.follow(Script { ended: 1_000, ends: &[libc::EINVAL], ..Script::calm(8) });
    rig.kernel.deliver(PLACE, Message { bytes: vec![0x5a], ..Message::default() });
    let mut turns = 0;
    let error = loop {
        let _ = rig.edge.prepare(&mut rig.ring, 0);
        rig.ring.turn(Wait::No).unwrap();
        let mut ended = None;
        rig.ring.reap(1, |completion| ended = Some(completion));
        if let Some(TunEvent::ReadFailed(error)) = ended.map(|completion| rig.edge.complete(completion)) {
            break error;
        }
        turns += 1;
        assert!(turns < 1_000_000, "it tries for ever");
    };
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn polling_goes_on_after_whatever_the_kernel_does() {
    for seed in 0..100 {
        let mut rig = Rig::new(Script::wild(seed), false);
        for _ in 0..100 {
            match rig.below(3) {
                0 => rig.kernel.deliver(PLACE, Message { bytes: vec![1], ..Message::default() }),
                1 => rig.write(),
                _ => rig.turn(),
            }
        }
        rig.kernel.follow(Script::calm(0));
        let is_readable = (0..TURNS_MAX).any(|_| {
            rig.turn();
            rig.edge.is_readable()
        });
        assert!(is_readable, "seed {seed}");
        rig.finish();
    }
}

/// The ring goes first, with reads and writes in flight, or the edge does.
#[test]
fn whoever_goes_first_no_slot_is_lost() {
    for seed in 0..200 {
        let mut rig = Rig::new(Script::wild(seed), true);
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
        assert_eq!((pool.accounting().free, kernel.in_flight()), (SLOTS, 0), "seed {seed}");
    }
}
