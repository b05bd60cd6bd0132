//! How the clocks of two hosts compare, by round trips of the control connection, as NTP does it (RFC 5905, section 8).
//!
//! ```text
//!   generator   t1 ─────────────────────► t4          offset  = ((t2 − t1) + (t3 − t4)) / 2
//!                  ╲                     ╱             error  ≤ ((t4 − t1) − (t3 − t2)) / 2
//!   reflector       ► t2 ─────────── t3 ╱
//! ```
//!
//! The error is a bound, not a guess: whatever each direction took, the offset is not farther off than half of what
//! both took together. So of all round trips the shortest says the most.

use std::time::{Duration, Instant};

use ringfort_testbed::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Round trips at the least and at the most.
const PROBES: std::ops::RangeInclusive<usize> = 8..=100;
/// More than the least are made within this time only.
const PROBING: Duration = Duration::from_millis(300);

/// How the clocks of generator and reflector compared during a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clocks {
    /// What the reflector's clock showed beyond the generator's before the load, in nanoseconds. One-way times are
    /// corrected by it.
    pub offset_ns: i64,
    /// No one-way time is wrong by more than this, in nanoseconds.
    pub error_ns: u64,
    /// By how much the offset had changed after the load, in nanoseconds. It is part of the error.
    pub drift_ns: i64,
    /// The shortest round trip of the control connection before the load, in nanoseconds.
    pub round_trip_ns: u64,
}

impl Clocks {
    /// From what was estimated before a load and after it. In between the offset went from one to the other.
    pub(crate) fn over(before: Estimate, after: Estimate) -> Self {
        let drift_ns = after.offset_ns.saturating_sub(before.offset_ns);
        let error_ns = before.error_ns.max(after.error_ns.saturating_add(drift_ns.unsigned_abs()));
        Self { offset_ns: before.offset_ns, error_ns, drift_ns, round_trip_ns: before.round_trip_ns }
    }
}

/// The four times of a round trip, in nanoseconds: left, received, answered, returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe(pub(crate) [u64; 4]);

/// What round trips say about the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) offset_ns: i64,
    pub(crate) error_ns: u64,
    pub(crate) round_trip_ns: u64,
}

impl Estimate {
    /// By the shortest of some round trips.
    ///
    /// # Errors
    /// The first of `probe`.
    pub(crate) fn by(mut probe: impl FnMut() -> Result<Probe>) -> Result<Self> {
        let begun = Instant::now();
        let mut best = Self::of(probe()?);
        let mut probes = 1;
        while probes < *PROBES.start() || (probes < *PROBES.end() && begun.elapsed() < PROBING) {
            let next = Self::of(probe()?);
            if next.round_trip_ns < best.round_trip_ns {
                best = next;
            }
            probes += 1;
        }
        Ok(best)
    }

    fn of(Probe(times): Probe) -> Self {
        let [left, received, answered, returned] = times.map(i128::from);
        // A reflector whose clock runs backwards says nothing.
        let away = (returned - left).max(0);
        let round_trip = (away - (answered - received).clamp(0, away)).max(1);
        let offset = ((received - left) + (answered - returned)) / 2;
        let bounded = offset.clamp(i128::from(i64::MIN / 2), i128::from(i64::MAX / 2));
        Self {
            offset_ns: i64::try_from(bounded).unwrap_or_default(),
            // Half of an odd number of nanoseconds is rounded up.
            error_ns: u64::try_from((round_trip + 1) / 2).unwrap_or(u64::MAX),
            round_trip_ns: u64::try_from(round_trip).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_symmetric_way_has_no_error_at_all() {
        // The reflector's clock is 1,000 ahead; each direction takes 40, the reflector 15.
        let estimate = Estimate::of(Probe([100, 1_140, 1_155, 195]));
        assert_eq!(estimate, Estimate { offset_ns: 1_000, error_ns: 40, round_trip_ns: 80 });
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        let mut ways = [(900, 100), (30, 20), (500, 500)].into_iter().cycle();
        let estimate = Estimate::by(|| {
            let (there, back) = ways.next().unwrap();
            Ok(Probe([0, there + 7_000, there + 7_000, there + back]))
        });
        assert_eq!(estimate.unwrap(), Estimate { offset_ns: 7_005, error_ns: 25, round_trip_ns: 50 });
    }

    #[test]
    fn a_clock_that_drifts_is_part_of_the_error() {
        let at = |offset_ns, error_ns| Estimate { offset_ns, error_ns, round_trip_ns: 2 * error_ns };
        let clocks = Clocks::over(at(-500, 30), at(-900, 20));
        assert_eq!(clocks, Clocks { offset_ns: -500, error_ns: 420, drift_ns: -400, round_trip_ns: 60 });
    }

    proptest! {
        /// Whatever the directions take and the clocks show.
        #[test]
        fn the_true_offset_is_within_the_error(
            offset in -1_000_000_000_i64..1_000_000_000, there in 0_u64..1_000_000, back in 0_u64..1_000_000,
            work in 0_u64..1_000_000,
        ) {
            let left = 5_000_000_000_u64;
            let received = (left + there).saturating_add_signed(offset);
            let probe = Probe([left, received, received + work, left + there + work + back]);
            let estimate = Estimate::of(probe);
            prop_assert!(estimate.offset_ns.abs_diff(offset) <= estimate.error_ns, "{estimate:?}");
        }

        #[test]
        fn nonsense_does_no_harm(times: [u64; 4]) {
            let estimate = Estimate::of(Probe(times));
            let _ = Clocks::over(estimate, estimate);
        }
    }
}
