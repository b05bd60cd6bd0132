//! Waking up at a deadline, also at one that passes while the machine is suspended.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use ringfort_core::time::Time;

use super::error::DaemonError;

/// A timer on the protocol's clock. Its descriptor is readable once the deadline has come.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    deadline: Option<Time>,
}

impl Alarm {
    /// Without a deadline.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self, DaemonError> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags);
        let timer = timer.map_err(|errno| DaemonError::system("make a timer", errno))?;
        Ok(Self { timer, deadline: None })
    }

    /// Replaces the deadline; `None` waits for nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn set(&mut self, deadline: Option<Time>) -> Result<(), DaemonError> {
        if deadline == self.deadline {
            return Ok(());
        }
        let set = match deadline {
            Some(Time(nanos)) => {
                const NANOS_PER_SECOND: u64 = 1_000_000_000;
                // Zero would disarm the timer. Seconds up to u64::MAX / 10^9 and the remainder fit their types.
                let nanos = nanos.max(1);
                let at = TimeSpec::new((nanos / NANOS_PER_SECOND) as i64, (nanos % NANOS_PER_SECOND) as i64);
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.timer.unset(),
        };
        set.map_err(|errno| DaemonError::system("set a timer", errno))?;
        self.deadline = deadline;
        Ok(())
    }

    /// It was found readable: it is so no longer, and the same deadline may be set again.
    pub fn rang(&mut self) {
        // Setting it anew clears what has expired; until then the descriptor must not be readable, so it is read.
        let _ = nix::unistd::read(&self.timer, &mut [0; 8]);
        self.deadline = None;
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use ringfort_worker::clock::boot_time;

    use super::*;

    fn rings_within(alarm: &Alarm, millis: u16) -> bool {
        let mut fds = [PollFd::new(alarm.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(millis)).unwrap() == 1
    }

    #[test]
    fn it_rings_at_the_deadline_and_not_without_one() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!rings_within(&alarm, 0));
        let soon = boot_time() + Duration::from_millis(20);
        alarm.set(Some(soon)).unwrap();
        assert!(rings_within(&alarm, 5000));
        assert!(boot_time() >= soon);
        alarm.rang();
        assert!(!rings_within(&alarm, 0));
        alarm.set(Some(Time::MAX)).unwrap();
        assert!(!rings_within(&alarm, 0));
        for past in [Time::ZERO, soon] {
            alarm.set(Some(past)).unwrap();
            assert!(rings_within(&alarm, 5000), "a deadline in the past rings at once");
            alarm.rang();
        }
        alarm.set(Some(soon)).unwrap();
        alarm.set(None).unwrap();
        assert!(!rings_within(&alarm, 0));
    }
}
