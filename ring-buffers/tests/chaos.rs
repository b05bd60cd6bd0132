//! Safe code in any order on real rings: nothing changes that somebody holds, and only what was written goes out.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io::{Read, Write};
use std::mem::forget;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, OpId, Pool, Ring, RingConfig, SlotClass, Tag, View, Wait, Waker,
};

const TAG: Tag = Tag { edge: 1, context: 0 };
const PLACE: u32 = 0;
const NO_PLACE: u32 = 1;

fn group(ring: &mut Ring, pool: &Pool, id: u16, quota: u16) -> BufferGroup {
    let mut group = BufferGroup::register(ring, pool, id, SlotClass::Jumbo, quota, 4096).unwrap();
    group.refill();
    group
}

fn real(config: RingConfig) -> (Ring, UnixStream, UnixStream) {
    let mut ring = Ring::new(config).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    ring.register_files(&[Some(far.as_fd()), None]).unwrap();
    (ring, near, far)
}

/// Two real rings, one pool, four groups, and whatever comes to mind in whatever order. What the program holds never
/// changes under it, and what goes out is what was written.
#[test]
#[cfg_attr(miri, ignore = "Miri has no io_uring")]
fn two_rings_and_one_pool_in_any_order() {
    for seed in 0..60 {
        Chaos::new(seed).run();
    }
}

struct Chaos {
    state: u64,
    pool: Pool,
    rings: Vec<(Ring, UnixStream, UnixStream)>,
    groups: Vec<BufferGroup>,
    held: Vec<(View, u8)>,
    bells: Vec<Doorbell>,
    waker: Waker,
    completions: Vec<Completion>,
    operations: Vec<OpId>,
    forgotten: usize,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let budget = Budget::new().line("jumbo", SlotClass::Jumbo, 16).line("packets", SlotClass::Packet, 16);
        let pool = Pool::new(Arena::new(&budget, Waker::new().unwrap()).unwrap());
        let config = RingConfig { submissions: 4, completions: 4, operations: 24 };
        let mut rings: Vec<_> = (0..2).map(|_| real(config)).collect();
        let mut groups = Vec::new();
        for (ring, near, _) in &mut rings {
            near.set_nonblocking(true).unwrap();
            ring.register_pool(&pool).unwrap();
            ring.reserve_gathers(2, 4);
            groups.push(group(ring, &pool, 0, 2));
            groups.push(group(ring, &pool, 1, 3));
        }
        let waker = Waker::new().unwrap();
        let bells = vec![Doorbell::new(waker.clone(), TAG), Doorbell::new(waker.clone(), TAG)];
        let state = seed * 77 + 1;
        let (held, completions, operations) = (Vec::new(), Vec::new(), Vec::new());
        Self { state, pool, rings, groups, held, bells, waker, completions, operations, forgotten: 0 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % end
    }

    fn view(&mut self) -> View {
        let class = if self.below(2) == 0 { SlotClass::Jumbo } else { SlotClass::Packet };
        let mut view = self.pool.claim(class).unwrap_or_else(|| View::heap(vec![0; 500]));
        view.truncate(1 + self.below(300));
        view.fill(0xa5);
        view
    }

    fn run(mut self) {
        for _ in 0..300 {
            self.step();
            for (view, byte) in &self.held {
                assert!(view.iter().all(|b| b == byte), "it changed while it was held");
            }
            assert!(self.pool.accounting().adds_up());
        }
        let Self { pool, rings, groups, mut held, bells, completions, forgotten, mut state, .. } = self;
        let mut parts: Vec<Box<dyn Any>> = vec![Box::new(groups), Box::new(bells), Box::new(completions)];
        parts.extend(rings.into_iter().map(|ring| Box::new(ring) as Box<dyn Any>));
        held.retain(|_| false);
        while !parts.is_empty() {
            state = state.wrapping_mul(25_214_903_917).wrapping_add(11);
            drop(parts.swap_remove((state >> 17) as usize % parts.len()));
        }
        pool.drain_returns();
        let accounting = pool.accounting();
        assert_eq!((accounting.free + forgotten, accounting.kernel), (32, 0));
    }

