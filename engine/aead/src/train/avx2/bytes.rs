//! Texts as cells: memory that is shared by lanes, hashes and copies, all of which one thread does one after the other.

use core::arch::x86_64::*;
use core::cell::Cell;
use core::ptr;

use super::pass::BLOCK;

/// A block's worth of cells from `place` on.
///
/// # Panics
/// If there are not as many.
#[inline(always)]
pub(super) fn block(text: &[Cell<u8>], place: usize) -> &[Cell<u8>; BLOCK] {
    text[place..].first_chunk().expect("a whole block")
}

/// Little-endian words.
#[inline(always)]
pub(super) fn words<const BYTES: usize, const WORDS: usize>(cells: &[Cell<u8>; BYTES]) -> [u64; WORDS] {
    const { assert!(BYTES == 8 * WORDS) };
    // SAFETY: cells can be read through shared references, and there are as many bytes as in the words.
    let words: [u64; WORDS] = unsafe { ptr::read_unaligned(cells.as_ptr().cast()) };
    words.map(u64::from_le)
}

/// Copies bytes, up to a block of them, which are as many on both sides.
#[inline(always)]
pub(super) fn copy(from: &[Cell<u8>], to: &[Cell<u8>]) {
    assert!(from.len() == to.len() && to.len() <= BLOCK);
    // SAFETY: cells can be read and written through shared references, as many as were counted just now.
    unsafe { copy_short(from.as_ptr().cast(), to.as_ptr().cast_mut().cast(), to.len()) }
}

/// The same from bytes that are not shared.
#[inline(always)]
pub(super) fn copy_from(from: &[u8], to: &[Cell<u8>]) {
    assert!(from.len() == to.len() && to.len() <= BLOCK);
    // SAFETY: as above, and a reference's bytes can be read.
    unsafe { copy_short(from.as_ptr(), to.as_ptr().cast_mut().cast(), to.len()) }
}

/// Two overlapping moves of the largest size that fits: all is read before anything is written.
///
/// # Safety
/// Both are valid for `len` bytes, of which there are at most [`BLOCK`].
#[inline(always)]
unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    /// # Safety
    /// Both are valid for `len` bytes, which are one to two `T`.
    #[inline(always)]
    unsafe fn two<T: Copy>(from: *const u8, to: *mut u8, len: usize) {
        let back = len - size_of::<T>();
        // SAFETY: inside of what the caller names, as is all that follows; any bytes are a T.
        let first: T = unsafe { ptr::read_unaligned(from.cast()) };
        // SAFETY: as above, for the last bytes begin `back` bytes on.
        let last: T = unsafe { ptr::read_unaligned(from.wrapping_add(back).cast()) };
        // SAFETY: as above.
        unsafe { ptr::write_unaligned(to.cast(), first) };
        // SAFETY: as above.
        unsafe { ptr::write_unaligned(to.wrapping_add(back).cast(), last) };
    }
    match len {
        // SAFETY: the size is one that was asked for; likewise below.
        32.. => unsafe { two::<__m256i>(from, to, len) },
        // SAFETY: as above.
        16.. => unsafe { two::<u128>(from, to, len) },
        // SAFETY: as above.
        8.. => unsafe { two::<u64>(from, to, len) },
        // SAFETY: as above.
        4.. => unsafe { two::<u32>(from, to, len) },
        // SAFETY: as above.
        2.. => unsafe { two::<u16>(from, to, len) },
        // SAFETY: as above.
        1 => unsafe { two::<u8>(from, to, len) },
        0 => {}
    }
}

/// Masks of which the first bytes are set: that of `n` bytes begins at `BLOCK - n`.
static MASKS: [[u8; BLOCK]; 2] = [[0xff; BLOCK], [0; BLOCK]];

/// Zeroes a block behind its first `len` bytes.
#[inline(always)]
pub(super) fn cut(block: &[Cell<u8>; BLOCK], len: usize) {
    let mask = MASKS.as_flattened()[BLOCK - len..].first_chunk::<BLOCK>().expect("a block and up to a block before it");
    for (cells, mask) in block.as_chunks::<HALF>().0.iter().zip(mask.as_chunks::<HALF>().0) {
        // SAFETY: reads 32 bytes from a reference to as many.
        let mask: Words = unsafe { ptr::read_unaligned(mask.as_ptr().cast()) };
        let words = load(cells);
        store(cells, core::array::from_fn(|i| words[i] & mask[i]));
    }
}

/// Exclusive or of a text and key stream, of which there are as many whole blocks as the text needs.
#[inline(always)]
pub(super) fn apply(text: &[Cell<u8>], stream: &[[Cell<u8>; BLOCK]]) {
    let (halves, rest) = text.as_chunks::<HALF>();
    let stream = stream.as_flattened().as_chunks::<HALF>().0;
    for (text, stream) in halves.iter().zip(stream) {
        apply_half(text, stream);
    }
    if !rest.is_empty() {
        let padded = [const { Cell::new(0) }; HALF];
        copy(rest, &padded[..rest.len()]);
        apply_half(&padded, &stream[halves.len()]);
        copy(&padded[..rest.len()], rest);
    }
}

#[inline(always)]
fn apply_half(text: &[Cell<u8>; HALF], stream: &[Cell<u8>; HALF]) {
    let (words, stream) = (load(text), load(stream));
    store(text, core::array::from_fn(|i| words[i] ^ stream[i]));
}

/// Half a block: what fits into a vector register, into which the compiler puts it.
const HALF: usize = 32;
type Words = [u64; 4];

#[inline(always)]
fn load(cells: &[Cell<u8>; HALF]) -> Words {
    // SAFETY: cells can be read through shared references, and these are 32 bytes.
    unsafe { ptr::read_unaligned(cells.as_ptr().cast()) }
}

#[inline(always)]
fn store(cells: &[Cell<u8>; HALF], words: Words) {
    // SAFETY: and written.
    unsafe { ptr::write_unaligned(cells.as_ptr().cast_mut().cast(), words) };
}
