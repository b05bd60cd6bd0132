//! A gateway that somebody floods, while it carries a TCP transfer of one peer, and another peer begins again and
//! again. Each attack is compared with the same one that nftables drops in front of the gateway. They take turns within
//! one transfer.

mod attack;
mod pair;
mod place;
mod roles;

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

use crate::results::files::{self, FLOODS, Findings, Floods, check_writable_file};
use crate::results::now;
use crate::results::stats::Spread;
use crate::setup::contenders::{Contender, Means};
use crate::text::{grouped, table};
use crate::{Gateway, interrupt};
use attack::{Aim, Attack, Tally};
use place::{Fate, Place};

/// Between two handshakes of the honest peer. Under load a place is believed once in a second.
const HONEST_EVERY: Duration = Duration::from_millis(1_100);
/// Without load.
const HONEST_EVERY_UNLOADED: Duration = Duration::from_millis(300);
/// How long they have together. With a cookie it asks again after Rekey-Timeout, and up to a third of a second more.
const HONEST_TIME: Duration = Duration::from_secs(12);
/// Where no cookie is needed.
const HONEST_TIME_UNLOADED: Duration = Duration::from_secs(2);
/// How long a flood lasts before anything is measured.
const RAMP_UP: Duration = Duration::from_millis(400);
/// A run that does not count: what is made when it is first needed is made then.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long the flood comes alone.
const ALONE: Duration = Duration::from_millis(1_500);
/// Connecting, ending, and setting rules, for each transfer.
const RUN_OVERHEAD: Duration = Duration::from_millis(200);

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// What is sent; all of it unless given
    #[arg(long, value_delimiter = ',', value_enum)]
    attacks: Vec<Attack>,
    /// Of how many transfers each attack has; in each it arrives and is dropped by nftables in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// How long it arrives and how long it is dropped in each transfer, in seconds
    #[arg(long, default_value = "2.5", value_parser = seconds)]
    seconds: Duration,
    /// The peers and the attacker use IPv4 only; IPv4 and then IPv6 unless one is given
    #[arg(long, conflicts_with = "v6")]
    v4: bool,
    /// The same with IPv6
    #[arg(long)]
    v6: bool,
    /// No honest peer begins
    #[arg(long)]
    without_honest: bool,
    /// Writes everything into a file of JSON, too, after each attack
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    gateway: Gateway,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "this is no number".to_owned())?;
    if (0.2..=600.0).contains(&number) { Ok(Duration::from_secs_f64(number)) } else { Err("0.2 to 600".to_owned()) }
}

impl Options {
    fn families(&self) -> &'static [Family] {
        match (self.v4, self.v6) {
            (true, _) => &[Family::V4],
            (_, true) => &[Family::V6],
            _ => &[Family::V4, Family::V6],
        }
    }

    fn attacks(&self) -> &[Attack] {
        if self.attacks.is_empty() { Attack::value_variants() } else { &self.attacks }
    }

    /// How long the honest peer is looked at.
    const fn honest_time(&self, attack: Attack) -> Duration {
        match (self.without_honest, attack.makes_load()) {
            (true, _) => Duration::ZERO,
            (_, true) => HONEST_TIME,
            _ => HONEST_TIME_UNLOADED,
        }
    }

    fn duration(&self) -> Duration {
        let run = |time: Duration| RAMP_UP + time + RUN_OVERHEAD;
        let one = |&attack: &Attack| {
            run(WARM_UP) + run(pair::duration(self.seconds)) * self.pairs + run(self.honest_time(attack)) + ALONE
        };
        let all: Duration = self.attacks().iter().map(one).sum();
        all * self.families().len() as u32
    }
}

/// Runs it from the namespaces to the table.
pub fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("network namespaces need root: run this as root (sudo)"));
    }
    check_writable_file(options.json.as_deref())?;
    let program = options.gateway.program()?;
    let minutes = options.duration().as_secs_f64() / 60.0;
    let (seconds, pairs) = (options.seconds.as_secs_f64(), options.pairs);
    println!("{}, {pairs} pairs of {seconds} s: {minutes:.1} minutes", program.path.display());
    let head = files::head(
        FLOODS,
        Contender { name: "ringfort".to_owned(), means: Means::Program(program.clone()) }.describe(),
    );
    let mut all = Vec::new();
    for &family in options.families() {
        let place = Place::new(&program, family)?;
        for &attack in options.attacks() {
            if interrupt::requested() {
                break;
            }
            let found = observe(&place, attack, family, options)?;
            interrupt::check()?;
            print(&found);
            all.push(found);
            if let Some(path) = &options.json {
                let head = files::Head { finished: now(), ..head.clone() };
                files::write(path, head, Floods { attacks: all.clone() })?;
            }
        }
    }
    summarize(&all);
    Ok(())
}

