//! What is right: the RustCrypto crates, called one message at a time and without any of our code.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use ringfort_aead::{Geometry, HEADER_LEN, KEY_LEN, SEGMENTS_MAX, Suite, TAG_LEN};

/// Longest text of the sweep, in bytes.
pub const TEXT_LEN_MAX: usize = 2000;

pub const KEY: [u8; KEY_LEN] = *b"the key of the sweep, 32 bytes..";

pub enum Oracle {
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
    Aes256Gcm(Box<Aes256Gcm>),
}

impl Oracle {
    pub fn new(suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        match suite {
            Suite::ChaCha20Poly1305 => Self::ChaCha20Poly1305(Box::new(KeyInit::new(key.into()))),
            Suite::Aes256Gcm => Self::Aes256Gcm(Box::new(KeyInit::new(key.into()))),
        }
    }

    /// Encrypts in place. The nonce is that of a data message: four zero bytes, then the counter, little-endian for
    /// ChaCha20-Poly1305 (WireGuard paper, section 5.4.6) and big-endian for AES-GCM (Noise, section 12.4).
    pub fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        let mut nonce = [0; 12];
        let tag = match self {
            Self::ChaCha20Poly1305(cipher) => {
                nonce[4..].copy_from_slice(&counter.to_le_bytes());
                cipher.encrypt_inout_detached(&nonce.into(), &[], text.into())
            }
            Self::Aes256Gcm(cipher) => {
                nonce[4..].copy_from_slice(&counter.to_be_bytes());
                cipher.encrypt_inout_detached(&nonce.into(), &[], text.into())
            }
        };
        tag.expect("the oracle seals").into()
    }

    /// Ciphertext and tag of `text`.
    pub fn sealed(&self, counter: u64, text: &[u8]) -> Vec<u8> {
        let mut message = text.to_vec();
        let tag = self.seal(counter, &mut message);
        message.extend(tag);
        message
    }

    /// Seals every segment of a train.
    pub fn seal_train(&self, counters: &[u64], train: &mut [u8], geometry: Geometry) {
        for (segment, counter) in train.chunks_mut(geometry.stride()).zip(counters) {
            let (text, tag) = segment[HEADER_LEN..].split_last_chunk_mut().expect("a segment has a tag");
            *tag = self.seal(*counter, text);
        }
    }
}

/// The text of a segment, without header and tag.
pub fn text(segment: &[u8]) -> &[u8] {
    &segment[HEADER_LEN..segment.len() - TAG_LEN]
}

/// `count` counters that ascend from `first`.
pub fn ascending(first: u64, count: usize) -> Vec<u64> {
    (first..).take(count).collect()
}

/// Numbers that look random and are the same in every run: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Repeatable(pub u64);

impl Repeatable {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

/// The finaliser of SplitMix64: a number that has nothing to do with its argument.
pub fn mix(z: u64) -> u64 {
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The oracle's answers for [`SEGMENTS_MAX`] consecutive counters and every length: each was asked for once, by the
/// message's counter and length, so millions of trains can be compared with it.
///
/// The message of `len` bytes with counter `i` is the first `len` bytes of text `i`; its ciphertext is therefore the
/// front of that of the longest one, and only the tag depends on the length.
pub struct Table {
    texts: Vec<Vec<u8>>,
    ciphertexts: Vec<Vec<u8>>,
    tags: Vec<[[u8; TAG_LEN]; TEXT_LEN_MAX + 1]>,
    /// Of messages that end with zeros: those of [`padded_len`].
    padded_tags: Vec<[[u8; TAG_LEN]; TEXT_LEN_MAX + 1]>,
}

/// The plaintext's length when a source of `len` bytes is padded: the next multiple of 16, and at least one byte more.
pub fn padded_len(len: usize) -> usize {
    (len + 1).next_multiple_of(16)
}

impl Table {
    /// The counters' low halves wrap in the middle, so a 32-bit counter shows.
    pub const FIRST_COUNTER: u64 = (0x0102_0304 << 32) - 31;

    pub fn new(suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        let oracle = Oracle::new(suite, key);
        let mut rng = Repeatable(1);
        let mut table = Self { texts: vec![], ciphertexts: vec![], tags: vec![], padded_tags: vec![] };
        for counter in (Self::FIRST_COUNTER..).take(SEGMENTS_MAX) {
            let text = rng.bytes(padded_len(TEXT_LEN_MAX));
            let mut ciphertext = text.clone();
            oracle.seal(counter, &mut ciphertext);
            let keystream: Vec<u8> = text.iter().zip(&ciphertext).map(|(text, cipher)| text ^ cipher).collect();

            let (mut tags, mut padded_tags) = ([[0; TAG_LEN]; TEXT_LEN_MAX + 1], [[0; TAG_LEN]; TEXT_LEN_MAX + 1]);
            let mut message = Vec::new();
            for len in 0..=TEXT_LEN_MAX {
                message.clear();
                message.extend_from_slice(&text[..len]);
                tags[len] = oracle.seal(counter, &mut message);
                assert!(message == ciphertext[..len], "a stream cipher");
                message.clear();
                message.extend_from_slice(&text[..len]);
                message.resize(padded_len(len), 0);
                padded_tags[len] = oracle.seal(counter, &mut message);
                assert!(message[len..] == keystream[len..message.len()], "zeros show the key stream");
            }
            table.texts.push(text);
            table.ciphertexts.push(ciphertext);
            table.tags.push(tags);
            table.padded_tags.push(padded_tags);
        }
        table
    }

    /// Plaintext of the message of `len` bytes under the table's counter number `index`.
    pub fn text(&self, index: usize, len: usize) -> &[u8] {
        &self.texts[index][..len]
    }

    /// Writes ciphertext and tag of the message of `len` bytes.
    pub fn sealed(&self, index: usize, len: usize, out: &mut [u8]) {
        let (ciphertext, tag) = out.split_at_mut(len);
        ciphertext.copy_from_slice(&self.ciphertexts[index][..len]);
        tag.copy_from_slice(&self.tags[index][len]);
    }

    /// Writes ciphertext and tag of the message of `len` bytes padded with zeros to [`padded_len`].
    pub fn sealed_padded(&self, index: usize, len: usize, out: &mut [u8]) {
        let (ciphertext, tag) = out.split_at_mut(padded_len(len));
        let (text, whole) = (&self.texts[index], &self.ciphertexts[index]);
        ciphertext[..len].copy_from_slice(&whole[..len]);
        for at in len..ciphertext.len() {
            ciphertext[at] = whole[at] ^ text[at];
        }
        tag.copy_from_slice(&self.padded_tags[index][len]);
    }
}
