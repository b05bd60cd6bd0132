//! What it costs a gateway to take the times of its stages: the same load with and without, taking turns.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use nix::libc::ESRCH;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::{Context, Result};

use super::{Load, open_tunnel};
use crate::results::files::{Cost, CostRuns};
use crate::text::{megabits, table};

/// Runs a load with both programs, without and with, for so many rounds.
pub fn measure(load: Load, programs: [&Program; 2], rounds: u32) -> Result<Cost> {
    let mut runs = [CostRuns::default(), CostRuns::default()];
    for round in 0..rounds {
        // Who is first changes, so a drift of the machine falls on both alike.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let name = format!("{} {}/{rounds}", load.name(), round + 1);
            once(&name, load, programs[which], &mut runs[which])?;
        }
    }
    let [off, on] = runs;
    let ratio = |on: &[f64], off: &[f64]| 100.0 * (median(on.iter().zip(off).map(|(on, off)| on / off)) - 1.0);
    Ok(Cost {
        test: load.name().to_owned(),
        cpu_percent: ratio(&on.cpu_ns_per_unit, &off.cpu_ns_per_unit),
        rate_percent: -ratio(&on.megabits_per_s, &off.megabits_per_s),
        off,
        on,
    })
}

fn once(name: &str, load: Load, program: &Program, runs: &mut CostRuns) -> Result<()> {
    let mut tunnel = open_tunnel(program)?;
    let pids = [0, 1].map(|side| tunnel.sides[side].daemon().pid());
    let cpu = || -> Result<Duration> { Ok(cpu_time(pids[0])? + cpu_time(pids[1])?) };
    let before = cpu()?;
    let carried = load.run(name, &tunnel)?;
    let used = cpu()?.saturating_sub(before);
    runs.megabits_per_s.push(carried.megabits_per_s);
    runs.cpu_ns_per_unit.push(used.as_nanos() as f64 / carried.units.max(1) as f64);
    Ok(())
}

/// CPU time of all threads of a process, to the nanosecond: the first number of `/proc/PID/task/TID/schedstat`
/// (Documentation/scheduler/sched-stats.rst). Threads that have ended are not in it; a gateway has none.
fn cpu_time(pid: i32) -> Result<Duration> {
    let directory = format!("/proc/{pid}/task");
    let mut total = 0;
    for task in fs::read_dir(&directory).context(&directory)? {
        let path = task.context(&directory)?.path().join("schedstat");
        let text = match fs::read_to_string(&path) {
            // The thread has ended since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => continue,
            read => read.context(path.display())?,
        };
        total += text.split_whitespace().next().unwrap_or_default().parse::<u64>().context(path.display())?;
    }
    Ok(Duration::from_nanos(total))
}

/// Prints medians and ratios of each load.
pub fn print(loads: &[Load], costs: &[Cost]) {
    let mut rows = table(&["load", "without", "with", "CPU without", "CPU with", "more CPU", "less throughput"]);
    for (load, cost) in loads.iter().zip(costs) {
        let rate = |runs: &CostRuns| megabits(median(runs.megabits_per_s.iter().copied()));
        let cpu = |runs: &CostRuns| median(runs.cpu_ns_per_unit.iter().copied());
        let [off, on] = [cpu(&cost.off), cpu(&cost.on)].map(|ns| match cost.test.as_str() {
            "tcp" => format!("{ns:.3} s/GB"),
            _ => format!("{:.2} µs/datagram", ns / 1e3),
        });
        rows.add_row([
            load.title(),
            rate(&cost.off),
            rate(&cost.on),
            off,
            on,
            format!("{:+.1} %", cost.cpu_percent),
            format!("{:+.1} %", cost.rate_percent),
        ]);
    }
    println!("{rows}");
    println!("CPU time is that of both gateways. The ratios are medians over pairs of runs.");
}

/// The middle, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_cpu_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = cpu_time(own).unwrap();
        let mut sum = 0_u64;
        // What threads of other tests have used goes with them, so this may take a moment.
        while cpu_time(own).unwrap() <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn the_middle_of_a_few() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).is_nan());
    }
}
