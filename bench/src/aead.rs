//! Ciphers in memory: every provider that this CPU can run seals and opens the same trains, taking turns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use ringfort_aead::{Operation, PACKET_SIZES, Provider, Shape, Suite, Workload};
use ringfort_testbed::{Context, Error, Result};

use crate::report;
use crate::results::model::{self, Better, Contender, Figure, Kind, Plan, Results, Run, Test, Unit};
use crate::results::stamp::Stamp;
use crate::results::{now, summary};

/// Packets that are worked on between two looks at the clock, at least: with full packets still within a second-level
/// cache.
const PACKETS_PER_PASS: usize = 176;
/// A lone packet, a short burst, a super-packet of 64 KiB at full size.
const COUNTS: [usize; 3] = [1, 8, 44];

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// chacha20-poly1305, which is WireGuard's, or aes-256-gcm
    #[arg(long, default_value_t = Suite::ChaCha20Poly1305)]
    suite: Suite,
    /// How many turns each provider gets; five at least show differences
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Milliseconds that each turn seals, and opens
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    turn: u64,
    /// Whom the others are compared with
    #[arg(long, default_value_t = Provider::AwsLc)]
    reference: Provider,
    /// Write the results as aead-TIME.json and, with plots, as aead-TIME.html into this directory
    #[arg(long, value_name = "DIRECTORY", overrides_with = "output")]
    output: Option<PathBuf>,
}

/// Measures everything, prints the tables, writes the files.
///
/// # Errors
/// The reference cannot run here, or the files cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let providers: Vec<Provider> = Provider::available(options.suite).collect();
    if !providers.contains(&options.reference) {
        let (reference, suite) = (options.reference, options.suite);
        return Err(Error::new(format!("{reference} does not run {suite} on this CPU: choose another --reference")));
    }
    stay_on_one_cpu()?;
    let mut results = options.empty_results(&providers);
    let begun = Instant::now();
    for train in trains() {
        let work = |provider: &Provider| train.work(*provider, options.suite);
        let mut works: Vec<Workload> = providers.iter().map(work).collect();
        // Round 0 warms up caches, branch predictors and clocks, and is not counted.
        for round in 0..=options.rounds {
            for turn in 0..works.len() {
                let position = (turn + round as usize) % works.len();
                let figures = figures(&mut works[position], train, Duration::from_millis(options.turn));
                let run = Run {
                    round,
                    test: train.name(),
                    contender: providers[position].name().to_owned(),
                    at_s: (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3,
                    figures,
                    ..Run::default()
                };
                results.runs.extend((round > 0).then_some(run));
            }
        }
    }
    results.finished = now();
    results.summary = summary::summarise(&results);
    report::terminal::print(&results);
    match &options.output {
        Some(directory) => {
            std::fs::create_dir_all(directory).context(format_args!("making {}", directory.display()))?;
            report::write_both(&results, &report::file_in(directory, "aead", &results))
        }
        None => Ok(()),
    }
}

impl Options {
    fn empty_results(&self, providers: &[Provider]) -> Results {
        let contender = |provider: &Provider| Contender {
            name: provider.name().to_owned(),
            version: Some(format!("{} of this build", self.suite)),
            ..Contender::default()
        };
        Results {
            schema: model::SCHEMA.to_owned(),
            schema_version: model::SCHEMA_VERSION,
            kind: Kind::Aead,
            started: now(),
            finished: String::new(),
            command: std::env::args().collect(),
            stamp: Stamp::take(),
            plan: Plan {
                rounds: self.rounds,
                seconds: self.turn as f64 / 1e3,
                warm_up_s: self.turn as f64 / 1e3,
                reference: Some(self.reference.name().to_owned()),
                ..Plan::default()
            },
            contenders: providers.iter().map(contender).collect(),
            tests: trains().map(|train| describe(train, self.suite)).collect(),
            runs: Vec::new(),
            summary: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Train {
    /// Bytes of plaintext of each packet.
    len: usize,
    /// Packets.
    count: usize,
}

impl Train {
    /// `1420x44`.
    fn name(self) -> String {
        format!("{}x{}", self.len, self.count)
    }

    fn work(self, provider: Provider, suite: Suite) -> Workload {
        let Self { len, count } = self;
        Workload::new(provider, suite, Shape::Train { len, count }, PACKETS_PER_PASS)
    }
}

fn trains() -> impl Iterator<Item = Train> {
    PACKET_SIZES.into_iter().flat_map(|len| COUNTS.map(|count| Train { len, count }))
}

fn describe(train: Train, suite: Suite) -> Test {
    let Train { len, count } = train;
    let rate = |name: &str, title: &str| Figure::new(name, title, Unit::GigabytesPerSecond, Better::Higher);
    let time = |name: &str, title: &str| Figure::new(name, title, Unit::Nanoseconds, Better::Lower);
    Test {
        name: train.name(),
        title: if count == 1 { format!("{len} bytes, alone") } else { format!("{len} bytes, {count} in a train") },
        detail: format!("{suite} over plaintexts of {len} bytes, {count} in each call, on one core, in its caches."),
        figures: vec![
            rate("seal", "sealing"),
            rate("open", "opening"),
            time("seal_ns", "sealing, each packet"),
            time("open_ns", "opening, each packet"),
        ],
    }
}

/// One turn of one provider.
fn figures(work: &mut Workload, train: Train, time: Duration) -> BTreeMap<String, f64> {
    let times = work.turn(time, &[Operation::Seal, Operation::Open]);
    let named = ["seal", "open"].into_iter().zip(times);
    named.flat_map(|(name, ns)| [(name.to_owned(), train.len as f64 / ns), (format!("{name}_ns"), ns)]).collect()
}

/// The last of the CPUs that this process may use: a move in the middle of a turn would be measured.
fn stay_on_one_cpu() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).context("asking for the CPUs that may be used")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu) == Ok(true));
    let last = last.ok_or_else(|| Error::new("no CPU may be used"))?;
    let mut only = CpuSet::new();
    only.set(last).context("choosing a CPU")?;
    sched_setaffinity(this, &only).context(format_args!("staying on CPU {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_and_shape_has_its_figures() {
        for provider in Provider::available(Suite::ChaCha20Poly1305) {
            for train in trains() {
                let mut work = train.work(provider, Suite::ChaCha20Poly1305);
                let figures = figures(&mut work, train, Duration::ZERO);
                assert!(figures.values().all(|value| value.is_finite()), "{figures:?}");
                let described = describe(train, Suite::ChaCha20Poly1305).figures;
                assert!(described.iter().all(|figure| figures.contains_key(&figure.name)));
            }
        }
        assert_eq!(trains().count(), 9);
    }
}
