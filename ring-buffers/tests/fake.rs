//! A ring on a kernel that misbehaves: slots add up after each step, and everything ends within bounds.

use std::os::fd::AsFd;

use ring_buffers::fake::{FakeKernel, Message, Script};
use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, EnterError, Entered, NotBegun, OpId, Pool, PushError, Ring,
    RingConfig, SlotClass, Tag, View, Wait, Waker,
};

/// Places of files: one to read from, one to write to, and one without a file.
const READ: u32 = 0;
const WRITE: u32 = 1;
const CLOSED: u32 = 2;

struct Rig {
    ring: Ring,
    kernel: FakeKernel,
    pool: Pool,
    group: BufferGroup,
    bell: Doorbell,
    waker: Waker,
    /// The read that is in flight.
    read: Option<OpId>,
    /// Writes, gathered writes and sends that were begun and have not come back.
    begun: usize,
    /// What was read, and nobody has let go of.
    held: Vec<View>,
    state: u64,
}

impl Rig {
    fn new(config: RingConfig, script: Script) -> Self {
        let budget = Budget::new().line("jumbo", SlotClass::Jumbo, 6).line("packets", SlotClass::Packet, 30);
        let pool = Pool::new(Arena::heap(&budget));
        let (mut ring, kernel) = Ring::on_fake(config, script);
        ring.register_pool(&pool).unwrap();
        // A fake looks at no file.
        let (input, output) = (std::io::stdin(), std::io::stdout());
        ring.register_files(&[Some(input.as_fd()), Some(output.as_fd()), None]).unwrap();
        ring.reserve_gathers(4, 8);
        let group = BufferGroup::register(&mut ring, &pool, 3, SlotClass::Jumbo, 4, 4096).unwrap();
        let waker = Waker::new().unwrap();
        let bell = Doorbell::new(waker.clone(), Tag { edge: 9, context: 0 });
        let state = script.seed;
        Self { ring, kernel, pool, group, bell, waker, read: None, begun: 0, held: Vec::new(), state }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % end
    }

    fn view(&mut self) -> View {
        let len = 1 + self.below(2_000) as usize;
        let mut view = self.pool.claim(SlotClass::Packet).unwrap_or_else(|| View::heap(vec![0; 2_048]));
        view.truncate(len);
        view.fill(0xa5);
        view
    }

    fn step(&mut self) {
        match self.below(12) {
            0..=2 => {
                let bytes = vec![0x5a; 1 + self.below(5_000) as usize];
                self.kernel.deliver(READ, Message { bytes, ..Message::default() });
            }
            3 => self.write(WRITE),
            4 => self.write_gathered(),
            5 => self.send(),
            6 => self.write(CLOSED),
            7 => self.waker.wake(),
            8 => self.held.clear(),
            9 => {
                if let Some(read) = self.read {
                    let _ = self.ring.cancel(read);
                }
            }
            _ => self.turn(),
        }
        let accounting = self.pool.accounting();
        assert!(accounting.adds_up(), "{accounting:?}");
        assert!(self.ring.in_flight() >= self.kernel.in_flight());
    }

    fn write(&mut self, place: u32) {
        let view = self.view();
        let len = view.len();
        match self.ring.write(place, view, Tag { edge: 1, context: len as u64 }) {
            Ok(_) => self.begun += 1,
            Err(NotBegun { view, why }) => assert!(view.len() == len && passes(why), "{why}"),
        }
    }

    fn write_gathered(&mut self) {
        let mut whole = self.view();
        let mut pieces = vec![whole.split_to(whole.len() / 2), whole, View::heap(vec![0xa5; 3])];
        match self.ring.write_gathered(WRITE, &mut pieces, true, Tag { edge: 1, context: 3 }) {
            Ok(_) => self.begun += 1,
            Err(why) => assert!(pieces.len() == 3 && passes(why), "{why}"),
        }
    }

    fn send(&mut self) {
        let view = self.view();
        let sent = self.ring.send_message(WRITE, view, Tag { edge: 2, context: 0 }, |envelope| {
            envelope.name[..4].copy_from_slice(b"name");
            envelope.name_len = 4;
            envelope.control[..7].copy_from_slice(b"control");
            envelope.control_len = 7;
        });
        match sent {
            Ok(_) => self.begun += 1,
            Err(NotBegun { why, .. }) => assert!(passes(why), "{why}"),
        }
    }

    fn turn(&mut self) {
        self.group.refill();
        if self.read.is_none() {
            self.read = self.ring.read_multishot(READ, &self.group, Tag { edge: 1, context: 0 }).ok();
        }
        let _ = self.bell.arm(&mut self.ring);
        let wait = if self.below(2) == 0 { Wait::No } else { Wait::UntilCompletion };
        self.ring.turn(wait).expect("all errors of this kernel pass");
        self.reap();
    }

