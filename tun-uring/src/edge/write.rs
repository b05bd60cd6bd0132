//! Writes: one packet each, whole or in pieces.

use ring_buffers::{Memory, PushError, Returned, View, Wrote};

use super::{TunEdge, TunEvent};
use crate::virtio;

/// Pieces of a write: headers of their own, and the payloads of 64 segments.
pub const PIECES_MAX: usize = 65;

/// Why a write was not begun.
#[derive(Debug, thiserror::Error)]
pub enum WriteRefusal {
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
    Ring(#[source] PushError),
}

/// A write that was not begun, with its packet.
#[derive(Debug)]
pub struct WriteRefused {
    /// The packet as it was given.
    pub view: View,
    /// Why.
    pub why: WriteRefusal,
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

    /// Whether it was a super-packet of a flow in a UDP tunnel.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        virtio::is_tunnel(&self.first)
    }
}

impl TunEdge {
    pub(super) fn count_write(&mut self, memory: Memory) {
        self.writes_in_flight += 1;
        self.counters.writes += 1;
        self.counters.writes_unregistered += u64::from(memory == Memory::Other);
    }

    #[inline]
    pub(super) fn complete_write(&mut self, wrote: Wrote) -> TunEvent {
        self.writes_in_flight = self.writes_in_flight.saturating_sub(1);
        self.gathers_in_flight = self.gathers_in_flight.saturating_sub(wrote.is_gathered().into());
        let context = wrote.tag().context;
        let Err(errno) = wrote.outcome() else { return TunEvent::Wrote { context } };
        self.counters.write_errors += 1;
        let Some(Returned { first, rest }) = wrote.into_pieces() else { return self.late() };
        TunEvent::WriteFailed(WriteFailed { context, error: WriteError::of(errno), first, rest })
    }
}
