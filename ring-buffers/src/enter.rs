//! What `io_uring_enter(2)` and a submission can come to, each by its name.

use std::io;

/// How an enter ended that is no error: what was not done yet is done by the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// All that was queued is with the kernel.
    Done,
    /// A signal came first (`EINTR`).
    Interrupted,
    /// The kernel wants completions reaped before it takes more (`EBUSY`).
    ReapFirst,
    /// The kernel is short of memory for the moment (`EAGAIN`).
    ShortOfMemory,
    /// Nothing completed within the time given (`ETIME`).
    TimedOut,
}

/// Why the ring cannot be entered, now or ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// The kernel had no memory to keep completions in, and has lost some (`EBADR`): operations will not come back.
    #[error("the kernel lost completions for want of memory")]
    CompletionsLost,
    /// The ring is being wound up (`ENXIO`).
    #[error("the ring is shutting down")]
    ShuttingDown,
    /// Another thread than the ring's own entered it (`EEXIST`).
    #[error("the ring belongs to another thread")]
    WrongThread,
    /// The ring is disabled (`EBADFD`).
    #[error("the ring is disabled")]
    Disabled,
    /// The descriptor is none, or none of a ring (`EBADF`, `EOPNOTSUPP`).
    #[error("the ring's descriptor was closed, or replaced by another")]
    NotARing,
    /// The kernel does not know the arguments (`EINVAL`).
    #[error("the kernel does not know the arguments of io_uring_enter")]
    Invalid,
    /// An argument's address is wrong (`EFAULT`).
    #[error("an address given to io_uring_enter is wrong")]
    Fault,
    /// A filter forbids the call (`EPERM`, `EACCES`, `ENOSYS`).
    #[error("io_uring_enter is forbidden: {}", io::Error::from_raw_os_error(*.0))]
    Forbidden(i32),
    /// An `errno` that the manual does not have.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Other(i32),
}

impl Entered {
    pub(crate) fn of(errno: i32) -> Result<Self, EnterError> {
        Ok(match errno {
            libc::EINTR => Self::Interrupted,
            libc::EBUSY => Self::ReapFirst,
            libc::EAGAIN => Self::ShortOfMemory,
            libc::ETIME => Self::TimedOut,
            libc::EBADR => return Err(EnterError::CompletionsLost),
            libc::ENXIO => return Err(EnterError::ShuttingDown),
            libc::EEXIST => return Err(EnterError::WrongThread),
            libc::EBADFD => return Err(EnterError::Disabled),
            libc::EBADF | libc::EOPNOTSUPP => return Err(EnterError::NotARing),
            libc::EINVAL => return Err(EnterError::Invalid),
            libc::EFAULT => return Err(EnterError::Fault),
            libc::EPERM | libc::EACCES | libc::ENOSYS => return Err(EnterError::Forbidden(errno)),
            other => return Err(EnterError::Other(other)),
        })
    }
}

impl EnterError {
    /// The number by which the system knows it.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::CompletionsLost => libc::EBADR,
            Self::ShuttingDown => libc::ENXIO,
            Self::WrongThread => libc::EEXIST,
            Self::Disabled => libc::EBADFD,
            Self::NotARing => libc::EBADF,
            Self::Invalid => libc::EINVAL,
            Self::Fault => libc::EFAULT,
            Self::Forbidden(errno) | Self::Other(errno) => errno,
        }
    }
}

impl From<EnterError> for io::Error {
    fn from(error: EnterError) -> Self {
        Self::from_raw_os_error(error.errno())
    }
}

/// Why an operation was not begun. What it was given has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// As many operations are in flight as the ring was made for ([`crate::RingConfig::operations`]).
    #[error("as many operations are in flight as the ring was made for")]
    Full,
    /// The submission queue is full, and the kernel took nothing of it in several attempts.
    #[error("the submission queue is full, and the kernel takes nothing of it ({0:?})")]
    Stuck(Entered),
    /// The submission queue is full, and entering the ring failed.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The buffer group is not registered with this ring.
    #[error("the buffer group is not registered with this ring")]
    ForeignGroup,
    /// There are no pieces, or more than the ring has room for ([`crate::Ring::reserve_gathers`]).
    #[error("a gathered write has too many pieces, or none")]
    Pieces,
}

impl PushError {
    /// Whether it is about this moment: the same operation may be taken once completions were reaped, or a turn later.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Full | Self::Stuck(_))
    }

    /// The number by which the system would say it.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Full => libc::ENOBUFS,
            Self::Stuck(Entered::ReapFirst) => libc::EBUSY,
            Self::Stuck(_) => libc::EAGAIN,
            Self::Enter(error) => error.errno(),
            Self::ForeignGroup | Self::Pieces => libc::EINVAL,
        }
    }
}

impl From<PushError> for io::Error {
    fn from(error: PushError) -> Self {
        Self::from_raw_os_error(error.errno())
    }
}

/// Operations that the kernel still has after all were cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operations} operations are still with the kernel")]
pub struct StillInFlight {
    /// How many.
    pub operations: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_has_the_name_of_its_reason() {
        for (errno, outcome) in [
            (libc::EINTR, Ok(Entered::Interrupted)),
            (libc::EBUSY, Ok(Entered::ReapFirst)),
            (libc::EAGAIN, Ok(Entered::ShortOfMemory)),
            (libc::ETIME, Ok(Entered::TimedOut)),
            (libc::EBADR, Err(EnterError::CompletionsLost)),
            (libc::ENXIO, Err(EnterError::ShuttingDown)),
            (libc::EEXIST, Err(EnterError::WrongThread)),
            (libc::EBADFD, Err(EnterError::Disabled)),
            (libc::EBADF, Err(EnterError::NotARing)),
            (libc::EOPNOTSUPP, Err(EnterError::NotARing)),
            (libc::EINVAL, Err(EnterError::Invalid)),
            (libc::EFAULT, Err(EnterError::Fault)),
            (libc::EPERM, Err(EnterError::Forbidden(libc::EPERM))),
            (libc::EACCES, Err(EnterError::Forbidden(libc::EACCES))),
            (libc::ENOSYS, Err(EnterError::Forbidden(libc::ENOSYS))),
            (libc::ENOMEM, Err(EnterError::Other(libc::ENOMEM))),
        ] {
            assert_eq!(Entered::of(errno), outcome, "{}", io::Error::from_raw_os_error(errno));
        }
    }

    #[test]
    fn an_errno_has_one_name_and_comes_back_from_it() {
        for errno in 1..134 {
            match Entered::of(errno) {
                Ok(_) => assert!([libc::EINTR, libc::EBUSY, libc::EAGAIN, libc::ETIME].contains(&errno)),
                Err(EnterError::NotARing) => assert!([libc::EBADF, libc::EOPNOTSUPP].contains(&errno)),
                Err(error) => assert_eq!(error.errno(), errno),
            }
        }
    }
}
