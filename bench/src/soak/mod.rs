//! Hours of mixed traffic through one tunnel, with figures for each minute: what leaks, slows down or breaks off shows
//! only after a while.
//!
//! Gateways stay up for all of it. In each turn there are new connections of TCP in both directions, UDP of mixed sizes
//! in both directions, and probes of UDP and ICMP.

pub mod drift;
mod plan;
mod turn;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ringfort_testbed::{Error, Result};
use ringfort_traffic::load::RATE_PPS_MAX;
use ringfort_traffic::tcp::STREAMS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::results::files::{self, File, SOAK, check_writable_file};
use crate::results::model::Contender;
use crate::text::{duration, show};
use crate::traffic::device::{self, Device};
use crate::{busy, interrupt};
use drift::Drift;
pub use plan::Plan;
pub use turn::Turn;

/// So many turns in a row may fail.
const FAILURES_MAX: usize = 3;
/// Lines between two heads of the table.
const LINES_PER_HEAD: usize = 20;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// How long all of it takes
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    seconds: u64,
    /// How long the traffic of a turn takes; each turn has its figures
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    every: u64,
    /// TCP connections in each direction
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(STREAMS_MAX)))]
    streams: u16,
    /// UDP packets per second in each direction, of 64, 576 and 1420 bytes, 7 : 4 : 1, in 16 flows
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
    rate: u64,
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

/// Runs all turns, prints a line for each, writes the file.
///
/// # Errors
/// The options make no sense, a gateway has died, or several turns in a row failed.
pub fn run(options: &Options) -> Result<()> {
    check_writable_file(options.resume.as_deref().or(options.json.as_deref()))?;
    options.device.check_sizes(&[turn::SIZE])?;
    let contender = options.device.contender()?;
    let described = contender.describe();
    let plan = options.plan();
    let soak = match &options.resume {
        Some(path) => resumed(path, &plan, &described)?,
        None => Soak { plan, turns: Vec::new(), drifts: Vec::new() },
    };
    let others_cpu_percent = busy::others_cpu_percent();
    let set_up = options.device.set_up(&contender)?;
    println!("{}", device::sentence(&contender, &set_up));
    let head = files::Head { others_cpu_percent, ..files::head(SOAK, described) };
    let mut session = Session { soak, head, path: options.resume.as_deref().or(options.json.as_deref()) };
    let outcome = session.carry(&set_up);
    if interrupt::requested() {
        interrupt::wait_for_exit();
    }
    println!("{}", drift::sentences(&session.soak.turns).join("\n"));
    busy::warn(others_cpu_percent);
    outcome
}

impl Options {
    fn plan(&self) -> Plan {
        Plan {
            turns: self.seconds.div_ceil(self.every),
            every_s: self.every,
            streams: self.streams,
            rate_pps: self.rate,
            mtu: self.device.conditions().mtu(),
            peers: self.device.conditions().peers(),
        }
    }
}

/// The soak in a file, ready to go on.
fn resumed(path: &Path, plan: &Plan, contender: &Contender) -> Result<Soak> {
    let file: File<Soak> = files::resumed(path, SOAK)?;
    let fresh = files::head(SOAK, contender.clone());
    let difference = difference(&file, plan, &fresh);
    match difference {
        Some(difference) => Err(Error::new(format!(
            "--resume: {} is another soak: {difference}. It was begun with `{}`",
            path.display(),
            file.head.command.join(" ")
        ))),
        None => Ok(file.findings),
    }
}

/// What is not the same, if anything.
fn difference(file: &File<Soak>, plan: &Plan, fresh: &files::Head) -> Option<String> {
    if file.findings.plan != *plan {
        return Some("its times, rates, connections, MTU or peers are others".to_owned());
    }
    if file.head.contender != fresh.contender {
        return Some("its contender is another one, or another build".to_owned());
    }
    file.head.stamp.differences(&fresh.stamp).into_iter().next()
}

/// A soak under way.
struct Session<'a> {
    soak: Soak,
    head: files::Head,
    path: Option<&'a Path>,
}

impl Session<'_> {
    fn carry(&mut self, set_up: &crate::compare::setup::SetUp) -> Result<()> {
        let part = self.soak.turns.last().map_or(1, |turn| turn.part + 1);
        let (begun, mut failures, mut lines) = (Instant::now(), 0, 0);
        while (self.soak.turns.len() as u64) < self.soak.plan.turns && !interrupt::requested() {
            let at_s = (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3;
            let turn = turn::measure(set_up, &self.soak.plan, part, at_s)?;
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
    let parts = if parts > 1 { format!(", in {parts} parts with gateways of their own") } else { String::new() };
    format!("{} of {} turns, {} of traffic{parts}", soak.turns.len(), soak.plan.turns, duration(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn the_same_soak_goes_on_and_another_does_not() {
        let file: File<Soak> = serde_json::from_str(&synthetic::soak_file()).unwrap();
        let (plan, fresh) = (file.findings.plan.clone(), files::head(SOAK, file.head.contender.clone()));
        assert_eq!(difference(&file, &plan, &fresh), None);
        let other = Plan { streams: 9, ..plan.clone() };
        assert!(difference(&file, &other, &fresh).unwrap().contains("connections"));
        let contender = Contender { sha256: Some("00".to_owned()), ..fresh.contender.clone() };
        let newer = files::Head { contender, ..fresh };
        assert!(difference(&file, &plan, &newer).unwrap().contains("another build"));
    }
}
