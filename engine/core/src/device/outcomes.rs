//! What became of handshakes, and how long they took: what an operator watches over all peers together.

use std::time::Duration;

/// Handshakes since the device was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeCounts {
    /// Those that we began and that yielded a session, by the time since the first initiation of the attempt.
    pub initiated: Durations,
    /// Those that a peer began and that yielded a session, by the time from our response to the peer's first message
    /// under it.
    pub answered: Durations,
    /// Attempts of ours that were given up after Rekey-Attempt-Time.
    pub given_up: u64,
    /// Authentic initiations of peers that we answered, whether the peer then used the session or not.
    pub responses: u64,
    /// Initiations that we made, repetitions included.
    pub initiations: u64,
}

/// Durations, counted in a fixed set of buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; Self::BUCKETS],
    sum: Duration,
}

impl Durations {
    /// How many buckets there are: one for each of [`Durations::BOUNDS`], and one for what is longer.
    pub const BUCKETS: usize = Self::BOUNDS.len() + 1;

    /// The longest duration that each bucket takes. A handshake takes a round trip, and Rekey-Timeout (5 s) more for
    /// each message that is lost: 90 s at the most. A turn of control takes less than a millisecond, or something is
    /// wrong.
    pub const BOUNDS: [Duration; 18] = [
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2500),
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(90),
    ];

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let bucket = Self::BOUNDS.iter().position(|&longest| took <= longest).unwrap_or(Self::BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How many there are in each bucket.
    pub const fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.counts
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_takes_it() {
        let mut durations = Durations::default();
        for (millis, bucket) in [(0, 0), (1, 4), (2, 5), (5, 6), (90_000, 17), (90_001, 18)] {
            let before = durations.counts()[bucket];
            durations.record(Duration::from_millis(millis));
            assert_eq!(durations.counts()[bucket], before + 1, "{millis} ms");
        }
        assert_eq!((durations.count(), durations.sum()), (6, Duration::from_millis(180_009)));
        assert!(Durations::BOUNDS.is_sorted());
    }
}
