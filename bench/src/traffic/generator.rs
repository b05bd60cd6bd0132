//! The directing end of a measurement between two hosts, through whatever lies between two addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::{Args, Subcommand};
use ringfort_testbed::{Error, Result};
use ringfort_traffic::hosts::Generator;
use ringfort_traffic::load::{LANES_MAX, RATE_PPS_MAX};
use ringfort_traffic::rrul::{PROBES_PPS_MAX, Rrul};
use ringfort_traffic::tcp::{Bulk, STREAMS_MAX};
use ringfort_traffic::{Direction, Load, Outcome, Size};

use super::numbers::{nanoseconds, pps, size};
use super::progress::Progress;
use super::rfc2544::{Search, print_table, search};
use super::shape::{Seats, Shape, parse_size};
use super::udp::{generator, print_tables};
use super::{allow_open_files, bulk};
use crate::busy;
use crate::results::files::{self, Carried, Hosts, Rfc2544, SOAK, TRAFFIC, Udp, check_writable, check_writable_file};
use crate::results::model::Contender;
use crate::results::stamp::Stamp;
use crate::soak::{Asked, FarEnd, Pace, Place, Session};

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Where the reflector listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: SocketAddr,
    /// The address of this host from which traffic leaves
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// The address of the reflector's host to which it goes. What lies between the two is measured
    #[arg(long, value_name = "ADDRESS")]
    to: IpAddr,
    /// What is measured, for the file of results
    #[arg(long, value_name = "TEXT", default_value = "existing tunnel")]
    name: String,
    /// Write everything that was measured there, as JSON (`-` for standard output)
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    #[command(flatten)]
    Once(Once),
    /// Hours of mixed traffic, with figures for each minute, and what drifts meanwhile. `--json` is written after every
    /// turn. A turn that fails is noted, and the reflector is connected to anew.
    Soak {
        #[command(flatten)]
        pace: Pace,
        /// The longest packet that the way takes. UDP packets are 1420 bytes at the most
        #[arg(long, value_name = "BYTES", default_value_t = 1_420)]
        #[arg(value_parser = clap::value_parser!(u32).range(1_280..=9_216))]
        mtu: u32,
        /// Go on with the soak in this file, which was interrupted. All other options must be the same. The file is
        /// written again, and --json is not looked at
        #[arg(long, value_name = "FILE")]
        resume: Option<PathBuf>,
    },
}

/// What is over when it has been measured.
#[derive(Debug, Subcommand)]
enum Once {
    /// One UDP load at a set rate, every packet accounted for. One-way times have the error of two clocks, which is
    /// stated; `--direction round-trip` has none.
    Udp {
        /// Packets per second, for each direction
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
        rate: u64,
        /// Size of the IP packets in bytes, or `imix` (64, 576 and 1420 bytes, 7 : 4 : 1)
        #[arg(long, default_value = "64", value_parser = parse_size)]
        size: Size,
        /// How long packets are sent
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        #[command(flatten)]
        shape: Box<Shape>,
    },
    /// Round trips of 64-byte packets at a low rate, with their percentiles.
    Latency {
        /// Packets per second
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
        rate: u64,
        /// How long packets are sent
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        #[command(flatten)]
        seats: Seats,
    },
    /// TCP connections to the reflector, as fast as they go; it verifies every byte.
    Tcp {
        /// Connections at once
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(STREAMS_MAX)))]
        streams: u16,
        /// How long is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        /// Seconds of traffic before it that do not count
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u64).range(0..=600))]
        warm_up: u64,
        /// Sending and receiving threads, among which connections are divided
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(LANES_MAX)))]
        lanes: u16,
        #[command(flatten)]
        seats: Seats,
    },
    /// Round trips of UDP and of ICMP echo while TCP fills the way in both directions (flent's RRUL).
    Rrul {
        /// TCP connections in each direction
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(STREAMS_MAX)))]
        streams: u16,
        /// How long is measured
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_000))]
        seconds: u64,
        /// Seconds of probes alone before it
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=60))]
        quiet: u64,
        /// Seconds of traffic before it that do not count
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u64).range(0..=300))]
        warm_up: u64,
        /// Probes of each kind in a second
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=PROBES_PPS_MAX))]
        probes: u64,
        #[command(flatten)]
        seats: Seats,
    },
    /// The rates that get through without loss and with little (NDR, PDR), and the latencies below them.
    Rfc2544 {
        /// Sizes of the IP packets in bytes, or `imix`, with commas between them
        #[arg(long, value_delimiter = ',', value_parser = parse_size,
            default_value = "64,128,256,512,1024,1280,imix")]
        sizes: Vec<Size>,
        #[command(flatten)]
        search: Search,
        #[command(flatten)]
        shape: Box<Shape>,
    },
}