fn observe(place: &Place, attack: Attack, family: Family, options: &Options) -> Result<Findings> {
    let memory = || place.tunnel.sides[1].daemon.as_ref().and_then(|daemon| daemon.memory_kib()).unwrap_or_default();
    let wanted_percent = attack.wanted_percent();
    let mut found =
        Findings { attack: attack.name(), family: format!("{family:?}"), wanted_percent, ..Findings::default() };
    let flood = Flood { place, attack, family };
    place.set_fate(Fate::Arrives)?;
    flood.beside_transfer(WARM_UP, || Ok(()))?;
    found.memory_kib[0] = memory();
    let (drops_before, socket_drops_before) = (drops(place)?, socket_drops(place)?);
    for pair in 0..options.pairs {
        // Neither is always first.
        flood.pair(if pair % 2 == 0 { Fate::Arrives } else { Fate::Dropped }, options.seconds, &mut found)?;
    }
    found.kept_percent = found.arrives.iter().zip(&found.dropped).map(|(a, d)| a * 100.0 / d.max(1e-9)).collect();
    place.set_fate(Fate::Arrives)?;
    if !options.without_honest {
        let time = options.honest_time(attack);
        found.honest_s = flood.beside_transfer(time, || flood.handshakes(Instant::now() + RAMP_UP, time))?;
    }
    found.cpu_us = flood.alone()?;
    found.memory_kib[1] = memory();
    found.drops = drops(place)?;
    for (reason, count) in &mut found.drops {
        *count -= drops_before.get(reason).copied().unwrap_or_default().min(*count);
    }
    found.drops.retain(|_, count| *count > 0);
    found.socket_drops = socket_drops(place)?.saturating_sub(socket_drops_before);
    found.load_average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned();
    Ok(found)
}

fn socket_drops(place: &Place) -> Result<u64> {
    place.tunnel.namespace(1).udp_socket_drops(ringfort_testbed::tunnel::PORT)
}

/// What comes, and where.
struct Flood<'a> {
    place: &'a Place,
    attack: Attack,
    family: Family,
}

impl Flood<'_> {
    /// The flood beside a transfer that lasts so long, and what somebody does meanwhile.
    fn beside_transfer<R>(&self, time: Duration, meanwhile: impl FnOnce() -> Result<R>) -> Result<R> {
        self.beside_watched_transfer(time, |_, _| meanwhile())
    }

    /// The same. Whoever is there meanwhile sees the bytes that have arrived, and the attacker's tally.
    fn beside_watched_transfer<R>(
        &self,
        time: Duration,
        meanwhile: impl FnOnce(&AtomicU64, &Tally) -> Result<R>,
    ) -> Result<R> {
        let (arrived, tally) = (AtomicU64::new(0), Tally::default());
        let bulk = Bulk { ramp_up: RAMP_UP, sustain: time, verify: false, ..Bulk::default() };
        let end = |side: usize| Endpoint {
            namespace: self.place.tunnel.namespace(side),
            address: self.place.tunnel.sides[side].inner(Family::V4),
        };
        self.flood(&tally, || {
            thread::scope(|scope| {
                let transfer = scope.spawn(|| tcp::run(&bulk, end(0), end(1), &arrived));
                let result = meanwhile(&arrived, &tally);
                let carried = transfer.join().map_err(|_| Error::new("a thread of the transfer panicked"))?;
                carried.and(result)
            })
        })
    }

    /// The flood and nothing else: what a datagram of it costs the gateway, in µs. Other work on the machine hardly
    /// changes that.
    fn alone(&self) -> Result<f64> {
        let (pid, tally) = (self.place.tunnel.sides[1].daemon.as_ref().map(Daemon::pid), Tally::default());
        let usage = || Usage::of(pid.unwrap_or_default());
        let before = usage()?;
        self.flood(&tally, || {
            thread::sleep(ALONE);
            Ok(())
        })?;
        let spent = usage()?.cpu_since(&before);
        Ok(spent.as_secs_f64() * 1e6 / tally.now().sent.max(1) as f64)
    }

    /// Sends while something else is done.
    fn flood<R>(&self, tally: &Tally, meanwhile: impl FnOnce() -> Result<R>) -> Result<R> {
        let (stop, socket) = (AtomicBool::new(false), self.place.attackers_socket(self.family)?);
        let public_key = &self.place.tunnel.sides[1].keys.public.0;
        let aim = Aim { socket: &socket, target: place::target(self.family), public_key };
        thread::scope(|scope| {
            let attacker = scope.spawn(|| attack::run(self.attack, aim, tally, &stop));
            let result = meanwhile();
            // Whatever has failed, the attacker must not send for ever.
            stop.store(true, Ordering::Relaxed);
            attacker.join().map_err(|_| Error::new("the attacking thread panicked"))??;
            result
        })
    }

    /// Handshakes at fixed times, from `begin` on, each with the time to ask twice. Who has none because the last one
    /// took so long has none at all: slow ones count as much as fast ones.
    fn handshakes(&self, begin: Instant, time: Duration) -> Result<Vec<Option<f64>>> {
        let (every, needs) = if self.attack.makes_load() {
            (HONEST_EVERY, HONEST_TIME / 2)
        } else {
            (HONEST_EVERY_UNLOADED, HONEST_EVERY_UNLOADED)
        };
        let (mut times, end) = (Vec::new(), begin + time);
        let starts = (0..).map(|n| begin + every * n).take_while(|&at| at + needs <= end);
        for at in starts {
            if Instant::now() > at + every {
                times.push(None);
                continue;
            }
            // The flood has begun by the first of them.
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let patience = end.saturating_duration_since(Instant::now());
            let took = self.place.honest_handshake(self.family, patience).context("a handshake of the honest peer")?;
            times.push(took.map(|time| time.as_secs_f64()));
        }
        Ok(times)
    }
}

