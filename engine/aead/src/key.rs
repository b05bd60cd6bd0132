//! The two halves of a session as a caller sees them: seal with one, open with the other.

use crate::message::with_train;
use crate::plan::Ciphers;
use crate::{Geometry, KEY_LEN, Message, Plan, SEGMENT_LEN_MAX, SEGMENTS_MAX, Source, Suite, TAG_LEN, Verdicts};

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
    /// The text is longer than any datagram can be ([`SEGMENT_LEN_MAX`]).
    #[error("a text of {len} bytes; no datagram holds it")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// More messages than a batch can have.
    #[error("a batch of {count} messages; {SEGMENTS_MAX} are possible")]
    TooMany {
        /// Messages given.
        count: usize,
    },
    /// Not one counter, or not one source, for each segment or message.
    #[error("{given} counters or sources for {segments} segments")]
    CountMismatch {
        /// Entries given.
        given: usize,
        /// Segments of the train, or messages of the batch.
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

// The steps of the data path are not inlined: what the cipher takes is told from the rest by them (bench/instructions).

/// A session key for sending. Shared by any number of threads: the caller hands out each counter once.
#[derive(Debug)]
pub struct SealKey(Ciphers);

/// A session key for receiving.
#[derive(Debug)]
pub struct OpenKey(Ciphers);

impl SealKey {
    /// Expands `key` for the providers that `plan` has for `suite`. The caller wipes its own copy.
    pub fn new(plan: Plan, suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        Self(Ciphers::new(plan, suite, key))
    }

    /// The suite that this key is of.
    pub fn suite(&self) -> Suite {
        self.0.suite()
    }

    /// Encrypts one plaintext in place and writes its tag.
    ///
    /// # Errors
    /// [`TrainError::TooLong`] for more than [`SEGMENT_LEN_MAX`] bytes.
    pub fn seal(&self, counter: u64, plaintext: &mut [u8], tag: &mut [u8; TAG_LEN]) -> Result<(), TrainError> {
        refuse_too_long(plaintext.len())?;
        self.0.of(1, plaintext.len()).seal(counter, plaintext, tag);
        Ok(())
    }

    /// Encrypts `source` into `destination`: the ciphertext of `source` and as many zero bytes as `destination` has
    /// room for, then the tag in its last 16 bytes. `destination` starts behind the data header.
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
        self.0.of(1, plaintext.len()).seal(counter, plaintext, tag);
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
        let cipher = self.0.of(count_of(geometry), geometry.plaintext_len(0));
        with_train(train, geometry, first_counter.., |messages| cipher.seal_batch(messages));
        Ok(())
    }

    /// Encrypts `sources`, each zero-padded to the plaintext of its segment, into a train in `buf`: segment `i` under
    /// `first_counter + i`. Headers are left as they are; bytes of `buf` behind the train are not touched.
    ///
    /// # Errors
    /// [`TrainError::BufferTooShort`], [`TrainError::CounterWraps`], [`TrainError::CountMismatch`] unless there is one
    /// source per segment, [`TrainError::SourceTooLong`].
    #[inline(never)]
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
        let cipher = self.0.of(count_of(geometry), geometry.plaintext_len(0));
        with_train(train, geometry, first_counter.., |messages| cipher.seal_batch_from(sources, messages));
        Ok(())
    }

    /// Encrypts messages of any lengths in place, each under its own counter, which the caller hands out once.
    ///
    /// # Errors
    /// [`TrainError::TooMany`] for more than [`SEGMENTS_MAX`] messages, [`TrainError::TooLong`].
    #[inline(never)]
    pub fn seal_batch(&self, messages: &mut [Message<'_>]) -> Result<(), TrainError> {
        let Some(mean_len) = check_batch(messages)? else { return Ok(()) };
        self.0.of(messages.len(), mean_len).seal_batch(messages);
        Ok(())
    }
}

impl OpenKey {
    /// Expands `key` for the providers that `plan` has for `suite`. The caller wipes its own copy.
    pub fn new(plan: Plan, suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        Self(Ciphers::new(plan, suite, key))
    }

