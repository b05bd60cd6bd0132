//! A real ring: provided buffers, lent views, the doorbell, and what happens when slots run out.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{opcode, types};
use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, Lent, LineId, OpId, Ops, Pool, Ring, RingConfig, SlotClass,
    Token, Wait, Waker,
};

const READ: u8 = 1;
const WRITE: u8 = 2;

struct Fixture {
    ring: Ring,
    pool: Pool,
    batch: Vec<Completion>,
}

impl Fixture {
    fn new(jumbo: u16) -> Self {
        Self::with(&Budget::new().line("reads", SlotClass::Jumbo, jumbo))
    }

    fn with(budget: &Budget) -> Self {
        let arena = Arena::new(budget, Waker::new().unwrap()).unwrap();
        let mut ring = Ring::new(RingConfig::default()).unwrap();
        ring.register_arena(&arena).unwrap();
        Self { ring, pool: Pool::new(arena), batch: Vec::with_capacity(16) }
    }

    fn next(&mut self) -> Completion {
        if self.batch.is_empty() {
            self.ring.turn(Wait::UntilCompletion).unwrap();
            self.ring.reap(&mut self.batch);
        }
        self.batch.remove(0)
    }

    fn read_multishot(&mut self, fd: i32, group: &BufferGroup) {
        let token = Token { edge: 1, op: READ, index: 0, generation: 0 };
        let entry = opcode::ReadMulti::new(types::Fd(fd), 0, group.id()).build().user_data(token.encode());
        // SAFETY: the entry names a buffer group, which owns its slots.
        unsafe { self.ring.push(entry) }.unwrap();
    }
}

#[test]
fn provided_slots_are_filled_in_order_and_come_home() {
    let mut f = Fixture::new(4);
    let mut group = BufferGroup::register(&mut f.ring, &f.pool, 7, SlotClass::Jumbo, 4, 4096).unwrap();
    assert_eq!(group.refill(), 4);
    assert_eq!(f.pool.accounting().kernel, 4);
    let (mut near, far) = UnixStream::pair().unwrap();
    f.read_multishot(far.as_raw_fd(), &group);
    for round in 0..20u8 {
        near.write_all(&[round; 100]).unwrap();
        let completion = f.next();
        assert_eq!(completion.outcome(), Ok(100));
        assert!(completion.has_more());
        let buffer = completion.buffer().unwrap();
        let view = group.take(buffer, 100).unwrap();
        assert_eq!(&view[..], &[round; 100]);
        assert!(view.tail_room() > 4096 - 100);
        assert!(group.take(buffer, 100).is_err(), "taken twice");
        assert!(f.pool.accounting().adds_up());
        drop(view);
        assert_eq!(group.refill(), 1);
    }
    f.ring.cancel_all().unwrap();
    group.unregister(&mut f.ring).unwrap();
    assert_eq!(f.pool.accounting().free, 4);
}

#[test]
fn a_reader_without_buffers_says_so_and_is_armed_again() {
    let mut f = Fixture::new(1);
    let mut group = BufferGroup::register(&mut f.ring, &f.pool, 0, SlotClass::Jumbo, 4, 4096).unwrap();
    assert_eq!(group.refill(), 1, "the arena has no more");
    let (mut near, far) = UnixStream::pair().unwrap();
    f.read_multishot(far.as_raw_fd(), &group);
    near.write_all(b"first").unwrap();
    let completion = f.next();
    let held = group.take(completion.buffer().unwrap(), 5).unwrap();
    near.write_all(b"second").unwrap();
    let completion = f.next();
    assert_eq!(completion.outcome(), Err(libc::ENOBUFS));
    assert!(!completion.has_more());
    assert_eq!(group.refill(), 0);
    drop(held);
    assert_eq!(group.refill(), 1);
    f.read_multishot(far.as_raw_fd(), &group);
    let completion = f.next();
    assert_eq!(completion.outcome(), Ok(6));
    let view = group.take(completion.buffer().unwrap(), 6).unwrap();
    assert_eq!(&view[..], b"second");
}

#[test]
fn a_reader_leaves_the_slots_that_others_have_reserved() {
    let budget = Budget::new().reserved("reads", SlotClass::Jumbo, 1).reserved("others", SlotClass::Jumbo, 2).line(
        "whoever is first",
        SlotClass::Jumbo,
        1,
    );
    let mut f = Fixture::with(&budget);
    let (reads, others) = (LineId(0), LineId(1));
    let group = BufferGroup::register(&mut f.ring, &f.pool, 0, SlotClass::Jumbo, 4, 4096).unwrap();
    let mut group = group.claiming_for(reads);
    assert_eq!(group.refill(), 2);
    let mine: Vec<_> = (0..2).map(|_| f.pool.claim_for(others).unwrap()).collect();
    assert!(f.pool.claim_for(others).is_none());
    drop(mine);
    assert_eq!(group.refill(), 0);
    assert_eq!(f.pool.available(others), 2);
    group.unregister(&mut f.ring).unwrap();
    assert_eq!((f.pool.available(reads), f.pool.available(others)), (2, 3));
}

