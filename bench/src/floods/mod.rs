//! A gateway that somebody floods, while it carries a TCP transfer of one peer, and another peer begins again and
//! again. Each attack is compared with the same one that nftables drops in front of the gateway, taking turns.

mod attack;
mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ringfort_testbed::process::Usage;
use ringfort_testbed::{Context, Daemon, Error, Family, Result, uapi};
use ringfort_traffic::Endpoint;
use ringfort_traffic::tcp::{self, Bulk};
use serde::Serialize;

use crate::results::stats::Spread;
use crate::text::{grouped, table};
use crate::{Gateway, interrupt};
use attack::{Aim, Attack, Sent};
use place::{Fate, Place};

/// Between two handshakes of the honest peer.
const HONEST_EVERY: Duration = Duration::from_millis(300);
const HONEST_PATIENCE: Duration = Duration::from_secs(60);
/// How long a flood lasts before anything is measured.
const RAMP_UP: Duration = Duration::from_secs(1);

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// What is sent; all of it unless given
    #[arg(long, value_delimiter = ',', value_enum)]
    attacks: Vec<Attack>,
    /// How often each attack is measured, with and without nftables
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// How long each is measured
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The peers and the attacker use IPv6
    #[arg(long)]
    v6: bool,
    /// No honest peer begins meanwhile
    #[arg(long)]
    without_honest: bool,
    /// Writes everything into a file of JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    gateway: Gateway,
}

/// What was measured of one attack.
#[derive(Debug, Default, Serialize)]
struct Findings {
    attack: String,
    wanted_percent: f64,
    /// TCP while the flood arrives, and while it is dropped, in Mbit/s, by pair.
    arrives: Vec<f64>,
    dropped: Vec<f64>,
    /// Their ratios in percent.
    kept_percent: Vec<f64>,
    /// Datagrams a second that the attacker sent.
    sent_pps: Vec<f64>,
    /// Cookies a second that came back.
    cookies_pps: Vec<f64>,
    /// Handshakes of the honest peer while the flood arrives: how long each took, in seconds. `None`: it failed.
    honest_s: Vec<Option<f64>>,
    /// CPU time of the gateway for each datagram of the flood, in µs, without a transfer; by pair.
    cpu_us: Vec<f64>,
    /// What the gateway holds before and after, in KiB.
    memory_kib: [u64; 2],
    /// What it dropped, by reason.
    drops: BTreeMap<String, u64>,
    /// Datagrams that its socket had no room for.
    socket_drops: u64,
}

/// Runs it from the namespaces to the table.
pub fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("network namespaces need root: run this as root (sudo)"));
    }
    let program = options.gateway.program()?;
    let family = if options.v6 { Family::V6 } else { Family::V4 };
    let attacks: &[Attack] = if options.attacks.is_empty() { Attack::value_variants() } else { &options.attacks };
    println!("{} over {family:?}, {} pairs of {} s", program.path.display(), options.pairs, options.seconds);
    let mut all = Vec::new();
    for &attack in attacks {
        if interrupt::requested() {
            break;
        }
        let place = Place::new(&program, family)?;
        let found = observe(&place, attack, family, options)?;
        print(&found);
        all.push(found);
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&all).context("writing JSON")?;
        std::fs::write(path, text + "\n").context(path.display())?;
    }
    Ok(())
}

fn observe(place: &Place, attack: Attack, family: Family, options: &Options) -> Result<Findings> {
    let memory = || place.tunnel.sides[1].daemon.as_ref().and_then(|daemon| daemon.memory_kib()).unwrap_or_default();
    let mut found = Findings { attack: attack.name(), wanted_percent: attack.wanted_percent(), ..Findings::default() };
    // One run that does not count: what is made when it is first needed is made then.
    place.set_fate(Fate::Arrives)?;
    let _ = measure(place, attack, family, Duration::from_secs(1), false)?;
    found.memory_kib[0] = memory();
    let before = drops(place)?;
    for pair in 0..options.pairs {
        // Neither is always first.
        let mut rates = [0.0; 2];
        let order = if pair % 2 == 0 { [Fate::Arrives, Fate::Dropped] } else { [Fate::Dropped, Fate::Arrives] };
        for fate in order {
            place.set_fate(fate)?;
            let arrives = fate == Fate::Arrives;
            let time = Duration::from_secs(options.seconds);
            let run = measure(place, attack, family, time, arrives && !options.without_honest)?;
            rates[usize::from(!arrives)] = run.megabits_per_s;
            if arrives {
                found.sent_pps.push(run.sent.sent as f64 / run.sent.seconds);
                found.cookies_pps.push(run.sent.cookies as f64 / run.sent.seconds);
                found.honest_s.extend(run.honest_s);
            }
        }
        found.cpu_us.push(alone(place, attack, family, Duration::from_secs(options.seconds))?);
        found.arrives.push(rates[0]);
        found.dropped.push(rates[1]);
        found.kept_percent.push(rates[0] * 100.0 / rates[1].max(f64::MIN_POSITIVE));
    }
    found.memory_kib[1] = memory();
    found.drops = drops(place)?;
    for (reason, count) in &mut found.drops {
        *count -= before.get(reason).copied().unwrap_or_default().min(*count);
    }
    found.drops.retain(|_, count| *count > 0);
    found.socket_drops = place.tunnel.namespace(1).udp_socket_drops(ringfort_testbed::tunnel::PORT)?;
    Ok(found)
}

