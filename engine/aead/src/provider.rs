//! The providers: who does the arithmetic.

mod aws_lc;
mod rust_crypto;

use std::fmt;
use std::str::FromStr;

use crate::cipher::{OneShot, TrainCipher};
use crate::{KEY_LEN, SelfTestError, self_test};

/// An implementation of ChaCha20-Poly1305.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The RustCrypto crate `chacha20poly1305`: pure Rust, portable, and the oracle of the tests.
    RustCrypto,
    /// The crate `aws-lc-rs`: assembly chosen at run time by CPU.
    AwsLc,
}

/// What a segment's ciphertext bytes hold after its tag did not verify. Never plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// What they held before: the provider verifies first and decrypts after.
    Unchanged,
    /// Zeros: the provider decrypts while it verifies, and wipes before it returns.
    Zeroed,
}

/// A provider name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown AEAD provider {name:?}: it is one of {}", known_names())]
pub struct UnknownProvider {
    /// What was asked for.
    pub name: String,
}

impl Provider {
    /// Every provider that this build knows.
    pub const ALL: &'static [Self] = &[Self::RustCrypto, Self::AwsLc];

    /// The providers that can run on this CPU.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied()
    }

    /// The name that `--aead` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::RustCrypto => "rustcrypto",
            Self::AwsLc => "aws-lc",
        }
    }

    /// What this provider leaves of a segment that failed. The self-test holds it to that.
    pub fn on_failure(self) -> OnFailure {
        match self {
            Self::RustCrypto => OnFailure::Unchanged,
            Self::AwsLc => OnFailure::Zeroed,
        }
    }

    /// Known answers of RFC 8439, agreement with an independent provider over trains, and refusal of forgeries.
    /// Takes well under a millisecond in an optimised build.
    ///
    /// # Errors
    /// What went wrong: this provider must then not be used.
    pub fn self_test(self) -> Result<(), SelfTestError> {
        self_test::run(self)
    }

    /// The key, expanded. The one place where a provider's name becomes its code.
    pub(crate) fn cipher(self, key: &[u8; KEY_LEN]) -> Box<dyn TrainCipher> {
        match self {
            Self::RustCrypto => Box::new(rust_crypto::Cipher::new(key)),
            Self::AwsLc => Box::new(aws_lc::Cipher::new(key)),
        }
    }

    /// The same, as far as the provider can do single messages with associated data. One that cannot is tested against one
    /// that can.
    pub(crate) fn one_shot(self, key: &[u8; KEY_LEN]) -> Option<Box<dyn OneShot>> {
        match self {
            Self::RustCrypto => Some(Box::new(rust_crypto::Cipher::new(key))),
            Self::AwsLc => Some(Box::new(aws_lc::Cipher::new(key))),
        }
    }

    /// An independent implementation to compare with.
    pub(crate) fn oracle(self) -> Self {
        match self {
            Self::RustCrypto => Self::AwsLc,
            Self::AwsLc => Self::RustCrypto,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        let found = Self::ALL.iter().find(|provider| provider.name() == name);
        found.copied().ok_or_else(|| UnknownProvider { name: name.to_owned() })
    }
}

fn known_names() -> String {
    let names: Vec<_> = Provider::ALL.iter().map(|provider| provider.name()).collect();
    names.join(", ")
}
