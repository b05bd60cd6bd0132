//! What a process costs: CPU time, memory, sleeps. Read from outside, from clocks and tables of the kernel; the process
//! does not notice.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::{Context, Error, Result};

/// What a process has used since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its threads, those that have ended included, in user and kernel mode. Of interrupts, it has what
    /// the kernel counts on the thread that they interrupt.
    pub cpu: Duration,
    /// How often each thread went to sleep (`voluntary_ctxt_switches`), and thus had to be woken, by thread id.
    sleeps: BTreeMap<i32, u64>,
}

impl Usage {
    /// Of a running process.
    ///
    /// # Errors
    /// It is gone, or has ended and nobody has waited for it yet (a zombie).
    pub fn of(pid: i32) -> Result<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).context(format_args!("the CPU clock of process {pid}"))?;
        let cpu = read(clock).context(format_args!("the CPU time of process {pid}"))?;
        // The last: a zombie keeps its clock, and what is seen here ran when the clock was read.
        Ok(Self { cpu, sleeps: sleeps(pid)? })
    }

    /// CPU time since an earlier moment.
    pub fn cpu_since(&self, earlier: &Self) -> Duration {
        self.cpu.saturating_sub(earlier.cpu)
    }

    /// How often its threads went to sleep since an earlier moment; of a thread that began meanwhile all counts.
    pub fn sleeps_since(&self, earlier: &Self) -> u64 {
        let since = |(thread, sleeps): (&i32, &u64)| sleeps - earlier.sleeps.get(thread).unwrap_or(&0).min(sleeps);
        self.sleeps.iter().map(since).sum()
    }
}

fn read(clock: ClockId) -> nix::Result<Duration> {
    clock_gettime(clock).map(Duration::from)
}

fn sleeps(pid: i32) -> Result<BTreeMap<i32, u64>> {
    let tasks = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&tasks).context(&tasks)?;
    let mut is_running = false;
    let threads = entries.flatten().filter_map(|entry| {
        let thread = entry.file_name().to_str()?.parse().ok()?;
        // A thread may end between the two reads.
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        // The first thread may end before the others.
        is_running |= !has_ended(&status);
        Some((thread, status_field(&status, "voluntary_ctxt_switches:")?))
    });
    let threads = threads.collect();
    if is_running { Ok(threads) } else { Err(Error::new(format!("process {pid} has ended"))) }
}

/// Whether a thread is a zombie, or about to vanish.
fn has_ended(status: &str) -> bool {
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| state.trim_start().starts_with(['Z', 'X']))
}

/// A number of `/proc/PID/status`.
pub(crate) fn status_field(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What several processes held at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySample {
    /// Since the sampling began.
    pub at: Duration,
    /// Resident memory (`VmRSS`) of each of them, in KiB; 0 of one that is gone.
    pub resident_kib: Vec<u64>,
}

/// Reads the resident memory of some processes at regular intervals, on a thread of its own.
#[derive(Debug)]
pub struct MemorySampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<MemorySample>>>,
}

impl MemorySampler {
    /// Begins.
    pub fn start(pids: Vec<i32>, interval: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let resident_kib = pids.iter().map(|pid| resident_kib(*pid).unwrap_or(0)).collect();
                samples.push(MemorySample { at: start.elapsed(), resident_kib });
                thread::park_timeout(interval);
            }
            samples
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and gives what it read.
    ///
    /// # Errors
    /// The sampling thread panicked.
    pub fn finish(mut self) -> Result<Vec<MemorySample>> {
        let thread = self.end().expect("only this and the drop after it take the thread");
        thread.join().map_err(|_| Error::new("the thread that reads memory panicked"))
    }

    fn end(&mut self) -> Option<JoinHandle<Vec<MemorySample>>> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        Some(thread)
    }
}

impl Drop for MemorySampler {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn resident_kib(pid: i32) -> Option<u64> {
    status_field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn work_and_sleep_are_told_apart() {
        let before = Usage::of(own_pid()).unwrap();
        let begun = Instant::now();
        let mut sum = 0_u64;
        while before.cpu + Duration::from_millis(20) > Usage::of(own_pid()).unwrap().cpu {
            (0..10_000).for_each(|i| sum = sum.wrapping_add(black_box(i)));
            assert!(begun.elapsed() < Duration::from_secs(60), "work took no CPU time");
        }
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(1));
        }
        let after = Usage::of(own_pid()).unwrap();
        assert!(after.cpu_since(&before) >= Duration::from_millis(20));
        assert!(after.sleeps_since(&before) >= 5);
        assert_eq!(after.sleeps_since(&after), 0);
    }

    #[test]
    fn memory_is_sampled_until_the_end() {
        let sampler = MemorySampler::start(vec![own_pid(), i32::MAX], Duration::from_millis(1));
        thread::sleep(Duration::from_millis(30));
        let samples = sampler.finish().unwrap();
        assert!(!samples.is_empty());
        assert!(samples.iter().all(|sample| sample.resident_kib[0] > 100 && sample.resident_kib[1] == 0));
        assert!(samples.is_sorted_by_key(|sample| sample.at));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Usage::of(i32::MAX).is_err());
    }

    #[test]
    fn a_process_that_ended_and_that_nobody_waited_for_is_an_error() {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Its end, and it stays a zombie.
        waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let error = Usage::of(pid).unwrap_err().to_string();
        assert!(error.contains("has ended"), "{error}");
        child.wait().unwrap();
        assert!(has_ended("Name:\t(Z) X\nState:\tX (dead)\n"));
        assert!(!has_ended("Name:\tZ\nState:\tS (sleeping)\n"));
    }
}
