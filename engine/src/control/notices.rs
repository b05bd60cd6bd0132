//! What the operator reads about cipher suites.

use std::sync::Once;

use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Notice;
use ringfort_core::suite::Suite;

use super::key_text;

/// Writes what the device has noticed of a peer.
pub fn log(peer: &PublicKey, notice: Notice) {
    let (key, peer) = (key_text::encode(peer), key_text::short(peer));
    match notice {
        Notice::SuiteMismatch { ours, theirs } => log::warn!(
            peer = key;
            "{peer} uses the cipher suite {theirs} with us, but here it is set to {ours}: its handshakes are refused \
             until both sides are set to the same (ringfort --set-suite, or CipherSuite in the configuration)"
        ),
        Notice::SuiteSilence { suite } => log::warn!(
            peer = key;
            "{peer} does not answer handshakes of the cipher suite {suite}: besides being out of reach, it may be set \
             to another suite, or be no Ringfort and know {} only",
            Suite::default()
        ),
    }
}

/// AES without instructions for it is still right, and constant in time, but slow. Said once.
pub fn warn_of_slow_aes(suite: Suite) {
    static SAID: Once = Once::new();
    if suite == Suite::Aes256Gcm && !cpu_has_aes() {
        SAID.call_once(|| {
            log::warn!(
                "the cipher suite {suite} is slow here: this CPU has no AES and carry-less multiplication for it"
            );
        });
    }
}

fn cpu_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}
