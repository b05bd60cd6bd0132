//! The providers: who does the arithmetic.

mod aws_lc;
mod rust_crypto;

use std::fmt;
use std::str::FromStr;

use crate::cipher::{BatchCipher, OneShot};
use crate::suite::names;
use crate::train::vaes::{self, Width};
use crate::{KEY_LEN, SelfTestError, Suite, self_test, train};

/// An implementation of one or more suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::manual_non_exhaustive)] // The hidden one is used.
pub enum Provider {
    /// The crates `chacha20poly1305` and `aes-gcm` of the RustCrypto project: pure Rust, portable, and the oracle of
    /// the tests.
    RustCrypto,
    /// The crate `aws-lc-rs`: assembly chosen at run time by CPU.
    AwsLc,
    /// ChaCha20-Poly1305 across the messages of a train, for x86-64 with AVX-512 (F, BW, VL, DQ, IFMA and VBMI2).
    Train,
    /// ChaCha20-Poly1305 across the messages of a train, for x86-64 with AVX2 and BMI2.
    TrainAvx2,
    /// AES-256-GCM across the messages of a train, for x86-64 with AVX2, VAES and VPCLMULQDQ.
    Vaes,
    /// The same in wider registers, for x86-64 with AVX-512 (F, BW, VL), VAES and VPCLMULQDQ.
    Vaes512,
    /// The kernel of [`Train`](Self::Train) over plain arrays instead of registers: a test vehicle, which runs on every
    /// CPU, slowly. It is in builds with the feature `arrays` only, and not in [`ALL`](Self::ALL): so `--aead` has no
    /// name for it, and it is never measured or chosen. A test makes a [`Plan`](crate::Plan) for it.
    #[doc(hidden)]
    TrainOnArrays,
    /// The kernel of [`Vaes`](Self::Vaes) over plain arrays: likewise.
    #[doc(hidden)]
    VaesOnArrays,
    /// The kernel of [`Vaes512`](Self::Vaes512) over plain arrays: likewise.
    #[doc(hidden)]
    Vaes512OnArrays,
}

/// What a message's ciphertext bytes hold after its tag did not verify. Never plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// What they held before: the provider verifies first and decrypts after.
    Unchanged,
    /// Zeros: the provider decrypts while it verifies, and wipes before it returns.
    Zeroed,
}

/// A provider name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown AEAD provider {name:?}: it is one of {}", names(Provider::ALL.iter().map(|provider| provider.name())))]
pub struct UnknownProvider {
    /// What was asked for.
    pub name: String,
}

/// Why a provider that is not available is not asked for a cipher: [`Plan::fixed`](crate::Plan::fixed) and the choice
/// see to it.
const IN_NO_PLAN: &str = "a provider that is not available is in no plan";

impl Provider {
    /// Every provider that this build knows.
    pub const ALL: &'static [Self] =
        &[Self::RustCrypto, Self::AwsLc, Self::Train, Self::TrainAvx2, Self::Vaes, Self::Vaes512];

