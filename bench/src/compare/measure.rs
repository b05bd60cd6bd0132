//! One measurement: what happens, and the figures that come of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Error, Result};
use ringfort_traffic::tcp::{self, Bulk};
use ringfort_traffic::transactions::{self, Transactions};
use ringfort_traffic::{Endpoint, Load, Outcome, Placement, Size, Traffic, probe, udp};

use super::http::{self, Page};
use super::iperf;
use super::matrix::{Kind, Settings};
use super::measured::Measured;
use super::rrul;
use crate::series;
use crate::setup::{SetUp, Spent, samples};

/// The percentiles of a transaction that are figures.
const OF_TRANSACTIONS: [(&str, f64); 4] = [("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];

/// Measures. `progress` counts something while it goes on.
///
/// # Errors
/// The traffic breaks off, or a gateway dies.
pub fn run(kind: Kind, set_up: &SetUp, settings: &Settings, progress: &AtomicU64) -> Result<Measured> {
    match kind {
        Kind::Tcp1 => bulk(set_up, [set_up.end(0), set_up.end(1)], settings, 1, progress),
        Kind::TcpN => bulk(set_up, [set_up.end(0), set_up.end(1)], settings, settings.streams, progress),
        Kind::VxlanTcp1 => bulk(set_up, set_up.overlay(settings.mtu)?, settings, 1, progress),
        Kind::Iperf1 | Kind::IperfN => foreign_bulk(set_up, settings, kind.connections(settings)),
        Kind::Udp64 => datagrams(set_up, settings, 64, progress),
        Kind::Udp1400 => datagrams(set_up, settings, 1_400, progress),
        Kind::Latency => latency(set_up, settings, progress),
        Kind::Rrul => rrul::run(set_up, settings, progress),
        Kind::Rr1 | Kind::Rr16 | Kind::Rr256 | Kind::Rr1Kib | Kind::Rr16Kib | Kind::Rr256Kib => {
            requests(set_up, settings, kind, progress)
        }
        Kind::Http => pages(set_up, settings, kind),
        Kind::Idle => idle(set_up, settings),
    }
}

fn bulk(
    set_up: &SetUp,
    [from, to]: [Endpoint<'_>; 2],
    settings: &Settings,
    streams: u16,
    progress: &AtomicU64,
) -> Result<Measured> {
    let bulk = Bulk { streams, ramp_up: settings.warm_up, sustain: settings.time, ..Bulk::default() };
    let before = set_up.usages()?;
    let sampler = set_up.sample_memory();
    let outcome = tcp::run(&bulk, from, to, progress)?;
    let mut measured = Measured { memory: samples(sampler)?, ..Measured::default() };
    measured.note("throughput", outcome.megabits_per_s);
    measured.series.push(series::throughput("throughput", "throughput", &outcome, settings.warm_up.as_secs_f64()));
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        // Both from the first byte to the last, the ramp-up included.
        measured.note_cpu_per_gigabyte(&spent, progress.load(Ordering::Relaxed) as f64);
    }
    measured.note_peaks(set_up);
    Ok(measured)
}

fn foreign_bulk(set_up: &SetUp, settings: &Settings, streams: u16) -> Result<Measured> {
    let before = set_up.usages()?;
    let sampler = set_up.sample_memory();
    let report = iperf::tcp(set_up.end(0), set_up.end(1), streams, settings.warm_up, settings.time)?;
    let mut measured = Measured { memory: samples(sampler)?, ..Measured::default() };
    measured.note("throughput", report.megabits_per_s);
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        measured.note_cpu_per_gigabyte(&spent, report.bytes_all as f64);
    }
    measured.note_peaks(set_up);
    Ok(measured)
}

fn datagrams(set_up: &SetUp, settings: &Settings, bytes: u16, progress: &AtomicU64) -> Result<Measured> {
    let load = Load {
        size: Size::Fixed { bytes },
        rate_pps: settings.udp_rate,
        duration: settings.time,
        settle: Duration::from_millis(500),
        ..Load::default()
    };
    warm_up(&load, set_up, settings)?;
    let before = set_up.usages()?;
    let sampler = set_up.sample_memory();
    let outcome = udp::run(&load, set_up.end(0), set_up.end(1), progress)?;
    let mut measured = Measured { memory: samples(sampler)?, ..Measured::default() };
    let total = &outcome.total;
    measured.note("delivered", total.delivered_pps);
    measured.note("offered", total.offered_pps);
    measured.note("loss", total.loss_ratio * 100.0);
    measured.note("throughput", total.delivered_mbit_per_s);
    measured.note_times(total.latency_ns.as_ref(), &[("p50", 50.0), ("p99", 99.0)]);
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        measured.note_cpu_per_gigabyte(&spent, total.received as f64 * outcome.packet_bytes_mean);
        measured.figures.remove("cores_per_gbps");
        note_cpu_per_million(&mut measured, &spent, &outcome);
    }
    expect_no_refusal(total)?;
    measured.note_peaks(set_up);
    Ok(measured)
}

