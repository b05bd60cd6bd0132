//! Data messages and where their plaintexts come from.

use std::fmt;

use crate::{Geometry, HEADER_LEN, MAX_SEGMENTS, TAG_LEN};

/// One data message without its header: what a batch is made of. Messages of one batch may differ in length, and lie
/// anywhere; being exclusive borrows, they cannot overlap.
///
/// ```compile_fail
/// # use ringfort_aead::Message;
/// let mut buf = vec![0u8; 2000];
/// // Two messages that share bytes: refused by the borrow checker, so that no kernel has to think of it.
/// let batch = [Message { counter: 0, body: &mut buf[..1000] }, Message { counter: 1, body: &mut buf[500..] }];
/// drop(batch);
/// ```
pub struct Message<'a> {
    /// Its counter, from which the nonce is made.
    pub counter: u64,
    /// The text and, in the last 16 bytes, the tag. 16 to 65,535 bytes.
    pub body: &'a mut [u8],
}

/// A plaintext in two pieces, as the cutting of a super-packet yields them: headers made for this segment, and its share of
/// the payload. What remains of the segment's plaintext is zero padding.
#[derive(Clone, Copy, Default)]
pub struct Source<'a> {
    /// The first bytes; may be empty.
    pub head: &'a [u8],
    /// The bytes that follow; may be empty.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Counter, text and tag. The body was found long enough where it came in.
    pub(crate) fn parts(&mut self) -> (u64, &mut [u8], &mut [u8; TAG_LEN]) {
        let (text, tag) = self.body.split_last_chunk_mut().expect("a checked message has room for its tag");
        (self.counter, text, tag)
    }
}

/// Calls `f` with the messages of a train, which is exactly as long as `geometry` says. `counters` has one for each.
pub(crate) fn with_train<R>(
    train: &mut [u8],
    geometry: Geometry,
    counters: impl Iterator<Item = u64>,
    f: impl FnOnce(&mut [Message<'_>]) -> R,
) -> R {
    let mut messages: [Message<'_>; MAX_SEGMENTS] = std::array::from_fn(|_| Message { counter: 0, body: &mut [] });
    let segments = train.chunks_mut(geometry.stride()).zip(counters);
    for (message, (segment, counter)) in messages.iter_mut().zip(segments) {
        *message = Message { counter, body: &mut segment[HEADER_LEN..] };
    }
    f(&mut messages[..geometry.count()])
}

impl Source<'_> {
    /// Bytes of plaintext before padding.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there is no plaintext: a keepalive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies head and body to `plaintext`, which is long enough, and zeroes what remains.
    pub(crate) fn copy_padded(&self, plaintext: &mut [u8]) {
        let (head, rest) = plaintext.split_at_mut(self.head.len());
        let (body, padding) = rest.split_at_mut(self.body.len());
        head.copy_from_slice(self.head);
        body.copy_from_slice(self.body);
        padding.fill(0);
    }
}

/// No Debug of the contents: this is plaintext.
impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Likewise: before sealing and after opening.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counter, len) = (self.counter, self.body.len());
        f.debug_struct("Message").field("counter", &counter).field("len", &len).finish_non_exhaustive()
    }
}
