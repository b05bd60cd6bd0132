//! The static keys of both sides, with what can be computed from them once and for all.

use super::symmetric::SymmetricState;
use super::{CONSTRUCTION, IDENTIFIER};
use crate::crypto::{Key, LowOrder, PresharedKey, PrivateKey, PublicKey};

/// Our own static key.
pub struct LocalIdentity {
    private: PrivateKey,
    public: PublicKey,
    /// Where a handshake that comes to us starts.
    as_responder: SymmetricState,
}

impl LocalIdentity {
    /// The identity of a private key.
    pub fn new(private: PrivateKey) -> Self {
        let public = private.public_key();
        Self { private, public, as_responder: SymmetricState::new(CONSTRUCTION, IDENTIFIER, &public) }
    }

    /// Our private key.
    pub const fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// Our public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn responder_state(&self) -> SymmetricState {
        self.as_responder.clone()
    }
}

/// A peer's static key, the Diffie-Hellman of both static keys, and the preshared key.
pub struct RemoteIdentity {
    public: PublicKey,
    psk: PresharedKey,
    /// Nothing while we have no private key, and for a public key of low order: neither can shake hands.
    static_static: Option<Key>,
    /// Where a handshake that goes to the peer starts.
    as_responder: SymmetricState,
}

impl RemoteIdentity {
    /// A peer without a preshared key. `local` is our identity if we have one yet.
    pub fn new(public: PublicKey, local: Option<&LocalIdentity>) -> Self {
        let mut remote = Self {
            public,
            psk: PresharedKey::default(),
            static_static: None,
            as_responder: SymmetricState::new(CONSTRUCTION, IDENTIFIER, &public),
        };
        remote.set_local(local);
        remote
    }

    /// Our own identity changed.
    pub fn set_local(&mut self, local: Option<&LocalIdentity>) {
        self.static_static = local.and_then(|local| local.private.diffie_hellman(&self.public).ok());
    }

    /// Replaces the preshared key; all zero is none. Handshakes that are under way use the new one.
    pub fn set_psk(&mut self, psk: PresharedKey) {
        self.psk = psk;
    }

    /// The peer's public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The preshared key, all zero if there is none.
    pub const fn psk(&self) -> &PresharedKey {
        &self.psk
    }

    pub(super) fn responder_state(&self) -> SymmetricState {
        self.as_responder.clone()
    }

    pub(super) fn static_static(&self) -> Result<&Key, LowOrder> {
        self.static_static.as_ref().ok_or(LowOrder)
    }
}
