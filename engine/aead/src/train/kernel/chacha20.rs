//! ChaCha20 (RFC 8439, section 2.3), sixteen or thirty-two blocks at once.
//!
//! A register holds the same state word of sixteen blocks, one in each 32-bit lane, so that the rounds are those of the RFC
//! with registers for words: nothing is shuffled until the end, when the sixteen registers are transposed and each becomes
//! one block. Two such states fill the 32 registers of AVX-512; their instructions are interleaved, half a quarter round
//! at a time, because each depends on the one before it.

use core::arch::x86_64::*;

use arrayvec::ArrayVec;

use super::vector::Z;

/// Blocks in one state: a 32-bit lane each.
pub(super) const LANES: usize = 16;
/// Most blocks in one call: two states.
pub(super) const BLOCKS_MAX: usize = 2 * LANES;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Blocks of key stream, as many as were made.
pub(super) type KeyStream = ArrayVec<Z, BLOCKS_MAX>;

type State = [Z; 16];

/// What differs between blocks: words 12, 14 and 15 of two states. Word 13 is the first of the nonce, always zero.
///
/// To be passed by value: so it stays in registers while lanes are set one after the other.
#[derive(Clone, Copy)]
pub(super) struct Inputs([StateInputs; 2]);

#[derive(Clone, Copy)]
struct StateInputs {
    /// The number of the block in its message.
    block: Z,
    /// The counter of the message, in two halves.
    counter_low: Z,
    counter_high: Z,
}

impl Inputs {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Self([StateInputs { block: zero, counter_low: zero, counter_high: zero }; 2])
    }

    /// Consecutive blocks of one message, from `first_block` on, in all lanes from `lane` on: where another message begins,
    /// that one is set after this.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn set(&mut self, lane: usize, counter: u64, first_block: usize) {
        let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        // Lane l has block first_block + l - lane.
        let (first_lane, base) = (lane as i32, first_block.wrapping_sub(lane) as i32);
        let (first_lane, base) = (_mm512_set1_epi32(first_lane), _mm512_set1_epi32(base));
        let counter = _mm512_set1_epi64(counter as i64);
        for (index, state) in self.0.iter_mut().enumerate() {
            let numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32((index * LANES) as i32));
            let chosen = _mm512_cmpge_epu32_mask(numbers, first_lane);
            state.block = _mm512_mask_add_epi32(state.block, chosen, numbers, base);
            // The lower and the upper word of each pair twice.
            state.counter_low = _mm512_mask_shuffle_epi32::<0xa0>(state.counter_low, chosen, counter);
            state.counter_high = _mm512_mask_shuffle_epi32::<0xf5>(state.counter_high, chosen, counter);
        }
    }
}

/// The key stream of the first 16 blocks, or of all 32, in their order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn key_stream<const STATES: usize>(key: &[u32; 8], inputs: Inputs, stream: &mut KeyStream) {
    let mut states = [[_mm512_setzero_si512(); 16]; STATES];
    for (index, state) in states.iter_mut().enumerate() {
        *state = initial_state(key, &inputs.0[index]);
    }
    for _ in 0..10 {
        // Columns, then diagonals.
        double_half::<16, 12, 0>(&mut states);
        double_half::<8, 7, 0>(&mut states);
        double_half::<16, 12, 1>(&mut states);
        double_half::<8, 7, 1>(&mut states);
    }
    stream.clear();
    for (index, state) in states.iter().enumerate() {
        let initial = initial_state(key, &inputs.0[index]);
        let mut sum = *state;
        for (word, initial) in sum.iter_mut().zip(initial) {
            *word = _mm512_add_epi32(*word, initial);
        }
        stream.try_extend_from_slice(&transpose(sum)).expect("there is room for two states");
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn initial_state(key: &[u32; 8], inputs: &StateInputs) -> State {
    let mut state = [_mm512_setzero_si512(); 16];
    for (word, constant) in state.iter_mut().zip(CONSTANTS) {
        *word = _mm512_set1_epi32(constant as i32);
    }
    for (word, key) in state[4..].iter_mut().zip(key) {
        *word = _mm512_set1_epi32(*key as i32);
    }
    state[12] = inputs.block;
    state[14] = inputs.counter_low;
    state[15] = inputs.counter_high;
    state
}

/// The first (rotations by 16 and 12) or second (by 8 and 7) half of four quarter rounds, on columns or on diagonals.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn double_half<const ROTATE_D: i32, const ROTATE_B: i32, const DIAGONAL: usize>(states: &mut [State]) {
    for v in states.iter_mut() {
        for i in 0..4 {
            let (a, b) = (i, 4 + (i + DIAGONAL) % 4);
            v[a] = _mm512_add_epi32(v[a], v[b]);
        }
        for i in 0..4 {
            let (a, d) = (i, 12 + (i + 3 * DIAGONAL) % 4);
            v[d] = _mm512_rol_epi32::<ROTATE_D>(_mm512_xor_si512(v[d], v[a]));
        }
    }
    for v in states.iter_mut() {
        for i in 0..4 {
            let (c, d) = (8 + (i + 2 * DIAGONAL) % 4, 12 + (i + 3 * DIAGONAL) % 4);
            v[c] = _mm512_add_epi32(v[c], v[d]);
        }
        for i in 0..4 {
            let (b, c) = (4 + (i + DIAGONAL) % 4, 8 + (i + 2 * DIAGONAL) % 4);
            v[b] = _mm512_rol_epi32::<ROTATE_B>(_mm512_xor_si512(v[b], v[c]));
        }
    }
}

/// From word `i` of all blocks in register `i`, to all words of block `i` in register `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn transpose(words: State) -> State {
    let zero = _mm512_setzero_si512();
    // quads[4g + j]: in its 128-bit quarter i, words 4g to 4g + 3 of block 4i + j.
    let mut quads = [zero; 16];
    for g in 0..4 {
        let low = _mm512_unpacklo_epi32(words[4 * g], words[4 * g + 1]);
        let high = _mm512_unpackhi_epi32(words[4 * g], words[4 * g + 1]);
        let next_low = _mm512_unpacklo_epi32(words[4 * g + 2], words[4 * g + 3]);
        let next_high = _mm512_unpackhi_epi32(words[4 * g + 2], words[4 * g + 3]);
        quads[4 * g] = _mm512_unpacklo_epi64(low, next_low);
        quads[4 * g + 1] = _mm512_unpackhi_epi64(low, next_low);
        quads[4 * g + 2] = _mm512_unpacklo_epi64(high, next_high);
        quads[4 * g + 3] = _mm512_unpackhi_epi64(high, next_high);
    }
    // Then the quarters are transposed, as four 4 × 4 matrices of them.
    let mut blocks = [zero; 16];
    for j in 0..4 {
        let (a, b, c, d) = (quads[j], quads[4 + j], quads[8 + j], quads[12 + j]);
        let ab_low = _mm512_shuffle_i32x4::<0x44>(a, b);
        let ab_high = _mm512_shuffle_i32x4::<0xee>(a, b);
        let cd_low = _mm512_shuffle_i32x4::<0x44>(c, d);
        let cd_high = _mm512_shuffle_i32x4::<0xee>(c, d);
        blocks[j] = _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low);
        blocks[4 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low);
        blocks[8 + j] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
        blocks[12 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
    }
    blocks
}
