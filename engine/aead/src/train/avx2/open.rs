//! Opening: nothing of a plaintext is in the buffer before its tag has verified.

use core::cell::Cell;
use core::hint::black_box;

use super::Avx2;
use super::bytes::apply;
use super::job::Job;
use super::pass::{BLOCK, Lane, Segments, State, make};
use super::scratch::{Jobs, KEPT_MAX, Kept, Scratch};
use super::strands::{Ended, Feed, Strands};
use crate::train::order::Order;
use crate::{Message, SEGMENTS_MAX, Verdicts};

/// Messages whose key stream is kept at the same time, at least: two in each strand, of which one is made and one is
/// hashed.
const AT_ONCE: usize = 4;

/// Opens the messages in place: what does not verify is not touched.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn open(avx2: Avx2, key: &[u32; 8], messages: &mut [Message<'_>]) -> Verdicts {
    let order = Order::of(messages);
    let longest = messages.iter().map(|message| message.text().len()).max().unwrap_or(0);
    let stride = longest.div_ceil(BLOCK).max(1);
    if stride <= KEPT_MAX / AT_ONCE {
        open_ahead(avx2, key, order, stride, messages)
    } else {
        open_verified(avx2, key, order, messages)
    }
}

/// Key stream is made while it is not yet known whether a message is genuine, and kept. It meets the text when the tag
/// has verified. So a message is read once for its hash and once for this, both from the nearest cache.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn open_ahead(avx2: Avx2, key: &[u32; 8], order: Order, stride: usize, messages: &mut [Message<'_>]) -> Verdicts {
    let count = messages.len();
    let slots = (KEPT_MAX / stride).min(count);
    let (mut kept, mut scratch, mut jobs) = (Kept::new(), Scratch::new(), Jobs::new());
    let scratch = scratch.jobs(messages, &mut jobs);
    let mut strands = Strands::new(&mut jobs, &scratch.dummy);
    strands.jobs.iter_mut().for_each(Job::take_ciphertext);
    let mut opening = Opening {
        order,
        kept: kept.fill(slots * stride),
        stride,
        slots,
        next_slot: 0,
        taken: 0,
        places: [0; SEGMENTS_MAX],
        kept_at: [0; SEGMENTS_MAX],
        decided: 0,
        finished: 0,
        verdicts: Verdicts::none_of(count),
    };
    let mut state = State::new(key);
    while opening.finished.count_ones() < count as u32 {
        let mut ended = Ended::new();
        let lanes = strands.fill(&scratch.keys, &mut opening);
        if lanes.count > 0 {
            let mut segments = strands.beside(&mut ended);
            state.set_inputs(lanes.inputs);
            make(avx2, &state, &lanes.lanes, &mut segments);
            for run in &lanes.runs {
                let job = &mut strands.jobs[run.message];
                if run.first_block == 0 {
                    job.set_key(&scratch.keys[run.lane]);
                    job.release();
                }
                opening.finish(run.message, job);
            }
        } else {
            strands.hash_alone(&mut ended);
        }
        for message in ended.into_iter().map(usize::from) {
            let job = &strands.jobs[message];
            opening.decide(message, job);
            opening.finish(message, job);
        }
    }
    opening.verdicts
}

/// Messages that are being opened, and the ring of places for their key stream.
struct Opening<'b> {
    order: Order,
    kept: &'b [[Cell<u8>; BLOCK]],
    /// Blocks of a place, and how many places there are.
    stride: usize,
    slots: usize,
    next_slot: usize,
    /// How many messages were begun.
    taken: usize,
    /// Of each of them: the how many-th it is in the order, and where its key stream is.
    places: [u8; SEGMENTS_MAX],
    kept_at: [u8; SEGMENTS_MAX],
    /// Those whose tag was looked at, by message; those that are through, by place.
    decided: u64,
    finished: u64,
    verdicts: Verdicts,
}

impl Opening<'_> {
    #[inline(always)]
    fn decide(&mut self, message: usize, job: &Job<'_>) {
        self.decided |= 1 << message;
        if is_genuine(job) {
            self.verdicts.pass(message);
        }
    }

    /// Decrypts a message that is genuine, when all of its key stream is there, and frees its place.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn finish(&mut self, message: usize, job: &Job<'_>) {
        let place = 1 << self.places[message];
        if !job.is_through() || self.decided >> message & 1 == 0 || self.finished & place != 0 {
            return;
        }
        if self.verdicts.passed(message) {
            let stream = &self.kept[usize::from(self.kept_at[message])..];
            apply(job.text, &stream[..job.blocks - 1]);
        }
        self.finished |= place;
    }
}

