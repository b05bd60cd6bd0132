//! `chacha20poly1305` of the RustCrypto project.
//!
//! Its detached decryption computes and compares the tag before it applies the keystream, so a message that fails is left
//! as it was. The key is wiped on drop only with its `zeroize` feature, which the manifest turns on.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use zeroize::ZeroizeOnDrop;

use crate::cipher::OneShot;
use crate::{BadTag, KEY_LEN, NONCE_LEN, TAG_LEN};

// Fails to compile without that feature.
const _: fn() = || {
    fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<ChaCha20Poly1305>();
};

pub(crate) struct Cipher(ChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }
}

impl OneShot for Cipher {
    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(text))
            .expect("it refuses only 256 GiB and more")
            .into()
    }

    fn open_with(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), BadTag> {
        self.0.decrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(text), tag.into()).map_err(|_| BadTag)
    }
}
