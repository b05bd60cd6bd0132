//! x86-64 with AVX2, VAES and VPCLMULQDQ: two blocks in a register.
//!
//! Unsafe are loads and stores, and the calls into functions compiled for the instructions: all operations by one
//! macro, and [`run`](Registers::run). They rest on a [`Vaes256`], which only [`detect`](Vaes256::detect) makes.

use core::arch::x86_64::*;
use std::arch::is_x86_feature_detected;

use secret_memory::Secret;

use super::super::key::table_len;
use super::{BLOCK, Registers, prefix};

/// Proof that this CPU has everything that is compiled for here.
#[derive(Clone, Copy, Debug)]
pub(in crate::train::vaes) struct Vaes256(());

macro_rules! features {
    ($($name:tt)*) => {
        impl Vaes256 {
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
features! { "avx2" "aes" "pclmulqdq" "vaes" "vpclmulqdq" }

type Y = __m256i;

/// Bytes of which the first 32 stay and the last 32 do not; a mask for any prefix begins in between.
static KEEP: [u8; 64] = {
    let mut keep = [0; 64];
    let mut place = 0;
    while place < 32 {
        keep[place] = 0xff;
        place += 1;
    }
    keep
};

/// Each operation twice: as a function that is compiled for the instructions, and as the method that calls it.
macro_rules! operations {
    ($(fn $name:ident ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) $(-> $result)? {
            #[inline]
            #[target_feature(enable = "avx2,aes,pclmulqdq,vaes,vpclmulqdq")]
            fn compiled($($argument: $type),*) $(-> $result)? $body

            // SAFETY: the CPU has what the function is compiled for; `self` is the proof.
            unsafe { compiled($($argument),*) }
        }
    )*};
}

impl Registers for Vaes256 {
    type Register = Y;
    type Table = [u128; table_len(2)];

    const WIDTH: usize = 2;

    fn table(self) -> Secret<Self::Table> {
        Secret::zeroed()
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[inline(never)]
        #[target_feature(enable = "avx2,aes,pclmulqdq,vaes,vpclmulqdq")]
        fn compiled<R>(work: impl FnOnce() -> R) -> R {
            work()
        }

        // SAFETY: the CPU has what the function is compiled for; `self` is the proof.
        unsafe { compiled(work) }
    }

    #[inline(always)]
    fn each(self, number: impl Fn(usize) -> u128) -> Y {
        self.of_numbers(number(0), number(1))
    }

    #[inline(always)]
    fn load_prefix(self, bytes: &[u8]) -> Y {
        if bytes.len() == Self::BYTES {
            return self.load(bytes);
        }
        match bytes.split_first_chunk::<BLOCK>() {
            Some((first, rest)) => self.of_numbers(u128::from_le_bytes(*first), prefix::load(rest)),
            None => self.of_numbers(prefix::load(bytes), 0),
        }
    }

    #[inline(always)]
    fn store_prefix(self, bytes: &mut [u8], a: Y) {
        if bytes.len() == Self::BYTES {
            return self.store(bytes, a);
        }
        match bytes.split_first_chunk_mut::<BLOCK>() {
            Some((first, rest)) => {
                self.store_block(first, a);
                prefix::store(rest, self.second(a));
            }
            None => prefix::store(bytes, self.first(a)),
        }
    }

    operations! {
        fn zero() -> Y { _mm256_setzero_si256() }
        fn splat(number: &u128) -> Y {
            // SAFETY: reads 16 bytes, at any alignment, from a reference to as many.
            _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128((&raw const *number).cast()) })
        }
        fn numbers(numbers: &[u128]) -> Y {
            let numbers = &numbers[..2];
            // SAFETY: reads 32 bytes, at any alignment, from a slice of as many.
            unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
        }
        fn load(bytes: &[u8]) -> Y {
            let bytes = &bytes[..32];
            // SAFETY: reads 32 bytes, at any alignment, from a slice of as many.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        }
        fn store(bytes: &mut [u8], a: Y) {
            let bytes = &mut bytes[..32];
            // SAFETY: writes 32 bytes, at any alignment, to an exclusive slice of as many.
            unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), a) }
        }
        fn keep_prefix(a: Y, len: usize) -> Y {
            let mask = &KEEP[32 - len..][..32];
            // SAFETY: reads 32 bytes, at any alignment, from a slice of as many.
            _mm256_and_si256(a, unsafe { _mm256_loadu_si256(mask.as_ptr().cast()) })
        }
        fn load_block(block: &[u8; BLOCK]) -> Y {
            // SAFETY: reads 16 bytes, at any alignment, from a reference to as many.
            _mm256_zextsi128_si256(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
        }
        fn store_block(block: &mut [u8; BLOCK], a: Y) {
            let first = _mm256_castsi256_si128(a);
            // SAFETY: writes 16 bytes, at any alignment, to an exclusive reference to as many.
            unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), first) }
        }

        fn xor(a: Y, b: Y) -> Y { _mm256_xor_si256(a, b) }
        fn xor_3(a: Y, b: Y, c: Y) -> Y { _mm256_xor_si256(_mm256_xor_si256(a, b), c) }
        fn add_32(a: Y, b: Y) -> Y { _mm256_add_epi32(a, b) }
        fn reverse(a: Y) -> Y {
            let places = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(places))
        }
        fn swap_halves(a: Y) -> Y { _mm256_shuffle_epi32::<0b01_00_11_10>(a) }
        fn sum_lanes(a: Y) -> Y {
            _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a)))
        }

        fn aes_round(a: Y, key: Y) -> Y { _mm256_aesenc_epi128(a, key) }
        fn aes_last(a: Y, key: Y) -> Y { _mm256_aesenclast_epi128(a, key) }
        fn multiply_low(a: Y, b: Y) -> Y { _mm256_clmulepi64_epi128::<0x00>(a, b) }
        fn multiply_high(a: Y, b: Y) -> Y { _mm256_clmulepi64_epi128::<0x11>(a, b) }
    }
}

impl Vaes256 {
    operations! {
        fn of_numbers(first: u128, second: u128) -> Y {
            let [a, b, c, d] = [first, first >> 64, second, second >> 64].map(|half| half as i64);
            _mm256_set_epi64x(d, c, b, a)
        }
        fn first(a: Y) -> u128 {
            let a = _mm256_castsi256_si128(a);
            u128::from(_mm_extract_epi64::<1>(a) as u64) << 64 | u128::from(_mm_cvtsi128_si64(a) as u64)
        }
        fn second(a: Y) -> u128 {
            let a = _mm256_extracti128_si256::<1>(a);
            u128::from(_mm_extract_epi64::<1>(a) as u64) << 64 | u128::from(_mm_cvtsi128_si64(a) as u64)
        }
    }
}
