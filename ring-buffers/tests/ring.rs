//! A real ring: provided buffers, lent views, the doorbell, what happens when slots run out, and how it ends.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, LineId, Memory, Pool, PushError, Ring, RingConfig, RingError,
    SlotClass, Tag, View, Wait, Waker,
};

const TAG: Tag = Tag { edge: 1, context: 77 };
/// The place of the stream that operations are on.
const PLACE: u32 = 0;

struct Fixture {
    ring: Ring,
    pool: Pool,
    batch: VecDeque<Completion>,
    near: UnixStream,
    /// The end that the ring has.
    _far: UnixStream,
}

impl Fixture {
    fn new(jumbo: u16) -> Self {
        Self::with(&Budget::new().line("reads", SlotClass::Jumbo, jumbo), RingConfig::default())
    }

    fn with(budget: &Budget, config: RingConfig) -> Self {
        let arena = Arena::new(budget, Waker::new().unwrap()).unwrap();
        let mut ring = Ring::new(config).unwrap();
        ring.register_arena(&arena).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        ring.register_files(&[Some(far.as_fd())]).unwrap();
        Self { ring, pool: Pool::new(arena), batch: VecDeque::new(), near, _far: far }
    }

    fn group(&mut self, id: u16, quota: u16) -> BufferGroup {
        BufferGroup::register(&mut self.ring, &self.pool, id, SlotClass::Jumbo, quota, 4096).unwrap()
    }

    fn reap(&mut self) {
        let Self { ring, batch, .. } = self;
        ring.reap(16, |completion| batch.push_back(completion));
    }

    fn next(&mut self) -> Completion {
        while self.batch.is_empty() {
            self.ring.turn(Wait::UntilCompletion).unwrap();
            self.reap();
        }
        self.batch.pop_front().unwrap()
    }

    /// What the next completion, that of a read, has brought, and whether the read goes on.
    fn next_read(&mut self) -> (Result<Option<View>, i32>, bool) {
        let Completion::Read(filled) = self.next() else { panic!("not a read") };
        assert_eq!(filled.tag(), TAG);
        let goes_on = filled.goes_on();
        (filled.into_view(), goes_on)
    }

    fn view(&self, len: usize) -> View {
        let mut view = self.pool.claim(SlotClass::Jumbo).unwrap();
        view.truncate(len);
        view.fill(0xa5);
        view
    }
}

#[test]
fn provided_slots_are_filled_in_order_and_come_home() {
    let mut f = Fixture::new(4);
    let mut group = f.group(7, 4);
    assert_eq!(group.refill(), 4);
    assert_eq!(f.pool.accounting().kernel, 4);
    f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    for round in 0..20u8 {
        f.near.write_all(&[round; 100]).unwrap();
        let (Ok(Some(view)), true) = f.next_read() else { panic!("it goes on") };
        assert_eq!(&view[..], &[round; 100]);
        assert!(view.tail_room() > 4096 - 100);
        assert_eq!((f.pool.accounting().kernel, f.pool.accounting().held), (3, 1));
        drop(view);
        assert_eq!(group.refill(), 1);
    }
    f.ring.cancel_all().unwrap();
    assert!(matches!(f.next_read(), (Err(libc::ECANCELED), false)));
    group.unregister(&mut f.ring).unwrap();
    assert_eq!(f.pool.accounting().free, 4);
}

#[test]
fn a_reader_without_buffers_says_so_and_is_armed_again() {
    let mut f = Fixture::new(1);
    let mut group = f.group(0, 4);
    assert_eq!(group.refill(), 1, "the arena has no more");
    f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    f.near.write_all(b"first").unwrap();
    let (Ok(Some(held)), _) = f.next_read() else { panic!("there is a slot") };
    f.near.write_all(b"second").unwrap();
    assert!(matches!(f.next_read(), (Err(libc::ENOBUFS), false)));
    assert_eq!(group.refill(), 0);
    drop(held);
    assert_eq!(group.refill(), 1);
    f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    let (Ok(Some(view)), _) = f.next_read() else { panic!("there is a slot again") };
    assert_eq!(&view[..], b"second");
}

