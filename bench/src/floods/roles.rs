//! Who used the CPUs while a flood lasted.
//!
//! The kernel counts what it does in a softirq on the thread that it interrupts, and the way of a datagram through a
//! cable is such work. So much of what the attacker seems to use is the way of his datagrams into the gateway's socket.
//! How much of everything was softirq is counted apart.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use ringfort_testbed::process::Usage;
use ringfort_testbed::{Context, Daemon, Result};

use super::place::Place;
use crate::results::stats::Spread;

/// CPU time of each role until a moment.
pub struct Moment {
    at: Instant,
    used: BTreeMap<&'static str, Duration>,
    ticks: Ticks,
}

/// What the kernel counted of all CPUs, in ticks.
#[derive(Clone, Copy, Default)]
struct Ticks {
    all: u64,
    idle: u64,
    softirq: u64,
    stolen: u64,
}

/// By role, in percent of one CPU, once for each run.
pub type Shares = BTreeMap<String, Vec<f64>>;

/// Roles that are printed, in this order.
const ROLES: [&str; 10] = [
    "workers",
    "control",
    "other threads",
    "sending gateway",
    "attacker",
    "TCP's ends",
    "other programs",
    "softirq in all these",
    "stolen",
    "idle",
];

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// A gateway is gone.
    pub fn now(place: &Place) -> Result<Self> {
        let pid = |side: usize| place.tunnel.sides[side].daemon.as_ref().map(Daemon::pid).unwrap_or_default();
        Usage::of(pid(1))?;
        let mut used = threads(pid(1))?;
        used.insert("sending gateway", Usage::of(pid(0))?.cpu);
        used.insert("TCP's ends", Usage::of(i32::try_from(std::process::id()).unwrap_or_default())?.cpu);
        Ok(Self { at: Instant::now(), used, ticks: Ticks::now()? })
    }

    /// Adds what was used from this moment to the other to `shares`. The attacker's thread belongs to this process, as
    /// TCP's ends do.
    pub fn add_to(&self, shares: &mut Shares, now: &Self, attacker: Duration) {
        let seconds = (now.at - self.at).as_secs_f64();
        let mut used = now.used.clone();
        for (role, time) in &mut used {
            *time = time.saturating_sub(self.used.get(role).copied().unwrap_or_default());
        }
        used.insert("attacker", attacker);
        if let Some(ends) = used.get_mut("TCP's ends") {
            *ends = ends.saturating_sub(attacker);
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let ticks = now.ticks.since(self.ticks);
        let percent = |ticks_of_it: u64| ticks_of_it as f64 * cpus * 100.0 / ticks.all.max(1) as f64;
        let (softirq, stolen, idle) = (percent(ticks.softirq), percent(ticks.stolen), percent(ticks.idle));
        let mut each: BTreeMap<&'static str, f64> =
            used.iter().map(|(role, time)| (*role, time.as_secs_f64() * 100.0 / seconds)).collect();
        let others = cpus * 100.0 - stolen - idle - each.values().sum::<f64>();
        each.extend([("other programs", others.max(0.0)), ("softirq in all these", softirq)]);
        each.extend([("stolen", stolen), ("idle", idle)]);
        each.into_iter().for_each(|(role, share)| shares.entry(role.to_owned()).or_default().push(share));
    }
}

/// Medians by role, as people read them.
pub fn medians(shares: &Shares) -> String {
    let texts = ROLES.iter().filter_map(|role| {
        let share = Spread::of(shares.get(*role)?)?.median;
        Some(format!("{role} {share:.0}"))
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Of the threads of the attacked gateway.
fn threads(pid: i32) -> Result<BTreeMap<&'static str, Duration>> {
    let tasks = format!("/proc/{pid}/task");
    let mut used = BTreeMap::new();
    for entry in fs::read_dir(&tasks).context(&tasks)?.flatten() {
        // A thread may end between the reads.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        let Ok(times) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let role = match name.trim() {
            worker if worker.starts_with("ringfort-w") => "workers",
            _ if entry.file_name().to_string_lossy() == pid.to_string() => "control",
            _ => "other threads",
        };
        *used.entry(role).or_default() += Duration::from_nanos(first_number(&times));
    }
    Ok(used)
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

impl Ticks {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Ok(Self::parse(text.lines().next().unwrap_or_default()))
    }

    /// A line of `/proc/stat` (`man 5 proc_stat`): user, nice, system, idle, iowait, irq, softirq, steal, and two that
    /// are in user and nice already.
    fn parse(line: &str) -> Self {
        let columns: Vec<u64> = line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect();
        let column = |index: usize| columns.get(index).copied().unwrap_or_default();
        Self { all: (0..8).map(column).sum(), idle: column(3) + column(4), softirq: column(6), stolen: column(7) }
    }

    const fn since(self, earlier: Self) -> Self {
        Self {
            all: self.all.saturating_sub(earlier.all),
            idle: self.idle.saturating_sub(earlier.idle),
            softirq: self.softirq.saturating_sub(earlier.softirq),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_the_manual() {
        let ticks = Ticks::parse("cpu  6408647 903236 1274981 790313 538989 1 42343 66863 5 7");
        assert_eq!(ticks.all, 6_408_647 + 903_236 + 1_274_981 + 790_313 + 538_989 + 1 + 42_343 + 66_863);
        assert_eq!((ticks.idle, ticks.softirq, ticks.stolen), (790_313 + 538_989, 42_343, 66_863));
        assert_eq!(Ticks::parse("").all, 0);
    }

    #[test]
    fn roles_are_printed_in_their_order_by_their_medians() {
        let shares = [("idle", vec![3.0]), ("workers", vec![50.0, 10.4, 20.0]), ("control", vec![])];
        let shares = Shares::from(shares.map(|(role, runs)| (role.to_owned(), runs)));
        assert_eq!(medians(&shares), "workers 20, idle 3");
    }
}
