//! The signals that the daemon obeys: SIGTERM and SIGINT end it, SIGHUP reads its configuration again, SIGUSR1 opens
//! the file of the log anew. SIGUSR2 means nothing, and must not kill.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::DaemonError;

/// The signals as a descriptor. They are blocked for this thread and those that it starts.
///
/// # Errors
/// The system's.
pub fn take() -> Result<SignalFd, DaemonError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGUSR1);
    signals.add(Signal::SIGUSR2);
    // A blocked signal would be delivered here even if it is ignored, and nohup(1) means what it says.
    if !is_ignored(Signal::SIGHUP) {
        signals.add(Signal::SIGHUP);
    }
    let step = "receive signals";
    signals.thread_block().map_err(|errno| DaemonError::system(step, errno))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&signals, flags).map_err(|errno| DaemonError::system(step, errno))
}

/// The signal that came, if one did.
#[must_use]
pub fn received(signals: &SignalFd) -> Option<Signal> {
    let info = signals.read_signal().ok().flatten()?;
    Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
}

/// Whether a signal has come that was not received yet.
#[must_use]
pub fn has_come(signals: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(signals, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Lets some time pass during the start, in which a signal ends it. A reload that is asked for meanwhile is left to the
/// control loop.
///
/// # Errors
/// [`DaemonError::Interrupted`].
pub fn pause(signals: &SignalFd, time: Duration) -> Result<(), DaemonError> {
    let deadline = Instant::now() + time;
    let mut is_reload_wanted = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last millisecond would be spent in turns.
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(DaemonError::system("wait for signals", errno)),
            Ok(0) => break,
            Ok(_) => match received(signals) {
                Some(signal @ (Signal::SIGTERM | Signal::SIGINT)) => return Err(DaemonError::Interrupted(signal)),
                Some(Signal::SIGHUP) => is_reload_wanted = true,
                // The log was just opened, and needs not be opened anew.
                Some(_) => {}
                None => break,
            },
        }
    }
    if is_reload_wanted {
        // The file may have been read before it was changed. The signal is blocked, so it waits to be received.
        raise(Signal::SIGHUP).map_err(|errno| DaemonError::system("keep a signal for later", errno))?;
    }
    Ok(())
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: sigaction is a C structure of integers, for which all zeroes are a value: no handler, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with a null pointer nothing is changed, and one sigaction is stored at the other, that of a live one.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_pause_and_a_reload_waits() {
        let signals = take().unwrap();
        for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP] {
            raise(signal).unwrap();
        }
        for _ in 0..2 {
            pause(&signals, Duration::from_millis(1)).unwrap();
        }
        assert_eq!((received(&signals), received(&signals)), (Some(Signal::SIGHUP), None));
        raise(Signal::SIGTERM).unwrap();
        let end = pause(&signals, Duration::from_secs(600)).unwrap_err();
        assert!(matches!(end, DaemonError::Interrupted(Signal::SIGTERM)), "{end}");
        assert_eq!(end.exit_status(), 1);
    }

    #[test]
    fn a_signal_that_has_come_is_seen_and_stays() {
        let signals = take().unwrap();
        assert!(!has_come(signals.as_fd()));
        raise(Signal::SIGTERM).unwrap();
        assert!(has_come(signals.as_fd()) && has_come(signals.as_fd()));
        assert_eq!((received(&signals), has_come(signals.as_fd())), (Some(Signal::SIGTERM), false));
    }

    /// Whoever reads without having been told that there is something may wait for ever.
    #[test]
    fn a_pause_without_a_signal_ends_also_where_reading_would_wait() {
        let signals = SignalFd::new(&SigSet::empty()).unwrap();
        pause(&signals, Duration::from_millis(1)).unwrap();
    }
}
