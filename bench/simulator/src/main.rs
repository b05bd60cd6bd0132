//! `scripts/simulate`: runs seeds, and shows what a failure needs.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use ringfort_simulator::{Cuts, Failure, Summary, run, scenario, shrink};

/// Failures after which no more seeds are run.
const FAILURES_MAX: usize = 5;

/// Runs whole gateways on a virtual clock and a virtual network. A seed decides everything that happens in a run.
#[derive(Parser, Debug)]
#[command(name = "scripts/simulate")]
struct Options {
    /// Runs this seed, and says what happens in it.
    #[arg(long, conflicts_with_all = ["range", "time", "packets"])]
    seed: Option<u64>,
    /// Runs these seeds: 0..1000.
    #[arg(long, value_parser = parse_range)]
    range: Option<Range<u64>>,
    /// Runs seeds for so long: 90s, 2m, 1h.
    #[arg(long, value_parser = parse_time)]
    time: Option<Duration>,
    /// Runs seeds until so many inner packets were offered: 1e8.
    #[arg(long, value_parser = parse_count)]
    packets: Option<u64>,
    /// The first seed, where a time or a number of packets is given.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds that run at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// What is left out of the seed's scenario, as a failure says.
    #[arg(long, default_value = "")]
    cut: Cuts,
    /// Shows a failure as it is, without looking for what it needs.
    #[arg(long)]
    whole: bool,
    /// Stops at the first failure.
    #[arg(long)]
    first: bool,
    /// How many of the last steps are shown.
    #[arg(long, default_value_t = 60)]
    steps: usize,
}

/// What all seeds came to.
#[derive(Debug, Default)]
struct Total {
    seeds: u64,
    summary: Summary,
    failures: BTreeMap<u64, Box<Failure>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let begin = Instant::now();
    let total = run_all(&options);
    report(&total, begin.elapsed());
    for (&seed, failure) in &total.failures {
        explain(seed, failure.clone(), &options);
    }
    if total.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs what was asked for.
fn run_all(options: &Options) -> Total {
    // A panic is a failure like any other, and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let seeds = match (options.seed, &options.range) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(range)) => range.clone(),
        (None, None) => options.from..u64::MAX,
    };
    let nothing_asked = options.range.is_none() && options.time.is_none() && options.packets.is_none();
    let time = options.time.or_else(|| nothing_asked.then_some(Duration::from_secs(60)));
    let until = time.map(|time| Instant::now() + time);
    let (next, over) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let failures_max = if options.first { 1 } else { FAILURES_MAX };
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || until.is_some_and(|until| Instant::now() >= until) {
                        return;
                    }
                    let result = run(seed, &options.cut);
                    let Ok(mut total) = total.lock() else { return };
                    total.add(seed, result);
                    let enough = options.packets.is_some_and(|packets| total.summary.offered >= packets);
                    over.fetch_or(enough || total.failures.len() >= failures_max, Ordering::Relaxed);
                }
            });
        }
    });
    total.into_inner().unwrap_or_default()
}

impl Total {
    fn add(&mut self, seed: u64, result: Result<Summary, Box<Failure>>) {
        self.seeds += 1;
        match result {
            Err(failure) => {
                eprintln!("seed {seed} fails: {}", failure.what);
                self.failures.insert(seed, failure);
            }
            Ok(summary) => {
                let sum = &mut self.summary;
                sum.offered += summary.offered;
                sum.delivered += summary.delivered;
                sum.datagrams += summary.datagrams;
                sum.steps += summary.steps;
                sum.lasted += summary.lasted;
                // In no order: seeds end when they end.
                sum.hash ^= summary.hash;
                for (reason, count) in summary.drops {
                    *sum.drops.entry(reason).or_default() += count;
                }
            }
        }
    }
}

fn report(total: &Total, took: Duration) {
    let Summary { offered, delivered, datagrams, hash, lasted, drops, .. } = &total.summary;
    let rate = *offered as f64 / took.as_secs_f64();
    println!(
        "{} seeds, {} failed: {offered} packets offered, {delivered} delivered, {datagrams} datagrams sent, {:.1} \
         hours of their time in {:.1} s of ours, {rate:.0} packets/s",
        total.seeds,
        total.failures.len(),
        lasted.as_secs_f64() / 3600.0,
        took.as_secs_f64(),
    );
    let drops: Vec<_> = drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    println!("dropped: {}", drops.join(", "));
    println!("hash of all steps: {hash:016x}");
}

/// Says what a failure needs, and how to see it again.
fn explain(seed: u64, failure: Box<Failure>, options: &Options) {
    let (cuts, failure) = match options.whole {
        true => (options.cut.clone(), failure),
        false => shrink(seed, options.cut.clone(), failure),
    };
    let Failure { what, trace, steps, after } = &*failure;
    let trace = trace.last(options.steps);
    println!("\nseed {seed} fails after {:.6} s of its time, in step {steps}: {what}", after.as_secs_f64());
    println!("again: scripts/simulate --seed {seed} --whole --cut '{cuts}'\n");
    println!("{}\n{trace}", scenario(seed, &cuts));
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").ok_or("a range is two numbers with .. between them")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
    Ok(number(ends.0)?..number(ends.1)?)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3_600),
        _ => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time"))?;
    Ok(Duration::from_secs(number * factor))
}

fn parse_count(text: &str) -> Result<u64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    Ok(number as u64)
}
