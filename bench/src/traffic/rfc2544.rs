//! The rates that a gateway can carry, and the latencies below them.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::Args;
use ringfort_testbed::{Error, Result};
use ringfort_traffic::back_to_back::{BackToBack, BurstPlan};
use ringfort_traffic::load::RATE_PPS_MAX;
use ringfort_traffic::rfc2544::{Ask, LATENCY_PERCENTS, measure};
use ringfort_traffic::search::{Found, SearchPlan};
use ringfort_traffic::{Load, Outcome, Size, udp};

use super::numbers::{nanoseconds, pps, size};
use super::progress::Progress;
use super::resume;
use super::shape::{Inner, Shape, parse_size};
use crate::results::files::{self, Rfc2544, Sized, TRAFFIC, check_writable};
use crate::setup::device::{self, Device};
use crate::text::{duration, grouped, table};
use crate::{busy, results};

/// Between two trials: sockets, rings, and stragglers.
const OVERHEAD: Duration = Duration::from_millis(500);

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Sizes of the inner IP packets in bytes, up to the tunnel's MTU, or `imix`, with commas between them
    #[arg(long, value_delimiter = ',', value_parser = parse_size, default_value = "64,128,256,512,1024,1280,imix")]
    sizes: Vec<Size>,
    #[command(flatten)]
    search: Search,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    inner: Inner,
    #[command(flatten)]
    device: Device,
    /// Write everything that was measured there, every trial included, as JSON after each size (`-` for standard
    /// output, at the end)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Go on with the search in this file, which was interrupted: sizes that it has are not searched again. All other
    /// options must be the same. The file is written again, and --json is not looked at
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// How rates are searched.
#[derive(Args, Debug)]
pub struct Search {
    /// How long each trial sends, in seconds (RFC 2544 wants 60)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    trial_seconds: u64,
    /// Trials at each rate; more than half of them have to pass
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    repeats: u32,
    /// The lowest rate to try, in packets per second and direction
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
    rate_min: u64,
    /// The highest
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=RATE_PPS_MAX))]
    rate_max: u64,
    /// How close the rate that passes and the one that fails have to be, in percent
    #[arg(long, default_value_t = 3.0)]
    resolution_percent: f64,
    /// Loss that the partial-drop rate may have, in percent
    #[arg(long, default_value_t = 0.5)]
    pdr_percent: f64,
    /// How long the longest burst takes at the highest rate (RFC 2544 wants 2 at least); 0 leaves bursts out
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    burst_seconds: u64,
}

/// How rates are searched, and bursts if they are.
pub struct Plans {
    rates: SearchPlan,
    bursts: Option<BurstPlan>,
}

/// Searches for each size and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let plans = options.search.plans(&options.sizes)?;
    let path = options.resume.as_deref().or(options.json.as_deref());
    check_writable(path)?;
    options.device.check_sizes(&options.sizes)?;
    let contender = options.device.contender()?;
    let others_cpu_percent = busy::others_cpu_percent();
    let head = files::Head { others_cpu_percent, ..files::head(TRAFFIC, contender.describe()) };
    let done = match &options.resume {
        Some(path) => resume::searched(path, &options.sizes, &head)?,
        None => Vec::new(),
    };
    let set_up = options.device.set_up(&contender)?;
    let [from, to] = [0, 1].map(|index| set_up.end_of(index, options.inner.family()));
    let write = |path: &Path, sized: &[Sized]| {
        let head = files::Head { finished: results::now(), ..head.clone() };
        let found = Rfc2544 { asked: options.sizes.clone(), sizes: sized.to_vec() };
        files::write(path, head, files::Carried::Rfc2544(found))
    };
    let standard_output = Path::new("-");
    let keep = |sized: &[Sized]| path.filter(|path| *path != standard_output).map_or(Ok(()), |path| write(path, sized));
    let carry = |load: &Load, arrived: &AtomicU64| udp::run(load, from, to, arrived);
    let sized = search(&plans, (&options.sizes, done), &options.shape, carry, keep)?;
    if path == Some(standard_output) {
        return write(standard_output, &sized);
    }
    println!("{}", device::sentence(&contender, &set_up));
    print_table(&plans, &sized);
    busy::warn(others_cpu_percent);
    Ok(())
}

/// Searches for each size that is not `done` yet, with loads of a shape. `carry` carries them, and counts what arrives.
/// `keep` is given all that was found after each size.
pub fn search(
    plans: &Plans,
    (sizes, done): (&[Size], Vec<Sized>),
    shape: &Shape,
    mut carry: impl FnMut(&Load, &AtomicU64) -> Result<Outcome> + Send,
    keep: impl Fn(&[Sized]) -> Result<()> + Sync,
) -> Result<Vec<Sized>> {
    let sizes = sizes.get(done.len()..).unwrap_or_default();
    let mut sized = done;
    let Plans { rates: plan, bursts } = plans;
    let mut trials_each = plan.trials_expected() + LATENCY_PERCENTS.len() as u32;
    trials_each += bursts.as_ref().map_or(0, |_| plan.trials_expected());
    let (step, each) = (plan.trial + OVERHEAD, (plan.trial + OVERHEAD) * trials_each);
    let progress = Progress::new(each * sizes.len() as u32);
    progress.show(|| {
        for (&packet, index) in sizes.iter().zip(0..) {
            let (begin, mut before) = (each * index, each * index);
            let report = measure(plan, bursts.as_ref(), |ask| {
                let what = match ask {
                    Ask::Rate(rate_pps) => format!("at {}/s", pps(rate_pps as f64)),
                    Ask::Burst { packets, .. } => format!("in a burst of {}", grouped(packets)),
                };
                progress.step(before, step, format!("{} bytes {what}", size(packet)));
                // A search that takes longer than expected stands still at its end.
                before = (before + step).min(begin + each);
                carry(&ask.of(shape.load(packet, plan.rate_pps_max, plan.trial)), &progress.arrived)
            })?;
            sized.push(Sized { size: packet, packet_bytes_mean: packet.packet_bytes_mean(), report });
            keep(&sized)?;
        }
        Ok(sized)
    })
}