#[test]
fn a_reader_leaves_the_slots_that_others_have_reserved() {
    let budget = Budget::new().reserved("reads", SlotClass::Jumbo, 1).reserved("others", SlotClass::Jumbo, 2).line(
        "whoever is first",
        SlotClass::Jumbo,
        1,
    );
    let mut f = Fixture::with(&budget, RingConfig::default());
    let (reads, others) = (LineId(0), LineId(1));
    let mut group = f.group(0, 4).claiming_for(reads);
    assert_eq!(group.refill(), 2);
    let mine: Vec<_> = (0..2).map(|_| f.pool.claim_for(others).unwrap()).collect();
    assert!(f.pool.claim_for(others).is_none());
    drop(mine);
    assert_eq!(group.refill(), 0);
    assert_eq!(f.pool.available(others), 2);
    group.unregister(&mut f.ring).unwrap();
    assert_eq!((f.pool.available(reads), f.pool.available(others)), (2, 3));
}

/// The kernel would be shown 4,096 bytes of a slot that has 2,048.
#[test]
#[should_panic(expected = "slots of its class")]
fn a_group_claims_no_slots_of_another_size() {
    let budget = Budget::new().line("reads", SlotClass::Jumbo, 1).line("packets", SlotClass::Packet, 1);
    let mut f = Fixture::with(&budget, RingConfig::default());
    let _ = f.group(0, 1).claiming_for(LineId(1));
}

#[test]
fn a_view_is_written_from_registered_memory_and_goes_home() {
    let mut f = Fixture::new(2);
    let view = f.view(1000);
    assert_eq!(f.ring.write(PLACE, view, TAG).unwrap(), Memory::Registered);
    assert_eq!(f.ring.write(PLACE, View::heap(vec![0xa5; 1000]), TAG).unwrap(), Memory::Other);
    assert_eq!((f.pool.accounting().kernel, f.ring.in_flight()), (1, 2));
    for _ in 0..2 {
        let Completion::Wrote(wrote) = f.next() else { panic!("a write") };
        assert_eq!((wrote.tag(), wrote.outcome()), (TAG, Ok(1000)));
        assert!(wrote.into_pieces().is_none(), "it has gone home");
    }
    assert_eq!((f.pool.accounting().free, f.ring.in_flight()), (2, 0));
    let mut received = [0; 2000];
    f.near.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|&b| b == 0xa5));
}

#[test]
fn pieces_go_home_when_they_were_written_and_come_back_when_they_were_not() {
    let mut f = Fixture::new(2);
    f.ring.reserve_gathers(1, 3);
    let pieces = |f: &Fixture| {
        let mut whole = f.view(30);
        vec![whole.split_to(10), whole.split_to(10), whole]
    };
    let mut all = pieces(&f);
    assert_eq!(f.ring.write_gathered(PLACE, &mut all, false, TAG).unwrap(), Memory::Registered);
    let mut others = pieces(&f);
    assert_eq!(f.ring.write_gathered(PLACE, &mut others, false, TAG), Err(PushError::Full), "one gather is reserved");
    assert_eq!((all.len(), others.len()), (0, 3));
    let Completion::Wrote(wrote) = f.next() else { panic!("a write") };
    assert!(wrote.is_gathered() && wrote.outcome() == Ok(30) && wrote.into_pieces().is_none());
    assert_eq!(f.pool.accounting().free, 1);
    // There is no file at that place.
    f.ring.write_gathered(PLACE + 1, &mut others, false, TAG).unwrap();
    let Completion::Wrote(wrote) = f.next() else { panic!("a write") };
    assert_eq!(wrote.outcome(), Err(libc::EBADF));
    let returned = wrote.into_pieces().unwrap();
    assert_eq!((returned.first.len(), returned.rest.len()), (10, 2));
    let mut four: Vec<_> = (0..4).map(|_| View::heap(vec![0])).collect();
    assert_eq!(f.ring.write_gathered(PLACE, &mut four, false, TAG), Err(PushError::Pieces));
    assert_eq!(four.len(), 4);
}

#[test]
fn the_doorbell_wakes_a_ring_from_another_thread() {
    let mut f = Fixture::new(1);
    let waker = Waker::new().unwrap();
    let mut doorbell = Doorbell::new(waker.clone(), TAG);
    for _ in 0..3 {
        doorbell.arm(&mut f.ring).unwrap();
        doorbell.arm(&mut f.ring).unwrap();
        let other = waker.clone();
        let ringer = std::thread::spawn(move || other.wake());
        let Completion::Rang(rang) = f.next() else { panic!("nobody else is there") };
        assert_eq!(rang.tag(), TAG);
        doorbell.on_completion(rang);
        ringer.join().unwrap();
    }
    f.ring.turn(Wait::No).unwrap();
    f.reap();
    assert!(f.batch.is_empty() && f.ring.in_flight() == 0, "armed twice is armed once");
}

