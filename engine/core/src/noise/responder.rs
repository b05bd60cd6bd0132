//! The side that answers, in three steps between which the caller decides: who claims to ask
//! ([`consume_initiation`]), whether it is really that peer ([`ClaimedInitiation::verify`]), and, if the timestamp is
//! new, the answer ([`VerifiedInitiation::create_response`]).

use rand_core::CryptoRng;

use super::identity::ephemeral;
use super::symmetric::SymmetricState;
use super::{LocalIdentity, NewSession, RemoteIdentity};
use crate::crypto::{PublicKey, X25519};
use crate::drops::DropReason;
use crate::suite::Suite;
use crate::tai64n::{TAI64N_LEN, Tai64N};
use crate::wire::{HandshakeInitiation, HandshakeResponse, MAC_LEN, TAG_LEN, TYPE_RESPONSE};

/// An initiation by somebody who knows our public key and says to be `remote_public`. Anybody can say that.
pub struct ClaimedInitiation {
    state: SymmetricState,
    remote_public: PublicKey,
    remote_ephemeral: PublicKey,
    remote_index: u32,
    encrypted_timestamp: [u8; TAI64N_LEN + TAG_LEN],
}

/// An initiation that its peer really made, now or earlier: the timestamp tells.
pub struct VerifiedInitiation {
    state: SymmetricState,
    x25519: &'static dyn X25519,
    remote_public: PublicKey,
    remote_ephemeral: PublicKey,
    remote_index: u32,
    timestamp: Tai64N,
}

/// Opens the first message as far as that is possible without knowing the peer. Check mac1 before. Whether `suite`,
/// which the message's marker names, is that of the peer shows later: anybody can change a marker, but then nothing
/// opens.
///
/// # Errors
/// [`DropReason::LowOrderPoint`], [`DropReason::BadHandshake`], or [`DropReason::UnknownPeer`] for an initiation under
/// our own key.
pub fn consume_initiation(
    local: &LocalIdentity,
    suite: Suite,
    message: &HandshakeInitiation,
) -> Result<ClaimedInitiation, DropReason> {
    let mut state = local.responder_state(suite);
    let remote_ephemeral = PublicKey::new(message.ephemeral);
    let mut remote_public = [0; 32];

    // e
    state.mix_ephemeral(remote_ephemeral.as_bytes());
    // es
    let key = state.mix_key(&local.diffie_hellman(&remote_ephemeral)?);
    // s
    state.decrypt_and_hash(&key, &message.encrypted_static, &mut remote_public)?;

    let remote_public = PublicKey::new(remote_public);
    if remote_public == *local.public() {
        return Err(DropReason::UnknownPeer);
    }
    Ok(ClaimedInitiation {
        state,
        remote_public,
        remote_ephemeral,
        remote_index: message.sender_index.get(),
        encrypted_timestamp: message.encrypted_timestamp,
    })
}

impl ClaimedInitiation {
    /// The static key that the message claims to come from.
    pub const fn remote_public(&self) -> &PublicKey {
        &self.remote_public
    }

    /// Opens the rest, which only the owner of the static key can have sealed. `local` is the identity that the message
    /// was opened with. The Diffie-Hellman of the static keys is done once for each peer: whoever merely names a peer,
    /// which anybody can, has us do it once.
    ///
    /// # Errors
    /// [`DropReason::UnknownPeer`] if `remote` is another peer, [`DropReason::LowOrderPoint`],
    /// [`DropReason::BadHandshake`].
    pub fn verify(self, local: &LocalIdentity, remote: &RemoteIdentity) -> Result<VerifiedInitiation, DropReason> {
        if self.remote_public != *remote.public() {
            return Err(DropReason::UnknownPeer);
        }
        let Self { mut state, remote_public, remote_ephemeral, remote_index, encrypted_timestamp } = self;
        let mut timestamp = [0; TAI64N_LEN];

        // ss
        let key = state.mix_key(remote.static_static(local)?);
        // {t}
        state.decrypt_and_hash(&key, &encrypted_timestamp, &mut timestamp)?;

        let timestamp = Tai64N::from_bytes(timestamp);
        let x25519 = local.x25519();
        Ok(VerifiedInitiation { state, x25519, remote_public, remote_ephemeral, remote_index, timestamp })
    }
}

impl VerifiedInitiation {
    /// When the peer says to have made the message. Go on only if that is later than all before it.
    pub const fn timestamp(&self) -> Tai64N {
        self.timestamp
    }

    /// The suite that the initiator uses with us.
    pub const fn suite(&self) -> Suite {
        self.state.suite()
    }

    /// The index that the initiator chose.
    pub const fn remote_index(&self) -> u32 {
        self.remote_index
    }

    /// Makes the second message and the session. The macs are still zero; see
    /// [`crate::cookie::CookieGenerator::add_macs`]. The session may receive from now on, and send only after it
    /// received something: the initiator may never get the message.
    ///
    /// # Errors
    /// [`DropReason::UnknownPeer`] if `remote` is another peer, [`DropReason::SuiteMismatch`] if it is set to another
    /// suite, [`DropReason::LowOrderPoint`].
    pub fn create_response(
        self,
        remote: &RemoteIdentity,
        local_index: u32,
        rng: &mut dyn CryptoRng,
    ) -> Result<(NewSession, HandshakeResponse), DropReason> {
        if self.remote_public != *remote.public() {
            return Err(DropReason::UnknownPeer);
        }
        if self.suite() != remote.suite() {
            return Err(DropReason::SuiteMismatch);
        }
        let Self { mut state, x25519, remote_public, remote_ephemeral, remote_index, timestamp: _ } = self;
        let mut encrypted_nothing = [0; TAG_LEN];

        // e
        let ephemeral = ephemeral(x25519, rng);
        let ephemeral_public = *ephemeral.public_key().as_bytes();
        state.mix_ephemeral(&ephemeral_public);
        // ee
        state.mix_dh(ephemeral.diffie_hellman(&remote_ephemeral)?.as_bytes());
        // se
        state.mix_dh(ephemeral.diffie_hellman(&remote_public)?.as_bytes());
        // psk
        let key = state.mix_psk(remote.psk());
        // {}
        state.encrypt_and_hash(&key, &[], &mut encrypted_nothing);

        let message = HandshakeResponse {
            message_type: u32::from(TYPE_RESPONSE).into(),
            sender_index: local_index.into(),
            receiver_index: remote_index.into(),
            ephemeral: ephemeral_public,
            encrypted_nothing,
            mac1: [0; MAC_LEN],
            mac2: [0; MAC_LEN],
        };
        let (keys, suite) = (state.split(false), state.suite());
        Ok((NewSession { keys, local_index, remote_index, initiator: false, suite }, message))
    }
}
