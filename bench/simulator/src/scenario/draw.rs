//! From a seed to a scenario.

use std::time::Duration;

use ringfort_core::constants::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};

use super::added::add;
use super::aimed::{PHANTOMS_MAX, aim};
use super::{Disturbance, Faults, Flood, Happening, INTERVAL_MAX, Queues, Scenario, Site, Style, Talk};
use crate::packets::Transport;
use crate::rng::Rng;

/// The most packets of a run, without answers. Many short runs find more than few long ones.
const PACKETS_MAX: [u128; 4] = [1_000, 2_000, 10_000, 120_000];
/// The counters at which a session wants a successor, and at which it ends.
const LIMITS: [u64; 2] = [REKEY_AFTER_MESSAGES, REJECT_AFTER_MESSAGES];
/// How many of 256 gateways have keys that wear out.
const WORN: u8 = 16;
/// How many of 256 gateways take their routes for a large table.
const LARGE_ROUTES: u8 = 85;

/// How many of 256 runs have gateways that are handed over to other processes.
const HANDED_OVER: u8 = 64;

/// The scenario of a seed.
#[must_use]
pub fn draw(seed: u64) -> Scenario {
    let (mut scenario, is_aimed) = draw_small(seed);
    // From a source of its own, so nothing else of a seed depends on it.
    let rng = &mut Rng::new(seed, 4);
    for site in &mut scenario.gateways {
        site.large_routes = rng.chance(LARGE_ROUTES);
    }
    let rng = &mut Rng::new(seed, 5);
    if rng.chance(HANDED_OVER) {
        let lasts_us = scenario.talked().since(super::START).as_micros() as u64;
        for _ in 0..rng.between(1, 6) {
            let (at, workers) = (rng.index(scenario.gateways.len()), rng.between(1, 5) as usize);
            let when = Duration::from_micros(rng.below(lasts_us));
            let what = Disturbance::HandOver { at, workers };
            scenario.happenings.push(Happening { at: when, lasts: Duration::ZERO, what });
        }
    }
    add(&mut scenario, is_aimed);
    scenario
}

/// What was drawn first, and whether it aims at one thing.
fn draw_small(seed: u64) -> (Scenario, bool) {
    let rng = &mut Rng::new(seed, 1);
    let count = rng.pick(&[2, 2, 2, 3, 3, 4]);
    let gateways: Vec<_> = (0..count).map(|_| site(rng)).collect();
    let faulty = Duration::from_millis(rng.between(500, 90_000));
    let network = match rng.below(4) {
        0 => Faults::default(),
        // Nothing is lost.
        1 => {
            let Faults { duplication, stray, cut, merge, .. } = faults(rng);
            Faults { duplication, stray, cut, merge, ..Faults::default() }
        }
        _ => faults(rng),
    };
    let mut talks = Vec::new();
    for _ in 0..rng.between(1, 5) {
        let from = rng.index(count);
        let to = (from + 1 + rng.index(count - 1)) % count;
        talks.push(talk(rng, from, to));
    }
    if rng.chance(160) {
        let from = rng.index(count);
        let to = (from + 1 + rng.index(count - 1)) % count;
        talks.push(question(rng, from, to));
    }
    for (at, site) in gateways.iter().enumerate() {
        for phantom in 0..site.phantoms {
            talks.push(talk_to_nobody(rng, at, count + phantom));
        }
    }
    let mover = rng.chance(128).then(|| rng.index(count));
    let happenings = happenings(rng, &gateways, mover, faulty);
    let unknown = rng.next() & rng.next();
    let mut scenario = Scenario {
        seed,
        gateways,
        outer_v6: rng.next(),
        second_suite: rng.next() & rng.next(),
        unknown,
        talks,
        latency: rng.pick(&[super::LATENCY, super::LATENCY, Duration::from_millis(1), Duration::from_micros(20)]),
        network,
        happenings,
        faulty,
        is_impatient: false,
        wearing: Duration::ZERO,
        only_delays: false,
        nested: false,
        calm: Duration::from_millis(rng.pick(&[2_000, 30_000, 150_000, 400_000])),
    };
    let packets_max = rng.pick(&PACKETS_MAX);
    if aim(rng, &mut scenario) {
        return (scenario, true);
    }
    let speakers = speakers(&scenario, mover);
    scenario.talks.extend(speakers.into_iter().map(|(from, to)| question(rng, from, to)));
    thin_out(&mut scenario, packets_max);
    scenario.repair();
    (scenario, false)
}

