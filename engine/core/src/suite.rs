//! The cipher suites: WireGuard's own, and a second one that two Ringforts may be set to.
//!
//! There is no negotiation. Both sides are told which suite they use with each other; a handshake under another one is
//! refused ([`DropReason::SuiteMismatch`](crate::drops::DropReason::SuiteMismatch)), so nobody on the way can talk
//! them into it.
//!
//! What a suite decides: the name that both hashes start from, hence every key; the AEAD of handshakes and of data;
//! and the marker in an initiation's reserved bytes, by which the responder knows how to read it. All later messages
//! name a handshake or a session by its index, and that has its suite. Cookies (XChaCha20-Poly1305), mac1 and mac2
//! (BLAKE2s) and the key agreement are the same in all suites.

use std::fmt;
use std::str::FromStr;

use crate::constants::{AES_GCM_REKEY_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};

/// How two peers protect their handshakes and their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439): WireGuard. The only suite that other implementations speak.
    #[default]
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D) with a big-endian counter as nonce (Noise, section 12.4). Not WireGuard any more.
    Aes256Gcm,
}

/// A suite name that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cipher suite: it is chacha20poly1305 (WireGuard's own) or aes256gcm")]
pub struct UnknownSuite;

impl Suite {
    /// All suites.
    pub const ALL: &'static [Self] = &[Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// The name in the configuration, in logs and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20poly1305",
            Self::Aes256Gcm => "aes256gcm",
        }
    }

    /// The Noise protocol name that a handshake starts from (WireGuard paper, section 5.4; Noise, section 8).
    pub const fn construction(self) -> &'static [u8] {
        match self {
            Self::ChaCha20Poly1305 => b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
            Self::Aes256Gcm => b"Noise_IKpsk2_25519_AESGCM_BLAKE2s",
        }
    }

    /// The three reserved bytes of an initiation under this suite. Those of WireGuard are zero; ours show in a hex
    /// dump, and are no bit flip away from them.
    pub const fn marker(self) -> [u8; 3] {
        match self {
            Self::ChaCha20Poly1305 => [0; 3],
            Self::Aes256Gcm => *b"GCM",
        }
    }

    /// Messages sent under one key after which both sides ask for a new one.
    pub const fn rekey_after_messages(self) -> u64 {
        match self {
            Self::ChaCha20Poly1305 => REKEY_AFTER_MESSAGES,
            Self::Aes256Gcm => AES_GCM_REKEY_AFTER_MESSAGES,
        }
    }

    /// The suite with a marker.
    pub(crate) fn from_marker(marker: [u8; 3]) -> Option<Self> {
        Self::ALL.iter().copied().find(|suite| suite.marker() == marker)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        Self::ALL.iter().copied().find(|suite| suite.name() == text).ok_or(UnknownSuite)
    }
}

const _: () = assert!(Suite::ALL[Suite::ChaCha20Poly1305 as usize].marker()[0] == 0, "ALL is in order");
const _: () = assert!(Suite::ALL[Suite::Aes256Gcm as usize].marker()[0] != 0, "ALL is in order");
// Noise, section 5.2: a protocol name of up to 32 bytes would be padded instead of hashed.
const _: () = assert!(Suite::ChaCha20Poly1305.construction().len() > 32, "the name is hashed");
const _: () = assert!(Suite::Aes256Gcm.construction().len() > 32, "the name is hashed");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_markers_lead_back() {
        for &suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
            assert_eq!(Suite::from_marker(suite.marker()), Some(suite));
        }
        for other in ["", "aes", "AES256GCM", "aes256gcm ", "chacha20-poly1305", "default"] {
            assert_eq!(other.parse::<Suite>(), Err(UnknownSuite), "{other:?}");
        }
        for marker in [[1, 0, 0], [0, 0, 1], *b"GCN", *b"gcm", [0xff; 3]] {
            assert_eq!(Suite::from_marker(marker), None);
        }
    }

    #[test]
    fn the_default_is_wireguard() {
        let default = Suite::default();
        assert_eq!((default.marker(), default.rekey_after_messages()), ([0; 3], 1 << 60));
        assert_eq!(default.construction(), b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s");
    }
}
