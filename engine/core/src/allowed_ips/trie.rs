//! A persistent trie that reads five bits of an address at a time: of a random address among a million prefixes, four
//! or five arrays are touched instead of some twenty nodes.
//!
//! ```text
//!   Entry ─┬─ Leaf: a prefix and its peer, whole: a subtree with one prefix has no nodes of its own
//!          └─ Node: the bits above its five, a map of 63 places ──► entries of the places that are taken, side by side
//!                     32 places for what goes on below each value of the five bits
//!                     31 places for prefixes that end within them
//! ```
//!
//! A node stands in its parent's array, map included, so each level costs one access to memory. The levels are the same
//! in all tries: the five bits of a node begin at a multiple of five, counted from the end of the address. So the hosts
//! of a subnet lie side by side, in order. Levels that tell nothing apart are left out.
//!
//! An entry of IPv4 has 32 bytes, one of IPv6 has 48. A million random prefixes of IPv4 take 50 bytes each in all.

use std::sync::Arc;

use super::bits::Bits;
use crate::ids::PeerId;

/// Bits that a node tells apart.
const STRIDE: u8 = 5;
/// Places of a map: the lower half leads on, the upper half has the prefixes that end in the node.
const BELOW: u32 = 1 << STRIDE;

/// For each value of the five bits, the places of the prefixes that end in the node and contain it. Of those the
/// longest has the highest place.
pub(super) const CONTAINING: [u64; BELOW as usize] = {
    let mut table = [0; BELOW as usize];
    let mut chunk = 0;
    while chunk < BELOW {
        let mut count = 1;
        while count <= STRIDE {
            table[chunk as usize] |= 1 << ending(chunk, count);
            count += 1;
        }
        chunk += 1;
    }
    table
};

const _: () = assert!(size_of::<Entry<u32>>() == 32 && size_of::<Entry<u128>>() == 48);

/// The place of the prefix that leaves the lower `count` of five bits open.
const fn ending(chunk: u32, count: u8) -> u32 {
    BELOW + (BELOW >> count) - 1 + (chunk >> count)
}

/// A prefix: an address whose lower `open` bits are zero, and stand for any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf<B> {
    pub bits: B,
    pub open: u8,
    pub peer: PeerId,
}

#[derive(Clone, Debug)]
pub(super) enum Entry<B> {
    Leaf(Leaf<B>),
    Node(Node<B>),
}

/// Several prefixes that agree above five bits, and differ in them, or end in them. It has two entries at least.
#[derive(Clone, Debug)]
pub(super) struct Node<B> {
    /// The places that are taken; their entries are in this order.
    pub map: u64,
    pub entries: Arc<[Entry<B>]>,
    /// An address of the node: its bits above the five count.
    pub bits: B,
    /// The position of the lowest of the five.
    pub shift: u8,
}

#[derive(Clone, Debug)]
pub(super) struct Trie<B> {
    pub root: Option<Entry<B>>,
    pub count: usize,
}

impl<B> Default for Trie<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Trie<B> {
    pub const fn new() -> Self {
        Self { root: None, count: 0 }
    }
}

impl<B: Bits> Trie<B> {
    /// The peer with the longest prefix that contains an address.
    #[inline]
    pub fn lookup(&self, bits: B) -> Option<PeerId> {
        let mut entry = self.root.as_ref()?;
        let mut best: Option<(&Node<B>, u64)> = None;
        loop {
            match entry {
                Entry::Leaf(leaf) if leaf.contains(bits) => return Some(leaf.peer),
                Entry::Leaf(_) => break,
                Entry::Node(node) => {
                    if !node.covers(bits) {
                        break;
                    }
                    let chunk = bits.chunk(node.shift);
                    let containing = node.map & CONTAINING[chunk as usize];
                    if containing != 0 {
                        best = Some((node, containing));
                    }
                    match node.below(chunk) {
                        None => break,
                        Some(below) => entry = below,
                    }
                }
            }
        }
        // Only now, so it costs an access to memory only if it is the answer.
        let (node, containing) = best?;
        match node.get(containing.ilog2()) {
            Some(Entry::Leaf(leaf)) => Some(leaf.peer),
            _ => None,
        }
    }

    /// Gives a prefix to a peer, and returns whose it was.
    pub fn insert(&mut self, bits: B, len: u8, peer: PeerId) -> Option<PeerId> {
        let leaf = Leaf { bits, open: B::WIDTH - len, peer };
        let before = match &mut self.root {
            None => {
                self.root = Some(Entry::Leaf(leaf));
                None
            }
            Some(root) => root.insert(leaf),
        };
        self.count += usize::from(before.is_none());
        before
    }

    /// Takes a prefix away from a peer. False, and nothing changes, if that peer does not have it.
    pub fn remove(&mut self, bits: B, len: u8, peer: PeerId) -> bool {
        let leaf = Leaf { bits, open: B::WIDTH - len, peer };
        // Looking first keeps a removal that finds nothing from copying the path.
        if self.exact(&leaf) != Some(peer) {
            return false;
        }
        match &mut self.root {
            Some(root @ Entry::Node(_)) => root.remove(&leaf),
            root => *root = None,
        }
        self.count -= 1;
        true
    }

    fn exact(&self, wanted: &Leaf<B>) -> Option<PeerId> {
        let mut entry = self.root.as_ref()?;
        loop {
            match entry {
                Entry::Leaf(leaf) => return leaf.is(wanted).then_some(leaf.peer),
                Entry::Node(node) if !node.holds(wanted) => return None,
                Entry::Node(node) => entry = node.get(node.place(wanted))?,
            }
        }
    }
}

