//! Hours of mixed traffic through one tunnel, with figures for each minute: what leaks, slows down or breaks off shows
//! only after a while.
//!
//! Gateways stay up for all of it. In each turn there are new connections of TCP in both directions, UDP of mixed sizes
//! in both directions, and probes of UDP and ICMP. The same goes between two hosts ([`Place`]).

pub mod drift;
mod place;
mod plan;
mod turn;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ringfort_testbed::{Error, Result};
use ringfort_traffic::load::RATE_PPS_MAX;
use ringfort_traffic::tcp::STREAMS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::results::files::{self, File, SOAK, check_writable_file};
use crate::setup::device::{self, Device};
use crate::text::{duration, show};
use crate::{busy, interrupt};
use drift::Drift;
pub use place::{FarEnd, Place};
pub use plan::Plan;
pub use turn::Turn;

/// So many turns in a row may fail.
const FAILURES_MAX: usize = 3;
/// Lines between two heads of the table.
const LINES_PER_HEAD: usize = 20;
/// How often a soak that waits looks whether it was interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    device: Device,
    /// Write the figures there, as JSON, after every turn
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Go on with the soak in this file, which was interrupted. Its gateways are gone: new ones are started. All other
    /// options must be the same. The file is written again, and --json is not looked at
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// What runs, and how long.
#[derive(Args, Debug)]
pub struct Pace {
    /// How long all of it takes
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    seconds: u64,
    /// How long the traffic of a turn takes; each turn has its figures
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    every: u64,
    /// TCP connections in each direction
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(STREAMS_MAX)))]
    streams: u16,
    /// UDP packets per second in each direction, of 64, 576 and 1420 bytes, 7 : 4 : 1, in 16 flows. The longest are no
    /// longer than the MTU
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
    rate: u64,
}

/// What files of a soak hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Soak {
    /// What was asked for.
    pub plan: Plan,
    /// In their order.
    pub turns: Vec<Turn>,
    /// What grew or shrank, beyond what chance explains; follows from `turns`.
    pub drifts: Vec<Drift>,
}

/// A soak that is asked for.
pub struct Asked<'a> {
    /// What.
    pub plan: Plan,
    /// How its file begins.
    pub head: files::Head,
    /// Where the file is.
    pub json: Option<&'a Path>,
    /// The file with which it goes on.
    pub resume: Option<&'a Path>,
}

/// Runs all turns, prints a line for each, writes the file.
///
/// # Errors
/// The options make no sense, a gateway has died, or several turns in a row failed.
pub fn run(options: &Options) -> Result<()> {
    let (json, resume) = (options.json.as_deref(), options.resume.as_deref());
    check_writable_file(resume.or(json))?;
    let contender = options.device.contender()?;
    let conditions = options.device.conditions();
    let plan = options.pace.plan(conditions.mtu(), Some(conditions.peers()));
    let others_cpu_percent = busy::others_cpu_percent();
    let head = files::Head { others_cpu_percent, ..files::head(SOAK, contender.describe()) };
    let session = Session::begin(Asked { plan, head, json, resume })?;
    let set_up = options.device.set_up(&contender)?;
    println!("{}", device::sentence(&contender, &set_up));
    session.run(&mut Place::SetUp(&set_up))
}

impl Pace {
    /// In a tunnel that takes packets of `mtu` bytes.
    pub fn plan(&self, mtu: u32, peers: Option<u32>) -> Plan {
        Plan {
            turns: self.seconds.div_ceil(self.every),
            every_s: self.every,
            streams: self.streams,
            rate_pps: self.rate,
            mtu,
            peers,
        }
    }
}

/// The soak in a file, ready to go on.
fn resumed(path: &Path, plan: &Plan, fresh: &files::Head) -> Result<Soak> {
    let file: File<Soak> = files::resumed(path, SOAK)?;
    match difference(&file, plan, fresh) {
        Some(difference) => Err(files::is_another("soak", path, &difference, &file.head.command)),
        None => Ok(file.findings),
    }
}

/// What is not the same, if anything.
fn difference(file: &File<Soak>, plan: &Plan, fresh: &files::Head) -> Option<String> {
    if file.findings.plan != *plan {
        return Some("its times, rates, connections, MTU or peers are others".to_owned());
    }
    file.head.difference(fresh)
}

/// A soak under way.
pub struct Session<'a> {
    soak: Soak,
    head: files::Head,
    path: Option<&'a Path>,
}

