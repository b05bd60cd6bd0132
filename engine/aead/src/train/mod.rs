//! ChaCha20-Poly1305 across the messages of a batch, for CPUs with AVX-512, and for those with AVX2.
//!
//! Libraries are fast within one long message. A tunnel's messages are short and come many at a time. So the lanes of
//! the vector registers hold different messages here. Every block of every message is one lane of [ChaCha20](kernel),
//! the one-time keys of Poly1305 included. Poly1305 works on eight messages at once, or shares the lanes out if there
//! are fewer.
//!
//! The kernel for AVX-512 is written over registers of any kind. Those of AVX-512 carry traffic. Plain arrays carry
//! tests, on every CPU: they are in builds with the feature `arrays` only, which nothing but tests asks for.
//!
//! The kernel for AVX2 has eight lanes, and Poly1305 in scalar registers beside them. Both share the order in which
//! messages are worked on.

use crate::KEY_LEN;
use crate::cipher::BatchCipher;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(any(target_arch = "x86_64", test, feature = "arrays"))]
mod kernel;
#[cfg(any(target_arch = "x86_64", test, feature = "arrays"))]
mod order;
/// AES-256-GCM likewise, by other instructions.
pub(crate) mod vaes;

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

/// The CPU features that the kernel for AVX2 needs, as far as they are missing here.
pub(crate) fn missing_features_on_avx2() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return avx2::missing_features();
    #[cfg(not(target_arch = "x86_64"))]
    vec!["x86-64"]
}

/// Whether that runs on this CPU.
pub(crate) fn is_supported_on_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx2::is_supported();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The key for that, expanded; `None` on a CPU on which it does not run.
pub(crate) fn cipher_on_avx2(key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    #[cfg(target_arch = "x86_64")]
    return avx2::cipher(key);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = key;
        None
    }
}

/// Whether the kernel over arrays is in this build.
pub(crate) const HAS_ARRAYS: bool = cfg!(any(test, feature = "arrays"));

/// The key for the kernel over arrays; `None` in a build without it.
pub(crate) fn cipher_on_arrays(key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    #[cfg(any(test, feature = "arrays"))]
    return Some(kernel::cipher_on_arrays(key));
    #[cfg(not(any(test, feature = "arrays")))]
    {
        let _ = key;
        None
    }
}