impl<'b> Feed<'b> for Opening<'b> {
    /// Places are freed in any order, and used again in the order of the messages.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let place = self.taken;
        if place == self.verdicts.count() || place >= self.finished.trailing_ones() as usize + self.slots {
            return None;
        }
        let message = self.order.at(place);
        self.places[message] = place as u8;
        self.kept_at[message] = (self.next_slot * self.stride) as u8;
        self.next_slot = if self.next_slot + 1 == self.slots { 0 } else { self.next_slot + 1 };
        self.taken += 1;
        Some(message)
    }

    #[inline(always)]
    fn lane(&mut self, message: usize, _: &Job<'b>, block: usize) -> Lane<'b> {
        Lane::key_stream(&self.kept[usize::from(self.kept_at[message]) + block - 1])
    }
}

/// How many bytes of a forged tag are right must not show in the time: all of them are looked at, and the compiler does
/// not know that only zero matters.
#[inline(always)]
fn is_genuine(job: &Job<'_>) -> bool {
    let (computed, given) = (job.hash.get().tag(), job.tag.get());
    black_box(u128::from_le_bytes(computed) ^ u128::from_le_bytes(given)) == 0
}

/// Messages too long for that: all one-time keys come first, then all hashes, and then what is genuine is decrypted.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
fn open_verified(avx2: Avx2, key: &[u32; 8], order: Order, messages: &mut [Message<'_>]) -> Verdicts {
    let count = messages.len();
    let (mut scratch, mut jobs) = (Scratch::new(), Jobs::new());
    let scratch = scratch.jobs(messages, &mut jobs);
    let mut state = State::new(key);

    let mut keys: Jobs<'_> = jobs.iter().copied().map(Job::key_alone).collect();
    let mut strands = Strands::new(&mut keys, &scratch.dummy);
    strands.jobs.iter_mut().for_each(Job::take_ciphertext);
    let (mut verdicts, mut decided) = (Verdicts::none_of(count), 0);
    let mut feed = Decrypting { order, wanted: u64::MAX, count, taken: 0 };
    while decided < count {
        let mut ended = Ended::new();
        let lanes = strands.fill(&scratch.keys, &mut feed);
        if lanes.count > 0 {
            let mut segments = strands.beside(&mut ended);
            state.set_inputs(lanes.inputs);
            make(avx2, &state, &lanes.lanes, &mut segments);
            for run in &lanes.runs {
                strands.jobs[run.message].set_key(&scratch.keys[run.lane]);
                strands.jobs[run.message].release();
            }
        } else {
            strands.hash_alone(&mut ended);
        }
        for message in ended.iter().map(|message| usize::from(*message)) {
            if is_genuine(&strands.jobs[message]) {
                verdicts.pass(message);
            }
        }
        decided += ended.len();
    }

    let mut texts: Jobs<'_> = jobs.into_iter().map(Job::text_alone).collect();
    let mut strands = Strands::new(&mut texts, &scratch.dummy);
    let mut feed = Decrypting { order, wanted: verdicts.bits(), count, taken: 0 };
    loop {
        let lanes = strands.fill(&scratch.keys, &mut feed);
        if lanes.count == 0 {
            return verdicts;
        }
        state.set_inputs(lanes.inputs);
        make(avx2, &state, &lanes.lanes, &mut Segments::new());
        lanes.runs.iter().for_each(|run| strands.jobs[run.message].made());
    }
}

/// The messages that are wanted, one after the other, in place.
struct Decrypting {
    order: Order,
    wanted: u64,
    count: usize,
    taken: usize,
}

impl<'b> Feed<'b> for Decrypting {
    fn next(&mut self) -> Option<usize> {
        let mut left = (self.taken..self.count).map(|place| (place, self.order.at(place)));
        let (place, message) = left.find(|(_, message)| self.wanted >> message & 1 == 1)?;
        self.taken = place + 1;
        Some(message)
    }

    fn lane(&mut self, _: usize, job: &Job<'b>, block: usize) -> Lane<'b> {
        job.lane(block, None)
    }
}
