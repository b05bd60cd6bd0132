//! Requests and answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::{Namespace, Wire, netns};
use ringfort_traffic::transactions::{Transactions, TransactionsOutcome, run};
use ringfort_traffic::{Endpoint, Placement};

use crate::until_it_says_something;

fn transactions(connections: u16, message_bytes: u32) -> Transactions {
    let (ramp_up, sustain) = (Duration::from_millis(100), Duration::from_millis(300));
    Transactions { connections, message_bytes, ramp_up, sustain, ..Transactions::default() }
}

/// Carries them until some came in the time that is measured and before it, and checks what must hold of every outcome.
fn carry(transactions: &Transactions, ends: [Endpoint<'_>; 2]) -> TransactionsOutcome {
    let [from, to] = ends;
    let attempt = || {
        let progress = AtomicU64::new(0);
        let outcome = run(transactions, from, to, &progress).unwrap();
        assert_sound(&outcome);
        (outcome, progress.into_inner())
    };
    // The ramp-up is not measured.
    until_it_says_something(attempt, |(outcome, all)| (1..*all).contains(&outcome.completed)).0
}

fn assert_sound(outcome: &TransactionsOutcome) {
    let connections = usize::from(outcome.transactions.connections);
    assert_eq!(outcome.connection_counts.len(), connections);
    assert_eq!(outcome.connection_counts.iter().sum::<u64>(), outcome.completed);
    assert_eq!(outcome.time_ns.map_or(0, |times| times.count), outcome.completed);
    assert!((outcome.per_second * outcome.measured_s - outcome.completed as f64).abs() < 1e-6, "{outcome:?}");
    assert!(outcome.fairness <= 1.0 + 1e-9 && outcome.fairness >= 1.0 / connections as f64 - 1e-9, "{outcome:?}");
}

/// Both ends on the loopback of one namespace.
fn loopback(namespace: &Namespace, address: IpAddr) -> [Endpoint<'_>; 2] {
    [Endpoint { namespace, address }; 2]
}

#[test]
fn one_connection_and_the_most_of_them_with_short_and_long_messages() {
    let namespace = Namespace::new().unwrap();
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    for (connections, message_bytes, address) in [(1, 1, v4), (16, 1_024, v6), (256, 1, v4), (3, 65_536, v6)] {
        let outcome = carry(&transactions(connections, message_bytes), loopback(&namespace, address));
        assert!(outcome.client_cpu_percent > 0.0 && outcome.server_cpu_percent > 0.0, "{outcome:?}");
    }
}

#[test]
fn the_times_of_one_connection_do_not_overlap() {
    let namespace = Namespace::new().unwrap();
    let outcome = carry(&transactions(1, 1), loopback(&namespace, Ipv4Addr::LOCALHOST.into()));
    let times = outcome.time_ns.unwrap();
    // One follows the other, and only the first may have begun before. They are exact to a thousandth.
    let sum_s = times.mean * times.count as f64 / 1e9;
    assert!(times.min > 0 && sum_s < outcome.measured_s * 1.002 + times.max as f64 / 1e9, "{outcome:?}");
}

#[test]
fn lanes_share_the_connections() {
    let wire = Wire::new().unwrap();
    let ends = [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: netns::outer_v4(end) });
    let placement = Placement { lanes: 2, ..Placement::default() };
    carry(&Transactions { placement, ..transactions(5, 100) }, ends);
}

#[test]
fn nobody_there_is_an_error_with_both_addresses() {
    let wire = Wire::new().unwrap();
    wire.ends[0].ip("route add blackhole 10.200.0.2/32").unwrap();
    let [from, to] = [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: netns::outer_v4(end) });
    let error = run(&transactions(1, 1), from, to, &AtomicU64::new(0)).unwrap_err().to_string();
    assert!(error.contains("10.200.0.1") && error.contains("10.200.0.2"), "{error}");
}
