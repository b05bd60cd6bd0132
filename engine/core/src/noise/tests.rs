//! Known answers, and everything that must not become a session.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use zerocopy::{FromBytes, IntoBytes};

use super::symmetric::SymmetricState;
use super::*;
use crate::cookie::{CookieChecker, CookieGenerator};
use crate::crypto::{PresharedKey, PrivateKey, PublicKey};
use crate::tai64n::Tai64N;
use crate::test_support::{FixedRng, LOW_ORDER_POINTS, SeededRng, hex, hex_array};
use crate::time::Time;
use crate::wire::{HandshakeInitiation, HandshakeResponse};

/// An initiator and a responder that know each other.
struct Pair {
    initiator: LocalIdentity,
    responder: LocalIdentity,
    /// The responder as the initiator knows it.
    to_responder: RemoteIdentity,
    /// The initiator as the responder knows it.
    to_initiator: RemoteIdentity,
    rng: SeededRng,
}

const INITIATOR_INDEX: u32 = 0x0102_0304;
const RESPONDER_INDEX: u32 = 0xa1b2_c3d4;

impl Pair {
    fn new() -> Self {
        let mut rng = SeededRng::new(42);
        let initiator = PrivateKey::generate(&mut rng);
        let responder = PrivateKey::generate(&mut rng);
        Self::with_keys(initiator, responder)
    }

    fn with_keys(initiator: PrivateKey, responder: PrivateKey) -> Self {
        let initiator = LocalIdentity::new(initiator);
        let responder = LocalIdentity::new(responder);
        let to_responder = RemoteIdentity::new(*responder.public(), Some(&initiator));
        let to_initiator = RemoteIdentity::new(*initiator.public(), Some(&responder));
        Self { initiator, responder, to_responder, to_initiator, rng: SeededRng::new(7) }
    }

    fn initiate(&mut self) -> (PendingInitiation, HandshakeInitiation) {
        let timestamp = Tai64N::from_unix(1_700_000_000, 0);
        create_initiation(&self.initiator, &self.to_responder, timestamp, INITIATOR_INDEX, &mut self.rng)
            .expect("ordinary keys")
    }

    fn verify(&self, message: &HandshakeInitiation) -> Result<VerifiedInitiation, Drop> {
        consume_initiation(&self.responder, message)?.verify(&self.to_initiator)
    }

    fn respond(&mut self, message: &HandshakeInitiation) -> (NewSession, HandshakeResponse) {
        let verified = self.verify(message).expect("the right message");
        verified.create_response(&self.to_initiator, RESPONDER_INDEX, &mut self.rng).expect("ordinary keys")
    }

    fn finish(&self, pending: &PendingInitiation, response: &HandshakeResponse) -> Result<NewSession, Drop> {
        pending.consume_response(&self.initiator, &self.to_responder, response)
    }
}

fn assert_same_session(initiator: &NewSession, responder: &NewSession) {
    assert_eq!(initiator.keys.send, responder.keys.receive);
    assert_eq!(initiator.keys.receive, responder.keys.send);
    assert_ne!(initiator.keys.send, initiator.keys.receive);
    assert_eq!((initiator.local_index, initiator.remote_index), (INITIATOR_INDEX, RESPONDER_INDEX));
    assert_eq!((responder.local_index, responder.remote_index), (RESPONDER_INDEX, INITIATOR_INDEX));
    assert!(initiator.initiator && !responder.initiator);
}

