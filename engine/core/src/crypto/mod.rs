//! The primitives under the names that the WireGuard paper gives them (section 5.4), and the key types.
//!
//! Everything here is pure Rust and meant for handshakes and cookies; the data path has ciphers of its own. Only X25519
//! may be computed elsewhere ([`X25519`]).

mod keys;
mod x25519;

#[cfg(test)]
mod tests;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, Nonce};
use blake2::digest::block_api::{Block, Buffer, UpdateCore, VariableOutputCore};
use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Output, Update};
use blake2::{Blake2s256, Blake2sMac, Blake2sVarCore};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use hmac::SimpleHmac;
use zeroize::Zeroize;

pub use self::keys::{Key, PresharedKey, PrivateKey, PublicKey};
pub use self::x25519::{Portable, Secret, X25519};
use crate::suite::Suite;
use crate::wire::{MAC_LEN, TAG_LEN};

/// Length of keys, of points and of hashes in bytes.
pub const KEY_LEN: usize = 32;

/// The outcome of an AEAD opening whose tag did not match, or whose lengths cannot match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authentication tag does not match")]
pub struct BadTag;

/// The outcome of a Diffie-Hellman with a point of low order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the public key is a point of low order")]
pub struct LowOrder;

/// HASH: BLAKE2s-256 over the parts, one after the other.
pub fn hash(parts: &[&[u8]]) -> [u8; KEY_LEN] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// MAC: keyed BLAKE2s with a result of 128 bits. The key has at most 32 bytes.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("BLAKE2s takes keys of up to 32 bytes");
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// A key of [`mac`] with its own block hashed already: a message costs one block for each 64 bytes of it, and no more.
#[derive(Clone)]
pub struct MacKey(Blake2sVarCore);

impl MacKey {
    /// The key of [`mac`] that these bytes are.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut state = Blake2sVarCore::new_with_params(&[], &[], KEY_LEN, MAC_LEN);
        let mut block = Block::<Blake2sVarCore>::default();
        block[..KEY_LEN].copy_from_slice(key);
        state.update_blocks(std::slice::from_ref(&block));
        block.as_mut_slice().zeroize();
        Self(state)
    }

    /// What [`mac`] makes of a message that is not empty: of nothing, the key's block would have been the last.
    pub fn mac(&self, message: &[u8]) -> [u8; MAC_LEN] {
        debug_assert!(!message.is_empty(), "the key's block is not the last");
        let (mut state, mut rest) = (self.0.clone(), Buffer::<Blake2sVarCore>::default());
        rest.digest_blocks(message, |blocks| state.update_blocks(blocks));
        let mut hash = Output::<Blake2sVarCore>::default();
        state.finalize_variable_core(&mut rest, &mut hash);
        *hash.first_chunk().expect("a hash is longer than its first half")
    }
}

/// HMAC: the RFC 2104 construction over BLAKE2s-256.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut state = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        Update::update(&mut state, part);
    }
    let mut output = Key::zeroed();
    state.finalize_into(output.as_mut_bytes().into());
    output
}

/// KDF_n: HKDF (RFC 5869) over BLAKE2s-256 without `info`, `N` outputs of 32 bytes each.
pub fn kdf<const N: usize>(chaining_key: &Key, input: &[u8]) -> [Key; N] {
    const { assert!(N >= 1 && N <= 3, "the protocol uses KDF_1, KDF_2 and KDF_3") }
    let extracted = hmac(chaining_key.as_bytes(), &[input]);
    let mut outputs: [Key; N] = std::array::from_fn(|_| Key::zeroed());
    for n in 0..N {
        let counter = [n as u8 + 1];
        outputs[n] = match n.checked_sub(1) {
            None => hmac(extracted.as_bytes(), &[&counter]),
            Some(previous) => hmac(extracted.as_bytes(), &[outputs[previous].as_bytes(), &counter]),
        };
    }
    outputs
}

/// AEAD of the handshake: that of the suite, with the nonce 0, since each key is used once.
/// `sealed` is the place for ciphertext and tag.
///
/// # Panics
/// If `sealed` is not 16 bytes longer than `plaintext`.
pub fn aead_seal(suite: Suite, key: &Key, plaintext: &[u8], associated: &[u8], sealed: &mut [u8]) {
    let (key, nonce) = (key.as_bytes().into(), &[0; 12].into());
    match suite {
        Suite::ChaCha20Poly1305 => seal(&ChaCha20Poly1305::new(key), nonce, plaintext, associated, sealed),
        Suite::Aes256Gcm => seal(&Aes256Gcm::new(key), nonce, plaintext, associated, sealed),
    }
}

/// The opposite of [`aead_seal`]. `plaintext` is written only with what was authenticated, and zeroed otherwise.
///
/// # Errors
/// [`BadTag`].
pub fn aead_open(
    suite: Suite,
    key: &Key,
    sealed: &[u8],
    associated: &[u8],
    plaintext: &mut [u8],
) -> Result<(), BadTag> {
    let (key, nonce) = (key.as_bytes().into(), &[0; 12].into());
    match suite {
        Suite::ChaCha20Poly1305 => open(&ChaCha20Poly1305::new(key), nonce, sealed, associated, plaintext),
        Suite::Aes256Gcm => open(&Aes256Gcm::new(key), nonce, sealed, associated, plaintext),
    }
}

/// XAEAD: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) for cookies, with a random nonce.
///
/// # Panics
/// If `sealed` is not 16 bytes longer than `plaintext`.
pub fn xaead_seal(key: &[u8; KEY_LEN], nonce: &[u8; 24], plaintext: &[u8], associated: &[u8], sealed: &mut [u8]) {
    seal(&XChaCha20Poly1305::new(key.into()), nonce.into(), plaintext, associated, sealed);
}

/// The opposite of [`xaead_seal`]. `plaintext` is written only with what was authenticated, and zeroed otherwise.
///
/// # Errors
/// [`BadTag`].
pub fn xaead_open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; 24],
    sealed: &[u8],
    associated: &[u8],
    plaintext: &mut [u8],
) -> Result<(), BadTag> {
    open(&XChaCha20Poly1305::new(key.into()), nonce.into(), sealed, associated, plaintext)
}

fn seal<C>(cipher: &C, nonce: &Nonce<C>, plaintext: &[u8], associated: &[u8], sealed: &mut [u8])
where
    C: AeadInOut<TagSize = U16>,
{
    assert_eq!(sealed.len(), plaintext.len() + TAG_LEN, "room for exactly ciphertext and tag");
    let (text, tag) = sealed.split_at_mut(plaintext.len());
    text.copy_from_slice(plaintext);
    let computed = cipher
        .encrypt_inout_detached(nonce, associated, text.into())
        .expect("handshake fields and cookies are far below the cipher's limit");
    tag.copy_from_slice(&computed);
}

fn open<C>(cipher: &C, nonce: &Nonce<C>, sealed: &[u8], associated: &[u8], plaintext: &mut [u8]) -> Result<(), BadTag>
where
    C: AeadInOut<TagSize = U16>,
{
    let (text, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(BadTag)?;
    if text.len() != plaintext.len() {
        return Err(BadTag);
    }
    plaintext.copy_from_slice(text);
    cipher.decrypt_inout_detached(nonce, associated, (&mut *plaintext).into(), tag.into()).map_err(|_| {
        plaintext.zeroize();
        BadTag
    })
}
