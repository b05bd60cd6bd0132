//! Key material and text that may contain some.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use secret_memory::Secret;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// Characters of a key in base64, padding included.
const TEXT_LEN: usize = 44;

/// A private or preshared key: never printed, and wiped when dropped.
///
/// In a place of its own, so a list of peers which outgrows its memory leaves no copies of keys behind.
pub struct SecretKey(Secret<[u8; 32]>);

impl SecretKey {
    /// A key of zeros, to be filled in place.
    #[must_use]
    pub fn zero() -> Self {
        Self(Secret::zeroed())
    }

    /// The key in 64 hexadecimal digits, as the control socket has it.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut key = Self::zero();
        for (byte, pair) in key.expose_mut().iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(key)
    }

    /// A copy of these bytes.
    #[must_use]
    pub fn copy_of(bytes: &[u8; 32]) -> Self {
        Self(Secret::copy_of(bytes))
    }

    /// The key that `wg genkey` or `wg genpsk` printed, in a time that does not depend on it.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let mut key = Self::zero();
        let len = Base64::decode(text, key.expose_mut().as_mut_slice()).ok()?.len();
        (text.len() == TEXT_LEN && len == key.expose().len()).then_some(key)
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The key itself, to be filled.
    pub fn expose_mut(&mut self) -> &mut [u8; 32] {
        self.0.expose_mut()
    }

    /// Whether all bytes are zero, which `wg` takes for "no key".
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.expose().ct_eq(&[0; 32]).into()
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        Self::copy_of(self.expose())
    }
}

/// Text that may contain keys. It is wiped when dropped, and when it outgrows its memory the old memory is wiped too,
/// which a `String` that reallocates would not do.
#[derive(Default)]
pub struct SecretText(String);

impl SecretText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends.
    pub fn push_str(&mut self, text: &str) {
        let needed = self.0.len() + text.len();
        if needed > self.0.capacity() {
            let mut larger = String::with_capacity(needed.next_power_of_two().max(4096));
            larger.push_str(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
        self.0.push_str(text);
    }

    /// Appends a key in base64.
    pub fn push_key(&mut self, key: &[u8; 32]) {
        let mut text = Zeroizing::new([0; TEXT_LEN]);
        let encoded = Base64::encode(key, text.as_mut_slice());
        self.push_str(encoded.expect("the buffer has the length of a key's text"));
    }
}

impl fmt::Write for SecretText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({} bytes)", self.0.len())
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