/// Both messages and both keys, with macs, from fixed keys. The expected bytes come from a separate program: the paper's
/// section 5.4 written down in Python with `hashlib`, `hmac` and OpenSSL's X25519 and ChaCha20-Poly1305. Private keys and
/// the preshared key are runs of consecutive bytes.
#[test]
fn whole_handshake_known_answer() {
    let run = |start: u8| -> [u8; 32] { std::array::from_fn(|i| start.wrapping_add(i as u8)) };
    let mut pair = Pair::with_keys(PrivateKey::new(run(0x00)), PrivateKey::new(run(0x20)));
    pair.to_responder.set_psk(PresharedKey::new(run(0xa0)));
    pair.to_initiator.set_psk(PresharedKey::new(run(0xa0)));
    let timestamp = Tai64N::from_bytes(hex_array("400000006a0000011d000000"));

    let mut ephemeral = FixedRng(run(0x40).to_vec());
    let (pending, mut initiation) =
        create_initiation(&pair.initiator, &pair.to_responder, timestamp, INITIATOR_INDEX, &mut ephemeral)
            .expect("ordinary keys");
    CookieGenerator::new(pair.responder.public()).add_macs(Time::ZERO, initiation.as_mut_bytes());
    let expected = "010000000403020179a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51af0225eb421886af8f54f\
                    b31289d49dcd82b0f6f3279d40d7cff913fece0c64ad226eef3320755b393b72f16842c8d7ee78a74e93716cdb8992f4ecc1\
                    638e152bd6535f694d27879cf91345900bfd351daf0dc51c1b447322d8822d0900000000000000000000000000000000";
    assert_eq!(initiation.as_bytes(), hex(expected));

    let verified = pair.verify(&initiation).expect("the right message");
    assert_eq!(verified.timestamp(), timestamp);
    assert_eq!(verified.remote_index(), INITIATOR_INDEX);
    let mut ephemeral = FixedRng(run(0x80).to_vec());
    let (responder_session, mut response) =
        verified.create_response(&pair.to_initiator, RESPONDER_INDEX, &mut ephemeral).expect("ordinary keys");
    CookieGenerator::new(pair.initiator.public()).add_macs(Time::ZERO, response.as_mut_bytes());
    let expected = "02000000d4c3b2a104030201493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d4c51fec2d3fa\
                    4bcde02d360e85a6dd05c12ee506a01616da4007404f990548d500000000000000000000000000000000";
    assert_eq!(response.as_bytes(), hex(expected));

    let initiator_session = pair.finish(&pending, &response).expect("the right message");
    let send = hex_array("e7de12daeb1c803e867fc5bd210cdf1fc3ee7444eb52aa20d2bf2127c96bd2b8");
    let receive = hex_array("075534fd8153fc9a64eab324d571354187be61629157632b3a9dde29aaf8ffad");
    assert_eq!(initiator_session.keys.send.as_bytes(), &send);
    assert_eq!(initiator_session.keys.receive.as_bytes(), &receive);
    assert_same_session(&initiator_session, &responder_session);
}

