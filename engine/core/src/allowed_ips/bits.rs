//! An address as a number.

use std::fmt;

/// The bits of an address, the most significant first in prefixes. Positions are counted from the least significant.
pub(super) trait Bits: Copy + Eq + fmt::Debug {
    const WIDTH: u8;

    /// The first `len` bits, the others zero.
    fn masked(self, len: u8) -> Self;
    /// Whether two addresses agree in all bits above the lowest `count`.
    fn agrees_above(self, other: Self, count: u8) -> bool;
    /// The five bits from this position on; those that do not exist are zero.
    fn chunk(self, position: u8) -> u32;
    /// The position of the most significant bit in which two addresses differ.
    fn difference(self, other: Self) -> Option<u8>;
}

macro_rules! impl_bits {
    ($type:ty) => {
        impl Bits for $type {
            const WIDTH: u8 = Self::BITS as u8;

            #[inline]
            fn masked(self, len: u8) -> Self {
                // A shift by the full width, which is what length zero asks for, overflows: nothing is left then.
                self & Self::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }

            #[inline]
            fn agrees_above(self, other: Self, count: u8) -> bool {
                (self ^ other).checked_shr(u32::from(count)).unwrap_or(0) == 0
            }

            #[inline]
            fn chunk(self, position: u8) -> u32 {
                (self >> position) as u32 & 0x1f
            }

            fn difference(self, other: Self) -> Option<u8> {
                (self ^ other).checked_ilog2().map(|position| position as u8)
            }
        }
    };
}

impl_bits!(u32);
impl_bits!(u128);
