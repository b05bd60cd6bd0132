//! The seam's side of the kernel: from safe code without vector instructions into functions compiled for them.

use secret_memory::Secret;

use super::{Avx2, open, seal};
use crate::cipher::BatchCipher;
use crate::{BadTag, KEY_LEN, Message, Source, TAG_LEN, Verdicts};

/// A key as ChaCha20 takes it: eight little-endian words (RFC 8439, section 2.3). There is nothing more to expand.
pub(super) struct Cipher {
    key: Secret<[u32; 8]>,
    avx2: Avx2,
}

impl Cipher {
    pub(super) fn new(avx2: Avx2, key: &[u8; KEY_LEN]) -> Self {
        let (bytes, _) = key.as_chunks();
        let mut words = Secret::<[u32; 8]>::zeroed();
        for (word, bytes) in words.expose_mut().iter_mut().zip(bytes) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key: words, avx2 }
    }

    fn seal_all(&self, sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
        // SAFETY: the CPU has what the function is compiled for; `avx2` is the proof.
        unsafe { seal::seal(self.avx2, self.key.expose(), sources, messages) }
    }

    fn open_all(&self, messages: &mut [Message<'_>]) -> Verdicts {
        // SAFETY: as above.
        unsafe { open::open(self.avx2, self.key.expose(), messages) }
    }
}

impl BatchCipher for Cipher {
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
