//! Arithmetic modulo p = 2^130 - 5, for the multiply-add of 52-bit words (IFMA).
//!
//! # Radix
//!
//! An element is three limbs of 44, 44 and 42 bits: x = x0 + 2^44 x1 + 2^88 x2. IFMA multiplies the low 52 bits of two
//! words and adds either the low 52 bits of the product or those above to a sum of 64 bits. With 44 bits, limbs can be
//! a little too large, can be multiplied by 20 beforehand, and a few products can be added up before anything is
//! carried.
//!
//! A product of limbs i and j belongs to column i + j, of weight 2^(44 (i + j)). What lies above its 52nd bit weighs
//! 2^52 = 2^44 · 2^8 more: it belongs to the next column, 8 bits up. Column 3 wraps: 2^132 = 4 · 2^130 ≡ 4 · 5 = 20,
//! and column 4 likewise; so limbs that would meet there are multiplied by 20 beforehand ([`Multiplier`]).
//!
//! # Bounds
//!
//! [`Sum::carry`] is a single parallel carry, not a chain. The bounds that make it enough are constants below; each is
//! followed by the sum that it stands on. The tests run this file over 64-bit integers whose every operation is
//! checked. They put limbs at these bounds, and see that nothing overflows and that the results are right and in bounds
//! again.

use crate::train::kernel::vector::Words;

/// Bits of the two lower limbs, and of the upper one.
pub(super) const LOW_BITS: u32 = 44;
pub(super) const TOP_BITS: u32 = 42;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
const TOP_MASK: u64 = (1 << TOP_BITS) - 1;

/// Most products of elements that are added up before a carry: the blocks of one step in the widest arrangement.
pub(super) const PRODUCTS_MAX: u64 = 4;

/// Largest limbs of an element after [`Sum::carry`].
///
/// Columns are below 2^56 (see there), so limb 1 gets less than 2^12 from limb 0, limb 2 as much from limb 1, and
/// limb 0 gets 5 · 2^14 < 2^17 from what lies above bit 130.
pub(super) const CARRIED_MAX: [u64; 3] = [LOW_MASK + (1 << 17), LOW_MASK + (1 << 12), TOP_MASK + (1 << 12)];

/// Largest limbs of a message block: 128 bits and the one at 2^128, which is 2^40 in limb 2.
pub(super) const BLOCK_MAX: [u64; 3] = [LOW_MASK, LOW_MASK, (1 << 41) - 1];

/// Largest limbs of what is multiplied: a block, to which the accumulator may have been added.
pub(super) const FACTOR_MAX: [u64; 3] =
    [CARRIED_MAX[0] + BLOCK_MAX[0], CARRIED_MAX[1] + BLOCK_MAX[1], CARRIED_MAX[2] + BLOCK_MAX[2]];

// Both factors of a product are below 2^52, or IFMA would cut them: of a multiplier the limbs times 20 are the largest.
const _: () = assert!(FACTOR_MAX[0] < 1 << 52 && 20 * CARRIED_MAX[1] < 1 << 52 && 20 * CARRIED_MAX[2] < 1 << 52);

/// Largest column of a [`Sum`] when it is carried.
///
/// Each of the three products of a column adds less than 2^52 of low bits: 4 · 3 · 2^52 < 1.5 · 2^55. The high bits of
/// products with a factor of 20 are less than 2^45 · 2^49 / 2^52 = 2^42 each and go 8 bits up: 4 · 3 · 2^50 < 2^54.
/// Column 3 has none of those: its products are below 2^45 · 2^45 / 2^52 = 2^38, and 20 · 2^8 = 5 · 2^10 times 4 · 3 of
/// them are below 2^54 as well. Together: less than 2^56.
const COLUMN_BOUND: u64 = 1 << 56;
const _: () = {
    let low = PRODUCTS_MAX * 3 * ((1 << 52) - 1);
    assert!(low + (1 << 54) < COLUMN_BOUND);
    assert!(COLUMN_BOUND >> LOW_BITS <= 1 << 12);
    assert!(5 * (COLUMN_BOUND >> TOP_BITS) <= 1 << 17);
};

/// A number modulo p, not necessarily the smallest.
#[derive(Clone, Copy)]
pub(super) struct Element<W: Words>(pub(super) [W::Word; 3]);

/// An element to multiply by.
#[derive(Clone, Copy)]
pub(super) struct Multiplier<W: Words> {
    r: [W::Word; 3],
    /// Limbs 1 and 2 times 20, for the columns that wrap.
    wrapped: [W::Word; 2],
}

/// A sum of products, not yet carried: low and high bits of columns 0 to 2, the high bits weighing 2^52 more.
#[derive(Clone, Copy)]
pub(super) struct Sum<W: Words> {
    pub(super) low: [W::Word; 3],
    pub(super) high: [W::Word; 3],
}

impl<W: Words> Element<W> {
    /// A block of 128 bits, low word first, and above them `top`: 1, or 0 for a block that only fills up.
    #[inline(always)]
    pub(super) fn from_block(w: W, words: [W::Word; 2], top: W::Word) -> Self {
        let [low, high] = words;
        let mask = w.splat(LOW_MASK);
        let limb_1 = w.and(w.shift_right_pair::<44>(high, low), mask);
        Self([w.and(low, mask), limb_1, w.shift_right_pair::<24>(top, high)])
    }

    #[inline(always)]
    pub(super) fn plus(self, w: W, other: Self) -> Self {
        let (Self([a0, a1, a2]), Self([b0, b1, b2])) = (self, other);
        Self([w.add(a0, b0), w.add(a1, b1), w.add(a2, b2)])
    }

