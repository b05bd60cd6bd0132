//! ChaCha20-Poly1305 across the messages of a batch, for CPUs with AVX-512.
//!
//! Libraries are fast within one long message. A tunnel's messages are short and come many at a time, and so the lanes of
//! the vector registers hold different messages here: every block of every message is one lane of [ChaCha20](kernel), the
//! one-time keys of Poly1305 included, and Poly1305 works on eight messages at once, or shares the lanes out if there
//! are fewer.

use crate::KEY_LEN;
use crate::cipher::BatchCipher;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod kernel;

/// The CPU features without which it does not run, as far as they are missing here.
pub(crate) fn missing_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return kernel::missing_features();
    #[cfg(not(target_arch = "x86_64"))]
    vec!["x86-64"]
}

/// Whether it runs on this CPU. Cheap: the detection is done once.
pub(crate) fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return kernel::is_supported();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The key, expanded; `None` on a CPU on which it does not run.
pub(crate) fn cipher(key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    #[cfg(target_arch = "x86_64")]
    return kernel::cipher(key);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = key;
        None
    }
}
