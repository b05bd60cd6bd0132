//! Figures with their units, as people read them.

use crate::results::model::Unit;
use crate::text::grouped;

/// How figures of one size are written, so a median and its range look alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    factor: f64,
    decimals: usize,
    suffix: &'static str,
}

impl Scale {
    /// For figures around `magnitude`: three significant digits, but never less than whole numbers.
    pub fn of(unit: Unit, magnitude: f64) -> Self {
        let (factor, suffix) = match (unit, magnitude.abs()) {
            (Unit::MegabitsPerSecond, _) => (1.0, "Mbit/s"),
            (Unit::GigabytesPerSecond, _) => (1.0, "GB/s"),
            (Unit::PacketsPerSecond, m) if m >= 1e6 => (1e-6, "Mpps"),
            (Unit::PacketsPerSecond, m) if m >= 1e3 => (1e-3, "kpps"),
            (Unit::PacketsPerSecond, _) => (1.0, "pps"),
            (Unit::PerSecond, _) => (1.0, "/s"),
            (Unit::Nanoseconds, m) if m >= 1e9 => (1e-9, "s"),
            (Unit::Nanoseconds, m) if m >= 1e6 => (1e-6, "ms"),
            (Unit::Nanoseconds, m) if m >= 1e3 => (1e-3, "µs"),
            (Unit::Nanoseconds, _) => (1.0, "ns"),
            (Unit::CpuSecondsPerGigabyte | Unit::CpuSecondsPerMillionPackets, _) => (1.0, "s"),
            (Unit::CoresPerGigabit, _) => (1.0, ""),
            (Unit::Percent, _) => (1.0, "%"),
            (Unit::Kibibytes, _) => (1.0 / 1024.0, "MiB"),
            (Unit::Number, _) => (1.0, ""),
        };
        let decimals = match (magnitude * factor).abs() {
            m if m >= 99.95 || m == 0.0 => 0,
            m if m >= 9.995 => 1,
            m if m >= 0.9995 => 2,
            _ => 3,
        };
        Self { factor, decimals, suffix }
    }

    /// The number alone.
    pub fn number(self, value: f64) -> String {
        let scaled = value * self.factor;
        if self.decimals == 0 && scaled >= 0.0 {
            grouped(scaled.round() as u64)
        } else {
            format!("{scaled:.*}", self.decimals)
        }
    }

    /// The number and its unit.
    pub fn value(self, value: f64) -> String {
        format!("{} {}", self.number(value), self.suffix).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_unit() {
        let show = |unit, value| Scale::of(unit, value).value(value);
        assert_eq!(show(Unit::MegabitsPerSecond, 4_461.4), "4,461 Mbit/s");
        assert_eq!(show(Unit::PacketsPerSecond, 71_234.0), "71.2 kpps");
        assert_eq!(show(Unit::PacketsPerSecond, 1_500_000.0), "1.50 Mpps");
        assert_eq!(show(Unit::Nanoseconds, 640.0), "640 ns");
        assert_eq!(show(Unit::Nanoseconds, 99_970.0), "100 µs");
        assert_eq!(show(Unit::Kibibytes, 19_456.0), "19.0 MiB");
        assert_eq!(show(Unit::CoresPerGigabit, 0.231_2), "0.231");
        assert_eq!(show(Unit::PerSecond, 0.0), "0 /s");
        assert_eq!(Scale::of(Unit::Nanoseconds, 204_000.0).number(2_500_000.0), "2,500");
    }
}
