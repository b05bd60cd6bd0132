//! What safe code can do to a ring at its worst: nobody's memory is touched, and no slot is used twice.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::mem::forget;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ring_buffers::fake::{FakeKernel, Message, Script};
use ring_buffers::{
    Arena, Budget, BufferGroup, Completion, Doorbell, JUMBO_SIZE, NotBegun, Pool, PushError, Ring, RingConfig,
    SlotClass, Tag, View, Wait, Waker,
};

const TAG: Tag = Tag { edge: 1, context: 0 };
const PLACE: u32 = 0;
const NO_PLACE: u32 = 1;

fn pool(jumbo: u16) -> Pool {
    Pool::new(Arena::heap(&Budget::new().line("all", SlotClass::Jumbo, jumbo)))
}

fn group(ring: &mut Ring, pool: &Pool, id: u16, quota: u16) -> BufferGroup {
    let mut group = BufferGroup::register(ring, pool, id, SlotClass::Jumbo, quota, 4096).unwrap();
    group.refill();
    group
}

fn fake(config: RingConfig) -> (Ring, FakeKernel) {
    let (mut ring, kernel) = Ring::on_fake(config, Script::calm(1));
    ring.register_files(&[Some(std::io::stdin().as_fd()), None]).unwrap();
    (ring, kernel)
}

fn real(config: RingConfig) -> (Ring, UnixStream, UnixStream) {
    let mut ring = Ring::new(config).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    ring.register_files(&[Some(far.as_fd()), None]).unwrap();
    (ring, near, far)
}

fn bytes(len: usize) -> Message {
    Message { bytes: vec![0x5a; len], ..Message::default() }
}

fn view(pool: &Pool, len: usize) -> View {
    let mut view = pool.claim(SlotClass::Jumbo).unwrap();
    view.truncate(len);
    view.fill(0xa5);
    view
}

fn panics(f: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    outcome.expect_err("it panics");
}

#[test]
fn a_panic_over_a_completion_loses_no_group() {
    let (mut ring, kernel) = fake(RingConfig::default());
    let pool = pool(4);
    let group = group(&mut ring, &pool, 0, 2);
    let read = ring.read_multishot(PLACE, &group, TAG).unwrap();
    kernel.deliver(PLACE, bytes(9));
    ring.turn(Wait::No).unwrap();
    panics(|| ring.reap(1, |_| panic!("over a read that goes on")));
    ring.cancel(read).unwrap();
    ring.turn(Wait::No).unwrap();
    panics(|| ring.reap(9, |_| panic!("over the end of the read")));
    ring.reap(9, drop);
    assert_eq!(ring.in_flight(), 0);
    group.unregister(&mut ring).expect("no operation uses it any more");
    assert_eq!(pool.accounting().free, 4);
}

#[test]
fn a_panic_over_an_envelope_gives_back_all() {
    let (mut ring, _kernel) = fake(RingConfig { operations: 1, ..RingConfig::default() });
    let pool = pool(1);
    let lent = view(&pool, 10);
    panics(|| _ = ring.send_message(PLACE, lent, TAG, |_| panic!("half-way")));
    assert_eq!((pool.accounting().free, ring.in_flight()), (1, 0));
    ring.send_message(PLACE, view(&pool, 10), TAG, |_| {}).expect("the operation is free again");
    ring.turn(Wait::No).unwrap();
    ring.reap(9, drop);
    assert_eq!(pool.accounting().free, 1);
}

#[test]
fn a_panic_over_completions_put_aside_loses_one() {
    let (mut ring, _kernel) = fake(RingConfig::default());
    let pool = pool(3);
    for _ in 0..3 {
        ring.send(PLACE, view(&pool, 10), 10, &[1; 99], TAG).unwrap();
    }
    ring.cancel_all().unwrap();
    panics(|| ring.reap(9, |_| panic!("over the first")));
    let mut left = 0;
    ring.reap(9, |_| left += 1);
    assert_eq!((left, pool.accounting().free), (2, 3));
}

