//! Poly1305 of one message (RFC 8439, section 2.5), in radix 2^64: its key, its sum so far, and its tag. Most blocks
//! are hashed beside the rounds of a pass, in assembly; the function here does what is left when there is no pass.

use core::cell::Cell;
use core::hint::black_box;

use super::bytes::words;
use crate::TAG_LEN;

/// Bytes of a Poly1305 block.
pub(super) const POLY_BLOCK: usize = 16;
/// Such a block.
pub(super) type PolyBlock = [Cell<u8>; POLY_BLOCK];

/// The hash of a message on its way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Hash {
    /// The sum: words of 64 bits, the last of few, partly reduced.
    pub(super) sum: [u64; 3],
    /// r0, r1, and r1 + r1 / 4.
    pub(super) key: [u64; 3],
    /// What is added at the end.
    pad: [u64; 2],
}

impl Hash {
    pub(super) const ZERO: Self = Self { sum: [0; 3], key: [0; 3], pad: [0; 2] };

    /// The hash of nothing, under the one-time key at the beginning of a block of key stream (RFC 8439, section 2.6).
    #[inline(always)]
    pub(super) fn new(key: &[u64; 4]) -> Self {
        let (r0, r1) = (key[0] & 0x0fff_fffc_0fff_ffff, key[1] & 0x0fff_fffc_0fff_fffc);
        Self { sum: [0; 3], key: [r0, r1, r1 + (r1 >> 2)], pad: [key[2], key[3]] }
    }

    /// The next block: (sum + block + 2^128) r, partly reduced. See tests/assembly/poly1305.rs for the bounds.
    #[inline(always)]
    pub(super) fn add(&mut self, block: &PolyBlock) {
        let ([h0, h1, h2], [r0, r1, s1]) = (self.sum, self.key);
        let (low, carry) = join([h0, h1]).overflowing_add(join(words(block)));
        let ([h0, h1], h2) = (split(low), h2 + 1 + u64::from(carry));

        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let at_0 = product(h0, r0) + product(h1, s1);
        let at_64 = product(h0, r1) + product(h1, r0) + u128::from(h2 * s1) + (at_0 >> 64);
        let at_128 = h2 * r0 + split(at_64)[1];
        // Of what is at 2^128, all but two bits return to the bottom, times 5 / 4.
        let (low, carry) = join([split(at_0)[0], split(at_64)[0]]).overflowing_add(u128::from((at_128 >> 2) * 5));
        let [h0, h1] = split(low);
        self.sum = [h0, h1, (at_128 & 3) + u64::from(carry)];
    }

    /// The tag: the smallest number that the sum is modulo 2^130 - 5, plus the pad, modulo 2^128.
    #[inline(always)]
    pub(super) fn tag(&self) -> [u8; TAG_LEN] {
        let [h0, h1, h2] = self.sum;
        let sum = join([h0, h1]);
        // If sum + 5 reaches 2^130, then sum + 5 - 2^130 is the smaller number.
        let (less, carry) = sum.overflowing_add(5);
        // For all that the compiler knows, this could be any number: so it makes no branch of it.
        let is_larger = black_box((h2 + u64::from(carry)) >> 2 != 0);
        let mask = u128::from(is_larger).wrapping_neg();
        let reduced = sum ^ (mask & (sum ^ less));
        reduced.wrapping_add(join(self.pad)).to_le_bytes()
    }
}

#[inline(always)]
fn join([low, high]: [u64; 2]) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

#[inline(always)]
fn split(words: u128) -> [u64; 2] {
    [words as u64, (words >> 64) as u64]
}