/// A run has no more packets than can be simulated in a second or so: of the talk with the most, there are fewer.
fn thin_out(scenario: &mut Scenario, packets_max: u128) {
    let lasts = scenario.talked().since(super::START);
    let packets = |talk: &Talk| lasts.as_nanos() / talk.interval.as_nanos() * u128::from(talk.burst);
    while scenario.talks.iter().map(packets).sum::<u128>() > packets_max {
        let Some(greatest) = scenario.talks.iter_mut().max_by_key(|talk| packets(talk)) else { return };
        if greatest.interval <= INTERVAL_MAX / 2 {
            greatest.interval *= 2;
        } else if greatest.burst > 1 {
            greatest.burst = greatest.burst.div_ceil(2);
        } else {
            return;
        }
    }
}

pub(super) fn site(rng: &mut Rng) -> Site {
    Site {
        workers: rng.pick(&[1, 2, 2, 3, 4]),
        mtu: rng.pick(&[1_420, 1_420, 1_280, 8_920]),
        ragged: rng.chance(64),
        merges: (!rng.chance(32), !rng.chance(32)),
        aws: !rng.chance(48),
        interrupted: rng.pick(&[0, 16, 64, 160]),
        phantoms: if rng.chance(64) { rng.between(1, PHANTOMS_MAX + 1) as usize } else { 0 },
        keepalive_secs: if rng.chance(48) { rng.between(1, 40) as u16 } else { 0 },
        large_routes: false,
        sight: None,
        first_counter: if rng.chance(WORN) { rng.pick(&LIMITS) - rng.below(2_000) } else { 0 },
        queues: Queues { events: 4_096, handshakes: 2_048, handoffs: 256 },
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut seldom = |most: u64| if rng.chance(128) { rng.below(most) as u8 } else { 0 };
    Faults {
        loss: seldom(230),
        duplication: seldom(100),
        corruption: seldom(60),
        truncation: seldom(60),
        stray: seldom(100),
        congestion: seldom(60),
        cut: seldom(60),
        merge: seldom(255),
        delay_max: Duration::from_micros(if rng.chance(128) { rng.below(4_000_000) } else { 0 }),
    }
}

pub(super) fn talk(rng: &mut Rng, from: usize, to: usize) -> Talk {
    let style = rng.pick(&[Style::Lone, Style::Partial, Style::Super, Style::Super, Style::Fragments]);
    let transport = match style {
        Style::Super => rng.pick(&[Transport::Tcp, Transport::Tcp, Transport::Udp]),
        Style::Fragments => Transport::Udp,
        Style::Lone | Style::Partial => rng.pick(&[Transport::Udp, Transport::Tcp, Transport::Icmp]),
    };
    let burst = match style {
        Style::Super => rng.between(2, 50),
        _ => rng.pick(&[1, 1, 2, 8, 20, 60]),
    };
    Talk {
        from,
        to,
        v6: rng.chance(128),
        transport,
        // Headers and an MTU of 1,280 leave room for it.
        segment: rng.pick(&[16, 100, 544, 1_200, 1_220]),
        dscp: 0,
        ecn: rng.pick(&[0, 0, 1, 2]),
        counts_up: style == Style::Fragments || rng.chance(128),
        first: Duration::from_micros(rng.below(2_000_000)),
        // Even on a logarithmic scale.
        interval: Duration::from_millis(20 << rng.below(8)),
        burst: burst as u16,
        style,
        asks: style != Style::Super && burst <= 2 && rng.chance(128),
        until: None,
        due: None,
    }
}

/// Packets for a peer that nobody reaches.
fn talk_to_nobody(rng: &mut Rng, from: usize, to: usize) -> Talk {
    Talk { interval: Duration::from_millis(rng.between(100, 2_000)), asks: false, ..talk(rng, from, to) }
}

/// Questions with an answer, one at a time.
pub(super) fn question(rng: &mut Rng, from: usize, to: usize) -> Talk {
    let interval = Duration::from_millis(rng.between(100, 3_000));
    Talk { burst: 1, style: Style::Lone, asks: true, interval, segment: 100, ..talk(rng, from, to) }
}

/// Who else must say something, or could not be found again: who changes its address is only known where it speaks, and
/// who does not know the other waits to hear from it.
fn speakers(scenario: &Scenario, mover: Option<usize>) -> Vec<(usize, usize)> {
    let count = scenario.gateways.len();
    let talks = |from, to| scenario.talks.iter().any(|talk| (talk.from, talk.to) == (from, to));
    let mut speakers = Vec::new();
    for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        let is_known = a < b || scenario.unknown & Scenario::pair(a, b) == 0;
        if (mover == Some(a) || !is_known) && !talks(a, b) && talks(b, a) {
            speakers.push((a, b));
        }
        // Who does not know where the other one is waits for it.
        let finds = b < a || scenario.unknown & Scenario::pair(a, b) == 0;
        if !finds && talks(a, b) && !talks(b, a) {
            speakers.push((b, a));
        }
    }
    speakers
}

