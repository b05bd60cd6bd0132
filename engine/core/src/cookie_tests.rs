//! The two sides of the cookie exchange against each other, and against known answers.

use std::time::Duration;

use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::constants::{REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER_MAX};
use crate::crypto::PrivateKey;
use crate::test_support::{SeededRng, hex, hex_array};
use crate::wire::HandshakeInitiation;

const START: Time = Time::from_secs(1_000);
const SENDER_INDEX: u32 = 77;

struct Exchange {
    checker: CookieChecker,
    generator: CookieGenerator,
    message: Vec<u8>,
    rng: SeededRng,
}

impl Exchange {
    fn new() -> Self {
        let mut rng = SeededRng::new(3);
        let responder = PrivateKey::generate(&mut rng).public_key();
        let mut message = vec![0x5a; size_of::<HandshakeInitiation>()];
        let mut generator = CookieGenerator::new(&responder);
        generator.add_macs(START, &mut message);
        Self { checker: CookieChecker::new(&responder), generator, message, rng }
    }

    fn reply(&mut self, now: Time, remote: &str) -> CookieReply {
        self.checker
            .create_reply(now, address(remote), &self.message, SENDER_INDEX, &mut self.rng)
            .expect("a whole message")
    }

    fn mac2_valid(&self, now: Time, remote: &str) -> bool {
        self.checker.verify_mac2(now, address(remote), &self.message)
    }

