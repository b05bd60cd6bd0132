//! Signals that end a command which goes on until then.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::control::error::DaemonError;

/// SIGINT, SIGTERM and SIGHUP, to be polled.
pub struct Signals(SignalFd);

impl Signals {
    /// They are blocked from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn take() -> Result<Self, DaemonError> {
        let failed = |errno| DaemonError::system("receive signals", errno);
        let mut signals = SigSet::empty();
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| signals.add(signal));
        signals.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&signals, flags).map(Self).map_err(failed)
    }

    /// Whether one has come since this was last asked.
    pub fn came(&self) -> bool {
        self.0.read_signal().is_ok_and(|signal| signal.is_some())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
