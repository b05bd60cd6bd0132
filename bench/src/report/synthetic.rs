//! Results for tests, with every part of the model in use: `fast` is twice as fast as `wireguard-go`, `same` as fast.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_traffic::back_to_back::{BackToBack, BurstPlan, BurstTrial};
use ringfort_traffic::rfc2544::{LatencyAt, Report};
use ringfort_traffic::rrul::{Probed, Rrul, RrulOutcome};
use ringfort_traffic::search::{Found, SearchOutcome, SearchPlan, Trial};
use ringfort_traffic::tcp::{Bulk, BulkOutcome};
use ringfort_traffic::{Answers, Clocks, Imix, Interval, Leg, Load, Outcome, Percentiles, Route, Size, Traffic};
use serde::Serialize;

use crate::handshakes;
use crate::results::Results;
use crate::results::files::*;
use crate::results::model::*;
use crate::results::stamp::{Interface, Stamp};
use crate::results::{model, summary};
use crate::soak;

const ROUNDS: u32 = 5;

/// A whole session.
pub fn results() -> Results {
    let mut results = Results {
        schema: SCHEMA.to_owned(),
        schema_version: model::SCHEMA_VERSION,
        kind: Kind::Compare,
        started: "2026-01-02T03:04:05Z".to_owned(),
        finished: "2026-01-02T03:14:05Z".to_owned(),
        command: vec!["ringfort-bench".to_owned(), "compare".to_owned()],
        stamp: Stamp::take(),
        plan: Plan {
            rounds: ROUNDS,
            seconds: 3.0,
            warm_up_s: 0.5,
            reference: Some("wireguard-go".to_owned()),
            mtu: Some(1_420),
            peers: Some(1),
        },
        contenders: ["fast", "same", "wireguard-go", "bare"].map(contender).to_vec(),
        tests: vec![throughput_test(), latency_test()],
        runs: runs(),
        summary: Vec::new(),
        stages: stages(),
    };
    results.summary = summary::summarise(&results);
    results
}

fn contender(name: &str) -> Contender {
    let offloads = BTreeMap::from([("tcp-segmentation-offload".to_owned(), "on".to_owned())]);
    let interface = Interface {
        name: "tunnel".to_owned(),
        mtu: Some(1_420),
        queues: Some((2, 2)),
        gso_max: Some(65_536),
        offloads,
    };
    Contender {
        name: name.to_owned(),
        ceiling: name == "bare",
        version: Some(format!("{name} 1.2 <beta> & \"more\"")),
        command: vec![name.to_owned(), "{interface}".to_owned()],
        sha256: Some("0f".repeat(32)),
        interfaces: vec![interface],
    }
}

fn throughput_test() -> Test {
    Test {
        name: "tcp-1".to_owned(),
        title: "TCP, 1 stream".to_owned(),
        detail: "As fast as it goes.".to_owned(),
        figures: vec![
            Figure::new("throughput", "throughput", Unit::MegabitsPerSecond, Better::Higher),
            Figure::new("cpu_per_gb", "CPU per GB", Unit::CpuSecondsPerGigabyte, Better::Lower),
            Figure::new("memory_peak", "peak memory", Unit::Kibibytes, Better::Lower),
        ],
    }
}

fn latency_test() -> Test {
    Test {
        name: "latency".to_owned(),
        title: "Latency".to_owned(),
        detail: "One ping after the other.".to_owned(),
        figures: vec![
            Figure::new("p50", "p50", Unit::Nanoseconds, Better::Lower),
            Figure::new("p99", "p99", Unit::Nanoseconds, Better::Lower),
        ],
    }
}

fn runs() -> Vec<Run> {
    let mut runs = Vec::new();
    for round in 1..=ROUNDS {
        for (number, (contender, factor)) in
            [("fast", 2.0), ("same", 1.0), ("wireguard-go", 1.0), ("bare", 9.0)].into_iter().enumerate()
        {
            // A little noise, of another sign for each contender and round.
            let noise = 1.0 + 0.005 * (f64::from(round) - 3.0) * if number == 1 { -1.0 } else { 1.0 };
            runs.push(throughput_run(round, contender, factor * noise));
            runs.push(latency_run(round, contender, noise / factor));
        }
    }
    runs.push(Run {
        round: 1,
        test: "latency".to_owned(),
        contender: "same".to_owned(),
        error: Some("the tunnel did not <open>\nsecond line".to_owned()),
        ..Run::default()
    });
    runs
}

