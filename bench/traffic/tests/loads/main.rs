//! Loads between network namespaces: over a bare wire, through a relay that loses, repeats and overtakes by a plan, and
//! through a WireGuard tunnel, on one host or on two. What is counted must be exactly what happened.

mod bare;
mod bulk;
mod hosts;
mod impaired;
mod relay;
mod rrul;
mod transactions;
mod tunnel;

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use ringfort_testbed::Namespace;
use ringfort_traffic::{Endpoint, Load, Outcome, Traffic, udp};

/// How long stragglers are waited for where some are lost, so nobody knows that all have come.
pub const SETTLE: Duration = Duration::from_secs(3);

/// A second of 10,000 packets per second: enough to count, and little enough for a machine that is busy. Where nothing
/// is lost, stragglers are waited for only as long as there are any.
pub fn load() -> Load {
    Load { duration: Duration::from_secs(1), settle: Duration::from_secs(20), ..Load::default() }
}

/// What `attempt` gives once it says something: of what a busy machine does not run in time, the generator sends and
/// counts nothing, and says so.
pub fn until_it_says_something<T: Debug>(attempt: impl Fn() -> T, does: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let outcome = attempt();
        if does(&outcome) {
            return outcome;
        }
        assert!(Instant::now() < deadline, "this is all that comes of it: {outcome:#?}");
    }
}

/// Carries a load of which at least some must get through, and checks what must hold of every outcome.
pub fn run(load: &Load, ends: [(&Namespace, IpAddr); 2]) -> Outcome {
    let says_something = |outcome: &Outcome| outcome.legs.iter().all(|leg| leg.traffic.sent > 0);
    until_it_says_something(|| run_once(load, ends), says_something)
}

fn run_once(load: &Load, ends: [(&Namespace, IpAddr); 2]) -> Outcome {
    let [from, to] = ends.map(|(namespace, address)| Endpoint { namespace, address });
    let progress = AtomicU64::new(0);
    let outcome = udp::run(load, from, to, &progress).expect("the load is carried");
    assert_eq!(progress.into_inner(), outcome.total.received);
    for leg in &outcome.legs {
        assert_adds_up(&leg.traffic);
    }
    assert_adds_up(&outcome.total);
    outcome
}

/// What must hold of every outcome.
pub fn assert_adds_up(traffic: &Traffic) {
    assert_eq!(traffic.planned, traffic.sent + traffic.refused + traffic.skipped, "{traffic:#?}");
    assert_eq!(traffic.sent, traffic.received + traffic.lost, "{traffic:#?}");
    assert_eq!(traffic.latency_ns.map_or(0, |times| times.count), traffic.received, "{traffic:#?}");
    assert_eq!(traffic.lateness_ns.map_or(0, |times| times.count), traffic.sent + traffic.refused, "{traffic:#?}");
    assert_eq!(traffic.foreign, 0, "{traffic:#?}");
}

/// All of it arrived, once, in order and whole.
pub fn assert_flawless(traffic: &Traffic) {
    let flaws = [traffic.lost, traffic.duplicated, traffic.reordered, traffic.damaged, traffic.refused];
    assert_eq!(flaws, [0; 5], "{traffic:#?}");
}

/// A command in a namespace that must succeed.
pub fn must(namespace: &Namespace, line: &str) -> String {
    namespace.run(line).expect("the command is right")
}

/// The number of packets at the first counter of a namespace's nftables.
pub fn nft_counter(namespace: &Namespace) -> u64 {
    let rules = must(namespace, "nft list ruleset");
    let number = rules.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no counter in {rules}"))
}
