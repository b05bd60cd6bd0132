//! Numbers as people read them, and percentiles. Tables are in `table`.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringfort_testbed::{Context, Error, Result};

pub use crate::table::table;

/// The first line that could not be printed.
static UNSHOWN: OnceLock<Error> = OnceLock::new();

/// Prints a line. A reader who has seen enough (`| head`) closes the pipe; that is no error, and no reason to panic.
/// Anything else is one, but no reason to give up a measurement: [`shown`] says it at the end.
pub fn show(line: impl Display) {
    if let Err(error) = put(&mut std::io::stdout(), &format!("{line}\n")) {
        // The first one says it.
        let _ = UNSHOWN.set(error);
    }
}

/// Whether all that was to be printed was.
///
/// # Errors
/// A full disk, for example.
pub fn shown() -> Result<()> {
    UNSHOWN.get().map_or(Ok(()), |error| Err(Error::new(error.to_string())))
}

/// Writes all of a text to standard output. A reader who closes the pipe has seen enough.
///
/// # Errors
/// It does not take everything.
pub fn put(output: &mut impl Write, text: &str) -> Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("writing to standard output"),
        _ => Ok(()),
    }
}

/// One hour, in nanoseconds: longer times count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Times in a histogram of three significant digits.
pub struct Times(Histogram<u64>);

impl Times {
    /// Takes them in.
    pub fn of(times: &[Duration]) -> Self {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are constants in order");
        for time in times {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
        Self(histogram)
    }

    /// The value below which `percent` of the times lie; a dash when there are none.
    pub fn percentile(&self, percent: f64) -> String {
        if self.0.is_empty() {
            return "–".to_owned();
        }
        duration(Duration::from_nanos(self.0.value_at_percentile(percent)))
    }
}

/// `640 ns`, `7.3 µs`, `873 µs`, `12.4 ms`, `1.50 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-5 => format!("{:.1} µs", s * 1e6),
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate in Mbit/s, without decimals.
pub fn megabits(rate: f64) -> String {
    format!("{} Mbit/s", grouped(rate.round() as u64))
}

/// KiB as MiB with one decimal; a dash for none.
pub fn mebibytes(kib: Option<u64>) -> String {
    kib.map_or("–".to_owned(), |kib| format!("{:.1} MiB", kib as f64 / 1024.0))
}

/// A ratio: `6.33`, `0.072`, `128`.
pub fn ratio(value: f64) -> String {
    match value {
        v if v >= 99.95 => grouped(v.round() as u64),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.0995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_may_leave_but_a_disk_may_not_be_full() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        put(&mut writer, "text").unwrap();
        let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let error = put(&mut full, "text").unwrap_err().to_string();
        assert!(error.contains("standard output") && error.contains("No space"), "{error}");
    }

    #[test]
    fn ratios() {
        assert_eq!([6.333, 0.072_1, 128.4, 0.4].map(ratio), ["6.33", "0.072", "128", "0.40"]);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn times_have_their_unit() {
        assert_eq!(duration(Duration::from_micros(873)), "873 µs");
        assert_eq!(duration(Duration::from_micros(12_400)), "12.4 ms");
        assert_eq!(duration(Duration::from_millis(1_500)), "1.50 s");
    }

    #[test]
    fn percentiles_of_known_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(Times::of(&times).percentile(50.0), "50 µs");
        assert_eq!(Times::of(&times).percentile(100.0), "100 µs");
        assert_eq!(Times::of(&[]).percentile(50.0), "–");
    }
}
