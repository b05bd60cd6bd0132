//! Who computes X25519 (RFC 7748): 80 % of a handshake, so the owner of a device may bring what is faster on its CPU.

use std::fmt::Debug;

use super::{Key, LowOrder, PrivateKey, PublicKey};

/// A library that computes X25519. All of them compute the same.
pub trait X25519: Debug + Sync {
    /// Its name, for the log.
    fn name(&self) -> &'static str;

    /// Makes a private key ready for use. What comes back is wiped when it is dropped.
    fn secret(&self, key: &PrivateKey) -> Box<dyn Secret>;
}

/// A private key in the hands of a library.
pub trait Secret: Send + Sync {
    /// The public key that belongs to it.
    fn public_key(&self) -> PublicKey;

    /// The private key, for a process that takes over from this one.
    fn private_key(&self) -> PrivateKey;

    /// X25519.
    ///
    /// # Errors
    /// [`LowOrder`] if the result is all zero, so it would not depend on our key.
    fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder>;
}

/// `x25519-dalek`: on every CPU, and the oracle of every other.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl X25519 for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn secret(&self, key: &PrivateKey) -> Box<dyn Secret> {
        Box::new(key.clone())
    }
}

impl Secret for PrivateKey {
    fn public_key(&self) -> PublicKey {
        self.public_key()
    }

    fn private_key(&self) -> PrivateKey {
        self.clone()
    }

    fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
        self.diffie_hellman(public)
    }
}
