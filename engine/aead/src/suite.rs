//! The cipher suites, as far as data messages see them.

use std::fmt;
use std::str::FromStr;

use crate::NONCE_LEN;

/// An AEAD of the Noise protocol framework (section 12, "DH functions, cipher functions, and hash functions"). Keys
/// have 32 bytes and tags 16 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// `ChaChaPoly` of the framework: ChaCha20-Poly1305 of RFC 8439, WireGuard's own cipher.
    #[default]
    ChaCha20Poly1305,
    /// `AESGCM` of the framework: AES-256 in Galois/Counter Mode, NIST SP 800-38D.
    Aes256Gcm,
}

/// A suite name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cipher suite {name:?}: it is one of {}", names(Suite::ALL.iter().map(|suite| suite.name())))]
pub struct UnknownSuite {
    /// What was asked for.
    pub name: String,
}

impl Suite {
    /// Every suite, WireGuard's own first.
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// Its name in options and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20poly1305",
            Self::Aes256Gcm => "aes256gcm",
        }
    }

    /// The nonce of a data message: 32 zero bits, then the counter, little-endian in `ChaChaPoly` (also in the
    /// WireGuard paper, section 5.4.6) and **big-endian in `AESGCM`** (Noise, sections 12.3 and 12.4).
    pub(crate) fn nonce(self, counter: u64) -> [u8; NONCE_LEN] {
        let counter = match self {
            Self::ChaCha20Poly1305 => counter.to_le_bytes(),
            Self::Aes256Gcm => counter.to_be_bytes(),
        };
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&counter);
        nonce
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        let found = Self::ALL.into_iter().find(|suite| suite.name() == name);
        found.ok_or_else(|| UnknownSuite { name: name.to_owned() })
    }
}

/// A list for a message.
pub(crate) fn names(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
