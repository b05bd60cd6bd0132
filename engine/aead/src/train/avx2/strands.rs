//! The plan of each pass: which blocks are in its lanes, and what is hashed beside it.
//!
//! There are two *strands*. Each works on one message after the other: it encrypts four blocks in a pass, and hashes
//! what was there before the pass. Whoever is through with a message takes the next one that nobody has. So the two
//! hashes that the assembly works on side by side are always those of two messages, whatever their lengths. When one
//! strand has nothing left, the other one has its lanes as well.

use core::cell::Cell;
use core::ops::Range;

use arrayvec::ArrayVec;

use super::hash::Hash;
use super::job::{Job, Ready};
use super::machine::{Blocks, Lanes, Machine, Run};
use super::pass::{Inputs, LANES, Lane, Piece, Segments};
use super::scratch::Jobs;
use crate::SEGMENTS_MAX;

/// Lanes of a strand, as long as both have work.
pub(super) const SHARE: usize = LANES / 2;
/// Blocks of a hash that are not worth a segment without a companion while the other strand is still at work.
const PATIENCE: usize = 8;

/// Messages that are being worked on.
pub(super) struct Strands<'j, 'b> {
    pub(super) jobs: &'j mut Jobs<'b>,
    strands: [Strand; 2],
    /// A companion for a hash that has none.
    pub(super) dummy: &'b Cell<Hash>,
}

/// Messages, in the order in which they were taken.
#[derive(Default)]
struct Strand {
    taken: ArrayVec<u8, SEGMENTS_MAX>,
    /// Of how many all blocks were given to a pass: one less than were taken, or as many.
    through: usize,
    /// Of how many all of the hash was.
    hashed: usize,
}

/// Messages whose hash ends in a pass.
type Ended = ArrayVec<u8, SEGMENTS_MAX>;

/// What is done with a batch. Messages are counted in the order in which they are worked on, as jobs are.
pub(super) trait Work<'b> {
    /// When a text can be hashed.
    const READY: Ready;

    /// A message that nobody has, if there is one that may be begun.
    fn next(&mut self) -> Option<usize>;

    /// Where this block of a text comes from, and where it goes.
    fn lane(&self, message: usize, job: &Job<'b>, block: usize) -> Lane<'b>;

    /// The same for as many blocks as there are lanes, from this one on.
    #[inline(always)]
    fn lanes(&self, message: usize, job: &Job<'b>, first_block: usize, lanes: &mut [Lane<'b>]) {
        for (lane, block) in lanes.iter_mut().zip(first_block..) {
            *lane = self.lane(message, job, block);
        }
    }

    /// The same for consecutive blocks that are whole.
    #[inline(always)]
    fn inner_lanes(&self, message: usize, job: &Job<'b>, first_block: usize) -> [Lane<'b>; SHARE] {
        core::array::from_fn(|place| self.lane(message, job, first_block + place))
    }

    /// All blocks of a message were made.
    fn through(&mut self, message: usize, job: &Job<'b>);

    /// A message's hash is at its end.
    fn hashed(&mut self, message: usize, job: &Job<'b>);

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool;
}

impl<'j, 'b> Strands<'j, 'b> {
    #[inline(always)]
    pub(super) fn new(jobs: &'j mut Jobs<'b>, dummy: &'b Cell<Hash>) -> Self {
        Self { jobs, strands: [Strand::default(), Strand::default()], dummy }
    }

    /// Pairs of messages that somebody has begun, one for each strand: of how many of them all blocks were given to a
    /// pass, and of how many all of the hash.
    #[inline(always)]
    pub(super) fn take_over(&mut self, begun: Range<usize>, through: usize, hashed: usize) {
        for (side, strand) in self.strands.iter_mut().enumerate() {
            strand.taken.extend(begun.clone().map(|pair| (2 * pair + side) as u8));
            (strand.through, strand.hashed) = (through, hashed);
        }
    }

    /// Does the work, pass by pass.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn run<W: Work<'b>>(&mut self, machine: &mut Machine<'b>, work: &mut W) {
        while !work.is_over() {
            let mut ended = Ended::new();
            self.fill(machine.keys, work, &mut machine.lanes);
            if machine.lanes.count > 0 {
                self.beside(&mut machine.segments, &mut ended);
                machine.make();
                for run in &machine.lanes.runs {
                    let job = &mut self.jobs[run.message];
                    if run.first_block == 0 {
                        job.set_key(&machine.keys[run.lane]);
                    }
                    if job.is_through() {
                        work.through(run.message, job);
                    }
                    job.set_ready(W::READY);
                }
            } else {
                self.hash_alone(&mut ended);
            }
            for message in ended.into_iter().map(usize::from) {
                work.hashed(message, &self.jobs[message]);
            }
        }
    }

    /// Fills the lanes of a pass. What is no block of a text goes to `scratch`: one-time keys, and lanes for which
    /// there is nothing to do.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn fill(&mut self, scratch: &'b Blocks, work: &mut impl Work<'b>, filled: &mut Lanes<'b>) {
        let (mut inputs, mut count) = (Inputs::new(), 0);
        filled.runs.clear();
        for (strand, end) in [(0, SHARE), (1, LANES), (0, LANES)] {
            let strand = &mut self.strands[strand];
            while count < end {
                if strand.through == strand.taken.len() {
                    let Some(message) = work.next() else { break };
                    strand.taken.push(message as u8);
                }
                let message = usize::from(strand.taken[strand.through]);
                let job = &mut self.jobs[message];
                let first_block = job.next;
                let blocks = (job.blocks - first_block).min(end - count);
                inputs.set(count, job.counter, first_block);
                filled.runs.push(Run { message, first_block, lane: count });
                let lanes = &mut filled.lanes[count..count + blocks];
                for (lane, block) in lanes.iter_mut().zip(first_block..) {
                    *lane = match block {
                        0 => Lane::key_stream(&scratch[count]),
                        _ => work.lane(message, job, block),
                    };
                }
                job.next += blocks;
                strand.through += usize::from(job.is_through());
                count += blocks;
            }
        }
        for (lane, place) in filled.lanes.iter_mut().zip(scratch).skip(count) {
            *lane = Lane::key_stream(place);
        }
        (filled.inputs, filled.count) = (inputs, count);
    }

    /// What is hashed beside a pass. Messages whose hash ends with that are added to `ended`.
    #[inline(always)]
    fn beside(&mut self, segments: &mut Segments<'b>, ended: &mut Ended) {
        segments.clear();
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
    }

    /// Hashes what there is, without a pass. Returns whether there was any.
    #[inline(always)]
    fn hash_alone(&mut self, ended: &mut Ended) -> bool {
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
        let companion = |piece: Piece<'b>| Piece { hash: self.dummy, ..piece };
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
    for (block_a, block_b) in a.blocks.iter().zip(b.blocks) {
        hash_a.add(block_a);
        hash_b.add(block_b);
    }
    a.hash.set(hash_a);
    b.hash.set(hash_b);
}
