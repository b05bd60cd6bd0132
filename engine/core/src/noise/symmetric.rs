//! The state that both sides of a handshake advance in step: chaining key and transcript hash.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::{BadTag, KEY_LEN, Key, PresharedKey, PublicKey, aead_open, aead_seal, hash, kdf};
use crate::keypair::SessionKeys;
use crate::part::parts;
use crate::suite::Suite;

/// Noise's SymmetricState; the cipher key is handed out instead of kept, because each is used at once and only once.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct SymmetricState {
    chaining_key: Key,
    hash: [u8; KEY_LEN],
    #[zeroize(skip)]
    suite: Suite,
}

parts!(SymmetricState { chaining_key, hash, suite });

impl SymmetricState {
    /// The state before the first message: C, H, and the pre-message `<- s`.
    pub(super) fn new(suite: Suite, prologue: &[u8], responder: &PublicKey) -> Self {
        let chaining_key = hash(&[suite.construction()]);
        let mut state = Self { chaining_key: Key::new(chaining_key), hash: chaining_key, suite };
        state.mix_hash(prologue);
        state.mix_hash(responder.as_bytes());
        state
    }

    /// The suite that the handshake is under.
    pub(super) const fn suite(&self) -> Suite {
        self.suite
    }

    /// H = HASH(H ‖ data)
    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    /// Token `e`: an ephemeral public key goes into the hash and, as psk handshakes require, into the chaining key.
    pub(super) fn mix_ephemeral(&mut self, ephemeral: &[u8; KEY_LEN]) {
        self.mix_hash(ephemeral);
        self.mix_dh(ephemeral);
    }

    /// C = KDF_1(C, input): a Diffie-Hellman token that nothing is sealed after.
    pub(super) fn mix_dh(&mut self, input: &[u8; KEY_LEN]) {
        let [chaining_key] = kdf(&self.chaining_key, input);
        self.chaining_key = chaining_key;
    }

    /// (C, k) = KDF_2(C, dh): a Diffie-Hellman token, and the key that seals what follows it.
    pub(super) fn mix_key(&mut self, shared: &Key) -> Key {
        let [chaining_key, key] = kdf(&self.chaining_key, shared.as_bytes());
        self.chaining_key = chaining_key;
        key
    }

    /// Token `psk`: (C, t, k) = KDF_3(C, psk); H = HASH(H ‖ t)
    pub(super) fn mix_psk(&mut self, psk: &PresharedKey) -> Key {
        let [chaining_key, mixed, key] = kdf(&self.chaining_key, psk.as_bytes());
        self.chaining_key = chaining_key;
        self.mix_hash(mixed.as_bytes());
        key
    }

    /// Seals a field under the transcript so far, and adds it to the transcript.
    pub(super) fn encrypt_and_hash(&mut self, key: &Key, plaintext: &[u8], sealed: &mut [u8]) {
        aead_seal(self.suite, key, plaintext, &self.hash, sealed);
        self.mix_hash(sealed);
    }

    /// Opens a field under the transcript so far, and adds it to the transcript.
    pub(super) fn decrypt_and_hash(&mut self, key: &Key, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), BadTag> {
        aead_open(self.suite, key, sealed, &self.hash, plaintext)?;
        self.mix_hash(sealed);
        Ok(())
    }

    /// Noise's Split: the initiator's and the responder's sending key, KDF_2(C, ε).
    pub(super) fn split(&self, initiator: bool) -> SessionKeys {
        let [first, second] = kdf(&self.chaining_key, &[]);
        if initiator {
            SessionKeys { send: first, receive: second }
        } else {
            SessionKeys { send: second, receive: first }
        }
    }

    #[cfg(test)]
    pub(super) const fn handshake_hash(&self) -> &[u8; KEY_LEN] {
        &self.hash
    }
}
