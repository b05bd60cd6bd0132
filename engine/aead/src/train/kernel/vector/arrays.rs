//! Arrays in place of registers: what the instructions of AVX-512 do, spelled out for any CPU.
//!
//! A test vehicle, not a cipher for users: libraries are faster where there are no such registers. Each operation is a
//! function that is not inlined. The kernel is thousands of them, and inlined they would take a minute to compile; it
//! runs fast enough for the tests this way.

use std::array::from_fn;

use super::{BLOCK, Vector, Wide, Words, low_bits, transpose};

/// Needs nothing of the CPU.
#[derive(Clone, Copy, Debug)]
pub(in crate::train::kernel) struct Arrays;

/// A register: sixteen words of 32 bits, of which two are a word of 64, the lower half first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub(in crate::train::kernel) struct Z([u32; 16]);

impl Z {
    #[inline(always)]
    fn words(self) -> [u64; 8] {
        from_fn(|i| u64::from(self.0[2 * i + 1]) << 32 | u64::from(self.0[2 * i]))
    }

    #[inline(always)]
    fn of_words(words: [u64; 8]) -> Self {
        Self(from_fn(|i| (words[i / 2] >> (i % 2 * 32)) as u32))
    }

    #[inline(always)]
    fn bytes(self) -> [u8; BLOCK] {
        let words = self.0.map(u32::to_le_bytes);
        from_fn(|i| words[i / 4][i % 4])
    }

    #[inline(always)]
    fn of_bytes(bytes: &[u8; BLOCK]) -> Self {
        let (words, _) = bytes.as_chunks();
        Self(from_fn(|i| u32::from_le_bytes(words[i])))
    }
}

/// Calls `work` and is not inlined. What `work` captures, it captures by reference: nothing is copied.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(always)]
fn lanes_32(a: &Z, b: &Z, operation: impl Fn(u32, u32) -> u32) -> Z {
    Z(from_fn(|i| operation(a.0[i], b.0[i])))
}

#[inline(always)]
fn lanes_64(a: &Z, b: &Z, operation: impl Fn(u64, u64) -> u64) -> Z {
    let (a, b) = (a.words(), b.words());
    Z::of_words(from_fn(|i| operation(a[i], b[i])))
}

/// The 104 bits of the product of the low 52 bits of two words.
#[inline(always)]
fn product_52(a: u64, b: u64) -> u128 {
    u128::from(a & low_bits(52)) * u128::from(b & low_bits(52))
}

/// The lanes for which it holds, as a mask.
#[inline(always)]
fn mask_64(holds: impl Fn(usize) -> bool) -> u8 {
    (0..8).fold(0, |mask, lane| mask | u8::from(holds(lane)) << lane)
}

/// The pair of bits number `place` of an immediate.
#[inline(always)]
fn picked(pick: i32, place: usize) -> usize {
    (pick >> (2 * place) & 3) as usize
}

/// Methods that are not inlined.
macro_rules! operations {
    ($(
        fn $name:ident $(<const $n:ident: $t:ty>)? ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block
    )*) => {$(
        #[inline(always)]
        fn $name $(<const $n: $t>)? (self, $($argument: $type),*) $(-> $result)? {
            apart(
                #[inline(always)]
                || $body,
            )
        }
    )*};
}

impl Vector for Arrays {
    type Register = Z;
    type Block = Z;
    type Mask32 = u16;
    type Blocks = [Z; 16];

    const LANES: usize = 16;

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        apart(work)
    }

    operations! {
        fn zero() -> Z { Z([0; 16]) }
        fn load(bytes: &[u8; BLOCK]) -> Z { Z::of_bytes(bytes) }
        fn store(bytes: &mut [u8; BLOCK], block: Z) { *bytes = block.bytes(); }
        fn load_prefix(bytes: &[u8]) -> Z {
            let mut block = [0; BLOCK];
            let len = bytes.len().min(BLOCK);
            block[..len].copy_from_slice(&bytes[..len]);
            Z::of_bytes(&block)
        }
        fn store_prefix(bytes: &mut [u8], block: Z) {
            let len = bytes.len().min(BLOCK);
            bytes[..len].copy_from_slice(&block.bytes()[..len]);
        }
        fn expand(places: u64, block: Z) -> Z {
            let mut bytes = block.bytes().into_iter();
            let mut place = |i| if places >> i & 1 == 1 { bytes.next().unwrap_or(0) } else { 0 };
            Z::of_bytes(&from_fn(&mut place))
        }
        fn xor(a: Z, b: Z) -> Z { lanes_32(&a, &b, |a, b| a ^ b) }
        fn join(a: Z, b: Z) -> Z { lanes_32(&a, &b, |a, b| a | b) }

        fn splat_32(word: u32) -> Z { Z([word; 16]) }
        fn numbers() -> Z { Z(from_fn(|i| i as u32)) }
        fn add_32(a: Z, b: Z) -> Z { lanes_32(&a, &b, u32::wrapping_add) }
        fn xor_32(a: Z, b: Z) -> Z { lanes_32(&a, &b, |a, b| a ^ b) }
        fn rotate_32<const BITS: i32>(a: Z) -> Z { lanes_32(&a, &a, |a, _| a.rotate_left(BITS as u32)) }
        fn at_least_32(a: Z, b: Z) -> u16 {
            (0..16).fold(0, |mask, lane| mask | u16::from(a.0[lane] >= b.0[lane]) << lane)
        }
        fn blend_32(mask: u16, a: Z, b: Z) -> Z { Z(from_fn(|i| if mask >> i & 1 == 1 { b.0[i] } else { a.0[i] })) }
    }

    #[inline(always)]
    fn transpose(self, words: [Z; 16]) -> [Z; 16] {
        transpose::of_sixteen(self, words)
    }
}

