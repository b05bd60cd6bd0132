//! A bar for work whose length is known or guessed beforehand, with the time left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringfort_testbed::{Error, Result};

const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// What the work says about itself.
#[derive(Debug)]
pub struct Progress {
    /// Packets that have arrived in all.
    pub arrived: AtomicU64,
    steps: Mutex<Steps>,
}

#[derive(Debug)]
struct Steps {
    /// How long all of it takes, as far as is known.
    expected: Duration,
    /// Of that, before the present step.
    before: Duration,
    step: Duration,
    since: Instant,
    message: String,
}

impl Progress {
    /// Work that will take about that long.
    pub fn new(expected: Duration) -> Self {
        let nothing = Duration::ZERO;
        let steps = Steps { expected, before: nothing, step: nothing, since: Instant::now(), message: String::new() };
        Self { arrived: AtomicU64::new(0), steps: Mutex::new(steps) }
    }

    /// The next step begins, at `before` of what is expected, and takes that long.
    pub fn step(&self, before: Duration, step: Duration, message: String) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        *steps = Steps { before, step, since: Instant::now(), message, expected: steps.expected };
    }

    /// Position, length, and what to say.
    fn state(&self) -> (Duration, Duration, String) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let position = steps.before + steps.since.elapsed().min(steps.step);
        (position.min(steps.expected), steps.expected, steps.message.clone())
    }

    /// Does the work on a thread of its own and shows how far it is. The bar goes to standard error, and is not drawn
    /// when that is not a terminal.
    pub fn show<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("  [{bar:32}] {msg}").expect("the template is a constant");
        bar.set_style(style.progress_chars("=> "));
        let outcome = thread::scope(|scope| {
            let worker = scope.spawn(work);
            let mut counted = (Instant::now(), 0, 0.0);
            while !worker.is_finished() {
                let (position, expected, message) = self.state();
                bar.set_length(milliseconds(expected));
                bar.set_position(milliseconds(position));
                counted = rate(counted, self.arrived.load(Ordering::Relaxed));
                let left = (expected - position).as_secs_f64().ceil();
                bar.set_message(format!("{message}, {:.0} packets/s arrive, {left:.0} s left", counted.2));
                thread::sleep(REDRAW_EVERY);
            }
            worker.join().unwrap_or_else(|_| Err(Error::new("the measurement panicked")))
        });
        bar.finish_and_clear();
        outcome
    }
}

/// Packets per second over the last half second.
fn rate((since, count, rate): (Instant, u64, f64), now: u64) -> (Instant, u64, f64) {
    let elapsed = since.elapsed().as_secs_f64();
    if elapsed < 0.5 {
        return (since, count, rate);
    }
    (Instant::now(), now, (now - count) as f64 / elapsed)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
