//! What each worker carried for a peer.

use std::ops::Index;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// What the workers carried for one peer, each apart. There is memory for it as soon as somebody counts: control sees
/// to it when the peer gets its first session ([`WorkerCounters::prepare`]), so no worker allocates.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    counters: OnceLock<Box<[PeerCounters]>>,
    workers: usize,
}

impl WorkerCounters {
    /// For so many workers.
    pub const fn new(workers: usize) -> Self {
        Self { counters: OnceLock::new(), workers }
    }

    /// From now on somebody may count.
    pub fn prepare(&self) -> &[PeerCounters] {
        self.counters.get_or_init(|| (0..self.workers).map(|_| PeerCounters::default()).collect())
    }

    /// From now on the sizes are those of another session. A worker that carries something at this moment may keep a
    /// note of the former one: then it is as if that had come under the new one.
    pub(crate) fn begin_session(&self) {
        for counters in self.iter() {
            counters.rx_largest.store(0, Relaxed);
            counters.tx_largest.store(0, Relaxed);
            counters.rx_missing.store(0, Relaxed);
        }
    }

    /// Those of each worker; none if nobody could count yet.
    pub fn iter(&self) -> impl Iterator<Item = &PeerCounters> {
        self.counters.get().into_iter().flatten()
    }
}

/// Those of a worker.
impl Index<usize> for WorkerCounters {
    type Output = PeerCounters;

    #[inline]
    fn index(&self, worker: usize) -> &PeerCounters {
        &self.prepare()[worker]
    }
}

/// What one worker carried for one peer. Each worker writes its own and nobody else's, so a load and a store suffice.
/// Only the sizes are set back by control, when a session begins.
///
/// Aligned to a cache line: two workers count for the same peer at full speed. The price is 64 bytes for
/// each worker of a peer that had a session.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct PeerCounters {
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    rx_packets: AtomicU64,
    tx_packets: AtomicU64,
    /// Of the session that was received under last: messages that its counters say were sent, and that did not come.
    rx_missing: AtomicU64,
    rx_largest: AtomicU32,
    tx_largest: AtomicU32,
}

/// The sizes that passed since a session was last completed, and what did not come: what a path lets through. Bytes are
/// those of the UDP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The largest authentic message that came.
    pub rx_largest: u32,
    /// The largest that was sent.
    pub tx_largest: u32,
    /// Messages that did not come, of those sent under the sessions that were received under last.
    pub rx_missing: u64,
}

/// A reading of [`PeerCounters`]. Bytes are those of the UDP payload, keepalives included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received and authenticated bytes.
    pub rx_bytes: u64,
    /// Sent bytes.
    pub tx_bytes: u64,
    /// Received and authenticated messages.
    pub rx_packets: u64,
    /// Sent messages.
    pub tx_packets: u64,
}

impl Traffic {
    /// The sum of two.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            rx_bytes: self.rx_bytes.wrapping_add(other.rx_bytes),
            tx_bytes: self.tx_bytes.wrapping_add(other.tx_bytes),
            rx_packets: self.rx_packets.wrapping_add(other.rx_packets),
            tx_packets: self.tx_packets.wrapping_add(other.tx_packets),
        }
    }

    /// What came since a former reading.
    #[must_use]
    pub const fn since(self, former: Self) -> Self {
        Self {
            rx_bytes: self.rx_bytes.wrapping_sub(former.rx_bytes),
            tx_bytes: self.tx_bytes.wrapping_sub(former.tx_bytes),
            rx_packets: self.rx_packets.wrapping_sub(former.rx_packets),
            tx_packets: self.tx_packets.wrapping_sub(former.tx_packets),
        }
    }
}

fn bump(word: &AtomicU64, by: u64) {
    word.store(word.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Messages are shorter than 2^16 bytes.
fn raise(word: &AtomicU32, to: usize) {
    let to = to as u32;
    if word.load(Relaxed) < to {
        word.store(to, Relaxed);
    }
}

impl PeerCounters {
    /// Counts a received train: its messages and their bytes on the wire.
    #[inline]
    pub fn received(&self, packets: u64, bytes: u64) {
        bump(&self.rx_packets, packets);
        bump(&self.rx_bytes, bytes);
    }

    /// Counts a sent train: its messages and their bytes on the wire.
    #[inline]
    pub fn sent(&self, packets: u64, bytes: u64) {
        bump(&self.tx_packets, packets);
        bump(&self.tx_bytes, bytes);
    }

    /// Notes the longest message of a received train, and how many of its session are missing.
    #[inline]
    pub fn received_up_to(&self, longest: usize, missing: u64) {
        raise(&self.rx_largest, longest);
        self.rx_missing.store(missing, Relaxed);
    }

    /// Notes the longest message of a train that is sent.
    #[inline]
    pub fn sent_up_to(&self, longest: usize) {
        raise(&self.tx_largest, longest);
    }

    /// The sizes as they are now.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            rx_largest: self.rx_largest.load(Relaxed),
            tx_largest: self.tx_largest.load(Relaxed),
            rx_missing: self.rx_missing.load(Relaxed),
        }
    }

    /// The counts as they are now.
    pub fn read(&self) -> Traffic {
        Traffic {
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            rx_packets: self.rx_packets.load(Relaxed),
            tx_packets: self.tx_packets.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_do_not_share_lines() {
        assert_eq!(align_of::<PeerCounters>(), 64);
        assert_eq!(size_of::<PeerCounters>(), 64);
    }

    #[test]
    fn nobody_has_counted_at_first() {
        let counters = WorkerCounters::new(3);
        assert_eq!(counters.iter().count(), 0);
        counters[2].received(1, 32);
        assert_eq!(counters.iter().map(|counters| counters.read().rx_bytes).collect::<Vec<_>>(), [0, 0, 32]);
    }

    #[test]
    fn sizes_are_the_largest_so_far() {
        let counters = PeerCounters::default();
        for len in [32, 1_452, 96] {
            counters.received_up_to(len, 7);
            counters.sent_up_to(len / 2);
        }
        assert_eq!(counters.sizes(), Sizes { rx_largest: 1_452, tx_largest: 726, rx_missing: 7 });
    }
}
