//! Waking a worker that sleeps in its ring: an eventfd that the ring reads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::completion::{Rang, Tag};
use crate::enter::PushError;
use crate::ring::Ring;

/// The side that rings; cheap to clone, used from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new eventfd.
    ///
    /// # Errors
    /// The system's error, commonly `EMFILE`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Rings. Several rings before the sleeper wakes are one.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight readable bytes. The only error is a counter at its maximum, and then the
        // sleeper has been rung already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// For a waiter that polls instead of reading through a ring.
    #[must_use]
    pub fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Resets the counter, for a waiter that polls.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight writable bytes; EAGAIN means that there is nothing to clear.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// For a waiter that polls and is not to outlive the bell.
impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The side that is woken: keeps one read of the eventfd in flight. It may go at any time, since the ring has what the
/// read needs.
#[derive(Debug)]
pub struct Doorbell {
    waker: Waker,
    tag: Tag,
    armed: bool,
}

impl Doorbell {
    /// A doorbell whose completions carry `tag`.
    #[must_use]
    pub const fn new(waker: Waker, tag: Tag) -> Self {
        Self { waker, tag, armed: false }
    }

    /// Puts the read in flight, unless it is.
    ///
    /// # Errors
    /// [`PushError`] if the ring takes no entry.
    pub fn arm(&mut self, ring: &mut Ring) -> Result<(), PushError> {
        if !self.armed {
            ring.listen(&self.waker, self.tag)?;
            self.armed = true;
        }
        Ok(())
    }

    /// Notes that the read ended; the owner looks at its queues and arms the doorbell again.
    pub fn on_completion(&mut self, rang: Rang) {
        debug_assert_eq!(rang.tag(), self.tag);
        self.armed = false;
    }
}
