//! The two halves of a session as a caller sees them: seal with one, open with the other.

use std::fmt;

use crate::cipher::TrainCipher;
use crate::{Geometry, KEY_LEN, MAX_SEGMENT_LEN, Provider, TAG_LEN, Verdicts};

/// The tag did not verify: wrong key, wrong counter, or changed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authentication tag does not verify")]
pub struct BadTag;

/// Arguments that do not fit each other: a bug of the caller, never the network's doing. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// The buffer ends before the train does.
    #[error("a train of {needed} bytes in a buffer of {available}")]
    BufferTooShort {
        /// Bytes of the train.
        needed: usize,
        /// Bytes of the buffer.
        available: usize,
    },
    /// The text is longer than any datagram can be ([`MAX_SEGMENT_LEN`]).
    #[error("a text of {len} bytes; no datagram holds it")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// Not one counter, or not one source, for each segment.
    #[error("{given} counters or sources for {segments} segments")]
    CountMismatch {
        /// Entries given.
        given: usize,
        /// Segments of the train.
        segments: usize,
    },
    /// A source is longer than the plaintext of the segment that it is for.
    #[error("the source of segment {segment} has {len} bytes, its plaintext {room}")]
    SourceTooLong {
        /// Which segment.
        segment: usize,
        /// Bytes of the source.
        len: usize,
        /// Bytes of plaintext in the segment.
        room: usize,
    },
    /// The counters of the train would pass `u64::MAX` and with it repeat nonces.
    #[error("{count} counters from {first} on would wrap")]
    CounterWraps {
        /// The first counter.
        first: u64,
        /// Segments of the train.
        count: usize,
    },
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

/// A session key for sending. Shared by any number of threads: the caller hands out each counter once.
pub struct SealKey {
    // Boxed also so that a move of this value leaves no copy of the key behind.
    cipher: Box<dyn TrainCipher>,
    provider: Provider,
}

/// A session key for receiving.
pub struct OpenKey {
    cipher: Box<dyn TrainCipher>,
    provider: Provider,
}

impl SealKey {
    /// Expands `key` for `provider`. The caller wipes its own copy.
    pub fn new(provider: Provider, key: &[u8; KEY_LEN]) -> Self {
        Self { cipher: provider.cipher(key), provider }
    }

    /// The provider that does the work.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Encrypts one plaintext in place and writes its tag.
    ///
    /// # Errors
    /// [`TrainError::TooLong`] for more than [`MAX_SEGMENT_LEN`] bytes.
    pub fn seal(&self, counter: u64, plaintext: &mut [u8], tag: &mut [u8; TAG_LEN]) -> Result<(), TrainError> {
        refuse_too_long(plaintext.len())?;
        self.cipher.seal(counter, plaintext, tag);
        Ok(())
    }

    /// Encrypts `source` into `destination`: the ciphertext of `source` and as many zero bytes as `destination` has room
    /// for, then the tag in its last 16 bytes. `destination` starts behind the data header.
    ///
    /// # Errors
    /// [`TrainError::BufferTooShort`] if `destination` has no room for source and tag, [`TrainError::TooLong`].
    pub fn seal_from(&self, counter: u64, source: &[u8], destination: &mut [u8]) -> Result<(), TrainError> {
        let available = destination.len();
        refuse_too_long(available)?;
        let short = TrainError::BufferTooShort { needed: source.len() + TAG_LEN, available };
        let (plaintext, tag) = destination.split_last_chunk_mut().ok_or(short)?;
        if source.len() > plaintext.len() {
            return Err(short);
        }
        Source { head: source, body: &[] }.copy_padded(plaintext);
        self.cipher.seal(counter, plaintext, tag);
        Ok(())
    }

    /// Encrypts a train in place: segment `i` under `first_counter + i`. Headers are left as they are; bytes of `buf`
    /// behind the train are not touched.
    ///
    /// # Errors
    /// [`TrainError::BufferTooShort`], [`TrainError::CounterWraps`].
    pub fn seal_train(&self, first_counter: u64, buf: &mut [u8], geometry: Geometry) -> Result<(), TrainError> {
        refuse_wrap(first_counter, geometry)?;
        let train = cover(buf, geometry)?;
        self.cipher.seal_train(first_counter, train, geometry);
        Ok(())
    }

