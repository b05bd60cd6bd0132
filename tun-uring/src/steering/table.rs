//! The table between the program and the workers: where the flows of each bucket go, and what they have cost so far.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use ebpf_array::{Array, Value};

use super::hash::{self, Seed};

/// What a packet or super-packet costs beyond its bytes, in bytes: about as long as the work that each one makes takes,
/// that much more can be sealed.
pub(super) const PACKET_COST: u64 = 2048;

/// The size of an entry, and the offsets in it that the program knows.
pub(super) const ENTRY_LEN: usize = size_of::<Entry>();
pub(super) const PLACE: i16 = std::mem::offset_of!(Entry, place) as i16;
pub(super) const SENT: i16 = std::mem::offset_of!(Entry, sent) as i16;
/// Notes of the buckets of datagrams whose first fragment has passed: that many datagrams between two ends in a row
/// have one each. Of other datagrams that are under way together, two in that many replace each other's.
pub(super) const NOTES_COUNT: usize = 4096;
/// Where the notes are, behind the entries: of each datagram's key the upper bits, and the bucket. Only the program
/// knows them.
pub(super) const NOTES: usize = std::mem::offset_of!(Table, notes);
/// The size of the table in bytes.
#[cfg(test)]
pub(super) const TABLE_LEN: usize = size_of::<Table>();

const _: () = assert!(ENTRY_LEN.is_power_of_two(), "the program finds an entry with a shift");

/// In the place of a worker's number: none.
const NOBODY: u32 = u32::MAX;

/// Flows with the same hash; both directions of a flow are in the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket(u16);

impl Bucket {
    /// How many there are: ten for each queue even where there are a hundred queues, so these are loaded evenly.
    pub const COUNT: usize = hash::BUCKETS;

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u16).map(Self)
    }

    /// The bucket of this index, which is below [`Self::COUNT`].
    pub(super) const fn at(index: u32) -> Self {
        Self(index as u16)
    }

    /// From 0 to [`Self::COUNT`] - 1.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What `len` bytes in `packets` packets (or super-packets) cost, as the program counts it.
#[must_use]
pub fn cost(packets: u64, len: u64) -> u64 {
    packets * PACKET_COST + len
}

/// As the program reads and writes it. Its length is a power of two.
#[derive(Debug)]
#[repr(C, align(32))]
struct Entry {
    /// The queue. Written by the worker that owns this queue, and by nobody else.
    place: AtomicU32,
    /// The worker that wants the flows, or [`NOBODY`].
    home: AtomicU32,
    /// Where they go that nobody wants. Written by who has the bucket, and by nobody else.
    usual: AtomicU32,
    /// What was handed to the queues so far, also what found one full. Written by the program.
    sent: AtomicU64,
}

/// As the program has it.
#[repr(C)]
pub(super) struct Table {
    entries: [Entry; Bucket::COUNT],
    notes: [AtomicU32; NOTES_COUNT],
}

// SAFETY: all that is in it are atomic integers.
unsafe impl Value for Table {}

/// The queues of the flows of a device, shared by its workers and the kernel.
pub struct FlowTable {
    table: Array<Table>,
    queues: u32,
    /// The program's.
    seed: Seed,
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable").field("queues", &self.queues).finish_non_exhaustive()
    }
}

impl FlowTable {
    /// Spreads the buckets evenly over the queues. `seed` is the program's.
    pub(super) fn new(table: Array<Table>, queues: u32, seed: Seed) -> Self {
        for (Entry { place, home, usual, .. }, bucket) in table.entries.iter().zip(0..) {
            place.store(bucket % queues, Relaxed);
            usual.store(bucket % queues, Relaxed);
            home.store(NOBODY, Relaxed);
        }
        Self { table, queues, seed }
    }

    fn entry(&self, bucket: Bucket) -> &Entry {
        &self.table.entries[bucket.index()]
    }

    /// The bucket of an IP packet; `None` if it is cut short. What is not IPv6 is read as IPv4. Nobody who does not
    /// know this table can tell which flows share a bucket.
    #[must_use]
    pub fn bucket(&self, packet: &[u8]) -> Option<Bucket> {
        hash::bucket(packet, self.seed).map(Bucket::at)
    }

