//! Scenarios that aim at one thing each, of which chance alone has too little.

use std::time::Duration;

use ringfort_core::constants::{REJECT_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_SPREAD};

use super::added::enlarge;
use super::draw::{question, site, talk};
use super::{Disturbance, Faults, Flood, Happening, LATENCY, START, Scenario, Site, Style, Talk};
use crate::rng::Rng;

/// How many of 256 runs are about nothing else than first answers.
const FIRST_ANSWERS: u64 = 74;
/// How many are each of the others.
const EACH: u64 = 6;
/// The most phantoms of one gateway.
pub(super) const PHANTOMS_MAX: u64 = 6;

/// Aims some scenarios. True: this one is complete.
pub(super) fn aim(rng: &mut Rng, scenario: &mut Scenario) -> bool {
    type Scene = fn(&mut Rng, &mut Scenario);
    const SCENES: [Scene; 13] = [
        speak_into_a_flood,
        speak_unheard,
        be_forgotten,
        ask_at_once,
        sleep_through,
        forge,
        disown,
        nest,
        overtake,
        wear_out,
        oversleep,
        begin_anew,
        wear_out_twice,
    ];
    let Some(place) = rng.below(256).checked_sub(FIRST_ANSWERS) else {
        ask_only(rng, scenario);
        return false;
    };
    let Some(scene) = SCENES.get((place / EACH) as usize) else { return false };
    scene(rng, scenario);
    true
}

/// A run about first answers: nothing is lost on the way, and all that is said is questions and answers. It is over
/// soon, so there are many of them.
fn ask_only(rng: &mut Rng, scenario: &mut Scenario) {
    let count = scenario.gateways.len();
    let Faults { duplication, stray, merge, .. } = scenario.network;
    scenario.network = Faults { duplication, stray, merge, ..Faults::default() };
    scenario.calm = Duration::from_secs(2);
    scenario.talks.clear();
    for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to) {
        if rng.chance(160) {
            scenario.talks.push(question(rng, from, to));
        }
    }
    for happening in &mut scenario.happenings {
        let at = happening.what.gateways()[0];
        happening.what = match happening.what {
            Disturbance::Move { .. } | Disturbance::Rebind { .. } | Disturbance::Restart { .. } => happening.what,
            _ => rng.pick(&[
                Disturbance::Restart { at },
                Disturbance::StopControl { at },
                Disturbance::FullEvents { at },
                Disturbance::StopWorker { at, worker: 0 },
            ]),
        };
    }
}

/// Nothing is wrong, nothing happens, and nobody says anything.
fn clear(scenario: &mut Scenario) {
    scenario.network = Faults::default();
    scenario.happenings.clear();
    scenario.talks.clear();
    scenario.unknown = 0;
    for site in &mut scenario.gateways {
        (site.keepalive_secs, site.phantoms, site.first_counter) = (0, 0, 0);
    }
}

/// Somebody says a first word while packets for peers that nobody reaches take all room to wait. The word needs a
/// handshake, so it waits as well. It must not be the one that makes room.
fn speak_into_a_flood(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    let count = scenario.gateways.len();
    scenario.faulty = Duration::from_millis(rng.between(500, 5_000));
    scenario.calm = Duration::from_secs(10);
    scenario.gateways[0].phantoms = PHANTOMS_MAX as usize;
    for phantom in 0..PHANTOMS_MAX as usize {
        let interval = Duration::from_millis(rng.between(100, 300));
        let flood = Talk { interval, burst: 60, style: Style::Lone, asks: false, ..talk(rng, 0, count + phantom) };
        scenario.talks.push(flood);
    }
    let first = scenario.faulty + Duration::from_millis(rng.between(22_000, 27_000));
    let interval = Duration::from_secs(1);
    scenario.talks.push(Talk { first, interval, burst: 2, style: Style::Lone, asks: false, ..talk(rng, 0, 1) });
}

