//! Batches: which blocks are made when, and which tags, in the order in which it happens.

use core::arch::x86_64::*;

use subtle::ConstantTimeEq;

use super::apply::{apply, apply_from};
use super::chacha20::BLOCKS_MAX;
use super::features::Features;
use super::pass::{Pass, Run};
use super::poly1305::{GROUP_MAX, tags};
use super::vector::{BLOCK, Z, wipe};
use crate::{MAX_SEGMENTS, Message, Source, Verdicts};

/// Seals the messages, in place or, where there are sources, out of them.
///
/// Passes go through the blocks of all messages, one-time keys included, whatever message a pass ends in. A group of messages
/// gets its tags as soon as all of it is encrypted, while it is in the nearest cache.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn seal(features: Features, key: &[u32; 8], sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
    let mut keys = OneTimeKeys::new(features, messages.len());
    let mut pass = Pass::new(features, key);
    let (mut message, mut block) = (0, 0);
    let mut tagged = 0;
    while message < messages.len() {
        while message < messages.len() && !pass.is_full() {
            let blocks = blocks(&messages[message]);
            block += pass.add(message, messages[message].counter(), block, blocks - block);
            if block == blocks {
                (message, block) = (message + 1, 0);
            }
        }
        let (runs, stream) = pass.make();
        for run in runs {
            let (place, stream) = keys.take(run, stream);
            let text = messages[run.message].text_mut();
            match sources {
                None => apply(stream, &mut text[place..]),
                Some(sources) => apply_from(stream, &sources[run.message], place, text),
            }
        }
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn open(features: Features, key: &[u32; 8], messages: &mut [Message<'_>]) -> Verdicts {
    let mut pass = Pass::new(features, key);
    let mut keys = OneTimeKeys::new(features, messages.len());
    if messages.iter().map(blocks).sum::<usize>() <= BLOCKS_MAX {
        open_in_one_pass(&mut pass, &mut keys, messages)
    } else {
        open_by_groups(&mut pass, &mut keys, messages)
    }
}

/// A pass has room for all: the key stream is made together with the one-time keys, and applied if the tags are right.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn open_in_one_pass(pass: &mut Pass<'_>, keys: &mut OneTimeKeys, messages: &mut [Message<'_>]) -> Verdicts {
    let mut verdicts = Verdicts::none_of(messages.len());
    for (index, message) in messages.iter().enumerate() {
        pass.add(index, message.counter(), 0, blocks(message));
    }
    let (runs, stream) = pass.make();
    for run in runs {
        keys.take(run, stream);
    }
    for start in (0..messages.len()).step_by(GROUP_MAX) {
        verify(start, messages, keys, &mut verdicts);
    }
    for run in runs.iter().filter(|run| verdicts.passed(run.message)) {
        apply(&stream[run.lane + 1..run.lane + run.blocks], messages[run.message].text_mut());
    }
    verdicts
}

/// First the one-time keys of all, then group by group the tags, and the key stream of what verified.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn open_by_groups(pass: &mut Pass<'_>, keys: &mut OneTimeKeys, messages: &mut [Message<'_>]) -> Verdicts {
    let mut verdicts = Verdicts::none_of(messages.len());
    for (index, message) in messages.iter().enumerate() {
        pass.add(index, message.counter(), 0, 1);
        if pass.is_full() || index + 1 == messages.len() {
            let (runs, stream) = pass.make();
            for run in runs {
                keys.take(run, stream);
            }
        }
    }
    for start in (0..messages.len()).step_by(GROUP_MAX) {
        verify(start, messages, keys, &mut verdicts);
        let end = messages.len().min(start + GROUP_MAX);
        for index in (start..end).filter(|index| verdicts.passed(*index)) {
            let (blocks, counter) = (blocks(&messages[index]), messages[index].counter());
            let mut block = 1;
            while block < blocks {
                block += pass.add(index, counter, block, blocks - block);
                if pass.is_full() {
                    decrypt(pass, messages);
                }
            }
        }
    }
    decrypt(pass, messages);
    verdicts
}

/// Looks at the tags of a group of messages, from the one at `start` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn verify(start: usize, messages: &[Message<'_>], keys: &OneTimeKeys, verdicts: &mut Verdicts) {
    let end = messages.len().min(start + GROUP_MAX);
    let tags = tags_of(&messages[start..end], &keys.blocks[start..end]);
    for (index, (message, computed)) in messages[start..end].iter().zip(tags).enumerate() {
        // How many bytes of a forged tag are right must not show in the time.
        if computed.ct_eq(&u128::from_le_bytes(*message.tag())).into() {
            verdicts.pass(start + index);
        }
    }
}

/// Makes a pass of blocks of verified text, and applies it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn decrypt(pass: &mut Pass<'_>, messages: &mut [Message<'_>]) {
    if pass.is_empty() {
        return;
    }
    let (runs, stream) = pass.make();
    for run in runs {
        let text = &mut messages[run.message].text_mut()[(run.first_block - 1) * BLOCK..];
        apply(&stream[run.lane..run.lane + run.blocks], text);
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
    blocks: [Z; MAX_SEGMENTS],
    count: usize,
    features: Features,
}

impl OneTimeKeys {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn new(features: Features, count: usize) -> Self {
        Self { blocks: [_mm512_setzero_si512(); MAX_SEGMENTS], count, features }
    }

    /// Takes the key out of a run, if it has one: what is left is for the text, from the returned place on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn take<'s>(&mut self, run: &Run, stream: &'s [Z; BLOCKS_MAX]) -> (usize, &'s [Z]) {
        let stream = &stream[run.lane..run.lane + run.blocks];
        match (run.first_block, stream) {
            (0, [key, rest @ ..]) => {
                self.blocks[run.message] = *key;
                (0, rest)
            }
            (block, stream) => ((block - 1) * BLOCK, stream),
        }
    }
}

impl Drop for OneTimeKeys {
    fn drop(&mut self) {
        // SAFETY: the CPU has what the function is compiled for; `features` is the proof.
        unsafe { wipe(self.features, &mut self.blocks[..self.count]) };
    }
}
