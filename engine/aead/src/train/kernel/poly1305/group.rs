//! The tags of a group of messages at once, their lengths being whatever they are.
//!
//! # Lanes and strands
//!
//! The messages of a group share eight 64-bit lanes: one lane each for five to eight messages, two for three or four,
//! four for two, all eight for one. A message's lanes are its *strands*: of its blocks, strand q takes those whose
//! number is q modulo the number of strands S. Poly1305 of blocks b0 … b(n-1) is b0 r^n + b1 r^(n-1) + … + b(n-1) r. So
//! within a strand one multiplies by r^S from block to block, and with r^(S - q) at the end. Then the strands are added
//! up.
//!
//! # Steps
//!
//! A *step* takes the same number of blocks in each strand: four or two, the last as many as are left. It takes as many
//! powers of r^S, and one carry for all of them. A carry after every block would be a chain of dependent instructions.
//! What is fetched in a step is whole rows of 64 bytes.
//!
//! # Different lengths
//!
//! Messages *end* together. What is missing in front is filled up with blocks of zero without the bit at 2^128: they
//! leave an accumulator of zero at zero. So the last step is the same for all of them: it has the lengths, and the
//! powers r^(S - q). Rows that are not entirely inside a text are fetched through a
//! [`Window`](crate::train::kernel::vector::Window).

use super::field::{Element, Multiplier, Sum};
use super::layout::Layout;
use super::powers::{Powers, one_time_keys};
use super::strands::{GROUP_MAX, Strands, words};
use crate::TAG_LEN;
use crate::train::kernel::vector::{BLOCK, Wide};

/// The tags of a group.
pub(in crate::train::kernel) type Tags = [[u8; TAG_LEN]; GROUP_MAX];

/// The tags of up to `8 / STRANDS` messages under their one-time keys (RFC 8439, section 2.8, without associated data),
/// of which there is one each. What is in the group behind them is as good as absent: nobody reads its tag.
#[inline(always)]
pub(super) fn tags<const STRANDS: usize, V: Wide>(v: V, group: &[&[u8]; GROUP_MAX], keys: &[V::Word]) -> Tags {
    v.run(
        #[inline(always)]
        || {
            let (r, s) = one_time_keys::<STRANDS, V>(v, keys);
            let powers = Powers::of::<STRANDS>(v, r);
            let layout = Layout::of::<STRANDS>(group);
            let each = &powers.each[..Strands::<STRANDS>::BLOCKS];

            let mut h = Element([v.zero(); 3]);
            let mut step = 0;
            while step < layout.steps {
                if step == layout.full.start && !layout.full.is_empty() {
                    h = absorb_full::<STRANDS, V>(v, h, &layout.full_rows::<STRANDS>(group), each);
                    step = layout.full.end;
                    continue;
                }
                let words = words::<STRANDS, V>(v, &layout.partial_rows::<STRANDS, V>(v, group, step));
                h = absorb(v, h, &words, &layout.tops::<STRANDS, V>(v, step), each);
                step += 1;
            }
            let last = &powers.last::<STRANDS>()[..layout.last_blocks];
            let words = last_words::<STRANDS, V>(v, &layout, group);
            h = absorb(v, h, &words, &layout.tops::<STRANDS, V>(v, layout.steps), last);

            in_bytes::<STRANDS, V>(v, add_strands::<STRANDS, V>(v, h).tag(v, s))
        },
    )
}

/// The tags of the messages one after the other, out of their lanes.
#[inline(always)]
fn in_bytes<const STRANDS: usize, V: Wide>(v: V, [low, high]: [V::Word; 2]) -> Tags {
    let mut tags = [[0; TAG_LEN]; GROUP_MAX];
    // Four tags fill a register: for each a word of `low` and the same of `high`, whose words are numbered from 8 on.
    for (half, bytes) in tags.as_flattened_mut().as_chunks_mut().0.iter_mut().enumerate() {
        let mut places = [0; 8];
        for (word, place) in places.iter_mut().enumerate() {
            let message = (4 * half + word / 2) % Strands::<STRANDS>::MESSAGES;
            *place = (Strands::<STRANDS>::lane_of(message) + word % 2 * 8) as u64;
        }
        v.store(bytes, v.pick(v.with_words(places), low, high));
    }
    tags
}

