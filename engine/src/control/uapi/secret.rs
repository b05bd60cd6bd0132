//! Key material on its way between a client and the device.

use std::fmt;

use zeroize::Zeroize as _;

/// A private or preshared key: wiped when dropped, and never printed.
///
/// On the heap, so a list of peers which outgrows its memory leaves no copies of keys behind.
#[derive(Clone)]
pub struct SecretKey(Box<[u8; 32]>);

impl SecretKey {
    /// A key of zeros, to be filled in place.
    pub(super) fn zero() -> Self {
        Self(Box::new([0; 32]))
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
