//! The static keys of both sides, with what can be computed from them once and for all.

use std::sync::OnceLock;

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

/// A peer's static key, the preshared key, and the suite that we use with it.
///
/// The Diffie-Hellman of both static keys is computed in the first handshake and then kept. So peers who never shake
/// hands cost none, and a configuration of 100,000 peers, or another private key, takes no time for it.
pub struct RemoteIdentity {
    public: PublicKey,
    psk: PresharedKey,
    suite: Suite,
    /// Boxed, so it does not move, and a peer that was never heard from has no room for it.
    static_static: OnceLock<Result<Box<Key>, LowOrder>>,
}

impl RemoteIdentity {
    /// A peer of WireGuard's suite, without a preshared key.
    pub fn new(public: PublicKey) -> Self {
        Self { public, psk: PresharedKey::default(), suite: Suite::default(), static_static: OnceLock::new() }
    }

    /// Our own identity changed: what was computed with the former one is wiped.
    pub fn forget_local(&mut self) {
        self.static_static = OnceLock::new();
    }

    /// Replaces the preshared key; all zero is none. Handshakes that are under way use the new one.
    pub fn set_psk(&mut self, psk: PresharedKey) {
        self.psk = psk;
    }

    /// Uses another suite. Handshakes that are under way come to nothing: their state is under the former one.
    pub fn set_suite(&mut self, suite: Suite) {
        self.suite = suite;
    }

    /// The suite that we use with the peer.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The peer's public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The preshared key, all zero if there is none.
    pub const fn psk(&self) -> &PresharedKey {
        &self.psk
    }

    /// Where a handshake that goes to the peer starts. Two hashes: nothing beside the Diffie-Hellmans that follow.
    pub(super) fn responder_state(&self) -> SymmetricState {
        SymmetricState::new(self.suite, IDENTIFIER, &self.public)
    }

    /// The Diffie-Hellman of both static keys, with the same `local` until [`RemoteIdentity::forget_local`].
    pub(super) fn static_static(&self, local: &LocalIdentity) -> Result<&Key, LowOrder> {
        let compute = || local.private.diffie_hellman(&self.public).map(Box::new);
        self.static_static.get_or_init(compute).as_deref().map_err(|&low_order| low_order)
    }

    /// Whether that Diffie-Hellman has been done.
    #[cfg(test)]
    pub(super) fn has_static_static(&self) -> bool {
        self.static_static.get().is_some()
    }
}
