//! The seam's side of the kernel: from safe code without vector instructions into functions compiled for them.

use secret_memory::Secret;

use super::key::{Key, expand};
use super::registers::Registers;
use super::{open, seal};
use crate::cipher::BatchCipher;
use crate::{BadTag, KEY_LEN, Message, Source, TAG_LEN, Verdicts};

/// A key as the kernel takes it.
pub(super) struct Cipher<V: Registers> {
    table: Secret<V::Table>,
    v: V,
}

impl<V: Registers> Cipher<V> {
    pub(super) fn new(v: V, key: &[u8; KEY_LEN]) -> Self {
        let table = v.run(
            #[inline(always)]
            || expand(v, key),
        );
        Self { table, v }
    }

    fn seal_all(&self, sources: Option<&[Source<'_>]>, messages: &mut [Message<'_>]) {
        self.v.run(
            #[inline(always)]
            || seal::seal(self.v, Key::of::<V>(self.table.expose()), sources, messages),
        );
    }

    fn open_all(&self, messages: &mut [Message<'_>]) -> Verdicts {
        self.v.run(
            #[inline(always)]
            || open::open(self.v, Key::of::<V>(self.table.expose()), messages),
        )
    }
}

impl<V: Registers> BatchCipher for Cipher<V> {
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
