//! A stage of a run: a bar that moves while it works, and one line when it is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringfort_testbed::{Error, Result};

const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Runs `work`, which counts into the number that it is given, and shows `describe(count, elapsed)` meanwhile. The bar
/// goes to standard error, and is not drawn when that is not a terminal.
pub fn run<T: Send>(
    name: &str,
    expected: Duration,
    describe: impl Fn(u64, Duration) -> String,
    work: impl FnOnce(&AtomicU64) -> Result<T> + Send,
) -> Result<T> {
    let bar = ProgressBar::new(u64::try_from(expected.as_millis()).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("  {prefix:12} [{bar:32}] {msg}").expect("the template is a constant");
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    let count = AtomicU64::new(0);
    let start = Instant::now();
    let outcome = thread::scope(|scope| {
        let worker = scope.spawn(|| work(&count));
        while !worker.is_finished() {
            let elapsed = start.elapsed();
            bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            bar.set_message(describe(count.load(Ordering::Relaxed), elapsed));
            thread::sleep(REDRAW_EVERY);
        }
        worker.join().unwrap_or_else(|_| Err(Error::new(format!("the stage {name} panicked"))))
    });
    bar.finish_and_clear();
    outcome
}
