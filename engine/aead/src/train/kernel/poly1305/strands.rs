//! How the lanes of a register are shared by the messages of a group.

use super::field::PRODUCTS_MAX;
use crate::train::kernel::vector::{BLOCK, Wide};

/// Bytes of a block of Poly1305.
pub(super) const POLY_BLOCK: usize = 16;
/// Lanes of a register.
const LANES: usize = 8;
/// Most messages in a group.
pub(in crate::train::kernel) const GROUP_MAX: usize = LANES;

/// The arrangement for a number of strands: how rows, blocks and lanes belong to each other.
pub(super) struct Strands<const STRANDS: usize>;

impl<const STRANDS: usize> Strands<STRANDS> {
    /// Messages in a group.
    pub(super) const MESSAGES: usize = LANES / STRANDS;
    /// Blocks of each strand in a step.
    pub(super) const BLOCKS: usize = if STRANDS == 1 { 4 } else { 2 };
    /// Blocks of each message in a step.
    pub(super) const STEP_BLOCKS: usize = STRANDS * Self::BLOCKS;
    /// Rows of each message in a step.
    pub(super) const MESSAGE_ROWS: usize = Self::STEP_BLOCKS * POLY_BLOCK / BLOCK;
    /// Rows of all messages in a step.
    pub(super) const ROWS: usize = Self::MESSAGES * Self::MESSAGE_ROWS;

    /// The message and the strand in each lane, as [`words`] leaves them.
    pub(super) const LANES: [(usize, usize); LANES] = match STRANDS {
        1 => [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0)],
        2 => [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (3, 0), (2, 1), (3, 1)],
        4 => [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)],
        8 => [(0, 0), (0, 4), (0, 1), (0, 5), (0, 2), (0, 6), (0, 3), (0, 7)],
        _ => panic!("lanes are shared by 1, 2, 4 or 8 strands"),
    };

    /// The lane where a message's total is read. All of its lanes have it.
    pub(super) const fn lane_of(message: usize) -> usize {
        let mut lane = 0;
        while Self::LANES[lane].0 != message {
            lane += 1;
        }
        lane
    }

    /// The lanes of one strand.
    pub(super) const fn mask(strand: usize) -> u8 {
        let (mut mask, mut lane) = (0, 0);
        while lane < LANES {
            if Self::LANES[lane].1 == strand {
                mask |= 1 << lane;
            }
            lane += 1;
        }
        mask
    }

    /// The lanes of the strands below `end`.
    pub(super) const fn masks_below(end: usize) -> u8 {
        let (mut masks, mut strand) = (0, 0);
        while strand < end {
            masks |= Self::mask(strand);
            strand += 1;
        }
        masks
    }

    /// Row `row` of a step: whose it is, and which of that message's.
    pub(super) const fn row(row: usize) -> (usize, usize) {
        (row % Self::MESSAGES, row / Self::MESSAGES)
    }
}

const _: () = assert!(Strands::<1>::BLOCKS as u64 <= PRODUCTS_MAX && Strands::<8>::BLOCKS as u64 <= PRODUCTS_MAX);

/// From rows of four blocks each to 64-bit words: `[2i]` and `[2i + 1]` are the low and the high half of the i-th block
/// of every strand, in the lanes of [`Strands::LANES`].
#[inline(always)]
pub(super) fn words<const STRANDS: usize, V: Wide>(v: V, rows: &[V::Word; 8]) -> [V::Word; 8] {
    let zero = v.zero();
    let [a, b, c, d, e, f, g, h] = *rows;
    let low = |x, y| v.low_64(x, y);
    let high = |x, y| v.high_64(x, y);
    // Of the four quarters of x and of y: the lower two of each, the upper two, the even ones, the odd ones.
    let lower = |x, y| v.quarters::<0x44>(x, y);
    let upper = |x, y| v.quarters::<0xee>(x, y);
    let even = |x, y| v.quarters::<0x88>(x, y);
    let odd = |x, y| v.quarters::<0xdd>(x, y);
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