impl<B: Bits> Leaf<B> {
    #[inline]
    pub(super) fn contains(&self, bits: B) -> bool {
        self.bits.agrees_above(bits, self.open)
    }

    fn is(&self, other: &Self) -> bool {
        self.bits == other.bits && self.open == other.open
    }

    /// The level at which the prefix ends; 0, the lowest, if it is a whole address.
    fn level(&self) -> u8 {
        level(self.open.saturating_sub(1))
    }
}

/// The node that has the bit at this position among its five.
const fn level(position: u8) -> u8 {
    position / STRIDE * STRIDE
}

impl<B: Bits> Node<B> {
    /// Whether an address goes on below this node.
    #[inline]
    pub(super) fn covers(&self, bits: B) -> bool {
        self.bits.agrees_above(bits, self.shift + STRIDE)
    }

    /// Whether a prefix belongs into this node, or below it.
    fn holds(&self, leaf: &Leaf<B>) -> bool {
        leaf.open <= self.shift + STRIDE && self.covers(leaf.bits)
    }

    /// The place of a prefix that belongs into this node or below it.
    fn place(&self, leaf: &Leaf<B>) -> u32 {
        let chunk = leaf.bits.chunk(self.shift);
        match leaf.open.checked_sub(self.shift) {
            None | Some(0) => chunk,
            Some(count) => ending(chunk, count),
        }
    }

    /// What goes on below a value of the five bits.
    #[inline]
    pub(super) fn below(&self, chunk: u32) -> Option<&Entry<B>> {
        // As `get`, but in the lower half, which is faster to count in.
        let (map, bit) = (self.map as u32, 1u32 << chunk);
        if map & bit == 0 { None } else { self.entries.get((map & (bit - 1)).count_ones() as usize) }
    }

    /// What is in a place.
    pub(super) fn get(&self, place: u32) -> Option<&Entry<B>> {
        if self.has(place) { self.entries.get(self.rank(place)) } else { None }
    }

    const fn has(&self, place: u32) -> bool {
        self.map >> place & 1 == 1
    }

    /// How many places before this one are taken.
    const fn rank(&self, place: u32) -> usize {
        (self.map & ((1 << place) - 1)).count_ones() as usize
    }

    /// Takes a place that is free.
    fn take(&mut self, place: u32, entry: Entry<B>) {
        let rank = self.rank(place);
        self.map |= 1 << place;
        let mut new = Some(entry);
        let count = self.entries.len() + 1;
        self.entries = match Arc::get_mut(&mut self.entries) {
            // Nobody else reads them, so they move, and what they lead to is not touched.
            Some(entries) => {
                let mut rest = entries.iter_mut().map(Entry::take);
                (0..count).filter_map(|i| if i == rank { new.take() } else { rest.next() }).collect()
            }
            None => {
                let mut rest = self.entries.iter().cloned();
                (0..count).filter_map(|i| if i == rank { new.take() } else { rest.next() }).collect()
            }
        };
    }

    /// Frees a place.
    fn free(&mut self, place: u32) {
        let rank = self.rank(place);
        self.map &= !(1 << place);
        let others = self.entries.iter().enumerate().filter(|&(i, _)| i != rank);
        self.entries = others.map(|(_, entry)| entry.clone()).collect();
    }
}

/// Depth of recursion: each node fixes at least one more of the levels, of which there are 7 (IPv4) or 26 (IPv6).
impl<B: Bits> Entry<B> {
    fn insert(&mut self, leaf: Leaf<B>) -> Option<PeerId> {
        match self {
            Self::Leaf(old) if old.is(&leaf) => return Some(std::mem::replace(&mut old.peer, leaf.peer)),
            Self::Node(node) if node.holds(&leaf) => {
                let place = node.place(&leaf);
                if node.has(place) {
                    let rank = node.rank(place);
                    // Copied where an older version shares it.
                    return Arc::make_mut(&mut node.entries)[rank].insert(leaf);
                }
                node.take(place, Self::Leaf(leaf));
            }
            _ => self.part(leaf),
        }
        None
    }

    /// A node in place of this entry, and above it, where it and a prefix go different ways.
    fn part(&mut self, leaf: Leaf<B>) {
        let (bits, own_level) = match self {
            Self::Leaf(old) => (old.bits, old.level()),
            Self::Node(node) => (node.bits, node.shift),
        };
        let differs = bits.difference(leaf.bits).map_or(0, level);
        let shift = differs.max(own_level).max(leaf.level());
        let mut node = Node { map: 0, entries: Arc::new([]), bits: leaf.bits, shift };
        let place = match self {
            Self::Leaf(old) => node.place(old),
            Self::Node(_) => bits.chunk(shift),
        };
        let old = std::mem::replace(self, Self::Leaf(leaf));
        node.take(place, old);
        node.take(node.place(&leaf), Self::Leaf(leaf));
        *self = Self::Node(node);
    }

    /// Removes a prefix that is known to be below this entry, which is a node.
    fn remove(&mut self, leaf: &Leaf<B>) {
        let Self::Node(node) = self else { return };
        let place = node.place(leaf);
        let rank = node.rank(place);
        if matches!(node.entries.get(rank), Some(Self::Node(_))) {
            return Arc::make_mut(&mut node.entries)[rank].remove(leaf);
        }
        node.free(place);
        if let [only] = &*node.entries {
            *self = only.clone();
        }
    }

    /// Moves the entry out of memory that is given up next.
    fn take(&mut self) -> Self {
        let bits = match self {
            Self::Leaf(leaf) => leaf.bits,
            Self::Node(node) => node.bits,
        };
        let nothing = Leaf { bits, open: 0, peer: PeerId { index: 0, generation: 0 } };
        std::mem::replace(self, Self::Leaf(nothing))
    }
}
