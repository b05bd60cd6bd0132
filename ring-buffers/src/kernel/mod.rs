//! What a ring needs of the kernel: requests go in, completions come out.
//!
//! With the feature `fake-kernel`, a test can have a ring on something else than the kernel. Without it, which is how
//! the gateway is built, there is no choice to make and none is compiled.

#[cfg(feature = "fake-kernel")]
mod either;
#[cfg(feature = "fake-kernel")]
pub(crate) mod fake;
mod real;

#[cfg(feature = "fake-kernel")]
pub(crate) use either::Kernel;
pub(crate) use real::Real;
#[cfg(not(feature = "fake-kernel"))]
pub(crate) use real::Real as Kernel;

use std::os::fd::RawFd;

/// A submission, as far as this crate makes any. `place` is one in the ring's table of files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// Reads into buffers of a group until it is cancelled or out of them.
    ReadMulti {
        place: u32,
        group: u16,
    },
    /// The same from a connected socket.
    RecvMulti {
        place: u32,
        group: u16,
    },
    /// The same with addresses and control messages; `message` gives their lengths.
    RecvMsgMulti {
        place: u32,
        message: *const libc::msghdr,
        group: u16,
    },
    /// Says whenever something can be read.
    PollMulti {
        place: u32,
    },
    /// `fixed`: the bytes are in the registered arena.
    Write {
        place: u32,
        bytes: *const u8,
        len: u32,
        fixed: bool,
    },
    /// `fixed`: all bytes are in the registered arena.
    Writev {
        place: u32,
        pieces: *const libc::iovec,
        count: u32,
        fixed: bool,
    },
    SendMsg {
        place: u32,
        message: *const libc::msghdr,
    },
    /// `name` is null for a connected socket.
    Send {
        place: u32,
        bytes: *const u8,
        len: u32,
        flags: i32,
        name: *const u8,
        name_len: u16,
    },
    /// Reads the eight bytes of an eventfd.
    ReadCounter {
        file: RawFd,
        counter: *mut u64,
    },
    /// Cancels the operation with this `user_data`.
    Cancel {
        user_data: u64,
    },
}

/// A completion as the kernel gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Cqe {
    /// Whether the operation goes on and completes again (`IORING_CQE_F_MORE`).
    pub(crate) fn has_more(&self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The provided buffer that the kernel took, if any (`IORING_CQE_F_BUFFER`).
    pub(crate) fn buffer(&self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }
}
