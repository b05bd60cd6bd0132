//! Sealing: encryption goes ahead, and the hash follows one pass behind.

use super::Avx2;
use super::job::Job;
use super::pass::{Lane, State, make};
use super::scratch::{Jobs, Scratch};
use super::strands::{Ended, Feed, Strands};
use crate::train::order::Order;
use crate::{Message, Source};

/// Seals the messages, in place or, where there are sources, out of them.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn seal(avx2: Avx2, key: &[u32; 8], sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
    let count = messages.len();
    let order = Order::of(messages);
    let (mut scratch, mut jobs) = (Scratch::new(), Jobs::new());
    let scratch = scratch.jobs(messages, &mut jobs);
    let mut strands = Strands::new(&mut jobs, &scratch.dummy);
    let mut feed = Sealing { order, count, taken: 0, sources };
    let mut state = State::new(key);
    let mut sealed = 0;
    while sealed < count {
        let mut ended = Ended::new();
        let lanes = strands.fill(&scratch.keys, &mut feed);
        if lanes.count > 0 {
            let mut segments = strands.beside(&mut ended);
            state.set_inputs(lanes.inputs);
            make(avx2, &state, &lanes.lanes, &mut segments);
            for run in &lanes.runs {
                let job = &mut strands.jobs[run.message];
                if run.first_block == 0 {
                    job.set_key(&scratch.keys[run.lane]);
                }
                job.made();
            }
        } else {
            strands.hash_alone(&mut ended);
        }
        for message in &ended {
            let job = &strands.jobs[usize::from(*message)];
            job.tag.set(job.hash.get().tag());
        }
        sealed += ended.len();
    }
}

struct Sealing<'b> {
    order: Order,
    count: usize,
    taken: usize,
    sources: Option<&'b [Source<'b>]>,
}

impl<'b> Feed<'b> for Sealing<'b> {
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let place = self.taken;
        self.taken += usize::from(place < self.count);
        (place < self.count).then(|| self.order.at(place))
    }

    #[inline(always)]
    fn lane(&mut self, message: usize, job: &Job<'b>, block: usize) -> Lane<'b> {
        job.lane(block, self.sources.map(|sources| &sources[message]))
    }
}
