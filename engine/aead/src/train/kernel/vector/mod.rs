//! Registers: what the kernel needs of a CPU's vector instructions. The arithmetic is written once, over these traits.
//!
//! - [`Vector`]: bytes, and 32-bit lanes for ChaCha20;
//! - [`Words`]: 64-bit lanes for the field of Poly1305;
//! - [`Wide`]: both in the same register of 512 bits, and the exchange of what is in its lanes.
//!
//! | Implementation | For |
//! |---|---|
//! | [`Avx512`] | x86-64 with AVX-512 |
//! | `Arrays` | tests on every machine: each instruction, spelled out |
//!
//! A value of such a type is a proof that the CPU has the instructions: it can only be had where they are. That makes
//! every method safe to call.
//!
//! # How it is compiled
//!
//! A generic function cannot be compiled for AVX-512 in one instance only. So all code over these traits is
//! `inline(always)`, and takes the instructions of the function that it ends in. [`Vector::run`] makes that function:
//! what is called through it is compiled for the CPU, and stands alone. A function of the kernel that is neither
//! inlined nor called through `run` would be compiled without the instructions. It would call one function for each of
//! them: right, but very slow.
//!
//! # Another implementation
//!
//! ChaCha20 and the planning ask for [`Vector`] only, in which nothing has 512 bits but a block. A CPU with 256-bit
//! registers and no IFMA implements that, and brings its own [`tags`](super::poly1305::tags), which need [`Wide`].

#[cfg(any(test, feature = "arrays"))]
mod arrays;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512;
mod transpose;

#[cfg(test)]
mod tests;

use core::hint::black_box;

#[cfg(any(test, feature = "arrays"))]
pub(super) use arrays::Arrays;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(test)]
pub(super) use tests::{over_all, to_words};

/// Bytes of a ChaCha20 block.
pub(super) const BLOCK: usize = 64;
/// Most 32-bit lanes that a register can have here.
pub(super) const LANES_MAX: usize = 16;

