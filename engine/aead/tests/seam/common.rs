//! The oracle: the RustCrypto crate, called one message at a time and without this crate's code.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use ringfort_aead::{Geometry, HEADER_LEN, KEY_LEN, OpenKey, Plan, Provider, SealKey, Suite, TAG_LEN};

pub const KEY: [u8; KEY_LEN] = *b"a key for tests, of 32 bytes ...";

/// The suite of the tests that compare with the oracle.
pub const SUITE: Suite = Suite::ChaCha20Poly1305;

/// Every provider of the suite that this CPU can run, and the one that exists for tests.
pub fn providers() -> impl Iterator<Item = Provider> {
    Provider::TESTED.iter().copied().filter(|provider| provider.is_available(SUITE))
}

/// [`KEY`] for sealing by one provider.
pub fn seal_key(provider: Provider) -> SealKey {
    SealKey::new(Plan::fixed(provider), SUITE, &KEY)
}

/// [`KEY`] for opening by one provider.
pub fn open_key(provider: Provider) -> OpenKey {
    OpenKey::new(Plan::fixed(provider), SUITE, &KEY)
}

/// Ciphertext and tag of `plaintext` in a data message with this counter.
pub fn oracle(key: &[u8; KEY_LEN], counter: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    ChaCha20Poly1305::new(key.into()).encrypt(&Nonce::from(nonce), plaintext).expect("the oracle seals")
}

/// Bytes that differ from place to place and from seed to seed.
pub fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256 * 7 + seed * 101 + 1) as u8).collect()
}

/// A train of distinct headers, plaintexts, and bytes where the tags will be.
pub fn plain_train(geometry: Geometry, seed: usize) -> Vec<u8> {
    bytes(geometry.total_len(), seed)
}

/// What sealing `train` must yield: the same headers, the oracle's ciphertexts and tags.
pub fn oracle_train(key: &[u8; KEY_LEN], counters: &[u64], train: &[u8], geometry: Geometry) -> Vec<u8> {
    let mut sealed = Vec::new();
    for (segment, counter) in train.chunks(geometry.stride()).zip(counters) {
        sealed.extend_from_slice(&segment[..HEADER_LEN]);
        sealed.extend(oracle(key, *counter, text(segment)));
    }
    sealed
}

/// The text of a segment, without header and tag.
pub fn text(segment: &[u8]) -> &[u8] {
    &segment[HEADER_LEN..segment.len() - TAG_LEN]
}

/// `count` counters that ascend from `first`.
pub fn ascending(first: u64, count: usize) -> Vec<u64> {
    (0..count as u64).map(|i| first + i).collect()
}
