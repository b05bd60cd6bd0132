//! The sum with AVX2: 32 bytes an addition. 1,420 bytes take 13 ns instead of the 41 of the portable loop.
//!
//! The lanes are 64 bits wide and wrap. Beside each lane's sum another lane sums the upper halves of the same words:
//! they do not overflow below 16 GiB, and with them the sum of the lower halves is exact as well, whatever wrapped.

use std::arch::x86_64::{
    __m256i, _mm_add_epi64, _mm_cvtsi128_si64, _mm_unpackhi_epi64, _mm256_add_epi64, _mm256_and_si256,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_setzero_si256, _mm256_slli_epi64,
    _mm256_srli_epi64, _mm256_storeu_si256, _mm256_sub_epi64,
};

/// Bytes of a vector.
const WIDTH: usize = 32;

/// [`WIDTH`] bytes from the one at `n` on keep the last `n` bytes of a vector.
static KEEP_LAST: [u8; 2 * WIDTH] = {
    let mut mask = [0; 2 * WIDTH];
    let mut i = WIDTH;
    while i < mask.len() {
        mask[i] = 0xff;
        i += 1;
    }
    mask
};

/// The sum of `bytes`, an odd last byte padded with zero. `None`: the CPU has no AVX2.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> Option<u64> {
    if !is_x86_feature_detected!("avx2") {
        return None;
    }
    // SAFETY: the CPU has the one feature that the function is compiled for.
    Some(unsafe { sum_avx2(bytes) })
}

/// The sum of `from`, which is copied to `to`, of the same length. `None`: the CPU has no AVX2, and nothing was copied.
#[inline]
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> Option<u64> {
    if !is_x86_feature_detected!("avx2") {
        return None;
    }
    // SAFETY: the CPU has the one feature that the function is compiled for.
    Some(unsafe { copy_avx2(from, to) })
}

/// Two independent chains of additions, since two vectors can be loaded and added at a time.
#[derive(Clone, Copy)]
struct Lanes {
    /// The words, modulo 2^64.
    words: __m256i,
    /// Their upper halves.
    upper: __m256i,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Self {
        Self { words: _mm256_setzero_si256(), upper: _mm256_setzero_si256() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, vector: __m256i) {
        self.words = _mm256_add_epi64(self.words, vector);
        self.upper = _mm256_add_epi64(self.upper, _mm256_srli_epi64::<32>(vector));
    }

    /// The lower and the upper halves together.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(self) -> __m256i {
        let lower = _mm256_sub_epi64(self.words, _mm256_slli_epi64::<32>(self.upper));
        _mm256_add_epi64(lower, self.upper)
    }
}

#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    if bytes.len() <= WIDTH {
        return super::scalar(bytes);
    }
    let (vectors, rest) = bytes.as_chunks::<WIDTH>();
    let (fours, ones) = vectors.as_chunks::<4>();
    let (mut even, mut odd) = (Lanes::zero(), Lanes::zero());
    for [a, b, c, d] in fours {
        even.add(load(a));
        odd.add(load(b));
        even.add(load(c));
        odd.add(load(d));
    }
    for one in ones {
        even.add(load(one));
    }
    // What is left is summed in the last vector of the data, without the bytes of it that were summed before. An odd
    // last byte is added by itself, or that vector's words would begin at odd offsets.
    let (pairs, odd_byte) = match bytes {
        [pairs @ .., last] if bytes.len() % 2 == 1 => (pairs, u64::from(u16::from_ne_bytes([*last, 0]))),
        _ => (bytes, 0),
    };
    let left = rest.len() / 2 * 2;
    if let (Some(end), Some(mask)) = (pairs.last_chunk(), KEEP_LAST[left..].first_chunk()) {
        odd.add(_mm256_and_si256(load(end), load(mask)));
    }
    horizontal(_mm256_add_epi64(even.halves(), odd.halves())) + odd_byte
}

#[target_feature(enable = "avx2")]
fn copy_avx2(from: &[u8], to: &mut [u8]) -> u64 {
    let (vectors, rest) = from.as_chunks::<WIDTH>();
    let (places, rest_place) = to.as_chunks_mut::<WIDTH>();
    let (pairs, last) = vectors.as_chunks::<2>();
    let (pair_places, last_place) = places.as_chunks_mut::<2>();
    let (mut even, mut odd) = (Lanes::zero(), Lanes::zero());
    for ([a, b], [to_a, to_b]) in pairs.iter().zip(pair_places) {
        let (a, b) = (load(a), load(b));
        store(to_a, a);
        store(to_b, b);
        even.add(a);
        odd.add(b);
    }
    for (one, to_one) in last.iter().zip(last_place) {
        let one = load(one);
        store(to_one, one);
        even.add(one);
    }
    rest_place.copy_from_slice(rest);
    // It begins at an even offset, so its sum is a part like the others. The lanes are below 2^48, for no packet
    // has 2^16 vectors.
    horizontal(_mm256_add_epi64(even.halves(), odd.halves())) + super::scalar(rest)
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; WIDTH], vector: __m256i) {
    // SAFETY: 32 bytes are writable at the address, which need not be aligned.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; WIDTH]) -> __m256i {
    // SAFETY: 32 bytes are readable at the address, which need not be aligned.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The sum of the four lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn horizontal(lanes: __m256i) -> u64 {
    let two = _mm_add_epi64(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    _mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two))) as u64
}
