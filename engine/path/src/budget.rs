//! How much memory a worker has, as a sum with one line for each place where a slot can be.
//!
//! What is reserved for a line nobody else can take, for however long the others hold what they have: packets for a
//! peer that cannot be reached, a socket that takes nothing, another worker that does not run. The rest goes to whoever
//! claims it first; a burst of reads or of trains uses it as well.

pub use crate::staging::Limits;
use ring_buffers::{Budget, LineId, SlotClass};
use ringfort_aead::SEGMENTS_MAX;
use ringfort_core::icmp::Allowance;

/// Packets that the kernel may have read ahead from the TUN, and those of one turn that are sealed where they lie.
pub const TUN_READS: u16 = 32;
/// Trains that the kernel may have received ahead, and those whose packets are on their way into the TUN. Handshake
/// messages are received into them as well.
pub const UDP_READS: u16 = 24;
/// Trains that were sealed and wait for the socket.
const TRAINS: u16 = 8;
/// Trains that a super-packet of common segment sizes becomes: 64 KiB and the headers of its segments are more than one
/// send can carry.
pub const TRAINS_PER_READ: usize = 2;
/// Packets over [`ring_buffers::PACKET_SIZE`] that wait for a session. Shared: reads and trains use it as well.
const STAGED_JUMBO: u16 = 8;
/// Trains on their way to other workers. Shared as well.
const HANDOFFS: u16 = 8;
/// Packets that wait for a session, over all peers, and those that have waited and are being sent.
const STAGED: u16 = 398;
/// Keepalives on their way, and confirmations that consist of one.
pub const KEEPALIVES: u16 = 64;
/// ICMP errors on their way to the senders of packets that no peer can have: as many as leave at once.
const ICMP_ERRORS: u16 = 50;
/// Cookies on their way to those who have none under load.
pub const COOKIES: u16 = 32;

/// For whom a slot is claimed: the lines of [`budget`], in its order.
pub mod line {
    use ring_buffers::LineId;

    /// Reads of the TUN.
    pub const TUN_READS: LineId = LineId(0);
    /// Reads of the socket.
    pub const UDP_READS: LineId = LineId(1);
    /// Sealed trains.
    pub const TRAINS: LineId = LineId(2);
    /// Large packets that wait for a session.
    pub const STAGED_JUMBO: LineId = LineId(3);
    /// Trains for other workers.
    pub const HANDOFFS: LineId = LineId(4);
    /// Packets that wait for a session.
    pub const STAGED: LineId = LineId(5);
    /// Keepalives.
    pub const KEEPALIVES: LineId = LineId(6);
    /// ICMP errors.
    pub const ICMP_ERRORS: LineId = LineId(7);
    /// Cookies.
    pub const COOKIES: LineId = LineId(8);
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
        .reserved("cookies", SlotClass::Packet, COOKIES)
}

/// Packets that may wait for a session in slots of their own size: of one peer what wireguard-go lets wait.
pub const STAGED_LIMITS: Limits = Limits { per_peer: 128, in_all: STAGED };
/// Those that wait where they were read. One peer may have all of these, until another wants some.
pub const STAGED_JUMBO_LIMITS: Limits = Limits { per_peer: STAGED_JUMBO, in_all: STAGED_JUMBO };

/// The line that a waiting packet is charged to.
pub(crate) const fn staging_line(class: SlotClass) -> LineId {
    match class {
        SlotClass::Packet => line::STAGED,
        SlotClass::Jumbo => line::STAGED_JUMBO,
    }
}

/// Packets that are gathered before they are sealed: a train for each of two peers.
pub const GATHERED_MAX: usize = 2 * SEGMENTS_MAX;

/// All slots.
pub const SLOTS: u16 =
    TUN_READS + UDP_READS + TRAINS + STAGED_JUMBO + HANDOFFS + STAGED + KEEPALIVES + ICMP_ERRORS + COOKIES;

const _: () = {
    assert!(TRAINS as usize >= TRAINS_PER_READ, "what is reserved for trains is enough to read a packet");
    assert!(ICMP_ERRORS as u32 == Allowance::BURST, "what may leave at once finds slots");
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
            (line::COOKIES, "cookies", COOKIES, true),
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
        assert_eq!(budget().bytes() / 1024, 6_288);
    }
}
