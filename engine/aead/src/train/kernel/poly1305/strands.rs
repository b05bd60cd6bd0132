//! How the lanes of a register are shared by the messages of a group.

use super::field::PRODUCTS_MAX;
use crate::train::kernel::vector::BLOCK;

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

    /// The message and the strand in each lane, as [`words`](super::group::words) leaves them.
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
