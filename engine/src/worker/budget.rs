//! How much memory a worker has, as a sum with one line for each place where a slot can be.

use ring_buffers::{Budget, BufferGroup, Ring, RingConfig, SlotClass};

/// Packets that the kernel may have read ahead from the TUN, and those of one turn that are sealed where they lie.
pub(super) const TUN_READS: u16 = 32;
/// Trains that the kernel may have received ahead, and those whose packets are on their way into the TUN.
pub(super) const UDP_READS: u16 = 24;
/// Trains that were sealed and wait for the socket.
pub(super) const TRAINS: u16 = 16;
/// Trains that a super-packet of common segment sizes becomes: 64 KiB and the headers of its segments are more than one
/// send can carry.
pub(super) const TRAINS_PER_READ: usize = 2;
/// Packets over [`ring_buffers::PACKET_SIZE`] that wait for a session.
pub(super) const STAGED_JUMBO: u16 = 8;
/// Packets that wait for a session, over all peers, and keepalives on their way.
const STAGED: u16 = 512;

/// The arena of one worker.
#[must_use]
pub fn budget() -> Budget {
    Budget::new()
        .line("TUN reads", SlotClass::Jumbo, TUN_READS)
        .line("UDP reads", SlotClass::Jumbo, UDP_READS)
        .line("trains", SlotClass::Jumbo, TRAINS)
        .line("staged jumbo packets", SlotClass::Jumbo, STAGED_JUMBO)
        .line("staged packets", SlotClass::Packet, STAGED)
}

/// Sends in flight: every slot may hold one, and a train that must leave unsegmented one per datagram. With fewer
/// operations than slots a send could be refused while its slot is paid for.
pub(super) const UDP_OPERATIONS: u16 = 1024;
/// Writes in flight: every datagram of every received train.
pub(super) const TUN_OPERATIONS: u16 = UDP_READS * 64;
/// Of these, writes of more than one piece.
pub(super) const TUN_GATHERS: u16 = 128;
/// The most that one received train can need: its packets in pairs, and the runs that were held before.
pub(super) const GATHERS_PER_TRAIN: usize = 32 + tun_uring::FLOWS_MAX;

/// More completions than operations can be in flight: reads, writes, sends, the doorbell and cancellations.
pub(super) const RING: RingConfig =
    RingConfig { submissions: 256, completions: (TUN_OPERATIONS as u32 + UDP_OPERATIONS as u32).next_power_of_two() };

/// What one worker locks of the memory that `RLIMIT_MEMLOCK` is about, in bytes: its ring, without which there is no
/// worker, and its arena.
#[derive(Clone, Copy, Debug)]
pub struct LockedLen {
    /// Always.
    pub ring: usize,
    /// If there is room.
    pub arena: usize,
}

/// See [`LockedLen`].
#[must_use]
pub fn locked_len() -> LockedLen {
    let groups = BufferGroup::locked_len(TUN_READS) + BufferGroup::locked_len(UDP_READS);
    LockedLen { ring: Ring::locked_len(RING) + groups, arena: budget().bytes() }
}

const _: () = assert!(UDP_OPERATIONS > TUN_READS + TRAINS + STAGED_JUMBO + STAGED, "each slot can be in a send");
