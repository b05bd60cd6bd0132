//! Words for what goes wrong between us and a peer.

use ringfort_core::device::Failure;

/// Why handshakes of two that hear each other fail, in half a sentence.
#[must_use]
pub fn refusal(failure: Failure) -> &'static str {
    match failure {
        Failure::BadResponse => "its answers do not open, so the preshared keys differ",
        Failure::Unused => "it asks again instead of using our answers, which do not reach it or do not open there",
        Failure::OldTimestamp { .. } => "it asks with a timestamp that is not later than one before",
        Failure::SuiteMismatch { .. } => "the cipher suites differ",
        Failure::NoPrivateKey
        | Failure::NoEndpoint
        | Failure::NotSent { .. }
        | Failure::Unanswered
        | Failure::CookieDemanded => "it does not get that far",
    }
}