fn latency(set_up: &SetUp, settings: &Settings, progress: &AtomicU64) -> Result<Measured> {
    let probe = |duration, progress: &AtomicU64| {
        probe::round_trips(settings.probe_rate, duration, Placement::default(), set_up.end(0), set_up.end(1), progress)
    };
    if !settings.warm_up.is_zero() {
        probe(settings.warm_up, &AtomicU64::new(0))?;
    }
    let before = set_up.usages()?;
    let outcome = probe(settings.time, progress)?;
    let mut measured = Measured::default();
    let names = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];
    measured.note_times(outcome.total.latency_ns.as_ref(), &names);
    measured.note("loss", outcome.total.loss_ratio * 100.0);
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        note_cpu_per_million(&mut measured, &spent, &outcome);
    }
    expect_no_refusal(&outcome.total)?;
    Ok(measured)
}

fn requests(set_up: &SetUp, settings: &Settings, kind: Kind, progress: &AtomicU64) -> Result<Measured> {
    let transactions = Transactions {
        connections: kind.connections(settings),
        message_bytes: kind.message_bytes(),
        ramp_up: settings.warm_up,
        sustain: settings.time,
        placement: Placement::default(),
    };
    let before = set_up.usages()?;
    let sampler = set_up.sample_memory();
    let outcome = transactions::run(&transactions, set_up.end(0), set_up.end(1), progress)?;
    let mut measured = Measured { memory: samples(sampler)?, ..Measured::default() };
    measured.note("transactions", outcome.per_second);
    measured.note_times(outcome.time_ns.as_ref(), &OF_TRANSACTIONS);
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        // Both from the first to the last, the ramp-up included.
        measured.note_cpu_per_transaction(&spent, progress.load(Ordering::Relaxed) as f64);
    }
    measured.note_peaks(set_up);
    Ok(measured)
}

fn pages(set_up: &SetUp, settings: &Settings, kind: Kind) -> Result<Measured> {
    let page = Page { bytes: kind.message_bytes(), connections: kind.connections(settings) };
    let before = set_up.usages()?;
    let sampler = set_up.sample_memory();
    let report = http::ask(page, set_up.end(0), set_up.end(1), settings.warm_up, settings.time)?;
    let mut measured = Measured { memory: samples(sampler)?, ..Measured::default() };
    measured.note("transactions", report.requests_per_s);
    measured.note_times(Some(&report.time_ns), &OF_TRANSACTIONS);
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        measured.note_cpu_per_transaction(&spent, report.requests_all as f64);
    }
    measured.note_peaks(set_up);
    Ok(measured)
}

/// A packet that the kernel refused is neither lost nor late: of a tunnel that went away, only the time before would
/// count.
fn expect_no_refusal(total: &Traffic) -> Result<()> {
    let Traffic { refused, planned, refusal, .. } = total;
    let reason = refusal.as_deref().unwrap_or("it does not say why");
    match refused {
        0 => Ok(()),
        _ => Err(Error::new(format!("the kernel refused {refused} of {planned} packets: {reason}"))),
    }
}

/// Per packet that crossed the tunnel once: a round trip crosses it twice.
fn note_cpu_per_million(measured: &mut Measured, spent: &Spent, outcome: &Outcome) {
    let packets = (outcome.total.received + outcome.reflected.unwrap_or(0)) as f64;
    measured.note("cpu_per_mpkt", spent.cpu_s_both() / packets * 1e6);
    measured.note("cpu_per_mpkt_sender", spent.cpu_s[0] / packets * 1e6);
    measured.note("cpu_per_mpkt_receiver", spent.cpu_s[1] / packets * 1e6);
}

fn warm_up(load: &Load, set_up: &SetUp, settings: &Settings) -> Result<()> {
    if settings.warm_up.is_zero() {
        return Ok(());
    }
    let load = Load { duration: settings.warm_up, settle: Duration::from_millis(100), ..load.clone() };
    udp::run(&load, set_up.end(0), set_up.end(1), &AtomicU64::new(0)).map(drop)
}

fn idle(set_up: &SetUp, settings: &Settings) -> Result<Measured> {
    // The packets that opened the tunnel, and timers that they started, are over by then.
    thread::sleep(settings.warm_up.max(Duration::from_millis(500)));
    let before = set_up.usages()?;
    let begun = Instant::now();
    thread::sleep(settings.time);
    let elapsed_s = begun.elapsed().as_secs_f64();
    let mut measured = Measured::default();
    if let Some(spent) = set_up.spent_since(before.as_ref())? {
        // Of one gateway: both do the same.
        measured.note("wakeups", spent.wakeups.iter().sum::<u64>() as f64 / 2.0 / elapsed_s);
        measured.note("cpu", spent.cpu_s_both() / 2.0 / elapsed_s * 100.0);
    }
    if let Some([sender, receiver]) = set_up.memory_kib() {
        measured.note("memory", sender.max(receiver) as f64);
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refused_is_an_error() {
        let total = Traffic { planned: 9, sent: 9, ..Traffic::default() };
        expect_no_refusal(&total).unwrap();
        let reason = "Network is unreachable".to_owned();
        let total = Traffic { sent: 5, refused: 4, refusal: Some(reason), ..total };
        let error = expect_no_refusal(&total).unwrap_err().to_string();
        assert_eq!(error, "the kernel refused 4 of 9 packets: Network is unreachable");
    }
}
