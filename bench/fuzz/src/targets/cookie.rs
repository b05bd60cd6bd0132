//! Cookies: a changed reply is refused and changes nothing, and mac2 opens the door to one message from one address and
//! port, for two minutes.
//!
//! The input: one byte that chooses the case. 0: a cookie reply. 1: change of the port (two bytes) and of the address
//! (four), age in milliseconds (four), then a handshake message that claims to have a cookie. Other: a sender index
//! (four), then a message that is answered with a cookie.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ringfort_core::constants::COOKIE_SECRET_MAX_AGE;
use ringfort_core::cookie::{CookieChecker, CookieGenerator};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;
use ringfort_core::wire::{CookieReply, MAC_LEN, MACS_LEN, Message, classify};
use zerocopy::IntoBytes;

use crate::Seed;
use crate::input::Input;
use crate::rng::Repeatable;

const START: Time = Time::from_secs(100);
const MESSAGE_LEN: usize = 148;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const PORT: u16 = 51_820;

/// A message that was sent, answered with a cookie, and sent again with it.
struct Exchange {
    checker: CookieChecker,
    generator: CookieGenerator,
    reply: CookieReply,
}

fn responder() -> PublicKey {
    PrivateKey::new([0x42; 32]).public_key()
}

fn message() -> Vec<u8> {
    let mut message: Vec<u8> = (0..MESSAGE_LEN).map(|i| i as u8).collect();
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    message
}

fn remote(address: u32, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(ADDRESS.to_bits() ^ address)), PORT ^ port)
}

impl Exchange {
    fn new() -> Self {
        let (mut checker, mut generator) = (CookieChecker::new(&responder()), CookieGenerator::new(&responder()));
        let mut first = message();
        generator.add_macs(START, &mut first);
        assert!(checker.verify_mac1(&first) && !checker.verify_mac2(START, remote(0, 0), &first));
        let reply = checker
            .create_reply(START, remote(0, 0), &first, 77, &mut Repeatable::new(5))
            .expect("a message that is long enough");
        Self { checker, generator, reply }
    }

    fn with_cookie(&mut self) -> Vec<u8> {
        let mut second = message();
        self.generator.add_macs(START, &mut second);
        second
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        0 => consume(input.rest()),
        1 => prove(input),
        _ => answer(input),
    }
}

fn consume(datagram: &[u8]) {
    let Ok(Message::CookieReply(reply)) = classify(datagram) else { return };
    let mut exchange = Exchange::new();
    let sent = exchange.reply.clone();
    let is_genuine = reply.nonce == sent.nonce && reply.encrypted_cookie == sent.encrypted_cookie;
    let consumed = exchange.generator.consume_reply(START, reply);
    assert_eq!(consumed.is_ok(), is_genuine);
    if !is_genuine {
        assert_eq!(consumed, Err(DropReason::InvalidCookieReply));
        assert_eq!(exchange.generator.consume_reply(START, &sent), Ok(()), "the true reply is still awaited");
    }
    assert_eq!(exchange.generator.consume_reply(START, &sent), Err(DropReason::InvalidCookieReply), "once only");
    let second = exchange.with_cookie();
    assert!(exchange.checker.verify_mac2(START, remote(0, 0), &second));
}

fn prove(mut input: Input<'_>) {
    let (port, address) = (input.u16(), input.u32());
    let age = Duration::from_millis(u64::from(input.u32()));
    let claimed = input.rest();
    let mut exchange = Exchange::new();
    let reply = exchange.reply.clone();
    exchange.generator.consume_reply(START, &reply).expect("the true reply");
    let second = exchange.with_cookie();
    let accepted = exchange.checker.verify_mac2(START + age, remote(address, port), claimed);
    let expected = claimed == second && (address, port) == (0, 0) && age < COOKIE_SECRET_MAX_AGE;
    assert_eq!(accepted, expected, "age {age:?}, address {address:x}, port {port:x}");
}

fn answer(mut input: Input<'_>) {
    let sender = input.u32();
    let claimed = input.rest();
    let mut checker = CookieChecker::new(&responder());
    let reply = checker.create_reply(START, remote(0, 0), claimed, sender, &mut Repeatable::new(5));
    let Ok(reply) = reply else {
        assert!(claimed.len() < MACS_LEN && reply.is_err_and(|reason| reason == DropReason::BadLength));
        return;
    };
    assert!(claimed.len() >= MACS_LEN);
    assert!(matches!(classify(reply.as_bytes()), Ok(Message::CookieReply(_))), "what we send is what we read");
    assert_eq!(reply.receiver_index.get(), sender);
    // Nobody can read the cookie who did not send this very mac1.
    let mut generator = CookieGenerator::new(&responder());
    let mut own = message();
    generator.add_macs(START, &mut own);
    let mac1 = |message: &[u8]| message[message.len() - MACS_LEN..message.len() - MAC_LEN].to_vec();
    assert_eq!(generator.consume_reply(START, &reply).is_ok(), mac1(&own) == mac1(claimed));
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut exchange = Exchange::new();
    let reply = exchange.reply.clone();
    let first = {
        let mut message = message();
        CookieGenerator::new(&responder()).add_macs(START, &mut message);
        message
    };
    exchange.generator.consume_reply(START, &reply).expect("the true reply");
    let second = exchange.with_cookie();
    let proof = |port: u16, address: u32, age_ms: u32| {
        [&[1][..], &port.to_le_bytes(), &address.to_le_bytes(), &age_ms.to_le_bytes(), &second].concat()
    };
    vec![
        Seed::new("reply", [&[0], reply.as_bytes()].concat()),
        Seed::new("proof", proof(0, 0, 0)),
        Seed::new("proof-from-another-port", proof(1, 0, 0)),
        Seed::new("proof-from-another-address", proof(0, 1, 0)),
        Seed::new("proof-at-the-last-moment", proof(0, 0, 119_999)),
        Seed::new("proof-too-late", proof(0, 0, 120_000)),
        Seed::new("answer", [&[2, 77, 0, 0, 0], &first[..]].concat()),
        Seed::new("answer-too-short", vec![2, 0, 0, 0, 0, 1, 2, 3]),
    ]
}
