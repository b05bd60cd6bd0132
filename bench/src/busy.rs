//! Whether others use the CPUs of this machine: then figures say less about what was measured.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::results::stamp::Stamp;

/// How long is looked: on two CPUs, this is forty ticks of the kernel's clock.
const LOOK: Duration = Duration::from_millis(200);
/// What the system's own work and this program's start may take, in percent of all CPUs.
const QUIET_PERCENT: f64 = 10.0;

/// What other programs and the hypervisor take of all CPUs, in percent. It looks for 200 ms, in which this program does
/// nothing. `None` where the kernel does not say.
pub fn others_cpu_percent() -> Option<f64> {
    let before = Ticks::now()?;
    thread::sleep(LOOK);
    let now = Ticks::now()?;
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    Some((now.busy.saturating_sub(before.busy) as f64 * 100.0 / all as f64).min(100.0))
}

/// What to say of it, if anything.
pub fn caution(others_cpu_percent: f64) -> Option<String> {
    (others_cpu_percent > QUIET_PERCENT).then(|| {
        format!(
            "other programs took {others_cpu_percent:.0} % of this machine's CPUs while nothing was measured: the \
             figures are theirs as well"
        )
    })
}

/// Says it below the tables of a measurement, and whether this machine is one that figures may come from.
pub fn warn(others_cpu_percent: Option<f64>) {
    for caution in Stamp::take().caution().into_iter().chain(others_cpu_percent.and_then(caution)) {
        println!("CAUTION: {caution}.");
    }
}

/// The first line of `/proc/stat` (proc_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    all: u64,
    /// Neither idle nor waiting for a disk; what the hypervisor has taken is among it.
    busy: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(fs::read_to_string("/proc/stat").ok()?.lines().next()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; guests are in user already.
        let ticks = line.strip_prefix("cpu ")?.split_whitespace().take(8);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        let all = ticks.iter().sum::<u64>();
        Some(Self { all, busy: all - idle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_the_manual() {
        let ticks = Ticks::parse("cpu  100 20 30 800 40 1 2 7 5 6").unwrap();
        assert_eq!(ticks, Ticks { all: 1_000, busy: 160 });
        assert_eq!(Ticks::parse("cpu0 1 2 3 4 5 6 7 8"), None);
        assert_eq!(Ticks::parse("cpu  1 2 x 4 5"), None);
    }

    #[test]
    fn this_machine_says_how_busy_it_is() {
        let percent = others_cpu_percent().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{percent}");
    }

    #[test]
    fn a_quiet_machine_needs_no_caution() {
        assert_eq!(caution(9.9), None);
        assert!(caution(42.4).unwrap().contains("42 %"));
    }
}
