//! The seam's side of the kernel: from safe code without vector instructions into functions compiled for them.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::batch;
use super::features::Features;
use crate::cipher::BatchCipher;
use crate::{BadTag, KEY_LEN, Message, Source, TAG_LEN, Verdicts};

/// A key as ChaCha20 takes it: eight little-endian words (RFC 8439, section 2.3). There is nothing more to expand.
pub(super) struct Cipher {
    key: [u32; 8],
    features: Features,
}

impl Cipher {
    pub(super) fn new(features: Features, key: &[u8; KEY_LEN]) -> Self {
        let (words, _) = key.as_chunks();
        Self { key: std::array::from_fn(|i| u32::from_le_bytes(words[i])), features }
    }

    fn seal_all(&self, sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
        // SAFETY: the CPU has what the function is compiled for; `features` is the proof.
        unsafe { batch::seal(self.features, &self.key, sources, messages) }
    }

    fn open_all(&self, messages: &mut [Message<'_>]) -> Verdicts {
        // SAFETY: the CPU has what the function is compiled for; `features` is the proof.
        unsafe { batch::open(self.features, &self.key, messages) }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl ZeroizeOnDrop for Cipher {}

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
