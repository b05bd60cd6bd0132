//! Opening: the ciphertext is hashed beside the rounds for its key stream. So a long message is decrypted before its
//! tag is known to be right; if it is not, all of its text is zeroed before anybody sees it.

use core::hint::black_box;

use super::ghash::{Lengths, Sum};
use super::key::{Key, Powers};
use super::masks::{Masks, section_len};
use super::registers::{BLOCK, Registers};
use super::stream::{Counters, REGISTERS, last_round, rounds};
use super::walk::{Work, group_len, registers, step};
use crate::{Message, Verdicts};

/// Opens the messages in place. The text of one whose tag is not right is zeros.
#[inline(always)]
pub(super) fn open<V: Registers>(v: V, key: Key<'_>, messages: &mut [Message<'_>]) -> Verdicts {
    let mut verdicts = Verdicts::none_of(messages.len());
    let mut lengths = Lengths::new(v);
    let section_len = section_len::<V>();
    for (index, messages) in messages.chunks_mut(section_len).enumerate() {
        let masks = Masks::new(v, key, messages);
        let (count, first) = (messages.len(), index * section_len);
        let mut opening = Opening { v, key, messages, masks, lengths, verdicts, first };
        let mut place = 0;
        while place < count {
            let registers = registers::<V>(&opening.messages[place]);
            let len = group_len::<V>(&opening.messages[place..]);
            step(&mut opening, v, place, registers, len);
            place += len;
        }
        (lengths, verdicts) = (opening.lengths, opening.verdicts);
    }
    verdicts
}

/// A section of a batch that is being opened.
struct Opening<'b, 'm, V: Registers> {
    v: V,
    key: Key<'b>,
    messages: &'b mut [Message<'m>],
    masks: Masks<V>,
    lengths: Lengths<V>,
    verdicts: Verdicts,
    /// The place of the section's first message in the batch.
    first: usize,
}

impl<V: Registers> Work for Opening<'_, '_, V> {
    type V = V;

    #[inline(always)]
    fn empty(&mut self, place: usize) {
        self.judge(place, self.v.zero());
    }

    #[inline(always)]
    fn group<const M: usize, const N: usize>(&mut self, place: usize) {
        let (v, key) = (self.v, self.key);
        let messages = self.messages[place..].first_chunk_mut::<M>().expect("a group is of the section");
        let mut blocks = [[v.zero(); N]; M];
        let mut sums = [v.zero(); M];
        for ((blocks, sum), message) in blocks.iter_mut().zip(&mut sums).zip(&*messages) {
            *blocks = Counters::of_text(v, message.counter()).take(v, key);
            let text = message.text();
            let powers = key.powers_from::<N, V>(text.len().div_ceil(BLOCK) + 1);
            let mut hash = Hash::<N, V>::new(v, powers, text, v.zero());
            for index in 0..N {
                hash.add(v, index);
            }
            *sum = hash.sum.reduced(v);
        }
        rounds(v, key, &mut blocks, |_| {});
        for (blocks, message) in blocks.iter().zip(&mut *messages) {
            decrypt_last(v, key, blocks, message.text_mut());
        }
        for (index, sum) in sums.into_iter().enumerate() {
            self.judge(place + index, sum);
        }
    }

    #[inline(always)]
    fn long(&mut self, place: usize) {
        let (v, key) = (self.v, self.key);
        let (counter, text, _) = self.messages[place].parts();
        let mut counters = Counters::of_text(v, counter);
        let chunk_len = REGISTERS * V::BYTES;
        // The last chunk is not among them, whether it is whole or not: it ends otherwise.
        let (whole, rest) = text.split_at_mut((text.len() - 1) / chunk_len * chunk_len);
        let mut y = v.zero();
        for chunk in whole.chunks_exact_mut(chunk_len) {
            let mut blocks = [counters.take::<REGISTERS>(v, key)];
            let powers = key.powers_from::<REGISTERS, V>(REGISTERS * V::WIDTH);
            y = rounds_beside(v, key, &mut blocks, Hash::new(v, powers, chunk, y));
            for (index, block) in blocks[0].into_iter().enumerate() {
                decrypt_register(v, key, block, &mut chunk[index * V::BYTES..]);
            }
        }
        let last = Last { v, key, counters, y };
        let y = match rest.len().div_ceil(V::BYTES) {
            1 => last.open::<1>(rest),
            2 => last.open::<2>(rest),
            3 => last.open::<3>(rest),
            4 => last.open::<4>(rest),
            5 => last.open::<5>(rest),
            6 => last.open::<6>(rest),
            7 => last.open::<7>(rest),
            _ => last.open::<REGISTERS>(rest),
        };
        self.judge(place, y);
    }
}

