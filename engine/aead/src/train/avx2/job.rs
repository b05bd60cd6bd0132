//! A message on its way: which blocks it has, where they are, and how far encryption and hash have come.

use core::cell::Cell;

use super::bytes::{block, copy, copy_from, cut, words};
use super::hash::{Hash, POLY_BLOCK, PolyBlock};
use super::pass::{BLOCK, Lane, Piece};
use super::strands::SHARE;
use crate::{Source, TAG_LEN};

/// The last block of a ciphertext, zero-padded, with the block of lengths behind it: so the end of a hash is one piece.
pub(super) type Tail = [Cell<u8>; BLOCK + POLY_BLOCK];

/// A message. Blocks of ChaCha20 are counted from 0, the one-time key (RFC 8439, section 2.6); block 1 begins the text.
#[derive(Clone, Copy)]
pub(super) struct Job<'b> {
    pub(super) counter: u64,
    pub(super) text: &'b [Cell<u8>],
    pub(super) tag: &'b Cell<[u8; TAG_LEN]>,
    pub(super) hash: &'b Cell<Hash>,
    tail: &'b Tail,
    /// What of the text is in front of the tail.
    body: &'b [PolyBlock],
    /// The next block, and how many there are.
    pub(super) next: usize,
    pub(super) blocks: usize,
    /// Blocks of Poly1305: hashed so far, those that are there to be hashed, and all.
    pub(super) hashed: usize,
    ready: usize,
    pub(super) all: usize,
}

/// When a ciphertext can be hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// Never: there is no hash.
    Never,
    /// When it is encrypted.
    Encrypted,
    /// It is there from the beginning, so when there is the one-time key.
    WithKey,
}

impl<'b> Job<'b> {
    #[inline(always)]
    pub(super) fn new(
        counter: u64,
        text: &'b [Cell<u8>],
        tag: &'b Cell<[u8; TAG_LEN]>,
        hash: &'b Cell<Hash>,
        tail: &'b Tail,
    ) -> Self {
        let text_blocks = text.len().div_ceil(BLOCK);
        let body = &text.as_chunks().0[..text_blocks.saturating_sub(1) * (BLOCK / POLY_BLOCK)];
        let all = text.len().div_ceil(POLY_BLOCK) + 1;
        Self { counter, text, tag, hash, tail, body, next: 0, blocks: 1 + text_blocks, hashed: 0, ready: 0, all }
    }

    /// The same, as long as only its one-time key is made.
    pub(super) fn key_alone(self) -> Self {
        Self { blocks: 1, ..self }
    }

    /// The same, when only its text is left to be made.
    pub(super) fn text_alone(self) -> Self {
        Self { next: 1, ..self }
    }

