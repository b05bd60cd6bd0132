//! Why a worker cannot go on, whose fault that is, and what it tells control of it.

use std::io;

use ring_buffers::{EnterError, Entered, PushError, RingError};

use crate::fault::Fault;

/// What ends a worker, and with it the daemon.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The TUN interface is gone, by itself or with its network namespace.
    #[error("the TUN interface was deleted")]
    DeviceGone,
    /// The system has run out of something.
    #[error(
        "cannot {step}: {source}; the machine, or the service's share of it, is short of memory or descriptors: raise \
         the limit (MemoryMax=, LimitNOFILE= in the service), or use fewer workers"
    )]
    Exhausted {
        /// What was tried.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The system forbids what the ring needs, though it let it be set up.
    #[error(
        "cannot {step}: {source}; a filter of system calls around the gateway (a seccomp profile, an eBPF policy, a \
         security module) has to allow io_uring_enter"
    )]
    Forbidden {
        /// What was tried.
        step: &'static str,
        /// What the ring says.
        source: EnterError,
    },
    /// A call failed that has no reason to.
    #[error("cannot {step}: {source}; this is a bug of ringfort or of the kernel")]
    Unexpected {
        /// What was tried.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The thread panicked.
    #[error("it panicked; this is a bug")]
    Panicked,
}

/// A worker that cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker} stopped: {error}")]
pub struct WorkerFailure {
    /// Which one.
    pub worker: usize,
    /// What happened, and whose fault it is.
    pub error: WorkerError,
}

impl WorkerError {
    /// A failed call.
    pub(crate) fn at(step: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.raw_os_error() {
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE) => Self::Exhausted { step, source },
            _ => Self::Unexpected { step, source },
        }
    }

    /// A failed `io_uring_enter`.
    pub(crate) fn enter(error: EnterError) -> Self {
        Self::entering("enter the io_uring (io_uring_enter)", error)
    }

    /// An operation that the ring did not take.
    pub(crate) fn push(error: PushError) -> Self {
        Self::pushing("submit to the io_uring (io_uring_enter)", error)
    }

    /// A ring that refuses something after its set-up.
    pub(crate) fn ring(step: &'static str, error: RingError) -> Self {
        match error {
            RingError::Setup { source, .. } => Self::at(step, source),
            RingError::Push(why) => Self::pushing(step, why),
            other => Self::Unexpected { step, source: io::Error::other(other) },
        }
    }

    /// The ring's own words say more than those of the number.
    fn entering(step: &'static str, error: EnterError) -> Self {
        match error {
            EnterError::CompletionsLost => Self::Exhausted { step, source: io::Error::other(error) },
            EnterError::Forbidden(_) => Self::Forbidden { step, source: error },
            EnterError::Other(errno) => Self::at(step, io::Error::from_raw_os_error(errno)),
            EnterError::ShuttingDown
            | EnterError::WrongThread
            | EnterError::Disabled
            | EnterError::NotARing
            | EnterError::Invalid
            | EnterError::Fault => Self::Unexpected { step, source: io::Error::other(error) },
        }
    }

    fn pushing(step: &'static str, error: PushError) -> Self {
        match error {
            PushError::Enter(why) => Self::entering(step, why),
            PushError::Stuck(Entered::ShortOfMemory) => Self::Exhausted { step, source: io::Error::other(error) },
            other => Self::Unexpected { step, source: io::Error::other(other) },
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::DeviceGone | Self::Exhausted { .. } | Self::Forbidden { .. } => Fault::System,
            Self::Unexpected { .. } | Self::Panicked => Fault::Bug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: i32) -> WorkerError {
        let source = io::Error::from_raw_os_error(errno);
        WorkerError::ring("use new UDP sockets", RingError::Setup { step: "replacing a registered file", source })
    }

    #[test]
    fn only_what_has_no_other_reason_is_called_a_bug() {
        for (error, fault) in [
            (WorkerError::DeviceGone, Fault::System),
            (failed(libc::ENOMEM), Fault::System),
            (failed(libc::EMFILE), Fault::System),
            (failed(libc::EBADF), Fault::Bug),
            (WorkerError::enter(EnterError::CompletionsLost), Fault::System),
            (WorkerError::enter(EnterError::Forbidden(libc::EPERM)), Fault::System),
            (WorkerError::enter(EnterError::Other(libc::ENOMEM)), Fault::System),
            (WorkerError::enter(EnterError::Other(libc::EIO)), Fault::Bug),
            (WorkerError::enter(EnterError::NotARing), Fault::Bug),
            (WorkerError::push(PushError::Enter(EnterError::Forbidden(libc::ENOSYS))), Fault::System),
            (WorkerError::push(PushError::Stuck(Entered::ShortOfMemory)), Fault::System),
            (WorkerError::push(PushError::Stuck(Entered::ReapFirst)), Fault::Bug),
            (WorkerError::Panicked, Fault::Bug),
        ] {
            assert_eq!(error.fault(), fault, "{error}");
            assert_eq!(error.to_string().contains("bug"), fault == Fault::Bug, "{error}");
        }
    }

    #[test]
    fn what_the_ring_says_is_told() {
        let lost = WorkerError::enter(EnterError::CompletionsLost).to_string();
        assert!(lost.contains("lost completions for want of memory"), "{lost}");
        let closed = WorkerError::push(PushError::Enter(EnterError::NotARing)).to_string();
        assert!(closed.contains("the ring's descriptor was closed"), "{closed}");
        let forbidden = WorkerError::enter(EnterError::Forbidden(libc::EPERM)).to_string();
        assert!(forbidden.contains("forbidden") && forbidden.contains("has to allow io_uring_enter"), "{forbidden}");
    }

    #[test]
    fn a_shortage_comes_with_a_remedy() {
        let text = failed(libc::ENOMEM).to_string();
        assert!(text.contains("use new UDP sockets") && text.contains("fewer workers"), "{text}");
    }
}
