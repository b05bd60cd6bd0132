//! What a line of the budget has reserved is there for it, whatever everybody else does.

use proptest::prelude::*;
use ring_buffers::{Arena, Budget, LineId, Pool, SlotClass, View, Waker};

/// The lines, and how many slots each has reserved.
const READS: LineId = LineId(0);
const TRAINS: LineId = LineId(1);
const COMMON: LineId = LineId(2);
const WAITING: LineId = LineId(3);
const KEEPALIVES: LineId = LineId(4);
const LINES: [(LineId, SlotClass, usize); 5] = [
    (READS, SlotClass::Jumbo, 3),
    (TRAINS, SlotClass::Jumbo, 2),
    (COMMON, SlotClass::Jumbo, 0),
    (WAITING, SlotClass::Packet, 5),
    (KEEPALIVES, SlotClass::Packet, 2),
];

fn pool() -> Pool {
    let budget = Budget::new()
        .reserved("reads", SlotClass::Jumbo, 3)
        .reserved("trains", SlotClass::Jumbo, 2)
        .line("common", SlotClass::Jumbo, 2)
        .reserved("waiting", SlotClass::Packet, 5)
        .reserved("keepalives", SlotClass::Packet, 2);
    // Miri knows no huge pages and no advice about them.
    let arena = if cfg!(miri) { Arena::heap(&budget) } else { Arena::new(&budget, Waker::new().unwrap()).unwrap() };
    Pool::new(arena)
}

#[derive(Clone, Debug)]
enum Step {
    Claim(bool),
    ClaimFor(usize),
    Transfer(usize, usize),
    Drop(usize),
    DropAway(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<bool>().prop_map(Step::Claim),
        4 => (0..LINES.len()).prop_map(Step::ClaimFor),
        2 => (any::<usize>(), 0..LINES.len()).prop_map(|(v, line)| Step::Transfer(v, line)),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::DropAway),
    ]
}

/// A view, of which class it is, and the line that it was claimed for.
type Held = (View, SlotClass, Option<LineId>);

fn used(held: &[Held], line: LineId) -> usize {
    held.iter().filter(|(.., charged)| *charged == Some(line)).count()
}

/// How many a line may claim, reckoned from scratch: what it has left of its own, and what is promised to nobody.
fn available(pool: &Pool, held: &[Held], line: LineId) -> usize {
    let (_, class, own) = LINES[usize::from(line.0)];
    let unused = |line, own: usize| own.saturating_sub(used(held, line));
    let promised: usize = LINES.iter().filter(|l| l.1 == class).map(|&(line, _, own)| unused(line, own)).sum();
    unused(line, own) + pool.free(class) - promised
}

fn apply(step: Step, pool: &Pool, held: &mut Vec<Held>) {
    let pick = |held: &mut Vec<Held>, n: usize| if held.is_empty() { None } else { Some(n % held.len()) };
    match step {
        Step::Claim(jumbo) => {
            let class = if jumbo { SlotClass::Jumbo } else { SlotClass::Packet };
            held.extend(pool.claim(class).map(|view| (view, class, None)));
        }
        Step::ClaimFor(number) => {
            let (line, class, _) = LINES[number];
            let may = available(pool, held, line) > 0;
            let view = pool.claim_for(line);
            assert_eq!(view.is_some(), may);
            held.extend(view.map(|view| (view, class, Some(line))));
        }
        Step::Transfer(n, number) => {
            let Some(n) = pick(held, n) else { return };
            let (to, class, _) = LINES[number];
            let from = held[n].2;
            let moved = pool.transfer(&held[n].0, to);
            assert!(!moved || held[n].1 == class);
            held[n].2 = if moved { Some(to) } else { from };
        }
        Step::Drop(n) => {
            if let Some(n) = pick(held, n) {
                held.swap_remove(n);
            }
        }
        Step::DropAway(n) => {
            let Some(n) = pick(held, n) else { return };
            let parcel = held.swap_remove(n).0.send_away().unwrap();
            std::thread::spawn(move || drop(parcel.arrive())).join().unwrap();
            assert_eq!(pool.drain_returns(), 1);
        }
    }
}

proptest! {
    #[test]
    fn what_is_reserved_can_be_claimed(steps in proptest::collection::vec(step(), 0..150)) {
        let (pool, mut held) = (pool(), Vec::new());
        for step in steps {
            apply(step, &pool, &mut held);
            for (line, _, own) in LINES {
                prop_assert_eq!(pool.available(line), available(&pool, &held, line));
                prop_assert!(pool.available(line) >= own.saturating_sub(used(&held, line)));
            }
            for (view, _, line) in &held {
                prop_assert_eq!(pool.charged(view), *line);
            }
            prop_assert!(pool.accounting().adds_up());
        }
        held.clear();
        let full = LINES.map(|(line, ..)| pool.available(line));
        prop_assert_eq!(full, [5, 4, 2, 5, 2]);
    }
}

#[test]
fn a_slot_that_changes_its_use_is_paid_back_to_its_line() {
    let pool = pool();
    let read = pool.claim_for(READS).unwrap();
    assert!(pool.transfer(&read, COMMON));
    assert_eq!((pool.available(READS), pool.available(COMMON)), (4, 1));
    let others = [pool.claim_for(COMMON).unwrap(), pool.claim_for(READS).unwrap()];
    assert!(!pool.transfer(&others[1], COMMON), "nothing is left that nobody has reserved");
    assert_eq!(pool.charged(&others[1]), Some(READS));
    drop(read);
    assert!(pool.transfer(&others[1], COMMON));
    assert!(!pool.transfer(&others[1], WAITING), "a slot of another size");
    assert!(!pool.transfer(&View::heap(vec![0]), COMMON), "no slot at all");
}
