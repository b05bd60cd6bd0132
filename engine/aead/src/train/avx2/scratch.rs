//! What a batch needs beside its messages. Secrets are wiped when it is dropped, also by a panic.

use core::cell::Cell;
use core::hint::black_box;

use arrayvec::ArrayVec;

use super::hash::{Hash, POLY_BLOCK};
use super::job::{Job, Tail};
use super::pass::{BLOCK, LANES};
use crate::train::order::Order;
use crate::{Message, SEGMENTS_MAX};

/// Blocks of key stream that are kept while their messages have no verdict: 8 KiB, a quarter of the nearest cache.
pub(super) const KEPT_MAX: usize = 128;

/// The messages of a batch, in the order in which they are worked on.
pub(super) type Jobs<'b> = ArrayVec<Job<'b>, SEGMENTS_MAX>;

/// Hashes, the ends of ciphertexts, and where one-time keys arrive.
pub(super) struct Scratch {
    hashes: ArrayVec<Cell<Hash>, SEGMENTS_MAX>,
    tails: ArrayVec<Tail, SEGMENTS_MAX>,
    /// A block for each lane.
    pub(super) keys: [[Cell<u8>; BLOCK]; LANES],
    /// Takes the sums of nobody's hash.
    pub(super) dummy: Cell<Hash>,
}

/// Key stream that waits for a verdict.
pub(super) struct Kept(ArrayVec<[Cell<u8>; BLOCK], KEPT_MAX>);

impl Scratch {
    /// For no message. It is large, so fill it where it stays.
    #[inline(always)]
    pub(super) fn new() -> Self {
        let keys = [const { [const { Cell::new(0) }; BLOCK] }; LANES];
        Self { hashes: ArrayVec::new(), tails: ArrayVec::new(), keys, dummy: Cell::new(Hash::ZERO) }
    }

    /// Makes a place for each of the messages. Jobs come in the order in which they are worked on.
    #[inline(always)]
    pub(super) fn jobs<'b>(
        &'b mut self,
        messages: &'b mut [Message<'_>],
        order: &Order,
        jobs: &mut Jobs<'b>,
    ) -> &'b Self {
        for _ in 0..messages.len() {
            self.hashes.push(Cell::new(Hash::ZERO));
            self.tails.push([const { Cell::new(0) }; BLOCK + POLY_BLOCK]);
        }
        for (message, (hash, tail)) in messages.iter_mut().zip(self.hashes.iter().zip(&self.tails)) {
            let (counter, text, tag) = message.parts();
            jobs.push(Job::new(counter, Cell::from_mut(text).as_slice_of_cells(), Cell::from_mut(tag), hash, tail));
        }
        order.arrange(jobs);
        self
    }
}

impl Kept {
    /// No block. It is large, so fill it where it stays.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(ArrayVec::new())
    }

    /// Makes room for that many blocks.
    #[inline(always)]
    pub(super) fn fill(&mut self, count: usize) -> &[[Cell<u8>; BLOCK]] {
        for _ in 0..count {
            self.0.push([const { Cell::new(0) }; BLOCK]);
        }
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.hashes.iter().chain([&self.dummy]).for_each(|hash| hash.set(Hash::ZERO));
        wipe(&self.keys);
        // While a message is being sealed, there is key stream behind its end.
        wipe(&self.tails);
        // For all that the compiler knows, somebody reads the zeros here.
        black_box(self);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        wipe(&self.0);
        black_box(self);
    }
}

#[inline(always)]
fn wipe<const LEN: usize>(blocks: &[[Cell<u8>; LEN]]) {
    blocks.as_flattened().iter().for_each(|cell| cell.set(0));
}
