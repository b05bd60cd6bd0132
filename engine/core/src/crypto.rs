//! The primitives under the names that the WireGuard paper gives them (section 5.4), and the key types.
//!
//! Everything here is pure Rust and meant for handshakes and cookies; the data path has ciphers of its own.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac, Update};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use hmac::SimpleHmac;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::wire::TAG_LEN;

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

/// 32 secret bytes: a session key, or anything on the way to one. Zeroed when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; KEY_LEN]);

/// A Curve25519 public key. Not a secret; ordered so that it can be a map's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

/// A Curve25519 private key. Zeroed when dropped, never printed.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

/// The symmetric key that two peers may add to their handshakes; all zero means none. Zeroed when dropped, never
/// printed.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LEN]);

impl Key {
    /// Takes over 32 bytes.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a cipher.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PublicKey {
    /// Any 32 bytes are a public key; whether it is of low order shows in [`PrivateKey::diffie_hellman`].
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as on the wire.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PrivateKey {
    /// Takes over 32 bytes, clamped as RFC 7748 section 5 says.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        let mut bytes = Zeroizing::new(bytes);
        bytes[0] &= 0b1111_1000;
        bytes[31] = (bytes[31] & 0b0111_1111) | 0b0100_0000;
        Self(StaticSecret::from(*bytes))
    }

    /// A fresh key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *bytes);
        Self::new(*bytes)
    }

    /// The clamped bytes, for `get=1` of the configuration protocol.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_bytes()
    }

    /// The public key that belongs to this one.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// X25519 (RFC 7748).
    ///
    /// # Errors
    /// [`LowOrder`] if the result is all zero, so that it would not depend on our key.
    pub fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(public.0));
        if shared.was_contributory() { Ok(Key(shared.to_bytes())) } else { Err(LowOrder) }
    }
}

impl PresharedKey {
    /// Takes over 32 bytes.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the handshake and for `get=1` of the configuration protocol.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

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
    state.finalize().into_bytes().into()
}

/// HMAC: the RFC 2104 construction over BLAKE2s-256.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut state = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        Update::update(&mut state, part);
    }
    Key(state.finalize().into_bytes().into())
}

/// KDF_n: HKDF (RFC 5869) over BLAKE2s-256 without `info`, `N` outputs of 32 bytes each.
pub fn kdf<const N: usize>(chaining_key: &Key, input: &[u8]) -> [Key; N] {
    const { assert!(N >= 1 && N <= 3, "the protocol uses KDF_1, KDF_2 and KDF_3") }
    let extracted = hmac(&chaining_key.0, &[input]);
    let mut outputs = [const { Key([0; KEY_LEN]) }; N];
    for n in 0..N {
        let counter = [n as u8 + 1];
        outputs[n] = match n.checked_sub(1) {
            None => hmac(&extracted.0, &[&counter]),
            Some(previous) => hmac(&extracted.0, &[&outputs[previous].0, &counter]),
        };
    }
    outputs
}

/// AEAD of the handshake: ChaCha20-Poly1305 (RFC 8439) with the nonce 0, since each key is used once.
/// `sealed` is the place for ciphertext and tag.
pub fn aead_seal(key: &Key, plaintext: &[u8], associated: &[u8], sealed: &mut [u8]) {
    assert_eq!(sealed.len(), plaintext.len() + TAG_LEN, "room for exactly ciphertext and tag");
    let (text, tag) = sealed.split_at_mut(plaintext.len());
    text.copy_from_slice(plaintext);
    let computed = ChaCha20Poly1305::new(&key.0.into())
        .encrypt_inout_detached(&[0; 12].into(), associated, text.into())
        .expect("a handshake field is far below the cipher's limit");
    tag.copy_from_slice(&computed);
}

/// The opposite of [`aead_seal`]. `plaintext` is written only with what was authenticated, and zeroed otherwise.
///
/// # Errors
/// [`BadTag`].
pub fn aead_open(key: &Key, sealed: &[u8], associated: &[u8], plaintext: &mut [u8]) -> Result<(), BadTag> {
    let (text, tag) = split_tag(sealed, plaintext.len())?;
    plaintext.copy_from_slice(text);
    ChaCha20Poly1305::new(&key.0.into())
        .decrypt_inout_detached(&[0; 12].into(), associated, plaintext.into(), &(*tag).into())
        .map_err(|_| {
            plaintext.zeroize();
            BadTag
        })
}

/// XAEAD: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) for cookies, with a random nonce.
pub fn xaead_seal(key: &Key, nonce: &[u8; 24], plaintext: &[u8], associated: &[u8], sealed: &mut [u8]) {
    assert_eq!(sealed.len(), plaintext.len() + TAG_LEN, "room for exactly ciphertext and tag");
    let (text, tag) = sealed.split_at_mut(plaintext.len());
    text.copy_from_slice(plaintext);
    let computed = XChaCha20Poly1305::new(&key.0.into())
        .encrypt_inout_detached(&(*nonce).into(), associated, text.into())
        .expect("a cookie is far below the cipher's limit");
    tag.copy_from_slice(&computed);
}

/// The opposite of [`xaead_seal`]. `plaintext` is written only with what was authenticated, and zeroed otherwise.
///
/// # Errors
/// [`BadTag`].
pub fn xaead_open(
    key: &Key,
    nonce: &[u8; 24],
    sealed: &[u8],
    associated: &[u8],
    plaintext: &mut [u8],
) -> Result<(), BadTag> {
    let (text, tag) = split_tag(sealed, plaintext.len())?;
    plaintext.copy_from_slice(text);
    XChaCha20Poly1305::new(&key.0.into())
        .decrypt_inout_detached(&(*nonce).into(), associated, plaintext.into(), &(*tag).into())
        .map_err(|_| {
            plaintext.zeroize();
            BadTag
        })
}

fn split_tag(sealed: &[u8], plaintext_len: usize) -> Result<(&[u8], &[u8; TAG_LEN]), BadTag> {
    let (text, tag) = sealed.split_last_chunk().ok_or(BadTag)?;
    if text.len() == plaintext_len { Ok((text, tag)) } else { Err(BadTag) }
}

/// Implements what every secret of 32 bytes has: comparison in constant time, and a Debug that tells nothing.
macro_rules! secret_bytes {
    ($type:ident) => {
        impl ConstantTimeEq for $type {
            fn ct_eq(&self, other: &Self) -> subtle::Choice {
                self.as_bytes().ct_eq(other.as_bytes())
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.ct_eq(other).into()
            }
        }

        impl Eq for $type {}

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($type), "(secret)"))
            }
        }
    };
}

secret_bytes!(Key);
secret_bytes!(PrivateKey);
secret_bytes!(PresharedKey);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
