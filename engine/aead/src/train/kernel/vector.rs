//! Registers, and the way from bytes to registers and back: all the memory that the kernel touches, it touches here.

use core::arch::x86_64::*;
use core::hint::black_box;

use super::features::Features;

/// 512 bits: sixteen words of ChaCha20, eight limbs of Poly1305, or one 64-byte block.
pub(super) type Z = __m512i;

/// Bytes of a register, and of a ChaCha20 block.
pub(super) const BLOCK: usize = 64;

/// Bytes into a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn load(bytes: &[u8; BLOCK]) -> Z {
    // SAFETY: reads 64 bytes, at any alignment, from a reference to as many.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// A register into bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store(bytes: &mut [u8; BLOCK], value: Z) {
    // SAFETY: writes 64 bytes, at any alignment, to an exclusive reference to as many.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

/// The first up to 64 bytes into a register, zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn load_prefix(bytes: &[u8]) -> Z {
    // SAFETY: a byte is read only if its bit in the mask is set, and no bit is set beyond the slice.
    unsafe { _mm512_maskz_loadu_epi8(low_bits(bytes.len()), bytes.as_ptr().cast()) }
}

/// As much of a register as there are bytes, up to 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_prefix(bytes: &mut [u8], value: Z) {
    // SAFETY: a byte is written only if its bit in the mask is set, and no bit is set beyond the slice.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), low_bits(bytes.len()), value) }
}

/// Eight 64-bit words into a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn from_words([a, b, c, d, e, f, g, h]: [u64; 8]) -> Z {
    _mm512_set_epi64(h as i64, g as i64, f as i64, e as i64, d as i64, c as i64, b as i64, a as i64)
}

/// A register's eight 64-bit words: what tests look at.
#[cfg(test)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn to_words(value: Z) -> [u64; 8] {
    let mut bytes = [0; BLOCK];
    store(&mut bytes, value);
    let (words, _) = bytes.as_chunks();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// Overwrites secrets with zeros, in a way that is not optimised away.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn wipe(_: Features, secrets: &mut [Z]) {
    secrets.fill(_mm512_setzero_si512());
    // For all that the compiler knows, somebody reads the zeros here.
    black_box(secrets);
}

/// A mask of the lowest `count` bits; all for 64 and more.
#[inline(always)]
pub(super) const fn low_bits(count: usize) -> u64 {
    if count >= BLOCK { u64::MAX } else { (1 << count) - 1 }
}

/// 64 bytes of a text of a certain length, from a place that may lie before its first or behind its last byte: what of them
/// the text has, as zeros elsewhere. Made once for all texts of that length.
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
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn of(self, text: &[u8]) -> Z {
        // Loaded from the first byte that there is, and moved up in the register: a load that began before the text would be
        // correct as well, but slow by a microcode assist where the page before it is not mapped.
        _mm512_maskz_expand_epi8(self.place, load_prefix(&text[self.start..self.end]))
    }
}