#[test]
fn a_lent_view_is_written_from_registered_memory_and_settles() {
    #[derive(Debug)]
    struct Op(Lent);
    let mut f = Fixture::new(2);
    let mut ops: Ops<Op> = Ops::new(2);
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut view = f.pool.claim(SlotClass::Jumbo).unwrap();
    view.truncate(1000);
    view.fill(0xa5);
    let (id, op) = ops.insert(Op(view.lend())).unwrap();
    let token = Token { edge: 1, op: WRITE, index: id.index, generation: id.generation };
    let length = u32::try_from(op.0.len()).unwrap();
    let entry = opcode::WriteFixed::new(types::Fd(near.as_raw_fd()), op.0.as_ptr(), length, Ring::ARENA_BUFFER)
        .build()
        .user_data(token.encode());
    // SAFETY: the view is lent until the completion below.
    unsafe { f.ring.push(entry) }.unwrap();
    assert_eq!(f.pool.accounting().kernel, 1);
    let completion = f.next();
    assert_eq!(completion.outcome(), Ok(1000));
    let id = OpId { index: completion.token().index, generation: completion.token().generation };
    let op = ops.complete(id).unwrap();
    // SAFETY: its completion was just reaped.
    let view = unsafe { op.0.settle() };
    assert_eq!(view.len(), 1000);
    drop(view);
    assert_eq!(f.pool.accounting().free, 2);
    let mut received = [0; 1000];
    far.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|&b| b == 0xa5));
}

#[test]
fn the_doorbell_wakes_a_ring_from_another_thread() {
    let mut f = Fixture::new(1);
    let waker = Waker::new().unwrap();
    let token = Token { edge: 0, op: 0, index: 0, generation: 0 };
    let mut doorbell = Doorbell::new(waker.clone(), token);
    for _ in 0..3 {
        doorbell.arm(&mut f.ring).unwrap();
        doorbell.arm(&mut f.ring).unwrap();
        let other = waker.clone();
        let ringer = std::thread::spawn(move || other.wake());
        let completion = f.next();
        assert_eq!(completion.token(), token);
        assert_eq!(completion.outcome(), Ok(8));
        doorbell.on_completion(completion);
        ringer.join().unwrap();
    }
    f.ring.turn(Wait::No).unwrap();
    f.ring.reap(&mut f.batch);
    assert!(f.batch.is_empty(), "armed twice is armed once");
}

#[test]
fn more_entries_than_the_queue_holds_are_all_submitted() {
    let mut f = Fixture::new(1);
    for index in 0..1000 {
        let token = Token { edge: 2, op: 0, index, generation: 0 };
        // SAFETY: a no-op names no memory.
        unsafe { f.ring.push(opcode::Nop::new().build().user_data(token.encode())) }.unwrap();
    }
    let mut seen = [false; 1000];
    for _ in 0..1000 {
        let completion = f.next();
        assert!(!std::mem::replace(&mut seen[usize::from(completion.token().index)], true));
    }
    assert!(f.ring.counters().submission_full > 0);
}

#[test]
fn a_ring_with_requests_in_flight_drops_cleanly() {
    let mut f = Fixture::new(2);
    let mut group = BufferGroup::register(&mut f.ring, &f.pool, 0, SlotClass::Jumbo, 2, 4096).unwrap();
    group.refill();
    let (mut near, far) = UnixStream::pair().unwrap();
    f.read_multishot(far.as_raw_fd(), &group);
    f.ring.turn(Wait::No).unwrap();
    drop(f.ring);
    near.write_all(b"nobody reads this").unwrap();
    assert!(f.pool.accounting().adds_up());
    assert_eq!(f.pool.accounting().kernel, 2, "slots that the kernel had are not given out again");
}

#[test]
fn submitting_carries_out_writes_and_leaves_deferred_work_to_the_turn() {
    let mut f = Fixture::new(4);
    let mut group = BufferGroup::register(&mut f.ring, &f.pool, 7, SlotClass::Jumbo, 4, 4096).unwrap();
    group.refill();
    let (mut near, far) = UnixStream::pair().unwrap();
    assert!(!f.ring.submit().unwrap(), "nothing is queued");
    f.read_multishot(far.as_raw_fd(), &group);
    assert!(f.ring.submit().unwrap());
    assert!(!f.ring.submit().unwrap(), "what was submitted is not submitted again");
    near.write_all(b"deferred").unwrap();
    // Submitting something else does not read: that is work of the next turn.
    let token = Token { edge: 1, op: WRITE, index: 0, generation: 0 };
    // SAFETY: the entry writes from static memory.
    let pushed = unsafe {
        f.ring
            .push(opcode::Write::new(types::Fd(far.as_raw_fd()), b"now".as_ptr(), 3).build().user_data(token.encode()))
    };
    pushed.unwrap();
    assert!(f.ring.submit().unwrap() && f.ring.has_completed());
    let mut now = [0; 3];
    near.read_exact(&mut now).unwrap();
    assert_eq!(&now, b"now");
    f.ring.reap(&mut f.batch);
    assert_eq!(f.batch.drain(..).map(|c| c.token().op).collect::<Vec<_>>(), [WRITE]);
    assert!(!f.ring.has_completed());
    let read = f.next();
    assert_eq!((read.token().op, read.outcome()), (READ, Ok(8)));
    drop(group.take(read.buffer().unwrap(), 8));
}

/// An error about locked memory tells this number. 84 KiB and 8 KiB are what Linux 6.18 charges.
#[test]
fn what_the_kernel_charges_is_known() {
    assert_eq!(Ring::locked_len(RingConfig { submissions: 256, completions: 4_096 }), 84 << 10);
    assert_eq!(BufferGroup::locked_len(32) + BufferGroup::locked_len(24), 8 << 10);
}

/// A pool can be registered after its ring, and the ring works before.
#[test]
fn an_arena_may_be_registered_later_or_not_at_all() {
    let budget = Budget::new().line("reads", SlotClass::Jumbo, 2);
    let pool = Pool::new(Arena::new(&budget, Waker::new().unwrap()).unwrap());
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    assert!(!ring.has_arena());
    ring.register_pool(&pool).unwrap();
    assert!(ring.has_arena());
}