fn throughput_run(round: u32, contender: &str, speed: f64) -> Run {
    let mut figures = BTreeMap::from([("throughput".to_owned(), 1_000.0 * speed)]);
    let mut memory = Vec::new();
    if contender != "bare" {
        figures.insert("cpu_per_gb".to_owned(), 4.0 / speed);
        figures.insert("memory_peak".to_owned(), 20_000.0 * speed);
        let grown = |step: u32| (20_000.0 * speed * (1.0 - 0.8_f64.powi(step as i32))) as u64;
        let sample = |step| MemorySample { at_s: f64::from(step) * 0.1, sender_kib: grown(step), receiver_kib: 9_000 };
        memory = (0..30).map(sample).collect();
    }
    let points = (0..30).map(|step| (f64::from(step) * 0.1, 1_000.0 * speed + f64::from(step))).collect();
    let title = "throughput".to_owned();
    let series = vec![Series { name: title.clone(), title, unit: Unit::MegabitsPerSecond, points }];
    let (test, contender) = ("tcp-1".to_owned(), contender.to_owned());
    Run { round, test, contender, at_s: f64::from(round), figures, memory, series, ..Run::default() }
}

fn latency_run(round: u32, contender: &str, slowness: f64) -> Run {
    let known = [(0.0, 1.0), (50.0, 1.2), (90.0, 2.0), (99.0, 8.0), (99.9, 40.0), (100.0, 90.0)];
    let latency_ns = known.map(|(percent, factor)| (percent, (slowness * 50_000.0 * factor) as u64)).to_vec();
    let figures =
        BTreeMap::from([("p50", 60_000.0), ("p99", 400_000.0)].map(|(name, ns)| (name.to_owned(), ns * slowness)));
    let (test, contender) = ("latency".to_owned(), contender.to_owned());
    Run { round, test, contender, at_s: f64::from(round) + 0.5, figures, latency_ns, ..Run::default() }
}

fn stages() -> Vec<Stage> {
    let stage = |core: u32, side: Side, (name, total_ns): (&str, u64)| Stage {
        contender: "fast".to_owned(),
        test: "tcp-1".to_owned(),
        side,
        worker: core,
        name: name.to_owned(),
        core,
        count: 1_000,
        total_ns,
        percentiles_ns: vec![(50.0, total_ns / 1_100), (99.0, total_ns / 300), (100.0, total_ns / 100)],
    };
    let steps = [("route", 90_000), ("seal", 2_400_000), ("send", 1_100_000), ("submit", 700_000)];
    let all = [(0, Side::Sender), (1, Side::Sender), (0, Side::Receiver)];
    all.into_iter().flat_map(|(core, side)| steps.map(|step| stage(core, side, step))).collect()
}

/// The text of a file of each other kind: UDP and RFC 2544 between two hosts, TCP, handshakes, stages, floods, a soak,
/// latency under load.
pub fn others() -> Vec<String> {
    let [udp, found] = [udp_outcome(), udp_outcome()];
    let sized = [(64, 100_000), (0, 40_000)].map(|(bytes, ndr)| sized(bytes, ndr, &found));
    vec![
        file(TRAFFIC, Carried::Udp(Udp { outcome: udp, gateways: None })),
        file(TRAFFIC, Carried::Rfc2544(Rfc2544 { asked: vec![], sizes: sized.to_vec() })),
        file(TRAFFIC, Carried::Tcp(bulk_outcome())),
        file(HANDSHAKES, handshakes_outcome()),
        file(STAGES, Stages { stages: stages(), cost: vec![cost()] }),
        file(FLOODS, Floods { attacks: vec![attack()] }),
        soak_file(),
        file(TRAFFIC, Carried::Rrul(Box::new(rrul_outcome()))),
    ]
}

