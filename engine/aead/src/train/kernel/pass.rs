//! Passes of ChaCha20 over a batch: which block of which message is in which lane, and the key stream that comes of it.

use core::arch::x86_64::*;

use super::chacha20::{BLOCKS_MAX, Inputs, LANES, key_stream};
use super::features::Features;
use super::vector::{Z, low_bits, wipe};

/// Consecutive blocks of one message in consecutive lanes.
#[derive(Clone, Copy, Default)]
pub(super) struct Run {
    /// The message, by its place in the batch.
    pub(super) message: usize,
    /// The number of the first block. Block 0 is the one-time key of Poly1305 (RFC 8439, section 2.6), block 1 begins the
    /// text.
    pub(super) first_block: usize,
    /// Where in the pass, and how many.
    pub(super) lane: usize,
    pub(super) blocks: usize,
}

/// A pass that is being filled, or has been made. The key stream is wiped when this is dropped, also by a panic.
pub(super) struct Pass<'k> {
    key: &'k [u32; 8],
    inputs: [Inputs; 2],
    /// Lanes taken.
    taken: usize,
    /// Of which messages they are. Each run has a lane at least.
    runs: [Run; BLOCKS_MAX],
    run_count: usize,
    stream: [Z; BLOCKS_MAX],
    features: Features,
}

impl<'k> Pass<'k> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn new(features: Features, key: &'k [u32; 8]) -> Self {
        let zero = _mm512_setzero_si512();
        let input = Inputs { block: zero, counter_low: zero, counter_high: zero };
        Self {
            key,
            inputs: [input; 2],
            taken: 0,
            runs: [Run::default(); BLOCKS_MAX],
            run_count: 0,
            stream: [zero; BLOCKS_MAX],
            features,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken == BLOCKS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Gives lanes to up to `wanted` blocks of a message, from `first_block` on, and says how many there were left.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn add(&mut self, message: usize, counter: u64, first_block: usize, wanted: usize) -> usize {
        let lane = self.taken;
        let blocks = wanted.min(BLOCKS_MAX - lane);
        let lanes = low_bits(blocks) << lane;
        let sixteen = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (state, input) in self.inputs.iter_mut().enumerate() {
            let chosen = (lanes >> (state * LANES)) as __mmask16;
            // Lane l of the pass has block first_block + l - lane.
            let base = (first_block + state * LANES).wrapping_sub(lane) as i32;
            input.block = _mm512_mask_add_epi32(input.block, chosen, sixteen, _mm512_set1_epi32(base));
            input.counter_low = _mm512_mask_set1_epi32(input.counter_low, chosen, counter as i32);
            input.counter_high = _mm512_mask_set1_epi32(input.counter_high, chosen, (counter >> 32) as i32);
        }
        if blocks > 0 {
            self.runs[self.run_count] = Run { message, first_block, lane, blocks };
            self.run_count += 1;
            self.taken += blocks;
        }
        blocks
    }

    /// Makes the key stream of what was added, and gives it to `each`, run by run. The pass is empty after that.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn make(&mut self) -> (&[Run], &[Z; BLOCKS_MAX]) {
        // A single state takes the same number of instructions as one of two, but three fifths of their time.
        if self.taken > LANES {
            key_stream::<2>(self.key, &self.inputs, &mut self.stream);
        } else {
            key_stream::<1>(self.key, &self.inputs, &mut self.stream);
        }
        let runs = &self.runs[..self.run_count];
        self.taken = 0;
        self.run_count = 0;
        (runs, &self.stream)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // SAFETY: the CPU has what the function is compiled for; `features` is the proof.
        unsafe { wipe(self.features, &mut self.stream) };
    }
}