    /// Encrypts `sources`, each zero-padded to the plaintext of its segment, into a train in `buf`: segment `i` under
    /// `first_counter + i`. Headers are left as they are; bytes of `buf` behind the train are not touched.
    ///
    /// # Errors
    /// [`TrainError::BufferTooShort`], [`TrainError::CounterWraps`], [`TrainError::CountMismatch`] unless there is one
    /// source per segment, [`TrainError::SourceTooLong`].
    pub fn seal_train_from(
        &self,
        first_counter: u64,
        sources: &[Source<'_>],
        buf: &mut [u8],
        geometry: Geometry,
    ) -> Result<(), TrainError> {
        refuse_wrap(first_counter, geometry)?;
        refuse_mismatch(sources.len(), geometry)?;
        for (segment, source) in sources.iter().enumerate() {
            let (len, room) = (source.len(), geometry.plaintext_len(segment));
            if len > room {
                return Err(TrainError::SourceTooLong { segment, len, room });
            }
        }
        let train = cover(buf, geometry)?;
        self.cipher.seal_train_from(first_counter, sources, train, geometry);
        Ok(())
    }
}

impl OpenKey {
    /// Expands `key` for `provider`. The caller wipes its own copy.
    pub fn new(provider: Provider, key: &[u8; KEY_LEN]) -> Self {
        Self { cipher: provider.cipher(key), provider }
    }

    /// The provider that does the work.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Verifies and decrypts one message in place. `buf` is ciphertext and tag, without the data header; on success all
    /// but its last 16 bytes are the plaintext.
    ///
    /// # Errors
    /// [`BadTag`], also for a `buf` that is too short to hold a tag or too long for a datagram. What `buf` then holds says
    /// [`Provider::on_failure`]: never plaintext.
    pub fn open(&self, counter: u64, buf: &mut [u8]) -> Result<(), BadTag> {
        refuse_too_long(buf.len()).map_err(|_| BadTag)?;
        let (ciphertext, tag) = buf.split_last_chunk_mut().ok_or(BadTag)?;
        self.cipher.open(counter, ciphertext, tag)
    }

    /// Verifies and decrypts a train in place, segment `i` under `counters[i]`. Each segment stands for itself: one that
    /// fails is never left as plaintext and does not affect the others.
    ///
    /// # Errors
    /// [`TrainError::BufferTooShort`], [`TrainError::CountMismatch`] unless there is one counter per segment.
    pub fn open_train(&self, counters: &[u64], buf: &mut [u8], geometry: Geometry) -> Result<Verdicts, TrainError> {
        refuse_mismatch(counters.len(), geometry)?;
        let train = cover(buf, geometry)?;
        Ok(self.cipher.open_train(counters, train, geometry))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("provider", &self.provider).finish_non_exhaustive()
    }
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

/// The part of `buf` that the train occupies.
fn cover(buf: &mut [u8], geometry: Geometry) -> Result<&mut [u8], TrainError> {
    let (needed, available) = (geometry.total_len(), buf.len());
    buf.get_mut(..needed).ok_or(TrainError::BufferTooShort { needed, available })
}

fn refuse_too_long(len: usize) -> Result<(), TrainError> {
    if len > MAX_SEGMENT_LEN { Err(TrainError::TooLong { len }) } else { Ok(()) }
}

fn refuse_mismatch(given: usize, geometry: Geometry) -> Result<(), TrainError> {
    let segments = geometry.count();
    if given == segments { Ok(()) } else { Err(TrainError::CountMismatch { given, segments }) }
}

fn refuse_wrap(first: u64, geometry: Geometry) -> Result<(), TrainError> {
    let count = geometry.count();
    match first.checked_add(count as u64) {
        Some(_) => Ok(()),
        None => Err(TrainError::CounterWraps { first, count }),
    }
}
