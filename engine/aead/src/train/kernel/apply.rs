//! Key stream and text come together.

use core::arch::x86_64::*;

use super::vector::{BLOCK, Window, Z, load, load_prefix, store, store_prefix};
use crate::Source;

/// Encrypts or decrypts the first bytes of `text`, as many as there is key stream for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn apply(stream: &[Z], text: &mut [u8]) {
    let (blocks, tail) = text.as_chunks_mut();
    let whole = blocks.len();
    for (block, stream) in blocks.iter_mut().zip(stream) {
        store(block, _mm512_xor_si512(load(block), *stream));
    }
    if let Some(stream) = stream.get(whole) {
        store_prefix(tail, _mm512_xor_si512(load_prefix(tail), *stream));
    }
}

/// Encrypts `source`, zero-padded, into `text` from `place` on, as far as there is key stream. `place` is where a block
/// begins.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn apply_from(mut stream: &[Z], source: &Source<'_>, mut place: usize, text: &mut [u8]) {
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
            store_prefix(&mut destination[..len], _mm512_xor_si512(block_at(source, place), *first));
            stream = rest;
            place += BLOCK;
            continue;
        }
        let count = whole.len().min(stream.len());
        let destination = text[place..].as_chunks_mut().0.iter_mut();
        for ((destination, source), stream) in destination.zip(whole).zip(stream) {
            store(destination, _mm512_xor_si512(load(source), *stream));
        }
        stream = &stream[count..];
        place += count * BLOCK;
    }
}

/// The 64 bytes from `place` on of the two pieces and the padding.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn block_at(source: &Source<'_>, place: usize) -> Z {
    let (head, body) = (source.head, source.body);
    let from_head = Window::new(place as isize, head.len()).of(head);
    let from_body = Window::new(place as isize - head.len() as isize, body.len()).of(body);
    _mm512_or_si512(from_head, from_body)
}
