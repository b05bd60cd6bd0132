//! Latency while TCP fills the tunnel in both directions.

use std::sync::atomic::AtomicU64;

use ringfort_testbed::Result;
use ringfort_traffic::rrul::{self, Rrul, RrulOutcome};
use ringfort_traffic::{Answers, Placement};

use super::matrix::{Kind, QUIET, RRUL_PROBES_PPS, Settings};
use super::measured::Measured;
use crate::series;
use crate::setup::{SetUp, samples};
use crate::traffic::bulk::percent_lost;

/// Measures.
///
/// # Errors
/// A connection breaks off, or a gateway dies.
pub fn run(set_up: &SetUp, settings: &Settings, progress: &AtomicU64) -> Result<Measured> {
    let rrul = Rrul {
        streams: Kind::Rrul.connections(settings),
        quiet: QUIET,
        ramp_up: settings.warm_up,
        sustain: settings.time,
        probes_pps: RRUL_PROBES_PPS,
        placement: Placement::default(),
    };
    let before = set_up.usages()?;
    let sampler = set_up.sample_memory();
    let outcome = rrul::run(&rrul, set_up.end(0), set_up.end(1), progress)?;
    let mut measured = Measured { memory: samples(sampler)?, series: series::of(&outcome), ..Measured::default() };
    note(&mut measured, &outcome);
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        measured.note_cpu_per_gigabyte(&spent, outcome.bytes_all as f64);
    }
    measured.note_peaks(set_up);
    // What was noted beyond those has no column.
    let named = Kind::Rrul.describe(settings).figures;
    measured.figures.retain(|name, _| named.iter().any(|figure| figure.name == *name));
    Ok(measured)
}

fn note(measured: &mut Measured, outcome: &RrulOutcome) {
    let RrulOutcome { forth, back, udp, icmp, .. } = outcome;
    measured.note("throughput", forth.megabits_per_s + back.megabits_per_s);
    measured.note("throughput_forth", forth.megabits_per_s);
    measured.note("throughput_back", back.megabits_per_s);
    let shared = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];
    note_answers(measured, "quiet_", &udp.quiet, &shared);
    note_answers(measured, "ping_", &icmp.loaded, &shared);
    // The last: the curve of the page is that of UDP under load.
    note_answers(measured, "", &udp.loaded, &shared);
    measured.note("loss", percent_lost(&udp.loaded));
    measured.note("ping_loss", percent_lost(&icmp.loaded));
}

fn note_answers(measured: &mut Measured, prefix: &str, answers: &Answers, percentiles: &[(&str, f64)]) {
    let names: Vec<(String, f64)> = percentiles.iter().map(|(name, at)| (format!("{prefix}{name}"), *at)).collect();
    let names: Vec<(&str, f64)> = names.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    // Probes without any answer have no curve either.
    measured.latency_ns.clear();
    measured.note_times(answers.times_ns.as_ref(), &names);
}
