//! Noise_IKpsk2 as WireGuard uses it (paper, sections 5.4.2 to 5.4.5; Noise specification, revision 34).
//!
//! ```text
//! <- s
//! ...
//! -> e, es, s, ss, {t}
//! <- e, ee, se, psk, {}
//! ```
//!
//! The functions come in pairs, `create_` and `consume_`, and carry the Noise tokens as comments. None of them changes
//! anything that exists: what a message proves is returned once all of it verified, and the caller commits it.

mod identity;
mod initiator;
mod responder;
mod symmetric;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use identity::{LocalIdentity, RemoteIdentity};
pub(crate) use initiator::HandedInitiation;
pub use initiator::{PendingInitiation, create_initiation};
pub use responder::{ClaimedInitiation, VerifiedInitiation, consume_initiation};

use crate::crypto::LowOrder;
use crate::drops::DropReason;
use crate::keypair::SessionKeys;
use crate::suite::Suite;

/// The Noise prologue.
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// A handshake's result on either side.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The keys of both directions.
    pub keys: SessionKeys,
    /// The index that the peer puts into messages to us.
    pub local_index: u32,
    /// The index that we put into messages to the peer.
    pub remote_index: u32,
    /// Whether we asked for the session.
    pub initiator: bool,
    /// The suite that the handshake was under, and the session is.
    pub suite: Suite,
}

impl From<LowOrder> for DropReason {
    fn from(_: LowOrder) -> Self {
        Self::LowOrderPoint
    }
}

impl From<crate::crypto::BadTag> for DropReason {
    fn from(_: crate::crypto::BadTag) -> Self {
        Self::BadHandshake
    }
}
