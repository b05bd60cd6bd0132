//! Words for what fails between us and a peer, for the log and for findings.

use nix::errno::Errno;
use ringfort_core::device::Failure;
use ringfort_core::peer_drops::SendError;

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
        | Failure::Undeliverable { .. }
        | Failure::Unanswered
        | Failure::CookieDemanded => "it does not get that far",
    }
}

/// The system's words for its number.
#[must_use]
pub fn system_error(errno: i32) -> String {
    Errno::from_raw(errno).desc().to_owned()
}

/// Why datagrams did not leave, in half a sentence.
#[must_use]
pub fn send_error(error: SendError) -> String {
    match error {
        SendError::System(errno) => system_error(errno),
        SendError::Full => "as many sends are under way as this gateway has room for".to_owned(),
        SendError::Partial => "the kernel takes only a part of them, and does not say why".to_owned(),
    }
}
