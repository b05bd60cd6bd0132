//! Batches: which blocks are made when, and which tags, in the order in which it happens.

use core::hint::black_box;

use arrayvec::ArrayVec;

use super::apply::{apply, apply_from};
use super::features::Features;
use super::pass::{Lanes, Pass, Run};
use super::poly1305::{GROUP_MAX, tags};
use super::vector::{BLOCK, Z, wipe};
use crate::{MAX_SEGMENTS, Message, Source, Verdicts};

/// Seals the messages, in place or, where there are sources, out of them.
///
/// Passes go through the blocks of all messages, one-time keys included, whatever message a pass ends in. A group of messages
/// gets its tags as soon as all of it is encrypted, while it is in the nearest cache.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn seal(features: Features, key: &[u32; 8], sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
    let mut keys = OneTimeKeys::new(features);
    let (mut pass, mut lanes) = (Pass::new(features, key), Lanes::new());
    let (mut message, mut block) = (0, 0);
    let mut tagged = 0;
    while message < messages.len() {
        while message < messages.len() && lanes.room() > 0 {
            let blocks = blocks(&messages[message]);
            block += lanes.add(&mut pass, message, messages[message].counter(), block, blocks - block);
            if block == blocks {
                (message, block) = (message + 1, 0);
            }
        }
        let (runs, stream) = pass.make(lanes);
        lanes = Lanes::new();
        for run in runs {
            let (place, stream) = keys.take(run, stream);
            let text = messages[run.message].text_mut();
            match sources {
                None => apply(stream, &mut text[place..]),
                Some(sources) => apply_from(stream, &sources[run.message], place, text),
            }
        }
        pass.clear();
        // Of what is encrypted, whole groups, and at the end the rest.
        let is_last = message == messages.len();
        while message - tagged >= GROUP_MAX || (is_last && tagged < message) {
            let end = message.min(tagged + GROUP_MAX);
            let tags = tags_of(&messages[tagged..end], &keys.blocks[tagged..end]);
            for (message, computed) in messages[tagged..end].iter_mut().zip(tags) {
                *message.parts().2 = computed.to_le_bytes();
            }
            tagged = end;
        }
    }
}

/// Opens the messages in place: what does not verify is not touched.
///
/// The one-time keys of all come first. What is left of their last pass is used ahead, for the first blocks of text, which
/// are not yet known to be genuine: a short batch takes one pass in all. After that, key stream is made only for what has verified.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn open(features: Features, key: &[u32; 8], messages: &mut [Message<'_>]) -> Verdicts {
    let count = messages.len();
    let (mut pass, mut lanes) = (Pass::new(features, key), Lanes::new());
    let verdicts = Verdicts::none_of(count);
    let mut opening = Opening { messages, keys: OneTimeKeys::new(features), verdicts, verified: 0 };
    for index in 0..count {
        lanes.add(&mut pass, index, opening.messages[index].counter(), 0, 1);
        if lanes.room() == 0 {
            opening.take(&mut pass, lanes);
            lanes = Lanes::new();
        }
    }
    for index in 0..count {
        let (blocks, counter) = (blocks(&opening.messages[index]), opening.messages[index].counter());
        let mut block = 1;
        while block < blocks && (opening.is_ahead() || opening.is_genuine(index)) {
            block += lanes.add(&mut pass, index, counter, block, blocks - block);
            if lanes.room() == 0 {
                opening.take(&mut pass, lanes);
                lanes = Lanes::new();
            }
        }
    }
    opening.take(&mut pass, lanes);
    opening.verify_up_to(count);
    opening.verdicts
}

/// A batch that is being opened.
struct Opening<'b, 'm> {
    messages: &'b mut [Message<'m>],
    /// Those that were made so far.
    keys: OneTimeKeys,
    verdicts: Verdicts,
    /// Messages that have their verdict: whole groups from the front.
    verified: usize,
}

impl Opening<'_, '_> {
    /// Whether a one-time key is missing, so that nothing can be verified.
    #[inline(always)]
    fn is_ahead(&self) -> bool {
        self.keys.blocks.len() < self.messages.len()
    }

    /// Makes a pass. Takes the one-time keys out of it, and decrypts the rest as far as it is genuine.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn take(&mut self, pass: &mut Pass<'_>, lanes: Lanes) {
        let (runs, stream) = pass.make(lanes);
        for run in runs {
            let (place, stream) = self.keys.take(run, stream);
            if !stream.is_empty() && self.is_genuine(run.message) {
                apply(stream, &mut self.messages[run.message].text_mut()[place..]);
            }
        }
        pass.clear();
    }

    /// Whether a message has the right tag. To be asked when all one-time keys are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn is_genuine(&mut self, index: usize) -> bool {
        self.verify_up_to(index + 1);
        self.verdicts.passed(index)
    }

    /// Looks at the tags of the next groups, until this many messages have their verdict.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn verify_up_to(&mut self, count: usize) {
        while self.verified < count {
            self.verify_group();
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn verify_group(&mut self) {
        let group = self.verified..self.messages.len().min(self.verified + GROUP_MAX);
        let messages = &self.messages[group.clone()];
        let tags = tags_of(messages, &self.keys.blocks[group.clone()]);
        for (index, (message, computed)) in group.clone().zip(messages.iter().zip(tags)) {
            // How many bytes of a forged tag are right must not show in the time: all of them are looked at, and the compiler
            // does not know that only zero matters.
            let difference = black_box(computed ^ u128::from_le_bytes(*message.tag()));
            if difference == 0 {
                self.verdicts.pass(index);
            }
        }
        self.verified = group.end;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn tags_of(messages: &[Message<'_>], keys: &[Z]) -> [u128; GROUP_MAX] {
    let mut texts: [&[u8]; GROUP_MAX] = [&[]; GROUP_MAX];
    let count = messages.len();
    for (text, message) in texts.iter_mut().zip(messages) {
        *text = message.text();
    }
    tags(&texts[..count], keys)
}

/// Blocks of ChaCha20 that a message takes: one for the one-time key, then those of the text.
#[inline(always)]
fn blocks(message: &Message<'_>) -> usize {
    1 + message.text().len().div_ceil(BLOCK)
}

/// The one-time keys of a batch: the first block of each message's key stream. Wiped when dropped, also by a panic.
struct OneTimeKeys {
    blocks: ArrayVec<Z, MAX_SEGMENTS>,
    features: Features,
}

impl OneTimeKeys {
    fn new(features: Features) -> Self {
        Self { blocks: ArrayVec::new(), features }
    }

    /// Takes the key out of a run, if it has one: what is left is for the text, from the returned place on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn take<'s>(&mut self, run: &Run, stream: &'s [Z]) -> (usize, &'s [Z]) {
        let stream = &stream[run.lane..run.lane + run.blocks];
        match (run.first_block, stream) {
            (0, [key, rest @ ..]) => {
                self.blocks.push(*key);
                (0, rest)
            }
            (block, stream) => ((block - 1) * BLOCK, stream),
        }
    }
}

impl Drop for OneTimeKeys {
    fn drop(&mut self) {
        // SAFETY: the CPU has what the function is compiled for; `features` is the proof.
        unsafe { wipe(self.features, &mut self.blocks) };
    }
}
