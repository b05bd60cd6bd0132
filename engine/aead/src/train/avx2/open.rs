//! Opening: nothing of a plaintext is in the buffer before its tag has verified.

use core::cell::Cell;
use core::hint::black_box;

use super::Avx2;
use super::bytes::apply;
use super::job::{Job, Ready};
use super::machine::Machine;
use super::pass::{BLOCK, Lane};
use super::scratch::{Jobs, KEPT_MAX, Kept, Scratch};
use super::strands::{SHARE, Strands, Work};
use super::twins;
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
    // An even number: those of a pair are begun and freed together.
    let slots = ((KEPT_MAX / stride) & !1).min(count.next_multiple_of(2));
    let (mut kept, mut scratch, mut jobs) = (Kept::new(), Scratch::new(), Jobs::new());
    let scratch = scratch.jobs(messages, &order, &mut jobs);
    jobs.iter().for_each(Job::take_ciphertext);
    let mut machine = Machine::new(avx2, key, &scratch.keys);
    let mut strands = Strands::new(&mut jobs, &scratch.dummy);
    let mut work = Opening {
        order,
        kept: kept.fill(slots * stride),
        stride,
        slots,
        next_slot: 0,
        taken: 0,
        kept_at: [0; SEGMENTS_MAX],
        through: 0,
        decided: 0,
        finished: 0,
        verdicts: Verdicts::none_of(count),
    };
    twins::run(&mut machine, &mut work, &mut strands);
    strands.run(&mut machine, &mut work);
    work.verdicts
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
    /// Where the key stream of each of them is.
    kept_at: [u8; SEGMENTS_MAX],
    /// Those whose key stream is there, those whose tag was looked at, and those that are finished.
    through: u64,
    decided: u64,
    finished: u64,
    verdicts: Verdicts,
}

impl Opening<'_> {
    /// Decrypts a message that is genuine, when all of its key stream is there, and frees its place.
    #[inline(always)]
    fn finish(&mut self, message: usize, job: &Job<'_>) {
        if self.through & self.decided & 1 << message == 0 {
            return;
        }
        if self.verdicts.passed(self.order.at(message)) {
            let stream = &self.kept[usize::from(self.kept_at[message])..];
            apply(job.text, &stream[..job.blocks - 1]);
        }
        self.finished |= 1 << message;
    }
}

impl<'b> Work<'b> for Opening<'b> {
    const READY: Ready = Ready::WithKey;

    /// Places are freed in any order, and used again in the order of the messages.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let place = self.taken;
        if place == self.verdicts.count() || place >= self.finished.trailing_ones() as usize + self.slots {
            return None;
        }
        self.kept_at[place] = (self.next_slot * self.stride) as u8;
        self.next_slot = if self.next_slot + 1 == self.slots { 0 } else { self.next_slot + 1 };
        self.taken += 1;
        Some(place)
    }

    #[inline(always)]
    fn lane(&self, message: usize, _: &Job<'b>, block: usize) -> Lane<'b> {
        Lane::key_stream(&self.kept[usize::from(self.kept_at[message]) + block - 1])
    }

    #[inline(always)]
    fn lanes(&self, message: usize, _: &Job<'b>, first_block: usize, lanes: &mut [Lane<'b>]) {
        let kept = &self.kept[usize::from(self.kept_at[message]) + first_block - 1..][..lanes.len()];
        for (lane, kept) in lanes.iter_mut().zip(kept) {
            *lane = Lane::key_stream(kept);
        }
    }

    #[inline(always)]
    fn inner_lanes(&self, message: usize, _: &Job<'b>, first_block: usize) -> [Lane<'b>; SHARE] {
        let kept = &self.kept[usize::from(self.kept_at[message]) + first_block - 1..][..SHARE];
        core::array::from_fn(|place| Lane::key_stream(&kept[place]))
    }

    #[inline(always)]
    fn through(&mut self, message: usize, job: &Job<'b>) {
        if self.through >> message & 1 == 0 {
            self.through |= 1 << message;
            self.finish(message, job);
        }
    }

    #[inline(always)]
    fn hashed(&mut self, message: usize, job: &Job<'b>) {
        self.decided |= 1 << message;
        if is_genuine(job) {
            self.verdicts.pass(self.order.at(message));
        }
        self.finish(message, job);
    }

    #[inline(always)]
    fn is_over(&self) -> bool {
        self.finished.count_ones() as usize == self.verdicts.count()
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
    let scratch = scratch.jobs(messages, &order, &mut jobs);
    let mut machine = Machine::new(avx2, key, &scratch.keys);

    let mut keys: Jobs<'_> = jobs.iter().copied().map(Job::key_alone).collect();
    keys.iter().for_each(Job::take_ciphertext);
    let mut work = Verifying { order, taken: 0, verdicts: Verdicts::none_of(count), decided: 0 };
    Strands::new(&mut keys, &scratch.dummy).run(&mut machine, &mut work);
    let Verifying { order, verdicts, .. } = work;

    let mut texts: Jobs<'_> = jobs.into_iter().map(Job::text_alone).collect();
    // A text that is not there is through from the beginning.
    let is_left = |message: usize| verdicts.passed(order.at(message)) && !texts[message].is_through();
    let wanted = (0..count).filter(|message| is_left(*message)).fold(0, |wanted, message| wanted | 1 << message);
    let mut work = Decrypting { count, taken: 0, wanted, left: wanted };
    Strands::new(&mut texts, &scratch.dummy).run(&mut machine, &mut work);
    verdicts
}

/// One-time keys and hashes alone.
struct Verifying {
    order: Order,
    taken: usize,
    verdicts: Verdicts,
    decided: usize,
}

impl<'b> Work<'b> for Verifying {
    const READY: Ready = Ready::WithKey;

    fn next(&mut self) -> Option<usize> {
        let place = self.taken;
        self.taken += usize::from(place < self.verdicts.count());
        (place < self.verdicts.count()).then_some(place)
    }

    fn lane(&self, _: usize, _: &Job<'b>, _: usize) -> Lane<'b> {
        unreachable!("a job of the key alone has no block of text")
    }

    fn through(&mut self, _: usize, _: &Job<'b>) {}

    fn hashed(&mut self, message: usize, job: &Job<'b>) {
        self.decided += 1;
        if is_genuine(job) {
            self.verdicts.pass(self.order.at(message));
        }
    }

    fn is_over(&self) -> bool {
        self.decided == self.verdicts.count()
    }
}

/// The texts of the messages that are wanted, in place and without a hash.
struct Decrypting {
    count: usize,
    taken: usize,
    wanted: u64,
    left: u64,
}

impl<'b> Work<'b> for Decrypting {
    const READY: Ready = Ready::Never;

    fn next(&mut self) -> Option<usize> {
        let message = (self.taken..self.count).find(|message| self.wanted >> message & 1 == 1)?;
        self.taken = message + 1;
        Some(message)
    }

    fn lane(&self, _: usize, job: &Job<'b>, block: usize) -> Lane<'b> {
        job.lane(block, None)
    }

    fn through(&mut self, message: usize, job: &Job<'b>) {
        job.encrypted();
        self.left &= !(1 << message);
    }

    fn hashed(&mut self, _: usize, _: &Job<'b>) {
        unreachable!("there is no hash")
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }
}
