//! Messages of one length, two at a time: what a train is, except for its end.
//!
//! Both strands do the same here, each with its own message, so a pass is planned once for both, and a few numbers say
//! how far all of them have come. It is half of the planning, which for short messages takes as long as the rounds.

use super::job::{Job, Ready};
use super::machine::{Blocks, Lanes, Machine};
use super::pass::{Inputs, Lane};
use super::scratch::Jobs;
use super::strands::{SHARE, Strands, Work};
use crate::SEGMENTS_MAX;

/// How far the pairs have come.
struct Twins {
    /// The messages of the pairs that were begun, apart: two bytes that were stored one by one cannot be loaded as one
    /// without a stall.
    begun: [[u8; SEGMENTS_MAX / 2]; 2],
    count: usize,
    /// Of how many all blocks were given to a pass, and the next block of the one behind them.
    through: usize,
    next: usize,
    /// Of how many all of the hash was, and how many blocks of the one behind them.
    hashed: usize,
    blocks_hashed: usize,
}

/// A pair's blocks in a pass, in the same lanes of both halves.
#[derive(Clone, Copy, Default)]
struct TwinRun {
    pair: usize,
    first_block: usize,
    lane: usize,
}

/// Does the work for that many pairs, of which `like` is a message, as long as they fill the lanes of passes. Leaves
/// the rest to `strands`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn run<'b, W: Work<'b>>(
    machine: &mut Machine<'b>,
    work: &mut W,
    strands: &mut Strands<'_, 'b>,
    like: Job<'b>,
    pairs: usize,
) {
    let mut twins =
        Twins { begun: [[0; SEGMENTS_MAX / 2]; 2], count: 0, through: 0, next: 0, hashed: 0, blocks_hashed: 0 };
    let mut runs = [TwinRun::default(); SHARE];
    while (pairs - twins.through) * like.blocks - twins.next >= SHARE {
        let (through, next, hashed) = (twins.through, twins.next, twins.hashed);
        let count = twins.fill(&mut machine.lanes, machine.keys, work, strands.jobs, &like, &mut runs);
        if count == 0 {
            break;
        }
        twins.beside(machine, strands.jobs, &like, W::READY, through, next);
        machine.make();
        for run in &runs[..count] {
            for side in 0..2 {
                let message = twins.message(side, run.pair);
                let job = &mut strands.jobs[message];
                if run.first_block == 0 {
                    job.set_key(&machine.keys[run.lane + SHARE * side]);
                }
                if run.pair < twins.through {
                    work.through(message, job);
                }
            }
        }
        for pair in hashed..twins.hashed {
            for side in 0..2 {
                let message = twins.message(side, pair);
                work.hashed(message, &strands.jobs[message]);
            }
        }
    }
    twins.hand_over::<W>(strands);
}

impl Twins {
    #[inline(always)]
    fn message(&self, side: usize, pair: usize) -> usize {
        self.begun[side][pair].into()
    }

    /// Fills the lanes of a pass. Returns the number of runs.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn fill<'b, W: Work<'b>>(
        &mut self,
        lanes: &mut Lanes<'b>,
        keys: &'b Blocks,
        work: &mut W,
        jobs: &Jobs<'b>,
        like: &Job<'b>,
        runs: &mut [TwinRun; SHARE],
    ) -> usize {
        let (mut inputs, mut lane, mut count) = (Inputs::new(), 0, 0);
        let [lanes_a, lanes_b] = lanes.lanes.as_chunks_mut::<SHARE>().0 else { unreachable!("twice as many") };
        let [keys_a, keys_b] = keys.as_chunks::<SHARE>().0 else { unreachable!("twice as many") };
        if self.next > 0 && self.next + SHARE < like.blocks {
            // In the middle of long messages: most passes of them.
            let (a, b) = (self.message(0, self.through), self.message(1, self.through));
            lanes.inputs.set_twins(0, [jobs[a].counter, jobs[b].counter], self.next);
            *lanes_a = work.inner_lanes(a, &jobs[a], self.next);
            *lanes_b = work.inner_lanes(b, &jobs[b], self.next);
            runs[0] = TwinRun { pair: self.through, first_block: self.next, lane: 0 };
            self.next += SHARE;
            return 1;
        }
        while lane < SHARE {
            if self.count == self.through {
                // There is always an even number that may be begun.
                let (Some(a), Some(b)) = (work.next(), work.next()) else { break };
                self.begun[0][self.count] = a as u8;
                self.begun[1][self.count] = b as u8;
                self.count += 1;
            }
            let (a, b) = (self.message(0, self.through), self.message(1, self.through));
            let (job_a, job_b) = (&jobs[a], &jobs[b]);
            let (first_block, blocks) = (self.next, (like.blocks - self.next).min(SHARE - lane));
            inputs.set_twins(lane, [job_a.counter, job_b.counter], first_block);
            for (place, block) in (lane..lane + blocks).zip(first_block..) {
                (lanes_a[place], lanes_b[place]) = match block {
                    0 => (Lane::key_stream(&keys_a[place]), Lane::key_stream(&keys_b[place])),
                    _ => (work.lane(a, job_a, block), work.lane(b, job_b, block)),
                };
            }
            runs[count] = TwinRun { pair: self.through, first_block, lane };
            count += 1;
            lane += blocks;
            self.next += blocks;
            if self.next == like.blocks {
                (self.through, self.next) = (self.through + 1, 0);
            }
        }
        for place in lane..SHARE {
            (lanes_a[place], lanes_b[place]) = (Lane::key_stream(&keys_a[place]), Lane::key_stream(&keys_b[place]));
        }
        lanes.inputs = inputs;
        count
    }

    /// What is hashed beside a pass: what there was before it, when `through` pairs were and `next` was the next block.
    #[inline(always)]
    fn beside<'b>(
        &mut self,
        machine: &mut Machine<'b>,
        jobs: &Jobs<'b>,
        like: &Job<'b>,
        ready: Ready,
        through: usize,
        next: usize,
    ) {
        let segments = &mut machine.segments;
        segments.clear();
        while segments.room() > 0 {
            let there = match self.hashed {
                pair if pair < through => like.all,
                pair if pair == through && next > 0 => like.hashable(ready, next),
                _ => break,
            };
            let available = like.side_by_side(self.blocks_hashed, there);
            if available == 0 {
                break;
            }
            let count = available.min(segments.room());
            let (a, b) = (&jobs[self.message(0, self.hashed)], &jobs[self.message(1, self.hashed)]);
            segments.push([a.piece(self.blocks_hashed, count), b.piece(self.blocks_hashed, count)]);
            self.blocks_hashed += count;
            if self.blocks_hashed == like.all {
                (self.hashed, self.blocks_hashed) = (self.hashed + 1, 0);
            }
        }
    }

    /// Writes down for each message how far it has come.
    #[inline(always)]
    fn hand_over<'b, W: Work<'b>>(self, strands: &mut Strands<'_, 'b>) {
        // Of those before both, nothing is left to do.
        let start = self.through.min(self.hashed);
        for (pair, side) in (start..self.count).flat_map(|pair| [(pair, 0), (pair, 1)]) {
            let job = &mut strands.jobs[self.message(side, pair)];
            job.next = if pair < self.through { job.blocks } else { self.next };
            job.hashed = match self.hashed {
                hashed if pair < hashed => job.all,
                hashed if pair == hashed => self.blocks_hashed,
                _ => 0,
            };
            if job.next > 0 {
                job.set_ready(W::READY);
            }
        }
        strands.take_over(
            self.begun.each_ref().map(|begun| &begun[start..self.count]),
            self.through - start,
            self.hashed - start,
        );
    }
}