    fn step(&mut self) {
        let at = self.below(2);
        let place = if self.below(8) == 0 { NO_PLACE } else { PLACE };
        match self.below(16) {
            0 | 1 => {
                let len = 1 + self.below(6000);
                _ = self.rings[at].1.write(&vec![0x5a; len]);
            }
            2 => self.read_near(at),
            3 => {
                let view = self.view();
                self.launched(at, |ring| ring.send(place, view, 200, &[], TAG).ok());
            }
            4 => {
                let mut whole = self.view();
                let half = whole.split_to(whole.len() / 2);
                self.held.push((half, 0xa5));
                _ = self.rings[at].0.write(place, whole, TAG);
            }
            5 => {
                let mut pieces = vec![self.view(), self.view(), self.view()];
                _ = self.rings[at].0.write_gathered(place, &mut pieces, true, TAG);
            }
            6 => {
                let group = self.below(4);
                let read = self.below(2) == 0;
                let group = &self.groups[group];
                let ring = &mut self.rings[at].0;
                let begun = if read {
                    ring.read_multishot(place, group, TAG)
                } else {
                    ring.receive_messages(place, group, (16, 64), TAG)
                };
                self.operations.extend(begun);
            }
            7 => _ = self.bells[at].arm(&mut self.rings[at].0),
            8 => self.waker.wake(),
            9 if !self.operations.is_empty() => {
                let of = self.operations.len();
                let of = self.below(of);
                let operation = self.operations[of];
                _ = self.rings[at].0.cancel(operation);
            }
            10 => _ = self.rings[at].0.cancel_all(),
            11 => {
                let of = self.below(4);
                let ended = self.groups.swap_remove(of);
                let id = ended.id();
                match ended.unregister(&mut self.rings[at].0) {
                    Ok(()) => self.groups.push(group(&mut self.rings[at].0, &self.pool, id, 2)),
                    Err((ended, _)) => self.groups.push(ended),
                }
            }
            12 => {
                let of = self.below(4);
                self.groups[of].refill();
                _ = self.rings[at].0.poll_multishot(place, TAG);
            }
            13 => self.let_go(),
            _ => {
                _ = self.rings[at].0.turn(Wait::No);
                self.reap(at);
            }
        }
    }

    fn launched(&mut self, at: usize, launch: impl FnOnce(&mut Ring) -> Option<OpId>) {
        self.operations.extend(launch(&mut self.rings[at].0));
    }

    /// What came out is made of nothing but what was written.
    fn read_near(&mut self, at: usize) {
        let mut bytes = [0; 4096];
        let len = self.rings[at].1.read(&mut bytes).unwrap_or(0);
        assert!(bytes[..len].iter().all(|&b| b == 0xa5), "somebody else's bytes went out");
    }

    fn let_go(&mut self) {
        let Some((view, byte)) = (!self.held.is_empty()).then(|| self.held.swap_remove(0)) else { return };
        match self.below(6) {
            0 => match view.send_away() {
                Ok(parcel) => self.held.push((parcel.arrive(), byte)),
                Err(view) => self.held.push((view, byte)),
            },
            1 if view.is_unique() && self.pool.owns(&view) && self.forgotten < 3 => {
                self.forgotten += 1;
                forget(view);
            }
            _ => drop(view),
        }
        self.pool.drain_returns();
    }

    fn reap(&mut self, at: usize) {
        let panic_at = self.below(6);
        let mut seen = Vec::new();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.rings[at].0.reap(8, |completion| {
                if seen.len() == panic_at {
                    // Without the hook's message.
                    std::panic::resume_unwind(Box::new(()));
                }
                seen.push(completion);
            });
        }));
        for completion in seen {
            match completion {
                Completion::Read(filled) => {
                    if let Ok(Some(view)) = filled.into_view() {
                        self.held.push((view, 0x5a));
                    }
                }
                Completion::Sent(sent) => self.held.push((sent.into_view(), 0xa5)),
                Completion::Rang(rang) => self.bells[at].on_completion(rang),
                other => self.completions.push(other),
            }
        }
        if self.below(4) == 0 {
            self.completions.clear();
        }
    }
}
