//! Writes: one packet each, whole or in pieces, owned by the table of operations until the kernel is done with it.

use super::{Event, TunEdge};
use crate::virtio;
use ring_buffers::{Completion, Lent, OpId, View};
use std::io;

/// Pieces of a write: headers of their own, and the payloads of 64 segments.
pub const PIECES_MAX: usize = 65;

/// Why a write was not begun.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// As many writes are in flight as the edge was made for. Some will complete with the next turn.
    #[error("too many writes to the TUN in flight")]
    Full,
    /// The device was deleted.
    #[error("the TUN device is gone")]
    Gone,
    /// No pieces, or more than [`PIECES_MAX`].
    #[error("a write has 1 to {PIECES_MAX} pieces")]
    Pieces,
    /// The ring takes no entries.
    #[error("the ring refused the write: {0}")]
    Ring(#[source] io::Error),
}

/// A write that was not begun, with its packet.
#[derive(Debug)]
pub struct Refused {
    /// The packet as it was given.
    pub view: View,
    /// Why.
    pub why: Refusal,
}

/// How the kernel refused a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// It finds the packet or its virtio-net header wrong (`EINVAL`). A super-packet may still be taken in segments.
    Invalid,
    /// The interface is down (`EIO`).
    Down,
    /// The device was deleted (`EBADFD`).
    Gone,
    /// Any other `errno`; memory is short, for instance.
    Other(i32),
}

impl WriteError {
    fn of(errno: i32) -> Self {
        match errno {
            libc::EINVAL => Self::Invalid,
            libc::EIO => Self::Down,
            libc::EBADFD => Self::Gone,
            other => Self::Other(other),
        }
    }
}

/// A packet that the kernel did not take, with its buffers.
#[derive(Debug)]
pub struct WriteFailed {
    /// What the caller gave along.
    pub context: u64,
    /// Why.
    pub error: WriteError,
    /// The first piece, which begins with the virtio-net header.
    pub first: View,
    /// The other pieces.
    pub rest: Vec<View>,
}

impl WriteFailed {
    /// Whether it was a super-packet, which can be tried again in segments.
    #[must_use]
    pub fn is_super(&self) -> bool {
        virtio::is_super(&self.first)
    }
}

/// A write in flight.
#[derive(Debug)]
pub(super) enum WriteOp {
    One { context: u64, lent: Lent },
    Gathered { context: u64, gather: Gather },
}

/// The pieces of one write, and what the kernel reads to find them. Allocated once; the allocations stay where they
/// are while the value moves.
pub(super) struct Gather {
    lent: Vec<Lent>,
    iovecs: Vec<libc::iovec>,
}

impl Gather {
    pub(super) fn new() -> Self {
        Self { lent: Vec::with_capacity(PIECES_MAX), iovecs: Vec::with_capacity(PIECES_MAX) }
    }

    /// Lends the pieces to the kernel, at most [`PIECES_MAX`] so that nothing is allocated.
    pub(super) fn load(&mut self, pieces: &mut Vec<View>) {
        for piece in pieces.drain(..) {
            let lent = piece.lend();
            // The kernel takes an empty piece of registered memory for an error (EFAULT).
            if lent.len() > 0 {
                self.iovecs.push(libc::iovec { iov_base: lent.as_ptr().cast(), iov_len: lent.len() });
            }
            self.lent.push(lent);
        }
    }

    /// Address and number of the `iovec`s.
    pub(super) fn iovecs(&self) -> (*const libc::iovec, u32) {
        (self.iovecs.as_ptr(), self.iovecs.len() as u32)
    }

    /// Takes the pieces back, in order.
    ///
    /// # Safety
    /// As for [`Lent::settle`].
    pub(super) unsafe fn settle(&mut self, mut each: impl FnMut(View)) {
        self.iovecs.clear();
        for lent in self.lent.drain(..) {
            // SAFETY: the caller vouches that the kernel is done with all pieces.
            each(unsafe { lent.settle() });
        }
    }
}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gather").field(&self.lent).finish()
    }
}

impl TunEdge {
    pub(super) fn complete_write(&mut self, completion: Completion) -> Event {
        let id = OpId { index: completion.token().index, generation: completion.token().generation };
        match self.writes.complete(id) {
            Some(WriteOp::One { context, lent }) => {
                // SAFETY: a write has one completion, and this is it: the table hands the operation out once.
                let first = unsafe { lent.settle() };
                match completion.outcome() {
                    Ok(_) => Event::Wrote { context },
                    Err(errno) => self.write_failed(context, errno, first, Vec::new()),
                }
            }
            Some(WriteOp::Gathered { context, gather }) => self.complete_gathered(context, gather, completion),
            None => self.late(),
        }
    }

    fn complete_gathered(&mut self, context: u64, mut gather: Gather, completion: Completion) -> Event {
        let event = match completion.outcome() {
            Ok(_) => {
                // SAFETY: as in `complete_write`.
                unsafe { gather.settle(drop) };
                Event::Wrote { context }
            }
            Err(errno) => {
                let mut pieces = Vec::with_capacity(PIECES_MAX);
                // SAFETY: as in `complete_write`.
                unsafe { gather.settle(|view| pieces.push(view)) };
                let first = pieces.remove(0);
                self.write_failed(context, errno, first, pieces)
            }
        };
        self.gathers.push(gather);
        event
    }

    fn write_failed(&mut self, context: u64, errno: i32, first: View, rest: Vec<View>) -> Event {
        self.counters.write_errors += 1;
        let error = WriteError::of(errno);
        Event::WriteFailed(WriteFailed { context, error, first, rest })
    }
}
