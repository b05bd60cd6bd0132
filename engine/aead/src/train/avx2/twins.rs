//! Messages of one length, two at a time: what a train is, except for its end.
//!
//! Both strands do the same here, each with its own message. So what is in a pass follows by counting, and a few
//! numbers say how far all of them have come. More would show: for short messages, a pass that is planned lane by lane
//! takes as long to plan as its rounds take.

use core::cell::Cell;

use super::job::{Job, Ready};
use super::machine::Machine;
use super::pass::{BLOCK, Inputs, Lane};
use super::strands::{SHARE, Strands, Work};

/// Two messages of the same length.
type Pair<'b> = [Job<'b>; 2];

/// How far the pairs have come.
#[derive(Clone, Copy, Default)]
struct Twins {
    /// How many were begun.
    begun: usize,
    /// Of how many all blocks were given to a pass, and the next block of the one behind them.
    through: usize,
    next: usize,
    /// Of how many all of the hash was, and how many blocks of the one behind them.
    hashed: usize,
    blocks_hashed: usize,
}

/// Does the work for the pairs at the front, as long as they fill the lanes of passes. Leaves the rest to `strands`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn run<'b, W: Work<'b>>(machine: &mut Machine<'b>, work: &mut W, strands: &mut Strands<'_, 'b>) {
    let mut twins = Twins::default();
    let pairs = pairs(strands.jobs);
    let Some([like, _]) = pairs.first() else { return };
    while (pairs.len() - twins.through) * like.blocks - twins.next >= SHARE {
        let before = twins;
        let Some(split) = twins.fill(machine, work, pairs) else { break };
        twins.beside(machine, pairs, W::READY, before);
        machine.make();
        for (pair, [a, b]) in (before.begun..).zip(&pairs[before.begun..twins.begun]) {
            let lane = if pair == before.through { 0 } else { split };
            a.set_key(&machine.keys[lane]);
            b.set_key(&machine.keys[SHARE + lane]);
        }
        for (pair, [a, b]) in (before.through..).zip(&pairs[before.through..twins.through]) {
            work.through(2 * pair, a);
            work.through(2 * pair + 1, b);
        }
        for (pair, [a, b]) in (before.hashed..).zip(&pairs[before.hashed..twins.hashed]) {
            work.hashed(2 * pair, a);
            work.hashed(2 * pair + 1, b);
        }
    }
    twins.hand_over::<W>(strands);
}

/// Those whose messages have the length of the first.
#[inline(always)]
fn pairs<'j, 'b>(jobs: &'j [Job<'b>]) -> &'j [Pair<'b>] {
    let alike = jobs.iter().take_while(|job| job.text.len() == jobs[0].text.len()).count();
    jobs[..alike].as_chunks().0
}

