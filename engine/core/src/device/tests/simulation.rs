//! Networks under faults. What must hold is in the assertions of `node.rs` and `world.rs`, and: once the faults are
//! over and traffic is offered, there is a session within 21 s, and nothing is lost from then on, rekeys included.
//!
//! 21 s are the sum of the longest waits one after the other: 15.33 s until silence is noticed, 5.33 s until a
//! handshake message that the last fault took is sent again.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Faults, World};
use crate::suite::Suite;
use crate::time::Time;

const SECOND: Duration = Duration::from_secs(1);

/// Which pairs talk: the first number offers packets to the second, so many milliseconds apart.
#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: usize,
    interval_ms: u64,
}

#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    nodes: usize,
    flows: Vec<Flow>,
    faults: Faults,
    faulty_secs: u64,
    /// What happens to a node, and after how many milliseconds.
    restarts: Vec<(u64, usize)>,
    loads: Vec<(u64, usize)>,
    /// When the first node's address changes.
    rebinds: Vec<u64>,
    /// The first node's persistent keepalives in seconds.
    keepalive_secs: u16,
    /// Pairs under the second suite: a bit for each sum of their numbers, which are three different ones.
    marked: u8,
}

fn arb_faults() -> impl Strategy<Value = Faults> {
    (0u8..230, 0u8..100, 0u64..4_000, 0u8..128).prop_map(|(loss, duplication, delay_max_ms, event_loss)| Faults {
        loss,
        duplication,
        delay_max_ms,
        event_loss,
    })
}

fn arb_scenario(nodes: usize) -> impl Strategy<Value = Scenario> {
    let flow = (0..nodes, 1..nodes, 50u64..3_000).prop_map(move |(from, step, interval_ms)| Flow {
        from,
        to: (from + step) % nodes,
        interval_ms,
    });
    let flows = proptest::collection::vec(flow, 1..4);
    let happening = || proptest::collection::vec((0u64..200_000, 0..nodes), 0..4);
    let rebinds = proptest::collection::vec(0u64..200_000, 0..3);
    let keepalive = prop_oneof![3 => Just(0u16), 1 => 1u16..40];
    (any::<u64>(), flows, arb_faults(), 1u64..200, happening(), happening(), rebinds, (keepalive, any::<u8>()))
        .prop_map(move |(seed, flows, faults, faulty_secs, restarts, loads, rebinds, (keepalive_secs, marked))| {
            Scenario {
                seed,
                nodes,
                flows,
                faults,
                faulty_secs,
                restarts: restarts.into_iter().map(|(at, node)| (at % (faulty_secs * 1_000), node)).collect(),
                loads: loads.into_iter().map(|(at, node)| (at % (faulty_secs * 1_000), node)).collect(),
                rebinds: rebinds.into_iter().map(|at| at % (faulty_secs * 1_000)).collect(),
                keepalive_secs,
                marked,
            }
        })
}

/// Enters a scenario's faults and flows into a world.
fn enter(scenario: &Scenario, world: &mut World, end: Time) {
    let start = world.now;
    let after = |ms: u64| start + Duration::from_millis(ms);
    for Flow { from, to, interval_ms } in scenario.flows.iter().cloned() {
        let mut when = start;
        while when < end {
            world.offer(when, from, to);
            when += Duration::from_millis(interval_ms);
        }
    }
    for &(ms, node) in &scenario.restarts {
        world.restart(after(ms), node);
    }
    for &(ms, node) in &scenario.loads {
        world.load(after(ms), node, true);
    }
    for node in 0..scenario.nodes {
        world.load(start + Duration::from_secs(scenario.faulty_secs), node, false);
    }
    // An address that changes is only learned from who lives there: it must have something to say to each that it talks
    // to.
    let talks = |from, to| scenario.flows.iter().any(|flow| (flow.from, flow.to) == (from, to));
    if (1..scenario.nodes).all(|other| talks(0, other) || !talks(other, 0)) {
        for &ms in &scenario.rebinds {
            world.rebind(after(ms), 0);
        }
    }
    let peers: Vec<_> = world.nodes[0].device.peers().map(|peer| peer.id()).collect();
    for peer in peers {
        world.nodes[0].device.set_keepalive(start, peer, scenario.keepalive_secs);
    }
}

