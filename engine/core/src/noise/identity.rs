//! The static keys of both sides, with what can be computed from them once and for all.

use super::IDENTIFIER;
use super::symmetric::SymmetricState;
use crate::crypto::{Key, LowOrder, PresharedKey, PrivateKey, PublicKey};
use crate::suite::Suite;

/// Our own static key.
pub struct LocalIdentity {
    private: PrivateKey,
    public: PublicKey,
    /// Where a handshake that comes to us starts, under each suite in the order of [`Suite::ALL`].
    as_responder: [SymmetricState; Suite::ALL.len()],
}

impl LocalIdentity {
    /// The identity of a private key.
    pub fn new(private: PrivateKey) -> Self {
        let public = private.public_key();
        let as_responder = std::array::from_fn(|place| SymmetricState::new(Suite::ALL[place], IDENTIFIER, &public));
        Self { private, public, as_responder }
    }

    /// Our private key.
    pub const fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// Our public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn responder_state(&self, suite: Suite) -> SymmetricState {
        self.as_responder[suite as usize].clone()
    }
}

/// A peer's static key, the Diffie-Hellman of both static keys, the preshared key, and the suite that we use with it.
pub struct RemoteIdentity {
    public: PublicKey,
    psk: PresharedKey,
    /// Nothing while we have no private key, and for a public key of low order: neither can shake hands.
    static_static: Option<Key>,
    /// Where a handshake that goes to the peer starts.
    as_responder: SymmetricState,
}

impl RemoteIdentity {
    /// A peer of WireGuard's suite, without a preshared key. `local` is our identity if we have one yet.
    pub fn new(public: PublicKey, local: Option<&LocalIdentity>) -> Self {
        let mut remote = Self {
            public,
            psk: PresharedKey::default(),
            static_static: None,
            as_responder: SymmetricState::new(Suite::default(), IDENTIFIER, &public),
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

    /// Uses another suite. Handshakes that are under way come to nothing: their state is under the former one.
    pub fn set_suite(&mut self, suite: Suite) {
        if suite != self.suite() {
            self.as_responder = SymmetricState::new(suite, IDENTIFIER, &self.public);
        }
    }

    /// The suite that we use with the peer.
    pub const fn suite(&self) -> Suite {
        self.as_responder.suite()
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