/// Control has hardly any room for events while somebody says one word on each of several queues, and the other side
/// begins to talk. The words wait, for a session that the other side asks for. All workers must hear of it.
fn speak_unheard(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_millis(rng.between(500, 3_000));
    scenario.calm = Duration::from_secs(2);
    scenario.happenings.push(Happening {
        at: Duration::ZERO,
        lasts: scenario.faulty,
        what: Disturbance::FullEvents { at: 1 },
    });
    for _ in 0..rng.between(1, 3) {
        let first = Duration::from_millis(rng.below(400));
        // What was not heard is told again with the next message of the other side.
        let due = Some(scenario.faulty + Duration::from_millis(5_000) - first);
        scenario.talks.push(Talk { first, until: Some(first), due, burst: 1, ..plain(rng, 1, 0) });
    }
    scenario.talks.push(Talk { first: Duration::from_millis(rng.below(500)), ..plain(rng, 0, 1) });
}

/// Control has hardly any room for events when somebody begins to talk. The other side never says anything, and
/// restarts later. What it remembers is no help: just then the talker's address changes. It can be found again only by
/// whoever talks.
fn be_forgotten(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_millis(rng.between(2_000, 5_000));
    scenario.calm = Duration::from_secs(10);
    let lasts = Duration::from_millis(rng.below(2_000));
    scenario.happenings.push(Happening { at: Duration::ZERO, lasts, what: Disturbance::FullEvents { at: 1 } });
    let at = scenario.faulty - Duration::from_millis(rng.below(1_500));
    for what in [Disturbance::Restart { at: 0 }, Disturbance::Rebind { at: 1 }] {
        scenario.happenings.push(Happening { at, lasts: Duration::ZERO, what });
    }
    scenario.talks.push(Talk { first: Duration::from_millis(rng.below(300)), ..plain(rng, 1, 0) });
}

/// Both sides ask at once, and 120 s later again, while packets are on their way. Before, both are silent, so neither
/// asks when its own session would have it.
fn ask_at_once(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_millis(500);
    scenario.calm = Duration::from_secs(110);
    let first = Duration::from_millis(rng.below(300));
    let silent = REKEY_AFTER_TIME - REKEY_SPREAD - Duration::from_secs(1);
    let (begins, ends) = (Duration::from_millis(120_500), Duration::from_millis(124_500));
    for (from, to) in [(0, 1), (1, 0)] {
        let interval = Duration::from_secs(1);
        scenario.talks.push(Talk { first, until: Some(silent), interval, ..plain(rng, from, to) });
        let interval = Duration::from_millis(rng.between(2, 12));
        scenario.talks.push(Talk { first: begins, until: Some(ends), interval, ..plain(rng, from, to) });
    }
}

/// A worker sleeps while its peer asks for the next session, sends under it, and gives it up for another one after 15 s
/// of silence. All that waits in the socket is for it.
fn sleep_through(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    let workers = scenario.gateways[1].workers;
    scenario.only_delays = true;
    scenario.faulty = Duration::from_secs(150);
    scenario.calm = Duration::from_secs(2);
    // Whenever the session is replaced, the worker sleeps by then, and wakes after one silence of 15 s, before a
    // second.
    let at = Duration::from_millis(rng.between(105_000, 106_000));
    let lasts = Duration::from_millis(rng.between(133_500, 135_000)) - at;
    // Who is asked first puts the session on its last worker.
    let what = Disturbance::StopWorker { at: 1, worker: workers - 1 };
    scenario.happenings.push(Happening { at, lasts, what });
    if rng.chance(128) {
        let mtu = scenario.gateways[1].mtu;
        scenario.happenings.push(Happening {
            at: at + lasts / 2,
            lasts: Duration::ZERO,
            what: Disturbance::SetMtu { at: 1, mtu },
        });
    }
    let interval = Duration::from_millis(rng.between(100, 400));
    scenario.talks.push(Talk { first: Duration::from_millis(rng.below(300)), interval, ..plain(rng, 0, 1) });
}

/// Strangers change bits of what they saw on the way, and send it on from elsewhere. Nobody notices.
fn forge(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.only_delays = true;
    scenario.faulty = Duration::from_secs(7);
    scenario.calm = Duration::from_secs(2);
    let (at, lasts) = (Duration::from_secs(1), Duration::from_secs(5));
    scenario.happenings.push(Happening {
        at,
        lasts,
        what: Disturbance::Flood { at: 0, kind: Flood::Forged, count: 600 },
    });
    for (from, to) in [(0, 1), (1, 0)] {
        let interval = Duration::from_millis(rng.between(50, 300));
        scenario.talks.push(Talk { first: Duration::from_millis(rng.below(300)), interval, ..plain(rng, from, to) });
    }
}

