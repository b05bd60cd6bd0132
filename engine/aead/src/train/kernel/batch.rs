//! Batches: which blocks are made when, and which tags, in the order in which it happens.

use core::hint::black_box;
use core::ops::Range;

use arrayvec::ArrayVec;

use super::apply::{apply, apply_from};
use super::chacha20::blocks_max;
use super::pass::{Lanes, Pass, Run};
use super::poly1305::{GROUP_MAX, Tags, tags};
use super::vector::{BLOCK, Vector, Wide, wipe};
use crate::train::order::Order;
use crate::{Message, SEGMENTS_MAX, Source, Verdicts};

/// Seals the messages, in place or, where there are sources, out of them.
///
/// Passes go through the blocks of all messages, one-time keys included, whatever message a pass ends in. A group of
/// messages gets its tags as soon as all of it is encrypted, while it is in the nearest cache.
#[inline(always)]
pub(super) fn seal<V: Wide>(v: V, key: &[u32; 8], sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
    let order = Order::of(messages);
    let mut keys = OneTimeKeys::new(v);
    let (mut pass, mut lanes) = (Pass::new(v, key), Lanes::new(v));
    let (mut message, mut block) = (0, 0);
    let mut tagged = 0;
    while message < messages.len() {
        while message < messages.len() && lanes.room() > 0 {
            let next = &messages[order.at(message)];
            let blocks = blocks(next);
            block += lanes.add(&mut pass, message, next.counter(), block, blocks - block);
            if block == blocks {
                (message, block) = (message + 1, 0);
            }
        }
        pass.make(lanes);
        lanes = Lanes::new(v);
        let (runs, stream) = pass.made();
        for run in runs {
            keys.take(run, stream);
            let (place, stream) = run.text(stream);
            let message = order.at(run.message);
            let text = messages[message].text_mut();
            match sources {
                None => apply(v, stream, &mut text[place..]),
                Some(sources) => apply_from(v, stream, &sources[message], place, text),
            }
        }
        pass.clear();
        // Of what is encrypted, whole groups, and at the end the rest.
        let is_last = message == messages.len();
        while message - tagged >= GROUP_MAX || (is_last && tagged < message) {
            let end = message.min(tagged + GROUP_MAX);
            let tags = tags_of(v, messages, &order, tagged..end, &keys);
            for (place, computed) in (tagged..end).zip(tags) {
                *messages[order.at(place)].parts().2 = computed;
            }
            tagged = end;
        }
    }
}

/// Opens the messages in place: what does not verify is not touched.
#[inline(always)]
pub(super) fn open<V: Wide>(v: V, key: &[u32; 8], messages: &mut [Message<'_>]) -> Verdicts {
    let count = messages.len();
    let order = Order::of(messages);
    let longest = messages.get(order.at(0)).map_or(1, blocks);
    // Pass and keys are made where they stay: they are large.
    let mut opening = Opening {
        v,
        messages,
        order,
        pass: Pass::new(v, key),
        keys: OneTimeKeys::new(v),
        verdicts: Verdicts::none_of(count),
        verified: 0,
    };
    let blocks_max = blocks_max::<V>();
    if longest <= blocks_max / GROUP_MAX {
        opening.all_whole(blocks_max / longest / GROUP_MAX * GROUP_MAX);
    } else if count == 1 && longest <= blocks_max {
        opening.all_whole(1);
    } else {
        opening.all_keys_first();
    }
    opening.verify_up_to(count);
    opening.verdicts
}

/// A batch that is being opened.
struct Opening<'b, 'm, V: Wide> {
    v: V,
    messages: &'b mut [Message<'m>],
    order: Order,
    pass: Pass<'b, V>,
    /// Those that were made so far.
    keys: OneTimeKeys<V>,
    verdicts: Verdicts,
    /// Messages that have their verdict: whole groups from the front.
    verified: usize,
}

impl<V: Wide> Opening<'_, '_, V> {
    /// Short messages: each pass has all blocks of a few, whole groups of them. Their key stream is there before it is
    /// known whether they are genuine, and used only if they are.
    #[inline(always)]
    fn all_whole(&mut self, at_once: usize) {
        for start in (0..self.messages.len()).step_by(at_once) {
            let mut lanes = Lanes::new(self.v);
            for place in start..self.messages.len().min(start + at_once) {
                let message = &self.messages[self.order.at(place)];
                lanes.add(&mut self.pass, place, message.counter(), 0, blocks(message));
            }
            self.take(lanes);
        }
    }

