//! What a provider implements. Arguments arrive checked; a provider cannot refuse, only find a tag bad.

use crate::{BadTag, Message, NONCE_LEN, Source, Suite, TAG_LEN, Verdicts};

/// A session key, expanded for one provider. Holds the key in memory that is wiped on drop, and locked where the
/// provider lets us choose it ([`secret_memory::Secret`]).
///
/// The single forms are the least that a provider has; the batch forms default to a loop over them, and are what a
/// provider that works across packets overrides. Every message has room for its tag, there are at most [`SEGMENTS_MAX`]
/// of them, as many sources as messages, and no source is longer than its message's text.
///
/// [`SEGMENTS_MAX`]: crate::SEGMENTS_MAX
pub(crate) trait BatchCipher: Send + Sync {
    /// Encrypts in place and writes the tag. `text` is far below ChaCha20's limit of 256 GiB and GCM's of 64 GiB.
    fn seal(&self, counter: u64, text: &mut [u8], tag: &mut [u8; TAG_LEN]);

    /// Verifies and decrypts in place. On failure `text` is as [`crate::OnFailure`] says.
    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag>;

    /// Seals each message in place.
    fn seal_batch(&self, messages: &mut [Message<'_>]) {
        for message in messages {
            let (counter, text, tag) = message.parts();
            self.seal(counter, text, tag);
        }
    }

    /// Seals each source, zero-padded, into its message.
    fn seal_batch_from(&self, sources: &[Source<'_>], messages: &mut [Message<'_>]) {
        for (message, source) in messages.iter_mut().zip(sources) {
            let (counter, text, tag) = message.parts();
            source.copy_padded(text);
            self.seal(counter, text, tag);
        }
    }

    /// Opens each message in place. One bad message does not affect the others.
    fn open_batch(&self, messages: &mut [Message<'_>]) -> Verdicts {
        let mut verdicts = Verdicts::none_of(messages.len());
        for (index, message) in messages.iter_mut().enumerate() {
            let (counter, text, tag) = message.parts();
            if self.open(counter, text, tag).is_ok() {
                verdicts.pass(index);
            }
        }
        verdicts
    }
}

/// A provider that works on one message at a time, with any nonce and associated data: what published vectors need.
pub(crate) trait OneShot: Send + Sync {
    fn suite(&self) -> Suite;

    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN];

    fn open_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN])
    -> Result<(), BadTag>;
}

impl<C: OneShot> BatchCipher for C {
    fn seal(&self, counter: u64, text: &mut [u8], tag: &mut [u8; TAG_LEN]) {
        *tag = self.seal_with(self.suite().nonce(counter), &[], text);
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
        self.open_with(self.suite().nonce(counter), &[], text, tag)
    }
}