impl Twins {
    /// Fills the lanes of a pass. Returns how many lanes of each half belong to one pair: the others are of the next
    /// one. `None` if no pair may be begun now.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn fill<'b, W: Work<'b>>(&mut self, machine: &mut Machine<'b>, work: &mut W, pairs: &[Pair<'b>]) -> Option<usize> {
        let (first, first_block) = (self.through, self.next);
        if first == self.begun && !self.begin(work) {
            return None;
        }
        let pair @ [a, b] = &pairs[first];
        let [lanes_a, lanes_b] = machine.lanes.lanes.as_chunks_mut::<SHARE>().0 else { unreachable!("twice as many") };
        let split = (a.blocks - first_block).min(SHARE);
        self.advance(split, a.blocks);
        if first_block > 0 && a.text.len() >= (first_block - 1 + SHARE) * BLOCK {
            // In the middle of long messages: most passes of them.
            *lanes_a = work.inner_lanes(2 * first, a, first_block);
            *lanes_b = work.inner_lanes(2 * first + 1, b, first_block);
            match first_block {
                // The lanes of the pass before were theirs as well.
                SHARE.. => machine.lanes.inputs.advance(SHARE),
                _ => machine.lanes.inputs = inputs([pair, pair], first_block, split),
            }
            return Some(split);
        }
        let [keys_a, keys_b] = machine.keys.as_chunks::<SHARE>().0 else { unreachable!("twice as many") };
        fill_lanes(work, 2 * first, a, first_block, &mut lanes_a[..split], &keys_a[0]);
        fill_lanes(work, 2 * first + 1, b, first_block, &mut lanes_b[..split], &keys_b[0]);
        let (mut second, mut end) = (pair, split);
        if split < SHARE && self.through < pairs.len() && self.begin(work) {
            second = &pairs[first + 1];
            end = SHARE.min(split + a.blocks);
            fill_lanes(work, 2 * first + 2, &second[0], 0, &mut lanes_a[split..end], &keys_a[split]);
            fill_lanes(work, 2 * first + 3, &second[1], 0, &mut lanes_b[split..end], &keys_b[split]);
            self.advance(end - split, a.blocks);
        }
        for place in end..SHARE {
            (lanes_a[place], lanes_b[place]) = (Lane::key_stream(&keys_a[place]), Lane::key_stream(&keys_b[place]));
        }
        machine.lanes.inputs = inputs([pair, second], first_block, split);
        Some(split)
    }

    /// Begins a pair, if it may be begun now.
    #[inline(always)]
    fn begin<'b>(&mut self, work: &mut impl Work<'b>) -> bool {
        // There is always an even number that may be begun.
        let may = work.next().is_some() && work.next().is_some();
        self.begun += usize::from(may);
        may
    }

    /// So many blocks of the pair that is not through were given to a pass.
    #[inline(always)]
    fn advance(&mut self, count: usize, blocks: usize) {
        self.next += count;
        if self.next == blocks {
            (self.through, self.next) = (self.through + 1, 0);
        }
    }

    /// What is hashed beside a pass: what there was before it.
    #[inline(always)]
    fn beside<'b>(&mut self, machine: &mut Machine<'b>, pairs: &[Pair<'b>], ready: Ready, before: Self) {
        let segments = &mut machine.segments;
        segments.clear();
        while let Some([a, b]) = pairs.get(self.hashed) {
            let there = match self.hashed {
                pair if pair < before.through => a.all,
                pair if pair == before.through && before.next > 0 => a.hashable(ready, before.next),
                _ => break,
            };
            let count = a.side_by_side(self.blocks_hashed, there).min(segments.room());
            if count == 0 {
                break;
            }
            segments.push([a.piece(self.blocks_hashed, count), b.piece(self.blocks_hashed, count)]);
            self.blocks_hashed += count;
            if self.blocks_hashed == a.all {
                (self.hashed, self.blocks_hashed) = (self.hashed + 1, 0);
            }
        }
    }

    /// Writes down for each message how far it has come.
    #[inline(always)]
    fn hand_over<'b, W: Work<'b>>(self, strands: &mut Strands<'_, 'b>) {
        // Of those before both, nothing is left to do.
        let start = self.through.min(self.hashed);
        for pair in start..self.begun {
            for job in &mut strands.jobs[2 * pair..2 * pair + 2] {
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
        }
        strands.take_over(start..self.begun, self.through - start, self.hashed - start);
    }
}

/// The lanes of a message from this block on.
#[inline(always)]
fn fill_lanes<'b>(
    work: &impl Work<'b>,
    message: usize,
    job: &Job<'b>,
    first_block: usize,
    lanes: &mut [Lane<'b>],
    key: &'b [Cell<u8>; BLOCK],
) {
    let (keys, texts) = lanes.split_at_mut(usize::from(first_block == 0));
    keys.iter_mut().for_each(|lane| *lane = Lane::key_stream(key));
    if !texts.is_empty() {
        work.lanes(message, job, first_block.max(1), texts);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn inputs(pairs: [&Pair<'_>; 2], first_block: usize, split: usize) -> Inputs {
    Inputs::of_twins(pairs.map(|[a, b]| [a.counter, b.counter]), first_block, split)
}
