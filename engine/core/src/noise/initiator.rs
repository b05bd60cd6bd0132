//! The side that asks.

use rand_core::CryptoRng;

use super::identity::ephemeral;
use super::symmetric::SymmetricState;
use super::{LocalIdentity, NewSession, RemoteIdentity};
use crate::crypto::{PrivateKey, PublicKey, Secret};
use crate::drops::DropReason;
use crate::part::parts;
use crate::tai64n::Tai64N;
use crate::wire::{HandshakeInitiation, HandshakeResponse, MAC_LEN, TAG_LEN, initiation_type};

/// An initiation that was sent and awaits its response. Zeroed when dropped.
pub struct PendingInitiation {
    state: SymmetricState,
    ephemeral: Box<dyn Secret>,
    local_index: u32,
}

/// An initiation that awaits its response in another process.
pub(crate) struct HandedInitiation {
    state: SymmetricState,
    ephemeral: PrivateKey,
    pub(crate) local_index: u32,
}

parts!(HandedInitiation { state, ephemeral, local_index });

/// Makes the first message, under the suite that is set for the peer. Its macs are still zero; see
/// [`crate::cookie::CookieGenerator::add_macs`].
///
/// `timestamp` must be later than that of every initiation sent to this peer before.
///
/// # Errors
/// [`DropReason::LowOrderPoint`] if the peer's public key is of low order.
pub fn create_initiation(
    local: &LocalIdentity,
    remote: &RemoteIdentity,
    timestamp: Tai64N,
    local_index: u32,
    rng: &mut dyn CryptoRng,
) -> Result<(PendingInitiation, HandshakeInitiation), DropReason> {
    let mut state = remote.responder_state();
    let mut encrypted_static = [0; 32 + TAG_LEN];
    let mut encrypted_timestamp = [0; 12 + TAG_LEN];

    // e
    let ephemeral = ephemeral(local.x25519(), rng);
    let ephemeral_public = *ephemeral.public_key().as_bytes();
    state.mix_ephemeral(&ephemeral_public);
    // es
    let key = state.mix_key(&ephemeral.diffie_hellman(remote.public())?);
    // s
    state.encrypt_and_hash(&key, local.public().as_bytes(), &mut encrypted_static);
    // ss
    let key = state.mix_key(remote.static_static(local)?);
    // {t}
    state.encrypt_and_hash(&key, timestamp.as_bytes(), &mut encrypted_timestamp);

    let message = HandshakeInitiation {
        message_type: initiation_type(remote.suite()),
        sender_index: local_index.into(),
        ephemeral: ephemeral_public,
        encrypted_static,
        encrypted_timestamp,
        mac1: [0; MAC_LEN],
        mac2: [0; MAC_LEN],
    };
    Ok((PendingInitiation { state, ephemeral, local_index }, message))
}

impl PendingInitiation {
    /// The index that the response must carry.
    pub const fn local_index(&self) -> u32 {
        self.local_index
    }

    /// What another process needs to await the response.
    pub(crate) fn handed(&self) -> HandedInitiation {
        let Self { state, ephemeral, local_index } = self;
        HandedInitiation { state: state.clone(), ephemeral: ephemeral.private_key(), local_index: *local_index }
    }

    /// Awaits the response to what another process has sent.
    pub(crate) fn resumed(local: &LocalIdentity, handed: HandedInitiation) -> Self {
        let HandedInitiation { state, ephemeral, local_index } = handed;
        Self { state, ephemeral: local.x25519().secret(&ephemeral), local_index }
    }

    /// Opens the second message. A failure leaves the initiation pending: the right response may still come.
    ///
    /// # Errors
    /// [`DropReason::UnknownIndex`], [`DropReason::LowOrderPoint`], or [`DropReason::BadHandshake`], which is also what
    /// a different preshared key looks like.
    pub fn consume_response(
        &self,
        local: &LocalIdentity,
        remote: &RemoteIdentity,
        response: &HandshakeResponse,
    ) -> Result<NewSession, DropReason> {
        if response.receiver_index.get() != self.local_index {
            return Err(DropReason::UnknownIndex);
        }
        let mut state = self.state.clone();
        let ephemeral = PublicKey::new(response.ephemeral);

        // e
        state.mix_ephemeral(ephemeral.as_bytes());
        // ee
        state.mix_dh(self.ephemeral.diffie_hellman(&ephemeral)?.as_bytes());
        // se
        state.mix_dh(local.diffie_hellman(&ephemeral)?.as_bytes());
        // psk
        let key = state.mix_psk(remote.psk());
        // {}
        state.decrypt_and_hash(&key, &response.encrypted_nothing, &mut [])?;

        Ok(NewSession {
            keys: state.split(true),
            local_index: self.local_index,
            remote_index: response.sender_index.get(),
            initiator: true,
            suite: state.suite(),
        })
    }
}

impl std::fmt::Debug for PendingInitiation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingInitiation").field("local_index", &self.local_index).finish_non_exhaustive()
    }
}
