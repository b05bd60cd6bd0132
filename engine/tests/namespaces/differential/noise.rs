//! The handshake by hand, so every field can be bent: what a peer would never send is made of the same pieces.

use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite as Cipher};
use ringfort_core::crypto::{self, KEY_LEN, Key, PrivateKey, PublicKey, aead_open, aead_seal, hash, kdf};
use ringfort_core::suite::Suite;
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN, write_data_header};
use ringfort_testbed::KeyPair;

const SUITE: Suite = Suite::ChaCha20Poly1305;
pub const INITIATION_LEN: usize = 148;
pub const RESPONSE_LEN: usize = 92;
pub const COOKIE_REPLY_LEN: usize = 64;
/// mac1 and mac2 at the end of a handshake message.
const MACS_LEN: usize = 32;

/// The points of small order on Curve25519 and its twist that differ below bit 255: their product with any key is 0.
pub const LOW_ORDER: [[u8; KEY_LEN]; 7] = {
    let mut points = [[0; KEY_LEN]; 7];
    points[1][0] = 1;
    points[2] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    points[3] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    // p − 1, p, p + 1 with p = 2²⁵⁵ − 19.
    let mut low = 0xec;
    while low <= 0xee {
        let point = &mut points[low as usize - 0xec + 4];
        *point = [0xff; KEY_LEN];
        point[0] = low;
        point[KEY_LEN - 1] = 0x7f;
        low += 1;
    }
    points
};

/// A key pair, or a point that nobody has the private key of.
#[derive(Clone, Copy)]
pub struct Identity {
    private: Option<[u8; KEY_LEN]>,
    pub public: [u8; KEY_LEN],
}

impl Identity {
    pub fn random() -> Self {
        Self::of(&KeyPair::random().unwrap())
    }

    pub fn of(keys: &KeyPair) -> Self {
        Self { private: Some(keys.private.0), public: keys.public.0 }
    }

    /// One of [`LOW_ORDER`]: whatever it is multiplied with, the secret is 0, and everybody knows it.
    pub fn point(public: [u8; KEY_LEN]) -> Self {
        Self { private: None, public }
    }

    fn shared(&self, other: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
        let secret = |private| PrivateKey::copy_of(private).diffie_hellman(&PublicKey::new(*other)).ok();
        self.private.as_ref().and_then(secret).map_or([0; KEY_LEN], |key| *key.as_bytes())
    }
}

struct Transcript {
    chaining_key: Key,
    hash: [u8; KEY_LEN],
}