impl Search {
    /// As the searches themselves want it.
    ///
    /// # Errors
    /// A number is out of its bounds, or there are no sizes.
    pub fn plans(&self, sizes: &[Size]) -> Result<Plans> {
        let plan = SearchPlan {
            rate_pps_min: self.rate_min,
            rate_pps_max: self.rate_max,
            resolution: self.resolution_percent / 100.0,
            repeats: self.repeats,
            pdr_loss_ratio: self.pdr_percent / 100.0,
            trial: Duration::from_secs(self.trial_seconds),
        };
        plan.check()?;
        if sizes.is_empty() {
            return Err(Error::new("no sizes to measure"));
        }
        let bursts = BurstPlan {
            rate_pps: self.rate_max,
            longest: Duration::from_secs(self.burst_seconds),
            resolution: plan.resolution,
            repeats: self.repeats,
        };
        Ok(Plans { rates: plan, bursts: (self.burst_seconds > 0).then_some(bursts) })
    }
}

/// The rates and the latencies of each size.
pub fn print_table(plans: &Plans, sized: &[Sized]) {
    let plan = &plans.rates;
    let at = |percent: u32| format!("at {percent} % of PDR: p50, p99");
    let mut header = vec!["bytes".to_owned(), "NDR/s".into(), "Mbit/s".into(), "PDR/s".into(), "Mbit/s".into()];
    header.extend(LATENCY_PERCENTS.map(at));
    let mut rows = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let mut notes = [false; 2];
    for Sized { size: packet, packet_bytes_mean, report } in sized {
        let mut row = vec![size(*packet)];
        for found in [report.search.ndr, report.search.pdr] {
            row.extend(found_cells(found, *packet_bytes_mean));
            notes[0] |= found.generator_limited;
            notes[1] |= found.rate_pps.is_some() && found.failed_at_pps.is_none();
        }
        for at in &report.latencies {
            let times = at.outcome.total.latency_ns;
            row.push(
                times.map_or("–".into(), |times| format!("{}, {}", nanoseconds(times.p50), nanoseconds(times.p99))),
            );
        }
        rows.add_row(row);
    }
    println!("{rows}");
    println!(
        "NDR: no packet lost; PDR: {} % lost at the most. Found to {} % by binary search, trials of {} s, most of {} \
         have to pass. Rates are packets per second and direction; latency counts from when a packet was due.",
        plan.pdr_loss_ratio * 100.0,
        plan.resolution * 100.0,
        plan.trial.as_secs(),
        plan.repeats
    );
    if notes[0] {
        println!("* The generator could not offer more: the gateway may be faster.");
    }
    if notes[1] {
        println!("≥ Not even the highest rate failed: raise --rate-max.");
    }
    if let Some(bursts) = &plans.bursts {
        print_bursts(bursts, sized);
    }
}

/// The longest bursts.
fn print_bursts(plan: &BurstPlan, sized: &[Sized]) {
    let mut rows = table(&["bytes", "longest burst", "offered/s", "takes", "buffer"]);
    let mut is_slow = false;
    for Sized { size: packet, report, .. } in sized {
        let Some(found) = &report.back_to_back else { continue };
        let BackToBack { packets, failed_at, offered_pps, buffer_s, .. } = found;
        let mark = if failed_at.is_none() { "≥ " } else { "" };
        let time = |seconds: f64| duration(Duration::from_secs_f64(seconds));
        let taken_s = packets.map(|packets| packets as f64 / offered_pps).filter(|seconds| seconds.is_finite());
        let dash = || "–".to_owned();
        rows.add_row([
            size(*packet),
            packets.map_or_else(|| "none".to_owned(), |packets| format!("{mark}{}", grouped(packets))),
            pps(*offered_pps),
            taken_s.map_or_else(dash, time),
            buffer_s.map_or_else(dash, time),
        ]);
        is_slow |= report.search.ndr.rate_pps.is_some_and(|ndr| *offered_pps < ndr as f64 * 1.01);
    }
    println!("{rows}");
    println!(
        "Longest burst without loss, back to back at {}/s or as fast as the generator can (RFC 2544, section 26.4), up \
         to {} s. Buffer: how long what exceeds the NDR can wait (RFC 9004, section 6.4).",
        pps(plan.rate_pps as f64),
        plan.longest.as_secs()
    );
    if is_slow {
        println!("CAUTION: a burst was offered no faster than the NDR: it says nothing about buffers.");
    }
}

/// Rate, and the same in Mbit/s.
fn found_cells(found: Found, packet_bytes_mean: f64) -> [String; 2] {
    let Some(rate) = found.rate_pps else { return ["none".into(), "–".into()] };
    let mark = match found {
        Found { generator_limited: true, .. } => "* ",
        Found { failed_at_pps: None, .. } => "≥ ",
        _ => "",
    };
    let megabits = rate as f64 * packet_bytes_mean * 8.0 / 1e6;
    [format!("{mark}{}", pps(rate as f64)), format!("{megabits:.0}")]
}