/// The counter is read into memory of the ring, so nobody's memory changes when a bell rings whose owner has gone.
#[test]
fn a_doorbell_may_go_while_it_is_armed() {
    let mut f = Fixture::new(1);
    let waker = Waker::new().unwrap();
    let mut doorbell = Doorbell::new(waker.clone(), TAG);
    doorbell.arm(&mut f.ring).unwrap();
    f.ring.turn(Wait::No).unwrap();
    drop(doorbell);
    // One of these is where a doorbell that owned its counter had it.
    let reused: Vec<Box<u64>> = (0..10_000).map(|_| Box::new(0)).collect();
    assert_eq!(f.ring.in_flight(), 1);
    waker.wake();
    assert!(matches!(f.next(), Completion::Rang(_)));
    assert!(reused.iter().all(|counter| **counter == 0));
}

#[test]
fn more_entries_than_the_queue_holds_are_all_submitted() {
    let mut f = Fixture::with(
        &Budget::new().line("reads", SlotClass::Jumbo, 1),
        RingConfig { submissions: 16, completions: 32, operations: 1000 },
    );
    let mut near = f.near.try_clone().unwrap();
    let reader = std::thread::spawn(move || near.read_exact(&mut [0; 1000]).unwrap());
    let mut whole = f.view(1000);
    for context in 0..1000 {
        f.ring.write(PLACE, whole.split_to(1), Tag { context, ..TAG }).unwrap();
    }
    let one_more = f.ring.write(PLACE, View::heap(vec![1]), TAG).expect_err("there are a thousand");
    assert_eq!((one_more.why, one_more.view.len()), (PushError::Full, 1));
    let mut seen = [false; 1000];
    for _ in 0..1000 {
        let context = f.next().tag().context;
        assert!(!std::mem::replace(&mut seen[context as usize], true));
    }
    reader.join().unwrap();
    assert!(f.ring.counters().submission_full > 0);
    assert_eq!((f.ring.in_flight(), f.ring.counters().unexpected), (0, 0));
}

#[test]
fn a_ring_with_operations_in_flight_ends_and_all_slots_come_home() {
    let mut f = Fixture::new(3);
    let mut group = f.group(0, 2);
    group.refill();
    f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    f.ring.turn(Wait::No).unwrap();
    f.near.write_all(b"on its way").unwrap();
    let view = f.view(10);
    f.ring.write(PLACE, view, TAG).unwrap();
    drop(f.ring);
    f.near.write_all(b"nobody reads this").unwrap();
    let accounting = f.pool.accounting();
    assert_eq!((accounting.free, accounting.kernel), (3, 0));
    assert_eq!(group.refill(), 0, "there is no kernel to give them to");
}

/// With `ANY` the kernel answers a cancellation with a count, and has not let go of anything when it does.
#[test]
fn after_all_were_cancelled_the_kernel_has_nothing() {
    let mut f = Fixture::new(4);
    let mut group = f.group(0, 2);
    group.refill();
    let mut doorbell = Doorbell::new(Waker::new().unwrap(), TAG);
    for round in 0..50 {
        doorbell.arm(&mut f.ring).unwrap();
        f.ring.read_multishot(PLACE, &group, TAG).unwrap();
        f.ring.poll_multishot(PLACE, TAG).unwrap();
        if round % 2 == 0 {
            f.ring.turn(Wait::No).unwrap();
        }
        f.ring.cancel_all().unwrap();
        assert_eq!(f.ring.in_flight(), 0);
        for _ in 0..3 {
            match f.next() {
                Completion::Rang(rang) => doorbell.on_completion(rang),
                Completion::Read(filled) => assert!(matches!(filled.into_view(), Err(libc::ECANCELED))),
                Completion::Polled(polled) => assert_eq!(polled.outcome(), Err(libc::ECANCELED)),
                other => panic!("{other:?}"),
            }
        }
    }
    group.unregister(&mut f.ring).unwrap();
}

