//! Over a veth pair, with nothing in between but what nftables does.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::netns::{VETH, outer_v4, outer_v6};
use ringfort_testbed::{Namespace, Wire};
use ringfort_traffic::{Direction, Endpoint, Imix, Load, Placement, Size, probe, udp};

use crate::{SETTLE, assert_flawless, load, must, nft_counter, run, until_it_says_something};

fn v4(wire: &Wire) -> [(&Namespace, std::net::IpAddr); 2] {
    [(&wire.ends[0], outer_v4(0)), (&wire.ends[1], outer_v4(1))]
}

fn v6(wire: &Wire) -> [(&Namespace, std::net::IpAddr); 2] {
    [(&wire.ends[0], outer_v6(0)), (&wire.ends[1], outer_v6(1))]
}

#[test]
fn every_size_arrives_whole_in_both_families() {
    let wire = Wire::new().unwrap();
    for bytes in [64, 128, 256, 512, 1_024, 1_280, 1_500] {
        let load = Load { size: Size::Fixed { bytes }, duration: Duration::from_millis(200), ..load() };
        assert_flawless(&run(&load, v4(&wire)).total);
        assert_flawless(&run(&load, v6(&wire)).total);
    }
}

#[test]
fn sizes_are_those_of_ip_packets_on_the_interface() {
    let wire = Wire::new().unwrap();
    must(&wire.ends[1], "nft add table inet lab");
    must(&wire.ends[1], "nft add chain inet lab in { type filter hook input priority 0 ; }");
    must(&wire.ends[1], "nft add rule inet lab in meta length 64 meta l4proto udp counter");
    let loads = [run(&load(), v4(&wire)), run(&load(), v6(&wire))];
    assert_eq!(nft_counter(&wire.ends[1]), loads[0].total.sent + loads[1].total.sent);
}

#[test]
fn the_mix_goes_both_ways() {
    let wire = Wire::new().unwrap();
    let size = Size::Imix(Imix { largest_bytes: 1_500 });
    let load = Load { size, flows: 24, direction: Direction::BothWays, ..load() };
    let outcome = run(&load, v6(&wire));
    assert_flawless(&outcome.total);
    assert_eq!(outcome.legs.len(), 2);
    let planned: Vec<u64> = outcome.legs.iter().map(|leg| leg.traffic.planned).collect();
    assert_eq!((planned, outcome.total.planned), (vec![10_000, 10_000], 20_000));
    assert!((outcome.total.asked_pps - 20_000.0).abs() < 1e-9);
}

#[test]
fn ten_thousand_flows_are_as_many_pairs_of_ports() {
    let wire = Wire::new().unwrap();
    let to = &wire.ends[1];
    must(to, "nft add table inet lab");
    must(to, "nft add set inet lab flows { type inet_service . inet_service ; flags dynamic ; size 65535 ; }");
    must(to, "nft add chain inet lab in { type filter hook input priority 0 ; }");
    must(to, "nft add rule inet lab in udp length 44 add @flows { udp sport . udp dport }");
    // Nine times around, so each has its turn even if the sender is held up now and then.
    let duration = Duration::from_secs(3);
    assert_flawless(&run(&Load { flows: 10_000, rate_pps: 30_000, duration, ..load() }, v4(&wire)).total);
    assert_eq!(must(to, "nft list set inet lab flows").matches(" . ").count() - 1, 10_000);
}

#[test]
fn what_a_rule_drops_is_what_is_lost() {
    let wire = Wire::new().unwrap();
    let to = &wire.ends[1];
    must(to, "nft add table inet lab");
    must(to, "nft add chain inet lab in { type filter hook input priority 0 ; }");
    must(to, "nft add rule inet lab in udp length 44 numgen inc mod 10 3 counter drop");
    let outcome = run(&Load { flows: 7, settle: SETTLE, ..load() }, v4(&wire));
    assert_eq!(outcome.total.lost, nft_counter(to));
    assert_eq!(outcome.total.lost, (outcome.total.sent + 6) / 10, "the fourth of each ten");
    assert_eq!([outcome.total.duplicated, outcome.total.reordered, outcome.total.damaged], [0; 3]);
    // What a busy machine leaves unsent makes the ratio coarser, not wrong.
    let ratio = outcome.total.lost as f64 / outcome.total.sent as f64;
    assert!((outcome.total.loss_ratio - ratio).abs() < 1e-9, "{:#?}", outcome.total);
}