fn play(scenario: &Scenario) {
    let mut world = World::new(scenario.nodes, scenario.seed, |_, _| true);
    world.set_suites(|a, b| Suite::ALL[usize::from(scenario.marked >> (a + b) & 1)]);
    let start = world.now;
    let recovered = start + Duration::from_secs(scenario.faulty_secs + 21) + delay(scenario);
    let end = recovered + 400 * SECOND;
    enter(scenario, &mut world, end);
    world.faults = scenario.faults;
    world.run_until(start + Duration::from_secs(scenario.faulty_secs));
    world.faults = Faults::default();
    world.run_until(end + SECOND);

    let missing = world.missing_since(recovered);
    assert!(missing.is_empty(), "{} packets are missing, the first is {:?}", missing.len(), missing.first());
    let slowest = world.slowest_since(recovered);
    assert!(slowest < Duration::from_millis(100), "a packet took {slowest:?}");
    if scenario.keepalive_secs > 0 {
        return;
    }
    // Traffic has ended: keepalives come to an end, and, once the keys are zeroed, everything does.
    world.run_until(end + 60 * SECOND);
    world.wire.clear();
    world.run_until(end + 3_000 * SECOND);
    assert_eq!(super::kinds(&world.wire), [0; 0], "idle peers fall silent");
    for node in &world.nodes {
        assert_eq!(node.device.poll_timeout(), None, "an idle device waits for nothing");
        assert_eq!(node.receiving_sessions(), 0, "keys are zeroed");
    }
}

/// What the last faulty datagram may still be late.
fn delay(scenario: &Scenario) -> Duration {
    Duration::from_millis(scenario.faults.delay_max_ms + 100)
}

/// A case takes long, so there are fewer of them; `PROPTEST_CASES` raises their number.
pub fn few_cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases / 8, max_shrink_iters: 200, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn two_nodes_recover(scenario in arb_scenario(2)) {
        play(&scenario);
    }

    #[test]
    fn three_nodes_recover(scenario in arb_scenario(3)) {
        play(&scenario);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(2, seed, |_, _| true);
        world.faults = Faults { loss: 100, duplication: 50, delay_max_ms: 1_000, event_loss: 30 };
        for n in 0..100 {
            world.offer(world.now + n * SECOND, (n % 2) as usize, (n + 1) as usize % 2);
        }
        world.run_for(200 * SECOND);
        world.wire.iter().map(|sent| sent.bytes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn simultaneous_initiations_end_in_sessions_at_once() {
    for seed in 0..50 {
        let mut world = World::new(2, seed, |_, _| true);
        let start = world.now;
        for when in [start, start + SECOND] {
            world.offer(when, 0, 1);
            world.offer(when + Duration::from_millis(seed % 20), 1, 0);
        }
        world.run_for(3 * SECOND);
        assert_eq!(world.missing_since(start), [0; 0]);
        assert!(world.slowest_since(start) < Duration::from_millis(200), "nobody had to wait for a timer");
    }
}

#[test]
fn no_packet_is_lost_or_late_over_many_rekeys() {
    // Both sides talk for an hour: some thirty sessions.
    let mut world = World::new(2, 1, |_, _| true);
    let start = world.now;
    for n in 0..3_600 {
        world.offer(start + n * SECOND, 0, 1);
        world.offer(start + n * SECOND + Duration::from_millis(500), 1, 0);
    }
    world.run_for(3_700 * SECOND);
    assert_eq!(world.missing_since(start), [0; 0]);
    assert!(world.slowest_since(start + SECOND) < Duration::from_millis(50));
    let initiations = world.wire.iter().filter(|sent| sent.kind() == 1).count();
    assert!((28..=32).contains(&initiations), "{initiations} initiations: one per 120 s");
}

#[test]
fn one_way_traffic_is_answered_with_keepalives_only() {
    let mut world = World::new(2, 1, |_, _| true);
    let start = world.now;
    for n in 0..100 {
        world.offer(start + n * SECOND, 0, 1);
    }
    world.run_for(110 * SECOND);
    let back: Vec<_> = world.wire.iter().filter(|sent| sent.from == world.nodes[1].address).collect();
    let keepalives = back.iter().filter(|sent| sent.is_keepalive()).count();
    assert_eq!(back.len(), keepalives + 1, "the rest is the handshake's response");
    assert!((9..=11).contains(&keepalives), "{keepalives} keepalives: one per 10 s");
    assert_eq!(world.wire.iter().filter(|sent| sent.kind() == 1).count(), 1, "silence was never suspected");
}

#[test]
fn a_session_unused_for_long_is_replaced_when_needed() {
    let mut world = World::new(2, 1, |_, _| true);
    for gap in [1, 119, 121, 179, 181, 300, 539, 541, 1_000] {
        let when = world.now + gap * SECOND;
        world.offer(when, 0, 1);
        world.offer(when + SECOND, 1, 0);
        world.run_until(when + 2 * SECOND);
        assert_eq!(world.missing_since(when), [0; 0], "after {gap} s");
    }
}

#[test]
fn a_wall_clock_that_jumps_back_does_not_lock_us_out() {
    // The initiator's clock goes back by an hour after the first session.
    let mut pair = super::Pair::connected();
    let later = Time::from_secs(1_400);
    pair.advance_to(later);
    pair.a.now.wall = crate::tai64n::Tai64N::from_unix(1_000_000_000, 0);
    pair.offer_a();
    pair.exchange();
    assert_eq!(pair.b.delivered.len(), 1);
}
