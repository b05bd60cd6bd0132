//! Key stream and text come together.

use super::vector::{BLOCK, Vector, Window};
use crate::Source;

/// Encrypts or decrypts the first bytes of `text`, as many as there is key stream for.
#[inline(always)]
pub(super) fn apply<V: Vector>(v: V, stream: &[V::Block], text: &mut [u8]) {
    let (blocks, tail) = text.as_chunks_mut();
    let whole = blocks.len();
    for (block, stream) in blocks.iter_mut().zip(stream) {
        v.store(block, v.xor(v.load(block), *stream));
    }
    if let Some(stream) = stream.get(whole) {
        v.store_prefix(tail, v.xor(v.load_prefix(tail), *stream));
    }
}

/// Encrypts `source`, zero-padded, into `text` from `place` on, as far as there is key stream. `place` is where a block
/// begins.
#[inline(always)]
pub(super) fn apply_from<V: Vector>(
    v: V,
    mut stream: &[V::Block],
    source: &Source<'_>,
    mut place: usize,
    text: &mut [u8],
) {
    let (head, body) = (source.head, source.body);
    while let Some((first, rest)) = stream.split_first() {
        // Blocks that are entirely in one of the two pieces: most of them.
        let whole = match place.checked_sub(head.len()) {
            None => head[place..].as_chunks().0,
            Some(place) => body.get(place..).unwrap_or(&[]).as_chunks().0,
        };
        if whole.is_empty() {
            let destination = &mut text[place..];
            let len = destination.len().min(BLOCK);
            v.store_prefix(&mut destination[..len], v.xor(block_at(v, source, place), *first));
            stream = rest;
            place += BLOCK;
            continue;
        }
        let count = whole.len().min(stream.len());
        let destination = text[place..].as_chunks_mut().0.iter_mut();
        for ((destination, source), stream) in destination.zip(whole).zip(stream) {
            v.store(destination, v.xor(v.load(source), *stream));
        }
        stream = &stream[count..];
        place += count * BLOCK;
    }
}

/// The 64 bytes from `place` on of the two pieces and the padding.
#[inline(always)]
fn block_at<V: Vector>(v: V, source: &Source<'_>, place: usize) -> V::Block {
    let (head, body) = (source.head, source.body);
    let from_head = Window::new(place as isize, head.len()).of(v, head);
    let from_body = Window::new(place as isize - head.len() as isize, body.len()).of(v, body);
    v.join(from_head, from_body)
}