fn drops(place: &Place) -> Result<BTreeMap<String, u64>> {
    let stats = uapi::stats(&place.tunnel.sides[1].interface).unwrap_or_default();
    let named = stats.iter().filter_map(|(name, count)| Some((name.strip_prefix("drop_")?.to_owned(), *count)));
    Ok(named.collect())
}

fn spread(values: &[f64], digits: usize) -> String {
    Spread::of(values).map_or_else(
        || "–".to_owned(),
        |spread| format!("{:.digits$} ({:.digits$} to {:.digits$})", spread.median, spread.min, spread.max),
    )
}

impl Findings {
    fn honest(&self) -> String {
        let times: Vec<f64> = self.honest_s.iter().flatten().copied().collect();
        let longest = times.iter().copied().fold(0.0, f64::max);
        format!("{} of {}, longest {longest:.2} s", times.len(), self.honest_s.len())
    }
}

fn print(found: &Findings) {
    let mut rows = table(&[&format!("{} over {}", found.attack, found.family), "median, least and most"]);
    rows.add_row(["kept, % (wanted)", &format!("{} ({})", spread(&found.kept_percent, 1), found.wanted_percent)]);
    rows.add_row(["TCP, Mbit/s: arrives", &spread(&found.arrives, 0)]);
    rows.add_row(["TCP, Mbit/s: dropped", &spread(&found.dropped, 0)]);
    rows.add_row(["sent a second: arrives", &spread(&found.sent_pps, 0)]);
    rows.add_row(["sent a second: dropped", &spread(&found.sent_when_dropped_pps, 0)]);
    rows.add_row(["gateway's CPU for each, alone, µs", &format!("{:.2}", found.cpu_us)]);
    rows.add_row(["cookies a second", &spread(&found.cookies_pps, 0)]);
    rows.add_row(["honest handshakes", &found.honest()]);
    let [before, after] = found.memory_kib.map(grouped);
    rows.add_row(["memory, KiB", &format!("{before} before, {after} after")]);
    for (reason, count) in &found.drops {
        rows.add_row([&format!("dropped: {reason}"), &grouped(*count)]);
    }
    rows.add_row(["dropped: socket full", &grouped(found.socket_drops)]);
    println!("{rows}\n% of a CPU: arrives: {}", roles::medians(&found.cpu_arrives));
    println!("% of a CPU: dropped: {}", roles::medians(&found.cpu_dropped));
    println!("load average: {}", found.load_average);
}

/// All attacks, a line each.
fn summarize(all: &[Findings]) {
    let mut rows = table(&["attack", "", "kept, %", "wanted", "CPU for each, µs", "honest handshakes"]);
    for found in all {
        let (kept, wanted) = (spread(&found.kept_percent, 0), format!("{}", found.wanted_percent));
        let cpu = format!("{:.2}", found.cpu_us);
        rows.add_row([&found.attack, &found.family, &kept, &wanted, &cpu, &found.honest()]);
    }
    println!("{rows}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::try_parse_from([&["floods"], line].concat()).unwrap_or_else(|error| panic!("{error}")).options
    }

    #[test]
    fn all_of_it_takes_as_long_as_the_help_says() {
        let all = options(&[]);
        assert_eq!(all.families().len() * all.attacks().len(), 24);
        let minutes = all.duration().as_secs_f64() / 60.0;
        assert!((21.0..=23.0).contains(&minutes), "{minutes}");
        assert!(options(&["--v6", "--pairs", "1"]).duration() < all.duration() / 4);
    }

    #[test]
    fn seconds_have_bounds() {
        assert_eq!(options(&["--seconds", "0.5"]).seconds, Duration::from_millis(500));
        assert!(["0", "nan", "-1", "601", "x"].iter().all(|text| seconds(text).is_err()));
    }
}
