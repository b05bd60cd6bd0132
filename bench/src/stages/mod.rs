//! Where a packet's time goes inside of a gateway. Two gateways take the times of their stages (`ringfort --stages`),
//! with TCP and UDP through the tunnel between them. Each worker gets a table. Another one shows what taking the times
//! costs.

mod cost;
mod times;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::udp::{self, Stream};
use ringfort_testbed::{Family, Result, Tunnel};

use crate::results::files::{self, STAGES, Stages, check_writable_file};
use crate::results::model::{Side, Stage};
use crate::setup::contenders::{Contender, Means};
use crate::text::{grouped, megabits, table};
use crate::{Gateway, stage};
use times::Times;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// How long each transfer runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How often the cost of taking the times is measured, with and without; 0 leaves it out
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    rounds: u32,
    /// The times are taken in one of so many turns of a worker's loop
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    every: u32,
    /// Datagrams per second of the UDP stream
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    udp_rate: u32,
    /// Payload of each of them in bytes
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(16..=65_000))]
    udp_size: u16,
    /// Writes everything into a file of JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    gateway: Gateway,
}

/// What runs through the tunnel.
#[derive(Clone, Copy, Debug)]
enum Load {
    Tcp(Duration),
    Udp(Stream),
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
        }
    }

    fn title(self) -> String {
        match self {
            Self::Tcp(_) => "TCP, one connection".to_owned(),
            Self::Udp(Stream { size, rate, .. }) => {
                format!("UDP, {} datagrams/s of {size} bytes, echoed", grouped(u64::from(rate)))
            }
        }
    }

    /// Runs it from side 0 to side 1, and says how many bytes or datagrams arrived, and at which rate.
    fn run(self, name: &str, tunnel: &Tunnel) -> Result<Carried> {
        let [client, server] = [0, 1].map(|side| (tunnel.namespace(side), tunnel.sides[side].inner(Family::V4)));
        match self {
            Self::Tcp(time) => {
                let describe = |bytes, elapsed: Duration| megabits(bytes as f64 * 8.0 / 1e6 / elapsed.as_secs_f64());
                let report = stage::run(name, time, describe, |progress| {
                    tcp::transfer(client.0, server.0, server.1, Amount::Time(time), progress)
                })?;
                Ok(Carried { units: report.bytes, megabits_per_s: report.megabits_per_s() })
            }
            Self::Udp(plan) => {
                let describe = |count, _| format!("{} datagrams there and back", grouped(count));
                let report =
                    stage::run(name, plan.duration, describe, |progress| udp::stream(client, server, plan, progress))?;
                Ok(Carried { units: report.arrived, megabits_per_s: report.megabits_per_s(plan.size) })
            }
        }
    }
}

/// What came through the tunnel.
#[derive(Clone, Copy, Debug)]
struct Carried {
    /// Bytes of TCP, datagrams of UDP.
    units: u64,
    megabits_per_s: f64,
}

/// Runs it from the namespaces to the tables.
pub fn run(options: &Options) -> Result<()> {
    check_writable_file(options.json.as_deref())?;
    let plain = options.gateway.program()?;
    let timed = plain.clone().with_options(&format!("--stages={}", options.every));
    let time = Duration::from_secs(options.seconds);
    let stream = Stream { size: usize::from(options.udp_size), rate: options.udp_rate, duration: time };
    let loads = [Load::Tcp(time), Load::Udp(stream)];
    let every = options.every;
    println!("Two gateways ({}) that take the times of their stages in one of {every} turns", plain.path.display());
    let mut stages = Vec::new();
    for load in loads {
        let found = observe(load, &timed)?;
        print_stages(&found);
        stages.extend(found);
    }
    print_legend();
    let mut cost = Vec::new();
    if options.rounds > 0 {
        println!("\nWhat taking the times costs, {} runs each, taking turns:", options.rounds);
        cost =
            loads.iter().map(|&load| cost::measure(load, [&plain, &timed], options.rounds)).collect::<Result<_>>()?;
        cost::print(&loads, &cost);
    }
    if let Some(path) = &options.json {
        let contender = Contender { name: "ringfort".to_owned(), means: Means::Program(timed) };
        files::write(path, files::head(STAGES, contender.describe()), Stages { stages, cost })?;
        println!("\n{} holds all of it.", path.display());
    }
    Ok(())
}

fn open_tunnel(program: &ringfort_testbed::daemon::Program) -> Result<Tunnel> {
    let tunnel = Tunnel::connected([program, program], &Peering::default())?;
    tunnel.wait_until_open(0, Duration::from_secs(15))?;
    Ok(tunnel)
}

/// Runs a load, and finds where the time of both gateways went meanwhile.
fn observe(load: Load, program: &ringfort_testbed::daemon::Program) -> Result<Vec<Stage>> {
    let tunnel = open_tunnel(program)?;
    let read = |side: usize| Times::read(&tunnel.sides[side].interface);
    let before = [read(0)?, read(1)?];
    let carried = load.run(load.name(), &tunnel)?;
    let after = [read(0)?, read(1)?];
    println!("\n{}: {}", load.title(), megabits(carried.megabits_per_s));
    let sides = [Side::Sender, Side::Receiver].into_iter().zip(before.iter().zip(after));
    Ok(sides.flat_map(|(side, (before, after))| after.since(before).stages(load.name(), side)).collect())
}

/// One table for each worker that did anything, the sender's first.
fn print_stages(stages: &[Stage]) {
    for worker in stages.chunk_by(|a, b| (a.side, a.worker) == (b.side, b.worker)) {
        let total: u64 = worker.iter().map(|stage| stage.total_ns).sum();
        let busy: u64 = worker.iter().filter(|stage| stage.name != times::WAIT).map(|stage| stage.total_ns).sum();
        let title = format!("{}, worker {}, core {}", worker[0].side.name(), worker[0].worker, worker[0].core);
        let mut rows = table(&[&title, "times", "mean", "p50", "p99", "share", "of what is not waiting"]);
        for stage in worker {
            let share = |whole: u64| format!("{:.1} %", stage.total_ns as f64 * 100.0 / whole.max(1) as f64);
            rows.add_row([
                stage.name.clone(),
                grouped(stage.count),
                microseconds(stage.total_ns as f64 / stage.count as f64),
                microseconds(stage.percentile(50.0) as f64),
                microseconds(stage.percentile(99.0) as f64),
                share(total),
                if stage.name == times::WAIT { "–".to_owned() } else { share(busy) },
            ]);
        }
        println!("{rows}");
    }
}

fn print_legend() {
    println!(
        "A time is one of a train or a batch of them, not of a packet. enter, tun_read, udp_send, udp_receive and \
         tun_write are the kernel's, the others our own. The kernel of this machine carries a packet all the way to \
         the other namespace. So udp_send holds a part of the far side's receiving, and tun_write a part of the far \
         end's TCP."
    );
}

/// `0.42 µs`: stages are short.
fn microseconds(ns: f64) -> String {
    format!("{:.2} µs", ns / 1e3)
}
