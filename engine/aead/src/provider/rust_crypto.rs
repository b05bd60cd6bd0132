//! `chacha20poly1305` and `aes-gcm` of the RustCrypto project.
//!
//! Their detached decryption computes and compares the tag before it applies the keystream, so a message that fails is
//! left as it was. Keys lie in places of their own ([`Secret`]). Copies that the crates make on the stack are wiped
//! only with their `zeroize` feature, which the manifest turns on.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::array::Array;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadCore, AeadInOut, KeyInit, consts};
use secret_memory::Secret;
use zeroize::ZeroizeOnDrop;

use crate::cipher::OneShot;
use crate::{BadTag, KEY_LEN, NONCE_LEN, Suite, TAG_LEN};

// Fails to compile without that feature.
const _: fn() = || {
    fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<ChaCha20Poly1305>();
    wiped_on_drop::<Aes256Gcm>();
};

pub(crate) struct Cipher<A> {
    aead: Secret<A>,
    suite: Suite,
}

pub(crate) fn chacha20poly1305(key: &[u8; KEY_LEN]) -> Cipher<ChaCha20Poly1305> {
    Cipher { aead: Secret::new(ChaCha20Poly1305::new(key.into())), suite: Suite::ChaCha20Poly1305 }
}

pub(crate) fn aes256gcm(key: &[u8; KEY_LEN]) -> Cipher<Aes256Gcm> {
    Cipher { aead: Secret::new(Aes256Gcm::new(key.into())), suite: Suite::Aes256Gcm }
}

impl<A> OneShot for Cipher<A>
where
    A: AeadInOut + AeadCore<NonceSize = consts::U12, TagSize = consts::U16> + Send + Sync,
{
    fn suite(&self) -> Suite {
        self.suite
    }

    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        self.aead
            .expose()
            .encrypt_inout_detached(&Array(nonce), aad, InOutBuf::from(text))
            .expect("it refuses only 64 GiB and more")
            .into()
    }

    fn open_with(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), BadTag> {
        let text = InOutBuf::from(text);
        self.aead.expose().decrypt_inout_detached(&Array(nonce), aad, text, tag.into()).map_err(|_| BadTag)
    }
}