    /// The suite that this key is of.
    pub fn suite(&self) -> Suite {
        self.0.suite()
    }

    /// Verifies and decrypts one message in place. `buf` is ciphertext and tag, without the data header; on success all
    /// but its last 16 bytes are the plaintext.
    ///
    /// # Errors
    /// [`BadTag`], also for a `buf` that is too short to hold a tag or too long for a datagram. What `buf` then holds
    /// says [`Provider::on_failure`]: never plaintext.
    ///
    /// [`Provider::on_failure`]: crate::Provider::on_failure
    pub fn open(&self, counter: u64, buf: &mut [u8]) -> Result<(), BadTag> {
        refuse_too_long(buf.len()).map_err(|_| BadTag)?;
        let (ciphertext, tag) = buf.split_last_chunk_mut().ok_or(BadTag)?;
        self.0.of(1, ciphertext.len()).open(counter, ciphertext, tag)
    }

    /// Verifies and decrypts a train in place, segment `i` under `counters[i]`. Each segment stands for itself: one
    /// that fails is never left as plaintext and does not affect the others.
    ///
    /// # Errors
    /// [`TrainError::BufferTooShort`], [`TrainError::CountMismatch`] unless there is one counter per segment.
    #[inline(never)]
    pub fn open_train(&self, counters: &[u64], buf: &mut [u8], geometry: Geometry) -> Result<Verdicts, TrainError> {
        refuse_mismatch(counters.len(), geometry)?;
        let train = cover(buf, geometry)?;
        let cipher = self.0.of(count_of(geometry), geometry.plaintext_len(0));
        Ok(with_train(train, geometry, counters.iter().copied(), |messages| cipher.open_batch(messages)))
    }

    /// Verifies and decrypts messages of any lengths in place, each under its own counter. Each stands for itself, as
    /// in [`open_train`](Self::open_train).
    ///
    /// # Errors
    /// [`TrainError::TooMany`] for more than [`SEGMENTS_MAX`] messages, [`TrainError::TooLong`].
    pub fn open_batch(&self, messages: &mut [Message<'_>]) -> Result<Verdicts, TrainError> {
        let Some(mean_len) = check_batch(messages)? else { return Ok(Verdicts::none_of(0)) };
        Ok(self.0.of(messages.len(), mean_len).open_batch(messages))
    }
}

/// The number of messages by which a provider is chosen: one for two of which the second is shorter than half of the
/// first. A kernel across messages would have to work on a lone one for most of the time.
fn count_of(geometry: Geometry) -> usize {
    let is_nearly_one = geometry.count() == 2 && 2 * geometry.plaintext_len(1) < geometry.plaintext_len(0);
    if is_nearly_one { 1 } else { geometry.count() }
}

/// The part of `buf` that the train occupies.
fn cover(buf: &mut [u8], geometry: Geometry) -> Result<&mut [u8], TrainError> {
    let (needed, available) = (geometry.total_len(), buf.len());
    buf.get_mut(..needed).ok_or(TrainError::BufferTooShort { needed, available })
}

/// The mean length of the texts; `None` if there is no message.
fn check_batch(messages: &[Message<'_>]) -> Result<Option<usize>, TrainError> {
    let count = messages.len();
    if count > SEGMENTS_MAX {
        return Err(TrainError::TooMany { count });
    }
    let mut total = 0;
    for len in messages.iter().map(|message| message.text().len()) {
        refuse_too_long(len)?;
        total += len;
    }
    Ok(total.checked_div(count))
}

fn refuse_too_long(len: usize) -> Result<(), TrainError> {
    if len > SEGMENT_LEN_MAX { Err(TrainError::TooLong { len }) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER_LEN;

    #[test]
    fn two_of_which_one_is_short_count_as_one() {
        let overhead = HEADER_LEN + TAG_LEN;
        let count = |len, last, count| count_of(Geometry::new(len + overhead, last + overhead, count).unwrap());
        assert_eq!([709, 710, 1420].map(|last| count(1420, last, 2)), [1, 2, 2]);
        assert_eq!((count(1420, 0, 3), count(0, 0, 2), count(64, 64, 1)), (3, 2, 1));
    }
}
