//! Why a ring or its memory could not be had, in one sentence with the remedy.

use std::io;

use crate::enter::PushError;

/// A failure while a ring or an arena is set up, or while a ring is told of other files.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// `io_uring_setup` is refused by `kernel.io_uring_disabled` or a seccomp filter (`EPERM`), or is not built in
    /// (`ENOSYS`).
    #[error(
        "io_uring is disabled on this system ({0}): set kernel.io_uring_disabled=0 (sysctl), or allow io_uring in the \
         container's seccomp profile"
    )]
    Disabled(io::Error),
    /// The kernel knows io_uring, but lacks something that Ringfort needs.
    #[error("this kernel's io_uring lacks {0}: Linux 6.1 or later is needed, 6.12 or later is recommended")]
    Missing(String),
    /// The locked-memory limit does not cover the arena (`ENOMEM` from buffer registration).
    #[error(
        "cannot lock {needed} bytes of packet memory: raise RLIMIT_MEMLOCK (ulimit -l, or LimitMEMLOCK= in the service)"
    )]
    LockedMemory {
        /// Bytes that one worker registers with its ring.
        needed: usize,
    },
    /// The arena's mapping was refused.
    #[error("cannot map {bytes} bytes of packet memory: {source}")]
    Map {
        /// Size of the mapping in bytes.
        bytes: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The arena would be in core dumps, with what peers say to each other.
    #[error(
        "cannot leave packet memory out of core dumps ({0}): allow madvise in the seccomp profile of the container or \
         service"
    )]
    Dumped(io::Error),
    /// A buffer group is to end while operations take buffers from it.
    #[error("buffer group {group} is in use by {operations} operations: cancel them, and reap their completions first")]
    GroupInUse {
        /// Its number.
        group: u16,
        /// Operations in flight that take buffers from it.
        operations: u16,
    },
    /// A buffer group is registered with another ring, or with none any more.
    #[error("buffer group {0} is not registered with this ring")]
    ForeignGroup(u16),
    /// The ring did not take an operation that the step needs.
    #[error("io_uring: {0}")]
    Push(#[from] PushError),
    /// Any other failing step of the set-up.
    #[error("io_uring: {step} failed: {source}")]
    Setup {
        /// The call that failed.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl RingError {
    pub(crate) fn setup(step: &'static str, source: io::Error) -> Self {
        Self::Setup { step, source }
    }

    /// Whether it is about this moment, see [`PushError::passes`].
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Push(why) if why.passes())
    }
}
