//! A pass: eight blocks of ChaCha20, and beside them Poly1305 of what was made before. One function of assembly, and
//! the types that it takes.
//!
//! The types make the call safe: lanes and segments can only be made of memory that is there, and that may be written
//! by whoever shares it. `Avx2` proves that the CPU has the instructions.

use core::arch::naked_asm;
use core::arch::x86_64::*;
use core::cell::Cell;
use core::hint::black_box;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr;

use arrayvec::ArrayVec;

use super::Avx2;
use super::hash::{Hash, PolyBlock};

/// Bytes of a ChaCha20 block.
pub(super) const BLOCK: usize = 64;
/// Blocks of a pass.
pub(super) const LANES: usize = 8;
/// Double rounds of ChaCha20.
const DOUBLE_ROUNDS: usize = 10;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The initial state of eight blocks: in each row a state word of all of them. Wiped when dropped, for it has the key.
#[repr(C, align(32))]
pub(super) struct State([[u32; LANES]; 16]);

/// What differs between blocks: words 12, 14 and 15. Word 13 is the first of the nonce, always zero. By value, so they
/// stay in registers while lanes are set: what is stored word by word cannot be loaded as a whole without a stall.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    block: __m256i,
    counter_low: __m256i,
    counter_high: __m256i,
}

/// Where the text of a block comes from, and where text exclusive or key stream goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Lane<'p> {
    source: *const u8,
    target: *const Cell<u8>,
    of: PhantomData<&'p [Cell<u8>]>,
}

/// Poly1305 of two messages, side by side: the next blocks of two texts, as many of each.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Segment<'p> {
    texts: [*const PolyBlock; 2],
    hashes: [*const Cell<Hash>; 2],
    /// Double rounds with two blocks of each beside them, and with one.
    twos: usize,
    ones: usize,
    of: PhantomData<&'p [Cell<u8>]>,
}

// As in tests/assembly/frame.rs.
const _: () = assert!(size_of::<Lane<'_>>() == 16 && offset_of!(Lane<'_>, source) == 0);
const _: () = assert!(offset_of!(Lane<'_>, target) == 8);
const _: () = assert!(size_of::<Segment<'_>>() == 48 && offset_of!(Segment<'_>, texts) == 0);
const _: () = assert!(offset_of!(Segment<'_>, hashes) == 16 && offset_of!(Segment<'_>, twos) == 32);
const _: () = assert!(offset_of!(Segment<'_>, ones) == 40);
const _: () = assert!(offset_of!(Hash, sum) == 0 && offset_of!(Hash, key) == 24);

/// A part of a message's hash: blocks that lie side by side.
#[derive(Clone, Copy)]
pub(super) struct Piece<'p> {
    pub(super) hash: &'p Cell<Hash>,
    pub(super) blocks: &'p [PolyBlock],
}

/// What is hashed beside a pass.
pub(super) struct Segments<'p> {
    segments: ArrayVec<Segment<'p>, DOUBLE_ROUNDS>,
    /// Double rounds that are left, if each has two blocks beside it.
    left: usize,
    /// Blocks of each message, in all.
    blocks: usize,
}

impl State {
    /// For a key of eight little-endian words (RFC 8439, section 2.3).
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn new(key: &[u32; 8]) -> Self {
        let mut state = Self([[0; LANES]; 16]);
        for (word, constant) in CONSTANTS.iter().chain(key).enumerate() {
            state.set(word, _mm256_set1_epi32(*constant as i32));
        }
        state
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn set(&mut self, word: usize, row: __m256i) {
        // SAFETY: writes 32 bytes to an exclusive reference to as many, and the type has the alignment.
        unsafe { _mm256_store_si256(self.0[word].as_mut_ptr().cast(), row) }
    }

    /// What differs between the blocks.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn set_inputs(&mut self, inputs: Inputs) {
        self.set(12, inputs.block);
        self.set(14, inputs.counter_low);
        self.set(15, inputs.counter_high);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.0.as_flattened_mut().fill(0);
        // For all that the compiler knows, somebody reads the zeros here.
        black_box(self);
    }
}

impl Inputs {
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn new() -> Self {
        let zero = _mm256_setzero_si256();
        Self { block: zero, counter_low: zero, counter_high: zero }
    }

    /// Consecutive blocks of one message, from `first_block` on, in all lanes from `lane` on: where another message
    /// begins, that one is set after this.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn set(&mut self, lane: usize, counter: u64, first_block: usize) {
        let numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let chosen = _mm256_cmpgt_epi32(numbers, _mm256_set1_epi32(lane as i32 - 1));
        // Lane l has block first_block + l - lane.
        let blocks = _mm256_add_epi32(numbers, _mm256_set1_epi32(first_block.wrapping_sub(lane) as i32));
        self.block = _mm256_blendv_epi8(self.block, blocks, chosen);
        self.counter_low = _mm256_blendv_epi8(self.counter_low, _mm256_set1_epi32(counter as i32), chosen);
        self.counter_high = _mm256_blendv_epi8(self.counter_high, _mm256_set1_epi32((counter >> 32) as i32), chosen);
    }
}

