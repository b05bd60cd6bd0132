//! `aws-lc-rs`, the Rust binding of AWS-LC.
//!
//! Decryption runs together with authentication, so a message that fails is already overwritten when this is known.
//! AWS-LC then zeroes the output before it returns (`EVP_AEAD_CTX_open_gather`, "clear the output buffer"). Putting the
//! ciphertext back would cost a copy of every good packet for the sake of bytes that are dropped anyway.
//!
//! The key lives in a heap context that `OPENSSL_free` cleanses. AWS-LC chooses where: so it is not locked, as the keys
//! of the other providers are. Key copies and one-time keys on the C stack are cleansed by AWS-LC itself.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::cipher::OneShot;
use crate::{BadTag, KEY_LEN, NONCE_LEN, Suite, TAG_LEN};

pub(crate) struct Cipher {
    key: LessSafeKey,
    suite: Suite,
}

impl Cipher {
    pub(crate) fn new(suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).expect("the key has the length of the algorithm's keys");
        Self { key: LessSafeKey::new(key), suite }
    }
}

impl OneShot for Cipher {
    fn suite(&self) -> Suite {
        self.suite
    }

    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.expect("it refuses only 64 GiB and more");
        tag.as_ref().try_into().expect("the tags of both suites have 16 bytes")
    }

    fn open_with(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), BadTag> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, text) {
            Ok(_) => Ok(()),
            Err(_) => Err(BadTag),
        }
    }
}