/// A soak of twenty minutes, in which the sender grows by 60 KiB a minute.
pub fn soak_file() -> String {
    let plan = soak::Plan { turns: 30, every_s: 60, streams: 2, rate_pps: 2_000, mtu: 1_420, peers: Some(1) };
    let turn = |number: u64| soak::Turn {
        part: 1,
        at_s: number as f64 * 61.0,
        tcp_megabits_per_s: [3_000.0 + (number % 3) as f64, 2_900.0],
        udp_sent: 240_000,
        udp_lost: number % 4,
        udp_ns: percentiles(100_000),
        trips: Answers { sent: 1_200, lost: 0, times_ns: percentiles(900_000) },
        cpu_percent: Some([80.0, 70.0]),
        memory_kib: Some([20_000 + number * 60, 18_000]),
        drops: BTreeMap::from([("tunnel queue full".to_owned(), [number % 4, 0])]),
        ..soak::Turn::default()
    };
    let turns: Vec<soak::Turn> = (0..20).map(turn).collect();
    file(SOAK, soak::Soak { plan, drifts: soak::drift::drifts(&turns), turns })
}

fn file(schema: &str, findings: impl Serialize) -> String {
    let contender = Contender { name: "a tunnel".to_owned(), ..Contender::default() };
    let [from, to] = [1, 2].map(|host| std::net::IpAddr::from([192, 0, 2, host]));
    let hosts = Some(Hosts { from, to, reflector: Stamp::take() });
    let head = Head { hosts, others_cpu_percent: Some(30.0), ..head(schema, contender) };
    serde_json::to_string(&File { head, findings }).expect("all of it can be written")
}

fn percentiles(p50: u64) -> Option<Percentiles> {
    let [p90, p99, p99_9, p99_99, max] = [2, 4, 8, 16, 32].map(|factor| p50 * factor);
    Some(Percentiles { count: 5_000, min: p50 / 2, mean: p50 as f64, stdev: 3.0, p50, p90, p99, p99_9, p99_99, max })
}

fn udp_outcome() -> Outcome {
    let traffic = Traffic {
        asked_pps: 100_500.0,
        offered_pps: 100_200.0,
        delivered_pps: 100_000.0,
        delivered_mbit_per_s: 51.2,
        duration_s: 5.0,
        planned: 502_500,
        sent: 501_000,
        received: 500_000,
        lost: 1_000,
        loss_ratio: 0.002,
        interval_s: 0.1,
        intervals: (0..50).map(|step| interval(10_000 - step % 3 * 100)).collect(),
        latency_ns: percentiles(40_000),
        lateness_ns: percentiles(20_000),
        ..Traffic::default()
    };
    Outcome {
        load: Load::default(),
        packet_bytes_mean: 64.0,
        total: traffic.clone(),
        legs: vec![Leg { route: Route::Forward, traffic }],
        reflected: None,
        clocks: Some(Clocks { offset_ns: -5_000_000, error_ns: 25_000, drift_ns: -300, round_trip_ns: 48_000 }),
    }
}

fn interval(received: u64) -> Interval {
    Interval { received, latency_ns_mean: 40_000 + received, latency_ns_max: 90_000 }
}

fn back_to_back() -> BackToBack {
    let plan = BurstPlan { rate_pps: 1_000_000, longest: Duration::from_secs(2), resolution: 0.03, repeats: 3 };
    let trial = |packets, lost| BurstTrial { packets, offered_pps: 600_000.0, lost };
    let trials = vec![trial(2_000_000, 1_234_567), trial(1_200, 0), trial(1_230, 7)];
    let (packets, failed_at) = (Some(1_200), Some(1_230));
    BackToBack { plan, packets, failed_at, offered_pps: 600_000.0, buffer_s: Some(0.001), trials }
}