/// A gateway gives what belongs to one peer to another, while the first goes on to send from it.
fn disown(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_secs(5);
    scenario.calm = Duration::from_secs(2);
    while scenario.gateways.len() < 3 {
        scenario.gateways.push(Site { phantoms: 0, keepalive_secs: 0, first_counter: 0, ..site(rng) });
    }
    let (at, lasts) = (Duration::from_secs(2), Duration::from_secs(2));
    scenario.happenings.push(Happening { at, lasts, what: Disturbance::MovePrefix { at: 1, of: 0, to: 2 } });
    for from in [0, 2] {
        let interval = Duration::from_millis(rng.between(50, 300));
        scenario.talks.push(Talk { first: Duration::from_millis(rng.below(300)), interval, ..plain(rng, from, 1) });
    }
}

/// A tunnel in a tunnel: the datagrams of the third and the fourth gateway are packets of the first and the second.
fn nest(rng: &mut Rng, scenario: &mut Scenario) {
    let (network, mut happenings) = (scenario.network, std::mem::take(&mut scenario.happenings));
    clear(scenario);
    // Nobody knows the way to a gateway that moves but by its own tunnel.
    happenings.retain(|happening| {
        matches!(
            happening.what,
            Disturbance::Restart { .. }
                | Disturbance::Suspend { .. }
                | Disturbance::StopControl { .. }
                | Disturbance::StopWorker { .. }
                | Disturbance::StopSocket { .. }
                | Disturbance::StopTun { .. }
                | Disturbance::RefuseSends { .. }
                | Disturbance::FullEvents { .. }
                | Disturbance::FullQueues { .. }
                | Disturbance::RemovePeer { .. }
                | Disturbance::NewPsk { .. }
                | Disturbance::NewSuite { .. }
                | Disturbance::Flood { .. }
        )
    });
    (scenario.network, scenario.happenings, scenario.nested) = (network, happenings, true);
    scenario.calm = Duration::from_millis(rng.pick(&[2_000, 150_000]));
    while scenario.gateways.len() < 4 {
        scenario.gateways.push(Site { phantoms: 0, keepalive_secs: 0, first_counter: 0, ..site(rng) });
    }
    for (number, site) in scenario.gateways.iter_mut().enumerate() {
        site.mtu = if number < 2 { 1_420 } else { 1_280 };
    }
    for (from, to) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
        if from >= 2 || rng.chance(128) {
            scenario.talks.push(Talk { first: Duration::from_millis(rng.below(2_000)), ..plain(rng, from, to) });
        }
    }
}

/// One word follows the other while the first of them wait for a session. Who comes between the moment when there is
/// one and the order to send what waits must not leave before it.
fn overtake(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_millis(1);
    scenario.calm = Duration::from_secs(2);
    scenario.latency = Duration::from_micros(20);
    while scenario.gateways.len() < 4 {
        scenario.gateways.push(Site { phantoms: 0, keepalive_secs: 0, first_counter: 0, ..site(rng) });
    }
    scenario.gateways[0].interrupted = 160;
    // Order is looked at from when the network is in order.
    let begins = scenario.in_order().since(START);
    for to in 1..scenario.gateways.len() {
        // Two workers would change the order of what is on its way when the next session belongs to the other one.
        scenario.gateways[to].workers = 1;
        let first = begins + Duration::from_micros(rng.below(20_000));
        let (until, interval) = (Some(first + Duration::from_millis(10)), Duration::from_micros(rng.between(20, 200)));
        scenario.talks.push(Talk { first, until, interval, ..plain(rng, 0, to) });
    }
    enlarge(scenario);
}