impl<'a> Session<'a> {
    /// A new one, or one that goes on.
    ///
    /// # Errors
    /// The file is none of a soak, or of another one.
    pub fn begin(asked: Asked<'a>) -> Result<Self> {
        let Asked { plan, head, json, resume } = asked;
        let soak = match resume {
            Some(path) => resumed(path, &plan, &head)?,
            None => Soak { plan, turns: Vec::new(), drifts: Vec::new() },
        };
        Ok(Self { soak, head, path: resume.or(json) })
    }

    /// Carries it, and says at the end what drifts.
    ///
    /// # Errors
    /// A gateway has died, or several turns in a row failed.
    pub fn run(mut self, place: &mut Place<'_>) -> Result<()> {
        let outcome = self.carry(place);
        if interrupt::requested() {
            interrupt::wait_for_exit();
        }
        println!("{}", drift::sentences(&self.soak.turns).join("\n"));
        busy::warn(self.head.others_cpu_percent);
        outcome
    }

    fn carry(&mut self, place: &mut Place<'_>) -> Result<()> {
        let part = self.soak.turns.last().map_or(1, |turn| turn.part + 1);
        let (begun, mut failures, mut lines) = (Instant::now(), 0, 0);
        while (self.soak.turns.len() as u64) < self.soak.plan.turns && !interrupt::requested() {
            let at_s = (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3;
            let next = Instant::now() + Duration::from_secs(self.soak.plan.every_s);
            let turn = turn::measure(place, &self.soak.plan, part, at_s)?;
            if interrupt::requested() {
                break;
            }
            if lines % LINES_PER_HEAD == 0 {
                println!("{}", turn::head());
            }
            lines += 1;
            show(turn.line(self.soak.turns.len() + 1));
            failures = if turn.error.is_some() { failures + 1 } else { 0 };
            let last_error = turn.error.clone();
            self.soak.turns.push(turn);
            self.write()?;
            if failures == FAILURES_MAX {
                let error = last_error.unwrap_or_default();
                return Err(Error::new(format!("{FAILURES_MAX} turns in a row failed, the last one so: {error}")));
            }
            let is_last = self.soak.turns.len() as u64 >= self.soak.plan.turns;
            // One that fails at once takes its time all the same: what broke may come back before the next one.
            while failures > 0 && !is_last && Instant::now() < next && !interrupt::requested() {
                thread::sleep(LOOK_EVERY);
            }
        }
        let failed = self.soak.turns.iter().filter(|turn| turn.error.is_some()).count();
        if failed > 0 {
            return Err(Error::new(format!("{failed} of {} turns failed", self.soak.turns.len())));
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.soak.drifts = drift::drifts(&self.soak.turns);
        let Some(path) = self.path else { return Ok(()) };
        self.head.finished = crate::results::now();
        files::write(path, self.head.clone(), self.soak.clone())
    }
}

/// For people: how long a soak was, of how many turns.
pub fn extent(soak: &Soak) -> String {
    let all = Duration::from_secs(soak.plan.every_s * soak.turns.len() as u64);
    let parts = soak.turns.last().map_or(0, |turn| turn.part);
    let own = if soak.plan.peers.is_some() { " with gateways of their own" } else { "" };
    let parts = if parts > 1 { format!(", in {parts} parts{own}") } else { String::new() };
    format!("{} of {} turns, {} of traffic{parts}", soak.turns.len(), soak.plan.turns, duration(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::results::model::Contender;

    #[test]
    fn the_same_soak_goes_on_and_another_does_not() {
        let file: File<Soak> = serde_json::from_str(&synthetic::soak_file()).unwrap();
        let plan = file.findings.plan.clone();
        let hosts = file.head.hosts.clone();
        let fresh = files::Head { hosts, ..files::head(SOAK, file.head.contender.clone()) };
        assert_eq!(difference(&file, &plan, &fresh), None);
        let other = Plan { streams: 9, ..plan.clone() };
        assert!(difference(&file, &other, &fresh).unwrap().contains("connections"));
        let contender = Contender { sha256: Some("00".to_owned()), ..fresh.contender.clone() };
        let newer = files::Head { contender, ..fresh.clone() };
        assert!(difference(&file, &plan, &newer).unwrap().contains("another build"));
        assert!(difference(&file, &plan, &files::Head { hosts: None, ..fresh }).unwrap().contains("other hosts"));
    }
}
