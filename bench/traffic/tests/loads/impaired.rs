//! Through a relay whose every fault is planned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringfort_traffic::{Load, Traffic};

use crate::relay::{Fate, Relay};
use crate::{load, run};

/// Carries a load and returns what came of it, and how many packets met `special` instead of passing.
fn through(load: &Load, period: u64, special: fn() -> Fate) -> (Traffic, u64) {
    let met = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&met);
    let relay = Relay::new(move |number| {
        // The last ones pass, or else nothing would come after what is to be overtaken.
        if number % period != period / 2 || number > 9_500 {
            return Fate::Pass;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        special()
    });
    let load = Load { settle: Duration::from_millis(500), ..load.clone() };
    let traffic = run(&load, relay.addressed()).total;
    drop(relay);
    (traffic, met.load(Ordering::Relaxed))
}

fn flaws(traffic: &Traffic) -> [u64; 5] {
    [traffic.lost, traffic.duplicated, traffic.reordered, traffic.damaged, traffic.reordering_distance_packets_max]
}

#[test]
fn a_relay_without_faults_shows_none() {
    let (traffic, met) = through(&load(), u64::MAX, || Fate::Pass);
    assert_eq!((flaws(&traffic), met), ([0; 5], 0));
}

#[test]
fn loss_is_counted_exactly() {
    let (traffic, met) = through(&load(), 13, || Fate::Lose);
    assert!(met > 100);
    assert_eq!(flaws(&traffic), [met, 0, 0, 0, 0]);
}

#[test]
fn duplication_is_counted_exactly() {
    let (traffic, met) = through(&Load { flows: 11, ..load() }, 9, || Fate::Repeat);
    assert!(met > 100);
    assert_eq!(flaws(&traffic), [0, met, 0, 0, 0]);
}

#[test]
fn reordering_is_counted_exactly_with_its_distance() {
    let (traffic, met) = through(&load(), 20, || Fate::Delay(3));
    assert!(met > 100);
    assert_eq!(flaws(&traffic), [0, 0, met, 0, 3]);
}

#[test]
fn overtaking_among_flows_is_no_reordering() {
    let (traffic, met) = through(&Load { flows: 5, ..load() }, 20, || Fate::Delay(3));
    assert!(met > 100);
    assert_eq!(flaws(&traffic), [0; 5]);
}

#[test]
fn damage_is_seen_and_such_packets_count_as_lost() {
    let (traffic, met) = through(&load(), 50, || Fate::Damage);
    assert!(met > 100);
    assert_eq!(flaws(&traffic), [met, 0, 0, met, 0]);
}