impl Words for Arrays {
    type Word = Z;
    type Mask64 = u8;

    operations! {
        fn splat(word: u64) -> Z { Z::of_words([word; 8]) }
        fn add(a: Z, b: Z) -> Z { lanes_64(&a, &b, u64::wrapping_add) }
        fn add_cut(a: Z, b: Z) -> Z { lanes_64(&a, &b, u64::wrapping_add) }
        fn and(a: Z, b: Z) -> Z { lanes_64(&a, &b, |a, b| a & b) }
        fn or(a: Z, b: Z) -> Z { lanes_64(&a, &b, |a, b| a | b) }
        fn shift_left<const BITS: u32>(a: Z) -> Z { lanes_64(&a, &a, |a, _| a << BITS) }
        fn shift_left_cut<const BITS: u32>(a: Z) -> Z { lanes_64(&a, &a, |a, _| a << BITS) }
        fn shift_right<const BITS: u32>(a: Z) -> Z { lanes_64(&a, &a, |a, _| a >> BITS) }
        fn shift_right_pair<const BITS: i32>(high: Z, low: Z) -> Z {
            lanes_64(&high, &low, |high, low| high << (64 - BITS) | low >> BITS)
        }
        fn multiply_add_low(sum: Z, a: Z, b: Z) -> Z {
            let low = lanes_64(&a, &b, |a, b| product_52(a, b) as u64 & low_bits(52));
            lanes_64(&sum, &low, u64::wrapping_add)
        }
        fn multiply_add_high(sum: Z, a: Z, b: Z) -> Z {
            let high = lanes_64(&a, &b, |a, b| (product_52(a, b) >> 52) as u64);
            lanes_64(&sum, &high, u64::wrapping_add)
        }
        fn is_set(a: Z) -> u8 { mask_64(|lane| a.words()[lane] != 0) }
        fn is_less(a: Z, b: Z) -> u8 { mask_64(|lane| a.words()[lane] < b.words()[lane]) }
        fn blend(mask: u8, a: Z, b: Z) -> Z {
            Z(from_fn(|i| if mask >> (i / 2) & 1 == 1 { b.0[i] } else { a.0[i] }))
        }
    }
}

impl Wide for Arrays {
    operations! {
        fn with_words(words: [u64; 8]) -> Z { Z::of_words(words) }
        fn subtract(a: Z, b: Z) -> Z { lanes_64(&a, &b, u64::wrapping_sub) }
        fn at_least_signed(a: Z, b: Z) -> u8 { mask_64(|lane| a.words()[lane] as i64 >= b.words()[lane] as i64) }
        fn low_32(a: Z, b: Z) -> Z { Z(from_fn(|i| [a, b][i % 2].0[i / 4 * 4 + i % 4 / 2])) }
        fn high_32(a: Z, b: Z) -> Z { Z(from_fn(|i| [a, b][i % 2].0[i / 4 * 4 + 2 + i % 4 / 2])) }
        fn low_64(a: Z, b: Z) -> Z { Z(from_fn(|i| [a, b][i % 4 / 2].0[i / 4 * 4 + i % 2])) }
        fn high_64(a: Z, b: Z) -> Z { Z(from_fn(|i| [a, b][i % 4 / 2].0[i / 4 * 4 + 2 + i % 2])) }
        fn quarters<const PICK: i32>(a: Z, b: Z) -> Z {
            Z(from_fn(|i| [a, b][i / 8].0[4 * picked(PICK, i / 4) + i % 4]))
        }
        fn permute_64<const PICK: i32>(a: Z) -> Z {
            Z(from_fn(|i| a.0[i / 8 * 8 + 2 * picked(PICK, i % 8 / 2) + i % 2]))
        }
        fn pick(places: Z, low: Z, high: Z) -> Z {
            let words = [low.words(), high.words()];
            Z::of_words(places.words().map(|place| words[place as usize / 8 % 2][place as usize % 8]))
        }
    }
}
