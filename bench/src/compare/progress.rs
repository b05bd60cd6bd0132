//! How far it is: a bar with the time that is left on a terminal, and a line for each measurement elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringfort_testbed::{Error, Result};

use crate::text::grouped;

const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// A bar over all measurements, on standard error.
pub struct Progress {
    bar: ProgressBar,
    pace: Pace,
    is_terminal: bool,
    steps: usize,
    done: usize,
}

impl Progress {
    /// Of measurements that will probably take this long each.
    pub fn new(expected: &[Duration]) -> Self {
        let all: Duration = expected.iter().sum();
        let bar = ProgressBar::new(milliseconds(all));
        let style =
            ProgressStyle::with_template("[{bar:30}] {percent:>3} %  {msg}").expect("the template is a constant");
        bar.set_style(style.progress_chars("=> "));
        let is_terminal = !bar.is_hidden();
        Self {
            bar,
            pace: Pace { all, done: Duration::ZERO, taken: Duration::ZERO },
            is_terminal,
            steps: expected.len(),
            done: 0,
        }
    }

    /// Runs a measurement, which counts into the number that it is given, and shows meanwhile what is going on.
    ///
    /// # Errors
    /// That of `work`, or it panicked.
    pub fn step<T: Send>(
        &mut self,
        name: &str,
        expected: Duration,
        work: impl FnOnce(&AtomicU64) -> Result<T> + Send,
    ) -> Result<T> {
        let count = AtomicU64::new(0);
        let begun = Instant::now();
        let outcome = thread::scope(|scope| {
            let worker = scope.spawn(|| work(&count));
            while !worker.is_finished() {
                self.show(name, begun.elapsed().min(expected), count.load(Ordering::Relaxed));
                thread::park_timeout(REDRAW_EVERY);
            }
            worker.join().unwrap_or_else(|_| Err(Error::new(format!("the measurement {name} panicked"))))
        });
        self.pace.finished(expected, begun.elapsed());
        self.done += 1;
        outcome
    }

    fn show(&self, name: &str, elapsed: Duration, count: u64) {
        self.bar.set_position(milliseconds(self.pace.done + elapsed));
        let count = if count == 0 { String::new() } else { format!("  {}", grouped(count)) };
        self.bar.set_message(format!("{} left  {name}{count}", span(self.pace.left(elapsed))));
    }

    /// Says what came of a measurement where there is no bar.
    pub fn say(&self, line: &str) {
        if !self.is_terminal {
            let left = span(self.pace.left(Duration::ZERO));
            eprintln!("{}/{} {line}, {left} left", self.done, self.steps);
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// How long things take beside how long they were expected to take.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Expected of all measurements.
    all: Duration,
    /// Expected of those that are done.
    done: Duration,
    /// What those really took.
    taken: Duration,
}

impl Pace {
    fn finished(&mut self, expected: Duration, taken: Duration) {
        self.done += expected;
        self.taken += taken;
    }

    /// What is left, `elapsed` after the last one was finished, at the pace so far.
    fn left(&self, elapsed: Duration) -> Duration {
        let factor = if self.done.is_zero() { 1.0 } else { self.taken.as_secs_f64() / self.done.as_secs_f64() };
        self.all.saturating_sub(self.done + elapsed).mul_f64(factor)
    }
}

/// `45 s`, `3 min 20 s`, `2 h 5 min`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_pace() {
        let seconds = Duration::from_secs;
        let mut pace = Pace { all: seconds(100), done: Duration::ZERO, taken: Duration::ZERO };
        assert_eq!(pace.left(Duration::ZERO), seconds(100));
        pace.finished(seconds(20), seconds(40));
        assert_eq!(pace.left(Duration::ZERO), seconds(160));
        assert_eq!(pace.left(seconds(30)), seconds(100));
        assert_eq!(pace.left(seconds(500)), Duration::ZERO);
    }

    #[test]
    fn spans_are_readable() {
        let shown = [0, 45, 200, 7_500].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0 s", "45 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn a_panic_is_an_error() {
        let mut progress = Progress::new(&[Duration::from_millis(1); 2]);
        let outcome: Result<()> = progress.step("test", Duration::from_millis(1), |_| panic!("on purpose"));
        assert!(outcome.is_err());
        let second = progress.step("test", Duration::from_millis(1), |count| Ok(count.fetch_add(7, Ordering::Relaxed)));
        assert_eq!(second.unwrap(), 0);
    }
}
