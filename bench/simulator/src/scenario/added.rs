//! What was added to scenarios later, each from a source of its own. So nothing else of a seed depends on it.

use std::time::Duration;

use ringfort_path::tap::Direction;

use super::{Disturbance, Flood, Happening, Scenario, Sight};
use crate::rng::Rng;

/// How many of 256 talks say that there was congestion on their way already.
const CONGESTED: u8 = 24;

/// How many of 256 runs have TUN devices that refuse what is written.
const REFUSED: u8 = 64;

/// How many of 256 runs have floods of trains, and how many of these have nothing else.
const FLOODED: u8 = 24;
const ONLY_FLOODED: u8 = 128;

/// At how many of 256 gateways somebody looks on.
const SHOWN: u8 = 32;
/// How many of 256 runs have users who write to nobody.
const UNREACHABLE: u8 = 32;
/// How many of 256 runs have gateways with a large MTU only, and how many of the talks between two of these have
/// packets that need it.
const LARGE: u8 = 24;
const JUMBO: u8 = 128;
const LARGE_MTU: usize = 8_920;
/// How many of 256 runs have a gateway with an MTU that IPv6 does not allow.
const SMALL: u8 = 24;

/// Adds it. A run that aims at one thing has no more happenings than it has.
pub(super) fn add(scenario: &mut Scenario, is_aimed: bool) {
    add_classes(&mut Rng::new(scenario.seed, 6), scenario);
    add_onlookers(&mut Rng::new(scenario.seed, 12), scenario);
    if !is_aimed {
        add_refusals(&mut Rng::new(scenario.seed, 7), scenario);
        add_trains(&mut Rng::new(scenario.seed, 8), scenario);
        add_jumbo_packets(&mut Rng::new(scenario.seed, 9), scenario);
        add_small_mtu(&mut Rng::new(scenario.seed, 10), scenario);
        add_unreachable(&mut Rng::new(scenario.seed, 11), scenario);
    }
}

/// Something happens while the network is faulty, for a while that is at most so long.
fn happen(rng: &mut Rng, scenario: &mut Scenario, longest_us: u64, what: Disturbance) {
    let faulty_us = scenario.faulty.as_micros() as u64;
    let at = rng.below(faulty_us);
    let lasts = rng.below((faulty_us - at).min(longest_us).max(1));
    let [at, lasts] = [at, lasts].map(Duration::from_micros);
    scenario.happenings.push(Happening { at, lasts, what });
}

fn add_refusals(rng: &mut Rng, scenario: &mut Scenario) {
    if rng.chance(REFUSED) {
        let (at, longest_us) = (rng.index(scenario.gateways.len()), rng.pick(&[300_000, 5_000_000, 40_000_000]));
        happen(rng, scenario, longest_us, Disturbance::RefuseWrites { at });
    }
}

/// Talks have a DSCP, and now and then another ECN field.
fn add_classes(rng: &mut Rng, scenario: &mut Scenario) {
    for talk in &mut scenario.talks {
        // Best effort, assured and expedited forwarding, and all bits.
        talk.dscp = rng.pick(&[0, 0, 10, 46, 63]);
        if rng.chance(CONGESTED) {
            talk.ecn = 3;
        }
    }
}

fn add_trains(rng: &mut Rng, scenario: &mut Scenario) {
    if !rng.chance(FLOODED) {
        return;
    }
    if rng.chance(ONLY_FLOODED) {
        scenario.happenings.clear();
        scenario.network.stray = 0;
    }
    for _ in 0..rng.between(1, 3) {
        let (at, count) = (rng.index(scenario.gateways.len()), rng.pick(&[10, 100, 300]));
        let longest_us = rng.pick(&[5_000, 300_000, 5_000_000]);
        happen(rng, scenario, longest_us, Disturbance::Flood { at, kind: Flood::Trains, count });
    }
}

fn add_jumbo_packets(rng: &mut Rng, scenario: &mut Scenario) {
    if rng.chance(LARGE) {
        scenario.gateways.iter_mut().for_each(|site| site.mtu = LARGE_MTU);
    }
    let is_large: Vec<_> = scenario.gateways.iter().map(|site| site.mtu == LARGE_MTU).collect();
    for talk in &mut scenario.talks {
        // Whoever nobody reaches has whatever his sender has.
        let to = is_large.get(talk.to).unwrap_or(&true);
        if is_large[talk.from] && *to && rng.chance(JUMBO) {
            talk.segment = rng.pick(&[2_200, 2_200, 8_800]);
        }
    }
}

/// Packets of both sizes follow each other.
pub(super) fn enlarge(scenario: &mut Scenario) {
    let rng = &mut Rng::new(scenario.seed, 9);
    if rng.chance(JUMBO) {
        scenario.gateways.iter_mut().for_each(|site| site.mtu = LARGE_MTU);
        scenario.talks.iter_mut().for_each(|talk| talk.segment = 8_800);
    }
}

fn add_small_mtu(rng: &mut Rng, scenario: &mut Scenario) {
    let (at, mtu) = (rng.index(scenario.gateways.len()), rng.pick(&[576, 1_000]));
    let has_v6 = scenario.talks.iter().any(|talk| talk.v6 && [talk.from, talk.to].contains(&at));
    if !has_v6 && rng.chance(SMALL) {
        happen(rng, scenario, u64::MAX, Disturbance::SetMtu { at, mtu });
    }
}

fn add_unreachable(rng: &mut Rng, scenario: &mut Scenario) {
    if rng.chance(UNREACHABLE) {
        for _ in 0..rng.between(1, 4) {
            let (at, count) = (rng.index(scenario.gateways.len()), rng.pick(&[5, 40, 200]));
            happen(rng, scenario, 1, Disturbance::Unreachable { at, count });
        }
    }
}

/// Somebody looks on, and nobody notices.
fn add_onlookers(rng: &mut Rng, scenario: &mut Scenario) {
    let count = scenario.gateways.len();
    for site in &mut scenario.gateways {
        let shown = rng.chance(SHOWN);
        let sight = Sight {
            sides: rng.pick(&[[true, true], [true, true], [true, false], [false, true]]),
            direction: rng.pick(&[None, None, Some(Direction::In), Some(Direction::Out)]),
            drops_only: rng.chance(64),
            peer: rng.chance(96).then(|| rng.index(count)),
            snap_len: rng.pick(&[64, 200, usize::MAX]),
        };
        site.sight = shown.then_some(sight);
    }
}
