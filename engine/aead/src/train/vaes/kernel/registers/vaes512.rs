//! x86-64 with AVX-512, VAES and VPCLMULQDQ: four blocks in a register.
//!
//! Unsafe are loads and stores, and the calls into functions compiled for the instructions: all operations by one
//! macro, and [`run`](Registers::run). They rest on a [`Vaes512`], which only [`detect`](Vaes512::detect) makes.

use core::arch::x86_64::*;
use std::arch::is_x86_feature_detected;

use secret_memory::Secret;

use super::super::key::table_len;
use super::{BLOCK, Registers};

/// Proof that this CPU has everything that is compiled for here.
#[derive(Clone, Copy, Debug)]
pub(in crate::train::vaes) struct Vaes512(());

macro_rules! features {
    ($($name:tt)*) => {
        impl Vaes512 {
            /// `None` on a CPU that lacks one of the features.
            pub(in crate::train::vaes) fn detect() -> Option<Self> {
                let has_all = true $(&& is_x86_feature_detected!($name))*;
                has_all.then_some(Self(()))
            }

            /// Those that are missing here. The detection also asks whether the system saves the registers.
            pub(in crate::train::vaes) fn missing() -> Vec<&'static str> {
                let mut missing = Vec::new();
                $(if !is_x86_feature_detected!($name) { missing.push($name); })*
                missing
            }
        }
    };
}

// The same list as at every `target_feature` below.
features! { "avx512f" "avx512bw" "avx512vl" "aes" "pclmulqdq" "vaes" "vpclmulqdq" }

type Z = __m512i;

/// A mask of the lowest `count` bits, at most 64.
#[inline(always)]
const fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// Each operation twice: as a function that is compiled for the instructions, and as the method that calls it.
macro_rules! operations {
    ($(fn $name:ident ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) $(-> $result)? {
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,aes,pclmulqdq,vaes,vpclmulqdq")]
            fn compiled($($argument: $type),*) $(-> $result)? $body

            // SAFETY: the CPU has what the function is compiled for; `self` is the proof.
            unsafe { compiled($($argument),*) }
        }
    )*};
}

impl Registers for Vaes512 {
    type Register = Z;
    type Table = [u128; table_len(4)];

    const WIDTH: usize = 4;

    fn table(self) -> Secret<Self::Table> {
        Secret::zeroed()
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,aes,pclmulqdq,vaes,vpclmulqdq")]
        fn compiled<R>(work: impl FnOnce() -> R) -> R {
            work()
        }

        // SAFETY: the CPU has what the function is compiled for; `self` is the proof.
        unsafe { compiled(work) }
    }

    #[inline(always)]
    fn each(self, number: impl Fn(usize) -> u128) -> Z {
        self.of_numbers([number(0), number(1), number(2), number(3)])
    }

    operations! {
        fn zero() -> Z { _mm512_setzero_si512() }
        fn splat(number: &u128) -> Z {
            // SAFETY: reads 16 bytes, at any alignment, from a reference to as many.
            _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128((&raw const *number).cast()) })
        }
        fn numbers(numbers: &[u128]) -> Z {
            let numbers = &numbers[..4];
            // SAFETY: reads 64 bytes, at any alignment, from a slice of as many.
            unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
        }
        fn load(bytes: &[u8]) -> Z {
            let bytes = &bytes[..64];
            // SAFETY: reads 64 bytes, at any alignment, from a slice of as many.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        }
        fn store(bytes: &mut [u8], a: Z) {
            let bytes = &mut bytes[..64];
            // SAFETY: writes 64 bytes, at any alignment, to an exclusive slice of as many.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), a) }
        }
        fn load_prefix(bytes: &[u8]) -> Z {
            // SAFETY: a byte is read only if its bit in the mask is set, and no bit is set beyond the slice.
            unsafe { _mm512_maskz_loadu_epi8(low_bits(bytes.len()), bytes.as_ptr().cast()) }
        }
        fn store_prefix(bytes: &mut [u8], a: Z) {
            // SAFETY: a byte is written only if its bit in the mask is set, and no bit is set beyond the slice.
            unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), low_bits(bytes.len()), a) }
        }
        fn keep_prefix(a: Z, len: usize) -> Z { _mm512_maskz_mov_epi8(low_bits(len), a) }
        fn load_block(block: &[u8; BLOCK]) -> Z {
            // SAFETY: reads 16 bytes, at any alignment, from a reference to as many.
            _mm512_zextsi128_si512(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
        }
        fn store_block(block: &mut [u8; BLOCK], a: Z) {
            let first = _mm512_castsi512_si128(a);
            // SAFETY: writes 16 bytes, at any alignment, to an exclusive reference to as many.
            unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), first) }
        }

        fn xor(a: Z, b: Z) -> Z { _mm512_xor_si512(a, b) }
        fn xor_3(a: Z, b: Z, c: Z) -> Z { _mm512_ternarylogic_epi32::<0x96>(a, b, c) }
        fn add_32(a: Z, b: Z) -> Z { _mm512_add_epi32(a, b) }
        fn reverse(a: Z) -> Z {
            let places = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(places))
        }
        fn swap_halves(a: Z) -> Z { _mm512_shuffle_epi32::<0b01_00_11_10>(a) }
        fn sum_lanes(a: Z) -> Z {
            let pair = _mm256_xor_si256(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a));
            let sum = _mm_xor_si128(_mm256_castsi256_si128(pair), _mm256_extracti128_si256::<1>(pair));
            _mm512_zextsi128_si512(sum)
        }

        fn aes_round(a: Z, key: Z) -> Z { _mm512_aesenc_epi128(a, key) }
        fn aes_last(a: Z, key: Z) -> Z { _mm512_aesenclast_epi128(a, key) }
        fn multiply_low(a: Z, b: Z) -> Z { _mm512_clmulepi64_epi128::<0x00>(a, b) }
        fn multiply_high(a: Z, b: Z) -> Z { _mm512_clmulepi64_epi128::<0x11>(a, b) }
    }
}

impl Vaes512 {
    operations! {
        fn of_numbers(numbers: [u128; 4]) -> Z {
            let [a, b, c, d, e, f, g, h] = core::array::from_fn(|half| (numbers[half / 2] >> (64 * (half % 2))) as i64);
            _mm512_set_epi64(h, g, f, e, d, c, b, a)
        }
    }
}