impl<V: Registers> Opening<'_, '_, V> {
    /// The verdict on a message, by the sum of its text's blocks.
    #[inline(always)]
    fn judge(&mut self, place: usize, y: V::Register) {
        let (v, message) = (self.v, &mut self.messages[place]);
        let sum = v.xor(y, self.lengths.product(v, self.key, message.text().len()));
        let mut computed = [0; BLOCK];
        v.store_block(&mut computed, v.xor(v.reverse(sum), self.masks.of(place)));
        // How many bytes of a forged tag are right must not show in the time: all of them are looked at, and the
        // compiler does not know that only zero matters.
        let difference = black_box(u128::from_le_bytes(computed) ^ u128::from_le_bytes(*message.tag()));
        if difference == 0 {
            self.verdicts.pass(self.first + place);
        } else {
            message.text_mut().fill(0);
        }
    }
}

/// The end of a long message.
struct Last<'k, V: Registers> {
    v: V,
    key: Key<'k>,
    counters: Counters<V>,
    /// The sum before it.
    y: V::Register,
}

impl<V: Registers> Last<'_, V> {
    /// Decrypts `text`, of `N` registers, and returns the sum after it.
    #[inline(always)]
    fn open<const N: usize>(mut self, text: &mut [u8]) -> V::Register {
        let (v, key) = (self.v, self.key);
        let mut blocks = [self.counters.take::<N>(v, key)];
        let powers = key.powers_from::<N, V>(text.len().div_ceil(BLOCK) + 1);
        let y = rounds_beside(v, key, &mut blocks, Hash::new(v, powers, text, self.y));
        decrypt_last(v, key, &blocks[0], text);
        y
    }
}

/// Text of `N` registers that is being hashed, one after the other.
struct Hash<'a, const N: usize, V: Registers> {
    sum: Sum<V>,
    powers: Powers<'a>,
    whole: &'a [u8],
    /// The last register, which need not be full.
    last: V::Register,
    /// The sum before them, until it is added.
    y: V::Register,
}

impl<'a, const N: usize, V: Registers> Hash<'a, N, V> {
    #[inline(always)]
    fn new(v: V, powers: Powers<'a>, text: &'a [u8], y: V::Register) -> Self {
        let (whole, last) = text.split_at((N - 1) * V::BYTES);
        Self { sum: Sum::new(v), powers, whole, last: v.load_prefix(last), y }
    }

    #[inline(always)]
    fn add(&mut self, v: V, index: usize) {
        let text = if index == N - 1 { self.last } else { v.load(&self.whole[index * V::BYTES..]) };
        self.sum.add(v, v.xor(v.reverse(text), self.y), self.powers, index);
        self.y = v.zero();
    }
}

/// The rounds, and beside them the sum after what is hashed.
#[inline(always)]
fn rounds_beside<const N: usize, V: Registers>(
    v: V,
    key: Key<'_>,
    blocks: &mut [[V::Register; N]; 1],
    mut hash: Hash<'_, N, V>,
) -> V::Register {
    rounds(
        v,
        key,
        blocks,
        #[inline(always)]
        |round| {
            if round < N {
                hash.add(v, round);
            }
        },
    );
    hash.sum.reduced(v)
}

/// Decrypts the last registers of a text, of which the last need not be full.
#[inline(always)]
fn decrypt_last<const N: usize, V: Registers>(v: V, key: Key<'_>, blocks: &[V::Register; N], text: &mut [u8]) {
    let (whole, rest) = text.split_at_mut((N - 1) * V::BYTES);
    for (index, block) in blocks[..N - 1].iter().enumerate() {
        decrypt_register(v, key, *block, &mut whole[index * V::BYTES..]);
    }
    v.store_prefix(rest, last_round(v, key, blocks[N - 1], v.load_prefix(rest)));
}

/// Decrypts a register of text.
#[inline(always)]
fn decrypt_register<V: Registers>(v: V, key: Key<'_>, block: V::Register, text: &mut [u8]) {
    v.store(text, last_round(v, key, block, v.load(text)));
}
