//! The figures that come of a measurement.

use std::collections::BTreeMap;

use ringfort_traffic::Percentiles;

use crate::results::model::{MemorySample, Series};
use crate::setup::{SetUp, Spent};

/// What a measurement gives.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By name; see `matrix`.
    pub figures: BTreeMap<String, f64>,
    /// Percent, nanoseconds.
    pub latency_ns: Vec<(f64, u64)>,
    /// Of both gateways.
    pub memory: Vec<MemorySample>,
    /// How figures went on.
    pub series: Vec<Series>,
}

impl Measured {
    /// Notes a figure; what is not a number (nothing arrived, so nothing can be divided by it) is left out.
    pub fn note(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
    }

    pub fn note_times(&mut self, times: Option<&Percentiles>, names: &[(&str, f64)]) {
        let Some(times) = times else { return };
        self.latency_ns = percentiles(times);
        for (name, percent) in names {
            let found = self.latency_ns.iter().find(|(known, _)| known == percent);
            if let Some((_, nanoseconds)) = found.copied() {
                self.note(name, nanoseconds as f64);
            }
        }
    }

    pub fn note_peaks(&mut self, set_up: &SetUp) {
        if let Some([sender, receiver]) = set_up.memory_peaks_kib() {
            self.note("memory_peak_sender", sender as f64);
            self.note("memory_peak_receiver", receiver as f64);
        }
    }

    pub fn note_cpu_per_gigabyte(&mut self, spent: &Spent, bytes: f64) {
        self.note("cpu_per_gb", spent.cpu_s_both() / bytes * 1e9);
        self.note("cpu_per_gb_sender", spent.cpu_s[0] / bytes * 1e9);
        self.note("cpu_per_gb_receiver", spent.cpu_s[1] / bytes * 1e9);
        self.note("cores_per_gbps", spent.cpu_s_both() / (bytes * 8.0) * 1e9);
    }

    /// In nanoseconds.
    pub fn note_cpu_per_transaction(&mut self, spent: &Spent, transactions: f64) {
        self.note("cpu_per_transaction", spent.cpu_s_both() / transactions * 1e9);
        self.note("cpu_per_transaction_sender", spent.cpu_s[0] / transactions * 1e9);
        self.note("cpu_per_transaction_receiver", spent.cpu_s[1] / transactions * 1e9);
    }
}

/// Those that so many packets can tell: a hundredth of a hundred packets is one.
fn percentiles(times: &Percentiles) -> Vec<(f64, u64)> {
    let known = [(0.0, times.min), (50.0, times.p50), (90.0, times.p90), (99.0, times.p99), (99.9, times.p99_9)];
    let known = known.into_iter().chain([(99.99, times.p99_99), (100.0, times.max)]);
    let beyond = |percent: f64| (100.0 - percent) / 100.0 * times.count as f64;
    known.filter(|(percent, _)| *percent == 100.0 || beyond(*percent) >= 0.999).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_need_packets() {
        let times = |count| Percentiles {
            count,
            min: 1,
            mean: 3.0,
            stdev: 1.0,
            p50: 2,
            p90: 3,
            p99: 4,
            p99_9: 5,
            p99_99: 6,
            max: 7,
        };
        let last_but_one = |count| percentiles(&times(count)).into_iter().rev().nth(1);
        assert_eq!(last_but_one(20_000), Some((99.99, 6)));
        assert_eq!(last_but_one(1_000), Some((99.9, 5)));
        assert_eq!(last_but_one(999), Some((99.0, 4)));
        assert_eq!(last_but_one(10), Some((90.0, 3)));
        assert_eq!(percentiles(&times(5)).last(), Some(&(100.0, 7)));
    }

    #[test]
    fn what_cannot_be_divided_is_left_out() {
        let mut measured = Measured::default();
        measured.note_cpu_per_gigabyte(&Spent { cpu_s: [1.0, 0.5], wakeups: [0, 0] }, 0.0);
        assert!(measured.figures.is_empty());
        measured.note_cpu_per_gigabyte(&Spent { cpu_s: [1.0, 0.5], wakeups: [0, 0] }, 5e8);
        assert_eq!(measured.figures["cpu_per_gb"], 3.0);
        assert_eq!(measured.figures["cpu_per_gb_sender"], 2.0);
        assert_eq!(measured.figures["cores_per_gbps"], 0.375);
    }

    #[test]
    fn cpu_time_of_a_transaction_is_in_nanoseconds() {
        let mut measured = Measured::default();
        measured.note_cpu_per_transaction(&Spent { cpu_s: [1.0, 0.5], wakeups: [0, 0] }, 1e5);
        let figures = ["", "_sender", "_receiver"].map(|side| measured.figures[&format!("cpu_per_transaction{side}")]);
        assert_eq!(figures, [15_000.0, 10_000.0, 5_000.0]);
    }
}
