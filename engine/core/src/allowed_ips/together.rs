//! Lookups that wait for memory together.
//!
//! A lookup in a large table is a chain: each access to memory says where the next one is, and takes some hundred
//! nanoseconds. A core can wait for many accesses at once, but not for those of one chain. So all lookups of a batch
//! take a step, then all of them take the next one.

use std::array;
use std::hint::black_box;
use std::ops::ControlFlow;

use super::bits::Bits;
use super::trie::{CONTAINING, Entry, Node, Trie};
use crate::ids::PeerId;

/// Addresses that are looked up together at most. More would not be faster: cores of today wait for 10 to 24 lines of
/// the cache at once.
pub const TOGETHER_MAX: usize = 16;

/// For each address of a batch, in its order.
pub type Found = [Option<PeerId>; TOGETHER_MAX];

/// The addresses of one family in a batch.
pub(super) struct Batch<B> {
    bits: [B; TOGETHER_MAX],
    /// Where in the whole batch each of them is.
    places: [u8; TOGETHER_MAX],
    len: usize,
}

impl<B: Bits> Batch<B> {
    pub const fn new(zero: B) -> Self {
        Self { bits: [zero; TOGETHER_MAX], places: [0; TOGETHER_MAX], len: 0 }
    }

    pub const fn add(&mut self, place: usize, bits: B) {
        self.bits[self.len] = bits;
        self.places[self.len] = place as u8;
        self.len += 1;
    }
}

impl<B: Bits> Trie<B> {
    /// As `lookup`, for each address of a batch.
    pub fn lookup_together(&self, batch: &Batch<B>, found: &mut Found) {
        let Some(root) = self.root.as_ref().filter(|_| batch.len > 0) else { return };
        let mut walks: [Walk<'_, B>; TOGETHER_MAX] = array::from_fn(|i| Walk::new(root, batch.bits[i]));
        // A bit for each walk that goes on.
        let mut walking = (1_u32 << batch.len) - 1;
        while walking != 0 {
            // Before any branch depends on it: a wrong guess would keep the core from looking ahead to the others.
            black_box(walks.iter().filter(|walk| walk.touch()).count());
            let mut round = walking;
            while round != 0 {
                let i = round.trailing_zeros() as usize;
                round &= round - 1;
                if let ControlFlow::Break(peer) = walks[i].step() {
                    walking &= !(1 << i);
                    found[usize::from(batch.places[i])] = peer;
                }
            }
        }
        for (walk, &place) in walks.iter().zip(&batch.places).take(batch.len) {
            let found = &mut found[usize::from(place)];
            *found = found.or_else(|| walk.shorter());
        }
    }
}

/// A lookup on its way down: one turn of the loop in `Trie::lookup` is a step. The loop is not made of steps, which
/// would be slower where the table is small.
#[derive(Debug)]
struct Walk<'a, B> {
    bits: B,
    /// What is looked at next. It was not read so far.
    entry: &'a Entry<B>,
    /// The lowest node so far with prefixes that end in it and contain the address, and their places.
    best: Option<(&'a Node<B>, u64)>,
}

impl<'a, B: Bits> Walk<'a, B> {
    const fn new(root: &'a Entry<B>, bits: B) -> Self {
        Self { bits, entry: root, best: None }
    }

    /// Reads what the next step looks at, and no more.
    #[inline]
    const fn touch(&self) -> bool {
        matches!(self.entry, Entry::Leaf(_))
    }

    /// One level further down, which is one access to memory. The walk ends with a peer, or with what
    /// [`Walk::shorter`] finds.
    #[inline]
    fn step(&mut self) -> ControlFlow<Option<PeerId>> {
        match self.entry {
            Entry::Leaf(leaf) => ControlFlow::Break(leaf.contains(self.bits).then_some(leaf.peer)),
            Entry::Node(node) if !node.covers(self.bits) => ControlFlow::Break(None),
            Entry::Node(node) => {
                let chunk = self.bits.chunk(node.shift);
                let containing = node.map & CONTAINING[chunk as usize];
                if containing != 0 {
                    self.best = Some((node, containing));
                }
                match node.below(chunk) {
                    None => ControlFlow::Break(None),
                    Some(below) => {
                        self.entry = below;
                        ControlFlow::Continue(())
                    }
                }
            }
        }
    }

    /// The longest of the prefixes that were passed and contain the address. It is read only here, so it costs an
    /// access to memory only if it is the answer.
    #[inline]
    fn shorter(&self) -> Option<PeerId> {
        let (node, containing) = self.best?;
        match node.get(containing.ilog2()) {
            Some(Entry::Leaf(leaf)) => Some(leaf.peer),
            _ => None,
        }
    }
}
