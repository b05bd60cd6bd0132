//! Sealing: key stream and text make the ciphertext, which is then hashed. Of a long message the hash of what was
//! encrypted last is computed beside the rounds for what comes next.

use super::ghash::{Lengths, Sum, add_blocks};
use super::key::Key;
use super::masks::{Masks, section_len};
use super::registers::{BLOCK, Registers};
use super::stream::{Counters, REGISTERS, last_round, rounds};
use super::walk::{Work, group_len, registers, step};
use crate::{Message, Source};

/// Encrypts the messages in place, or their sources into them, and writes the tags.
#[inline(always)]
pub(super) fn seal<V: Registers>(v: V, key: Key<'_>, sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
    let mut lengths = Lengths::new(v);
    for (index, messages) in messages.chunks_mut(section_len::<V>()).enumerate() {
        let sources = sources.map(|sources| &sources[index * section_len::<V>()..]);
        if let Some(sources) = sources {
            copy_short::<V>(sources, messages);
        }
        let masks = Masks::new(v, key, messages);
        let count = messages.len();
        let mut sealing = Sealing { v, key, sources, messages, masks, lengths };
        let mut place = 0;
        while place < count {
            let registers = registers::<V>(&sealing.messages[place]);
            let len = group_len::<V>(&sealing.messages[place..]);
            step(&mut sealing, v, place, registers, len);
            place += len;
        }
        lengths = sealing.lengths;
    }
}

/// Short messages are sealed in place: their sources are copied first. All of them, so nobody reads what was written
/// just now in other pieces.
#[inline(always)]
fn copy_short<V: Registers>(sources: &[Source<'_>], messages: &mut [Message<'_>]) {
    for (message, source) in messages.iter_mut().zip(sources) {
        if registers::<V>(message) <= REGISTERS {
            source.copy_padded(message.text_mut());
        }
    }
}

/// A section of a batch that is being sealed.
struct Sealing<'b, 'm, V: Registers> {
    v: V,
    key: Key<'b>,
    sources: Option<&'b [Source<'b>]>,
    messages: &'b mut [Message<'m>],
    masks: Masks<V>,
    lengths: Lengths<V>,
}

impl<V: Registers> Work for Sealing<'_, '_, V> {
    type V = V;

    #[inline(always)]
    fn empty(&mut self, place: usize) {
        self.write_tag(place, self.v.zero());
    }

    #[inline(always)]
    fn group<const M: usize, const N: usize>(&mut self, place: usize) {
        let (v, key) = (self.v, self.key);
        let messages = self.messages[place..].first_chunk_mut::<M>().expect("a group is of the section");
        let mut blocks = [[v.zero(); N]; M];
        for (blocks, message) in blocks.iter_mut().zip(&*messages) {
            *blocks = Counters::of_text(v, message.counter()).take(v, key);
        }
        rounds(v, key, &mut blocks, |_| {});
        for (blocks, message) in blocks.iter_mut().zip(&mut *messages) {
            encrypt_last(v, key, blocks, None, message.text_mut());
        }
        let mut sums = [v.zero(); M];
        for ((sum, blocks), message) in sums.iter_mut().zip(blocks).zip(&*messages) {
            let count = message.text().len().div_ceil(BLOCK);
            *sum = add_blocks(v, key.powers_from::<N, V>(count + 1), v.zero(), blocks);
        }
        for (index, sum) in sums.into_iter().enumerate() {
            self.write_tag(place + index, sum);
        }
    }

    #[inline(always)]
    fn long(&mut self, place: usize) {
        let (v, key) = (self.v, self.key);
        let source = self.sources.map(|sources| &sources[place]);
        let (counter, text, _) = self.messages[place].parts();
        let mut counters = Counters::of_text(v, counter);
        let chunk_len = REGISTERS * V::BYTES;
        // The last chunk is not among them, whether it is whole or not: it ends otherwise.
        let chunks = (text.len() - 1) / chunk_len;
        let mut y = v.zero();
        for index in 0..chunks {
            let (done, rest) = text.split_at_mut(index * chunk_len);
            let chunk = &mut rest[..chunk_len];
            let from = piece(source, index * chunk_len, chunk);
            let mut blocks = [counters.take::<REGISTERS>(v, key)];
            if index == 0 {
                rounds(v, key, &mut blocks, |_| {});
            } else {
                y = rounds_beside_hash(v, key, &mut blocks, &done[done.len() - chunk_len..], y);
            }
            for (index, block) in blocks[0].into_iter().enumerate() {
                encrypt_register(v, key, block, from, chunk, index * V::BYTES);
            }
        }
        let (done, rest) = text.split_at_mut(chunks * chunk_len);
        let from = piece(source, chunks * chunk_len, rest);
        let last = Last { v, key, counters, done: &done[done.len() - chunk_len..], y, from };
        let y = match rest.len().div_ceil(V::BYTES) {
            1 => last.seal::<1>(rest),
            2 => last.seal::<2>(rest),
            3 => last.seal::<3>(rest),
            4 => last.seal::<4>(rest),
            5 => last.seal::<5>(rest),
            6 => last.seal::<6>(rest),
            7 => last.seal::<7>(rest),
            _ => last.seal::<REGISTERS>(rest),
        };
        self.write_tag(place, y);
    }
}

