//! The two clocks, read at the edge and passed inwards.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::{Now, Time};

/// Time since boot, suspend included: what the protocol's timers count in, so a session does not outlive a night
/// in suspend.
///
/// # Panics
/// If the system has no `CLOCK_BOOTTIME`, which Linux has had since 2.6.39.
#[must_use]
pub fn boot_time() -> Time {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
    let seconds = u64::try_from(now.tv_sec()).expect("time since boot is not negative");
    let nanos = u64::try_from(now.tv_nsec()).expect("nanoseconds are not negative");
    Time(seconds * 1_000_000_000 + nanos)
}

/// The wall clock in seconds since 1970. Before that it reads as 1970.
#[must_use]
pub fn unix_secs() -> u64 {
    wall_time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The wall clock.
#[must_use]
pub fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// Both clocks. A wall clock before 1970 reads as 1970.
///
/// # Panics
/// As [`boot_time`]; the wall clock is as old as Unix.
#[must_use]
pub fn now() -> Now {
    let wall = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has CLOCK_REALTIME");
    let seconds = u64::try_from(wall.tv_sec()).unwrap_or(0);
    let nanos = u32::try_from(wall.tv_nsec()).unwrap_or(0);
    Now { mono: boot_time(), wall: Tai64N::from_unix(seconds, nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let first = boot_time();
        assert!(first.0 > 0);
        assert!(boot_time() >= first);
    }

    #[test]
    fn the_wall_clock_is_this_century_s() {
        let now = now();
        assert!(now.wall > Tai64N::from_unix(1_700_000_000, 0));
        assert!(now.wall < Tai64N::from_unix(4_102_444_800, 0));
    }
}
