//! How much memory a worker has, as a sum with one line for each place where a slot can be.
//!
//! What is reserved for a line nobody else can take, for however long the others hold what they have: packets for a peer
//! that cannot be reached, a socket that takes nothing, another worker that does not run. The rest goes to whoever claims
//! it first; a burst of reads or of trains uses it as well.

use super::outbound::Pending;
use super::staging::Limits;
use ring_buffers::{Budget, BufferGroup, LineId, Ring, RingConfig, SlotClass};
use ringfort_aead::MAX_SEGMENTS;
use ringfort_core::icmp::Allowance;

/// Packets that the kernel may have read ahead from the TUN, and those of one turn that are sealed where they lie.
pub(super) const TUN_READS: u16 = 32;
/// Trains that the kernel may have received ahead, and those whose packets are on their way into the TUN. Handshake
/// messages are received into them as well.
pub(super) const UDP_READS: u16 = 24;
/// Trains that were sealed and wait for the socket.
const TRAINS: u16 = 8;
/// Trains that a super-packet of common segment sizes becomes: 64 KiB and the headers of its segments are more than one
/// send can carry.
pub(super) const TRAINS_PER_READ: usize = 2;
/// Packets over [`ring_buffers::PACKET_SIZE`] that wait for a session. Shared: reads and trains use it as well.
const STAGED_JUMBO: u16 = 8;
/// Trains on their way to other workers. Shared as well.
const HANDOFFS: u16 = 8;
/// Packets that wait for a session, over all peers, and those that have waited and are being sent.
const STAGED: u16 = 398;
/// Keepalives on their way, and confirmations that consist of one.
pub(super) const KEEPALIVES: u16 = 64;
/// ICMP errors on their way to the senders of packets that no peer can have: as many as leave at once.
const ICMP_ERRORS: u16 = 50;

/// For whom a slot is claimed: the lines of [`budget`], in its order.
pub(super) mod line {
    use ring_buffers::LineId;

    pub(in crate::worker) const TUN_READS: LineId = LineId(0);
    pub(in crate::worker) const UDP_READS: LineId = LineId(1);
    pub(in crate::worker) const TRAINS: LineId = LineId(2);
    pub(in crate::worker) const STAGED_JUMBO: LineId = LineId(3);
    pub(in crate::worker) const HANDOFFS: LineId = LineId(4);
    pub(in crate::worker) const STAGED: LineId = LineId(5);
    pub(in crate::worker) const KEEPALIVES: LineId = LineId(6);
    pub(in crate::worker) const ICMP_ERRORS: LineId = LineId(7);
}

/// The arena of one worker.
#[must_use]
pub fn budget() -> Budget {
    Budget::new()
        .reserved("TUN reads", SlotClass::Jumbo, TUN_READS)
        .reserved("UDP reads", SlotClass::Jumbo, UDP_READS)
        .reserved("trains", SlotClass::Jumbo, TRAINS)
        .line("staged jumbo packets", SlotClass::Jumbo, STAGED_JUMBO)
        .line("trains for other workers", SlotClass::Jumbo, HANDOFFS)
        .reserved("staged packets", SlotClass::Packet, STAGED)
        .reserved("keepalives", SlotClass::Packet, KEEPALIVES)
        .reserved("ICMP errors", SlotClass::Packet, ICMP_ERRORS)
}

/// Packets that may wait for a session in slots of their own size: of one peer what wireguard-go lets wait.
pub(super) const STAGED_LIMITS: Limits = Limits { per_peer: 128, in_all: STAGED };
/// Those that wait where they were read. One peer may have all of these, until another wants some.
pub(super) const STAGED_JUMBO_LIMITS: Limits = Limits { per_peer: STAGED_JUMBO, in_all: STAGED_JUMBO };

/// The line that a waiting packet is charged to.
pub(super) const fn staging_line(class: SlotClass) -> LineId {
    match class {
        SlotClass::Packet => line::STAGED,
        SlotClass::Jumbo => line::STAGED_JUMBO,
    }
}

/// Sends in flight: every slot may hold one, and a train that must leave unsegmented one per datagram. With fewer
/// operations than slots a send could be refused while its slot is paid for.
pub(super) const UDP_OPERATIONS: u16 = 1024;
/// Sends that must be free before the TUN is read: what was gathered, the trains of a super-packet if each of their
/// datagrams leaves by itself, and the keepalives that must not find all of them taken.
pub(super) const SENDS_PER_READ: usize = Pending::MAX + TRAINS_PER_READ * MAX_SEGMENTS + KEEPALIVES as usize;
/// Writes in flight: every datagram of every received train.
pub(super) const TUN_OPERATIONS: u16 = UDP_READS * 64;
/// Of these, writes of more than one piece.
pub(super) const TUN_GATHERS: u16 = 128;
/// The most gathered writes that one received train can need: its packets in pairs, and the runs that were held before.
pub(super) const GATHERS_PER_TRAIN: usize = 32 + tun_uring::FLOWS_MAX;
/// The most writes that one received train can need: each packet by itself, and the runs that were held before.
pub(super) const WRITES_PER_TRAIN: usize = MAX_SEGMENTS + tun_uring::FLOWS_MAX;

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

const _: () = {
    let slots = TUN_READS + UDP_READS + TRAINS + STAGED_JUMBO + HANDOFFS + STAGED + KEEPALIVES + ICMP_ERRORS;
    assert!(UDP_OPERATIONS > slots, "each slot can be in a send");
    assert!(UDP_OPERATIONS as usize > 2 * SENDS_PER_READ, "the TUN is read while sends are in flight");
    assert!(TRAINS as usize >= TRAINS_PER_READ, "what is reserved for trains is enough to read a packet");
    assert!(ICMP_ERRORS as u32 == Allowance::BURST, "what may leave at once finds slots");
    assert!(KEEPALIVES as usize >= super::inbox::MAIL_PER_TURN, "each mail of a turn may ask for a keepalive");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_where_their_names_say() {
        let budget = budget();
        let at = |line: LineId| budget.lines()[usize::from(line.0)];
        let expected = [
            (line::TUN_READS, "TUN reads", TUN_READS, true),
            (line::UDP_READS, "UDP reads", UDP_READS, true),
            (line::TRAINS, "trains", TRAINS, true),
            (line::STAGED_JUMBO, "staged jumbo packets", STAGED_JUMBO, false),
            (line::HANDOFFS, "trains for other workers", HANDOFFS, false),
            (line::STAGED, "staged packets", STAGED, true),
            (line::KEEPALIVES, "keepalives", KEEPALIVES, true),
            (line::ICMP_ERRORS, "ICMP errors", ICMP_ERRORS, true),
        ];
        assert_eq!(budget.lines().len(), expected.len());
        for (line, holder, count, reserved) in expected {
            let found = at(line);
            assert_eq!((found.holder, found.count, found.reserved), (holder, count, reserved));
        }
        assert_eq!(at(staging_line(SlotClass::Packet)).class, SlotClass::Packet);
        assert_eq!(at(staging_line(SlotClass::Jumbo)).class, SlotClass::Jumbo);
    }

    /// What ARCHITECTURE.md says.
    #[test]
    fn a_worker_has_six_megabytes() {
        assert_eq!(budget().bytes() / 1024, 6_224);
    }
}
