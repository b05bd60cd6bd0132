//! Curve25519 keys, and the two ways in which they are written: hexadecimal (UAPI) and base64 (`wg`).

use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Context, Result};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 32 bytes: a private, public or preshared key. Only ever a test's own, so it may be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// Fresh random bytes.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).context("reading random bytes")?;
        Ok(Self(bytes))
    }

    /// 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// 44 characters of base64.
    pub fn base64(&self) -> String {
        let mut text = String::with_capacity(44);
        for chunk in self.0.chunks(3) {
            let mut group = [0; 3];
            group[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            for position in 0..4 {
                let sextet = (bits >> (18 - 6 * position)) & 0x3f;
                let padding = position > chunk.len();
                text.push(if padding { '=' } else { char::from(BASE64[sextet as usize]) });
            }
        }
        text
    }
}

/// A private key and the public key that belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct KeyPair {
    /// The private half.
    pub private: Key,
    /// The public half.
    pub public: Key,
}

impl KeyPair {
    /// A fresh pair.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Self> {
        let mut private = Key::random()?;
        // As `wg genkey` clamps it, so it reads back as it was set.
        private.0[0] &= 248;
        private.0[31] = (private.0[31] & 127) | 64;
        let secret = StaticSecret::from(private.0);
        Ok(Self { private, public: Key(PublicKey::from(&secret).to_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_known_bytes() {
        assert_eq!(Key([0; 32]).base64(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(Key(counting).base64(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(Key([0xff; 32]).base64(), "//////////////////////////////////////////8=");
    }

    #[test]
    fn public_key_of_rfc_7748() {
        let private = StaticSecret::from([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c,
            0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        assert_eq!(
            Key(PublicKey::from(&private).to_bytes()).hex(),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        );
    }
}