    /// The one-time keys of all messages come first. What is left of their last pass is used ahead, for the first
    /// blocks of text; after that, key stream is made only for what has verified.
    #[inline(always)]
    fn all_keys_first(&mut self) {
        let count = self.messages.len();
        let mut lanes = Lanes::new(self.v);
        for place in 0..count {
            lanes.add(&mut self.pass, place, self.messages[self.order.at(place)].counter(), 0, 1);
            if lanes.room() == 0 {
                self.take(lanes);
                lanes = Lanes::new(self.v);
            }
        }
        for place in 0..count {
            let message = &self.messages[self.order.at(place)];
            let (blocks, counter) = (blocks(message), message.counter());
            let mut block = 1;
            while block < blocks && (self.keys.made().len() < count || self.is_genuine(place)) {
                block += lanes.add(&mut self.pass, place, counter, block, blocks - block);
                if lanes.room() == 0 {
                    self.take(lanes);
                    lanes = Lanes::new(self.v);
                }
            }
        }
        self.take(lanes);
    }

    /// Makes a pass. Takes the one-time keys out of it, and decrypts the rest as far as it is genuine.
    #[inline(always)]
    fn take(&mut self, lanes: Lanes<V>) {
        let v = self.v;
        v.run(
            #[inline(always)]
            || {
                if lanes.is_empty() {
                    return;
                }
                self.pass.make(lanes);
                let Self { messages, order, pass, keys, verdicts, verified, .. } = self;
                let (runs, stream) = pass.made();
                for run in runs {
                    keys.take(run, stream);
                }
                for run in runs {
                    let (place, stream) = run.text(stream);
                    if stream.is_empty() {
                        continue;
                    }
                    while *verified <= run.message {
                        *verified = verify_group(v, *verified, messages, order, keys, verdicts);
                    }
                    let message = order.at(run.message);
                    if verdicts.passed(message) {
                        apply(v, stream, &mut messages[message].text_mut()[place..]);
                    }
                }
                pass.clear();
            },
        );
    }

    /// Whether a message has the right tag. To be asked when all one-time keys are there.
    #[inline(always)]
    fn is_genuine(&mut self, place: usize) -> bool {
        self.verify_up_to(place + 1);
        self.verdicts.passed(self.order.at(place))
    }

    /// Looks at the tags of the next groups, until this many messages have their verdict.
    #[inline(always)]
    fn verify_up_to(&mut self, count: usize) {
        while self.verified < count {
            self.verified =
                verify_group(self.v, self.verified, self.messages, &self.order, &self.keys, &mut self.verdicts);
        }
    }
}

/// Looks at the tags of a group, from the message at `start` on, as far as there are keys. Returns where the next group
/// is.
#[inline(always)]
fn verify_group<V: Wide>(
    v: V,
    start: usize,
    messages: &[Message<'_>],
    order: &Order,
    keys: &OneTimeKeys<V>,
    verdicts: &mut Verdicts,
) -> usize {
    v.run(
        #[inline(always)]
        || {
            let group = start..keys.made().len().min(start + GROUP_MAX);
            let tags = tags_of(v, messages, order, group.clone(), keys);
            for (place, computed) in group.clone().zip(tags) {
                let message = order.at(place);
                // How many bytes of a forged tag are right must not show in the time: all of them are looked at, and
                // the compiler does not know that only zero matters.
                let difference =
                    black_box(u128::from_le_bytes(computed) ^ u128::from_le_bytes(*messages[message].tag()));
                if difference == 0 {
                    verdicts.pass(message);
                }
            }
            group.end
        },
    )
}

/// The tags of the messages at these places of the order. Where the group has fewer than eight, the first stands for
/// those that are absent: they make it no longer.
#[inline(always)]
fn tags_of<V: Wide>(v: V, messages: &[Message<'_>], order: &Order, group: Range<usize>, keys: &OneTimeKeys<V>) -> Tags {
    let mut texts = [messages[order.at(group.start)].text(); GROUP_MAX];
    for (text, place) in texts.iter_mut().zip(group.clone()) {
        *text = messages[order.at(place)].text();
    }
    tags(v, &texts, &keys.made()[group])
}

/// Blocks of ChaCha20 that a message takes: one for the one-time key, then those of the text.
#[inline(always)]
fn blocks(message: &Message<'_>) -> usize {
    1 + message.text().len().div_ceil(BLOCK)
}

/// The one-time keys of a batch: the first block of each message's key stream. Wiped when dropped, also by a panic.
pub(super) struct OneTimeKeys<V: Vector> {
    v: V,
    blocks: ArrayVec<V::Block, SEGMENTS_MAX>,
}

impl<V: Vector> OneTimeKeys<V> {
    #[inline(always)]
    pub(super) fn new(v: V) -> Self {
        Self { v, blocks: ArrayVec::new() }
    }

    /// The first blocks of the messages, as far as they were made.
    #[inline(always)]
    pub(super) fn made(&self) -> &[V::Block] {
        &self.blocks
    }

    /// Takes the key out of a run, if it has one. Messages come in order.
    #[inline(always)]
    pub(super) fn take(&mut self, run: &Run, stream: &[V::Block]) {
        if run.first_block == 0 {
            self.blocks.push(stream[run.lane]);
        }
    }
}

impl<V: Vector> Drop for OneTimeKeys<V> {
    fn drop(&mut self) {
        wipe(self.v, &mut self.blocks);
    }
}
