//! What a data path counts: plain integers of one thread.

use ringfort_core::drops::{DropCounts, DropReason};

/// Counted since the data path was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets read from the TUN, a super-packet counted by its segments.
    pub tun_read_packets: u64,
    /// Bytes of those, IP headers included.
    pub tun_read_bytes: u64,
    /// Packets for the TUN. Those that it then refused are among the drops, as `tun_write_failed`.
    pub tun_write_packets: u64,
    /// Bytes of those.
    pub tun_write_bytes: u64,
    /// Datagrams received, a train counted by its segments.
    pub udp_receive_datagrams: u64,
    /// Receive operations; fewer than datagrams where the kernel coalesced (GRO).
    pub udp_receive_trains: u64,
    /// Datagrams given to the socket. Those that it then refused are among the drops, as `send_failed`.
    pub udp_send_datagrams: u64,
    /// Trains given to the socket; fewer than datagrams where several leave as one (GSO).
    pub udp_send_trains: u64,
    /// Keepalives that were added to trains, because no train may end in a segment as long as the others. They are
    /// among the datagrams.
    pub keepalive_tails: u64,
    /// Handshake messages passed to control.
    pub handshakes: u64,
    /// Trains handed to another worker.
    pub handoffs: u64,
    /// ICMP errors for the TUN, about packets that no peer can have. Those that it then refused are among the drops, as
    /// `tun_write_failed`.
    pub icmp_sent: u64,
    /// ICMP errors that were not sent, since there were too many already.
    pub icmp_suppressed: u64,
    /// What was thrown away, by reason.
    pub drops: DropCounts,
}

impl Counters {
    /// Counts `n` things thrown away for one reason.
    #[inline]
    pub(crate) fn drop(&mut self, reason: DropReason, n: usize) {
        self.drops.add(reason, n as u64);
    }
}
