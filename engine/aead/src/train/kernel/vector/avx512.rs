//! x86-64 with AVX-512.
//!
//! Unsafe are two loads and two stores, and the calls into functions compiled for AVX-512: all operations by one macro,
//! and [`run`](Vector::run). They rest on an [`Avx512`], which only [`detect`](Avx512::detect) makes.

use core::arch::x86_64::*;
use std::arch::is_x86_feature_detected;

use super::{BLOCK, Vector, Wide, Words, low_bits, transpose};

/// Proof that this CPU has everything that is compiled for here.
#[derive(Clone, Copy, Debug)]
pub(in crate::train::kernel) struct Avx512(());

macro_rules! features {
    ($($name:tt)*) => {
        impl Avx512 {
            /// `None` on a CPU that lacks one of the features.
            pub(in crate::train::kernel) fn detect() -> Option<Self> {
                let has_all = true $(&& is_x86_feature_detected!($name))*;
                has_all.then_some(Self(()))
            }

            /// Those that are missing here. The detection also asks whether the system saves the registers.
            pub(in crate::train::kernel) fn missing() -> Vec<&'static str> {
                let mut missing = Vec::new();
                $(if !is_x86_feature_detected!($name) { missing.push($name); })*
                missing
            }
        }
    };
}

// The same list as at every `target_feature` below.
features! { "avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512ifma" "avx512vbmi2" }

type Z = __m512i;

/// Each operation twice: as a function that is compiled for AVX-512, and as the method that calls it.
macro_rules! operations {
    ($(
        fn $name:ident $(<const $n:ident: $t:ty>)? ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block
    )*) => {$(
        #[inline(always)]
        fn $name $(<const $n: $t>)? (self, $($argument: $type),*) $(-> $result)? {
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
            fn compiled $(<const $n: $t>)? ($($argument: $type),*) $(-> $result)? $body

            // SAFETY: the CPU has what the function is compiled for; `self` is the proof.
            unsafe { compiled $(::<$n>)? ($($argument),*) }
        }
    )*};
}

impl Vector for Avx512 {
    type Register = Z;
    type Block = Z;
    type Mask32 = __mmask16;
    type Blocks = [Z; 16];

    const LANES: usize = 16;

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
        fn compiled<R>(work: impl FnOnce() -> R) -> R {
            work()
        }

        // SAFETY: the CPU has what the function is compiled for; `self` is the proof.
        unsafe { compiled(work) }
    }

    operations! {
        fn zero() -> Z { _mm512_setzero_si512() }
        fn load(bytes: &[u8; BLOCK]) -> Z {
            // SAFETY: reads 64 bytes, at any alignment, from a reference to as many.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        }
        fn store(bytes: &mut [u8; BLOCK], block: Z) {
            // SAFETY: writes 64 bytes, at any alignment, to an exclusive reference to as many.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), block) }
        }
        fn load_prefix(bytes: &[u8]) -> Z {
            // SAFETY: a byte is read only if its bit in the mask is set, and no bit is set beyond the slice.
            unsafe { _mm512_maskz_loadu_epi8(low_bits(bytes.len()), bytes.as_ptr().cast()) }
        }
        fn store_prefix(bytes: &mut [u8], block: Z) {
            // SAFETY: a byte is written only if its bit in the mask is set, and no bit is set beyond the slice.
            unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), low_bits(bytes.len()), block) }
        }
        fn expand(places: u64, block: Z) -> Z { _mm512_maskz_expand_epi8(places, block) }
        fn xor(a: Z, b: Z) -> Z { _mm512_xor_si512(a, b) }
        fn join(a: Z, b: Z) -> Z { _mm512_or_si512(a, b) }

        fn splat_32(word: u32) -> Z { _mm512_set1_epi32(word as i32) }
        fn numbers() -> Z { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }
        fn add_32(a: Z, b: Z) -> Z { _mm512_add_epi32(a, b) }
        fn xor_32(a: Z, b: Z) -> Z { _mm512_xor_si512(a, b) }
        fn rotate_32<const BITS: i32>(a: Z) -> Z { _mm512_rol_epi32::<BITS>(a) }
        fn at_least_32(a: Z, b: Z) -> __mmask16 { _mm512_cmpge_epu32_mask(a, b) }
        fn blend_32(mask: __mmask16, a: Z, b: Z) -> Z { _mm512_mask_blend_epi32(mask, a, b) }
    }

    #[inline(always)]
    fn transpose(self, words: [Z; 16]) -> [Z; 16] {
        transpose::of_sixteen(self, words)
    }
}

impl Words for Avx512 {
    type Word = Z;
    type Mask64 = __mmask8;

    operations! {
        fn splat(word: u64) -> Z { _mm512_set1_epi64(word as i64) }
        fn add(a: Z, b: Z) -> Z { _mm512_add_epi64(a, b) }
        fn add_cut(a: Z, b: Z) -> Z { _mm512_add_epi64(a, b) }
        fn and(a: Z, b: Z) -> Z { _mm512_and_si512(a, b) }
        fn or(a: Z, b: Z) -> Z { _mm512_or_si512(a, b) }
        fn shift_left<const BITS: u32>(a: Z) -> Z { _mm512_slli_epi64::<BITS>(a) }
        fn shift_left_cut<const BITS: u32>(a: Z) -> Z { _mm512_slli_epi64::<BITS>(a) }
        fn shift_right<const BITS: u32>(a: Z) -> Z { _mm512_srli_epi64::<BITS>(a) }
        fn shift_right_pair<const BITS: i32>(high: Z, low: Z) -> Z { _mm512_shrdi_epi64::<BITS>(low, high) }
        fn multiply_add_low(sum: Z, a: Z, b: Z) -> Z { _mm512_madd52lo_epu64(sum, a, b) }
        fn multiply_add_high(sum: Z, a: Z, b: Z) -> Z { _mm512_madd52hi_epu64(sum, a, b) }
        fn is_set(a: Z) -> __mmask8 { _mm512_test_epi64_mask(a, a) }
        fn is_less(a: Z, b: Z) -> __mmask8 { _mm512_cmplt_epu64_mask(a, b) }
        fn blend(mask: __mmask8, a: Z, b: Z) -> Z { _mm512_mask_blend_epi64(mask, a, b) }
    }
}

impl Wide for Avx512 {
    operations! {
        fn with_words(words: [u64; 8]) -> Z {
            let [a, b, c, d, e, f, g, h] = words;
            _mm512_set_epi64(h as i64, g as i64, f as i64, e as i64, d as i64, c as i64, b as i64, a as i64)
        }
        fn subtract(a: Z, b: Z) -> Z { _mm512_sub_epi64(a, b) }
        fn at_least_signed(a: Z, b: Z) -> u8 { _mm512_cmpge_epi64_mask(a, b) }
        fn low_32(a: Z, b: Z) -> Z { _mm512_unpacklo_epi32(a, b) }
        fn high_32(a: Z, b: Z) -> Z { _mm512_unpackhi_epi32(a, b) }
        fn low_64(a: Z, b: Z) -> Z { _mm512_unpacklo_epi64(a, b) }
        fn high_64(a: Z, b: Z) -> Z { _mm512_unpackhi_epi64(a, b) }
        fn quarters<const PICK: i32>(a: Z, b: Z) -> Z { _mm512_shuffle_i64x2::<PICK>(a, b) }
        fn permute_64<const PICK: i32>(a: Z) -> Z { _mm512_permutex_epi64::<PICK>(a) }
        fn pick(places: Z, low: Z, high: Z) -> Z { _mm512_permutex2var_epi64(low, places, high) }
    }
}
