//! Packets that wait for a session: all of one worker, of all its peers.
//!
//! A peer may have so many packets here, and all together so many. Whoever wants room when there is none gets that of
//! the oldest packet of the peer that has the most: its sender is the likeliest to have given up. So a flood for a peer
//! that nobody reaches costs that peer's packets, and never those of a peer that has fewer.
//!
//! ```text
//!   buckets[len] ─► queue ─► queue      the peers that have `len` packets, the one that has had them longest first
//!                     │
//!                     └─► entry ─► entry ─► entry       the packets of one peer, oldest first
//! ```
//!
//! Small and large packets have shelves of their own, since their slots are not the same. All memory is taken at the
//! start, and every step is a few links: this runs once for each packet of a flood. There is no ring and no clock here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use ring_buffers::{SlotClass, View};
use ringfort_core::ids::PeerId;

/// How many packets may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one peer.
    pub per_peer: u16,
    /// Of all peers.
    pub in_all: u16,
}

/// A packet that waited.
#[derive(Debug)]
pub(crate) struct Staged {
    /// For whom. Routes may have changed since it came.
    pub(crate) peer: PeerId,
    /// Room for a data header, then the packet.
    pub(crate) view: View,
}

/// What waits, of all peers of one worker.
pub(crate) struct Staging {
    packets: Shelf,
    jumbos: Shelf,
    /// Packets that came so far: the order of a peer's packets that lie on different shelves.
    arrivals: u64,
}

impl Staging {
    pub(crate) fn new(packets: Limits, jumbos: Limits) -> Self {
        Self { packets: Shelf::new(packets), jumbos: Shelf::new(jumbos), arrivals: 0 }
    }

    /// Lets a packet wait behind the others of its peer. Returns the one that made room for it, if there was none.
    pub(crate) fn push(&mut self, peer: PeerId, class: SlotClass, view: View) -> Option<Staged> {
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.shelf(class).push(peer, view, arrival)
    }

    /// The packet whose slot a newcomer of `peer` may have: the oldest of the peer that has the most of that class. Of
    /// peers that have equally many, `peer` itself gives way. `None`: there is no packet of that class.
    pub(crate) fn make_room(&mut self, peer: PeerId, class: SlotClass) -> Option<Staged> {
        self.shelf(class).make_room(peer)
    }

    pub(crate) fn is_full(&self, class: SlotClass) -> bool {
        let shelf = if class == SlotClass::Packet { &self.packets } else { &self.jumbos };
        shelf.is_full()
    }

    /// The next packet of a peer, in the order in which they came.
    pub(crate) fn pop(&mut self, peer: PeerId) -> Option<View> {
        let jumbo_first = match (self.packets.front_arrival(peer), self.jumbos.front_arrival(peer)) {
            (Some(packet), Some(jumbo)) => jumbo < packet,
            (packet, _) => packet.is_none(),
        };
        let shelf = if jumbo_first { &mut self.jumbos } else { &mut self.packets };
        shelf.pop(peer).map(|staged| staged.view)
    }

    /// The packet of a peer that has waited longest among those of one class.
    pub(crate) fn front(&self, peer: PeerId, class: SlotClass) -> Option<&View> {
        let shelf = if class == SlotClass::Packet { &self.packets } else { &self.jumbos };
        shelf.front(peer)
    }

    /// Packets that wait for one peer.
    #[inline]
    pub(crate) fn waiting(&self, peer: PeerId) -> usize {
        // Asked for each packet that has a key, and then hardly ever does one wait.
        if self.len() == 0 {
            return 0;
        }
        self.packets.waiting(peer) + self.jumbos.waiting(peer)
    }

    #[cfg(test)]
    /// Lets go of all packets of a peer, and says how many there were.
    pub(crate) fn drop_all(&mut self, peer: PeerId) -> usize {
        std::iter::from_fn(|| self.pop(peer)).count()
    }

    /// All packets that wait, in the order in which they came.
    pub(crate) fn all(&self) -> Vec<(PeerId, &View)> {
        let mut all: Vec<_> = self.packets.all().chain(self.jumbos.all()).collect();
        all.sort_unstable_by_key(|&(_, arrival, _)| arrival);
        all.into_iter().map(|(peer, _, view)| (peer, view)).collect()
    }

