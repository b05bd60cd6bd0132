//! The protocol's constants under the paper's names, and this implementation's own below them.

use std::time::Duration;

// WireGuard paper, section 6.1.

/// Messages sent under one key after which the initiator asks for a new one.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Counters from here on are neither sent nor accepted. The distance to 2^64 keeps the replay window from wrapping.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Age of a key after which its initiator, when sending, asks for a new one.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age of a key after which it neither sends nor receives.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// How long a handshake is attempted before giving up until there is something to send again.
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// Time between two initiations to one peer.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after received data that is answered with a keepalive.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

// RFC 9001, section 6.6 and appendix B.1.1, for packets of at most 2^11 bytes.

/// As [`REKEY_AFTER_MESSAGES`], for AES-GCM: so many messages can be told from random bytes with a probability of
/// 2^-57 at most. In packets of 1,420 bytes that is 381 GB, which below 25 Gbit/s takes longer than
/// [`REKEY_AFTER_TIME`]. Larger packets are more blocks to a message; then the time is the limit: 180 s at 100 Gbit/s
/// are 2^37 blocks, hence 2^-55.
pub const AES_GCM_REKEY_AFTER_MESSAGES: u64 = 1 << 28;

// WireGuard paper, section 5.4.7.

/// Age at which the responder's cookie secret is replaced, and at which an initiator stops using a cookie.
pub const COOKIE_SECRET_MAX_AGE: Duration = Duration::from_secs(120);
/// After a responder has another cookie secret, the former one counts for so long. Who got a cookie just before uses it
/// after [`REKEY_TIMEOUT`], and may lose that message.
pub const COOKIE_SECRET_RETIREMENT: Duration = Duration::from_secs(2 * REKEY_TIMEOUT.as_secs() + 1);

// WireGuard paper, section 5.4.6: what a transport packet's plaintext is padded to.

/// Transport payloads are padded to multiples of this many bytes.
pub const PADDING_MULTIPLE: usize = 16;

// Values that the paper leaves to implementations; they are those of Linux `drivers/net/wireguard/messages.h`.

/// Upper end of the random delay added to [`REKEY_TIMEOUT`], so two peers do not collide for ever.
pub const REKEY_TIMEOUT_JITTER_MAX: Duration = Duration::from_millis(333);
/// By so much at the most we ask for a new session before Rekey-After-Time. Sessions that began together would
/// otherwise ask together, every two minutes. Earlier, not later: no key gets older than the paper has it, and an
/// attempt keeps its whole minute until Reject-After-Time. It costs one handshake in sixteen.
pub const REKEY_SPREAD: Duration = Duration::from_secs(15);
/// Initiations in a row that leave from the address at which the peer knows us. The kernel's forgets it after the
/// first.
pub const INITIATIONS_FROM_SOURCE: u32 = 3;
/// Initiations in a row to where a peer was before a restart. Without an answer, the next ones go to where the operator
/// says.
pub const INITIATIONS_TO_MEMORY: u32 = 3;
/// Initiations that are accepted from one peer in a second.
pub const INITIATIONS_PER_SECOND: u32 = 50;
/// The least time between two accepted initiations of one peer.
pub const INITIATION_INTERVAL_MIN: Duration = Duration::from_nanos(1_000_000_000 / INITIATIONS_PER_SECOND as u64);
/// Silence after sent data that makes the sender try a new handshake; the jitter comes on top.
pub const NEW_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(KEEPALIVE_TIMEOUT.as_secs() + REKEY_TIMEOUT.as_secs());
/// Age after which an initiator that still receives under a key asks for a new one before the key is refused.
pub const REKEY_ON_RECEIVE_AFTER_TIME: Duration =
    Duration::from_secs(REJECT_AFTER_TIME.as_secs() - KEEPALIVE_TIMEOUT.as_secs() - REKEY_TIMEOUT.as_secs());
/// Time after the last new key at which all of a peer's key material is zeroed.
pub const ZERO_KEYS_AFTER_TIME: Duration = Duration::from_secs(3 * REJECT_AFTER_TIME.as_secs());
/// The least time between two notices to the operator about the suite of one peer, and between two initiations by which
/// the peer is told: one each for an attempt of the peer's.
pub const SUITE_NOTICE_INTERVAL: Duration = REKEY_ATTEMPT_TIME;
/// How long a peer under a suite that only Ringfort speaks may be silent before the operator is told what that may
/// mean.
pub const SUITE_SILENCE: Duration = Duration::from_secs(4 * REKEY_TIMEOUT.as_secs());
/// For so long after a start, or after the link came up, data under an unknown index is taken for that of a session
/// which was lost. Whoever still had one then does not send under it any longer.
pub const RECOVERY_TIME: Duration = REJECT_AFTER_TIME;
/// Initiations in a second to peers that send under lost sessions.
pub const RECOVERIES_PER_SECOND: usize = 1_000;
/// Peers of one device.
pub const PEERS_MAX: usize = 1 << 20;
/// Sessions of a peer that are heard although nobody sends under them any more, until they expire.
pub const FORMER_SESSIONS: usize = 3;

/// Handshake messages that one source may send in a second while the gateway is under load.
pub const LIMITER_PACKETS_PER_SECOND: u64 = 20;
/// Handshake messages that one source may send at once.
pub const LIMITER_PACKETS_BURST: u64 = 5;
/// The same of one port of an address: who is there asks once in Rekey-Timeout, and answers as often.
pub const LIMITER_PORT_PACKETS_PER_SECOND: u64 = 1;
/// Handshake messages that one port of an address may send at once: fewer than an address, so it leaves some.
pub const LIMITER_PORT_PACKETS_BURST: u64 = 2;

const _: () = assert!(REKEY_AFTER_MESSAGES < REJECT_AFTER_MESSAGES, "a rekey comes before the refusal");
const _: () = assert!(AES_GCM_REKEY_AFTER_MESSAGES < REKEY_AFTER_MESSAGES, "AES-GCM wears out sooner");
const _: () = assert!(REKEY_AFTER_TIME.as_secs() < REJECT_AFTER_TIME.as_secs(), "a rekey comes before the refusal");
const _: () = assert!(REKEY_ON_RECEIVE_AFTER_TIME.as_secs() == 165, "the kernel's last-minute handshake");