#[test]
fn round_trips_come_back_from_the_reflector() {
    let wire = Wire::new().unwrap();
    let load = Load { direction: Direction::RoundTrip, flows: 50, ..load() };
    let outcome = run(&load, v6(&wire));
    assert_flawless(&outcome.total);
    assert_eq!(outcome.reflected, Some(outcome.total.sent));
    let [from, to] = v4(&wire).map(|(namespace, address)| Endpoint { namespace, address });
    let placement = Placement::default();
    let pings = probe::round_trips(200, Duration::from_secs(1), placement, from, to, &AtomicU64::new(0)).unwrap();
    assert_flawless(&pings.total);
    assert_eq!(pings.total.planned, 200);
    let times = pings.total.latency_ns.unwrap();
    assert!(times.min > 0 && times.p50 <= times.p99 && times.p99 <= times.max, "{times:?}");
}

#[test]
fn what_is_lost_on_the_way_back_is_lost() {
    let wire = Wire::new().unwrap();
    let origin = &wire.ends[0];
    must(origin, "nft add table inet lab");
    must(origin, "nft add chain inet lab in { type filter hook input priority 0 ; }");
    must(origin, "nft add rule inet lab in udp length 44 numgen inc mod 4 0 counter drop");
    let outcome = run(&Load { direction: Direction::RoundTrip, settle: SETTLE, ..load() }, v4(&wire));
    assert_eq!(outcome.reflected, Some(outcome.total.sent));
    assert_eq!(outcome.total.lost, nft_counter(origin));
}

#[test]
fn lanes_add_up() {
    let wire = Wire::new().unwrap();
    let placement = Placement { lanes: 3, ..Placement::default() };
    let load = Load { flows: 10, direction: Direction::BothWays, placement, ..load() };
    let outcome = run(&load, v4(&wire));
    assert_flawless(&outcome.total);
    assert_eq!(outcome.total.planned, 20_000);
}

#[test]
fn trains_are_asked_for_or_there_are_none() {
    let wire = Wire::new().unwrap();
    let mut seen = Vec::new();
    for gso in [false, true] {
        let before = wire.ends[0].interface_counters(VETH).unwrap().sent;
        let load = Load { gso, gro: gso, flows: 3, ..load() };
        let outcome = run(&load, v4(&wire));
        assert_flawless(&outcome.total);
        let packets = wire.ends[0].interface_counters(VETH).unwrap().sent - before;
        seen.push(packets as f64 / outcome.total.sent as f64);
    }
    assert!(seen[0] >= 1.0 && seen[1] < 0.1, "packets on the interface for each that was sent: {seen:?}");
}

#[test]
fn more_than_the_generator_can_offer_is_said_to_be() {
    let wire = Wire::new().unwrap();
    let load = load();
    let most =
        Load { rate_pps: 20_000_000, duration: Duration::from_millis(300), settle: Duration::ZERO, ..load.clone() };
    let outcome = run(&most, v4(&wire));
    assert!(outcome.total.generator_limited && outcome.total.skipped > 0, "{:#?}", outcome.total);
    assert!(outcome.total.offered_pps < 20_000_000.0 * 0.99);
    let little = Load { rate_pps: 1_000, duration: Duration::from_millis(100), ..load };
    until_it_says_something(|| run(&little, v4(&wire)), |outcome| !outcome.total.generator_limited);
}

#[test]
fn what_does_not_fit_the_interface_is_an_error_with_a_reason() {
    let wire = Wire::new().unwrap();
    let [from, to] = v4(&wire).map(|(namespace, address)| Endpoint { namespace, address });
    let load = Load { size: Size::Fixed { bytes: 1_501 }, settle: Duration::ZERO, ..load() };
    let error = udp::run(&load, from, to, &AtomicU64::new(0)).unwrap_err().to_string();
    // Each C library has words of its own for it.
    let words = std::io::Error::from_raw_os_error(libc::EMSGSIZE).to_string();
    assert!(error.contains("1501 bytes") && error.contains(&words), "{error}");
}

#[test]
fn a_way_that_is_closed_is_an_error_with_both_addresses() {
    let wire = Wire::new().unwrap();
    let [from, to] = v4(&wire).map(|(namespace, address)| Endpoint { namespace, address });
    must(to.namespace, "nft add table inet lab");
    must(to.namespace, "nft add chain inet lab in { type filter hook input priority 0 ; policy drop ; }");
    let error = udp::run(&load(), from, to, &AtomicU64::new(0)).unwrap_err().to_string();
    assert!(error.contains("10.200.0.1") && error.contains("10.200.0.2"), "{error}");
}