    /// What decides which flows share a bucket: for a process that comes after this one, and for nobody else.
    #[must_use]
    pub const fn seed(&self) -> [u32; 2] {
        [self.seed.hash, self.seed.pair]
    }

    /// The queue of each bucket, in their order.
    #[must_use]
    pub fn places(&self) -> Vec<u32> {
        self.table.entries.iter().map(|entry| entry.place.load(Relaxed)).collect()
    }

    /// Lets each bucket's packets arrive on the queue where they arrived in another process, so they keep their order.
    /// To be called before the program is attached. Nothing changes unless these are the [places](Self::places) of a
    /// device with as many queues.
    pub fn resume(&self, places: &[u32]) {
        if places.len() != Bucket::COUNT || places.iter().any(|&place| place >= self.queues) {
            return;
        }
        for (Entry { place, usual, .. }, &resumed) in self.table.entries.iter().zip(places) {
            place.store(resumed, Relaxed);
            usual.store(resumed, Relaxed);
        }
    }

    /// How many queues there are.
    #[must_use]
    pub const fn queues(&self) -> usize {
        self.queues as usize
    }

    /// What has been handed to the queues in a bucket so far, as [`cost`] has it.
    #[must_use]
    pub fn sent(&self, bucket: Bucket) -> u64 {
        self.entry(bucket).sent.load(Relaxed)
    }

    /// Which queue a bucket's packets arrive on.
    #[must_use]
    pub fn place(&self, bucket: Bucket) -> usize {
        self.entry(bucket).place.load(Relaxed) as usize
    }

    /// Says that `worker` wants a bucket's packets, unless another one does.
    pub fn claim(&self, bucket: Bucket, worker: usize) {
        // Whoever comes second learns of it when it looks again, and nothing else is published by this.
        let _ = self.entry(bucket).home.compare_exchange(NOBODY, worker as u32, Relaxed, Relaxed);
    }

    /// Says that `worker` does not want a bucket's packets any more, if it did.
    pub fn release(&self, bucket: Bucket, worker: usize) {
        let _ = self.entry(bucket).home.compare_exchange(worker as u32, NOBODY, Relaxed, Relaxed);
    }

    /// Whether `worker` wants a bucket's packets.
    #[must_use]
    pub fn is_claimed_by(&self, bucket: Bucket, worker: usize) -> bool {
        self.entry(bucket).home.load(Relaxed) == worker as u32
    }

    /// Whether anybody wants a bucket's packets.
    #[must_use]
    pub fn is_claimed(&self, bucket: Bucket) -> bool {
        self.entry(bucket).home.load(Relaxed) != NOBODY
    }

    /// Lets a bucket that arrives on the queue of `worker` go to the queue `to` as long as nobody claims it. That is no
    /// move: see [`Self::let_go`]. Nothing happens if `worker` does not have it, or there is no such queue.
    pub fn assign(&self, bucket: Bucket, worker: usize, to: usize) {
        let entry = self.entry(bucket);
        if entry.place.load(Relaxed) == worker as u32 && to < self.queues() {
            entry.usual.store(to as u32, Relaxed);
        }
    }

    /// Whether a bucket's packets arrive on the queue of `worker`, and should arrive on another.
    #[must_use]
    pub fn is_to_leave(&self, bucket: Bucket, worker: usize) -> bool {
        let entry = self.entry(bucket);
        entry.place.load(Relaxed) == worker as u32 && self.wanted_place(entry) != worker as u32
    }

    /// Lets the packets of a bucket that [is to leave](Self::is_to_leave) arrive on the queue where they are wanted
    /// from now on. `worker` calls it when none of them is left in its queue, so they keep their order.
    pub fn let_go(&self, bucket: Bucket, worker: usize) {
        if self.is_to_leave(bucket, worker) {
            let entry = self.entry(bucket);
            entry.place.store(self.wanted_place(entry), Relaxed);
        }
    }

    fn wanted_place(&self, entry: &Entry) -> u32 {
        let home = entry.home.load(Relaxed);
        if home < self.queues { home } else { entry.usual.load(Relaxed) }
    }
}
