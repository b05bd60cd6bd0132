//! One load at a set rate.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringfort_testbed::Result;
use ringfort_traffic::load::RATE_PPS_MAX;
use ringfort_traffic::{Load, Outcome, Size, Traffic, udp};

use super::numbers::{percentiles, pps, size, way};
use super::progress::Progress;
use super::shape::{Inner, Shape, parse_size};
use crate::busy;
use crate::results::files::{self, Gateways, TRAFFIC, check_writable};
use crate::setup::device::{self, Device};
use crate::setup::gateways::Before;
use crate::text::{grouped, megabits, table};

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Packets per second, for each direction
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
    rate: u64,
    /// Size of the inner IP packets in bytes, up to the tunnel's MTU, or `imix` (64, 576 and 1420 bytes, 7 : 4 : 1)
    #[arg(long, default_value = "64", value_parser = parse_size)]
    size: Size,
    /// How long packets are sent
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    inner: Inner,
    #[command(flatten)]
    device: Device,
    /// Write everything that was measured there, as JSON (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Carries the load and prints the tables.
pub fn run(options: &Options) -> Result<()> {
    let load = options.shape.load(options.size, options.rate, Duration::from_secs(options.seconds));
    check_writable(options.json.as_deref())?;
    options.device.check_sizes(&[options.size])?;
    let contender = options.device.contender()?;
    let others_cpu_percent = busy::others_cpu_percent();
    let set_up = options.device.set_up(&contender)?;
    let [from, to] = [0, 1].map(|index| set_up.end_of(index, options.inner.family()));
    load.check(from.address, to.address)?;
    let progress = Progress::new(load.duration);
    progress.step(Duration::ZERO, load.duration, format!("{} of {}", pps(load.rate_pps as f64), size(load.size)));
    let before = Before::of(&set_up)?;
    let outcome = progress.show(|| udp::run(&load, from, to, &progress.arrived))?;
    let gateways = Gateways::since(&before, &set_up)?;
    if let Some(path) = &options.json {
        let findings = files::Carried::Udp(files::Udp { outcome: outcome.clone(), gateways: gateways.clone() });
        let head = files::Head { others_cpu_percent, ..files::head(TRAFFIC, contender.describe()) };
        files::write(path, head, findings)?;
    }
    if options.json.as_deref() != Some("-".as_ref()) {
        println!("{}", device::sentence(&contender, &set_up));
        print_tables(&load, &outcome);
        if let Some(gateways) = gateways {
            gateways.print(outcome.total.duration_s);
        }
        println!("{}", generator(&outcome.total));
        busy::warn(others_cpu_percent);
    }
    Ok(())
}

/// The tables of a load.
pub fn print_tables(load: &Load, outcome: &Outcome) {
    let flows =
        if load.flows == 1 { "one flow".to_owned() } else { format!("{} flows", grouped(u64::from(load.flows))) };
    let what = format!("IP packets of {} bytes, {flows}", size(load.size));
    let mut rows = table(&[&what, "asked/s", "offered/s", "delivered/s", "throughput", "lost"]);
    let mut times = table(&["time from when a packet was due", "p50", "p90", "p99", "p99.9", "longest"]);
    let mut flaws = table(&["arrived otherwise", "repeated", "reordered", "farthest behind", "damaged", "foreign"]);
    for leg in &outcome.legs {
        let (name, traffic) = (way(leg.route), &leg.traffic);
        rows.add_row([
            name.to_owned(),
            pps(traffic.asked_pps),
            pps(traffic.offered_pps),
            pps(traffic.delivered_pps),
            megabits(traffic.delivered_mbit_per_s),
            format!("{:.4} %", traffic.loss_ratio * 100.0),
        ]);
        let received = format!("{name}, until it was received");
        let sent = format!("{name}, until it was sent");
        times.add_row(std::iter::once(received).chain(percentiles(traffic.latency_ns)));
        times.add_row(std::iter::once(sent).chain(percentiles(traffic.lateness_ns)));
        let distance = traffic.reordering_distance_packets_max;
        let counts = [traffic.duplicated, traffic.reordered, distance, traffic.damaged, traffic.foreign];
        if counts.iter().any(|&count| count > 0) {
            flaws.add_row(std::iter::once(name.to_owned()).chain(counts.map(grouped)));
        }
    }
    println!("{rows}\n{times}");
    if !flaws.is_empty() {
        println!("{flaws}");
    }
}

/// What a reader must know about the generator.
pub fn generator(total: &Traffic) -> String {
    let mut text = format!(
        "The generator took {:.0} % of a CPU to send and {:.0} % to receive.",
        total.sender_cpu_percent, total.receiver_cpu_percent
    );
    if let Some(refusal) = &total.refusal {
        text += &format!(" The kernel refused {} packets: {refusal}.", grouped(total.refused));
    }
    if total.generator_limited {
        text += &format!(
            "\nIt could not offer what was asked: {} of {} packets were sent. The offered rate is its own limit.",
            grouped(total.sent),
            grouped(total.planned)
        );
    }
    text
}
