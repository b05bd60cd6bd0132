//! How many operations a worker can have in flight, and what it locks of the memory.

use ring_buffers::{BufferGroup, Ring, RingConfig};
use ringfort_path::budget::{TUN_READS, UDP_READS, budget};
use ringfort_path::turns::SENDS;

/// Writes in flight: every datagram of every received train.
pub(super) const TUN_OPERATIONS: u16 = UDP_READS * 64;
/// Of these, writes of more than one piece.
pub(super) const TUN_GATHERS: u16 = 128;

/// Operations beside writes and sends: the read of the TUN, the doorbell, and the receives of present and former
/// sockets.
const OTHER_OPERATIONS: u16 = 64;
const OPERATIONS: u16 = TUN_OPERATIONS + SENDS + OTHER_OPERATIONS;

/// More completions than operations can be in flight.
pub(super) const RING: RingConfig =
    RingConfig { submissions: 256, completions: (OPERATIONS as u32).next_power_of_two(), operations: OPERATIONS };

/// What one worker locks of the memory that `RLIMIT_MEMLOCK` is about, in bytes: its ring, without which there is no
/// worker, and its arena.
#[derive(Clone, Copy, Debug)]
pub struct LockedLen {
    /// Always.
    pub ring: usize,
    /// If there is room; 0 if it is not to be locked.
    pub arena: usize,
}

/// More workers than these lock no packet memory: it would be taken at start, 6 MiB each, and most of them have little
/// to do. Theirs is taken as it is used. Writes to the TUN then do without the registered buffer, which costs nothing
/// that could be measured.
const LOCKING_WORKERS_MAX: usize = 16;

/// See [`LockedLen`]. It depends on how many workers there are.
#[must_use]
pub fn locked_len(workers: usize) -> LockedLen {
    let groups = BufferGroup::locked_len(TUN_READS) + BufferGroup::locked_len(UDP_READS);
    let arena = if locks_arenas(workers) { budget().bytes() } else { 0 };
    LockedLen { ring: Ring::locked_len(RING) + groups, arena }
}

/// Whether so many workers lock their packet memory.
#[must_use]
pub const fn locks_arenas(workers: usize) -> bool {
    workers <= LOCKING_WORKERS_MAX
}
