//! The seam's side of the kernel: from safe code without vector instructions into functions compiled for them.

use secret_memory::Secret;

use super::batch;
use super::vector::Wide;
use crate::cipher::BatchCipher;
use crate::{BadTag, KEY_LEN, Message, Source, TAG_LEN, Verdicts};

/// A key as ChaCha20 takes it: eight little-endian words (RFC 8439, section 2.3). There is nothing more to expand.
pub(super) struct Cipher<V: Wide> {
    key: Secret<[u32; 8]>,
    v: V,
}

impl<V: Wide> Cipher<V> {
    pub(super) fn new(v: V, key: &[u8; KEY_LEN]) -> Self {
        let (bytes, _) = key.as_chunks();
        let mut words = Secret::<[u32; 8]>::zeroed();
        for (word, bytes) in words.expose_mut().iter_mut().zip(bytes) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key: words, v }
    }

    fn seal_all(&self, sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
        self.v.run(
            #[inline(always)]
            || batch::seal(self.v, self.key.expose(), sources, messages),
        );
    }

    fn open_all(&self, messages: &mut [Message<'_>]) -> Verdicts {
        self.v.run(
            #[inline(always)]
            || batch::open(self.v, self.key.expose(), messages),
        )
    }
}

impl<V: Wide> BatchCipher for Cipher<V> {
    fn seal(&self, counter: u64, text: &mut [u8], tag: &mut [u8; TAG_LEN]) {
        self.seal_all(None, &mut [Message::new(counter, text, tag)]);
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
        let mut tag = *tag;
        let verdicts = self.open_all(&mut [Message::new(counter, text, &mut tag)]);
        if verdicts.all_passed() { Ok(()) } else { Err(BadTag) }
    }

    fn seal_batch(&self, messages: &mut [Message<'_>]) {
        self.seal_all(None, messages);
    }

    fn seal_batch_from(&self, sources: &[Source<'_>], messages: &mut [Message<'_>]) {
        self.seal_all(Some(sources), messages);
    }

    fn open_batch(&self, messages: &mut [Message<'_>]) -> Verdicts {
        self.open_all(messages)
    }
}
