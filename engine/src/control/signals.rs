//! The signals that the daemon obeys: SIGTERM and SIGINT end it, SIGHUP reads its configuration again, SIGUSR1 opens
//! the file of the log anew. SIGUSR2 means nothing, and must not kill.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
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

/// Lets some time pass during the start, in which a signal ends it.
///
/// # Errors
/// [`DaemonError::Interrupted`].
pub fn pause(signals: &SignalFd, time: Duration) -> Result<(), DaemonError> {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(0) | Err(Errno::EINTR) => Ok(()),
        Ok(_) => match received(signals) {
            Some(signal @ (Signal::SIGTERM | Signal::SIGINT)) => Err(DaemonError::Interrupted(signal)),
            // What was just read or opened needs not be read or opened anew.
            _ => Ok(()),
        },
        Err(errno) => Err(DaemonError::system("wait for signals", errno)),
    }
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
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn a_signal_ends_a_pause() {
        let signals = take().unwrap();
        pause(&signals, Duration::from_millis(1)).unwrap();
        for ignored in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP] {
            raise(ignored).unwrap();
            pause(&signals, Duration::from_secs(600)).unwrap();
        }
        raise(Signal::SIGTERM).unwrap();
        let end = pause(&signals, Duration::from_secs(600)).unwrap_err();
        assert!(matches!(end, DaemonError::Interrupted(Signal::SIGTERM)), "{end}");
        assert_eq!(end.exit_status(), 1);
    }
}
