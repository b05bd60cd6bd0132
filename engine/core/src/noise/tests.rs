//! What becomes a session under each suite, and everything that must not.

use zerocopy::{FromBytes, IntoBytes};

use super::symmetric::SymmetricState;
use super::*;
use crate::cookie::{CookieChecker, CookieGenerator};
use crate::crypto::{PresharedKey, PrivateKey, PublicKey};
use crate::tai64n::Tai64N;
use crate::test_support::{LOW_ORDER_POINTS, SeededRng, hex_array};
use crate::time::Time;
use crate::wire::{HandshakeInitiation, HandshakeResponse};

/// An initiator and a responder that know each other.
pub(super) struct Pair {
    pub(super) initiator: LocalIdentity,
    pub(super) responder: LocalIdentity,
    /// The responder as the initiator knows it.
    pub(super) to_responder: RemoteIdentity,
    /// The initiator as the responder knows it.
    pub(super) to_initiator: RemoteIdentity,
    rng: SeededRng,
}

pub(super) const INITIATOR_INDEX: u32 = 0x0102_0304;
pub(super) const RESPONDER_INDEX: u32 = 0xa1b2_c3d4;

impl Pair {
    fn new() -> Self {
        Self::of(Suite::default())
    }

    fn of(suite: Suite) -> Self {
        let mut rng = SeededRng::new(42);
        let initiator = PrivateKey::generate(&mut rng);
        let responder = PrivateKey::generate(&mut rng);
        let mut pair = Self::with_keys(initiator, responder);
        pair.to_responder.set_suite(suite);
        pair.to_initiator.set_suite(suite);
        pair
    }

    pub(super) fn with_keys(initiator: PrivateKey, responder: PrivateKey) -> Self {
        let initiator = LocalIdentity::new(initiator);
        let responder = LocalIdentity::new(responder);
        let to_responder = RemoteIdentity::new(*responder.public());
        let to_initiator = RemoteIdentity::new(*initiator.public());
        Self { initiator, responder, to_responder, to_initiator, rng: SeededRng::new(7) }
    }

    fn initiate(&mut self) -> (PendingInitiation, HandshakeInitiation) {
        let timestamp = Tai64N::from_unix(1_700_000_000, 0);
        create_initiation(&self.initiator, &self.to_responder, timestamp, INITIATOR_INDEX, &mut self.rng)
            .expect("ordinary keys")
    }

    /// Reads an initiation under the responder's suite, whatever it is marked with.
    pub(super) fn verify(&self, message: &HandshakeInitiation) -> Result<VerifiedInitiation, DropReason> {
        consume_initiation(&self.responder, self.to_initiator.suite(), message)?
            .verify(&self.responder, &self.to_initiator)
    }

    fn respond(&mut self, message: &HandshakeInitiation) -> (NewSession, HandshakeResponse) {
        let verified = self.verify(message).expect("the right message");
        verified.create_response(&self.to_initiator, RESPONDER_INDEX, &mut self.rng).expect("ordinary keys")
    }

    pub(super) fn finish(
        &self,
        pending: &PendingInitiation,
        response: &HandshakeResponse,
    ) -> Result<NewSession, DropReason> {
        pending.consume_response(&self.initiator, &self.to_responder, response)
    }
}

pub(super) fn assert_same_session(initiator: &NewSession, responder: &NewSession) {
    assert_eq!(initiator.suite, responder.suite);
    assert_eq!(initiator.keys.send, responder.keys.receive);
    assert_eq!(initiator.keys.receive, responder.keys.send);
    assert_ne!(initiator.keys.send, initiator.keys.receive);
    assert_eq!((initiator.local_index, initiator.remote_index), (INITIATOR_INDEX, RESPONDER_INDEX));
    assert_eq!((responder.local_index, responder.remote_index), (RESPONDER_INDEX, INITIATOR_INDEX));
    assert!(initiator.initiator && !responder.initiator);
}

#[test]
fn both_sides_agree() {
    for &suite in Suite::ALL {
        let mut pair = Pair::of(suite);
        let (pending, initiation) = pair.initiate();
        assert_eq!(pending.local_index(), INITIATOR_INDEX);
        let (responder_session, response) = pair.respond(&initiation);
        let initiator_session = pair.finish(&pending, &response).expect("the right message");
        assert_same_session(&initiator_session, &responder_session);

        let (_, again) = pair.respond(&initiation);
        let other = pair.finish(&pending, &again).expect("also a right message");
        assert_ne!(other.keys.send, initiator_session.keys.send, "a fresh ephemeral key makes fresh session keys");
    }
}

