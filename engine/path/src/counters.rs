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
    /// Receive operations, by how many datagrams the kernel coalesced into each (GRO), whatever these are worth.
    pub udp_receive_trains: TrainLengths,
    /// Datagrams that left. Those that the kernel refused are among the drops, as `send_failed`.
    pub udp_send_datagrams: u64,
    /// Trains that left, by how many datagrams did as one (GSO).
    pub udp_send_trains: TrainLengths,
    /// Keepalives that were added to trains, because no train may end in a segment as long as the others. They are
    /// among the datagrams.
    pub keepalive_tails: u64,
    /// Handshake messages passed to control.
    pub handshakes: u64,
    /// Cookies for those who had none under load. They are among the datagrams, and each message that was answered is
    /// among the drops, as `cookie_required`.
    pub cookies_sent: u64,
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

/// Trains, counted by their lengths in buckets of powers of two. A train of one is a lone datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainLengths([u64; Self::BUCKETS]);

impl TrainLengths {
    /// How many buckets there are.
    pub const BUCKETS: usize = Self::BOUNDS.len();
    /// The longest train that each bucket takes, in datagrams. None is longer than the last.
    pub const BOUNDS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

    /// Counts a train.
    #[inline]
    pub(crate) fn note(&mut self, datagrams: usize) {
        let bucket = usize::BITS - datagrams.saturating_sub(1).leading_zeros();
        self.0[(bucket as usize).min(Self::BUCKETS - 1)] += 1;
    }

    /// How many trains there are in each bucket.
    #[must_use]
    pub const fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.0
    }

    /// How many trains there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl From<[u64; Self::BUCKETS]> for TrainLengths {
    fn from(counts: [u64; Self::BUCKETS]) -> Self {
        Self(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_is_in_the_first_bucket_that_takes_it() {
        for datagrams in 1..=128 {
            let mut lengths = TrainLengths::default();
            lengths.note(datagrams);
            let bucket = TrainLengths::BOUNDS.iter().position(|&longest| datagrams as u64 <= longest).unwrap();
            assert_eq!((lengths.counts()[bucket], lengths.total()), (1, 1), "{datagrams}");
        }
    }
}