    /// What tests look at: every provider, and those that exist only for them. In the order of the discriminants.
    #[doc(hidden)]
    pub const TESTED: &'static [Self] = &[
        Self::RustCrypto,
        Self::AwsLc,
        Self::Train,
        Self::TrainAvx2,
        Self::Vaes,
        Self::Vaes512,
        Self::TrainOnArrays,
        Self::VaesOnArrays,
        Self::Vaes512OnArrays,
    ];

    /// The providers of `suite` that can run on this CPU.
    pub fn available(suite: Suite) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |provider| provider.is_available(suite))
    }

    /// Whether this provider has `suite` and can run on this CPU.
    pub fn is_available(self, suite: Suite) -> bool {
        let runs = match self {
            Self::RustCrypto | Self::AwsLc => true,
            Self::Train => train::is_supported(),
            Self::TrainAvx2 => train::is_supported_on_avx2(),
            Self::Vaes => vaes::is_supported(Width::Two),
            Self::Vaes512 => vaes::is_supported(Width::Four),
            Self::TrainOnArrays | Self::VaesOnArrays | Self::Vaes512OnArrays => train::HAS_ARRAYS,
        };
        runs && self.implements(suite)
    }

    /// The features without which this provider does not run, as far as this CPU lacks them.
    pub fn missing_features(self) -> Vec<&'static str> {
        match self {
            Self::RustCrypto | Self::AwsLc => Vec::new(),
            Self::Train => train::missing_features(),
            Self::TrainAvx2 => train::missing_features_on_avx2(),
            Self::Vaes => vaes::missing_features(Width::Two),
            Self::Vaes512 => vaes::missing_features(Width::Four),
            Self::TrainOnArrays | Self::VaesOnArrays | Self::Vaes512OnArrays => Vec::new(),
        }
    }

    /// Whether this provider has `suite`, if not on this CPU then on another.
    pub fn implements(self, suite: Suite) -> bool {
        match self {
            Self::RustCrypto | Self::AwsLc => true,
            Self::Train | Self::TrainAvx2 | Self::TrainOnArrays => suite == Suite::ChaCha20Poly1305,
            Self::Vaes | Self::Vaes512 | Self::VaesOnArrays | Self::Vaes512OnArrays => suite == Suite::Aes256Gcm,
        }
    }

    /// The name that `--aead` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RustCrypto => "rustcrypto",
            Self::AwsLc => "aws-lc",
            Self::Train => "train",
            Self::TrainAvx2 => "train-avx2",
            Self::Vaes => "vaes",
            Self::Vaes512 => "vaes512",
            Self::TrainOnArrays => "train-on-arrays",
            Self::VaesOnArrays => "vaes-on-arrays",
            Self::Vaes512OnArrays => "vaes512-on-arrays",
        }
    }

    /// What this provider leaves of a message that failed. The self-test holds it to that.
    pub fn on_failure(self) -> OnFailure {
        match self {
            Self::RustCrypto | Self::Train | Self::TrainAvx2 | Self::TrainOnArrays => OnFailure::Unchanged,
            Self::AwsLc | Self::Vaes | Self::Vaes512 | Self::VaesOnArrays | Self::Vaes512OnArrays => OnFailure::Zeroed,
        }
    }

    /// Published known answers, agreement with an independent provider over trains, and refusal of forgeries.
    /// Takes about a millisecond in an optimised build.
    ///
    /// # Errors
    /// What went wrong: this provider must then not be used for this suite.
    pub fn self_test(self, suite: Suite) -> Result<(), SelfTestError> {
        self_test::run(self, suite)
    }

    /// The key, expanded. The one place where a provider's name becomes its code. To be called only with an
    /// [available](Self::is_available) pair.
    pub(crate) fn cipher(self, suite: Suite, key: &[u8; KEY_LEN]) -> Box<dyn BatchCipher> {
        match (self, suite) {
            (Self::RustCrypto, Suite::ChaCha20Poly1305) => Box::new(rust_crypto::chacha20poly1305(key)),
            (Self::RustCrypto, Suite::Aes256Gcm) => Box::new(rust_crypto::aes256gcm(key)),
            (Self::AwsLc, suite) => Box::new(aws_lc::Cipher::new(suite, key)),
            (Self::Train, _) => train::cipher(key).expect(IN_NO_PLAN),
            (Self::TrainAvx2, _) => train::cipher_on_avx2(key).expect(IN_NO_PLAN),
            (Self::Vaes, _) => vaes::cipher(Width::Two, key).expect(IN_NO_PLAN),
            (Self::Vaes512, _) => vaes::cipher(Width::Four, key).expect(IN_NO_PLAN),
            (Self::TrainOnArrays, _) => train::cipher_on_arrays(key).expect(IN_NO_PLAN),
            (Self::VaesOnArrays, _) => vaes::cipher_on_arrays(Width::Two, key).expect(IN_NO_PLAN),
            (Self::Vaes512OnArrays, _) => vaes::cipher_on_arrays(Width::Four, key).expect(IN_NO_PLAN),
        }
    }

    /// The same, as far as the provider can do single messages with associated data. One that cannot is tested against
    /// one that can.
    pub(crate) fn one_shot(self, suite: Suite, key: &[u8; KEY_LEN]) -> Option<Box<dyn OneShot>> {
        match (self, suite) {
            (Self::RustCrypto, Suite::ChaCha20Poly1305) => Some(Box::new(rust_crypto::chacha20poly1305(key))),
            (Self::RustCrypto, Suite::Aes256Gcm) => Some(Box::new(rust_crypto::aes256gcm(key))),
            (Self::AwsLc, suite) => Some(Box::new(aws_lc::Cipher::new(suite, key))),
            (Self::Train | Self::TrainAvx2 | Self::Vaes | Self::Vaes512, _) => None,
            (Self::TrainOnArrays | Self::VaesOnArrays | Self::Vaes512OnArrays, _) => None,
        }
    }

    /// An independent implementation of every suite to compare with.
    pub(crate) fn oracle(self) -> Self {
        match self {
            Self::RustCrypto => Self::AwsLc,
            _ => Self::RustCrypto,
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
