//! The key types: who may see their bytes, and what is left of them afterwards.

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KEY_LEN, LowOrder};

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
    /// [`LowOrder`] if the result is all zero, so it would not depend on our key.
    pub fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(public.0));
        if shared.was_contributory() { Ok(Key(shared.to_bytes())) } else { Err(LowOrder) }
    }
}

/// The wrapped key zeroes itself.
impl ZeroizeOnDrop for PrivateKey {}

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
