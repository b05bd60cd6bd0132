//! Sealing: encryption goes ahead, and the hash follows one pass behind.

use super::Avx2;
use super::job::{Job, Ready};
use super::machine::Machine;
use super::pass::Lane;
use super::scratch::{Jobs, Scratch};
use super::strands::{SHARE, Strands, Work};
use super::twins;
use crate::train::order::Order;
use crate::{Message, Source};

/// Seals the messages, in place or, where there are sources, out of them.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn seal(avx2: Avx2, key: &[u32; 8], sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
    let count = messages.len();
    let order = Order::of(messages);
    let (mut scratch, mut jobs) = (Scratch::new(), Jobs::new());
    let scratch = scratch.jobs(messages, &order, &mut jobs);
    let mut machine = Machine::new(avx2, key, &scratch.keys);
    let mut strands = Strands::new(&mut jobs, &scratch.dummy);
    let mut work = Sealing { order, count, taken: 0, sealed: 0, sources };
    twins::run(&mut machine, &mut work, &mut strands);
    strands.run(&mut machine, &mut work);
}

struct Sealing<'b> {
    order: Order,
    count: usize,
    taken: usize,
    sealed: usize,
    sources: Option<&'b [Source<'b>]>,
}

impl<'b> Work<'b> for Sealing<'b> {
    const READY: Ready = Ready::Encrypted;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let place = self.taken;
        self.taken += usize::from(place < self.count);
        (place < self.count).then_some(place)
    }

    #[inline(always)]
    fn lane(&self, message: usize, job: &Job<'b>, block: usize) -> Lane<'b> {
        job.lane(block, self.sources.map(|sources| &sources[self.order.at(message)]))
    }

    #[inline(always)]
    fn lanes(&self, message: usize, job: &Job<'b>, first_block: usize, lanes: &mut [Lane<'b>]) {
        match self.sources {
            None => job.lanes(first_block, lanes),
            Some(_) => {
                for (lane, block) in lanes.iter_mut().zip(first_block..) {
                    *lane = self.lane(message, job, block);
                }
            }
        }
    }

    #[inline(always)]
    fn inner_lanes(&self, message: usize, job: &Job<'b>, first_block: usize) -> [Lane<'b>; SHARE] {
        match self.sources {
            None => job.inner_lanes(first_block),
            Some(_) => core::array::from_fn(|place| self.lane(message, job, first_block + place)),
        }
    }

    #[inline(always)]
    fn through(&mut self, _: usize, job: &Job<'b>) {
        job.encrypted();
    }

    #[inline(always)]
    fn hashed(&mut self, _: usize, job: &Job<'b>) {
        job.tag.set(job.hash.get().tag());
        self.sealed += 1;
    }

    #[inline(always)]
    fn is_over(&self) -> bool {
        self.sealed == self.count
    }
}
