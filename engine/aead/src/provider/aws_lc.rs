//! `aws-lc-rs`, the Rust binding of AWS-LC.
//!
//! Decryption runs together with authentication, so a message that fails has been overwritten by the time that this is
//! known; AWS-LC then zeroes the output before it returns (`EVP_AEAD_CTX_open_gather`, "clear the output buffer"). Putting
//! the ciphertext back would cost a copy of every good packet for the sake of bytes that are dropped anyway.
//!
//! The key lives in a heap context that `OPENSSL_free` cleanses; key copies and one-time keys on the C stack are cleansed
//! by AWS-LC itself.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::cipher::OneShot;
use crate::{BadTag, KEY_LEN, NONCE_LEN, TAG_LEN};

pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length of the algorithm's keys");
        Self(LessSafeKey::new(key))
    }
}

impl OneShot for Cipher {
    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.expect("it refuses only 256 GiB and more");
        tag.as_ref().try_into().expect("Poly1305 tags have 16 bytes")
    }

    fn open_with(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), BadTag> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.0.open_in_place_separate_tag(nonce, Aad::from(aad), tag, text) {
            Ok(_) => Ok(()),
            Err(_) => Err(BadTag),
        }
    }
}