fn sized(bytes: u16, ndr: u64, outcome: &Outcome) -> Sized {
    let size = if bytes == 0 { Size::Imix(Imix::default()) } else { Size::Fixed { bytes } };
    let trial = |rate_pps: u64| Trial {
        rate_pps,
        offered_pps: rate_pps as f64,
        delivered_pps: rate_pps.min(2 * ndr) as f64,
        loss_ratio: rate_pps.saturating_sub(ndr) as f64 / rate_pps as f64 / 100.0,
        generator_limited: false,
    };
    let found = |loss_ratio_allowed, rate| Found {
        loss_ratio_allowed,
        rate_pps: Some(rate),
        failed_at_pps: Some(rate + 2_000),
        generator_limited: false,
    };
    let search = SearchOutcome {
        plan: SearchPlan::default(),
        ndr: found(0.0, ndr),
        pdr: found(0.005, ndr * 2),
        trials: [5, 1, 2, 3, 4].map(|step| trial(ndr * step / 2)).to_vec(),
    };
    let at = |pdr_percent| LatencyAt { pdr_percent, outcome: outcome.clone() };
    let latencies = [10, 50, 90].map(at).to_vec();
    let report = Report { search, latencies, back_to_back: Some(back_to_back()) };
    Sized { size, packet_bytes_mean: size.packet_bytes_mean(), report }
}

fn bulk_outcome() -> BulkOutcome {
    let stream_bytes = vec![1_000_000_000, 1_100_000_000, 1_025_000_000];
    BulkOutcome {
        bulk: Bulk { streams: 3, ..Bulk::default() },
        measured_s: 5.0,
        received_bytes: stream_bytes.iter().sum(),
        megabits_per_s: 5_000.0,
        stream_bytes,
        interval_s: 0.1,
        interval_bytes: (0..50).map(|step| 62_000_000 + step % 7 * 1_000_000).collect(),
        fairness: 0.998,
        retransmits: 17,
        sender_cpu_percent: 90.0,
        receiver_cpu_percent: 80.0,
    }
}

fn rrul_outcome() -> RrulOutcome {
    let probed = |p50| Probed {
        quiet: Answers { sent: 200, lost: 0, times_ns: percentiles(p50) },
        loaded: Answers { sent: 1_000, lost: 3, times_ns: percentiles(p50 * 20) },
        over_time: (0..30).map(|step| (f64::from(step) * 0.2 + 0.1, p50 * if step < 5 { 1 } else { 20 })).collect(),
    };
    let (forth, back) = (bulk_outcome(), bulk_outcome());
    let (udp, icmp) = (probed(80_000), probed(60_000));
    RrulOutcome { rrul: Rrul::default(), forth, back, bytes_all: 9_000_000_000, measured_from_s: 2.0, udp, icmp }
}

fn handshakes_outcome() -> handshakes::Outcome {
    let trips = handshakes::bystander::RoundTrips { times_ns: percentiles(90_000), lost: 0 };
    handshakes::Outcome {
        plan: handshakes::Plan { clients: 10, addresses: 10, handshakes: 50, in_flight: Some(3), rate_per_s: None },
        sessions_per_s: 1_234.5,
        window_s: 2.0,
        sessions: 50,
        given_up: 0,
        repeated: 1,
        cookies: 0,
        foreign: 0,
        refused: 0,
        time_to_session_ns: percentiles(400_000),
        gateway: handshakes::gateway::Cost { cpu_us: 210.0, wakeups: 1.5, threads_us: BTreeMap::new() },
        memory_kib: [Some(20_000), None],
        memory_per_session_bytes: None,
        operator: None,
        bystander: [trips, trips],
        load_cpu_percent: 30.0,
    }
}

fn cost() -> Cost {
    let runs = CostRuns { megabits_per_s: vec![900.0, 950.0], cpu_ns_per_unit: vec![1.5, 1.6] };
    Cost { test: "tcp".to_owned(), off: runs.clone(), on: runs, cpu_percent: 1.0, rate_percent: -0.5 }
}

fn attack() -> Findings {
    Findings {
        attack: "data-50k".to_owned(),
        family: "V6".to_owned(),
        arrives: vec![970.0],
        dropped: vec![1_000.0],
        kept_percent: vec![97.0],
        honest_s: vec![Some(0.01), None],
        cpu_us: 1.2,
        ..Findings::default()
    }
}
