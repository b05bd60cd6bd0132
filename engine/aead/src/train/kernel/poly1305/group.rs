//! The tags of a group of messages at once, their lengths being whatever they are.
//!
//! # Lanes and strands
//!
//! Eight 64-bit lanes are shared by the messages of a group: one lane each for five to eight messages, two for three or four,
//! four for two, and all eight for one. A message's lanes are its *strands*: of its blocks, strand q takes those whose
//! number is q modulo the number of strands S. Poly1305 of blocks b0 … b(n-1) is b0 r^n + b1 r^(n-1) + … + b(n-1) r, so that
//! within a strand one multiplies by r^S from block to block, and with r^(S - q) at the end; then the strands are added up.
//!
//! # Steps
//!
//! A *step* takes the same number of blocks in each strand, four or two, the last as many as are left, with as many powers
//! of r^S and one carry for all of them: a carry after every block would be a chain of dependent instructions. What is
//! fetched in a step is whole rows of 64 bytes.
//!
//! # Different lengths
//!
//! Messages *end* together. What is missing in front is filled up with blocks of zero without the bit at 2^128: they leave an
//! accumulator of zero at zero. So the last step is the same for all of them: it has the lengths, and the powers r^(S - q).
//! Rows that are not entirely inside a text are fetched through a [`Window`](crate::train::kernel::vector::Window).

use core::arch::x86_64::*;

use super::field::{Element, Multiplier, Sum};
use super::layout::Layout;
use super::powers::{Powers, one_time_keys};
use super::strands::{GROUP_MAX, Strands};
use crate::TAG_LEN;
use crate::train::kernel::vector::{BLOCK, Z, from_words, load, store};

/// The tags of a group.
pub(in crate::train::kernel) type Tags = [[u8; TAG_LEN]; GROUP_MAX];

/// The tags of up to `8 / STRANDS` messages under their one-time keys (RFC 8439, section 2.8, without associated data), of
/// which there is one each. What is in the group behind them is as good as absent: nobody reads its tag.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn tags<const STRANDS: usize>(group: &[&[u8]; GROUP_MAX], keys: &[Z]) -> Tags {
    let (r, s) = one_time_keys::<STRANDS>(keys);
    let powers = Powers::of::<STRANDS>(r);
    let layout = Layout::of::<STRANDS>(group);
    let each = &powers.each[..Strands::<STRANDS>::BLOCKS];

    let mut h = Element([_mm512_setzero_si512(); 3]);
    let mut step = 0;
    while step < layout.steps {
        if step == layout.full.start && !layout.full.is_empty() {
            h = absorb_full::<STRANDS>(h, &layout.full_rows::<STRANDS>(group), each);
            step = layout.full.end;
            continue;
        }
        let words = words::<STRANDS>(&layout.partial_rows::<STRANDS>(group, step));
        h = absorb(h, &words, &layout.tops::<STRANDS>(step), each);
        step += 1;
    }
    let last = &powers.last::<STRANDS>()[..layout.last_blocks];
    h = absorb(h, &last_words::<STRANDS>(&layout, group), &layout.tops::<STRANDS>(layout.steps), last);

    in_bytes::<STRANDS>(add_strands::<STRANDS>(h).tag(s))
}

/// The tags of the messages one after the other, out of their lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn in_bytes<const STRANDS: usize>([low, high]: [Z; 2]) -> Tags {
    let mut tags = [[0; TAG_LEN]; GROUP_MAX];
    // Four tags fill a register: for each a word of `low` and the same of `high`, whose words are numbered from 8 on.
    for (half, bytes) in tags.as_flattened_mut().as_chunks_mut().0.iter_mut().enumerate() {
        let places = std::array::from_fn(|word| {
            let message = (4 * half + word / 2) % Strands::<STRANDS>::MESSAGES;
            (Strands::<STRANDS>::lane_of(message) + word % 2 * 8) as u64
        });
        store(bytes, _mm512_permutex2var_epi64(low, from_words(places), high));
    }
    tags
}

/// The words of the last step: what is left of the text, and in the last block the lengths of the associated data, zero,
/// and of the text.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn last_words<const STRANDS: usize>(layout: &Layout, group: &[&[u8]; GROUP_MAX]) -> [Z; 8] {
    let mut last = [_mm512_setzero_si512(); 8];
    // A single block is that of the lengths.
    if STRANDS * layout.last_blocks > 1 {
        last = words::<STRANDS>(&layout.partial_rows::<STRANDS>(group, layout.steps));
    }
    let length = &mut last[2 * layout.last_blocks - 1];
    *length = _mm512_or_si512(*length, layout.lengths::<STRANDS>());
    last
}

