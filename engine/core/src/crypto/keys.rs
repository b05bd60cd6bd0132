//! The key types: who may see their bytes, and what is left of them afterwards.

use rand_core::CryptoRng;
use secret_memory::Secret;
use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KEY_LEN, LowOrder};

/// 32 secret bytes: a session key, or anything on the way to one. In a place that it never leaves, where it is wiped
/// when dropped. Never printed.
pub struct Key(Secret<[u8; KEY_LEN]>);

/// A Curve25519 public key. Not a secret; ordered so that it can be a map's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

/// A Curve25519 private key, kept as a [`Key`] is.
pub struct PrivateKey(Secret<[u8; KEY_LEN]>);

/// The symmetric key that two peers may add to their handshakes; all zero means none, and takes no place. Kept as a
/// [`Key`] is.
#[derive(Default)]
pub struct PresharedKey(Option<Secret<[u8; KEY_LEN]>>);

impl Key {
    /// Takes over 32 bytes. They have passed over the stack; see [`secret_memory::scrubbed`].
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self::copy_of(&Zeroizing::new(bytes))
    }

    /// A copy of 32 bytes. Whoever has them wipes them.
    pub fn copy_of(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Secret::copy_of(bytes))
    }

    /// A key of zeros, to be filled in its place.
    pub fn zeroed() -> Self {
        Self(Secret::zeroed())
    }

    /// The bytes, for a cipher.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.expose()
    }

    /// The bytes, to be filled.
    pub fn as_mut_bytes(&mut self) -> &mut [u8; KEY_LEN] {
        self.0.expose_mut()
    }
}

impl Zeroize for Key {
    fn zeroize(&mut self) {
        self.as_mut_bytes().zeroize();
    }
}

/// Its place is wiped.
impl ZeroizeOnDrop for Key {}

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
    /// Takes over 32 bytes, clamped as RFC 7748 section 5 says. They have passed over the stack; see
    /// [`secret_memory::scrubbed`].
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self::copy_of(&Zeroizing::new(bytes))
    }

    /// A copy of 32 bytes, clamped. Whoever has them wipes them.
    pub fn copy_of(bytes: &[u8; KEY_LEN]) -> Self {
        Self::clamp(Secret::copy_of(bytes))
    }

    /// A fresh key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = Secret::<[u8; KEY_LEN]>::zeroed();
        rng.fill_bytes(bytes.expose_mut());
        Self::clamp(bytes)
    }

    /// The clamped bytes, for `get=1` of the configuration protocol.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.expose()
    }

    /// The public key that belongs to this one.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.scalar()).to_bytes())
    }

    /// X25519 (RFC 7748).
    ///
    /// # Errors
    /// [`LowOrder`] if the result is all zero, so it would not depend on our key.
    pub fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
        let shared = self.scalar().diffie_hellman(&x25519_dalek::PublicKey::from(public.0));
        if shared.was_contributory() { Ok(Key::copy_of(shared.as_bytes())) } else { Err(LowOrder) }
    }

    fn clamp(mut key: Secret<[u8; KEY_LEN]>) -> Self {
        let bytes = key.expose_mut();
        bytes[0] &= 0b1111_1000;
        bytes[31] = (bytes[31] & 0b0111_1111) | 0b0100_0000;
        Self(key)
    }

    /// The key as the library takes it: a copy, which wipes itself.
    fn scalar(&self) -> StaticSecret {
        StaticSecret::from(*self.as_bytes())
    }
}

/// Its place is wiped.
impl ZeroizeOnDrop for PrivateKey {}

impl PresharedKey {
    const NONE: [u8; KEY_LEN] = [0; KEY_LEN];

    /// Takes over 32 bytes. They have passed over the stack; see [`secret_memory::scrubbed`].
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self::copy_of(&Zeroizing::new(bytes))
    }

    /// A copy of 32 bytes. Whoever has them wipes them.
    pub fn copy_of(bytes: &[u8; KEY_LEN]) -> Self {
        let is_none: bool = bytes.ct_eq(&Self::NONE).into();
        Self((!is_none).then(|| Secret::copy_of(bytes)))
    }

    /// The bytes, for the handshake and for `get=1` of the configuration protocol.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_ref().map_or(&Self::NONE, Secret::expose)
    }
}

/// Its place is wiped.
impl ZeroizeOnDrop for PresharedKey {}

/// Implements what every secret of 32 bytes has: a copy in another place, comparison in constant time, and a Debug that
/// tells nothing.
macro_rules! secret_bytes {
    ($type:ident) => {
        impl Clone for $type {
            fn clone(&self) -> Self {
                Self::copy_of(self.as_bytes())
            }
        }

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
