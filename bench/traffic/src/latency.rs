//! Times in a histogram of three significant digits, and what is said about them.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One minute in nanoseconds: longer times count as this.
const LONGEST_NS: u64 = 60_000_000_000;

/// Times in nanoseconds, to three significant digits; its memory is allocated at once.
#[derive(Clone, Debug)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        let times = hdrhistogram::Histogram::new_with_bounds(1, LONGEST_NS, 3);
        Self(times.expect("the bounds are constants in order"))
    }
}

impl Histogram {
    /// Takes in one time.
    pub fn record(&mut self, time_ns: u64) {
        self.0.saturating_record(time_ns);
    }

    /// Takes in all times of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all of them have the same bounds");
    }

    /// How many times were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percent` of the recorded ones do not exceed; `None` when there are none.
    #[must_use]
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_percentile(percent))
    }

    /// What is said about them; `None` when there are none.
    #[must_use]
    pub fn summary(&self) -> Option<Percentiles> {
        let at = |percent| self.percentile_ns(percent);
        Some(Percentiles {
            count: self.count(),
            min: self.0.min(),
            mean: self.0.mean(),
            stdev: self.0.stdev(),
            p50: at(50.0)?,
            p90: at(90.0)?,
            p99: at(99.0)?,
            p99_9: at(99.9)?,
            p99_99: at(99.99)?,
            max: self.0.max(),
        })
    }
}

/// As pairs of a time and how often it was recorded: one for each time that occurs, to three digits.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut times = Self::default();
        for (time_ns, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            times.0.saturating_record_n(time_ns, count);
        }
        Ok(times)
    }
}

/// Order statistics of times; the field that holds it names the unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// How many times these are about.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The standard deviation.
    pub stdev: f64,
    /// The median.
    pub p50: u64,
    /// 90 % do not exceed it.
    pub p90: u64,
    /// 99 % do not exceed it.
    pub p99: u64,
    /// 99.9 % do not exceed it.
    pub p99_9: u64,
    /// 99.99 % do not exceed it.
    pub p99_99: u64,
    /// The longest.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_times() {
        let mut times = Histogram::default();
        (1..=1_000).for_each(|time_ns| times.record(time_ns));
        let summary = times.summary().unwrap();
        assert_eq!((summary.count, summary.min, summary.max), (1_000, 1, 1_000));
        assert_eq!((summary.p50, summary.p90, summary.p99), (500, 900, 990));
        assert!((summary.mean - 500.5).abs() < 0.5, "{summary:?}");
    }

    #[test]
    fn no_times_have_no_percentiles() {
        assert_eq!(Histogram::default().summary(), None);
        assert_eq!(Histogram::default().percentile_ns(50.0), None);
    }

    #[test]
    fn merging_is_recording_both() {
        let (mut left, mut right, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for time_ns in 1..500 {
            left.record(time_ns * 7);
            right.record(time_ns * 1_000);
            both.record(time_ns * 7);
            both.record(time_ns * 1_000);
        }
        left.merge(&right);
        assert_eq!(left.summary(), both.summary());
    }

    #[test]
    fn a_histogram_crosses_a_connection_whole() {
        let mut times = Histogram::default();
        (1..=50_000_u64).for_each(|number| times.record(number * number % 7_919 * 1_013));
        let text = serde_json::to_string(&times).unwrap();
        let again: Histogram = serde_json::from_str(&text).unwrap();
        assert_eq!(again.summary(), times.summary());
        assert!(serde_json::from_str::<Histogram>("[[1]]").is_err());
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_bound() {
        let mut times = Histogram::default();
        times.record(0);
        times.record(u64::MAX);
        assert_eq!(times.count(), 2);
        assert!(times.summary().unwrap().max >= LONGEST_NS);
    }
}