impl<V: Registers> Sealing<'_, '_, V> {
    /// The tag, of the sum of the text's blocks.
    #[inline(always)]
    fn write_tag(&mut self, place: usize, y: V::Register) {
        let (v, message) = (self.v, &mut self.messages[place]);
        let sum = v.xor(y, self.lengths.product(v, self.key, message.text().len()));
        let (_, _, tag) = message.parts();
        v.store_block(tag, v.xor(v.reverse(sum), self.masks.of(place)));
    }
}

/// The end of a long message.
struct Last<'a, V: Registers> {
    v: V,
    key: Key<'a>,
    counters: Counters<V>,
    /// The chunk before, which is not hashed yet.
    done: &'a [u8],
    /// The sum before that.
    y: V::Register,
    from: Option<&'a [u8]>,
}

impl<V: Registers> Last<'_, V> {
    /// Seals `text`, of `N` registers, and returns the sum after it.
    #[inline(always)]
    fn seal<const N: usize>(mut self, text: &mut [u8]) -> V::Register {
        let (v, key) = (self.v, self.key);
        let mut blocks = [self.counters.take::<N>(v, key)];
        let y = rounds_beside_hash(v, key, &mut blocks, self.done, self.y);
        encrypt_last(v, key, &mut blocks[0], self.from, text);
        let count = text.len().div_ceil(BLOCK);
        add_blocks(v, key.powers_from::<N, V>(count + 1), y, blocks[0])
    }
}

/// The rounds, and beside them the sum after a chunk that is encrypted already.
#[inline(always)]
fn rounds_beside_hash<const N: usize, V: Registers>(
    v: V,
    key: Key<'_>,
    blocks: &mut [[V::Register; N]; 1],
    done: &[u8],
    y: V::Register,
) -> V::Register {
    let (mut sum, mut y) = (Sum::new(v), y);
    let powers = key.powers_from::<REGISTERS, V>(REGISTERS * V::WIDTH);
    let done = &done[..REGISTERS * V::BYTES];
    rounds(
        v,
        key,
        blocks,
        #[inline(always)]
        |round| {
            if round < REGISTERS {
                let block = v.reverse(v.load(&done[round * V::BYTES..]));
                sum.add(v, v.xor(block, y), powers, round);
                y = v.zero();
            }
        },
    );
    sum.reduced(v)
}

/// Encrypts the last registers of a text, of which the last need not be full. Leaves the ciphertext in `blocks`,
/// zero-padded.
#[inline(always)]
fn encrypt_last<const N: usize, V: Registers>(
    v: V,
    key: Key<'_>,
    blocks: &mut [V::Register; N],
    from: Option<&[u8]>,
    text: &mut [u8],
) {
    let (whole, rest) = text.split_at_mut((N - 1) * V::BYTES);
    let (from_whole, from_rest) = from.map(|from| from.split_at((N - 1) * V::BYTES)).unzip();
    for (index, block) in blocks[..N - 1].iter_mut().enumerate() {
        *block = encrypt_register(v, key, *block, from_whole, whole, index * V::BYTES);
    }
    let plain = v.load_prefix(from_rest.unwrap_or(rest));
    blocks[N - 1] = v.keep_prefix(last_round(v, key, blocks[N - 1], plain), rest.len());
    v.store_prefix(rest, blocks[N - 1]);
}

/// Encrypts a register of text, in place or from elsewhere.
#[inline(always)]
fn encrypt_register<V: Registers>(
    v: V,
    key: Key<'_>,
    block: V::Register,
    from: Option<&[u8]>,
    text: &mut [u8],
    at: usize,
) -> V::Register {
    let plain = v.load(match from {
        Some(from) => &from[at..],
        None => &text[at..],
    });
    let cipher = last_round(v, key, block, plain);
    v.store(&mut text[at..], cipher);
    cipher
}

/// Where the plaintext of a piece of a message is that begins at `at`: in the source's body if all of it is there, most
/// of it being so. Else it is copied to where it will be encrypted: the border of head and body, and padding.
#[inline(always)]
fn piece<'s>(source: Option<&Source<'s>>, at: usize, text: &mut [u8]) -> Option<&'s [u8]> {
    let source = source?;
    let body = at.checked_sub(source.head.len()).and_then(|at| source.body.get(at..at + text.len()));
    if body.is_none() {
        copy_piece(source, at, text);
    }
    body
}

/// Copies the bytes of a source from `at` on, as many as there is room for, with zeros behind its end.
#[inline(always)]
fn copy_piece(source: &Source<'_>, at: usize, text: &mut [u8]) {
    let head = source.head.get(at..).unwrap_or(&[]);
    let (head_place, rest) = text.split_at_mut(head.len().min(text.len()));
    head_place.copy_from_slice(&head[..head_place.len()]);
    let body = source.body.get(at.saturating_sub(source.head.len())..).unwrap_or(&[]);
    let (body_place, padding) = rest.split_at_mut(body.len().min(rest.len()));
    body_place.copy_from_slice(&body[..body_place.len()]);
    padding.fill(0);
}