#[test]
fn a_group_in_use_does_not_end() {
    let mut f = Fixture::new(2);
    let mut group = f.group(3, 2);
    group.refill();
    let read = f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    f.ring.turn(Wait::No).unwrap();
    let (mut group, error) = group.unregister(&mut f.ring).expect_err("a read takes buffers from it");
    assert!(matches!(error, RingError::GroupInUse { group: 3, operations: 1 }), "{error}");
    assert_eq!((f.pool.accounting().free, f.pool.accounting().kernel), (0, 2));
    // It goes on.
    f.near.write_all(b"still read").unwrap();
    let (Ok(Some(view)), true) = f.next_read() else { panic!("it goes on") };
    assert_eq!(&view[..], b"still read");
    drop(view);
    group.refill();
    f.ring.cancel(read).unwrap();
    // The kernel is done, but nobody has seen its last completion.
    f.ring.turn(Wait::UntilCompletion).unwrap();
    let (group, _) = group.unregister(&mut f.ring).expect_err("there may be buffers in the completions");
    assert!(matches!(f.next_read(), (Err(libc::ECANCELED), false)));
    group.unregister(&mut f.ring).unwrap();
    assert_eq!(f.pool.accounting().free, 2);
}

#[test]
fn a_ring_takes_no_buffers_of_another_rings_group() {
    let (mut f, mut other) = (Fixture::new(1), Fixture::new(1));
    let group = f.group(0, 1);
    let _same_number = other.group(0, 1);
    assert_eq!(other.ring.read_multishot(PLACE, &group, TAG), Err(PushError::ForeignGroup));
    let (_, error) = group.unregister(&mut other.ring).expect_err("it is not there");
    assert!(matches!(error, RingError::ForeignGroup(0)));
}

#[test]
fn submitting_carries_out_writes_and_leaves_deferred_work_to_the_turn() {
    let mut f = Fixture::new(4);
    let mut group = f.group(7, 4);
    group.refill();
    assert!(!f.ring.submit().unwrap(), "nothing is queued");
    f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    assert!(f.ring.submit().unwrap());
    assert!(!f.ring.submit().unwrap(), "what was submitted is not submitted again");
    f.near.write_all(b"deferred").unwrap();
    // Submitting something else does not read: that is work of the next turn.
    f.ring.write(PLACE, View::heap(b"now".to_vec()), TAG).unwrap();
    assert!(f.ring.submit().unwrap() && f.ring.has_completed());
    let mut now = [0; 3];
    f.near.read_exact(&mut now).unwrap();
    assert_eq!(&now, b"now");
    f.reap();
    assert!(matches!(f.batch.pop_front(), Some(Completion::Wrote(_))) && f.batch.is_empty());
    assert!(!f.ring.has_completed());
    let (Ok(Some(view)), true) = f.next_read() else { panic!("it was deferred") };
    assert_eq!(&view[..], b"deferred");
}

/// An error about locked memory tells this number. 84 KiB and 8 KiB are what Linux 6.18 charges.
#[test]
fn what_the_kernel_charges_is_known() {
    let config = RingConfig { submissions: 256, completions: 4_096, ..RingConfig::default() };
    assert_eq!(Ring::locked_len(config), 84 << 10);
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

/// What a child has is a copy of the value, not of the ring: the completions are the parent's.
#[test]
fn a_child_that_lets_go_of_its_copy_takes_nothing_from_the_parent() {
    let mut f = Fixture::new(4);
    let mut group = f.group(7, 4);
    group.refill();
    f.ring.read_multishot(PLACE, &group, TAG).unwrap();
    f.near.write_all(b"before").unwrap();
    f.ring.turn(Wait::UntilCompletion).unwrap();
    assert!(f.ring.has_completed(), "it waits to be reaped");
    // SAFETY: the child drops values, allocates nothing, and ends without running anything of the parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop((f.ring, group, f.pool));
        // SAFETY: it ends this process, which has one thread.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status is written to where there is room.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 7));
    let (Ok(Some(view)), true) = f.next_read() else { panic!("it goes on") };
    assert_eq!(&view[..], b"before");
    f.near.write_all(b"after").unwrap();
    let (Ok(Some(view)), true) = f.next_read() else { panic!("it goes on") };
    assert_eq!(&view[..], b"after");
}
