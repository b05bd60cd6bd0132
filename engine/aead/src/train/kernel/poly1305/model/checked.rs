//! The operations of the field arithmetic over one lane, with every assumption checked.

use crate::train::kernel::vector::Words;

#[derive(Clone, Copy)]
pub(super) struct Checked;

fn product(a: u64, b: u64) -> u128 {
    assert!(a < 1 << 52 && b < 1 << 52, "IFMA looks at 52 bits of a factor");
    u128::from(a) * u128::from(b)
}

impl Words for Checked {
    type Word = u64;
    type Mask64 = bool;

    fn splat(self, word: u64) -> u64 {
        word
    }

    fn add(self, a: u64, b: u64) -> u64 {
        a.checked_add(b).expect("a sum has 64 bits")
    }

    fn add_cut(self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn and(self, a: u64, b: u64) -> u64 {
        a & b
    }

    fn or(self, a: u64, b: u64) -> u64 {
        assert_eq!(a & b, 0, "pieces that are put together do not overlap");
        a | b
    }

    fn shift_left<const BITS: u32>(self, a: u64) -> u64 {
        assert!(a.leading_zeros() >= BITS, "nothing is shifted out of a word");
        a << BITS
    }

    fn shift_left_cut<const BITS: u32>(self, a: u64) -> u64 {
        a << BITS
    }

    fn shift_right<const BITS: u32>(self, a: u64) -> u64 {
        a >> BITS
    }

    fn shift_right_pair<const BITS: i32>(self, high: u64, low: u64) -> u64 {
        ((u128::from(high) << 64 | u128::from(low)) >> BITS) as u64
    }

    fn multiply_add_low(self, sum: u64, a: u64, b: u64) -> u64 {
        self.add(sum, (product(a, b) & ((1 << 52) - 1)) as u64)
    }

    fn multiply_add_high(self, sum: u64, a: u64, b: u64) -> u64 {
        self.add(sum, (product(a, b) >> 52) as u64)
    }

    fn is_set(self, a: u64) -> bool {
        a != 0
    }

    fn is_less(self, a: u64, b: u64) -> bool {
        a < b
    }

    fn blend(self, mask: bool, a: u64, b: u64) -> u64 {
        if mask { b } else { a }
    }
}
