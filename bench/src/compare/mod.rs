//! The same measurements over several implementations, taking turns, so what else the machine does falls on all of
//! them alike. Every measurement has namespaces and gateways of its own, which have done nothing else.

pub mod http;
mod iperf;
mod matrix;
mod measure;
mod measured;
mod progress;
mod resume;
pub mod rrul;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ringfort_testbed::{Context, Error, Result};

use crate::results::model::{self, Plan, Results, Run};
use crate::results::stamp::Stamp;
use crate::results::{self, now, summary};
use crate::scale::Scale;
use crate::setup::contenders::{Choice, Contender};
use crate::setup::{Conditions, SetUp};
use crate::{busy, interrupt, peers, report};
use matrix::{Kind, Settings, Step};
use measured::Measured;
use progress::Progress;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// What is measured, of tcp-1, tcp-n, vxlan-tcp-1, iperf-1, iperf-n, udp-64, udp-1400, latency, rrul (latency under
    /// TCP load), rr-1, rr-16, rr-256, rr-1-1k, rr-16-1k, rr-256-1k (TCP requests and answers of 1 byte or 1 KiB, so
    /// many at once), http, idle; everything unless given, what needs iperf3, nginx or wrk only if that is installed
    #[arg(long, value_delimiter = ',', value_enum, hide_possible_values = true)]
    tests: Vec<Kind>,
    /// How many runs each contender gets of each test; five at least show differences
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How long each run is measured
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds of traffic before it that do not count
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60), value_name = "SECONDS")]
    warm_up: u64,
    /// Connections of tcp-n and iperf-n
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=128))]
    streams: u16,
    /// Packets per second that udp-64 and udp-1400 offer
    #[arg(long, value_name = "PPS", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    udp_rate: u64,
    /// Packets per second that latency sends
    #[arg(long, value_name = "PPS", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    probe_rate: u64,
    /// Congestion control of the TCP tests, of those that sysctl net.ipv4.tcp_available_congestion_control names; the
    /// system's own unless given
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Write the results as compare-TIME.json, after every run, and at the end with plots as compare-TIME.html into
    /// this directory
    #[arg(long, value_name = "DIRECTORY", overrides_with = "output")]
    output: Option<PathBuf>,
    /// Go on with the session in this file, which was interrupted, or of which runs have failed. All other options must
    /// be those of that session. The file is written again, and --output is not looked at
    #[arg(long, value_name = "FILE.json")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    choice: Choice,
}

/// Runs everything, prints the tables, writes the files.
///
/// # Errors
/// The choice makes no sense, or a measurement failed: the others are shown and written nevertheless.
pub fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("network namespaces need root: run this as root (sudo)"));
    }
    let contenders = options.choice.resolve()?;
    let kinds = options.kinds()?;
    options.check_congestion()?;
    let mut results = options.empty_results(&contenders, &kinds)?;
    let file = match (&options.resume, &options.output) {
        (Some(file), _) => {
            results = resume::resumed(file, results)?;
            Some(file.clone())
        }
        (None, Some(directory)) => {
            std::fs::create_dir_all(directory).context(format_args!("making {}", directory.display()))?;
            Some(report::file_in(directory, "compare", &results))
        }
        (None, None) => None,
    };
    measure_all(&mut results, &contenders, &kinds, options, file.as_deref());
    if interrupt::requested() {
        interrupt::wait_for_exit();
    }
    results.finished = now();
    results.summary = summary::summarise(&results);
    report::terminal::print(&results);
    if let Some(file) = &file {
        report::write_both(&results, file)?;
    }
    match results.failures().count() {
        0 => Ok(()),
        failed => Err(Error::new(format!("{failed} of {} measurements failed, see above", results.runs.len()))),
    }
}

impl Options {
    fn settings(&self) -> Settings {
        Settings {
            rounds: self.rounds,
            time: Duration::from_secs(self.seconds),
            warm_up: Duration::from_secs(self.warm_up),
            streams: self.streams,
            udp_rate: self.udp_rate,
            probe_rate: self.probe_rate,
            mtu: self.conditions.mtu(),
        }
    }

    /// What was chosen, or everything; in the order of the matrix, each once.
    fn kinds(&self) -> Result<Vec<Kind>> {
        let missing = |kind: &Kind| kind.programs().iter().find(|program| peers::find(program).is_none());
        let mut kinds = self.tests.clone();
        if kinds.is_empty() {
            kinds = Kind::value_variants().to_vec();
            kinds.retain(|kind| {
                let Some(program) = missing(kind) else { return true };
                let name = kind.name();
                eprintln!("without {name}: {program} is not installed; `ringfort-bench fetch-peers` installs it");
                false
            });
        }
        kinds.sort();
        kinds.dedup();
        if let Some((kind, program)) = kinds.iter().find_map(|kind| Some((kind, missing(kind)?))) {
            let name = kind.name();
            return Err(Error::new(format!("{name} needs {program}: `ringfort-bench fetch-peers` installs it")));
        }
        Ok(kinds)
    }

