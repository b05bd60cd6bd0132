//! The two clocks, read at the edge and passed inwards.

use nix::time::{ClockId, clock_gettime};
use ringfort_core::time::Time;

/// Time since boot, suspend included: what the protocol's timers count in, so that a session does not outlive a night
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let first = boot_time();
        assert!(first.0 > 0);
        assert!(boot_time() >= first);
    }
}