    fn reap(&mut self) {
        let mut reaped = Vec::new();
        self.ring.reap(5, |completion| reaped.push(completion));
        for completion in reaped {
            match completion {
                Completion::Read(filled) => {
                    if !filled.goes_on() {
                        self.read = None;
                    }
                    if let Ok(Some(view)) = filled.into_view() {
                        assert!(is_all(&view, 0x5a), "what was delivered, and nothing else");
                        self.held.push(view);
                    }
                }
                Completion::Wrote(wrote) => {
                    self.begun -= 1;
                    let (failed, is_gathered) = (wrote.outcome().is_err(), wrote.is_gathered());
                    let returned = wrote.into_pieces();
                    // A lone write that was short gives back the rest.
                    assert!(returned.is_some() == failed || !failed && !is_gathered);
                    assert!(returned.is_none_or(|returned| is_all(&returned.first, 0xa5)));
                }
                Completion::Sent(sent) => {
                    self.begun -= 1;
                    assert!(is_all(&sent.into_view(), 0xa5));
                }
                Completion::Rang(rang) => self.bell.on_completion(rang),
                other => panic!("nobody began that: {other:?}"),
            }
        }
        for (_, Message { name, control, bytes }) in self.kernel.take_written() {
            assert!(is_all(&bytes, 0xa5));
            assert!([(&b""[..], &b""[..]), (&b"name"[..], &b"control"[..])].contains(&(&name, &control)));
        }
    }

    /// Ends all that is in flight, in whatever way.
    fn settle(&mut self) {
        self.ring.cancel_all().expect("this kernel lets go");
        assert_eq!((self.ring.in_flight(), self.kernel.in_flight()), (0, 0));
        while self.ring.has_completed() {
            self.reap();
        }
        self.held.clear();
        assert_eq!((self.begun, self.read), (0, None), "each operation has come back once");
        assert_eq!(self.ring.counters().unexpected, 0);
    }
}

/// Whether a refusal says that there is no room at the moment.
/// Fewer under Miri, which is a thousand times slower.
const STEPS: usize = if cfg!(miri) { 100 } else { 200 };

/// One comparison, not one for each byte: Miri takes as long for either.
fn is_all(bytes: &[u8], byte: u8) -> bool {
    bytes == vec![byte; bytes.len()]
}

fn passes(why: PushError) -> bool {
    matches!(why, PushError::Full | PushError::Stuck(_))
}

fn tiny() -> RingConfig {
    RingConfig { submissions: 4, completions: 8, operations: 24 }
}

#[test]
fn slots_add_up_whatever_the_kernel_does() {
    let mut done = ring_buffers::fake::Done::default();
    for seed in 0..if cfg!(miri) { 3 } else { 300 } {
        let mut rig = Rig::new(tiny(), Script::wild(seed));
        for _ in 0..STEPS {
            rig.step();
        }
        rig.settle();
        let now = rig.kernel.done();
        done.overflowed += now.overflowed;
        done.refused += now.refused;
        done.full += now.full;
        done.cancelled += now.cancelled;
        done.failed += now.failed;
        let Rig { ring, group, pool, .. } = rig;
        if seed % 2 == 0 {
            drop(ring);
        } else {
            let mut ring = ring;
            group.unregister(&mut ring).expect("nothing is in flight");
        }
        let accounting = pool.accounting();
        assert_eq!((accounting.free, accounting.kernel, accounting.held), (36, 0, 0), "seed {seed}");
    }
    let each = [done.overflowed, done.refused, done.full, done.cancelled, done.failed];
    assert!(each.iter().all(|&n| n > 0), "{done:?}");
}

#[test]
fn a_ring_may_end_in_the_middle_of_anything() {
    for seed in 0..if cfg!(miri) { 3 } else { 200 } {
        let mut rig = Rig::new(tiny(), Script::wild(seed));
        for _ in 0..50 {
            rig.step();
        }
        let Rig { ring, pool, mut group, kernel, held, .. } = rig;
        drop(held);
        drop(ring);
        assert_eq!(kernel.in_flight(), 0, "seed {seed}");
        assert_eq!(group.refill(), 0);
        assert_eq!(pool.accounting().free, 36, "seed {seed}");
    }
}

/// Nothing that the kernel may still write is free, or given out again.
#[test]
#[cfg_attr(miri, ignore = "it leaks on purpose")]
fn what_the_kernel_does_not_let_go_of_is_leaked() {
    let mut rig = Rig::new(RingConfig::default(), Script::calm(1));
    rig.turn();
    let view = rig.view();
    rig.kernel.grow_stubborn();
    rig.ring.write(WRITE, view, Tag { edge: 1, context: 0 }).unwrap();
    let error = rig.ring.cancel_all().expect_err("it does not let go");
    assert_eq!(error.operations, 3, "the read, the doorbell and the write");
    let Rig { ring, pool, group, kernel, .. } = rig;
    drop(ring);
    drop(group);
    let accounting = pool.accounting();
    assert_eq!((accounting.free, accounting.kernel), (31, 5), "four to read into, and the write");
    let claim = || pool.claim(SlotClass::Jumbo).or_else(|| pool.claim(SlotClass::Packet));
    let claimed: Vec<View> = std::iter::from_fn(claim).collect();
    assert_eq!((claimed.len(), kernel.in_flight()), (31, 3));
}