    /// A packet of any peer.
    pub(crate) fn take_any(&mut self) -> Option<Staged> {
        let anybody = PeerId { index: 0, generation: 0 };
        [SlotClass::Packet, SlotClass::Jumbo].into_iter().find_map(|class| self.make_room(anybody, class))
    }

    /// Packets that wait, of all peers.
    pub(crate) fn len(&self) -> usize {
        self.packets.len + self.jumbos.len
    }

    fn shelf(&mut self, class: SlotClass) -> &mut Shelf {
        match class {
            SlotClass::Packet => &mut self.packets,
            SlotClass::Jumbo => &mut self.jumbos,
        }
    }
}

/// No link.
const NIL: u16 = u16::MAX;

/// Packets of one class.
struct Shelf {
    limits: Limits,
    len: usize,
    entries: Box<[Entry]>,
    /// The first of the entries that are not in use, linked like a queue.
    free_entry: u16,
    queues: Box<[Queue]>,
    /// The first of the queues that are not in use, linked by `after`.
    free_queue: u16,
    /// By length; a queue that is in use is in the bucket of its length.
    buckets: Box<[Bucket]>,
    /// Bit `n - 1` is set if there are queues of length `n`, so the longest are found at once.
    lengths: u128,
    /// Which queue a peer has, if any packet of it waits.
    index: HashMap<PeerId, u16, BuildHasherDefault<PeerHasher>>,
}

/// A place for a packet.
struct Entry {
    view: Option<View>,
    arrival: u64,
    next: u16,
}

/// The packets of one peer.
#[derive(Clone, Copy)]
struct Queue {
    peer: PeerId,
    len: u16,
    oldest: u16,
    newest: u16,
    /// Neighbours in the bucket.
    before: u16,
    after: u16,
}

/// The queues of one length.
#[derive(Clone, Copy)]
struct Bucket {
    first: u16,
    last: u16,
}

impl Shelf {
    fn new(limits: Limits) -> Self {
        assert!(
            limits.in_all > 0 && limits.in_all < NIL,
            "a place has a number of 16 bits, and one of these is no link"
        );
        assert!(limits.per_peer > 0 && u32::from(limits.per_peer) <= u128::BITS, "each length has its bit");
        let next = |n: u16| if n + 1 < limits.in_all { n + 1 } else { NIL };
        let nobody = PeerId { index: 0, generation: 0 };
        let queue = |n| Queue { peer: nobody, len: 0, oldest: NIL, newest: NIL, before: NIL, after: next(n) };
        Self {
            limits,
            len: 0,
            entries: (0..limits.in_all).map(|n| Entry { view: None, arrival: 0, next: next(n) }).collect(),
            free_entry: 0,
            queues: (0..limits.in_all).map(queue).collect(),
            free_queue: 0,
            buckets: vec![Bucket { first: NIL, last: NIL }; usize::from(limits.per_peer) + 1].into(),
            lengths: 0,
            // Twice as much as is ever in it: then the map clears its traces of what was removed where it is, and does
            // not grow.
            index: HashMap::with_capacity_and_hasher(2 * usize::from(limits.in_all), BuildHasherDefault::default()),
        }
    }

    fn is_full(&self) -> bool {
        self.len == usize::from(self.limits.in_all)
    }

    fn push(&mut self, peer: PeerId, view: View, arrival: u64) -> Option<Staged> {
        let evicted = match self.index.get(&peer) {
            Some(&queue) if self.queues[usize::from(queue)].len == self.limits.per_peer => {
                Some(self.take_oldest(queue))
            }
            _ if self.is_full() => self.make_room(peer),
            _ => None,
        };
        let entry = self.free_entry;
        let place = &mut self.entries[usize::from(entry)];
        self.free_entry = std::mem::replace(&mut place.next, NIL);
        (place.view, place.arrival) = (Some(view), arrival);
        self.append(peer, entry);
        self.len += 1;
        evicted
    }

    fn make_room(&mut self, peer: PeerId) -> Option<Staged> {
        let most = u128::BITS - self.lengths.leading_zeros();
        let greediest = match self.index.get(&peer) {
            Some(&own) if u32::from(self.queues[usize::from(own)].len) == most => own,
            _ if most > 0 => self.buckets[most as usize].first,
            _ => return None,
        };
        Some(self.take_oldest(greediest))
    }