fn happenings(rng: &mut Rng, gateways: &[Site], mover: Option<usize>, faulty: Duration) -> Vec<Happening> {
    let count = rng.pick(&[0, 1, 1, 2, 3, 5, 8]);
    let faulty_us = faulty.as_micros() as u64;
    let mut happenings: Vec<_> = (0..count)
        .map(|_| {
            // Often while the first hands are shaken.
            let latest = if rng.chance(80) { faulty_us.min(3_000_000) } else { faulty_us };
            let at = rng.below(latest);
            let longest = (faulty_us - at).min(rng.pick(&[5_000, 300_000, 5_000_000, 40_000_000]));
            let lasts = Duration::from_micros(rng.below(longest.max(1)));
            Happening { at: Duration::from_micros(at), lasts, what: event(rng, gateways, mover) }
        })
        .collect();
    happenings.sort_by_key(|happening| happening.at);
    // A clock that goes back, and a process that forgets what it sent: its peers refuse its initiations until the clock
    // has caught up, as the protocol wants it.
    let forgets = |h: &Happening| {
        if let Disturbance::Restart { at } = h.what { Some(at) } else { None }
    };
    let forgetful: Vec<_> = happenings.iter().filter_map(forgets).collect();
    for happening in &mut happenings {
        if let Disturbance::SetWall { at, hours } = &mut happening.what
            && forgetful.contains(at)
        {
            *hours = hours.abs();
        }
    }
    happenings
}

fn event(rng: &mut Rng, gateways: &[Site], mover: Option<usize>) -> Disturbance {
    let count = gateways.len();
    let at = rng.index(count);
    let peer = (at + 1 + rng.index(count - 1)) % count;
    let to = (at + 1 + rng.index(count - 1)) % count;
    match rng.below(28) {
        0..3 => Disturbance::Restart { at },
        // Not a minute or two: whoever sleeps that long and receives only lets its session expire before its peer,
        // whose clock has not jumped, asks for the next. What comes in between is lost, as with every WireGuard.
        3 => Disturbance::Suspend { at, secs: rng.pick(&[0, 15, 200, 10_000]) },
        4 => Disturbance::StopControl { at },
        5 => Disturbance::StopWorker { at, worker: rng.index(gateways[at].workers) },
        6 => Disturbance::StopSocket { at },
        7 => Disturbance::StopTun { at },
        8 => Disturbance::RefuseSupers { at },
        9 => Disturbance::RefuseSends { at },
        10 => Disturbance::FullEvents { at },
        11 => Disturbance::FullQueues { at },
        12..15 => match mover {
            Some(at) if rng.chance(128) => Disturbance::Rebind { at },
            Some(at) => Disturbance::Move { at },
            None => Disturbance::SetEndpoint { at, peer },
        },
        15 => Disturbance::SetWall { at, hours: rng.pick(&[-1, 1]) },
        16 => Disturbance::RemovePeer { at, peer },
        17 => Disturbance::MovePrefix { at, of: peer, to },
        18 => Disturbance::NewKey { at },
        19 => Disturbance::NewPsk { at, peer },
        20 => Disturbance::NewSuite { at, peer },
        21 => Disturbance::Keepalive { at, peer, secs: rng.pick(&[0, 1, 7, 25]) },
        22 if peer.is_multiple_of(2) => Disturbance::StandBy { at },
        22 => Disturbance::LinkDown { at },
        23 => Disturbance::SetMtu { at, mtu: rng.pick(&[1_280, 1_420, 1_500]) },
        24 | 25 => {
            let kind = rng.pick(&[Flood::Junk, Flood::Forged, Flood::Replayed, Flood::Initiations]);
            Disturbance::Flood { at, kind, count: rng.pick(&[10, 100, 600]) }
        }
        26 => Disturbance::Loop { at, peer },
        _ => Disturbance::Nonsense { at, count: rng.between(1, 50) as u16 },
    }
}
