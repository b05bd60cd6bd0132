//! One, two and four workers, also against each other: what one of them does not own, another does.

use std::sync::atomic::AtomicU64;
use std::thread;

use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::{MTU, Peering};
use ringfort_testbed::{Family, Tunnel, uapi};

use crate::harness::traffic::{OPENING, PATIENCE, check_counters, exchange};
use crate::harness::{eventually, us};

const TCP_BYTES: u64 = 1 << 20;
const FLOWS: usize = 8;

fn carries_parallel_flows(workers: [u8; 2], outer: Family) {
    let programs = workers.map(|count| us().with_options(&format!("--workers {count}")));
    let peering = Peering { outer, ..Peering::default() };
    let tunnel = Tunnel::connected([&programs[0], &programs[1]], &peering).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    for inner in [Family::V4, Family::V6] {
        exchange(&tunnel, inner, MTU as usize, TCP_BYTES);
    }
    thread::scope(|scope| {
        for flow in 0..FLOWS {
            let tunnel = &tunnel;
            scope.spawn(move || {
                let from = flow % 2;
                let inner = if flow % 4 < 2 { Family::V4 } else { Family::V6 };
                let address = tunnel.sides[1 - from].inner(inner);
                let (sender, receiver) = (tunnel.namespace(from), tunnel.namespace(1 - from));
                tcp::transfer(sender, receiver, address, Amount::Bytes(TCP_BYTES), &AtomicU64::new(0)).unwrap();
            });
        }
    });
    check_counters(&tunnel, TCP_BYTES * (2 + FLOWS as u64 / 2));
    for side in &tunnel.sides {
        assert_slots_add_up(&side.interface);
    }
}

/// Free + with the kernel + held = all, over all workers, once the traffic has ended.
fn assert_slots_add_up(interface: &str) {
    let slots = || {
        let stats = uapi::stats(interface).unwrap();
        ["slots_free", "slots_kernel", "slots_held", "slots_total"]
            .map(|suffix| stats.iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, value)| value).sum::<u64>())
    };
    let at_rest = |[free, kernel, held, total]: [u64; 4]| held == 0 && free + kernel == total && total > 0;
    eventually(
        PATIENCE,
        &format!("nothing holds a slot; at first [free, kernel, held, all] were {:?}", slots()),
        || at_rest(slots()),
    );
}

#[test]
fn one_worker() {
    carries_parallel_flows([1, 1], Family::V4);
}

#[test]
fn two_workers() {
    carries_parallel_flows([2, 2], Family::V6);
}

#[test]
fn four_workers() {
    carries_parallel_flows([4, 4], Family::V4);
}

#[test]
fn four_workers_and_one() {
    carries_parallel_flows([4, 1], Family::V6);
}

/// The sandbox refuses most of `/proc`. It must leave what tells where there is room for flows.
#[test]
fn workers_know_how_busy_their_cores_are() {
    let program = us().with_options("--workers 2 --sandbox on");
    let tunnel = Tunnel::connected([&program, &program], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let address = tunnel.sides[1].inner(Family::V4);
    let knows = |interface: &str| {
        let stats = uapi::stats(interface).unwrap();
        stats.iter().any(|(name, busy)| name.ends_with("core_busy_thousandths") && (1..=1_000).contains(busy))
    };
    eventually(PATIENCE, "both gateways have asked for their cores, and were told", || {
        let amount = Amount::Bytes(16 * TCP_BYTES);
        tcp::transfer(tunnel.namespace(0), tunnel.namespace(1), address, amount, &AtomicU64::new(0)).unwrap();
        tunnel.sides.iter().all(|side| knows(&side.interface))
    });
}
