//! A handshake between two fixed identities, one of whose messages was changed on its way. Only what the two sides
//! really sent may be consumed; and it must be, whatever was tried before.
//!
//! The input: one byte of options, then a datagram. Bit 0 of the options signs the datagram anew (mac1), as everybody
//! who knows the public key can, so changes reach the Noise layer. Bit 1 has both identities use AES-256-GCM.

use std::sync::OnceLock;

use ringfort_core::cookie::{CookieChecker, CookieGenerator};
use ringfort_core::crypto::{PresharedKey, PrivateKey, PublicKey};
use ringfort_core::drops::DropReason;
use ringfort_core::noise::{
    LocalIdentity, NewSession, PendingInitiation, RemoteIdentity, consume_initiation, create_initiation,
};
use ringfort_core::suite::Suite;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::Time;
use ringfort_core::wire::{HandshakeInitiation, HandshakeResponse, MAC_LEN, MACS_LEN, Message, classify};
use zerocopy::IntoBytes;

use crate::Seed;
use crate::input::Input;
use crate::rng::Repeatable;

const SIGN: u8 = 1;
const SECOND_SUITE: u8 = 2;
const INITIATOR_INDEX: u32 = 0x1122_3344;
const RESPONDER_INDEX: u32 = 0x5566_7788;
const NOW: Time = Time::from_secs(1);

/// Both sides, and what they said.
struct World {
    suite: Suite,
    initiator: LocalIdentity,
    responder: LocalIdentity,
    /// The responder as the initiator knows it, and the other way round.
    to_responder: RemoteIdentity,
    to_initiator: RemoteIdentity,
    pending: PendingInitiation,
    initiation: HandshakeInitiation,
    response: HandshakeResponse,
    responder_session: NewSession,
    timestamp: Tai64N,
}

/// The world that an input's options ask for.
fn world(options: u8) -> &'static World {
    static WORLDS: [OnceLock<World>; 2] = [const { OnceLock::new() }; 2];
    let place = usize::from(options & SECOND_SUITE != 0);
    let suite = Suite::ALL[place];
    WORLDS[place].get_or_init(|| {
        let initiator = LocalIdentity::new(PrivateKey::new([0x17; 32]));
        let responder = LocalIdentity::new(PrivateKey::new([0x2b; 32]));
        let mut to_responder = RemoteIdentity::new(*responder.public());
        let mut to_initiator = RemoteIdentity::new(*initiator.public());
        for remote in [&mut to_responder, &mut to_initiator] {
            remote.set_psk(PresharedKey::new([0x99; 32]));
            remote.set_suite(suite);
        }
        let timestamp = Tai64N::from_unix(1_700_000_000, 0);
        let mut rng = Repeatable::new(7);
        let (pending, initiation) =
            create_initiation(&initiator, &to_responder, timestamp, INITIATOR_INDEX, &mut rng).expect("good keys");
        let (responder_session, response) = consume_initiation(&responder, suite, &initiation)
            .and_then(|claimed| claimed.verify(&responder, &to_initiator))
            .and_then(|verified| verified.create_response(&to_initiator, RESPONDER_INDEX, &mut rng))
            .expect("an unchanged initiation");
        World {
            suite,
            initiator,
            responder,
            to_responder,
            to_initiator,
            pending,
            initiation,
            response,
            responder_session,
            timestamp,
        }
    })
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let mut datagram = input.rest().to_vec();
    let world = world(options);
    let receiver = match classify(&datagram) {
        Ok(Message::Initiation(..)) => world.responder.public(),
        Ok(Message::Response(_)) => world.initiator.public(),
        _ => return,
    };
    if options & SIGN != 0 {
        CookieGenerator::new(receiver).add_macs(NOW, &mut datagram);
    }
    mac1_is_that_of_the_content(receiver, &datagram);
    match classify(&datagram) {
        Ok(Message::Initiation(suite, message)) => initiation(world, suite, message),
        Ok(Message::Response(message)) => response(world, message),
        _ => {}
    }
}

fn mac1_is_that_of_the_content(receiver: &PublicKey, datagram: &[u8]) {
    let mut signed = datagram.to_vec();
    CookieGenerator::new(receiver).add_macs(NOW, &mut signed);
    let mac1 = datagram.len() - MACS_LEN..datagram.len() - MAC_LEN;
    let verified = CookieChecker::new(receiver).verify_mac1(datagram);
    assert_eq!(verified, datagram[mac1.clone()] == signed[mac1]);
}