/// Keys are used up within moments, and the next ones must wait until the next handshake may begin.
fn wear_out(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_millis(1);
    scenario.calm = Duration::from_secs(2);
    scenario.gateways[0].first_counter = REJECT_AFTER_MESSAGES - rng.between(30, 300);
    for _ in 0..rng.between(1, 4) {
        // There is a session just before the network is in order. When its key is used up, order is looked at.
        let first = Duration::from_millis(rng.below(20));
        let (until, interval) = (Some(Duration::from_secs(8)), Duration::from_millis(rng.between(20, 100)));
        let burst = rng.between(2, 20) as u16;
        scenario.talks.push(Talk { first, until, interval, burst, ..plain(rng, 0, 1) });
    }
    scenario.talks.push(plain(rng, 0, 1));
}

/// Both ask at once, so one session comes shortly after the other. What waits uses the first one up, and then there is
/// the second, in the middle of a turn.
fn wear_out_twice(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_millis(1);
    scenario.calm = Duration::from_secs(2);
    scenario.wearing = Duration::from_millis(20);
    // The second is confirmed on another worker, a way there and back after the first has come.
    scenario.latency = Duration::from_micros(rng.between(2, 30));
    let site = &mut scenario.gateways[0];
    (site.workers, site.interrupted) = (4, 230);
    site.first_counter = REJECT_AFTER_MESSAGES - rng.between(3, 20);
    // Two workers would change the order of what comes under two sessions.
    scenario.gateways[1].workers = 1;
    let first = scenario.in_order().since(START) + Duration::from_millis(rng.below(10));
    for _ in 0..rng.between(1, 4) {
        let (until, interval) = (Some(first + Duration::from_millis(1)), Duration::from_micros(rng.between(30, 100)));
        let burst = rng.between(4, 24) as u16;
        scenario.talks.push(Talk { first, until, interval, burst, ..plain(rng, 0, 1) });
    }
    let asked = first + Duration::from_micros(rng.below(60));
    scenario.talks.push(Talk { first: asked, until: Some(asked), ..plain(rng, 1, 0) });
    scenario.talks.push(plain(rng, 0, 1));
}

/// The machine sleeps when a session has begun and one worker has not heard of it. When it wakes up, the session has
/// expired, and the order to send what waits is still in the mailbox.
fn oversleep(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_secs(1);
    scenario.calm = Duration::from_secs(2);
    scenario.latency = LATENCY;
    scenario.gateways[0].workers = 2;
    let first = Duration::from_millis(rng.below(100));
    // The answer to the handshake comes to the first worker, what waits is at the second.
    for _ in 0..2 {
        scenario.talks.push(Talk { first, ..plain(rng, 0, 1) });
    }
    // Control asks anew when it wakes up. The worker is faster than the answer.
    let [asked, answered, later] = [15, 120, 125].map(|ms| first + Duration::from_millis(ms));
    let stop = Disturbance::StopWorker { at: 0, worker: 1 };
    scenario.happenings.push(Happening { at: asked, lasts: later - asked, what: stop });
    let (lasts, what) = (Duration::from_millis(1), Disturbance::Suspend { at: 0, secs: 200 });
    scenario.happenings.push(Happening { at: answered, lasts, what });
}

/// A peer that does not answer is removed with all that waits for it, and is added again. Meanwhile the clock was set
/// back.
fn begin_anew(rng: &mut Rng, scenario: &mut Scenario) {
    clear(scenario);
    scenario.faulty = Duration::from_secs(5);
    scenario.calm = Duration::from_secs(2);
    let [heard, back, gone] = [2_500, 1_000, 2_000].map(|ms| Duration::from_millis(ms + rng.below(400)));
    let stop = Happening { at: Duration::ZERO, lasts: heard, what: Disturbance::StopControl { at: 1 } };
    let set = Happening { at: back, lasts: Duration::ZERO, what: Disturbance::SetWall { at: 0, hours: -1 } };
    let lasts = Duration::from_millis(rng.between(1_000, 2_000));
    let remove = Happening { at: gone, lasts, what: Disturbance::RemovePeer { at: 0, peer: 1 } };
    scenario.happenings.extend([stop, set, remove]);
    let interval = Duration::from_millis(rng.between(50, 300));
    scenario.talks.push(Talk { first: Duration::from_millis(rng.below(300)), interval, ..plain(rng, 0, 1) });
}

/// Lone packets without answers.
fn plain(rng: &mut Rng, from: usize, to: usize) -> Talk {
    Talk { asks: false, ..question(rng, from, to) }
}
