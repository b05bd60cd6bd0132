//! Where the blocks of a group's messages are in its steps.

use core::arch::x86_64::*;
use core::ops::Range;

use super::strands::{GROUP_MAX, POLY_BLOCK, Strands};
use crate::train::kernel::vector::{BLOCK, Window, Z, from_words, load};

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
    /// Whether all texts have the same length, so that what is found out for one of them holds for all.
    is_uniform: bool,
}

impl Layout {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
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
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn partial_rows<const STRANDS: usize>(&self, group: &[&[u8]; GROUP_MAX], step: usize) -> [Z; 8] {
        let mut rows = [_mm512_setzero_si512(); 8];
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
                *bytes = window.of(group[message]);
            } else {
                *bytes = row_at(group[message], offset);
            }
        }
        rows
    }

    /// What the full steps take of each text.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
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

    /// For each block of a strand in a step: 1, the bit at 2^128, in the lanes where it is a block of the message, and 0
    /// where it fills up.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn tops<const STRANDS: usize>(&self, step: usize) -> [Z; 4] {
        // Positive in lanes whose message has not yet begun with this step.
        let missing = _mm512_sub_epi64(
            self.by_lane::<STRANDS>(&self.padding),
            _mm512_set1_epi64((step * Strands::<STRANDS>::STEP_BLOCKS) as i64),
        );
        let mut tops = [_mm512_setzero_si512(); 4];
        for (block, top) in tops.iter_mut().take(Strands::<STRANDS>::BLOCKS).enumerate() {
            let mut numbers = [0; 8];
            for (number, (_, strand)) in numbers.iter_mut().zip(Strands::<STRANDS>::LANES) {
                *number = (block * STRANDS + strand) as u64;
            }
            let number = from_words(numbers);
            *top = _mm512_maskz_set1_epi64(_mm512_cmpge_epi64_mask(number, missing), 1);
        }
        tops
    }

    /// The lengths of the texts, in the lanes where the last block is.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn lengths<const STRANDS: usize>(&self) -> Z {
        _mm512_maskz_mov_epi64(Strands::<STRANDS>::mask(STRANDS - 1), self.by_lane::<STRANDS>(&self.lens))
    }

    /// A number of each message in its lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn by_lane<const STRANDS: usize>(&self, numbers: &[usize; GROUP_MAX]) -> Z {
        if self.is_uniform {
            return _mm512_set1_epi64(numbers[0] as i64);
        }
        let mut words = [0; 8];
        for (word, (message, _)) in words.iter_mut().zip(Strands::<STRANDS>::LANES) {
            *word = numbers[message] as u64;
        }
        from_words(words)
    }
}

/// The 64 bytes of a text from `offset` on, zero where it has none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn row_at(text: &[u8], offset: isize) -> Z {
    let Ok(place) = usize::try_from(offset) else {
        // Most of these are as far from the text as this.
        if offset <= -(BLOCK as isize) {
            return _mm512_setzero_si512();
        }
        return Window::new(offset, text.len()).of(text);
    };
    match text.get(place..).and_then(|text| text.first_chunk()) {
        Some(row) => load(row),
        None => Window::new(offset, text.len()).of(text),
    }
}
