//! Bulk TCP.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::Wire;
use ringfort_testbed::netns::{outer_v4, outer_v6};
use ringfort_traffic::tcp::{Bulk, BulkOutcome, run};
use ringfort_traffic::{Endpoint, Placement};

use crate::relay::{Fate, MTU, Relay};
use crate::until_it_says_something;

fn bulk(streams: u16) -> Bulk {
    Bulk { streams, ramp_up: Duration::from_millis(200), sustain: Duration::from_millis(500), ..Bulk::default() }
}

/// Carries it until bytes came in the time that is measured and before it, and checks what must hold of every outcome.
fn carry(bulk: &Bulk, ends: [Endpoint<'_>; 2]) -> BulkOutcome {
    let [from, to] = ends;
    let attempt = || {
        let progress = AtomicU64::new(0);
        let outcome = run(bulk, from, to, &progress).unwrap();
        assert_sound(&outcome);
        (outcome, progress.into_inner())
    };
    // The ramp-up is not measured.
    until_it_says_something(attempt, |(outcome, all)| (1..*all).contains(&outcome.received_bytes)).0
}

fn assert_sound(outcome: &BulkOutcome) {
    let streams = usize::from(outcome.bulk.streams);
    assert_eq!(outcome.stream_bytes.len(), streams);
    assert_eq!(outcome.stream_bytes.iter().sum::<u64>(), outcome.received_bytes);
    assert_eq!(outcome.interval_bytes.iter().sum::<u64>(), outcome.received_bytes);
    assert_eq!(outcome.interval_bytes.len(), 5, "tenths of half a second");
    assert!(outcome.fairness <= 1.0 + 1e-9 && outcome.fairness >= 1.0 / streams as f64 - 1e-9, "{outcome:?}");
}

#[test]
fn one_connection_and_the_most_of_them_in_both_families() {
    let wire = Wire::new().unwrap();
    for (streams, address) in [(1, outer_v4 as fn(usize) -> _), (128, outer_v6)] {
        carry(&bulk(streams), [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: address(end) }));
    }
}

#[test]
fn lanes_share_the_connections() {
    let wire = Wire::new().unwrap();
    let ends = [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: outer_v4(end) });
    let placement = Placement { lanes: 2, ..Placement::default() };
    carry(&Bulk { placement, verify: false, ..bulk(5) }, ends);
}

#[test]
fn loss_shows_as_retransmits_and_changes_no_byte() {
    // Of the packets with a full segment, each hundredth.
    let full = MTU as usize;
    let relay = Relay::of_packets(full, |number| if number % 100 == 50 { Fate::Lose } else { Fate::Pass });
    let ends = relay.addressed().map(|(namespace, address)| Endpoint { namespace, address });
    until_it_says_something(|| carry(&bulk(4), ends), |outcome| outcome.retransmits > 0);
}

#[test]
fn nobody_there_is_an_error_with_both_addresses() {
    let wire = Wire::new().unwrap();
    wire.ends[0].ip("route add blackhole 10.200.0.2/32").unwrap();
    let [from, to] = [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: outer_v4(end) });
    let error = run(&bulk(1), from, to, &AtomicU64::new(0)).unwrap_err().to_string();
    assert!(error.contains("10.200.0.1") && error.contains("10.200.0.2"), "{error}");
}
