//! Public keys as people write them: the base64 of `wg`. Never for secrets: what is printed here may be logged.

use base64ct::{Base64, Encoding as _};
use ringfort_core::crypto::PublicKey;

/// Characters of a key, padding included.
const TEXT_LEN: usize = 44;

/// A key that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key: that is 44 characters of base64, as wg(8) prints it")]
pub struct NotAKey;

/// The key as `wg` prints it.
#[must_use]
pub fn encode(key: &PublicKey) -> String {
    Base64::encode_string(key.as_bytes())
}

/// What [`encode`] wrote, and no other spelling of it.
///
/// # Errors
/// [`NotAKey`].
pub fn decode(text: &str) -> Result<PublicKey, NotAKey> {
    let mut key = [0; 32];
    let len = Base64::decode(text, &mut key).map_err(|_| NotAKey)?.len();
    (text.len() == TEXT_LEN && len == key.len()).then(|| PublicKey::new(key)).ok_or(NotAKey)
}

/// How logs name a peer, as those of wireguard-go do: enough of the key to find it in `wg show`.
#[must_use]
pub fn short(key: &PublicKey) -> String {
    let text = encode(key);
    format!("peer({}…{})", &text[..4], &text[TEXT_LEN - 5..TEXT_LEN - 1])
}

/// As [`short`], with what the operator calls the peer.
#[must_use]
pub fn named(key: &PublicKey, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{} \"{name}\"", short(key)),
        None => short(key),
    }
}

/// The key as the control socket takes it.
#[must_use]
pub fn hex(key: &PublicKey) -> String {
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse of [`hex`], for what a daemon answers. Digits of either case.
#[must_use]
pub fn from_hex(text: &str) -> Option<PublicKey> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(PublicKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of the documentation of WireGuard, as text and in hexadecimal.
    const TEXT: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    const HEX: &str = "c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038";

    #[test]
    fn a_key_and_its_texts() {
        let key = decode(TEXT).unwrap();
        assert_eq!((encode(&key).as_str(), hex(&key).as_str()), (TEXT, HEX));
        assert_eq!(from_hex(HEX), Some(key));
        assert_eq!(short(&key), "peer(xTIB…p8Dg)");
    }

    #[test]
    fn everything_else_is_refused() {
        let other_bits = TEXT.replace("Dg=", "Dh=");
        for bad in ["", "=", &TEXT[..43], &TEXT[1..], &format!("{TEXT}="), &format!(" {TEXT}"), &other_bits, HEX] {
            assert_eq!(decode(bad), Err(NotAKey), "{bad:?}");
        }
        assert!(decode(&TEXT.replace('x', "-")).is_err() && decode(&"A".repeat(44)).is_err());
    }
}
