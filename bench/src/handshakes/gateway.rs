//! What the handshakes cost the gateway.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use ringfort_testbed::process::Usage;
use ringfort_testbed::{Context, Daemon, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Threads with less than this share of the CPU time are not shown.
const SHARE_MIN: f64 = 0.01;

/// Taken at a moment.
pub struct Moment {
    usage: Usage,
    /// CPU time by the names of threads.
    threads: BTreeMap<String, Duration>,
}

/// What a handshake cost.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HandshakesCost")]
pub struct Cost {
    /// CPU time of the whole process for a handshake, in microseconds.
    pub cpu_us: f64,
    /// How often its threads slept, and were woken, for a handshake.
    pub wakeups: f64,
    /// CPU time for a handshake by the names of threads, in microseconds; those that count.
    pub threads_us: BTreeMap<String, f64>,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// The gateway has died.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        let pid = daemon.pid();
        let usage = Usage::of(pid).context(format_args!("the gateway has died:\n{}", daemon.log()))?;
        Ok(Self { usage, threads: threads(pid)? })
    }

    /// What each of `handshakes` cost since an earlier moment.
    pub fn cost_since(&self, earlier: &Self, handshakes: u64) -> Cost {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / handshakes as f64;
        let since = |(name, time): (&String, &Duration)| {
            (name.clone(), each(time.saturating_sub(earlier.threads.get(name).copied().unwrap_or_default())))
        };
        let cpu_us = each(self.usage.cpu_since(&earlier.usage));
        let mut threads_us: BTreeMap<String, f64> = self.threads.iter().map(since).collect();
        threads_us.retain(|_, time| *time >= cpu_us * SHARE_MIN);
        let wakeups = self.usage.sleeps_since(&earlier.usage) as f64 / handshakes as f64;
        Cost { cpu_us, wakeups, threads_us }
    }
}

fn threads(pid: i32) -> Result<BTreeMap<String, Duration>> {
    let tasks = format!("/proc/{pid}/task");
    let mut threads: BTreeMap<String, Duration> = BTreeMap::new();
    for entry in fs::read_dir(&tasks).context(&tasks)?.flatten() {
        let read = |name| fs::read_to_string(entry.path().join(name)).ok();
        // A thread may end meanwhile.
        let (Some(name), Some(schedule)) = (read("comm"), read("schedstat")) else { continue };
        let cpu_ns = schedule.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0);
        // Workers differ in their numbers only.
        let name = name.trim_end().trim_end_matches(|last: char| last.is_ascii_digit()).trim_end_matches(['-', ' ']);
        *threads.entry(name.to_owned()).or_default() += Duration::from_nanos(cpu_ns);
    }
    Ok(threads)
}