/// The vector for this Noise protocol in cacophony's collection (as distributed with the snow project,
/// `tests/vectors/cacophony.txt`). It differs from WireGuard by prologue and payloads only, so the tokens are applied
/// here to the very state that WireGuard's messages are made with.
#[test]
fn published_noise_ikpsk2_vector() {
    let key = |text| PrivateKey::new(hex_array(text));
    let i_static = key("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
    let i_ephemeral = key("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
    let r_static = key("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
    let r_ephemeral = key("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    let r_public = r_static.public_key();
    assert_eq!(r_public.as_bytes(), &hex_array("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62"));
    let psk = PresharedKey::new(*b"This is my Austrian perspective!");
    let dh = |private: &PrivateKey, public: PublicKey| private.diffie_hellman(&public).expect("ordinary keys");

    let mut state = SymmetricState::new(CONSTRUCTION, b"John Galt", &r_public);
    let mut first = i_ephemeral.public_key().as_bytes().to_vec();
    first.resize(32 + 48 + 32, 0);
    state.mix_ephemeral(i_ephemeral.public_key().as_bytes());
    let key = state.mix_key(&dh(&i_ephemeral, r_public));
    state.encrypt_and_hash(&key, i_static.public_key().as_bytes(), &mut first[32..80]);
    let key = state.mix_key(&dh(&i_static, r_public));
    state.encrypt_and_hash(&key, b"Ludwig von Mises", &mut first[80..]);
    let expected = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253\
                    c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e\
                    51ee93109008399a21f7e13f";
    assert_eq!(first, hex(expected));

    let mut second = r_ephemeral.public_key().as_bytes().to_vec();
    second.resize(32 + 31, 0);
    state.mix_ephemeral(r_ephemeral.public_key().as_bytes());
    state.mix_dh(dh(&r_ephemeral, i_ephemeral.public_key()).as_bytes());
    state.mix_dh(dh(&r_ephemeral, i_static.public_key()).as_bytes());
    let key = state.mix_psk(&psk);
    state.encrypt_and_hash(&key, b"Murray Rothbard", &mut second[32..]);
    let expected = "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab032221775\
                    5c0632f365717edbf34d33e87a";
    assert_eq!(second, hex(expected));
    let expected = "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5";
    assert_eq!(state.handshake_hash(), &hex_array(expected));

    let keys = state.split(true);
    let transport = [
        (&keys.send, 0, "462e20412e20486179656b", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"),
        (&keys.receive, 0, "4361726c204d656e676572", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"),
        (
            &keys.send,
            1,
            "4a65616e2d426170746973746520536179",
            "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
        ),
    ];
    for (key, counter, plaintext, expected) in transport {
        let mut nonce = [0; 12];
        nonce[4] = counter;
        let sealed = ChaCha20Poly1305::new(key.as_bytes().into()).encrypt(&Nonce::from(nonce), &*hex(plaintext));
        assert_eq!(sealed.expect("a short message"), hex(expected));
    }
}

#[test]
fn both_sides_agree() {
    let mut pair = Pair::new();
    let (pending, initiation) = pair.initiate();
    assert_eq!(pending.local_index(), INITIATOR_INDEX);
    let (responder_session, response) = pair.respond(&initiation);
    let initiator_session = pair.finish(&pending, &response).expect("the right message");
    assert_same_session(&initiator_session, &responder_session);

    let (_, again) = pair.respond(&initiation);
    let other = pair.finish(&pending, &again).expect("also a right message");
    assert_ne!(other.keys.send, initiator_session.keys.send, "a fresh ephemeral key makes fresh session keys");
}

#[test]
fn every_changed_bit_of_an_initiation_is_noticed() {
    let mut pair = Pair::new();
    let (_, initiation) = pair.initiate();
    let sealed = 8..116;
    for byte in sealed {
        let mut bytes = initiation.as_bytes().to_vec();
        bytes[byte] ^= 1 << (byte % 8);
        let bad = HandshakeInitiation::read_from_bytes(&bytes).expect("the right length");
        let refused = pair.verify(&bad).err();
        // The top bit of a point is no part of it, but it is part of the transcript.
        assert_eq!(refused, Some(Drop::BadHandshake), "byte {byte}");
    }
    assert!(pair.verify(&initiation).is_ok());
}

#[test]
fn every_changed_bit_of_a_response_is_noticed_and_leaves_the_initiation_pending() {
    let mut pair = Pair::new();
    let (pending, initiation) = pair.initiate();
    let (responder_session, response) = pair.respond(&initiation);
    for byte in 8..60 {
        let mut bytes = response.as_bytes().to_vec();
        bytes[byte] ^= 1 << (byte % 8);
        let bad = HandshakeResponse::read_from_bytes(&bytes).expect("the right length");
        let expected = if byte < 12 { Drop::UnknownIndex } else { Drop::BadHandshake };
        assert_eq!(pair.finish(&pending, &bad).err(), Some(expected), "byte {byte}");
    }
    let session = pair.finish(&pending, &response).expect("the right message, after all the wrong ones");
    assert_same_session(&session, &responder_session);
}

#[test]
fn different_preshared_keys_make_no_session() {
    let mut pair = Pair::new();
    let (pending, initiation) = pair.initiate();
    for (ours, theirs) in [([0; 32], [1; 32]), ([1; 32], [0; 32]), ([1; 32], [2; 32])] {
        pair.to_responder.set_psk(PresharedKey::new(ours));
        pair.to_initiator.set_psk(PresharedKey::new(theirs));
        let (_, response) = pair.respond(&initiation);
        assert_eq!(pair.finish(&pending, &response).err(), Some(Drop::BadHandshake));
    }
    pair.to_responder.set_psk(PresharedKey::new([2; 32]));
    let (responder_session, response) = pair.respond(&initiation);
    assert_same_session(&pair.finish(&pending, &response).expect("equal keys"), &responder_session);
}

#[test]
fn ephemeral_keys_of_low_order_make_no_session() {
    let mut pair = Pair::new();
    let (pending, initiation) = pair.initiate();
    let (_, response) = pair.respond(&initiation);
    for point in LOW_ORDER_POINTS {
        for top_bit in [0, 0x80] {
            let mut ephemeral: [u8; 32] = hex_array(point);
            ephemeral[31] |= top_bit;
            let bad = HandshakeInitiation { ephemeral, ..initiation.clone() };
            assert_eq!(consume_initiation(&pair.responder, &bad).err(), Some(Drop::LowOrderPoint));
            let bad = HandshakeResponse { ephemeral, ..response.clone() };
            assert_eq!(pair.finish(&pending, &bad).err(), Some(Drop::LowOrderPoint));
        }
    }
}

#[test]
fn static_keys_of_low_order_make_no_session() {
    let mut pair = Pair::new();
    for point in LOW_ORDER_POINTS {
        let public = PublicKey::new(hex_array(point));
        let remote = RemoteIdentity::new(public, Some(&pair.initiator));
        let refused = create_initiation(&pair.initiator, &remote, Tai64N::ZERO, 1, &mut pair.rng).err();
        assert_eq!(refused, Some(Drop::LowOrderPoint));

        // An initiator may claim such a key: it needs only its own ephemeral key for that. It gets no further.
        let claim = claim_static_key(&mut pair, &public);
        let claimed = consume_initiation(&pair.responder, &claim).expect("the claim itself opens");
        assert_eq!(claimed.remote_public(), &public);
        let remote = RemoteIdentity::new(public, Some(&pair.responder));
        assert_eq!(claimed.verify(&remote).err(), Some(Drop::LowOrderPoint));
    }
}

/// An initiation whose static key the sender merely names.
fn claim_static_key(pair: &mut Pair, public: &PublicKey) -> HandshakeInitiation {
    let (_, mut message) = pair.initiate();
    let ephemeral = PrivateKey::generate(&mut pair.rng);
    message.ephemeral = *ephemeral.public_key().as_bytes();
    let mut state = pair.responder.responder_state();
    state.mix_ephemeral(&message.ephemeral);
    let key = state.mix_key(&ephemeral.diffie_hellman(pair.responder.public()).expect("an ordinary key"));
    state.encrypt_and_hash(&key, public.as_bytes(), &mut message.encrypted_static);
    message
}

#[test]
fn our_own_static_key_is_no_peer() {
    let mut pair = Pair::new();
    let own = *pair.responder.public();
    let claim = claim_static_key(&mut pair, &own);
    assert_eq!(consume_initiation(&pair.responder, &claim).err(), Some(Drop::UnknownPeer));
}

#[test]
fn claiming_a_peers_key_is_not_being_it() {
    let mut pair = Pair::new();
    let victim = *pair.initiator.public();
    let claim = claim_static_key(&mut pair, &victim);
    let claimed = consume_initiation(&pair.responder, &claim).expect("the claim itself opens");
    assert_eq!(claimed.remote_public(), &victim);
    assert_eq!(claimed.verify(&pair.to_initiator).err(), Some(Drop::BadHandshake));
}

#[test]
fn an_initiation_is_not_continued_as_another_peers() {
    let mut pair = Pair::new();
    let (_, initiation) = pair.initiate();
    let stranger = PrivateKey::generate(&mut pair.rng).public_key();
    let stranger = RemoteIdentity::new(stranger, Some(&pair.responder));
    let claimed = consume_initiation(&pair.responder, &initiation).expect("the right message");
    assert_eq!(claimed.verify(&stranger).err(), Some(Drop::UnknownPeer));
    let verified = pair.verify(&initiation).expect("the right message");
    assert_eq!(verified.create_response(&stranger, 1, &mut pair.rng).err(), Some(Drop::UnknownPeer));
}

#[test]
fn messages_to_somebody_else_do_not_open() {
    let mut pair = Pair::new();
    let (_, initiation) = pair.initiate();
    let other = LocalIdentity::new(PrivateKey::generate(&mut pair.rng));
    assert_eq!(consume_initiation(&other, &initiation).err(), Some(Drop::BadHandshake));
    assert!(CookieChecker::new(pair.responder.public()).verify_mac1(&with_macs(&pair, &initiation)));
    assert!(!CookieChecker::new(other.public()).verify_mac1(&with_macs(&pair, &initiation)));
}

fn with_macs(pair: &Pair, initiation: &HandshakeInitiation) -> Vec<u8> {
    let mut bytes = initiation.as_bytes().to_vec();
    CookieGenerator::new(pair.responder.public()).add_macs(Time::ZERO, &mut bytes);
    bytes
}

#[test]
fn a_changed_private_key_reaches_the_peers() {
    let mut pair = Pair::new();
    pair.to_responder.set_local(None);
    let refused = create_initiation(&pair.initiator, &pair.to_responder, Tai64N::ZERO, 1, &mut pair.rng).err();
    assert_eq!(refused, Some(Drop::LowOrderPoint), "without a private key nothing can be said");

    pair.initiator = LocalIdentity::new(PrivateKey::generate(&mut pair.rng));
    pair.to_responder.set_local(Some(&pair.initiator));
    pair.to_initiator = RemoteIdentity::new(*pair.initiator.public(), Some(&pair.responder));
    let (pending, initiation) = pair.initiate();
    let (responder_session, response) = pair.respond(&initiation);
    assert_same_session(&pair.finish(&pending, &response).expect("new keys"), &responder_session);
}

#[test]
fn a_response_finishes_only_the_handshake_that_it_answers() {
    let mut pair = Pair::new();
    let (_, first) = pair.initiate();
    let (second_pending, _) = pair.initiate();
    let (_, response_to_first) = pair.respond(&first);
    assert_eq!(pair.finish(&second_pending, &response_to_first).err(), Some(Drop::BadHandshake));
}

#[test]
fn handshake_states_are_zeroed_and_do_not_print() {
    fn zeroed_on_drop<T: zeroize::ZeroizeOnDrop>() {}
    zeroed_on_drop::<SymmetricState>();
    let mut pair = Pair::new();
    let (pending, initiation) = pair.initiate();
    assert_eq!(format!("{pending:?}"), "PendingInitiation { local_index: 16909060, .. }");
    let (session, _) = pair.respond(&initiation);
    assert!(format!("{session:?}").contains("send: Key(secret), receive: Key(secret)"));
}