impl Inputs {
    /// Blocks of two pairs of messages, with a half for each message of a pair: `split` of the first pair, from this
    /// block on, and then of the second from their beginning.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn of_twins([first, second]: [[u64; 2]; 2], first_block: usize, split: usize) -> Self {
        let numbers = _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3);
        let is_second = _mm256_cmpgt_epi32(numbers, _mm256_set1_epi32(split as i32 - 1));
        let starts = [first_block as i32, (split as i32).wrapping_neg()].map(|start| _mm256_set1_epi32(start));
        let start = _mm256_blendv_epi8(starts[0], starts[1], is_second);
        let [a, b, c, d] = [first[0], first[1], second[0], second[1]].map(|counter| counter as i64);
        let counters = _mm256_setr_epi64x(a, b, c, d);
        // Which word of them: those of a half's message, or four words on.
        let low = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
        let low = _mm256_or_si256(low, _mm256_and_si256(is_second, _mm256_set1_epi32(4)));
        let high = _mm256_or_si256(low, _mm256_set1_epi32(1));
        Self {
            block: _mm256_add_epi32(numbers, start),
            counter_low: _mm256_permutevar8x32_epi32(counters, low),
            counter_high: _mm256_permutevar8x32_epi32(counters, high),
        }
    }

    /// The same, so many blocks further on.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn advance(&mut self, blocks: usize) {
        self.block = _mm256_add_epi32(self.block, _mm256_set1_epi32(blocks as i32));
    }
}

impl<'p> Lane<'p> {
    /// Zeros, which make key stream.
    const ZEROS: &'static [u8; BLOCK] = {
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        &ZEROS
    };

    /// The text is where the result goes.
    #[inline(always)]
    pub(super) fn in_place(text: &'p [Cell<u8>; BLOCK]) -> Self {
        Self { source: text.as_ptr().cast(), target: text.as_ptr(), of: PhantomData }
    }

    /// The text is elsewhere.
    #[inline(always)]
    pub(super) fn from(source: &'p [u8; BLOCK], target: &'p [Cell<u8>; BLOCK]) -> Self {
        Self { source: source.as_ptr(), target: target.as_ptr(), of: PhantomData }
    }

    /// Key stream alone.
    #[inline(always)]
    pub(super) fn key_stream(target: &'p [Cell<u8>; BLOCK]) -> Self {
        Self::from(Self::ZEROS, target)
    }
}

impl<'p> Segments<'p> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { segments: ArrayVec::new(), left: DOUBLE_ROUNDS, blocks: 0 }
    }

    /// Blocks of each message that find room: beside each double round there can be two.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        2 * self.left
    }

    /// Adds two pieces, of as many whole blocks each, and no more than there is room for.
    #[inline(always)]
    pub(super) fn push(&mut self, [a, b]: [Piece<'p>; 2]) {
        let count = a.blocks.len();
        assert!(count == b.blocks.len());
        let (twos, ones) = (count / 2, count % 2);
        self.left = self.left.checked_sub(twos + ones).expect("there is room");
        self.blocks += count;
        let texts = [a.blocks.as_ptr(), b.blocks.as_ptr()];
        let hashes = [ptr::from_ref(a.hash), ptr::from_ref(b.hash)];
        self.segments.push(Segment { texts, hashes, twos, ones, of: PhantomData });
    }

    #[cfg(test)]
    pub(super) fn range(&self) -> std::ops::Range<*const Segment<'p>> {
        self.segments.as_ptr_range()
    }

    /// For the next pass.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        (self.left, self.blocks) = (DOUBLE_ROUNDS, 0);
    }

    /// Gives each block a double round of its own, if there are as many. Returns how many have none.
    #[inline(always)]
    fn spread(&mut self) -> usize {
        if self.blocks <= DOUBLE_ROUNDS {
            for segment in &mut self.segments {
                segment.ones += 2 * segment.twos;
                segment.twos = 0;
            }
            self.left = DOUBLE_ROUNDS - self.blocks;
        }
        self.left
    }
}

/// Makes the pass.
#[inline(always)]
pub(super) fn make(_: Avx2, state: &State, lanes: &[Lane<'_>; LANES], segments: &mut Segments<'_>) {
    let plain = segments.spread();
    let segments = segments.segments.as_ptr_range();
    // SAFETY: the CPU has the instructions, of which the first argument is the proof. Each lane was made of 64 bytes
    // that can be read and 64 that can be written through shared references, as can each hash. Each segment's texts
    // have as many blocks as its counts say: `push` has made both, and `spread` keeps their sum. The counts and `plain`
    // add up to ten double rounds. All of the memory is borrowed for as long as the arguments live.
    unsafe { pass(state, lanes.as_ptr(), segments.start, segments.end, plain) }
}

#[repr(C, align(32))]
pub(super) struct Shuffle(pub(super) [u8; 32]);

/// Shuffles that rotate each word, as `vpshufb` takes them.
static ROTATE_16: Shuffle = rotation(2);
static ROTATE_8: Shuffle = rotation(1);

pub(super) const fn rotation(bytes: usize) -> Shuffle {
    let mut shuffle = [0; 32];
    let mut at = 0;
    while at < 32 {
        let (word, byte) = (at % 16 / 4 * 4, at % 4);
        shuffle[at] = (word + (byte + 4 - bytes) % 4) as u8;
        at += 1;
    }
    Shuffle(shuffle)
}

/// # Safety
/// As in [`make`].
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn pass(
    state: *const State,
    lanes: *const Lane<'_>,
    segments: *const Segment<'_>,
    segments_end: *const Segment<'_>,
    plain: usize,
) {
    naked_asm!(include_str!("pass.s"), rotate_16 = sym ROTATE_16, rotate_8 = sym ROTATE_8)
}
