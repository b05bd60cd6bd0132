//! Every slot is free, with the kernel or held: after any sequence of steps, and on whatever core it is released.

use proptest::prelude::*;
use ring_buffers::fake::Loan;
use ring_buffers::{Arena, Budget, LineId, PACKET_SIZE, Pool, SlotClass, View, Waker};

fn arena(jumbo: u16, packet: u16) -> Arena {
    let budget = Budget::new().line("jumbo", SlotClass::Jumbo, jumbo).line("packet", SlotClass::Packet, packet);
    // Miri knows no huge pages and no advice about them.
    if cfg!(miri) { Arena::heap(&budget) } else { Arena::new(&budget, Waker::new().unwrap()).unwrap() }
}

/// One comparison: Miri would take as long for each byte.
fn is_all(view: &View, byte: u8) -> bool {
    **view == vec![byte; view.len()]
}

fn assert_adds_up(pool: &Pool) {
    let accounting = pool.accounting();
    assert!(accounting.adds_up(), "{accounting:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Claim(bool),
    Split(usize, usize),
    Drop(usize),
    Lend(usize),
    TakeBack(usize),
    SendAwayAndBack(usize),
    DropAway(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Claim),
        (any::<usize>(), any::<usize>()).prop_map(|(v, at)| Step::Split(v, at)),
        any::<usize>().prop_map(Step::Drop),
        any::<usize>().prop_map(Step::Lend),
        any::<usize>().prop_map(Step::TakeBack),
        any::<usize>().prop_map(Step::SendAwayAndBack),
        any::<usize>().prop_map(Step::DropAway),
    ]
}

fn pick<T>(list: &mut Vec<T>, n: usize) -> Option<T> {
    if list.is_empty() { None } else { Some(list.swap_remove(n % list.len())) }
}

fn apply(step: Step, pool: &Pool, views: &mut Vec<View>, lent: &mut Vec<Loan>) {
    match step {
        Step::Claim(jumbo) => views.extend(pool.claim(if jumbo { SlotClass::Jumbo } else { SlotClass::Packet })),
        Step::Split(v, at) => {
            if let Some(mut view) = pick(views, v) {
                let at = at % (view.len() + 1);
                views.push(view.split_to(at));
                views.push(view);
            }
        }
        Step::Drop(v) => drop(pick(views, v)),
        Step::Lend(v) => lent.extend(pick(views, v).map(Loan::of)),
        Step::TakeBack(v) => views.extend(pick(lent, v).map(Loan::take_back)),
        Step::SendAwayAndBack(v) => match pick(views, v).map(View::send_away) {
            Some(Ok(parcel)) => {
                let arrived = std::thread::spawn(move || parcel.arrive().is_unique()).join().unwrap();
                assert!(arrived);
                assert!(pool.drain_returns() >= 1);
            }
            Some(Err(view)) => views.push(view),
            None => {}
        },
        Step::DropAway(v) => match pick(views, v).map(View::send_away) {
            Some(Ok(parcel)) => drop(parcel),
            Some(Err(view)) => views.push(view),
            None => {}
        },
    }
}

proptest! {
    #[test]
    fn slots_add_up_after_every_step(steps in proptest::collection::vec(step(), 0..120)) {
        let pool = Pool::new(arena(3, 5));
        let (mut views, mut lent) = (Vec::new(), Vec::new());
        for step in steps {
            apply(step, &pool, &mut views, &mut lent);
            assert_adds_up(&pool);
        }
        views.extend(lent.drain(..).map(Loan::take_back));
        assert_eq!(pool.accounting().kernel, 0);
        drop(views);
        pool.drain_returns();
        let end = pool.accounting();
        assert_eq!((end.free, end.held), (8, 0));
    }

    #[test]
    fn pieces_of_a_slot_never_overlap(cuts in proptest::collection::vec(0usize..=PACKET_SIZE, 1..20)) {
        let pool = Pool::new(arena(0, 1));
        let mut rest = pool.claim(SlotClass::Packet).unwrap();
        let mut pieces = Vec::new();
        for cut in cuts {
            let at = cut % (rest.len() + 1);
            pieces.push(rest.split_to(at));
        }
        pieces.push(rest);
        for (i, piece) in pieces.iter_mut().enumerate() {
            piece.fill(u8::try_from(i).unwrap());
        }
        for (i, piece) in pieces.iter().enumerate() {
            assert!(is_all(piece, i as u8));
        }
        assert_eq!(pieces.iter().map(|p| p.len()).sum::<usize>(), PACKET_SIZE);
        assert_eq!(pool.accounting().held, 1);
        while let Some(piece) = pieces.pop() {
            assert_eq!(pool.free(SlotClass::Packet), 0);
            drop(piece);
        }
        assert_eq!(pool.free(SlotClass::Packet), 1);
    }
}

#[test]
fn a_class_that_is_used_up_gives_none_and_recovers() {
    let pool = Pool::new(arena(1, 0));
    let view = pool.claim(SlotClass::Jumbo).unwrap();
    assert!(pool.claim(SlotClass::Jumbo).is_none());
    assert!(pool.claim(SlotClass::Packet).is_none());
    drop(view);
    assert!(pool.claim(SlotClass::Jumbo).is_some());
}

