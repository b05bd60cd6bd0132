//! Tables, numbers as people read them, and percentiles.

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;

/// A table with its first row; all columns but the first are aligned to the right.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
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

/// `873 µs`, `12.4 ms`, `1.50 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
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

#[cfg(test)]
mod tests {
    use super::*;

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
