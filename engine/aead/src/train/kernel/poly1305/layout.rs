//! Where the blocks of a group's messages are in its steps.

use core::ops::Range;

use super::strands::{GROUP_MAX, POLY_BLOCK, Strands};
use crate::train::kernel::vector::{BLOCK, Wide, Window};

/// The places of a group. Only lengths are looked at, which are no secret.
pub(super) struct Layout {
    /// Whole steps of the longest message, and so of all. The last step comes after them.
    pub(super) steps: usize,
    /// Blocks of each strand in the last step, from 1 to as many as in the others.
    pub(super) last_blocks: usize,
    /// The steps whose rows are entirely inside every text.
    pub(super) full: Range<usize>,
    /// Bytes of each text, and blocks that fill up in front of it.
    lens: [usize; GROUP_MAX],
    padding: [usize; GROUP_MAX],
    /// Whether all texts have the same length, so what is found out for one of them holds for all.
    is_uniform: bool,
}

impl Layout {
    #[inline(always)]
    pub(super) fn of<const STRANDS: usize>(group: &[&[u8]; GROUP_MAX]) -> Self {
        let step_blocks = Strands::<STRANDS>::STEP_BLOCKS;
        let used = &group[..Strands::<STRANDS>::MESSAGES];
        let mut longest = used[0].len();
        let is_uniform = used.iter().all(|text| text.len() == longest);
        if !is_uniform {
            longest = used.iter().map(|text| text.len()).max().unwrap_or(0);
        }
        // The text in blocks, and the block of lengths.
        let blocks = |len: usize| len.div_ceil(POLY_BLOCK) + 1;
        let strand_blocks = blocks(longest).div_ceil(STRANDS);
        let last_blocks = (strand_blocks - 1) % Strands::<STRANDS>::BLOCKS + 1;
        let steps = (strand_blocks - last_blocks) / Strands::<STRANDS>::BLOCKS;

        let fills = |len: usize| strand_blocks * STRANDS - blocks(len);
        let (mut lens, mut padding) = ([longest; GROUP_MAX], [fills(longest); GROUP_MAX]);
        let (mut start, mut end) = (0, steps);
        let looked_at = if is_uniform { 1 } else { Strands::<STRANDS>::MESSAGES };
        for message in 0..looked_at {
            let len = group[message].len();
            (lens[message], padding[message]) = (len, fills(len));
            start = start.max(fills(len).div_ceil(step_blocks));
            end = end.min((fills(len) * POLY_BLOCK + len) / (step_blocks * POLY_BLOCK));
        }
        let start = start.min(steps);
        Self { steps, last_blocks, full: start..end.max(start), lens, padding, is_uniform }
    }

    /// The rows of any step, zero where there is no text.
    #[inline(always)]
    pub(super) fn partial_rows<const STRANDS: usize, V: Wide>(
        &self,
        v: V,
        group: &[&[u8]; GROUP_MAX],
        step: usize,
    ) -> [V::Word; 8] {
        v.run(
            #[inline(always)]
            || {
                let mut rows = [v.zero(); 8];
                let mut window = Window::new(0, 0);
                for (row, bytes) in rows.iter_mut().take(Strands::<STRANDS>::ROWS).enumerate() {
                    let (message, part) = Strands::<STRANDS>::row(row);
                    let block = (step * Strands::<STRANDS>::STEP_BLOCKS) as isize - self.padding[message] as isize;
                    let offset = block * POLY_BLOCK as isize + (part * BLOCK) as isize;
                    if self.is_uniform {
                        // Every row of a part has its place where that of the first message has it.
                        if message == 0 {
                            window = Window::new(offset, self.lens[0]);
                        }
                        *bytes = window.of(v, group[message]);
                    } else {
                        *bytes = row_at(v, group[message], offset);
                    }
                }
                rows
            },
        )
    }

    /// What the full steps take of each text.
    #[inline(always)]
    pub(super) fn full_rows<'a, const STRANDS: usize>(
        &self,
        group: &[&'a [u8]; GROUP_MAX],
    ) -> [&'a [[u8; BLOCK]]; GROUP_MAX] {
        let mut rows: [&[[u8; BLOCK]]; GROUP_MAX] = [&[]; GROUP_MAX];
        if self.full.is_empty() {
            return rows;
        }
        for message in 0..Strands::<STRANDS>::MESSAGES {
            let first = (self.full.start * Strands::<STRANDS>::STEP_BLOCKS - self.padding[message]) * POLY_BLOCK;
            let count = self.full.len() * Strands::<STRANDS>::MESSAGE_ROWS;
            rows[message] = &group[message][first..].as_chunks().0[..count];
        }
        rows
    }

    /// For each block of a strand in a step: 1, the bit at 2^128, in the lanes where it is a block of the message, and
    /// 0 where it fills up.
    #[inline(always)]
    pub(super) fn tops<const STRANDS: usize, V: Wide>(&self, v: V, step: usize) -> [V::Word; 4] {
        // Positive in lanes whose message has not yet begun with this step.
        let missing = v.subtract(
            self.by_lane::<STRANDS, V>(v, &self.padding),
            v.splat((step * Strands::<STRANDS>::STEP_BLOCKS) as u64),
        );
        let mut tops = [v.zero(); 4];
        for (block, top) in tops.iter_mut().take(Strands::<STRANDS>::BLOCKS).enumerate() {
            let mut numbers = [0; 8];
            for (number, (_, strand)) in numbers.iter_mut().zip(Strands::<STRANDS>::LANES) {
                *number = (block * STRANDS + strand) as u64;
            }
            let is_there = v.at_least_signed(v.with_words(numbers), missing);
            *top = v.blend(is_there, v.zero(), v.splat(1));
        }
        tops
    }

    /// The lengths of the texts, in the lanes where the last block is.
    #[inline(always)]
    pub(super) fn lengths<const STRANDS: usize, V: Wide>(&self, v: V) -> V::Word {
        v.blend(Strands::<STRANDS>::mask(STRANDS - 1), v.zero(), self.by_lane::<STRANDS, V>(v, &self.lens))
    }

    /// A number of each message in its lanes.
    #[inline(always)]
    fn by_lane<const STRANDS: usize, V: Wide>(&self, v: V, numbers: &[usize; GROUP_MAX]) -> V::Word {
        if self.is_uniform {
            return v.splat(numbers[0] as u64);
        }
        let mut words = [0; 8];
        for (word, (message, _)) in words.iter_mut().zip(Strands::<STRANDS>::LANES) {
            *word = numbers[message] as u64;
        }
        v.with_words(words)
    }
}

/// The 64 bytes of a text from `offset` on, zero where it has none.
#[inline(always)]
fn row_at<V: Wide>(v: V, text: &[u8], offset: isize) -> V::Word {
    let Ok(place) = usize::try_from(offset) else {
        // Most of these are as far from the text as this.
        if offset <= -(BLOCK as isize) {
            return v.zero();
        }
        return Window::new(offset, text.len()).of(v, text);
    };
    match text.get(place..).and_then(|text| text.first_chunk()) {
        Some(row) => v.load(row),
        None => Window::new(offset, text.len()).of(v, text),
    }
}
