//! Through a relay whose every fault is planned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfort_traffic::{Load, Traffic};

use crate::relay::{Carried, Fate, Relay};
use crate::{SETTLE, load, run, until_it_says_something};

/// What came of a load.
#[derive(Debug)]
struct Passage {
    traffic: Traffic,
    /// Packets that met `special` instead of passing.
    met: u64,
    carried: Carried,
}

/// Carries a load of which many packets meet `special`.
fn through(load: &Load, period: u64, special: fn() -> Fate) -> Passage {
    until_it_says_something(|| pass(load, period, special), |passage| passage.met > 100 || period == u64::MAX)
}

fn pass(load: &Load, period: u64, special: fn() -> Fate) -> Passage {
    let met = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&met);
    let relay = Relay::new(move |number| {
        if number % period != period / 2 {
            return Fate::Pass;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        special()
    });
    let load = Load { settle: SETTLE, ..load.clone() };
    let traffic = run(&load, relay.addressed()).total;
    let carried = relay.finish();
    Passage { traffic, met: met.load(Ordering::Relaxed), carried }
}

fn flaws(traffic: &Traffic) -> [u64; 5] {
    [traffic.lost, traffic.duplicated, traffic.reordered, traffic.damaged, traffic.reordering_distance_packets_max]
}

/// How many of these packets came after a later one of their flow, and by how many packets of it at the most (RFC 4737,
/// section 3.3). Flows take turns.
fn reordering(order: &[u32], flows: u32) -> [u64; 2] {
    let (mut newest, mut count, mut distance) = (vec![0; flows as usize], 0, 0);
    for &number in order {
        let newest = &mut newest[(number % flows) as usize];
        count += u64::from(number < *newest);
        distance = distance.max(u64::from(newest.saturating_sub(number) / flows));
        *newest = number.max(*newest);
    }
    [count, distance]
}

#[test]
fn a_relay_without_faults_shows_none() {
    let Passage { traffic, met, carried } = through(&load(), u64::MAX, || Fate::Pass);
    assert_eq!((flaws(&traffic), met, carried.held), ([0; 5], 0, 0));
}

#[test]
fn loss_is_counted_exactly() {
    let Passage { traffic, met, .. } = through(&load(), 13, || Fate::Lose);
    assert_eq!(flaws(&traffic), [met, 0, 0, 0, 0]);
}

#[test]
fn duplication_is_counted_exactly() {
    let Passage { traffic, met, .. } = through(&Load { flows: 11, ..load() }, 9, || Fate::Repeat);
    assert_eq!(flaws(&traffic), [0, met, 0, 0, 0]);
}

#[test]
fn reordering_is_counted_exactly_with_its_distance() {
    let Passage { traffic, met, carried } = through(&load(), 20, || Fate::Delay(3));
    let [reordered, distance] = reordering(&carried.order, 1);
    assert_eq!(reordered, met - carried.held);
    assert!(distance == 3 || distance > 3 && traffic.skipped > 0, "three have passed it: {distance}, {traffic:#?}");
    assert_eq!(flaws(&traffic), [carried.held, 0, reordered, 0, distance]);
}

#[test]
fn overtaking_among_flows_is_no_reordering() {
    let Passage { traffic, carried, .. } = through(&Load { flows: 5, ..load() }, 20, || Fate::Delay(3));
    let [reordered, distance] = reordering(&carried.order, 5);
    assert!(reordered == 0 || traffic.skipped > 0, "the next three are of other flows: {traffic:#?}");
    assert_eq!(flaws(&traffic), [carried.held, 0, reordered, 0, distance]);
}

#[test]
fn damage_is_seen_and_such_packets_count_as_lost() {
    let Passage { traffic, met, .. } = through(&load(), 50, || Fate::Damage);
    assert_eq!(flaws(&traffic), [met, 0, 0, met, 0]);
}
