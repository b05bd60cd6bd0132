//! What the field arithmetic is made of: eight 64-bit words at once.

use core::arch::x86_64::*;

use crate::train::kernel::vector::Z;

pub(super) type Word = Z;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn splat(value: u64) -> Word {
    _mm512_set1_epi64(value as i64)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn add(a: Word, b: Word) -> Word {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn and(a: Word, b: Word) -> Word {
    _mm512_and_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn or(a: Word, b: Word) -> Word {
    _mm512_or_si512(a, b)
}

/// Upwards, what leaves the word being part of the result's other half: see [`shift_right_pair`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn shift_left_cut<const BITS: u32>(a: Word) -> Word {
    _mm512_slli_epi64::<BITS>(a)
}

/// Upwards, nothing leaving the word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn shift_left<const BITS: u32>(a: Word) -> Word {
    _mm512_slli_epi64::<BITS>(a)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn shift_right<const BITS: u32>(a: Word) -> Word {
    _mm512_srli_epi64::<BITS>(a)
}

/// The low word of `high:low` shifted down.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn shift_right_pair<const BITS: i32>(high: Word, low: Word) -> Word {
    _mm512_shrdi_epi64::<BITS>(low, high)
}

/// `sum` plus the low 52 bits of the product of the low 52 bits of `a` and `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn multiply_add_low(sum: Word, a: Word, b: Word) -> Word {
    _mm512_madd52lo_epu64(sum, a, b)
}

/// `sum` plus the bits of that product from the 52nd on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn multiply_add_high(sum: Word, a: Word, b: Word) -> Word {
    _mm512_madd52hi_epu64(sum, a, b)
}

/// `a` where `test` is zero, `b` elsewhere.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn select(test: Word, a: Word, b: Word) -> Word {
    _mm512_mask_blend_epi64(_mm512_test_epi64_mask(test, test), a, b)
}

/// The sum of two 128-bit numbers, low word first, modulo 2^128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn add_128(a: [Word; 2], b: [Word; 2]) -> [Word; 2] {
    let low = _mm512_add_epi64(a[0], b[0]);
    let carry = _mm512_cmplt_epu64_mask(low, b[0]);
    let high = _mm512_add_epi64(a[1], b[1]);
    [low, _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1))]
}
