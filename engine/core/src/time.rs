//! Time as the protocol sees it: a value that the caller passes in.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use crate::tai64n::Tai64N;

/// A point in time: nanoseconds of `CLOCK_BOOTTIME`, which runs on while the machine is suspended.
///
/// Arithmetic saturates: a clock that misbehaves must never panic the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `seconds` after the origin.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// The time `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it is not in the past.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `Duration` in nanoseconds; 584 years and more count as `u64::MAX`.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

/// The two clocks that the protocol reads, sampled together.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Boot time: all timers, ages and limits.
    pub mono: Time,
    /// Wall clock: nothing but the timestamp of handshake initiations.
    pub wall: Tai64N,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
        assert_eq!(Time::ZERO + Duration::MAX, Time::MAX);
        assert_eq!(Time::from_secs(1) - Duration::from_secs(2), Time::ZERO);
        assert_eq!(Time::from_secs(1).since(Time::from_secs(2)), Duration::ZERO);
        assert_eq!(Time::from_secs(u64::MAX), Time::MAX);
    }

    #[test]
    fn units_agree() {
        assert_eq!(Time::from_millis(1_500) + Duration::from_millis(500), Time::from_secs(2));
        assert_eq!(Time::from_secs(2).since(Time::from_millis(1_500)), Duration::from_millis(500));
        assert_eq!(Time::from_secs(1).as_nanos(), 1_000_000_000);
    }
}