    /// The last block of the text, whole or not; nothing of an empty one.
    #[inline(always)]
    fn last(&self) -> &'b [Cell<u8>] {
        &self.text[self.body.len() * POLY_BLOCK..]
    }

    /// Whether all blocks were given to a pass.
    #[inline(always)]
    pub(super) fn is_through(&self) -> bool {
        self.next == self.blocks
    }

    /// Whether all of the hash was given to a pass.
    #[inline(always)]
    pub(super) fn is_hashed(&self) -> bool {
        self.hashed == self.all
    }

    /// The lane that encrypts this block of the text in its place. A last block that is not whole is encrypted in the
    /// tail.
    #[inline(always)]
    pub(super) fn lane(&self, number: usize, source: Option<&'b Source<'b>>) -> Lane<'b> {
        let at = (number - 1) * BLOCK;
        let Some(target) = self.text[at..].first_chunk() else {
            let (rest, target) = (&self.text[at..], block(self.tail, 0));
            match source {
                None => copy(rest, &target[..rest.len()]),
                Some(source) => compose(source, at, &target[..rest.len()]),
            }
            return Lane::in_place(target);
        };
        match source {
            None => Lane::in_place(target),
            Some(source) => {
                // Most blocks are entirely in one of the two pieces.
                let piece = match at.checked_sub(source.head.len()) {
                    None => source.head[at..].first_chunk(),
                    Some(at) => source.body.get(at..).and_then(|body| body.first_chunk()),
                };
                if let Some(piece) = piece {
                    return Lane::from(piece, target);
                }
                compose(source, at, target);
                Lane::in_place(target)
            }
        }
    }

    /// The lanes that encrypt these blocks of the text in their place: none of them is the last.
    #[inline(always)]
    pub(super) fn inner_lanes(&self, first_block: usize) -> [Lane<'b>; SHARE] {
        let text = &self.text[(first_block - 1) * BLOCK..][..SHARE * BLOCK];
        core::array::from_fn(|place| Lane::in_place(block(text, place * BLOCK)))
    }

    /// The same for as many blocks as there are lanes: the last may be among them.
    #[inline(always)]
    pub(super) fn lanes(&self, first_block: usize, lanes: &mut [Lane<'b>]) {
        let (whole, _) = self.text[(first_block - 1) * BLOCK..].as_chunks();
        for (lane, block) in lanes.iter_mut().zip(whole) {
            *lane = Lane::in_place(block);
        }
        if let Some(lane) = lanes.get_mut(whole.len()) {
            *lane = self.lane(first_block + whole.len(), None);
        }
    }

    #[cfg(test)]
    pub(super) fn tail(&self) -> &'b Tail {
        self.tail
    }

    /// The one-time key is there.
    #[inline(always)]
    pub(super) fn set_key(&self, block: &[Cell<u8>; BLOCK]) {
        let [r0, r1, s0, s1, ..] = words::<BLOCK, 8>(block);
        self.hash.set(Hash::new(&[r0, r1, s0, s1]));
    }

    /// The text is encrypted: its end comes out of the tail, and the tail is made for the hash.
    #[inline(always)]
    pub(super) fn encrypted(&self) {
        let (last, encrypted) = (self.last(), block(self.tail, 0));
        if last.len() == BLOCK {
            copy(last, encrypted);
        } else {
            copy(&encrypted[..last.len()], last);
            cut(encrypted, last.len());
        }
        self.finish_tail();
    }

    /// The text is ciphertext from the beginning.
    #[inline(always)]
    pub(super) fn take_ciphertext(&self) {
        copy(self.last(), &self.tail[..self.last().len()]);
        self.finish_tail();
    }

    /// Sets how much of the ciphertext can be hashed: what is encrypted, or all of it as soon as there is the key.
    #[inline(always)]
    pub(super) fn set_ready(&mut self, ready: Ready) {
        self.ready = self.hashable(ready, self.next);
    }

    /// The same, with `next` the next block.
    #[inline(always)]
    pub(super) fn hashable(&self, ready: Ready, next: usize) -> usize {
        match ready {
            Ready::Never => 0,
            Ready::WithKey => self.all,
            Ready::Encrypted if next == self.blocks => self.all,
            // Not what is in the tail: that is not yet there.
            Ready::Encrypted => next.saturating_sub(1) * (BLOCK / POLY_BLOCK),
        }
    }

    #[inline(always)]
    fn finish_tail(&self) {
        // No associated data, then the length of the text (RFC 8439, section 2.8).
        let mut lengths = [0; POLY_BLOCK];
        lengths[8..].copy_from_slice(&(self.text.len() as u64).to_le_bytes());
        let place = self.last().len().next_multiple_of(POLY_BLOCK);
        copy_from(&lengths, &self.tail[place..place + POLY_BLOCK]);
    }

    /// Blocks that can be hashed now and lie side by side.
    #[inline(always)]
    pub(super) fn available(&self) -> usize {
        self.side_by_side(self.hashed, self.ready)
    }

    /// Those from `hashed` on.
    #[inline(always)]
    pub(super) fn side_by_side(&self, hashed: usize, ready: usize) -> usize {
        let body = self.body.len();
        if hashed < body { ready.min(body) - hashed } else { ready - hashed }
    }

    /// Takes the next `count` of them, which are no more than there are available.
    #[inline(always)]
    pub(super) fn take(&mut self, count: usize) -> Piece<'b> {
        let piece = self.piece(self.hashed, count);
        self.hashed += count;
        piece
    }

    /// Those from `hashed` on.
    #[inline(always)]
    pub(super) fn piece(&self, hashed: usize, count: usize) -> Piece<'b> {
        let blocks = match hashed.checked_sub(self.body.len()) {
            None => &self.body[hashed..],
            Some(place) => &self.tail.as_chunks().0[place..],
        };
        Piece { hash: self.hash, blocks: &blocks[..count] }
    }
}

/// The bytes from `at` on of the two pieces and the padding, as many as there is room for.
#[inline]
fn compose(source: &Source<'_>, at: usize, to: &[Cell<u8>]) {
    let from_head = source.head.get(at..).unwrap_or(&[]);
    let (head_cells, rest) = to.split_at(from_head.len().min(to.len()));
    copy_from(&from_head[..head_cells.len()], head_cells);
    let body_at = at.saturating_sub(source.head.len());
    let from_body = source.body.get(body_at..).unwrap_or(&[]);
    let (body_cells, padding) = rest.split_at(from_body.len().min(rest.len()));
    copy_from(&from_body[..body_cells.len()], body_cells);
    padding.iter().for_each(|cell| cell.set(0));
}