#[test]
fn tail_room_belongs_to_a_view_that_is_alone() {
    let pool = Pool::new(arena(0, 1));
    let mut view = pool.claim(SlotClass::Packet).unwrap();
    view.truncate(100);
    assert_eq!(view.tail_room(), PACKET_SIZE - 100);
    view.reserve_tail(16).unwrap();
    assert_eq!(view.len(), 116);
    assert!(view.reserve_tail(PACKET_SIZE).is_err());
    let front = view.split_to(50);
    assert!(view.reserve_tail(1).is_err(), "the slot is shared");
    drop(front);
    view.reserve_tail(1).unwrap();
}

#[test]
fn head_room_belongs_to_a_view_that_is_alone() {
    let pool = Pool::new(arena(0, 1));
    for mut view in [pool.claim(SlotClass::Packet).unwrap(), View::heap(vec![7; 100])] {
        view[..4].copy_from_slice(b"head");
        assert!(view.reserve_head(1).is_err(), "it begins where its backing does");
        view.advance(4);
        let len = view.len();
        view.reserve_head(2).unwrap();
        assert_eq!((&view[..2], view.len()), (&b"ad"[..], len + 2));
        let front = view.split_to(1);
        assert!(view.reserve_head(1).is_err(), "the slot is shared");
        drop(front);
        assert!(view.reserve_head(4).is_err(), "three bytes are in front");
        view.reserve_head(3).unwrap();
        assert_eq!((&view[..4], view.len()), (&b"head"[..], len + 4));
    }
}

#[test]
fn a_slot_that_is_all_with_the_kernel_is_not_held() {
    let pool = Pool::new(arena(0, 1));
    let mut back = pool.claim(SlotClass::Packet).unwrap();
    let front = back.split_to(10);
    let first = Loan::of(front);
    assert_eq!((pool.accounting().held, pool.accounting().kernel), (1, 0));
    let second = Loan::of(back);
    assert_eq!((pool.accounting().held, pool.accounting().kernel), (0, 1));
    drop(first.take_back());
    assert_eq!((pool.accounting().held, pool.accounting().kernel), (0, 1));
    drop(second.take_back());
    assert_eq!(pool.accounting().free, 1);
}

#[test]
fn heap_views_split_move_and_keep_their_bytes() {
    let mut view = View::heap((0..100).collect());
    let front = view.split_to(40);
    assert_eq!(&front[..], &(0..40).collect::<Vec<u8>>()[..]);
    let front = front.send_away().expect_err("shared with the rest");
    drop(view);
    let parcel = front.send_away().expect("alone now");
    let sum = std::thread::spawn(move || parcel.arrive().iter().map(|&b| u32::from(b)).sum::<u32>());
    assert_eq!(sum.join().unwrap(), (0..40).sum());
}

#[test]
#[cfg_attr(miri, ignore = "Miri does not poll an eventfd; tests/model.rs has every order of it")]
fn a_starved_owner_is_rung_when_a_slot_comes_home_from_another_core() {
    let waker = Waker::new().unwrap();
    let budget = Budget::new().line("one", SlotClass::Packet, 1);
    let pool = Pool::new(Arena::new(&budget, waker.clone()).unwrap());
    let readable = || {
        let mut poll = libc::pollfd { fd: waker.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    };
    let parcel = pool.claim(SlotClass::Packet).unwrap().send_away().unwrap();
    std::thread::spawn(move || drop(parcel.arrive())).join().unwrap();
    assert!(!readable(), "an owner that is not waiting is left alone");
    assert_eq!(pool.declare_starved(), 1);

    let parcel = pool.claim(SlotClass::Packet).unwrap().send_away().unwrap();
    assert_eq!(pool.declare_starved(), 0);
    std::thread::spawn(move || drop(parcel.arrive())).join().unwrap();
    assert!(readable());
    assert_eq!(pool.drain_returns(), 1);
    assert_eq!(pool.accounting().free, 1);
}

/// It makes no system call, so it runs under Miri too.
#[test]
fn an_arena_of_the_allocator_is_as_good_as_a_mapping() {
    let budget = Budget::new().line("jumbo", SlotClass::Jumbo, 1).reserved("packet", SlotClass::Packet, 2);
    let pool = Pool::new(Arena::heap(&budget));
    let mut jumbo = pool.claim(SlotClass::Jumbo).unwrap();
    assert!(is_all(&jumbo, 0));
    let mut packet = pool.claim_for(LineId(1)).unwrap();
    jumbo.fill(1);
    packet.fill(2);
    assert!(is_all(&jumbo, 1) && is_all(&packet, 2));
    assert_eq!(pool.declare_starved(), 0);
    drop(packet.send_away().unwrap());
    assert_eq!(pool.drain_returns(), 1);
    let front = jumbo.split_to(100);
    drop(jumbo);
    assert_eq!(pool.accounting().held, 1);
    drop(front);
    assert_eq!(pool.accounting().free, 3);
    assert!(Pool::new(Arena::heap(&Budget::new())).claim(SlotClass::Jumbo).is_none());
}