/// Leaks of all kinds: what the kernel may write is given to nobody.
#[test]
#[cfg_attr(miri, ignore = "it leaks on purpose")]
fn what_is_forgotten_is_used_by_nobody_else() {
    let pool = pool(5);
    let (mut ring, mut near, _far) = real(RingConfig::default());
    ring.register_pool(&pool).unwrap();
    let group = group(&mut ring, &pool, 0, 2);
    ring.read_multishot(PLACE, &group, TAG).unwrap();
    let mut doorbell = Doorbell::new(Waker::new().unwrap(), TAG);
    doorbell.arm(&mut ring).unwrap();
    ring.turn(Wait::No).unwrap();
    near.write_all(b"first").unwrap();
    ring.turn(Wait::UntilCompletion).unwrap();
    ring.reap(1, forget);
    forget(view(&pool, 7));
    forget(view(&pool, 7).send_away());
    let mut split = view(&pool, 8);
    let front = split.split_to(4);
    forget(split);
    assert!(!front.is_unique());
    let claimed: Vec<View> = std::iter::from_fn(|| pool.claim(SlotClass::Jumbo)).collect();
    assert_eq!((claimed.len(), pool.accounting().adds_up()), (0, true));
    forget((ring, group, doorbell));
    near.write_all(b"the forgotten ring reads this").unwrap();
    assert_eq!(&front[..], &[0xa5; 4]);
    drop(front);
    assert!(pool.claim(SlotClass::Jumbo).is_none());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no io_uring")]
fn nothing_is_registered_twice() {
    let (pool, other) = (pool(4), pool(2));
    let (mut ring, mut near, _far) = real(RingConfig::default());
    let (mut second, ..) = real(RingConfig::default());
    ring.register_pool(&pool).unwrap();
    for again in [&pool, &other] {
        ring.register_pool(again).expect_err("there is one arena");
    }
    second.register_pool(&pool).unwrap();
    let mine = group(&mut ring, &pool, 5, 2);
    BufferGroup::register(&mut ring, &other, 5, SlotClass::Jumbo, 2, 4096).expect_err("the number is taken");
    let theirs = group(&mut second, &pool, 5, 9);
    assert_eq!((mine.in_kernel(), theirs.in_kernel()), (2, 2));
    ring.write(PLACE, view(&other, 3), TAG).unwrap();
    ring.read_multishot(PLACE, &mine, TAG).unwrap();
    near.write_all(b"to the first ring").unwrap();
    second.read_multishot(PLACE, &mine, TAG).expect_err("of another ring");
    drop(other);
    let mut kept = Vec::new();
    while kept.len() < 2 {
        ring.turn(Wait::UntilCompletion).unwrap();
        // A ring that ends in another's closure.
        let ends = RefCell::new(Some(real(RingConfig::default())));
        ring.reap(9, |completion| {
            drop(ends.take());
            kept.push(completion);
        });
    }
    drop((ring, near));
    drop(mine);
    drop(pool);
    drop(second);
    for completion in kept {
        if let Completion::Read(filled) = completion {
            assert_eq!(&filled.into_view().unwrap().unwrap()[..], b"to the first ring");
        }
    }
    drop(theirs);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no io_uring")]
fn nothing_at_all_is_a_length_too() {
    let pool = pool(8);
    let (mut ring, mut near, _far) = real(RingConfig::default());
    ring.register_pool(&pool).unwrap();
    ring.reserve_gathers(2, 3);
    ring.write(PLACE, view(&pool, 0), TAG).unwrap();
    let mut at_the_end = view(&pool, JUMBO_SIZE);
    at_the_end.advance(JUMBO_SIZE);
    ring.write(PLACE, at_the_end, TAG).unwrap();
    ring.write(PLACE, View::heap(Vec::new()), TAG).unwrap();
    ring.write_gathered(PLACE, &mut vec![view(&pool, 0), view(&pool, 0)], true, TAG).unwrap();
    ring.write_gathered(NO_PLACE, &mut vec![view(&pool, 0), view(&pool, 1)], false, TAG).unwrap();
    ring.send(PLACE, view(&pool, 0), usize::MAX, &[], TAG).unwrap();
    ring.write_static(PLACE, b"", TAG).unwrap();
    let envelope = |lens: (usize, usize)| move |e: &mut ring_buffers::Envelope<'_>| (e.name_len, e.control_len) = lens;
    ring.send_message(PLACE, View::heap(vec![]), TAG, envelope((usize::MAX, usize::MAX))).unwrap();
    ring.send_message(99, View::heap(vec![0]), TAG, envelope((0, 1))).unwrap();
    let empty = BufferGroup::register(&mut ring, &pool, 1, SlotClass::Jumbo, 0, 0).unwrap();
    let mut thin = BufferGroup::register(&mut ring, &pool, 2, SlotClass::Jumbo, 1, 0).unwrap();
    thin.refill();
    ring.read_multishot(PLACE, &empty, TAG).unwrap();
    for lens in [(0, 0), (4096, 0), (usize::MAX, usize::MAX), (1 << 31, 1 << 31), (0, usize::MAX >> 1)] {
        ring.receive_messages(PLACE, &thin, lens, TAG).unwrap();
    }
    ring.receive_multishot(PLACE, &thin, TAG).unwrap();
    near.write_all(b"for nobody").unwrap();
    for _ in 0..50 {
        ring.turn(Wait::No).unwrap();
        ring.reap(99, drop);
    }
    ring.cancel_all().unwrap();
    ring.reap(99, drop);
    for group in [empty, thin] {
        group.unregister(&mut ring).unwrap();
    }
    assert_eq!((pool.accounting().free, ring.counters().unexpected), (8, 0));
}

/// A completion queue of two, and fifty operations: each ends once, and no read is lost.
#[test]
#[cfg_attr(miri, ignore = "Miri has no io_uring")]
fn a_completion_queue_that_overflows_loses_nothing() {
    let pool = pool(40);
    let config = RingConfig { submissions: 2, completions: 2, operations: 60 };
    let (mut ring, mut near, far) = real(config);
    let mut group = group(&mut ring, &pool, 0, 30);
    let mut read = 0;
    let mut wrote = 0;
    let mut begun = 0;
    let mut armed = false;
    for round in 0..200 {
        if !armed {
            armed = ring.read_multishot(PLACE, &group, TAG).is_ok();
        }
        near.write_all(&[0x5a]).unwrap();
        for _ in 0..20 {
            begun += u64::from(ring.write(NO_PLACE, View::heap(vec![0xa5; 3]), TAG).is_ok());
        }
        if round % 7 == 0 {
            ring.cancel_all().unwrap();
        }
        ring.turn(Wait::No).unwrap();
        ring.reap(round % 30, |completion| match completion {
            Completion::Read(filled) => {
                armed &= filled.goes_on();
                read += filled.into_view().ok().flatten().map_or(0, |view| view.len());
            }
            Completion::Wrote(_) => wrote += 1,
            other => panic!("{other:?}"),
        });
        group.refill();
        assert!(pool.accounting().adds_up());
    }
    ring.cancel_all().unwrap();
    ring.reap(usize::MAX, |completion| match completion {
        Completion::Read(filled) => read += filled.into_view().ok().flatten().map_or(0, |view| view.len()),
        _ => wrote += 1,
    });
    let mut rest = Vec::new();
    drop(near);
    (&far).read_to_end(&mut rest).unwrap();
    assert_eq!((read + rest.len(), wrote), (200, begun));
    group.unregister(&mut ring).unwrap();
    assert_eq!((pool.accounting().free, ring.in_flight(), ring.counters().unexpected), (40, 0, 0));
}

#[test]
fn as_many_operations_as_there_can_be() {
    let operations = if cfg!(miri) { 40 } else { u16::MAX };
    let config = RingConfig { submissions: 4096, completions: 4096, operations };
    let (mut ring, _kernel) = fake(config);
    let pool = pool(1);
    let group = group(&mut ring, &pool, 0, 1);
    for _ in 0..operations {
        ring.read_multishot(PLACE, &group, TAG).unwrap();
    }
    assert_eq!(ring.read_multishot(PLACE, &group, TAG), Err(PushError::Full));
    let NotBegun { view, why } = ring.write(PLACE, View::heap(vec![1]), TAG).unwrap_err();
    assert_eq!((&view[..], why), (&[1][..], PushError::Full));
    ring.cancel_all().unwrap();
    ring.reap(usize::MAX, drop);
    group.unregister(&mut ring).unwrap();
    let mut none = fake(RingConfig { operations: 0, ..RingConfig::default() }).0;
    assert_eq!(none.poll_multishot(PLACE, TAG), Err(PushError::Full));
}

/// A sender that never stops does not keep a ring from its end.
#[test]
#[cfg_attr(miri, ignore = "Miri has no io_uring")]
fn a_flood_does_not_hold_up_the_end() {
    let pool = pool(8);
    let (mut ring, mut near, far) = real(RingConfig { submissions: 4, completions: 4, operations: 9 });
    let mut group = group(&mut ring, &pool, 0, 8);
    let flood = std::thread::spawn(move || while near.write_all(&[0x5a; 4096]).is_ok() {});
    for _ in 0..100 {
        _ = ring.read_multishot(PLACE, &group, TAG);
        _ = ring.turn(Wait::No);
        ring.reap(3, drop);
        group.refill();
    }
    let begun = Instant::now();
    drop(ring);
    assert!(begun.elapsed() < Duration::from_secs(3), "its patience is a second");
    assert_eq!(pool.accounting().free, 8);
    drop(far);
    flood.join().unwrap();
}

/// A place that is emptied, or whose file is closed, between a launch, its submission and its end.
#[test]
#[cfg_attr(miri, ignore = "Miri has no io_uring")]
fn files_may_go_at_any_time() {
    let pool = pool(8);
    for moment in 0..4 {
        let (mut ring, mut near, far) = real(RingConfig::default());
        let group = group(&mut ring, &pool, 0, 2);
        let file = RefCell::new(Some(far));
        let go = |ring: &mut Ring| {
            drop(file.take());
            ring.update_file(PLACE, None).unwrap();
        };
        if moment == 0 {
            go(&mut ring);
        }
        ring.read_multishot(PLACE, &group, TAG).unwrap();
        ring.write(PLACE, view(&pool, 9), TAG).unwrap();
        if moment == 1 {
            go(&mut ring);
        }
        ring.turn(Wait::No).unwrap();
        if moment == 2 {
            go(&mut ring);
        }
        _ = near.write_all(b"is anybody there?");
        ring.turn(Wait::No).unwrap();
        ring.update_file(99, None).expect_err("there is no such place");
        drop(ring);
        assert_eq!(pool.accounting().free, 8, "moment {moment}");
    }
}

/// Parcels to and fro, and rings that end while pieces of a view are lent.
#[test]
fn a_parcel_comes_home_from_wherever_it_was_lent() {
    let pool = pool(4);
    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
        let mut views: Vec<View> = (0..4).map(|_| view(&pool, 100)).collect();
        let mut half = views.pop().unwrap();
        let front = half.split_to(50);
        let half = half.send_away().expect_err("the other half stays");
        let parcels: Vec<_> = views.into_iter().map(|view| view.send_away().unwrap()).collect();
        let back = std::thread::spawn(move || {
            let (mut ring, _kernel) = fake(RingConfig::default());
            let mut views = parcels.into_iter().map(ring_buffers::Parcel::arrive);
            let (first, mut second) = (views.next().unwrap(), views.next().unwrap());
            ring.write(PLACE, first, TAG).unwrap();
            let piece = second.split_to(10);
            ring.write(PLACE, piece, TAG).unwrap();
            drop(ring);
            assert!(second.is_unique() && second[..] == [0xa5; 90]);
            [second.send_away().unwrap(), views.next().unwrap().send_away().unwrap()]
        })
        .join()
        .unwrap();
        let (mut ring, _kernel) = fake(RingConfig::default());
        ring.register_pool(&pool).unwrap();
        for parcel in back {
            ring.write(PLACE, parcel.arrive(), TAG).unwrap();
        }
        ring.write(PLACE, front, TAG).unwrap();
        drop(ring);
        assert_eq!(pool.drain_returns(), 3);
        assert!(half.is_unique());
        drop(half);
        assert_eq!(pool.accounting().free, 4);
    }
}