    /// Refuses before anything is measured what the system does not have.
    fn check_congestion(&self) -> Result<()> {
        let Some(name) = &self.congestion else { return Ok(()) };
        let file = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let available = std::fs::read_to_string(file).context(file)?;
        if available.split_whitespace().any(|one| one == name) {
            return Ok(());
        }
        let available = available.trim();
        Err(Error::new(format!("--congestion {name}: this system has {available}; try `modprobe tcp_{name}`")))
    }

    fn empty_results(&self, contenders: &[Contender], kinds: &[Kind]) -> Result<Results> {
        let mut stamp = Stamp::take();
        stamp.tools = http::versions();
        stamp.tools.extend(iperf::version().map(|version| ("iperf3".to_owned(), version)));
        if let Some(name) = &self.congestion {
            stamp.sysctls.insert("net.ipv4.tcp_congestion_control".to_owned(), name.clone());
        }
        let settings = self.settings();
        Ok(Results {
            schema: model::SCHEMA.to_owned(),
            schema_version: model::SCHEMA_VERSION,
            kind: model::Kind::Compare,
            started: now(),
            finished: String::new(),
            command: std::env::args().collect(),
            stamp,
            plan: Plan {
                rounds: self.rounds,
                seconds: settings.time.as_secs_f64(),
                warm_up_s: settings.warm_up.as_secs_f64(),
                reference: self.choice.reference(contenders)?,
                mtu: Some(self.conditions.mtu()),
                peers: Some(self.conditions.peers()),
            },
            contenders: contenders.iter().map(Contender::describe).collect(),
            tests: kinds.iter().map(|kind| kind.describe(&settings)).collect(),
            runs: Vec::new(),
            summary: Vec::new(),
            stages: Vec::new(),
        })
    }
}

/// Makes all measurements that the results do not have yet; one that fails is noted, and does not keep the others from
/// being made. The file has every run as soon as it was made.
fn measure_all(
    results: &mut Results,
    contenders: &[Contender],
    kinds: &[Kind],
    options: &Options,
    file: Option<&Path>,
) {
    let settings = &options.settings();
    let mut steps = matrix::schedule(settings.rounds, kinds, contenders.len());
    steps.retain(|step| contenders[step.contender].program().is_some() || step.kind.includes_bare());
    steps.retain(|step| !resume::has(results, step.round, &step.kind.name(), &contenders[step.contender].name));
    let expected: Vec<Duration> = steps.iter().map(|step| step.kind.expected(settings)).collect();
    let mut progress = Progress::new(&expected);
    // Time in which nothing was measured is left out.
    let (begun, earlier_s) = (Instant::now(), results.runs.last().map_or(0.0, |run| run.at_s));
    for step in steps {
        if interrupt::requested() {
            break;
        }
        let contender = &contenders[step.contender];
        let name = format!("{} {}", step.kind.name(), contender.name);
        let at_s = ((earlier_s + begun.elapsed().as_secs_f64()) * 1e3).round() / 1e3;
        let others_cpu_percent = busy::others_cpu_percent();
        let outcome = progress.step(&name, step.kind.expected(settings), |count| {
            let set_up = SetUp::new(contender, &options.conditions)?;
            options.congestion.iter().try_for_each(|name| set_up.set_congestion_control(name))?;
            let measured = measure::run(step.kind, &set_up, settings, count)?;
            Ok((measured, set_up.interfaces()))
        });
        if interrupt::requested() {
            break;
        }
        let (outcome, interfaces) = match outcome {
            Ok((measured, interfaces)) => (Ok(measured), interfaces),
            Err(error) => (Err(error), Vec::new()),
        };
        let described = &mut results.contenders[step.contender];
        if described.interfaces.is_empty() {
            described.interfaces = interfaces;
        }
        let run = Run { others_cpu_percent, ..run_of(step, &contender.name, at_s, outcome) };
        progress.say(&format!("{name}: {}", headline(results, &run)));
        results.runs.push(run);
        // What cannot be written now is tried again after the next run, and at the end it is an error.
        if let Some(Err(error)) = file.map(|file| results::write(file, &results.to_json())) {
            progress.say(&error.to_string());
        }
    }
    progress.finish();
}

fn run_of(step: Step, contender: &str, at_s: f64, outcome: Result<Measured>) -> Run {
    let run =
        Run { round: step.round, test: step.kind.name(), contender: contender.to_owned(), at_s, ..Run::default() };
    match outcome {
        Ok(Measured { figures, latency_ns, memory, series }) => Run { figures, latency_ns, memory, series, ..run },
        Err(error) => Run { error: Some(error.to_string()), ..run },
    }
}

/// The first figure of a run.
fn headline(results: &Results, run: &Run) -> String {
    let test = results.tests.iter().find(|test| test.name == run.test);
    let figure = test.and_then(|test| test.figures.first());
    let value = figure.and_then(|figure| run.figures.get(&figure.name).map(|value| (figure.unit, *value)));
    match (value, &run.error) {
        (Some((unit, value)), _) => Scale::of(unit, value).value(value),
        (None, Some(error)) => format!("FAILED: {}", error.lines().next().unwrap_or_default()),
        (None, None) => "nothing".to_owned(),
    }
}
