//! The static keys of both sides, with what can be computed from them once and for all.

use std::sync::OnceLock;

use rand_core::CryptoRng;

use super::IDENTIFIER;
use super::symmetric::SymmetricState;
use crate::crypto::{Key, LowOrder, Portable, PresharedKey, PrivateKey, PublicKey, Secret, X25519};
use crate::suite::Suite;

/// Our own static key.
pub struct LocalIdentity {
    private: PrivateKey,
    public: PublicKey,
    /// The private key in the hands of who computes.
    secret: Box<dyn Secret>,
    x25519: &'static dyn X25519,
    /// Where a handshake that comes to us starts, under each suite in the order of [`Suite::ALL`].
    as_responder: [SymmetricState; Suite::ALL.len()],
}

impl LocalIdentity {
    /// The identity of a private key. Handshakes are computed by the portable library.
    pub fn new(private: PrivateKey) -> Self {
        Self::computed_by(&Portable, private)
    }

    /// The identity of a private key, whose handshakes `x25519` computes.
    pub fn computed_by(x25519: &'static dyn X25519, private: PrivateKey) -> Self {
        let secret = x25519.secret(&private);
        let public = secret.public_key();
        let as_responder = std::array::from_fn(|place| SymmetricState::new(Suite::ALL[place], IDENTIFIER, &public));
        Self { private, public, secret, x25519, as_responder }
    }

    /// Our private key.
    pub const fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// Our public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The Diffie-Hellman of our static key with any other.
    pub(super) fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
        self.secret.diffie_hellman(public)
    }

    /// Who computes our handshakes.
    pub(super) const fn x25519(&self) -> &'static dyn X25519 {
        self.x25519
    }

    pub(super) fn responder_state(&self, suite: Suite) -> SymmetricState {
        self.as_responder[suite as usize].clone()
    }
}

/// A fresh key pair for one handshake.
pub(super) fn ephemeral(x25519: &dyn X25519, rng: &mut dyn CryptoRng) -> Box<dyn Secret> {
    x25519.secret(&PrivateKey::generate(rng))
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
        let compute = || local.diffie_hellman(&self.public).map(Box::new);
        self.static_static.get_or_init(compute).as_deref().map_err(|&low_order| low_order)
    }

    /// Whether that Diffie-Hellman has been done.
    #[cfg(test)]
    pub(super) fn has_static_static(&self) -> bool {
        self.static_static.get().is_some()
    }
}