/// Adds the blocks of a step to the accumulators, as many as there are `powers`: those of r^S, the lowest, for the last
/// block, first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn absorb(h: Element, words: &[Z; 8], tops: &[Z; 4], powers: &[Multiplier]) -> Element {
    let mut sum = Sum::zero();
    // The first block waits for the accumulator of the step before, so it comes last.
    for (block, power) in (0..powers.len()).rev().zip(powers) {
        let mut element = Element::from_block([words[2 * block], words[2 * block + 1]], tops[block]);
        if block == 0 {
            element = element.plus(h);
        }
        sum.add_product(element, power);
    }
    sum.carry()
}

/// The steps whose rows are inside the text of every message: most of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn absorb_full<const STRANDS: usize>(
    mut h: Element,
    texts: &[&[[u8; BLOCK]]; GROUP_MAX],
    powers: &[Multiplier],
) -> Element {
    let tops = [_mm512_set1_epi64(1); 4];
    let steps = texts[0].len() / Strands::<STRANDS>::MESSAGE_ROWS;
    for step in 0..steps {
        let mut rows = [_mm512_setzero_si512(); 8];
        for (row, bytes) in rows.iter_mut().take(Strands::<STRANDS>::ROWS).enumerate() {
            let (message, part) = Strands::<STRANDS>::row(row);
            *bytes = load(&texts[message][step * Strands::<STRANDS>::MESSAGE_ROWS + part]);
        }
        h = absorb(h, &words::<STRANDS>(&rows), &tops, powers);
    }
    h
}

/// From rows of four blocks each to 64-bit words: `[2i]` and `[2i + 1]` are the low and the high half of the i-th block of
/// every strand, in the lanes of [`Strands::LANES`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn words<const STRANDS: usize>(rows: &[Z; 8]) -> [Z; 8] {
    let zero = _mm512_setzero_si512();
    let [a, b, c, d, e, f, g, h] = *rows;
    let low = |x, y| _mm512_unpacklo_epi64(x, y);
    let high = |x, y| _mm512_unpackhi_epi64(x, y);
    // Of the four quarters of x and of y: the lower two of each, the upper two, the even ones, the odd ones.
    let lower = |x, y| _mm512_shuffle_i64x2::<0x44>(x, y);
    let upper = |x, y| _mm512_shuffle_i64x2::<0xee>(x, y);
    let even = |x, y| _mm512_shuffle_i64x2::<0x88>(x, y);
    let odd = |x, y| _mm512_shuffle_i64x2::<0xdd>(x, y);
    match STRANDS {
        1 => {
            // An 8 × 8 transposition: eight messages, of each one row.
            let (l0, l1, l2, l3) = (low(a, b), low(c, d), low(e, f), low(g, h));
            let (h0, h1, h2, h3) = (high(a, b), high(c, d), high(e, f), high(g, h));
            let (l01, l01_up, l23, l23_up) = (lower(l0, l1), upper(l0, l1), lower(l2, l3), upper(l2, l3));
            let (h01, h01_up, h23, h23_up) = (lower(h0, h1), upper(h0, h1), lower(h2, h3), upper(h2, h3));
            [
                even(l01, l23),
                even(h01, h23),
                odd(l01, l23),
                odd(h01, h23),
                even(l01_up, l23_up),
                even(h01_up, h23_up),
                odd(l01_up, l23_up),
                odd(h01_up, h23_up),
            ]
        }
        2 => {
            // Four messages, of each one row: two blocks for each of its two strands.
            let (l0, l1, h0, h1) = (low(a, b), low(c, d), high(a, b), high(c, d));
            [lower(l0, l1), lower(h0, h1), upper(l0, l1), upper(h0, h1), zero, zero, zero, zero]
        }
        // Two rows at a time are eight blocks: four of each of two messages, or eight of one.
        _ => [low(a, b), high(a, b), low(c, d), high(c, d), zero, zero, zero, zero],
    }
}

/// The total of each message in all of its lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn add_strands<const STRANDS: usize>(h: Element) -> Element {
    let mut sum = h;
    // Each step adds the element with lanes exchanged in which only the strand differs.
    if STRANDS == 2 {
        let Element([x0, x1, x2]) = sum;
        let exchange = |x| _mm512_permutex_epi64::<0x4e>(x);
        sum = sum.plus(Element([exchange(x0), exchange(x1), exchange(x2)]));
    }
    if STRANDS >= 4 {
        let Element([x0, x1, x2]) = sum;
        let exchange = |x| _mm512_shuffle_i64x2::<0x4e>(x, x);
        sum = sum.plus(Element([exchange(x0), exchange(x1), exchange(x2)]));
        let Element([x0, x1, x2]) = sum;
        let exchange = |x| _mm512_shuffle_i64x2::<0xb1>(x, x);
        sum = sum.plus(Element([exchange(x0), exchange(x1), exchange(x2)]));
    }
    if STRANDS == 8 {
        let Element([x0, x1, x2]) = sum;
        let exchange = |x| _mm512_permutex_epi64::<0xb1>(x);
        sum = sum.plus(Element([exchange(x0), exchange(x1), exchange(x2)]));
    }
    sum
}