/// Registers of 32-bit lanes, and blocks of 64 bytes.
pub(super) trait Vector: Copy + Send + Sync + 'static {
    /// A register: [`LANES`](Self::LANES) words of 32 bits.
    type Register: Copy;
    /// 64 bytes, in one register or more.
    type Block: Copy;
    /// Some of the 32-bit lanes.
    type Mask32: Copy;
    /// As many blocks as there are lanes.
    type Blocks: AsRef<[Self::Block]>;

    /// 32-bit lanes of a register.
    const LANES: usize;

    /// Calls `work`, which is `inline(always)`, from a function of its own that is compiled for the instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;

    /// A block of zeros.
    fn zero(self) -> Self::Block;
    /// Bytes into a block.
    fn load(self, bytes: &[u8; BLOCK]) -> Self::Block;
    /// A block into bytes.
    fn store(self, bytes: &mut [u8; BLOCK], block: Self::Block);
    /// The first up to 64 bytes into a block, zeros behind them. Bytes behind the slice are not touched.
    fn load_prefix(self, bytes: &[u8]) -> Self::Block;
    /// As much of a block as there are bytes, up to 64. Bytes behind the slice are not touched.
    fn store_prefix(self, bytes: &mut [u8], block: Self::Block);
    /// The first bytes of a block, in order, at the places whose bits are set; zeros elsewhere.
    fn expand(self, places: u64, block: Self::Block) -> Self::Block;
    /// Exclusive or.
    fn xor(self, a: Self::Block, b: Self::Block) -> Self::Block;
    /// Or.
    fn join(self, a: Self::Block, b: Self::Block) -> Self::Block;

    /// One word in every lane.
    fn splat_32(self, word: u32) -> Self::Register;
    /// In each lane its number, from 0 on.
    fn numbers(self) -> Self::Register;
    /// The sums, modulo 2^32.
    fn add_32(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// Exclusive or.
    fn xor_32(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// Each word rotated upwards.
    fn rotate_32<const BITS: i32>(self, a: Self::Register) -> Self::Register;
    /// The lanes in which `a` is at least `b`, as unsigned numbers.
    fn at_least_32(self, a: Self::Register, b: Self::Register) -> Self::Mask32;
    /// `b` in the lanes of `mask`, `a` in the others.
    fn blend_32(self, mask: Self::Mask32, a: Self::Register, b: Self::Register) -> Self::Register;
    /// From word `i` of all blocks in register `i`, to the blocks.
    fn transpose(self, words: [Self::Register; 16]) -> Self::Blocks;
}

/// Lanes of 64 bits: what the field arithmetic of Poly1305 is made of.
pub(super) trait Words: Copy {
    /// A word in each lane.
    type Word: Copy;
    /// Some of the lanes.
    type Mask64: Copy;

    /// One word in every lane.
    fn splat(self, word: u64) -> Self::Word;
    /// The sums. Field arithmetic has none above 64 bits.
    fn add(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// The sums, modulo 2^64.
    fn add_cut(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// And.
    fn and(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Or, of pieces that do not overlap.
    fn or(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Upwards, nothing leaving the word.
    fn shift_left<const BITS: u32>(self, a: Self::Word) -> Self::Word;
    /// Upwards, what leaves the word being part of another: see [`shift_right_pair`](Self::shift_right_pair).
    fn shift_left_cut<const BITS: u32>(self, a: Self::Word) -> Self::Word;
    /// Downwards.
    fn shift_right<const BITS: u32>(self, a: Self::Word) -> Self::Word;
    /// The low word of `high:low` shifted down.
    fn shift_right_pair<const BITS: i32>(self, high: Self::Word, low: Self::Word) -> Self::Word;
    /// `sum` plus the low 52 bits of the product of the low 52 bits of `a` and `b`.
    fn multiply_add_low(self, sum: Self::Word, a: Self::Word, b: Self::Word) -> Self::Word;
    /// `sum` plus the bits of that product from the 52nd on.
    fn multiply_add_high(self, sum: Self::Word, a: Self::Word, b: Self::Word) -> Self::Word;
    /// The lanes that are not zero.
    fn is_set(self, a: Self::Word) -> Self::Mask64;
    /// The lanes in which `a` is less than `b`, as unsigned numbers.
    fn is_less(self, a: Self::Word, b: Self::Word) -> Self::Mask64;
    /// `b` in the lanes of `mask`, `a` in the others.
    fn blend(self, mask: Self::Mask64, a: Self::Word, b: Self::Word) -> Self::Word;
}

/// Registers of 512 bits, which are all at once: a block, sixteen words of 32 bits, and eight of 64, the lowest first.
/// A *quarter* has 128 bits.
pub(super) trait Wide:
    Vector<Register = <Self as Words>::Word, Block = <Self as Words>::Word> + Words<Mask64 = u8>
{
    /// Eight 64-bit words.
    fn with_words(self, words: [u64; 8]) -> Self::Word;
    /// The differences, modulo 2^64.
    fn subtract(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// The lanes in which `a` is at least `b`, as signed numbers.
    fn at_least_signed(self, a: Self::Word, b: Self::Word) -> u8;
    /// Of each quarter the lower two 32-bit words of `a` and of `b`, in turn.
    fn low_32(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// The upper two.
    fn high_32(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Of each quarter the lower 64-bit word of `a`, then that of `b`.
    fn low_64(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// The upper one.
    fn high_64(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Two quarters of `a`, then two of `b`: which, say the pairs of bits of `PICK`, the lowest first.
    fn quarters<const PICK: i32>(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// In each half the 64-bit words that the pairs of bits of `PICK` name, the lowest first.
    fn permute_64<const PICK: i32>(self, a: Self::Word) -> Self::Word;
    /// The 64-bit words of these places, those of `high` being numbered from 8 on.
    fn pick(self, places: Self::Word, low: Self::Word, high: Self::Word) -> Self::Word;
}

/// Overwrites secrets with zeros, in a way that is not optimised away.
pub(super) fn wipe<V: Vector>(v: V, secrets: &mut [V::Block]) {
    v.run(
        #[inline(always)]
        || {
            secrets.fill(v.zero());
            // For all that the compiler knows, somebody reads the zeros here.
            black_box(secrets);
        },
    );
}

/// A mask of the lowest `count` bits; all for 64 and more.
#[inline(always)]
pub(super) const fn low_bits(count: usize) -> u64 {
    if count >= BLOCK { u64::MAX } else { (1 << count) - 1 }
}

/// 64 bytes of a text of a certain length, from a place that may lie before its first or behind its last byte: what of
/// them the text has, as zeros elsewhere. Made once for all texts of that length.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The bytes of the text that are in the window.
    start: usize,
    end: usize,
    /// Where in the window they are.
    place: u64,
}

impl Window {
    /// The bytes `offset..offset + 64` of a text of `len` bytes.
    #[inline(always)]
    pub(super) fn new(offset: isize, len: usize) -> Self {
        let start = offset.clamp(0, len as isize);
        let end = (offset + BLOCK as isize).clamp(start, len as isize);
        // From -63 to 63: a window that has any byte at all.
        let skipped = if start == end { 0 } else { (start - offset) as u32 };
        let place = low_bits((end - start) as usize) << skipped;
        Self { start: start as usize, end: end as usize, place }
    }

    /// The window of this text.
    #[inline(always)]
    pub(super) fn of<V: Vector>(self, v: V, text: &[u8]) -> V::Block {
        // Loaded from the first byte that there is, and moved up in the register: a load that began before the text
        // would be correct as well, but slow by a microcode assist where the page before it is not mapped.
        v.expand(self.place, v.load_prefix(&text[self.start..self.end]))
    }
}