impl Transcript {
    fn new(responder: &[u8; KEY_LEN]) -> Self {
        let construction = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let mut new = Self { chaining_key: Key::new(construction), hash: construction };
        new.mix_hash(b"WireGuard v1 zx2c4 Jason@zx2c4.com");
        new.mix_hash(responder);
        new
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn mix_ephemeral(&mut self, public: &[u8; KEY_LEN]) {
        self.mix_hash(public);
        self.mix_key(public);
    }

    fn mix_key(&mut self, input: &[u8; KEY_LEN]) -> Key {
        let [chaining_key, key] = kdf(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        key
    }

    fn mix_psk(&mut self, psk: &[u8; KEY_LEN]) -> Key {
        let [chaining_key, mixed, key] = kdf(&self.chaining_key, psk);
        self.chaining_key = chaining_key;
        self.mix_hash(mixed.as_bytes());
        key
    }

    fn seal(&mut self, key: &Key, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; plaintext.len() + TAG_LEN];
        aead_seal(SUITE, key, plaintext, &self.hash, &mut sealed);
        self.mix_hash(&sealed);
        sealed
    }

    fn open(&mut self, key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plaintext = vec![0; sealed.len() - TAG_LEN];
        aead_open(SUITE, key, sealed, &self.hash, &mut plaintext).ok()?;
        self.mix_hash(sealed);
        Some(plaintext)
    }

    fn split(&self) -> [Key; 2] {
        kdf(&self.chaining_key, &[])
    }
}

/// An initiation that was made, for the response.
pub struct Asked {
    transcript: Transcript,
    ephemeral: Identity,
    index: u32,
}

/// The initiation of `me`, without macs.
pub fn initiation(
    me: &Identity,
    ephemeral: Identity,
    gateway: &[u8; KEY_LEN],
    timestamp: [u8; 12],
    index: u32,
) -> (Asked, Vec<u8>) {
    let mut transcript = Transcript::new(gateway);
    let mut message = vec![1, 0, 0, 0];
    message.extend(index.to_le_bytes());
    message.extend(ephemeral.public);
    transcript.mix_ephemeral(&ephemeral.public);
    let key = transcript.mix_key(&ephemeral.shared(gateway));
    message.extend(transcript.seal(&key, &me.public));
    let key = transcript.mix_key(&me.shared(gateway));
    message.extend(transcript.seal(&key, &timestamp));
    message.extend([0; MACS_LEN]);
    (Asked { transcript, ephemeral, index }, message)
}

impl Asked {
    /// The session of a response that opens.
    pub fn answered(self, me: &Identity, psk: &[u8; KEY_LEN], response: &[u8]) -> Option<Session> {
        let Self { mut transcript, ephemeral, index } = self;
        let theirs: [u8; KEY_LEN] = response[12..44].try_into().unwrap();
        if response.len() != RESPONSE_LEN || index_at(response, 8) != index {
            return None;
        }
        transcript.mix_ephemeral(&theirs);
        transcript.mix_key(&ephemeral.shared(&theirs));
        transcript.mix_key(&me.shared(&theirs));
        let key = transcript.mix_psk(psk);
        transcript.open(&key, &response[44..60])?;
        let [send, receive] = transcript.split();
        Some(Session::new(&send, &receive, index, index_at(response, 4)))
    }
}

/// The response of `me` to an initiation of the gateway, without macs, and the session that both have then. `None` if
/// the initiation is not for us.
pub fn response(me: &Identity, psk: &[u8; KEY_LEN], initiation: &[u8], index: u32) -> Option<(Session, Vec<u8>)> {
    let mut transcript = Transcript::new(&me.public);
    let theirs: [u8; KEY_LEN] = initiation[8..40].try_into().unwrap();
    transcript.mix_ephemeral(&theirs);
    let key = transcript.mix_key(&me.shared(&theirs));
    let gateway: [u8; KEY_LEN] = transcript.open(&key, &initiation[40..88])?.try_into().unwrap();
    let key = transcript.mix_key(&me.shared(&gateway));
    transcript.open(&key, &initiation[88..116])?;

    let ephemeral = Identity::random();
    let mut message = vec![2, 0, 0, 0];
    message.extend(index.to_le_bytes());
    message.extend(&initiation[4..8]);
    message.extend(ephemeral.public);
    transcript.mix_ephemeral(&ephemeral.public);
    transcript.mix_key(&ephemeral.shared(&theirs));
    transcript.mix_key(&ephemeral.shared(&gateway));
    let key = transcript.mix_psk(psk);
    message.extend(transcript.seal(&key, &[]));
    message.extend([0; MACS_LEN]);
    let [receive, send] = transcript.split();
    Some((Session::new(&send, &receive, index, index_at(initiation, 4)), message))
}

/// Puts mac1 into a handshake message for the owner of this public key.
pub fn add_mac1(message: &mut [u8], public: &[u8; KEY_LEN]) {
    let (covered, macs) = message.split_at_mut(message.len() - MACS_LEN);
    macs[..16].copy_from_slice(&crypto::mac(&hash(&[b"mac1----", public]), &[covered]));
}

/// A cookie reply of the owner of `public` to a message with this mac1.
pub fn cookie_reply(public: &[u8; KEY_LEN], receiver: [u8; 4], mac1: &[u8], cookie: [u8; 16]) -> Vec<u8> {
    let nonce = [7; 24];
    let mut sealed = [0; 32];
    crypto::xaead_seal(&hash(&[b"cookie--", public]), &nonce, &cookie, mac1, &mut sealed);
    [&[3, 0, 0, 0][..], &receiver, &nonce, &sealed].concat()
}

/// Bytes of `message` as an index.
pub fn index_at(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

/// Both keys of a session, and its indices.
pub struct Session {
    send: SealKey,
    receive: OpenKey,
    pub local_index: u32,
    pub remote_index: u32,
    next: u64,
}

impl Session {
    fn new(send: &Key, receive: &Key, local_index: u32, remote_index: u32) -> Self {
        let (plan, suite) = (Plan::fixed(Provider::RustCrypto), Cipher::ChaCha20Poly1305);
        let (send, receive) =
            (SealKey::new(plan, suite, send.as_bytes()), OpenKey::new(plan, suite, receive.as_bytes()));
        Self { send, receive, local_index, remote_index, next: 0 }
    }

    /// The next data message.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.next += 1;
        self.seal_at(self.next - 1, plaintext)
    }

    /// A data message with this counter.
    pub fn seal_at(&self, counter: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut message = vec![0; DATA_HEADER_LEN + plaintext.len() + TAG_LEN];
        let (header, body) = message.split_first_chunk_mut::<DATA_HEADER_LEN>().unwrap();
        write_data_header(header, self.remote_index, counter);
        self.send.seal_from(counter, plaintext, body).unwrap();
        message
    }

    /// What a data message of the gateway carries, with its padding; `None` if it is not of this session.
    pub fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < DATA_HEADER_LEN + TAG_LEN || index_at(message, 4) != self.local_index {
            return None;
        }
        let mut text = message[DATA_HEADER_LEN..].to_vec();
        self.receive.open(u64::from_le_bytes(message[8..16].try_into().unwrap()), &mut text).ok()?;
        text.truncate(text.len() - TAG_LEN);
        Some(text)
    }
}