/// The words of the last step: what is left of the text, and in the last block the lengths of the associated data,
/// zero, and of the text.
#[inline(always)]
fn last_words<const STRANDS: usize, V: Wide>(v: V, layout: &Layout, group: &[&[u8]; GROUP_MAX]) -> [V::Word; 8] {
    let mut last = [v.zero(); 8];
    // A single block is that of the lengths.
    if STRANDS * layout.last_blocks > 1 {
        last = words::<STRANDS, V>(v, &layout.partial_rows::<STRANDS, V>(v, group, layout.steps));
    }
    let length = &mut last[2 * layout.last_blocks - 1];
    *length = v.or(*length, layout.lengths::<STRANDS, V>(v));
    last
}

/// Adds the blocks of a step to the accumulators, as many as there are `powers`: those of r^S, the lowest, for the last
/// block, first.
#[inline(always)]
fn absorb<V: Wide>(
    v: V,
    h: Element<V>,
    words: &[V::Word; 8],
    tops: &[V::Word; 4],
    powers: &[Multiplier<V>],
) -> Element<V> {
    let mut sum = Sum::zero(v);
    // The first block waits for the accumulator of the step before, so it comes last.
    for (block, power) in (0..powers.len()).rev().zip(powers) {
        let mut element = Element::from_block(v, [words[2 * block], words[2 * block + 1]], tops[block]);
        if block == 0 {
            element = element.plus(v, h);
        }
        sum.add_product(v, element, power);
    }
    sum.carry(v)
}

/// The steps whose rows are inside the text of every message: most of them.
#[inline(always)]
fn absorb_full<const STRANDS: usize, V: Wide>(
    v: V,
    mut h: Element<V>,
    texts: &[&[[u8; BLOCK]]; GROUP_MAX],
    powers: &[Multiplier<V>],
) -> Element<V> {
    let tops = [v.splat(1); 4];
    let steps = texts[0].len() / Strands::<STRANDS>::MESSAGE_ROWS;
    for step in 0..steps {
        let mut rows = [v.zero(); 8];
        for (row, bytes) in rows.iter_mut().take(Strands::<STRANDS>::ROWS).enumerate() {
            let (message, part) = Strands::<STRANDS>::row(row);
            *bytes = v.load(&texts[message][step * Strands::<STRANDS>::MESSAGE_ROWS + part]);
        }
        h = absorb(v, h, &words::<STRANDS, V>(v, &rows), &tops, powers);
    }
    h
}

/// The total of each message in all of its lanes.
#[inline(always)]
fn add_strands<const STRANDS: usize, V: Wide>(v: V, h: Element<V>) -> Element<V> {
    let mut sum = h;
    // Each step adds the element with lanes exchanged in which only the strand differs.
    if STRANDS == 2 {
        let Element([x0, x1, x2]) = sum;
        let exchanged = [v.permute_64::<0x4e>(x0), v.permute_64::<0x4e>(x1), v.permute_64::<0x4e>(x2)];
        sum = sum.plus(v, Element(exchanged));
    }
    if STRANDS >= 4 {
        let Element([x0, x1, x2]) = sum;
        let exchanged = [v.quarters::<0x4e>(x0, x0), v.quarters::<0x4e>(x1, x1), v.quarters::<0x4e>(x2, x2)];
        sum = sum.plus(v, Element(exchanged));
        let Element([x0, x1, x2]) = sum;
        let exchanged = [v.quarters::<0xb1>(x0, x0), v.quarters::<0xb1>(x1, x1), v.quarters::<0xb1>(x2, x2)];
        sum = sum.plus(v, Element(exchanged));
    }
    if STRANDS == 8 {
        let Element([x0, x1, x2]) = sum;
        let exchanged = [v.permute_64::<0xb1>(x0), v.permute_64::<0xb1>(x1), v.permute_64::<0xb1>(x2)];
        sum = sum.plus(v, Element(exchanged));
    }
    sum
}