    #[inline(always)]
    pub(super) fn times(self, w: W, factor: &Multiplier<W>) -> Self {
        let mut sum = Sum::zero(w);
        sum.add_product(w, self, factor);
        sum.carry(w)
    }

    /// The smallest number that this is modulo p, of which only the lower 128 bits matter, low word first. Limbs may be
    /// the sum of eight carried elements.
    #[inline(always)]
    pub(super) fn reduced(self, w: W) -> [W::Word; 2] {
        let (low_mask, top_mask) = (w.splat(LOW_MASK), w.splat(TOP_MASK));
        // Eight carried elements are below 8.1 · 2^130. What lies above bit 130 is at most 8, and comes back as at most
        // 40.
        let Self([a0, a1, a2]) = self;
        let a1 = w.add(a1, w.shift_right::<LOW_BITS>(a0));
        let a2 = w.add(a2, w.shift_right::<LOW_BITS>(a1));
        let above = w.shift_right::<TOP_BITS>(a2);
        let (a0, a1, a2) = (w.and(a0, low_mask), w.and(a1, low_mask), w.and(a2, top_mask));
        let a0 = w.add(a0, w.add(above, w.shift_left::<2>(above)));
        // Below 2^130 + 40. Limbs 0 and 1 are brought in range again; limb 2 is 2^42 at most, and then the others are
        // small.
        let a1 = w.add(a1, w.shift_right::<LOW_BITS>(a0));
        let a2 = w.add(a2, w.shift_right::<LOW_BITS>(a1));
        let (a0, a1) = (w.and(a0, low_mask), w.and(a1, low_mask));
        // a ≥ p exactly if a + 5 ≥ 2^130, and then a - p is a + 5 - 2^130.
        let b0 = w.add(a0, w.splat(5));
        let b1 = w.add(a1, w.shift_right::<LOW_BITS>(b0));
        let b2 = w.add(a2, w.shift_right::<LOW_BITS>(b1));
        let at_least_p = w.is_set(w.shift_right::<TOP_BITS>(b2));
        let c0 = w.blend(at_least_p, a0, w.and(b0, low_mask));
        let c1 = w.blend(at_least_p, a1, w.and(b1, low_mask));
        let c2 = w.blend(at_least_p, a2, w.and(b2, top_mask));
        [w.or(c0, w.shift_left_cut::<LOW_BITS>(c1)), w.or(w.shift_right::<20>(c1), w.shift_left_cut::<24>(c2))]
    }

    /// What [`reduced`](Self::reduced) says, plus `s`, modulo 2^128: the tag (RFC 8439, section 2.5).
    #[inline(always)]
    pub(super) fn tag(self, w: W, s: [W::Word; 2]) -> [W::Word; 2] {
        let [low, high] = self.reduced(w);
        let low = w.add_cut(low, s[0]);
        let carry = w.is_less(low, s[0]);
        let high = w.add_cut(high, s[1]);
        [low, w.blend(carry, high, w.add_cut(high, w.splat(1)))]
    }
}

impl<W: Words> Multiplier<W> {
    /// Of an element that is carried.
    #[inline(always)]
    pub(super) fn new(w: W, element: Element<W>) -> Self {
        let Element(r) = element;
        let wrapped = [
            w.add(w.shift_left::<4>(r[1]), w.shift_left::<2>(r[1])),
            w.add(w.shift_left::<4>(r[2]), w.shift_left::<2>(r[2])),
        ];
        Self { r, wrapped }
    }
}

impl<W: Words> Sum<W> {
    #[inline(always)]
    pub(super) fn zero(w: W) -> Self {
        let zero = w.splat(0);
        Self { low: [zero; 3], high: [zero; 3] }
    }

    /// Adds `m` times `factor`. `m` is within [`FACTOR_MAX`], and there are at most [`PRODUCTS_MAX`] products in a sum.
    #[inline(always)]
    pub(super) fn add_product(&mut self, w: W, m: Element<W>, factor: &Multiplier<W>) {
        let Element([m0, m1, m2]) = m;
        let ([r0, r1, r2], [s1, s2]) = (factor.r, factor.wrapped);
        // By limbs of m, each column once: neighbouring instructions do not wait for each other.
        for (m, column) in [(m0, [r0, r1, r2]), (m1, [s2, r0, r1]), (m2, [s1, s2, r0])] {
            for (sum, factor) in self.low.iter_mut().zip(column) {
                *sum = w.multiply_add_low(*sum, m, factor);
            }
            for (sum, factor) in self.high.iter_mut().zip(column) {
                *sum = w.multiply_add_high(*sum, m, factor);
            }
        }
    }

    /// The sum as an element within [`CARRIED_MAX`].
    #[inline(always)]
    pub(super) fn carry(&self, w: W) -> Element<W> {
        let Self { low, high } = self;
        // The high bits of column 2 belong to column 3: times 20 · 2^8 = 5 · 2^10 to column 0.
        let wrapped = w.shift_left::<10>(high[2]);
        let c0 = w.add(low[0], w.add(wrapped, w.shift_left::<2>(wrapped)));
        let c1 = w.add(low[1], w.shift_left::<8>(high[0]));
        let c2 = w.add(low[2], w.shift_left::<8>(high[1]));
        // 2^130 ≡ 5.
        let above = w.shift_right::<TOP_BITS>(c2);
        let (low_mask, top_mask) = (w.splat(LOW_MASK), w.splat(TOP_MASK));
        Element([
            w.add(w.add(w.and(c0, low_mask), above), w.shift_left::<2>(above)),
            w.add(w.and(c1, low_mask), w.shift_right::<LOW_BITS>(c0)),
            w.add(w.and(c2, top_mask), w.shift_right::<LOW_BITS>(c1)),
        ])
    }
}
