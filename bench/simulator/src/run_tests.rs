//! The simulator itself: some seeds are clean, one seed is one run, and what is wrong is noticed and made small.

use std::time::Duration;

use super::*;
use crate::packets::Transport;
use crate::scenario::{Disturbance, Faults, Happening, LATENCY, START, Style, Talk};

/// Seeds whose runs are short enough for a build without optimisation.
const SEEDS: [u64; 3] = [3, 5, 7];

#[test]
fn some_seeds_are_clean() {
    for seed in SEEDS {
        let summary = run(seed, &Cuts::default()).unwrap_or_else(|failure| {
            panic!("seed {seed}: {}\n{}", failure.what, failure.trace.last(60));
        });
        assert!(summary.delivered > 0, "seed {seed} is about something");
    }
}

#[test]
fn one_seed_is_one_run() {
    let hash = |seed| run(seed, &Cuts::default()).expect("a clean seed").hash;
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(7));
}

/// Whoever does not accept that anything is lost finds a failure in every network that loses something. What is left of
/// it is a network that loses, and one talk.
#[test]
fn a_failure_is_noticed_made_small_and_seen_again() {
    let impatient = Cuts(vec![Cut::Patience, Cut::Calm]);
    let lossy = (0..100).find(|&seed| {
        let drawn = scenario(seed, &Cuts::default());
        let is_lossy = drawn.network.loss > 50;
        // Of more gateways a third may stay, if only its loss was noticed.
        is_lossy && drawn.happenings.len() > 1 && drawn.talks.len() > 1 && drawn.gateways.len() == 2
    });
    let seed = lossy.expect("one in a hundred seeds is like that");
    let failure = run(seed, &impatient).expect_err("something is lost");
    let (cuts, small) = shrink(seed, impatient, failure);
    let left = scenario(seed, &cuts);
    assert!(left.happenings.is_empty(), "{cuts}");
    assert!(left.talks.len() <= 2, "{cuts}");
    let again = run(seed, &cuts.to_string().parse().expect("cuts are read as they are written"));
    let again = again.expect_err("it fails again");
    assert_eq!((again.what, again.trace.hash()), (small.what, small.trace.hash()));
}

/// A gateway is started anew. Packets to it and from it are lost until both have a session again: that takes some round
/// trips, and nobody's patience.
#[test]
fn a_restart_costs_less_than_a_second() {
    for from in [0, 1] {
        let restarted = START + Duration::from_secs(30);
        let mut world = World::new(one_talk(
            from,
            Happening { at: restarted.since(START), lasts: Duration::ZERO, what: Disturbance::Restart { at: 1 } },
        ));
        world.run().unwrap_or_else(|what| panic!("{what}\n{}", world.out.trace.last(60)));
        let ledger = &world.out.ledger;
        let offers = 0..u32::try_from(ledger.offered - 1).unwrap();
        let lost: Vec<_> = offers.filter(|&n| !ledger.has_arrived(0, n)).map(|n| ledger.offered_at(0, n)).collect();
        let allowed = restarted - LATENCY..restarted + Duration::from_secs(1);
        let wrong: Vec<_> = lost.iter().filter(|&at| !allowed.contains(at)).collect();
        assert!(wrong.is_empty(), "from {from}: {} of {} are not lost at the restart", wrong.len(), lost.len());
    }
}

/// Two gateways, of which the second has to learn where the first is, and one that sends all the time.
fn one_talk(from: usize, happening: Happening) -> Scenario {
    let mut scenario = draw(1);
    let mut site = scenario.gateways[0].clone();
    (site.workers, site.interrupted, site.phantoms, site.keepalive_secs) = (2, 0, 0, 0);
    (site.first_counter, site.large_routes, site.sight) = (0, false, None);
    scenario.gateways = vec![site; 2];
    (scenario.outer_v6, scenario.second_suite, scenario.unknown) = (0, 0, Scenario::pair(0, 1));
    (scenario.network, scenario.latency) = (Faults::default(), LATENCY);
    (scenario.faulty, scenario.calm) = (happening.at, Duration::from_secs(5));
    scenario.happenings = vec![happening];
    let (first, interval) = (Duration::from_secs(1), Duration::from_millis(20));
    // Before the second can say anything, the first must.
    let (hello, once) = (Duration::from_millis(500), Duration::from_secs(3_600));
    let greeting = Talk { first: hello, interval: once, ..quiet() };
    scenario.talks = vec![Talk { from, to: 1 - from, first, interval, ..quiet() }, greeting];
    scenario
}

/// A talk of lone datagrams.
const fn quiet() -> Talk {
    Talk {
        from: 0,
        to: 1,
        v6: false,
        transport: Transport::Udp,
        segment: 100,
        dscp: 0,
        ecn: 0,
        counts_up: true,
        first: Duration::ZERO,
        interval: Duration::ZERO,
        burst: 1,
        style: Style::Lone,
        asks: false,
        until: None,
        due: None,
    }
}
