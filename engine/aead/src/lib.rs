//! AEADs over *trains* of WireGuard data messages: one seam, two [`Suite`]s, several [`Provider`]s.
//!
//! A train is up to [`SEGMENTS_MAX`] data messages of one session that lie side by side in one buffer:
//!
//! ```text
//! ├──────────── stride ───────────┤├──────────── stride ───────────┤├───── last ─────┤
//! [header 16][plaintext  ][tag 16 ][header 16][plaintext  ][tag 16 ][header][pt][tag ]
//! ```
//!
//! The header (message type, receiver index, counter) is neither read, written nor authenticated here: the receiver
//! takes the counter from it, and a wrong counter or key fails the tag. As in the WireGuard paper, section 5.4.6, the
//! nonce is four zero bytes and the counter, and there is no associated data.
//!
//! [`Geometry`] is validated once, where it is made. Callers name no provider. At start-up [`Selection::resolve`] tests
//! and measures those that the CPU can run. Every key is made with the resulting [`Plan`]. In it each call finds the
//! fastest provider for its number and length of packets. Every provider is given whole trains. Lone messages of
//! different lengths can be sealed and opened together as well ([`SealKey::seal_batch`], [`OpenKey::open_batch`]).
//!
//! # What is promised
//!
//! - The plaintext of a segment that fails verification is never visible to the caller. On return its ciphertext bytes
//!   are either unchanged or all zero. Which of the two depends on the provider ([`Provider::on_failure`]). Its header
//!   and tag are unchanged, and its neighbours in the train are opened normally.
//! - Counters are never reused by this crate: a train whose counters would wrap is refused before a byte is written.
//! - Keys are wiped when dropped, and no `Debug` output shows them.
#![deny(unsafe_code)]

mod choose;
mod cipher;
mod geometry;
mod key;
mod measure;
mod message;
mod plan;
mod provider;
mod self_test;
mod suite;
mod train;
mod verdicts;
mod workload;

pub use choose::{Choice, Selection, SelectionError, SuiteChoice, choose};
pub use geometry::{Geometry, GeometryError, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN, SEGMENTS_MAX};
pub use key::{BadTag, OpenKey, SealKey, TrainError};
pub use measure::{Figure, Measurement, measure};
pub use message::{Message, Source};
pub use plan::{PACKET_SIZES, Plan, TRAIN_COUNTS};
pub use provider::{OnFailure, Provider, UnknownProvider};
pub use self_test::SelfTestError;
pub use suite::{Suite, UnknownSuite};
pub use verdicts::Verdicts;
pub use workload::{Operation, Shape, Workload};

/// Bytes of a session key.
pub const KEY_LEN: usize = 32;
/// Bytes of the data header in front of each segment's plaintext (paper, section 5.4.6).
pub const HEADER_LEN: usize = 16;
/// Bytes of the tag behind each segment's ciphertext.
pub const TAG_LEN: usize = 16;
/// Bytes of a nonce (RFC 8439, section 2.8; NIST SP 800-38D, section 8.2.1).
pub(crate) const NONCE_LEN: usize = 12;