    /// Runs the exchange until the initiator holds a cookie for `remote` and has signed a message with it.
    fn get_cookie(&mut self, now: Time, remote: &str) {
        let reply = self.reply(now, remote);
        self.generator.consume_reply(now, &reply).expect("the right reply");
        self.generator.add_macs(now, &mut self.message);
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}

fn mac2(message: &[u8]) -> &[u8] {
    &message[message.len() - MAC_LEN..]
}

#[test]
fn mac1_covers_everything_before_it() {
    let mut exchange = Exchange::new();
    assert!(exchange.checker.verify_mac1(&exchange.message));
    assert_eq!(mac2(&exchange.message), [0; MAC_LEN], "no cookie, no mac2");
    for byte in 0..exchange.message.len() - MAC_LEN {
        exchange.message[byte] ^= 1;
        assert!(!exchange.checker.verify_mac1(&exchange.message), "byte {byte}");
        exchange.message[byte] ^= 1;
    }
    exchange.message[140] ^= 1;
    assert!(exchange.checker.verify_mac1(&exchange.message), "mac2 is not covered by mac1");
}

#[test]
fn messages_shorter_than_their_macs_are_refused() {
    let mut exchange = Exchange::new();
    for len in 0..MACS_LEN {
        let short = &exchange.message[..len];
        assert!(!exchange.checker.verify_mac1(short));
        assert!(!exchange.checker.verify_mac2(START, address("192.0.2.1:1"), short));
        let reply = exchange.checker.create_reply(START, address("192.0.2.1:1"), short, 1, &mut exchange.rng);
        assert_eq!(reply.err(), Some(drops::DropReason::BadLength));
    }
}

#[test]
fn a_cookie_proves_its_address_and_port_only() {
    for remote in ["192.0.2.1:51820", "[2001:db8::1]:51820"] {
        let mut exchange = Exchange::new();
        assert!(!exchange.mac2_valid(START, remote), "nothing proves anything before the first cookie");
        exchange.get_cookie(START, remote);
        assert!(exchange.checker.verify_mac1(&exchange.message));
        assert!(exchange.mac2_valid(START, remote));
        for other in ["192.0.2.2:51820", "192.0.2.1:51821", "[2001:db8::2]:51820", "[2001:db8::1]:51821"] {
            assert!(!exchange.mac2_valid(START, other), "{other}");
        }
    }
}

#[test]
fn mac2_covers_mac1_and_everything_before_it() {
    let mut exchange = Exchange::new();
    exchange.get_cookie(START, "192.0.2.1:1");
    for byte in 0..exchange.message.len() {
        exchange.message[byte] ^= 1;
        assert!(!exchange.mac2_valid(START, "192.0.2.1:1"), "byte {byte}");
        exchange.message[byte] ^= 1;
    }
    assert!(exchange.mac2_valid(START, "192.0.2.1:1"));
}

#[test]
fn the_secret_changes_after_two_minutes() {
    let mut exchange = Exchange::new();
    exchange.get_cookie(START, "192.0.2.1:1");
    let end = START + COOKIE_SECRET_MAX_AGE;
    assert!(exchange.mac2_valid(end - Duration::from_nanos(1), "192.0.2.1:1"));
    assert!(!exchange.mac2_valid(end, "192.0.2.1:1"));

    let old = exchange.message.clone();
    exchange.get_cookie(end, "192.0.2.1:1");
    assert!(exchange.mac2_valid(end, "192.0.2.1:1"), "the new cookie counts");
    // So does the old one, for who was given it just before: once, and once more if that message is lost.
    let counts = |exchange: &Exchange, at| exchange.checker.verify_mac2(at, address("192.0.2.1:1"), &old);
    let retry = end + (REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX) * 2;
    assert!(counts(&exchange, retry) && exchange.mac2_valid(retry, "192.0.2.1:1"));
    assert!(!exchange.checker.verify_mac2(retry, address("192.0.2.2:1"), &old), "of another address");
    let retired = end + COOKIE_SECRET_RETIREMENT;
    assert!(!counts(&exchange, retired), "then it does not");
    // A gate has a copy of both.
    assert!(exchange.checker.clone().verify_mac2(retry, address("192.0.2.1:1"), &old));
    exchange.checker.secret_for(retired, COOKIE_SECRET_MAX_AGE, &mut exchange.rng);
    assert!(exchange.mac2_valid(retired, "192.0.2.1:1") && !counts(&exchange, end), "nor does it come back");
}

#[test]
fn a_secret_that_nobody_has_a_cookie_of_any_more_is_forgotten() {
    let mut exchange = Exchange::new();
    exchange.get_cookie(START, "192.0.2.1:1");
    let old = exchange.message.clone();
    let later = START + COOKIE_SECRET_MAX_AGE + COOKIE_SECRET_RETIREMENT;
    exchange.reply(later, "192.0.2.1:1");
    assert!(!exchange.checker.verify_mac2(later, address("192.0.2.1:1"), &old));
    assert!(exchange.checker.former.is_none());
}

#[test]
fn the_secret_stays_while_it_is_young() {
    let mut exchange = Exchange::new();
    exchange.get_cookie(START, "192.0.2.1:1");
    let later = START + Duration::from_secs(119);
    exchange.reply(later, "192.0.2.99:1");
    assert!(exchange.mac2_valid(later, "192.0.2.1:1"), "a reply to somebody else changed nothing");
}

#[test]
fn the_initiator_forgets_its_cookie_after_two_minutes() {
    let mut exchange = Exchange::new();
    exchange.get_cookie(START, "192.0.2.1:1");
    let end = START + COOKIE_SECRET_MAX_AGE;
    exchange.generator.add_macs(end - Duration::from_nanos(1), &mut exchange.message);
    assert_ne!(mac2(&exchange.message), [0; MAC_LEN]);
    exchange.generator.add_macs(end, &mut exchange.message);
    assert_eq!(mac2(&exchange.message), [0; MAC_LEN]);
}

#[test]
fn a_reply_is_taken_once() {
    let mut exchange = Exchange::new();
    let reply = exchange.reply(START, "192.0.2.1:1");
    assert_eq!(exchange.generator.consume_reply(START, &reply), Ok(()));
    assert_eq!(exchange.generator.consume_reply(START, &reply), Err(drops::DropReason::InvalidCookieReply), "replayed");
    exchange.generator.add_macs(START, &mut exchange.message[..92]);
    assert_eq!(exchange.generator.consume_reply(START, &reply), Err(drops::DropReason::InvalidCookieReply), "outdated");
}

#[test]
fn a_wrong_reply_changes_nothing() {
    let mut exchange = Exchange::new();
    let reply = exchange.reply(START, "192.0.2.1:1");
    for byte in 8..reply.as_bytes().len() {
        let mut bytes = reply.as_bytes().to_vec();
        bytes[byte] ^= 1;
        let bad = CookieReply::read_from_bytes(&bytes).expect("the right length");
        assert_eq!(
            exchange.generator.consume_reply(START, &bad),
            Err(drops::DropReason::InvalidCookieReply),
            "byte {byte}"
        );
    }
    // Somebody who saw another message cannot answer ours, whoever else's mac1 the reply is bound to.
    let ours = exchange.message.clone();
    exchange.message[132 - MAC_LEN] ^= 1;
    let bad = exchange.reply(START, "192.0.2.1:1");
    assert_eq!(exchange.generator.consume_reply(START, &bad), Err(drops::DropReason::InvalidCookieReply), "wrong AAD");
    exchange.message = ours;
    assert_eq!(exchange.generator.consume_reply(START, &reply), Ok(()), "the right one still counts");
}

#[test]
fn nobody_answers_what_was_not_sent() {
    let mut exchange = Exchange::new();
    let reply = exchange.reply(START, "192.0.2.1:1");
    let mut silent = CookieGenerator::new(&PrivateKey::generate(&mut exchange.rng).public_key());
    assert_eq!(silent.consume_reply(START, &reply), Err(drops::DropReason::InvalidCookieReply));
}

#[test]
fn a_reply_names_the_asker_and_differs_each_time() {
    let mut exchange = Exchange::new();
    let first = exchange.reply(START, "192.0.2.1:1");
    let second = exchange.reply(START, "192.0.2.1:1");
    assert_eq!(first.message_type.get(), 3);
    assert_eq!(first.receiver_index.get(), SENDER_INDEX);
    assert_ne!(first.nonce, second.nonce);
    assert_ne!(first.encrypted_cookie, second.encrypted_cookie);
}

/// The reply to the initiation of the handshake's known answer, and mac2 of the same message sent again. Expected bytes
/// from the same separate program, with HChaCha20 written down from draft-irtf-cfrg-xchacha-03.
#[test]
fn cookie_known_answer() {
    let responder = PrivateKey::new(std::array::from_fn(|i| 0x20 + i as u8)).public_key();
    let mut message = hex("010000000403020179a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51af0225eb4\
         21886af8f54fb31289d49dcd82b0f6f3279d40d7cff913fece0c64ad226eef3320755b393b72f16842c8d7ee\
         78a74e93716cdb8992f4ecc1638e152bd6535f694d27879cf91345900bfd351daf0dc51c1b447322d8822d09\
         00000000000000000000000000000000");
    let unsigned = message.clone();
    let mut generator = CookieGenerator::new(&responder);
    generator.add_macs(START, &mut message);
    assert_eq!(message, unsigned, "mac1 is the known one");

    let reply =
        hex("0300000004030201303132333435363738393a3b3c3d3e3f4041424344454647158116210326624bcef839c4f2ab6b1d39936109\
                     85fe141f47bfda9c19729365");
    let reply = CookieReply::read_from_bytes(&reply).expect("the right length");
    assert_eq!(generator.consume_reply(START, &reply), Ok(()));
    generator.add_macs(START, &mut message);
    assert_eq!(mac2(&message), hex_array::<MAC_LEN>("394ac8457b90b4b4d0ae8957ba8d0152"));
}

#[test]
fn secrets_do_not_print() {
    let mut exchange = Exchange::new();
    exchange.get_cookie(START, "192.0.2.1:1");
    assert_eq!(format!("{:?}", exchange.generator), "CookieGenerator { has_cookie: true, .. }");
    let checker = format!("{:?}", exchange.checker);
    assert_eq!(checker, "CookieChecker { secret_born: Some(Time(1000000000000)), .. }");
}
