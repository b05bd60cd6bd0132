//! The standard error, by its number: the lock of `std::io::stderr` would be held while its reader makes us wait.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::{Line, Place};

/// The standard error.
pub(in super::super) struct Stderr {
    interface: String,
}

impl Stderr {
    pub(in super::super) fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned() }
    }
}

impl Place for Stderr {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let text = line.dated(&self.interface);
        let mut rest = text.as_bytes();
        let stderr = io::stderr();
        while !rest.is_empty() {
            match write(&stderr, rest) {
                Ok(len) => rest = &rest[len..],
                Err(Errno::EINTR) => {}
                // Somebody who shares it has made it so.
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, PollTimeout::NONE);
                }
                // The reader is gone, and will not come back.
                Err(Errno::EPIPE | Errno::EBADF | Errno::EIO) => return Ok(()),
                // The second part of a line is not worth more than a whole one.
                Err(errno) if rest.len() == text.len() => return Err(errno.into()),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn rename(&mut self, interface: &str) {
        interface.clone_into(&mut self.interface);
    }
}
