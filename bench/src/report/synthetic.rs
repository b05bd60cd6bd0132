//! Results for tests, with every part of the model in use: `fast` is twice as fast as `wireguard-go`, `same` as fast.

use std::collections::BTreeMap;

use crate::results::Results;
use crate::results::model::*;
use crate::results::stamp::{Interface, Stamp};
use crate::results::summary;

const ROUNDS: u32 = 5;

/// A whole session.
pub fn results() -> Results {
    let mut results = Results {
        schema: SCHEMA.to_owned(),
        schema_version: SCHEMA_VERSION,
        kind: Kind::Compare,
        started: "2026-01-02T03:04:05Z".to_owned(),
        finished: "2026-01-02T03:14:05Z".to_owned(),
        command: vec!["ringfort-bench".to_owned(), "compare".to_owned()],
        stamp: Stamp::take(),
        plan: Plan { rounds: ROUNDS, seconds: 3.0, warm_up_s: 0.5, reference: Some("wireguard-go".to_owned()) },
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
    let (test, contender) = ("tcp-1".to_owned(), contender.to_owned());
    Run { round, test, contender, at_s: f64::from(round), figures, memory, ..Run::default() }
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
