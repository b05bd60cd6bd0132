//! What a worker counts. Each counter has one writer and any number of readers, so that adding is a load and a store,
//! as cheap as a plain integer.

use super::stages::StageTable;
use ring_buffers::{Accounting, RingCounters};
use ringfort_core::drops::Drop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the worker that owns the counter may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value, from any thread.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's counters and gauges.
#[derive(Debug)]
pub struct WorkerStats {
    /// Packets read from the TUN.
    pub tun_read_packets: Counter,
    /// Bytes of those, IP headers included.
    pub tun_read_bytes: Counter,
    /// Packets written to the TUN.
    pub tun_write_packets: Counter,
    /// Bytes of those.
    pub tun_write_bytes: Counter,
    /// Write operations; fewer than packets where runs were merged.
    pub tun_writes: Counter,
    /// Datagrams received, a train counted by its segments.
    pub udp_receive_datagrams: Counter,
    /// Receive operations; fewer than datagrams where the kernel coalesced (GRO).
    pub udp_receive_trains: Counter,
    /// Datagrams sent.
    pub udp_send_datagrams: Counter,
    /// Send operations; fewer than datagrams where a train was sent as one (GSO).
    pub udp_send_trains: Counter,
    /// Handshake messages passed to control.
    pub handshakes: Counter,
    /// Trains handed to another worker.
    pub handoffs: Counter,
    /// Packets that wait for a session now.
    pub staged: Counter,
    /// Turns of the loop; each is one `io_uring_enter` or a little more.
    pub turns: Counter,
    ring_enters: Counter,
    ring_completions: Counter,
    slots_free: Counter,
    slots_kernel: Counter,
    slots_held: Counter,
    slots_total: Counter,
    drops: [Counter; Drop::COUNT],
    stages: Option<Arc<StageTable>>,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            tun_read_packets: Counter::default(),
            tun_read_bytes: Counter::default(),
            tun_write_packets: Counter::default(),
            tun_write_bytes: Counter::default(),
            tun_writes: Counter::default(),
            udp_receive_datagrams: Counter::default(),
            udp_receive_trains: Counter::default(),
            udp_send_datagrams: Counter::default(),
            udp_send_trains: Counter::default(),
            handshakes: Counter::default(),
            handoffs: Counter::default(),
            staged: Counter::default(),
            turns: Counter::default(),
            ring_enters: Counter::default(),
            ring_completions: Counter::default(),
            slots_free: Counter::default(),
            slots_kernel: Counter::default(),
            slots_held: Counter::default(),
            slots_total: Counter::default(),
            drops: std::array::from_fn(|_| Counter::default()),
            stages: None,
        }
    }
}

impl WorkerStats {
    /// With a place for the times of the stages, so that the worker, which runs on `core`, takes them in one of `every`
    /// turns.
    #[must_use]
    pub fn with_stages(core: usize, every: u32) -> Self {
        Self { stages: Some(Arc::new(StageTable::new(core, every))), ..Self::default() }
    }

    /// The times of the stages, if they are taken.
    #[must_use]
    pub fn stages(&self) -> Option<&Arc<StageTable>> {
        self.stages.as_ref()
    }

    /// Counts `n` things thrown away for one reason.
    #[inline]
    pub fn count_drop(&self, reason: Drop, n: usize) {
        self.drops[reason.index()].add(n as u64);
    }

    /// How much was thrown away for one reason.
    #[must_use]
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.drops[reason.index()].get()
    }

    /// Publishes the ring's and the pool's own figures.
    pub(super) fn publish(&self, ring: RingCounters, slots: Accounting) {
        self.ring_enters.set(ring.enters);
        self.ring_completions.set(ring.completions);
        self.slots_free.set(slots.free as u64);
        self.slots_kernel.set(slots.kernel as u64);
        self.slots_held.set(slots.held as u64);
        self.slots_total.set(slots.total as u64);
    }

    /// Every figure but the drops, by name.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, u64); 19] {
        [
            ("tun_read_packets", self.tun_read_packets.get()),
            ("tun_read_bytes", self.tun_read_bytes.get()),
            ("tun_write_packets", self.tun_write_packets.get()),
            ("tun_write_bytes", self.tun_write_bytes.get()),
            ("tun_writes", self.tun_writes.get()),
            ("udp_receive_datagrams", self.udp_receive_datagrams.get()),
            ("udp_receive_trains", self.udp_receive_trains.get()),
            ("udp_send_datagrams", self.udp_send_datagrams.get()),
            ("udp_send_trains", self.udp_send_trains.get()),
            ("handshakes", self.handshakes.get()),
            ("handoffs", self.handoffs.get()),
            ("staged", self.staged.get()),
            ("turns", self.turns.get()),
            ("ring_enters", self.ring_enters.get()),
            ("ring_completions", self.ring_completions.get()),
            ("slots_free", self.slots_free.get()),
            ("slots_kernel", self.slots_kernel.get()),
            ("slots_held", self.slots_held.get()),
            ("slots_total", self.slots_total.get()),
        ]
    }
}
