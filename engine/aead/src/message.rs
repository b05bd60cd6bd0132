//! Data messages and where their plaintexts come from.

use std::fmt;

use arrayvec::ArrayVec;

use crate::{Geometry, HEADER_LEN, SEGMENTS_MAX, TAG_LEN};

/// One data message without its header: what a batch is made of. Messages of one batch may differ in length, and lie
/// anywhere; being exclusive borrows, they cannot overlap, also not shifted by some bytes: a cipher that works across
/// messages would read what it has already overwritten. A batch is gathered without allocation in an `ArrayVec` of the
/// crate `arrayvec`.
///
/// ```
/// # use ringfort_aead::Message;
/// let mut buf = vec![0u8; 2000];
/// let (one, other) = buf.split_at_mut(500);
/// let batch = [Message::of_body(0, one), Message::of_body(1, other)];
/// drop(batch);
/// ```
///
/// ```compile_fail,E0499
/// # use ringfort_aead::Message;
/// let mut buf = vec![0u8; 2000];
/// let batch = [Message::of_body(0, &mut buf[..1000]), Message::of_body(1, &mut buf[500..])];
/// drop(batch);
/// ```
pub struct Message<'a> {
    counter: u64,
    text: &'a mut [u8],
    tag: &'a mut [u8; TAG_LEN],
}

/// A plaintext in two pieces, as the cutting of a super-packet yields them: headers made for this segment, and its
/// share of the payload. What remains of the segment's plaintext is zero padding. It cannot lie where the train will:
///
/// ```compile_fail,E0502
/// # use ringfort_aead::{Geometry, Plan, Provider, SealKey, Source, Suite};
/// let seal = SealKey::new(Plan::fixed(Provider::AwsLc), Suite::ChaCha20Poly1305, &[0; 32]);
/// let mut buf = vec![0u8; 232];
/// let sources = [Source { head: &buf[40..140], body: &[] }, Source { head: &buf[140..208], body: &[] }];
/// let geometry = Geometry::new(132, 100, 2).unwrap();
/// seal.seal_train_from(0, &sources, &mut buf, geometry).unwrap();
/// ```
#[derive(Clone, Copy, Default)]
pub struct Source<'a> {
    /// The first bytes; may be empty.
    pub head: &'a [u8],
    /// The bytes that follow; may be empty.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message with this counter, from which the nonce is made.
    pub fn new(counter: u64, text: &'a mut [u8], tag: &'a mut [u8; TAG_LEN]) -> Self {
        Self { counter, text, tag }
    }

    /// The same, of a text with the tag in the 16 bytes behind it; `None` if there is no room for a tag.
    pub fn of_body(counter: u64, body: &'a mut [u8]) -> Option<Self> {
        let (text, tag) = body.split_last_chunk_mut::<TAG_LEN>()?;
        Some(Self { counter, text, tag })
    }

    #[cfg_attr(not(any(target_arch = "x86_64", test, feature = "arrays")), allow(dead_code))]
    pub(crate) fn counter(&self) -> u64 {
        self.counter
    }

    pub(crate) fn text(&self) -> &[u8] {
        self.text
    }

    #[cfg_attr(not(any(target_arch = "x86_64", test, feature = "arrays")), allow(dead_code))]
    pub(crate) fn text_mut(&mut self) -> &mut [u8] {
        self.text
    }

    #[cfg_attr(not(any(target_arch = "x86_64", test, feature = "arrays")), allow(dead_code))]
    pub(crate) fn tag(&self) -> &[u8; TAG_LEN] {
        self.tag
    }

    /// Counter, text and tag.
    pub(crate) fn parts(&mut self) -> (u64, &mut [u8], &mut [u8; TAG_LEN]) {
        (self.counter, self.text, self.tag)
    }
}

/// Calls `f` with the messages of a train, which is exactly as long as `geometry` says. `counters` has one for each.
pub(crate) fn with_train<R>(
    train: &mut [u8],
    geometry: Geometry,
    counters: impl Iterator<Item = u64>,
    f: impl FnOnce(&mut [Message<'_>]) -> R,
) -> R {
    let segments = train.chunks_mut(geometry.stride()).zip(counters);
    let messages = segments.map(|(segment, counter)| {
        Message::of_body(counter, &mut segment[HEADER_LEN..]).expect("a Geometry has no segment without room for a tag")
    });
    // Filled where it is: collected, it would be copied as a whole, empty places and all.
    let mut batch = ArrayVec::<_, SEGMENTS_MAX>::new();
    batch.extend(messages);
    f(&mut batch)
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
        let (counter, len) = (self.counter, self.text.len());
        f.debug_struct("Message").field("counter", &counter).field("len", &len).finish_non_exhaustive()
    }
}