#[test]
fn every_changed_bit_of_an_initiation_is_noticed() {
    for &suite in Suite::ALL {
        let mut pair = Pair::of(suite);
        let (_, initiation) = pair.initiate();
        let sealed = 8..116;
        for byte in sealed {
            let mut bytes = initiation.as_bytes().to_vec();
            bytes[byte] ^= 1 << (byte % 8);
            let bad = HandshakeInitiation::read_from_bytes(&bytes).expect("the right length");
            let refused = pair.verify(&bad).err();
            // The top bit of a point is no part of it, but it is part of the transcript.
            assert_eq!(refused, Some(DropReason::BadHandshake), "byte {byte}");
        }
        assert!(pair.verify(&initiation).is_ok());
    }
}

#[test]
fn every_changed_bit_of_a_response_is_noticed_and_leaves_the_initiation_pending() {
    for &suite in Suite::ALL {
        let mut pair = Pair::of(suite);
        let (pending, initiation) = pair.initiate();
        let (responder_session, response) = pair.respond(&initiation);
        for byte in 8..60 {
            let mut bytes = response.as_bytes().to_vec();
            bytes[byte] ^= 1 << (byte % 8);
            let bad = HandshakeResponse::read_from_bytes(&bytes).expect("the right length");
            let expected = if byte < 12 { DropReason::UnknownIndex } else { DropReason::BadHandshake };
            assert_eq!(pair.finish(&pending, &bad).err(), Some(expected), "byte {byte}");
        }
        let session = pair.finish(&pending, &response).expect("the right message, after all the wrong ones");
        assert_same_session(&session, &responder_session);
    }
}

#[test]
fn different_preshared_keys_make_no_session() {
    for &suite in Suite::ALL {
        let mut pair = Pair::of(suite);
        let (pending, initiation) = pair.initiate();
        for (ours, theirs) in [([0; 32], [1; 32]), ([1; 32], [0; 32]), ([1; 32], [2; 32])] {
            pair.to_responder.set_psk(PresharedKey::new(ours));
            pair.to_initiator.set_psk(PresharedKey::new(theirs));
            let (_, response) = pair.respond(&initiation);
            assert_eq!(pair.finish(&pending, &response).err(), Some(DropReason::BadHandshake));
        }
        pair.to_responder.set_psk(PresharedKey::new([2; 32]));
        let (responder_session, response) = pair.respond(&initiation);
        assert_same_session(&pair.finish(&pending, &response).expect("equal keys"), &responder_session);
    }
}

/// A handshake read under another suite than it was made under does not open, whoever changed its marker.
#[test]
fn suites_do_not_meet() {
    for (ours, theirs) in [(Suite::ChaCha20Poly1305, Suite::Aes256Gcm), (Suite::Aes256Gcm, Suite::ChaCha20Poly1305)] {
        let mut pair = Pair::of(theirs);
        let (pending, initiation) = pair.initiate();
        assert_eq!(consume_initiation(&pair.responder, ours, &initiation).err(), Some(DropReason::BadHandshake));

        // Read as it was made, it is authentic; but the peer is set to another suite, and so there is no answer.
        pair.to_initiator.set_suite(ours);
        let claimed = consume_initiation(&pair.responder, theirs, &initiation).expect("the right suite");
        let verified = claimed.verify(&pair.responder, &pair.to_initiator).expect("the right peer");
        assert_eq!(verified.suite(), theirs);
        let refused = verified.create_response(&pair.to_initiator, RESPONDER_INDEX, &mut pair.rng).err();
        assert_eq!(refused, Some(DropReason::SuiteMismatch));

        // A handshake that is under way when the suite changes ends under the one that it began with.
        pair.to_responder.set_suite(ours);
        pair.to_initiator.set_suite(theirs);
        let claimed = consume_initiation(&pair.responder, theirs, &initiation).expect("the right suite");
        let verified = claimed.verify(&pair.responder, &pair.to_initiator).expect("the right peer");
        let (_, response) = verified.create_response(&pair.to_initiator, 1, &mut pair.rng).expect("the same suite");
        assert_eq!(pair.finish(&pending, &response).map(|session| session.suite), Ok(theirs));
    }
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
            assert_eq!(
                consume_initiation(&pair.responder, Suite::default(), &bad).err(),
                Some(DropReason::LowOrderPoint)
            );
            let bad = HandshakeResponse { ephemeral, ..response.clone() };
            assert_eq!(pair.finish(&pending, &bad).err(), Some(DropReason::LowOrderPoint));
        }
    }
}

