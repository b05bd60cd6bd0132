//! ChaCha20 (RFC 8439, section 2.3), as many blocks at once as a register has 32-bit lanes, or twice as many.
//!
//! A register holds the same state word of those blocks, one in each lane. So the rounds are those of the RFC with
//! registers for words. Nothing is shuffled until the end, when the sixteen registers are transposed into blocks. Two
//! such states fill the 32 registers of AVX-512; their instructions are interleaved, half a quarter round at a time,
//! because each depends on the one before it.

use arrayvec::ArrayVec;

use super::vector::{LANES_MAX, Vector};

/// States in one call, at most.
const STATES: usize = 2;
/// Most blocks in one call, whatever the registers.
pub(super) const BLOCKS_MAX: usize = STATES * LANES_MAX;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Blocks of key stream, as many as were made.
pub(super) type KeyStream<V> = ArrayVec<<V as Vector>::Block, BLOCKS_MAX>;

type State<V> = [<V as Vector>::Register; 16];

/// Most blocks in one call.
pub(super) const fn blocks_max<V: Vector>() -> usize {
    const { assert!(V::LANES <= LANES_MAX) };
    STATES * V::LANES
}

/// What differs between blocks: words 12, 14 and 15 of two states. Word 13 is the first of the nonce, always zero.
///
/// To be passed by value: so it stays in registers while lanes are set one after the other.
#[derive(Clone, Copy)]
pub(super) struct Inputs<V: Vector>([StateInputs<V>; STATES]);

#[derive(Clone, Copy)]
struct StateInputs<V: Vector> {
    /// The number of the block in its message.
    block: V::Register,
    /// The counter of the message, in two halves.
    counter_low: V::Register,
    counter_high: V::Register,
}

impl<V: Vector> Inputs<V> {
    #[inline(always)]
    pub(super) fn new(v: V) -> Self {
        let zero = v.splat_32(0);
        Self([StateInputs { block: zero, counter_low: zero, counter_high: zero }; STATES])
    }

    /// Consecutive blocks of one message, from `first_block` on, in all lanes from `lane` on: where another message
    /// begins, that one is set after this.
    #[inline(always)]
    pub(super) fn set(&mut self, v: V, lane: usize, counter: u64, first_block: usize) {
        // Lane l has block first_block + l - lane.
        let (first_lane, base) = (v.splat_32(lane as u32), v.splat_32(first_block.wrapping_sub(lane) as u32));
        let (counter_low, counter_high) = (v.splat_32(counter as u32), v.splat_32((counter >> 32) as u32));
        for (index, state) in self.0.iter_mut().enumerate() {
            let numbers = v.add_32(v.numbers(), v.splat_32((index * V::LANES) as u32));
            let chosen = v.at_least_32(numbers, first_lane);
            state.block = v.blend_32(chosen, state.block, v.add_32(numbers, base));
            state.counter_low = v.blend_32(chosen, state.counter_low, counter_low);
            state.counter_high = v.blend_32(chosen, state.counter_high, counter_high);
        }
    }
}

/// The key stream of the first state's blocks, or of both states', in their order.
#[inline(always)]
pub(super) fn key_stream<const STATES: usize, V: Vector>(
    v: V,
    key: &[u32; 8],
    inputs: Inputs<V>,
    stream: &mut KeyStream<V>,
) {
    let mut states = [[v.splat_32(0); 16]; STATES];
    for (index, state) in states.iter_mut().enumerate() {
        *state = initial_state(v, key, &inputs.0[index]);
    }
    for _ in 0..10 {
        // Columns, then diagonals.
        double_half::<16, 12, 0, V>(v, &mut states);
        double_half::<8, 7, 0, V>(v, &mut states);
        double_half::<16, 12, 1, V>(v, &mut states);
        double_half::<8, 7, 1, V>(v, &mut states);
    }
    stream.clear();
    for (index, state) in states.iter().enumerate() {
        let initial = initial_state(v, key, &inputs.0[index]);
        let mut sum = *state;
        for (word, sum) in sum.iter_mut().enumerate() {
            *sum = v.add_32(*sum, initial[word]);
        }
        stream.try_extend_from_slice(v.transpose(sum).as_ref()).expect("there is room for two states");
    }
}

#[inline(always)]
fn initial_state<V: Vector>(v: V, key: &[u32; 8], inputs: &StateInputs<V>) -> State<V> {
    let mut state = [v.splat_32(0); 16];
    for (word, constant) in CONSTANTS.iter().enumerate() {
        state[word] = v.splat_32(*constant);
    }
    for (word, key) in key.iter().enumerate() {
        state[4 + word] = v.splat_32(*key);
    }
    state[12] = inputs.block;
    state[14] = inputs.counter_low;
    state[15] = inputs.counter_high;
    state
}

/// The first (rotations by 16 and 12) or second (by 8 and 7) half of four quarter rounds, on columns or on diagonals.
#[inline(always)]
fn double_half<const ROTATE_D: i32, const ROTATE_B: i32, const DIAGONAL: usize, V: Vector>(
    v: V,
    states: &mut [State<V>],
) {
    for x in states.iter_mut() {
        for i in 0..4 {
            let (a, b) = (i, 4 + (i + DIAGONAL) % 4);
            x[a] = v.add_32(x[a], x[b]);
        }
        for i in 0..4 {
            let (a, d) = (i, 12 + (i + 3 * DIAGONAL) % 4);
            x[d] = v.rotate_32::<ROTATE_D>(v.xor_32(x[d], x[a]));
        }
    }
    for x in states.iter_mut() {
        for i in 0..4 {
            let (c, d) = (8 + (i + 2 * DIAGONAL) % 4, 12 + (i + 3 * DIAGONAL) % 4);
            x[c] = v.add_32(x[c], x[d]);
        }
        for i in 0..4 {
            let (b, c) = (4 + (i + DIAGONAL) % 4, 8 + (i + 2 * DIAGONAL) % 4);
            x[b] = v.rotate_32::<ROTATE_B>(v.xor_32(x[b], x[c]));
        }
    }
}
