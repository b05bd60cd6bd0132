//! Poly1305 of one message (RFC 8439, section 2.5), in radix 2^64: its key, its sum so far, and its tag. Most blocks
//! are hashed beside the rounds of a pass, in assembly; the function here does what is left when there is no pass.

use core::cell::Cell;

use super::bytes::words;
use crate::TAG_LEN;

/// Bytes of a Poly1305 block.
pub(super) const POLY_BLOCK: usize = 16;

/// The hash of a message on its way.
#[repr(C, align(64))]
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
    pub(super) fn add(&mut self, block: &[Cell<u8>; POLY_BLOCK]) {
        let [h0, h1, h2] = self.sum.map(u128::from);
        let [r0, r1, s1] = self.key.map(u128::from);
        let [first, second] = words(block);
        let h0 = h0 + u128::from(first);
        let h1 = h1 + u128::from(second) + (h0 >> 64);
        let h2 = h2 + 1 + (h1 >> 64);
        let (h0, h1) = (low(h0), low(h1));

        let at_0 = h0 * r0 + h1 * s1;
        let at_64 = h0 * r1 + h1 * r0 + h2 * s1 + (at_0 >> 64);
        let at_128 = h2 * r0 + (at_64 >> 64);
        // Of what is at 2^128, all but two bits return to the bottom, times 5 / 4.
        let h0 = low(at_0) + (at_128 >> 2) * 5;
        let h1 = low(at_64) + (h0 >> 64);
        let h2 = (at_128 & 3) + (h1 >> 64);
        self.sum = [h0 as u64, h1 as u64, h2 as u64];
    }

    /// The tag: the smallest number that the sum is modulo 2^130 - 5, plus the pad, modulo 2^128.
    #[inline(always)]
    pub(super) fn tag(&self) -> [u8; TAG_LEN] {
        let words = |[low, high]: [u64; 2]| u128::from(low) | u128::from(high) << 64;
        let [h0, h1, h2] = self.sum;
        let sum = words([h0, h1]);
        // If sum + 5 reaches 2^130, then sum + 5 - 2^130 is the smaller number.
        let (less, carry) = sum.overflowing_add(5);
        let is_larger = (h2 + u64::from(carry)) >> 2 != 0;
        let mask = u128::from(is_larger).wrapping_neg();
        let reduced = sum ^ (mask & (sum ^ less));
        reduced.wrapping_add(words(self.pad)).to_le_bytes()
    }
}

#[inline(always)]
fn low(word: u128) -> u128 {
    u128::from(word as u64)
}
