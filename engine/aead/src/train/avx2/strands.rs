//! The plan of each pass: which blocks are in its lanes, and what is hashed beside it.
//!
//! There are two *strands*. Each works on one message after the other: it encrypts four blocks in a pass, and hashes
//! what was there before the pass. Whoever is through with a message takes the next one that nobody has. So the two
//! hashes that the assembly works on side by side are always those of two messages, whatever their lengths. When one
//! strand has nothing left, the other one has its lanes as well.

use core::cell::Cell;

use arrayvec::ArrayVec;

use super::hash::{Hash, POLY_BLOCK};
use super::job::Job;
use super::pass::{BLOCK, Inputs, LANES, Lane, Piece, Segments};
use super::scratch::Jobs;
use crate::SEGMENTS_MAX;

/// Lanes of a strand, as long as both have work.
const SHARE: usize = LANES / 2;
/// Blocks of a hash that are not worth a segment without a companion while the other strand is still at work.
const PATIENCE: usize = 8;

/// Messages that are being worked on.
pub(super) struct Strands<'j, 'b> {
    pub(super) jobs: &'j mut Jobs<'b>,
    strands: [Strand; 2],
    /// A companion for a hash that has none.
    pub(super) dummy: &'b Cell<Hash>,
}

/// Messages, by their place in the batch, in the order in which they were taken.
#[derive(Default)]
struct Strand {
    taken: ArrayVec<u8, SEGMENTS_MAX>,
    /// Of how many all blocks were given to a pass: one less than were taken, or as many.
    through: usize,
    /// Of how many all of the hash was.
    hashed: usize,
}

/// Consecutive blocks of one message in the lanes of a pass.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) message: usize,
    pub(super) first_block: usize,
    pub(super) lane: usize,
}

/// Messages whose hash ends in a pass.
pub(super) type Ended = ArrayVec<u8, SEGMENTS_MAX>;

/// Where the strands get their work from.
pub(super) trait Feed<'b> {
    /// A message that nobody has, if there is one that may be begun.
    fn next(&mut self) -> Option<usize>;

    /// Where this block of a text comes from, and where it goes.
    fn lane(&mut self, message: usize, job: &Job<'b>, block: usize) -> Lane<'b>;
}

/// What the lanes of a pass are for.
pub(super) struct Lanes<'b> {
    pub(super) lanes: [Lane<'b>; LANES],
    pub(super) inputs: Inputs,
    pub(super) runs: ArrayVec<Run, LANES>,
    pub(super) count: usize,
}

impl<'j, 'b> Strands<'j, 'b> {
    #[inline(always)]
    pub(super) fn new(jobs: &'j mut Jobs<'b>, dummy: &'b Cell<Hash>) -> Self {
        Self { jobs, strands: [Strand::default(), Strand::default()], dummy }
    }

    /// Fills the lanes of a pass. What is no block of a text goes to `scratch`: one-time keys, and lanes for which
    /// there is nothing to do.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn fill(&mut self, scratch: &'b [[Cell<u8>; BLOCK]; LANES], feed: &mut impl Feed<'b>) -> Lanes<'b> {
        let lanes = scratch.each_ref().map(Lane::key_stream);
        let mut filled = Lanes { lanes, inputs: Inputs::new(), runs: ArrayVec::new(), count: 0 };
        for (strand, end) in [(0, SHARE), (1, LANES), (0, LANES)] {
            while filled.count < end {
                let strand = &mut self.strands[strand];
                if strand.through == strand.taken.len() {
                    let Some(message) = feed.next() else { break };
                    strand.taken.push(message as u8);
                }
                let message = usize::from(strand.taken[strand.through]);
                let job = &mut self.jobs[message];
                let (first_block, first_lane) = (job.next, filled.count);
                let blocks = (job.blocks - first_block).min(end - first_lane);
                filled.inputs.set(first_lane, job.counter, first_block);
                filled.runs.push(Run { message, first_block, lane: first_lane });
                let of_text = usize::from(first_block == 0);
                for place in of_text..blocks {
                    filled.lanes[first_lane + place] = feed.lane(message, job, first_block + place);
                }
                job.next += blocks;
                strand.through += usize::from(job.is_through());
                filled.count += blocks;
            }
        }
        filled
    }

    /// What is hashed beside a pass. Messages whose hash ends with that are added to `ended`.
    #[inline(always)]
    pub(super) fn beside(&mut self, ended: &mut Ended) -> Segments<'b> {
        let mut segments = Segments::new();
        while segments.room() > 0 {
            let available = self.available();
            let count = match available {
                [0, 0] => break,
                [count, 0] | [0, count] if count < PATIENCE && self.strands.iter().all(Strand::has_hash) => break,
                [count, 0] | [0, count] => count,
                [a, b] => a.min(b),
            };
            segments.push(self.take(available, count.min(segments.room()), ended));
        }
        segments
    }

    /// Hashes what there is, without a pass. Returns whether there was any.
    #[inline(always)]
    pub(super) fn hash_alone(&mut self, ended: &mut Ended) -> bool {
        let before = ended.len();
        let mut any = false;
        loop {
            let available = self.available();
            let count = match available {
                [0, 0] => return any || ended.len() > before,
                [count, 0] | [0, count] => count,
                [a, b] => a.min(b),
            };
            any = true;
            let pieces = self.take(available, count, ended);
            hash_pair(pieces);
        }
    }

    #[inline(always)]
    fn available(&self) -> [usize; 2] {
        self.strands.each_ref().map(|strand| strand.hashing().map_or(0, |message| self.jobs[message].available()))
    }

    /// Takes as much from both strands. One that has nothing gets the other's text, for nobody.
    #[inline(always)]
    fn take(&mut self, available: [usize; 2], count: usize, ended: &mut Ended) -> [Piece<'b>; 2] {
        let mut pieces = [None; 2];
        for (side, piece) in pieces.iter_mut().enumerate() {
            let strand = &mut self.strands[side];
            if let Some(message) = strand.hashing().filter(|_| available[side] > 0) {
                let job = &mut self.jobs[message];
                *piece = Some(job.take(count));
                if job.is_hashed() {
                    strand.hashed += 1;
                    ended.push(message as u8);
                }
            }
        }
        let companion = |piece: Piece<'b>| Piece { hash: self.dummy, text: piece.text };
        match pieces {
            [Some(a), Some(b)] => [a, b],
            [Some(a), None] => [a, companion(a)],
            [None, Some(b)] => [companion(b), b],
            [None, None] => unreachable!("one of them has something"),
        }
    }
}

impl Strand {
    /// The message whose hash is next.
    #[inline(always)]
    fn hashing(&self) -> Option<usize> {
        self.taken.get(self.hashed).map(|message| usize::from(*message))
    }

    /// Whether there is a message whose hash is not at its end.
    #[inline(always)]
    fn has_hash(&self) -> bool {
        self.hashed < self.taken.len()
    }
}

/// Two hashes at once: neither waits for the other.
#[inline(always)]
fn hash_pair([a, b]: [Piece<'_>; 2]) {
    let (mut hash_a, mut hash_b) = (a.hash.get(), b.hash.get());
    let blocks = a.text.as_chunks::<POLY_BLOCK>().0.iter().zip(b.text.as_chunks::<POLY_BLOCK>().0);
    for (block_a, block_b) in blocks {
        hash_a.add(&block_a.each_ref().map(Cell::get));
        hash_b.add(&block_b.each_ref().map(Cell::get));
    }
    a.hash.set(hash_a);
    b.hash.set(hash_b);
}
