//! AES-256-GCM across the messages of a batch, for CPUs with AES and multiplication without carries in vector registers
//! (VAES, VPCLMULQDQ).
//!
//! Without AVX-512, the library has AES in registers of one block only. And it works on one message: of a short one,
//! each round waits for the one before it. So a register holds two blocks here, or four, and eight registers are worked
//! on at once, of several short messages or of a long one. The hash is computed beside the rounds.
//!
//! The [kernel] is written once, over registers of any kind and width. Those of the CPU carry traffic. Plain arrays
//! carry tests, on every CPU: they are in builds with the feature `arrays` only, which nothing but tests asks for.

use crate::KEY_LEN;
use crate::cipher::BatchCipher;

#[cfg(any(target_arch = "x86_64", test, feature = "arrays"))]
mod kernel;

/// How wide the registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Two blocks, 256 bits: with AVX2.
    Two,
    /// Four blocks, 512 bits: with AVX-512.
    Four,
}

/// The CPU features without which it does not run, as far as they are missing here.
pub(crate) fn missing_features(width: Width) -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return kernel::missing_features(width);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = width;
        vec!["x86-64"]
    }
}

/// Whether it runs on this CPU. Cheap: the detection is done once.
pub(crate) fn is_supported(width: Width) -> bool {
    #[cfg(target_arch = "x86_64")]
    return kernel::is_supported(width);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = width;
        false
    }
}

/// The key, expanded; `None` on a CPU on which it does not run.
pub(crate) fn cipher(width: Width, key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    #[cfg(target_arch = "x86_64")]
    return kernel::cipher(width, key);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (width, key);
        None
    }
}

/// The key for the kernel over arrays; `None` in a build without it.
pub(crate) fn cipher_on_arrays(width: Width, key: &[u8; KEY_LEN]) -> Option<Box<dyn BatchCipher>> {
    #[cfg(any(test, feature = "arrays"))]
    return Some(kernel::cipher_on_arrays(width, key));
    #[cfg(not(any(test, feature = "arrays")))]
    {
        let _ = (width, key);
        None
    }
}
