//! GHASH (NIST SP 800-38D, section 6.4): a polynomial over the field of 2^128 elements, at the point H.
//!
//! Its blocks are numbers whose first bit is the coefficient of x^0. Read from the last byte on, as
//! [`reverse`](Registers::reverse) makes them, they are numbers with all bits in reverse order. The product of two such
//! numbers is the product of the elements in reverse as well, but one bit too low: hence H is kept
//! [times x](times_x), and each product by one of its powers is right (Gueron and Kounavis, "Intel Carry-Less
//! Multiplication Instruction and its Usage for Computing the GCM Mode", 2010).
//!
//! Blocks c1 … cn and the sum y before them make (y + c1) H^n + c2 H^(n-1) + … + cn H. All products are added up before
//! they are reduced, once.

use super::key::{Key, Powers};
use super::registers::Registers;

/// x^128 + x^7 + x^2 + x + 1 in reverse: what the upper half of the modulus is, without its highest bit.
const MODULUS: u128 = 0xc2 << 120;

/// Products that are not reduced yet, by the method of Karatsuba: of the lower halves, of the upper ones, and of the
/// sums of both.
#[derive(Clone, Copy)]
pub(super) struct Sum<V: Registers> {
    low: V::Register,
    middle: V::Register,
    high: V::Register,
}

impl<V: Registers> Sum<V> {
    #[inline(always)]
    pub(super) fn new(v: V) -> Self {
        Self { low: v.zero(), middle: v.zero(), high: v.zero() }
    }

    /// Adds the products of the blocks in register number `index`, reversed, and their powers.
    #[inline(always)]
    pub(super) fn add(&mut self, v: V, blocks: V::Register, powers: Powers<'_>, index: usize) {
        let at = index * V::WIDTH;
        let (plain, folded) = (v.numbers(&powers.plain[at..]), v.numbers(&powers.folded[at..]));
        self.low = v.xor(self.low, v.multiply_low(blocks, plain));
        self.high = v.xor(self.high, v.multiply_high(blocks, plain));
        let halves = v.xor(blocks, v.swap_halves(blocks));
        self.middle = v.xor(self.middle, v.multiply_low(halves, folded));
    }

    /// The sum modulo the polynomial, in the first lane; zeros in the others.
    #[inline(always)]
    pub(super) fn reduced(self, v: V) -> V::Register {
        let modulus = v.splat(&(MODULUS >> 64));
        let middle = v.xor_3(self.middle, self.low, self.high);
        // The lowest half is folded into the two above it, twice.
        let middle = v.xor_3(middle, v.swap_halves(self.low), v.multiply_low(self.low, modulus));
        let high = v.xor_3(self.high, v.swap_halves(middle), v.multiply_low(middle, modulus));
        v.sum_lanes(high)
    }
}

/// The sum after the blocks of a text, in the registers of `blocks`: the last of them zero-padded. `y` is the sum
/// before them.
#[inline(always)]
pub(super) fn add_blocks<const N: usize, V: Registers>(
    v: V,
    powers: Powers<'_>,
    y: V::Register,
    blocks: [V::Register; N],
) -> V::Register {
    let mut sum = Sum::new(v);
    for (index, block) in blocks.into_iter().enumerate() {
        let block = v.reverse(block);
        sum.add(v, if index == 0 { v.xor(block, y) } else { block }, powers, index);
    }
    sum.reduced(v)
}

/// The product of the last block, which has the length of a text, and H. Messages of a batch mostly have one length.
pub(super) struct Lengths<V: Registers> {
    len: usize,
    product: V::Register,
}

impl<V: Registers> Lengths<V> {
    #[inline(always)]
    pub(super) fn new(v: V) -> Self {
        // No bits make no product.
        Self { len: 0, product: v.zero() }
    }

    /// The product for a text of `len` bytes without associated data.
    #[inline(always)]
    pub(super) fn product(&mut self, v: V, key: Key<'_>, len: usize) -> V::Register {
        if self.len != len {
            let bits = v.each(|lane| if lane == 0 { 8 * len as u128 } else { 0 });
            let mut sum = Sum::new(v);
            sum.add(v, bits, key.powers_from::<1, V>(1), 0);
            *self = Self { len, product: sum.reduced(v) };
        }
        self.product
    }
}

/// An element times x: in reverse, one bit up. What leaves the number is replaced by the modulus, whether it is a one
/// or a zero.
#[inline(always)]
pub(super) fn times_x(element: u128) -> u128 {
    let carry = 0u128.wrapping_sub(element >> 127);
    element << 1 ^ (MODULUS | 1) & carry
}

/// The product of two elements of which one is kept times x.
#[inline(always)]
pub(super) fn multiply<V: Registers>(v: V, a: u128, b: u128) -> u128 {
    let one = |number: u128| v.each(|lane| if lane == 0 { number } else { 0 });
    let b = [b, 0, 0, 0];
    let folded = b.map(|b| (b ^ b >> 64) & u128::from(u64::MAX));
    let mut sum = Sum::new(v);
    sum.add(v, one(a), Powers { plain: &b, folded: &folded }, 0);
    let mut block = [0; 16];
    v.store_block(&mut block, sum.reduced(v));
    u128::from_le_bytes(block)
}
