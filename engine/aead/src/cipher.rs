//! What a provider implements. Arguments arrive checked; a provider cannot refuse, only find a tag bad.

use crate::{BadTag, Geometry, HEADER_LEN, NONCE_LEN, Source, TAG_LEN, Verdicts};

/// A session key, expanded for one provider. Holds the key in memory that is wiped on drop.
///
/// The single forms are the least that a provider has; the train forms default to a loop over them, and are what a provider
/// that works across packets overrides. `train` is always exactly `geometry.total_len()` bytes long, `counters` and
/// `sources` have `geometry.count()` entries, no counter wraps and no source is longer than its segment.
pub(crate) trait TrainCipher: Send + Sync {
    /// Encrypts in place and writes the tag. `plaintext` is far below ChaCha20's limit of 256 GiB.
    fn seal(&self, counter: u64, plaintext: &mut [u8], tag: &mut [u8; TAG_LEN]);

    /// Verifies and decrypts in place. On failure `ciphertext` is as [`crate::OnFailure`] says.
    fn open(&self, counter: u64, ciphertext: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag>;

    /// Seals each segment in place, with ascending counters.
    fn seal_train(&self, first_counter: u64, train: &mut [u8], geometry: Geometry) {
        for (segment, counter) in train.chunks_mut(geometry.stride()).zip(first_counter..) {
            let (plaintext, tag) = split_segment(segment);
            self.seal(counter, plaintext, tag);
        }
    }

    /// Seals each source, zero-padded, into its segment, with ascending counters.
    fn seal_train_from(&self, first_counter: u64, sources: &[Source<'_>], train: &mut [u8], geometry: Geometry) {
        let segments = train.chunks_mut(geometry.stride()).zip(sources);
        for ((segment, source), counter) in segments.zip(first_counter..) {
            let (plaintext, tag) = split_segment(segment);
            source.copy_padded(plaintext);
            self.seal(counter, plaintext, tag);
        }
    }

    /// Opens each segment in place with its own counter. One bad segment does not affect the others.
    fn open_train(&self, counters: &[u64], train: &mut [u8], geometry: Geometry) -> Verdicts {
        let mut verdicts = Verdicts::none_of(geometry.count());
        let segments = counters.iter().zip(train.chunks_mut(geometry.stride()));
        for (index, (counter, segment)) in segments.enumerate() {
            let (ciphertext, tag) = split_segment(segment);
            if self.open(*counter, ciphertext, tag).is_ok() {
                verdicts.pass(index);
            }
        }
        verdicts
    }
}

/// A provider that works on one message at a time, with any nonce and associated data: what the vectors of RFC 8439 need.
pub(crate) trait OneShot: Send + Sync {
    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN];

    fn open_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN])
    -> Result<(), BadTag>;
}

impl<C: OneShot> TrainCipher for C {
    fn seal(&self, counter: u64, plaintext: &mut [u8], tag: &mut [u8; TAG_LEN]) {
        *tag = self.seal_with(nonce(counter), &[], plaintext);
    }

    fn open(&self, counter: u64, ciphertext: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
        self.open_with(nonce(counter), &[], ciphertext, tag)
    }
}

/// The nonce of a data message (paper, section 5.4.6): 32 zero bits, then the counter, little-endian.
pub(crate) fn nonce(counter: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// The text and the tag of a segment. The header before them is not this crate's.
fn split_segment(segment: &mut [u8]) -> (&mut [u8], &mut [u8; TAG_LEN]) {
    segment[HEADER_LEN..].split_last_chunk_mut().expect("a Geometry has no segment without room for header and tag")
}
