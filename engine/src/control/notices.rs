//! What the operator reads about peers: a line for each change of a peer's state, limited in rate by the device.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::time::Duration;

use nix::errno::Errno;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::{Failure, Notice, PeerState};
use ringfort_core::drops::DropReason;
use ringfort_core::peer_drops::SendError;
use ringfort_core::suite::Suite;

use super::key_text;
use super::words;

/// Writes what the device has noticed of a peer. `name` is what the operator calls it.
pub fn log(public_key: &PublicKey, name: Option<&str>, notice: Notice) {
    let (key, peer) = (key_text::encode(public_key), key_text::named(public_key, name));
    match notice {
        Notice::State { state, was, reason, remote, took } => log_state(&key, &peer, state, was, reason, remote, took),
        Notice::Roamed { from, to } => log::info!(peer = key; "{peer} has moved from {from} to {to}"),
        Notice::Dropped { reason, source, error } => log_drop(&key, &peer, reason, source, error),
        Notice::Stranger { remote } => log::info!(
            peer = key;
            "{remote} asks for a session under the key {key}, which belongs to no peer here: add it with wg(8) if it \
             is yours"
        ),
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

fn log_state(
    key: &str,
    peer: &str,
    state: PeerState,
    was: PeerState,
    reason: Option<Failure>,
    remote: Option<SocketAddr>,
    took: Option<Duration>,
) {
    let at = remote.map_or_else(String::new, |remote| format!(" at {remote}"));
    match state {
        PeerState::Up => {
            let again = if was == PeerState::Idle { "" } else { " again" };
            let took = took.map_or_else(String::new, |took| format!(", {} ms after we asked", took.as_millis()));
            log::info!(peer = key; "{peer} is up{again}{at}{took}");
        }
        PeerState::Unreachable => {
            log::info!(
                peer = key;
                "{peer} does not answer{at}: handshakes leave and nothing comes back (ringfort why tells more)"
            );
        }
        PeerState::Refused => {
            let why = reason.map_or("they fail", words::refusal);
            log::info!(
                peer = key;
                "{peer}{at} and we hear each other, but handshakes fail: {why} (ringfort why tells more)"
            );
        }
        PeerState::Idle | PeerState::Waiting | PeerState::Asking => log::info!(peer = key; "{peer} is {state}{at}"),
    }
}

fn log_drop(key: &str, peer: &str, reason: DropReason, source: Option<IpAddr>, error: Option<SendError>) {
    match (reason, source, error) {
        (DropReason::SourceNotAllowed, Some(source), _) => {
            log::info!(
                peer = key;
                "{peer} sends packets from {source}, which is not among its allowed IPs here: they are dropped"
            );
        }
        (DropReason::NoEndpoint, ..) => {
            log::info!(
                peer = key;
                "{peer} has no endpoint, and has not asked for a session yet: packets for it are dropped"
            );
        }
        (DropReason::SendFailed, _, Some(SendError::System(libc::EAFNOSUPPORT))) => {
            log::info!(
                peer = key;
                "nothing can be sent to {peer}: there is no socket of its endpoint's family (ringfort why tells more)"
            );
        }
        (DropReason::SendFailed, _, Some(SendError::System(errno))) => {
            log::info!(peer = key; "the system refuses to send to {peer}: {}", Errno::from_raw(errno).desc());
        }
        (DropReason::SendFailed, _, Some(error @ (SendError::Full | SendError::Partial))) => {
            log::info!(peer = key; "datagrams to {peer} are dropped: {}", words::send_error(error));
        }
        _ => log::info!(peer = key; "packets of {peer} are dropped: {reason}"),
    }
}

/// AES without instructions for it is still right, and constant in time, but slow. Said once.
pub fn warn_of_slow_aes(suite: Suite) {
    static SAID: Once = Once::new();
    // Before there is a log, it would be said to nobody.
    if suite == Suite::Aes256Gcm && log::log_enabled!(log::Level::Warn) && !cpu_has_aes() {
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
