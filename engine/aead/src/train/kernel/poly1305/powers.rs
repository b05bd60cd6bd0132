//! One-time keys, and the powers of r that a group's steps multiply by.

use core::arch::x86_64::*;

use super::field::{Element, Multiplier};
use super::group::words;
use super::strands::Strands;
use crate::train::kernel::vector::Z;

/// What "clamping" leaves of r, low word first (RFC 8439, section 2.5).
const CLAMP: [i64; 2] = [0x0fff_fffc_0fff_ffff, 0x0fff_fffc_0fff_fffc];

/// The powers for the strands of every message, in their lanes.
pub(super) struct Powers {
    /// r^S and the powers of that, from the first on: for every step but the last.
    pub(super) each: [Multiplier; 4],
    /// r^(S - q) for strand q, and that times the powers of r^S: for the last step.
    pub(super) last: [Multiplier; 4],
}

/// From the first blocks of the messages' key streams to r and s, low word first, in the lanes of each message.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn one_time_keys<const STRANDS: usize>(keys: &[Z]) -> (Element, [Z; 2]) {
    let zero = _mm512_setzero_si512();
    let mut rows = [zero; 8];
    for (row, (message, _)) in rows.iter_mut().zip(Strands::<STRANDS>::LANES) {
        if let Some(key) = keys.get(message) {
            *row = *key;
        }
    }
    let [r_low, r_high, s_low, s_high, ..] = words::<1>(&rows);
    let r_low = _mm512_and_si512(r_low, _mm512_set1_epi64(CLAMP[0]));
    let r_high = _mm512_and_si512(r_high, _mm512_set1_epi64(CLAMP[1]));
    (Element::from_block([r_low, r_high], zero), [s_low, s_high])
}

impl Powers {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn of<const STRANDS: usize>(r: Element) -> Self {
        let by_r = Multiplier::new(r);
        let r2 = r.times(&by_r);
        let by_r2 = Multiplier::new(r2);
        let r4 = r2.times(&by_r2);
        let by_r4 = Multiplier::new(r4);
        match STRANDS {
            1 => {
                let each = [by_r, by_r2, Multiplier::new(r.times(&by_r2)), by_r4];
                Self { each, last: each }
            }
            2 => {
                let first = blend(Strands::<STRANDS>::mask(0), r, r2);
                Self::of_two(by_r2, by_r4, first)
            }
            4 => {
                let first = up_to_r4::<STRANDS>(r, r2, r.times(&by_r2), r4);
                Self::of_two(by_r4, Multiplier::new(r4.times(&by_r4)), first)
            }
            _ => {
                let r8 = r4.times(&by_r4);
                let by_r8 = Multiplier::new(r8);
                let later = up_to_r4::<STRANDS>(r, r2, r.times(&by_r2), r4);
                let earlier = const { Strands::<STRANDS>::masks_below(4) };
                let first = blend(earlier, later, later.times(&by_r4));
                Self::of_two(by_r8, Multiplier::new(r8.times(&by_r8)), first)
            }
        }
    }

    /// For steps of two blocks: r^S, its square, and r^(S - q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn of_two(by_rs: Multiplier, by_rs2: Multiplier, first: Element) -> Self {
        let by_first = Multiplier::new(first);
        let by_second = Multiplier::new(first.times(&by_rs));
        Self { each: [by_rs, by_rs2, by_rs, by_rs], last: [by_first, by_second, by_first, by_first] }
    }
}

/// r^(4 - q) for the strands q and 4 + q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn up_to_r4<const STRANDS: usize>(r: Element, r2: Element, r3: Element, r4: Element) -> Element {
    // A strand that is not there has no lanes.
    let strands = |q: usize| Strands::<STRANDS>::mask(q) | Strands::<STRANDS>::mask(4 + q);
    blend(strands(0), blend(strands(1), blend(strands(2), r, r2), r3), r4)
}

/// `b` in the lanes of `mask`, `a` in the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn blend(mask: u8, a: Element, b: Element) -> Element {
    let (Element([a0, a1, a2]), Element([b0, b1, b2])) = (a, b);
    Element([
        _mm512_mask_blend_epi64(mask, a0, b0),
        _mm512_mask_blend_epi64(mask, a1, b1),
        _mm512_mask_blend_epi64(mask, a2, b2),
    ])
}