/// Measures, and prints the tables.
pub fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("buffers that lose nothing need root: run this as root (sudo), on both hosts"));
    }
    let json = options.json.as_deref();
    match &options.work {
        Work::Soak { resume, .. } => check_writable_file(resume.as_deref().or(json))?,
        _ => check_writable(json)?,
    }
    allow_open_files()?;
    if let Work::Once(Once::Rfc2544 { sizes, search, .. }) = &options.work {
        search.plans(sizes)?;
    }
    let others_cpu_percent = busy::others_cpu_percent();
    let version = env!("CARGO_PKG_VERSION");
    let mut link = Generator::connect(options.control, options.from, options.to, version)?;
    let hosts = Hosts {
        from: options.from,
        to: options.to,
        reflector: serde_json::from_value::<Stamp>(link.host().clone()).unwrap_or_default(),
    };
    let contender = Contender { name: options.name.clone(), ..Contender::default() };
    let head = |schema| files::Head { hosts: Some(hosts), others_cpu_percent, ..files::head(schema, contender) };
    let between = format!("Between {} and {}: {}", options.from, options.to, options.name);
    let once = match &options.work {
        Work::Once(once) => once,
        Work::Soak { pace, mtu, resume } => {
            let (plan, head, resume) = (pace.plan(*mtu, None), head(SOAK), resume.as_deref());
            let session = Session::begin(Asked { plan, head, json, resume })?;
            println!("{between}");
            let (control, ends) = (options.control, [options.from, options.to]);
            return session.run(&mut Place::Hosts(FarEnd { control, ends, generator: Some(link) }));
        }
    };
    let carried = once.carry(&mut link)?;
    if json != Some("-".as_ref()) {
        println!("{between}");
        once.print(&carried);
        busy::warn(others_cpu_percent);
    }
    json.map_or(Ok(()), |path| files::write(path, head(TRAFFIC), carried))
}

impl Once {
    fn carry(&self, link: &mut Generator) -> Result<Carried> {
        match self {
            Self::Udp { rate, size, seconds, shape } => {
                let load = shape.load(*size, *rate, Duration::from_secs(*seconds));
                udp(link, &load).map(carried)
            }
            Self::Latency { rate, seconds, seats } => {
                let (duration, placement) = (Duration::from_secs(*seconds), seats.placement(1));
                let direction = Direction::RoundTrip;
                let load = Load { rate_pps: *rate, duration, direction, placement, ..Load::default() };
                udp(link, &load).map(carried)
            }
            Self::Tcp { streams, seconds, warm_up, lanes, seats } => {
                let (ramp_up, sustain) = (Duration::from_secs(*warm_up), Duration::from_secs(*seconds));
                let bulk =
                    Bulk { streams: *streams, ramp_up, sustain, verify: true, placement: seats.placement(*lanes) };
                let progress = Progress::new(ramp_up + sustain);
                progress.step(Duration::ZERO, ramp_up + sustain, format!("{streams} connections"));
                progress.show(|| link.tcp(&bulk)).map(Carried::Tcp)
            }
            Self::Rrul { streams, seconds, quiet, warm_up, probes, seats } => {
                let [quiet, ramp_up, sustain] = [*quiet, *warm_up, *seconds].map(Duration::from_secs);
                let (probes_pps, placement) = (*probes, seats.placement(1));
                let rrul = Rrul { streams: *streams, quiet, ramp_up, sustain, probes_pps, placement };
                let time = quiet + ramp_up + sustain;
                let progress = Progress::new(time);
                progress.step(Duration::ZERO, time, format!("{streams} connections each way"));
                progress.show(|| link.rrul(&rrul)).map(Box::new).map(Carried::Rrul)
            }
            Self::Rfc2544 { sizes, search: wanted, shape } => {
                let carry = |load: &Load, arrived: &AtomicU64| link.udp(load, arrived);
                let sized = search(&wanted.plans(sizes)?, (sizes, Vec::new()), shape, carry, |_| Ok(()))?;
                Ok(Carried::Rfc2544(Rfc2544 { asked: sizes.clone(), sizes: sized }))
            }
        }
    }

    fn print(&self, carried: &Carried) {
        match (self, carried) {
            (_, Carried::Udp(Udp { outcome, .. })) => {
                print_tables(&outcome.load, outcome);
                print_clocks(outcome);
                println!("{}", generator(&outcome.total));
            }
            (_, Carried::Tcp(outcome)) => bulk::print(outcome),
            (_, Carried::Rrul(outcome)) => bulk::print_rrul(outcome),
            (Self::Rfc2544 { sizes, search, .. }, Carried::Rfc2544(found)) => {
                if let Ok(plans) = search.plans(sizes) {
                    print_table(&plans, &found.sizes);
                }
                let outcomes = found.sizes.iter().flat_map(|sized| &sized.report.latencies).map(|at| &at.outcome);
                // The worst of them speaks for all.
                let worst = outcomes.max_by_key(|outcome| outcome.clocks.map_or(0, |clocks| clocks.error_ns));
                worst.into_iter().for_each(print_clocks);
            }
            // No other work finds rates.
            (_, Carried::Rfc2544(_)) => {}
        }
    }
}

fn udp(link: &mut Generator, load: &Load) -> Result<Outcome> {
    let progress = Progress::new(load.duration);
    progress.step(Duration::ZERO, load.duration, format!("{} of {}", pps(load.rate_pps as f64), size(load.size)));
    progress.show(|| link.udp(load, &progress.arrived))
}

fn carried(outcome: Outcome) -> Carried {
    Carried::Udp(Udp { outcome, gateways: None })
}

/// How far one-way times may be wrong.
fn print_clocks(outcome: &Outcome) {
    let Some(clocks) = outcome.clocks else { return };
    println!(
        "One-way times compare two clocks, and may be wrong by {} in either direction (the shortest round trip of the \
         control connection took {}, the clocks drifted by {}).",
        nanoseconds(clocks.error_ns),
        nanoseconds(clocks.round_trip_ns),
        nanoseconds(clocks.drift_ns.unsigned_abs())
    );
    if outcome.total.latency_ns.is_some_and(|times| times.p50 < clocks.error_ns) {
        println!("CAUTION: that is more than the times themselves: `--direction round-trip` needs one clock only.");
    }
}