/// One run.
struct Run {
    megabits_per_s: f64,
    sent: Sent,
    honest_s: Vec<Option<f64>>,
}

fn measure(place: &Place, attack: Attack, family: Family, time: Duration, honest: bool) -> Result<Run> {
    let (stop, socket) = (AtomicBool::new(false), place.attackers_socket(family)?);
    let victim = &place.tunnel.sides[1];
    let aim = Aim { socket: &socket, target: place::target(family), public_key: &victim.keys.public.0 };
    let bulk = Bulk { ramp_up: RAMP_UP, sustain: time, verify: false, ..Bulk::default() };
    let end = |side: usize| Endpoint {
        namespace: place.tunnel.namespace(side),
        address: place.tunnel.sides[side].inner(Family::V4),
    };
    thread::scope(|scope| {
        let attacker = scope.spawn(|| attack::run(attack, aim, &stop));
        let beginner = honest.then(|| scope.spawn(|| handshakes(place, family, &stop)));
        let carried = tcp::run(&bulk, end(0), end(1), &AtomicU64::new(0));
        stop.store(true, Ordering::Relaxed);
        let panicked = |_| Error::new("a thread of the flood panicked");
        let honest_s = beginner.map(|thread| thread.join().map_err(panicked)).transpose()?.unwrap_or_default();
        let sent = attacker.join().map_err(panicked)??;
        Ok(Run { megabits_per_s: carried?.megabits_per_s, sent, honest_s })
    })
}

/// The flood and nothing else: what a datagram of it costs the gateway, in µs. Other work on the machine hardly changes
/// that.
fn alone(place: &Place, attack: Attack, family: Family, time: Duration) -> Result<f64> {
    place.set_fate(Fate::Arrives)?;
    let (stop, socket) = (AtomicBool::new(false), place.attackers_socket(family)?);
    let victim = &place.tunnel.sides[1];
    let pid = victim.daemon.as_ref().map(Daemon::pid).unwrap_or_default();
    let aim = Aim { socket: &socket, target: place::target(family), public_key: &victim.keys.public.0 };
    let before = Usage::of(pid)?;
    let sent = thread::scope(|scope| {
        let attacker = scope.spawn(|| attack::run(attack, aim, &stop));
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        attacker.join().map_err(|_| Error::new("the attacking thread panicked"))?
    })?;
    let spent = Usage::of(pid)?.cpu_since(&before);
    Ok(spent.as_secs_f64() * 1e6 / sent.sent.max(1) as f64)
}

/// Handshakes one after the other, until the flood ends.
fn handshakes(place: &Place, family: Family, stop: &AtomicBool) -> Vec<Option<f64>> {
    let mut times = Vec::new();
    // The flood has begun by then.
    let mut next = Instant::now() + RAMP_UP;
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() < next {
            thread::sleep(Duration::from_millis(20));
            continue;
        }
        times.push(place.honest_handshake(family, HONEST_PATIENCE).ok().map(|time| time.as_secs_f64()));
        next = Instant::now() + HONEST_EVERY;
    }
    times
}

fn drops(place: &Place) -> Result<BTreeMap<String, u64>> {
    let stats = uapi::stats(&place.tunnel.sides[1].interface).unwrap_or_default();
    let named = stats.iter().filter_map(|(name, count)| Some((name.strip_prefix("drop_")?.to_owned(), *count)));
    Ok(named.collect())
}

fn print(found: &Findings) {
    let spread = |values: &[f64], digits: usize| {
        Spread::of(values).map_or_else(
            || "–".to_owned(),
            |spread| format!("{:.digits$} ({:.digits$} to {:.digits$})", spread.median, spread.min, spread.max),
        )
    };
    let times: Vec<f64> = found.honest_s.iter().flatten().copied().collect();
    let longest = times.iter().copied().fold(0.0, f64::max);
    let mut rows = table(&[&found.attack, "median, least and most"]);
    rows.add_row(["kept, % (wanted)", &format!("{} ({})", spread(&found.kept_percent, 1), found.wanted_percent)]);
    rows.add_row(["TCP, Mbit/s: arrives", &spread(&found.arrives, 0)]);
    rows.add_row(["TCP, Mbit/s: dropped", &spread(&found.dropped, 0)]);
    rows.add_row(["sent a second", &spread(&found.sent_pps, 0)]);
    rows.add_row(["gateway's CPU for each, alone, µs", &spread(&found.cpu_us, 2)]);
    rows.add_row(["cookies a second", &spread(&found.cookies_pps, 0)]);
    let honest = format!("{} of {}, longest {longest:.2} s", times.len(), found.honest_s.len());
    rows.add_row(["honest handshakes", &honest]);
    let [before, after] = found.memory_kib.map(grouped);
    rows.add_row(["memory, KiB", &format!("{before} before, {after} after")]);
    for (reason, count) in &found.drops {
        rows.add_row([&format!("dropped: {reason}"), &grouped(*count)]);
    }
    rows.add_row(["dropped: socket full", &grouped(found.socket_drops)]);
    println!("{rows}\nload average: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
}