fn initiation(world: &World, suite: Suite, message: &HandshakeInitiation) {
    // The same initiator may have made it for the other suite: then it is authentic, and refused for that.
    let made = self::world(if suite == Suite::Aes256Gcm { SECOND_SUITE } else { 0 });
    let (sent, to_initiator) = (&made.initiation, &world.to_initiator);
    let static_is_genuine = message.ephemeral == sent.ephemeral && message.encrypted_static == sent.encrypted_static;
    let claimed = match consume_initiation(&world.responder, suite, message) {
        Ok(claimed) => claimed,
        Err(reason) => {
            assert!(!static_is_genuine, "the initiator's own message is refused: {reason}");
            assert!(
                matches!(reason, DropReason::LowOrderPoint | DropReason::BadHandshake | DropReason::UnknownPeer),
                "{reason}"
            );
            return;
        }
    };
    assert!(static_is_genuine, "a forged static key is accepted");
    assert_eq!(claimed.remote_public(), world.initiator.public());
    let timestamp_is_genuine = message.encrypted_timestamp == sent.encrypted_timestamp;
    let verified = match claimed.verify(&world.responder, to_initiator) {
        Ok(verified) => verified,
        Err(reason) => {
            assert!(!timestamp_is_genuine && reason == DropReason::BadHandshake, "{reason}");
            return;
        }
    };
    assert!(timestamp_is_genuine, "a forged timestamp is accepted");
    assert_eq!(verified.timestamp(), world.timestamp);
    // Noise does not cover the index; mac1 does, which was checked apart.
    assert_eq!(verified.remote_index(), message.sender_index.get());
    let mut rng = Repeatable::new(11);
    assert_eq!(verified.suite(), suite);
    if suite != world.suite {
        let refused = verified.create_response(to_initiator, 9, &mut rng).err();
        return assert_eq!(refused, Some(DropReason::SuiteMismatch));
    }
    let (session, answer) = verified.create_response(to_initiator, 9, &mut rng).expect("a verified initiation");
    assert_eq!(session.remote_index, message.sender_index.get());
    let answered = world.pending.consume_response(&world.initiator, &world.to_responder, &answer);
    if message.sender_index == sent.sender_index {
        keys_agree(&answered.expect("an answer to an unchanged initiation"), &session);
    } else {
        assert_eq!(answered.map(|_| ()), Err(DropReason::UnknownIndex));
    }
}

fn response(world: &World, message: &HandshakeResponse) {
    let sent = &world.response;
    let is_genuine = message.receiver_index == sent.receiver_index
        && message.ephemeral == sent.ephemeral
        && message.encrypted_nothing == sent.encrypted_nothing;
    match world.pending.consume_response(&world.initiator, &world.to_responder, message) {
        Ok(session) => {
            assert!(is_genuine, "a forged response is accepted");
            assert_eq!(session.remote_index, message.sender_index.get());
            assert_eq!(session.local_index, INITIATOR_INDEX);
            keys_agree(&session, &world.responder_session);
        }
        Err(reason) => {
            assert!(!is_genuine, "the responder's own message is refused: {reason}");
            assert!(
                matches!(reason, DropReason::UnknownIndex | DropReason::LowOrderPoint | DropReason::BadHandshake),
                "{reason}"
            );
            // The handshake still waits for the true one.
            let session = world.pending.consume_response(&world.initiator, &world.to_responder, sent);
            keys_agree(&session.expect("the true response"), &world.responder_session);
        }
    }
}

fn keys_agree(initiator: &NewSession, responder: &NewSession) {
    assert!(initiator.initiator && !responder.initiator);
    assert_eq!(initiator.suite, responder.suite);
    assert!(initiator.keys.send == responder.keys.receive, "initiator to responder");
    assert!(initiator.keys.receive == responder.keys.send, "responder to initiator");
    assert!(initiator.keys.send != initiator.keys.receive, "one key for both directions");
}

pub(super) fn seeds() -> Vec<Seed> {
    let (world, second) = (world(0), world(SECOND_SUITE));
    let with = |options: u8, message: &[u8]| [&[options], message].concat();
    let signed = |receiver: &LocalIdentity, message: &[u8]| {
        let mut message = message.to_vec();
        CookieGenerator::new(receiver.public()).add_macs(NOW, &mut message);
        with(0, &message)
    };
    let (initiation, response) = (world.initiation.as_bytes(), world.response.as_bytes());
    let ephemeral = |message: &[u8], at: usize, first: u8| {
        let mut message = message.to_vec();
        message[at..at + 32].fill(0);
        message[at] = first;
        with(SIGN, &message)
    };
    // Our own static key as initiator: a handshake of the responder with itself.
    let to_itself = RemoteIdentity::new(*world.responder.public());
    let mut rng = Repeatable::new(3);
    let (_, own) = create_initiation(&world.responder, &to_itself, world.timestamp, 1, &mut rng).expect("good keys");
    vec![
        Seed::new("initiation", signed(&world.responder, initiation)),
        Seed::new("initiation-unsigned", with(0, initiation)),
        Seed::new("initiation-to-sign", with(SIGN, initiation)),
        Seed::new("initiation-zero-point", ephemeral(initiation, 8, 0)),
        Seed::new("initiation-point-of-order-one", ephemeral(initiation, 8, 1)),
        Seed::new("initiation-of-our-own", with(SIGN, own.as_bytes())),
        Seed::new("initiation-marked", with(SIGN | SECOND_SUITE, second.initiation.as_bytes())),
        Seed::new("initiation-marked-for-another-suite", with(SIGN, second.initiation.as_bytes())),
        Seed::new(
            "initiation-whose-marker-was-removed",
            with(SIGN | SECOND_SUITE, &[&[1, 0, 0, 0], &second.initiation.as_bytes()[4..]].concat()),
        ),
        Seed::new("response-of-the-second-suite", with(SIGN | SECOND_SUITE, second.response.as_bytes())),
        Seed::new("response", signed(&world.initiator, response)),
        Seed::new("response-to-sign", with(SIGN, response)),
        Seed::new("response-zero-point", ephemeral(response, 12, 0)),
    ]
}
