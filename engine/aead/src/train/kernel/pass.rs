//! Passes of ChaCha20 over a batch: which block of which message is in which lane, and the key stream that comes of it.

use arrayvec::ArrayVec;

use super::chacha20::{BLOCKS_MAX, Inputs, KeyStream, blocks_max, key_stream};
use super::vector::{BLOCK, Vector, wipe};

/// Consecutive blocks of one message in consecutive lanes.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// The message, by its place in the [order](crate::train::order).
    pub(super) message: usize,
    /// The number of the first block. Block 0 is the one-time key of Poly1305 (RFC 8439, section 2.6), block 1 begins
    /// the text.
    pub(super) first_block: usize,
    /// Where in the pass, and how many.
    pub(super) lane: usize,
    pub(super) blocks: usize,
}

/// The lanes of a pass that is being filled.
#[derive(Clone, Copy)]
pub(super) struct Lanes<V: Vector> {
    inputs: Inputs<V>,
    taken: usize,
}

/// A pass: the runs that were added, then their key stream. That is wiped when this is dropped, also by a panic.
pub(super) struct Pass<'k, V: Vector> {
    v: V,
    key: &'k [u32; 8],
    /// Of which messages the lanes are. Each run has one at least.
    runs: ArrayVec<Run, BLOCKS_MAX>,
    stream: KeyStream<V>,
}

impl Run {
    /// Where in the text its blocks begin, and the key stream for them: without the one-time key, if that is in it.
    #[inline(always)]
    pub(super) fn text<'s, B>(&self, stream: &'s [B]) -> (usize, &'s [B]) {
        let end = self.lane + self.blocks;
        match self.first_block.checked_sub(1) {
            None => (0, &stream[self.lane + 1..end]),
            Some(blocks) => (blocks * BLOCK, &stream[self.lane..end]),
        }
    }
}

impl<V: Vector> Lanes<V> {
    #[inline(always)]
    pub(super) fn new(v: V) -> Self {
        Self { inputs: Inputs::new(v), taken: 0 }
    }

    /// Whether no lane is taken.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Lanes that are free.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        blocks_max::<V>() - self.taken
    }

    /// Gives lanes of `pass` to up to `wanted` blocks of a message, one at least, from `first_block` on, and says how
    /// many there were left. There must be room.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        pass: &mut Pass<'_, V>,
        message: usize,
        counter: u64,
        first_block: usize,
        wanted: usize,
    ) -> usize {
        let lane = self.taken;
        let blocks = wanted.min(self.room());
        self.inputs.set(pass.v, lane, counter, first_block);
        pass.runs.push(Run { message, first_block, lane, blocks });
        self.taken += blocks;
        blocks
    }
}

impl<'k, V: Vector> Pass<'k, V> {
    #[inline(always)]
    pub(super) fn new(v: V, key: &'k [u32; 8]) -> Self {
        Self { v, key, runs: ArrayVec::new(), stream: ArrayVec::new() }
    }

    /// Makes the key stream of what was added: see [`made`](Self::made). To be [cleared](Self::clear) before more is
    /// added.
    #[inline(always)]
    pub(super) fn make(&mut self, lanes: Lanes<V>) {
        let v = self.v;
        v.run(
            #[inline(always)]
            || {
                // A single state takes half the instructions of two, but three quarters of their time.
                if lanes.taken > V::LANES {
                    key_stream::<2, V>(v, self.key, lanes.inputs, &mut self.stream);
                } else {
                    if let Some(longer) = self.stream.get_mut(V::LANES..) {
                        // What a longer pass left there would be out of sight when this is dropped.
                        wipe(v, longer);
                    }
                    key_stream::<1, V>(v, self.key, lanes.inputs, &mut self.stream);
                }
            },
        );
    }

    /// The runs, and the key stream of their lanes.
    #[inline(always)]
    pub(super) fn made(&self) -> (&[Run], &[V::Block]) {
        (&self.runs, &self.stream)
    }

    /// Forgets the runs. The key stream stays until the next is made.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

impl<V: Vector> Drop for Pass<'_, V> {
    fn drop(&mut self) {
        wipe(self.v, &mut self.stream);
    }
}