/// The queue is full, and every enter says "later": nobody is kept waiting for ever.
#[test]
fn a_submission_queue_that_stays_full_is_an_error() {
    for (errno, outcome) in [(libc::EAGAIN, Entered::ShortOfMemory), (libc::EBUSY, Entered::ReapFirst)] {
        let mut rig = Rig::new(tiny(), Script::calm(1));
        rig.kernel.break_enter(Some(errno));
        for _ in 0..4 {
            rig.write(WRITE);
        }
        let before = rig.ring.counters().enters;
        let view = rig.view();
        let refused = rig.ring.write(WRITE, view, Tag { edge: 1, context: 0 }).expect_err("there is no room");
        assert_eq!(refused.why, PushError::Stuck(outcome));
        assert!(rig.ring.counters().enters - before <= 4);
        rig.kernel.break_enter(None);
        rig.turn();
        rig.settle();
    }
}

/// With the completion queue full, a submission still finds room: what has completed is put aside, and stays in order.
#[test]
fn completions_are_put_aside_for_submissions() {
    let config = RingConfig { submissions: 2, completions: 4, operations: 100 };
    let script = Script { refused: 500, enter_errnos: &[libc::EBUSY], ..Script::calm(3) };
    let mut rig = Rig::new(config, script);
    let mut begun = 0;
    for context in 0..60 {
        let view = View::heap(vec![1]);
        begun += u64::from(rig.ring.write(WRITE, view, Tag { edge: 1, context }).is_ok());
    }
    rig.kernel.follow(Script::calm(3));
    let mut seen = Vec::new();
    for _ in 0..100 {
        rig.ring.turn(Wait::No).unwrap();
        rig.ring.reap(3, |completion| seen.push(completion.tag().context));
    }
    assert!(seen.len() as u64 == begun && begun > 30, "{begun} were begun, {} came back", seen.len());
    assert!(seen.is_sorted(), "{seen:?}");
}

#[test]
fn an_enter_that_fails_for_good_is_named_and_loses_nothing() {
    let mut rig = Rig::new(tiny(), Script::calm(1));
    for (errno, error) in [
        (libc::EBADR, EnterError::CompletionsLost),
        (libc::ENXIO, EnterError::ShuttingDown),
        (libc::EEXIST, EnterError::WrongThread),
        (libc::EIO, EnterError::Other(libc::EIO)),
    ] {
        rig.kernel.break_enter(Some(errno));
        assert_eq!(rig.ring.turn(Wait::No), Err(error));
        for _ in 0..5 {
            let view = rig.view();
            match rig.ring.write(WRITE, view, Tag { edge: 1, context: 0 }) {
                Ok(_) => rig.begun += 1,
                Err(NotBegun { why, .. }) => assert_eq!(why, PushError::Enter(error)),
            }
        }
    }
    assert_eq!(rig.begun, 4, "as many as the queue has room for");
    rig.kernel.break_enter(None);
    rig.settle();
    assert_eq!(rig.pool.accounting().held, 0);
}

/// Kernels before 6.8 go on where a group of the same number was read to, round and round, if that is not where this
/// one ends: into slots that we have long since.
#[test]
fn a_group_that_ends_and_begins_again_writes_into_no_slot_that_we_have() {
    let mut rig = Rig::new(RingConfig::default(), Script::calm(1));
    let deliver = |rig: &mut Rig, byte: u8| {
        rig.kernel.deliver(READ, Message { bytes: vec![byte; 64], ..Message::default() });
        rig.group.refill();
        rig.ring.turn(Wait::UntilCompletion).unwrap();
        let mut read = None;
        rig.ring.reap(1, |completion| read = Some(completion));
        let Some(Completion::Read(filled)) = read else { panic!("a read") };
        filled.into_view()
    };
    for round in 0..2u8 {
        rig.group.refill();
        let read = rig.ring.read_multishot(READ, &rig.group, Tag { edge: 1, context: 0 }).unwrap();
        let mut held = Vec::new();
        for number in 0..6 {
            let byte = 10 * round + number;
            // In the second round all views are kept, until there is no slot.
            match deliver(&mut rig, byte) {
                Ok(Some(view)) if round == 1 => held.push((byte, view)),
                Ok(view) => assert!(is_all(&view.expect("a buffer"), byte)),
                Err(errno) => assert_eq!((errno, held.len()), (libc::ENOBUFS, 6)),
            }
            assert!(held.iter().all(|(byte, view)| is_all(view, *byte)), "round {round}");
        }
        drop(held);
        rig.ring.cancel(read).unwrap();
        rig.ring.cancel_all().unwrap();
        rig.ring.reap(usize::MAX, drop);
        let Rig { mut ring, kernel, pool, group, bell, waker, read, begun, held, state } = rig;
        group.unregister(&mut ring).unwrap();
        assert_eq!(pool.accounting().free, pool.accounting().total, "round {round}");
        let group = BufferGroup::register(&mut ring, &pool, 3, SlotClass::Jumbo, 4, 4096).unwrap();
        rig = Rig { ring, kernel, pool, group, bell, waker, read, begun, held, state };
    }
}