    fn pop(&mut self, peer: PeerId) -> Option<Staged> {
        let queue = *self.index.get(&peer)?;
        Some(self.take_oldest(queue))
    }

    fn front_arrival(&self, peer: PeerId) -> Option<u64> {
        let queue = &self.queues[usize::from(*self.index.get(&peer)?)];
        Some(self.entries[usize::from(queue.oldest)].arrival)
    }

    fn front(&self, peer: PeerId) -> Option<&View> {
        let queue = &self.queues[usize::from(*self.index.get(&peer)?)];
        self.entries[usize::from(queue.oldest)].view.as_ref()
    }

    fn waiting(&self, peer: PeerId) -> usize {
        self.index.get(&peer).map_or(0, |&queue| self.queues[usize::from(queue)].len.into())
    }

    fn all(&self) -> impl Iterator<Item = (PeerId, u64, &View)> {
        let queues = self.index.values().map(|&queue| &self.queues[usize::from(queue)]);
        queues.flat_map(|queue| {
            let later = |entry: &u16| Some(self.entries[usize::from(*entry)].next).filter(|&next| next != NIL);
            let entries =
                std::iter::successors(Some(queue.oldest), later).map(|entry| &self.entries[usize::from(entry)]);
            entries.filter_map(|entry| Some((queue.peer, entry.arrival, entry.view.as_ref()?)))
        })
    }

    /// Puts a filled entry behind the others of its peer.
    fn append(&mut self, peer: PeerId, entry: u16) {
        let queue = self.index.get(&peer).copied();
        let queue = queue.unwrap_or_else(|| self.begin_queue(peer));
        if self.queues[usize::from(queue)].len > 0 {
            self.leave_bucket(queue);
        }
        let q = &mut self.queues[usize::from(queue)];
        let before = std::mem::replace(&mut q.newest, entry);
        q.len += 1;
        match before {
            NIL => q.oldest = entry,
            before => self.entries[usize::from(before)].next = entry,
        }
        self.enter_bucket(queue);
    }

    fn begin_queue(&mut self, peer: PeerId) -> u16 {
        let queue = self.free_queue;
        let q = &mut self.queues[usize::from(queue)];
        self.free_queue = q.after;
        *q = Queue { peer, len: 0, oldest: NIL, newest: NIL, before: NIL, after: NIL };
        self.index.insert(peer, queue);
        queue
    }

    /// Takes the oldest packet of a queue, which has one, as every queue in use does.
    fn take_oldest(&mut self, queue: u16) -> Staged {
        self.leave_bucket(queue);
        let q = &mut self.queues[usize::from(queue)];
        let peer = q.peer;
        let number = q.oldest;
        let entry = &mut self.entries[usize::from(number)];
        let view = entry.view.take().expect("an entry of a queue holds a packet");
        q.oldest = std::mem::replace(&mut entry.next, self.free_entry);
        q.len -= 1;
        self.free_entry = number;
        self.len -= 1;
        if q.len > 0 {
            self.enter_bucket(queue);
        } else {
            q.after = self.free_queue;
            self.free_queue = queue;
            self.index.remove(&peer);
        }
        Staged { peer, view }
    }

    fn enter_bucket(&mut self, queue: u16) {
        let len = self.queues[usize::from(queue)].len;
        let bucket = &mut self.buckets[usize::from(len)];
        let last = std::mem::replace(&mut bucket.last, queue);
        match last {
            NIL => bucket.first = queue,
            last => self.queues[usize::from(last)].after = queue,
        }
        let q = &mut self.queues[usize::from(queue)];
        (q.before, q.after) = (last, NIL);
        self.lengths |= 1 << (len - 1);
    }

    fn leave_bucket(&mut self, queue: u16) {
        let Queue { len, before, after, .. } = self.queues[usize::from(queue)];
        let bucket = &mut self.buckets[usize::from(len)];
        match before {
            NIL => bucket.first = after,
            before => self.queues[usize::from(before)].after = after,
        }
        match after {
            NIL => bucket.last = before,
            after => self.queues[usize::from(after)].before = before,
        }
        if bucket.first == NIL {
            self.lengths &= !(1 << (len - 1));
        }
    }
}

/// A peer's name is two numbers of control's choosing: one multiplication spreads them, and nobody else can aim at it.
#[derive(Default)]
struct PeerHasher(u64);

impl Hasher for PeerHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