#[test]
fn static_keys_of_low_order_make_no_session() {
    let mut pair = Pair::new();
    for point in LOW_ORDER_POINTS {
        let public = PublicKey::new(hex_array(point));
        let remote = RemoteIdentity::new(public);
        let refused = create_initiation(&pair.initiator, &remote, Tai64N::ZERO, 1, &mut pair.rng).err();
        assert_eq!(refused, Some(DropReason::LowOrderPoint));

        // An initiator may claim such a key: it needs only its own ephemeral key for that. It gets no further.
        let claim = claim_static_key(&mut pair, &public);
        let claimed = consume_initiation(&pair.responder, Suite::default(), &claim).expect("the claim itself opens");
        assert_eq!(claimed.remote_public(), &public);
        let remote = RemoteIdentity::new(public);
        assert_eq!(claimed.verify(&pair.responder, &remote).err(), Some(DropReason::LowOrderPoint));
    }
}

/// An initiation whose static key the sender merely names.
fn claim_static_key(pair: &mut Pair, public: &PublicKey) -> HandshakeInitiation {
    let (_, mut message) = pair.initiate();
    let ephemeral = PrivateKey::generate(&mut pair.rng);
    message.ephemeral = *ephemeral.public_key().as_bytes();
    let mut state = pair.responder.responder_state(Suite::default());
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
    assert_eq!(consume_initiation(&pair.responder, Suite::default(), &claim).err(), Some(DropReason::UnknownPeer));
}

#[test]
fn claiming_a_peers_key_is_not_being_it() {
    let mut pair = Pair::new();
    let victim = *pair.initiator.public();
    let claim = claim_static_key(&mut pair, &victim);
    let claimed = consume_initiation(&pair.responder, Suite::default(), &claim).expect("the claim itself opens");
    assert_eq!(claimed.remote_public(), &victim);
    assert_eq!(claimed.verify(&pair.responder, &pair.to_initiator).err(), Some(DropReason::BadHandshake));
}

#[test]
fn an_initiation_is_not_continued_as_another_peers() {
    let mut pair = Pair::new();
    let (_, initiation) = pair.initiate();
    let stranger = PrivateKey::generate(&mut pair.rng).public_key();
    let stranger = RemoteIdentity::new(stranger);
    let claimed = consume_initiation(&pair.responder, Suite::default(), &initiation).expect("the right message");
    assert_eq!(claimed.verify(&pair.responder, &stranger).err(), Some(DropReason::UnknownPeer));
    let verified = pair.verify(&initiation).expect("the right message");
    assert_eq!(verified.create_response(&stranger, 1, &mut pair.rng).err(), Some(DropReason::UnknownPeer));
}

#[test]
fn messages_to_somebody_else_do_not_open() {
    let mut pair = Pair::new();
    let (_, initiation) = pair.initiate();
    let other = LocalIdentity::new(PrivateKey::generate(&mut pair.rng));
    assert_eq!(consume_initiation(&other, Suite::default(), &initiation).err(), Some(DropReason::BadHandshake));
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
    let (_, before) = pair.initiate();
    pair.verify(&before).expect("the right message");
    assert!(pair.to_responder.has_static_static() && pair.to_initiator.has_static_static());

    pair.initiator = LocalIdentity::new(PrivateKey::generate(&mut pair.rng));
    pair.to_responder.forget_local();
    assert!(!pair.to_responder.has_static_static());
    pair.to_initiator = RemoteIdentity::new(*pair.initiator.public());
    let (pending, initiation) = pair.initiate();
    let (responder_session, response) = pair.respond(&initiation);
    assert_same_session(&pair.finish(&pending, &response).expect("new keys"), &responder_session);
}

/// What is configured costs nothing until somebody shakes hands, and a peer of low order not twice.
#[test]
fn the_static_keys_meet_in_the_first_handshake() {
    let mut pair = Pair::new();
    assert!(!pair.to_responder.has_static_static() && !pair.to_initiator.has_static_static());
    let (pending, initiation) = pair.initiate();
    assert!(pair.to_responder.has_static_static());
    let (_, response) = pair.respond(&initiation);
    assert!(pair.to_initiator.has_static_static());
    pair.finish(&pending, &response).expect("the right message");

    let low = RemoteIdentity::new(PublicKey::new(hex_array(LOW_ORDER_POINTS[0])));
    assert!(low.static_static(&pair.initiator).is_err() && low.has_static_static());
}

#[test]
fn a_response_finishes_only_the_handshake_that_it_answers() {
    let mut pair = Pair::new();
    let (_, first) = pair.initiate();
    let (second_pending, _) = pair.initiate();
    let (_, response_to_first) = pair.respond(&first);
    assert_eq!(pair.finish(&second_pending, &response_to_first).err(), Some(DropReason::BadHandshake));
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
