//! The ciphers under test and what they are compared with, for the targets that seal and open.

use std::sync::OnceLock;

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use ringfort_aead::{OnFailure, OpenKey, Plan, Provider, SealKey, Suite, TAG_LEN};

const KEY: [u8; 32] = [0x5a; 32];

/// One provider with one suite.
pub(crate) struct Keys {
    pub(crate) suite: Suite,
    pub(crate) provider: Provider,
    pub(crate) seal: SealKey,
    pub(crate) open: OpenKey,
}

impl Keys {
    /// Every pair that runs on this CPU, the train kernel over arrays included.
    pub(crate) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Keys>> = OnceLock::new();
        ALL.get_or_init(|| {
            let pairs = Suite::ALL.into_iter().flat_map(|suite| Provider::TESTED.iter().map(move |&p| (suite, p)));
            let pairs = pairs.filter(|(suite, provider)| provider.is_available(*suite));
            let keys = |(suite, provider)| {
                let plan = Plan::fixed(provider);
                Self { suite, provider, seal: SealKey::new(plan, suite, &KEY), open: OpenKey::new(plan, suite, &KEY) }
            };
            pairs.map(keys).collect()
        })
    }

    /// Those of one suite.
    pub(crate) fn of(suite: Suite) -> impl Iterator<Item = &'static Self> {
        Self::all().iter().filter(move |keys| keys.suite == suite)
    }

    /// Panics unless what is left of a text that did not verify is what the provider promises.
    pub(crate) fn unseen(&self, arrived: &[u8], left: &[u8]) {
        match self.provider.on_failure() {
            OnFailure::Unchanged => assert_eq!(left, arrived, "{}", self.provider),
            OnFailure::Zeroed => assert!(left.iter().all(|&byte| byte == 0), "{}", self.provider),
        }
    }
}

/// Seals with the RustCrypto crates and none of our code.
pub(crate) fn oracle(suite: Suite, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
    static CHACHA: OnceLock<ChaCha20Poly1305> = OnceLock::new();
    static AES: OnceLock<Aes256Gcm> = OnceLock::new();
    let mut nonce = [0; 12];
    let tag = match suite {
        Suite::ChaCha20Poly1305 => {
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            let cipher = CHACHA.get_or_init(|| ChaCha20Poly1305::new(&KEY.into()));
            cipher.encrypt_inout_detached(&nonce.into(), &[], text.into())
        }
        Suite::Aes256Gcm => {
            nonce[4..].copy_from_slice(&counter.to_be_bytes());
            let cipher = AES.get_or_init(|| Aes256Gcm::new(&KEY.into()));
            cipher.encrypt_inout_detached(&nonce.into(), &[], text.into())
        }
    };
    tag.expect("it refuses only gigabytes").into()
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(89) ^ (i >> 8) as u8 | 1).collect()
}
