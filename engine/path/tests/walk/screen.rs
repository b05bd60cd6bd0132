//! Handshake messages are asked where they land: what reaches control, what is answered, and what a flood costs.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ringfort_core::cookie::CookieGenerator;
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::gate::{LOADED_REFUSED, Proof};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::node::Node;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::{Now, Time};
use ringfort_core::wire::{Message, classify};
use ringfort_path::budget::{self, COOKIES};
use ringfort_path::{COOKIES_PER_SECOND, DataPath, Order, Outcome, Train, Transmit, Unwatched};

use crate::rig::{NOW, empty, events, filled, transmits};
use crate::rng::SeededRng;

const INITIATION_LEN: usize = 148;

/// A worker, and the device that tells it whom to ask what.
pub struct Door {
    pub path: DataPath,
    device: Device,
    public: PublicKey,
}

impl Door {
    pub fn new() -> Self {
        let key = PrivateKey::new([7; 32]);
        let (mut device, public) = (Device::new(1), key.public_key());
        device.set_private_key(NOW, Some(key));
        device.link_up(NOW);
        let mut door = Self { path: empty(0, 1, Unwatched), device, public };
        door.obey();
        door
    }

    fn obey(&mut self) {
        while let Some(action) = self.device.poll_action() {
            if let Action::Gate(gate) = action {
                assert_eq!(self.path.handle_order(NOW, Order::Gate(gate)), Outcome::Done);
            }
        }
    }

    /// Control sees that there is too much to do.
    pub fn load(&mut self, now: Time) {
        self.device.note_load(now, &mut SeededRng::new(8));
        self.obey();
    }

    /// Control does what is due. Returns when more is.
    fn turn(&mut self, now: Time) -> Option<Time> {
        self.device.handle_timeout(Now { mono: now, wall: Tai64N::default() }, &mut SeededRng::new(9));
        self.obey();
        self.device.poll_timeout()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.path.counters().drops.get(reason)
    }

    /// What control gets, and what each sender has proved.
    fn passed(&mut self) -> Vec<Proof> {
        std::iter::from_fn(|| self.path.poll_handshake()).map(|message| message.proof).collect()
    }

    /// A message that anybody can make who knows the public key.
    pub fn initiation(&self, number: u32) -> Vec<u8> {
        let mut message = vec![0x5a; INITIATION_LEN];
        message[..4].copy_from_slice(&[1, 0, 0, 0]);
        message[4..8].copy_from_slice(&number.to_le_bytes());
        CookieGenerator::new(&self.public).add_macs(NOW, &mut message);
        message
    }

    pub fn receive(&mut self, now: Time, from: Endpoint, bytes: &[u8], stride: usize) {
        let view = filled(&self.path, budget::line::UDP_READS, bytes);
        let train = Train { view, stride, endpoint: from, ecn: 0, handed: false };
        self.path.handle_train(now, train, &mut || None);
    }
}

/// One of many addresses.
pub fn from(number: u32) -> Endpoint {
    Endpoint::new(SocketAddr::from((Ipv4Addr::from_bits(0x0a40_0000 + number), 7_777)))
}

fn leaves(door: &mut Door) -> Vec<Transmit> {
    let sent = transmits(&mut door.path);
    door.path.pool().drain_returns();
    sent
}

#[test]
fn who_does_not_know_our_key_gets_no_further_and_is_told_of_rarely() {
    let mut door = Door::new();
    let mut message = door.initiation(1);
    message[40] ^= 1;
    for number in 0..1_000 {
        door.receive(NOW, from(number), &message, INITIATION_LEN);
    }
    assert_eq!(door.drops(DropReason::BadMac1), 1_000);
    assert_eq!(events(&mut door.path), [PeerEvent::WrongKey { remote: from(0).remote }]);
    door.receive(NOW + Duration::from_millis(250), from(9), &message, INITIATION_LEN);
    assert_eq!(events(&mut door.path), [PeerEvent::WrongKey { remote: from(9).remote }]);
    assert_eq!(door.passed(), []);
}

#[test]
fn without_load_who_knows_our_key_passes_and_what_answers_nothing_does_not() {
    let mut door = Door::new();
    let train = [door.initiation(1), door.initiation(2), door.initiation(3)].concat();
    door.receive(NOW, from(1), &train, INITIATION_LEN);
    assert_eq!(door.passed(), [Proof::Key; 3], "all messages of a train are asked");
    let mut reply = [3; 64];
    reply[1..4].fill(0);
    door.receive(NOW, from(1), &reply, reply.len());
    assert_eq!((door.passed(), door.drops(DropReason::UnknownIndex)), (vec![], 1));
    assert!(leaves(&mut door).is_empty());
}

#[test]
fn what_answers_another_node_has_a_name_of_its_own() {
    let mut door = Door::new();
    door.device.set_node(NOW, Node::new(1, 2).unwrap());
    door.obey();
    for (kind, len, at) in [(2, 92, 8), (3, 64, 4)] {
        for top in 0..=u8::MAX {
            let mut message = vec![9; len];
            message[..4].copy_from_slice(&[kind, 0, 0, 0]);
            message[at + 3] = top;
            door.receive(NOW, from(1), &message, len);
        }
    }
    assert_eq!([DropReason::UnknownIndex, DropReason::OtherNode].map(|reason| door.drops(reason)), [128, 384]);
    assert_eq!(door.passed(), []);
}

#[test]
fn under_load_everybody_gets_a_cookie_of_his_own_which_proves_his_address() {
    let mut door = Door::new();
    door.load(NOW);
    let mut generator = CookieGenerator::new(&door.public);
    let mut message = door.initiation(77);
    generator.add_macs(NOW, &mut message);
    let mut nonces = BTreeSet::new();
    for number in (0..u32::from(COOKIES)).rev() {
        door.receive(NOW, from(number), &message, INITIATION_LEN);
    }
    let sent = leaves(&mut door);
    assert_eq!(sent.len(), usize::from(COOKIES));
    for (transmit, number) in sent.iter().zip((0..u32::from(COOKIES)).rev()) {
        let Ok(Message::CookieReply(reply)) = classify(&transmit.view) else { panic!("a cookie") };
        assert_eq!((transmit.peer, transmit.endpoint, reply.receiver_index.get()), (PeerId::NOBODY, from(number), 77));
        assert!(nonces.insert(reply.nonce) && transmit.view.len() < message.len(), "nobody is amplified");
    }
    assert_eq!((door.passed(), door.drops(DropReason::CookieRequired)), (vec![], u64::from(COOKIES)));

    let Ok(Message::CookieReply(reply)) = classify(&sent[sent.len() - 1].view) else { panic!("a cookie") };
    generator.consume_reply(NOW, reply).expect("it answers this message");
    generator.add_macs(NOW, &mut message);
    door.receive(NOW, from(0), &message, INITIATION_LEN);
    door.receive(NOW, from(1), &message, INITIATION_LEN);
    assert_eq!(door.passed(), [Proof::Address], "it is a proof of one address");
}

#[test]
fn who_claims_to_come_from_where_a_peer_is_passes_once_and_then_gets_a_cookie() {
    let mut door = Door::new();
    let peer = door.device.add_peer(PublicKey::new([9; 32])).expect("there is room");
    door.device.place_peer(NOW, peer, Some(from(5).remote));
    door.load(NOW);
    while door.turn(NOW) == Some(Time::ZERO) {}
    let message = door.initiation(1);
    for number in [4, 5, 5, 6] {
        door.receive(NOW, from(number), &message, INITIATION_LEN);
    }
    assert_eq!(door.passed(), [Proof::Claim]);
    let places: Vec<_> = leaves(&mut door).iter().map(|transmit| transmit.endpoint).collect();
    assert_eq!(places, [4, 5, 6].map(from));
}

/// What is sent in a second is bounded, and one address does not get all of it.
#[test]
fn cookies_have_a_budget_and_one_address_leaves_half_of_a_burst_to_others() {
    let mut door = Door::new();
    door.load(NOW);
    let message = door.initiation(1);
    let mut sent = 0;
    for ms in 0..1_000 {
        for number in 0..20 {
            door.receive(NOW + Duration::from_millis(ms), from(20 * ms as u32 + number), &message, INITIATION_LEN);
        }
        sent += leaves(&mut door).len() as u64;
    }
    let burst = 2 * u64::from(COOKIES);
    assert!((COOKIES_PER_SECOND - burst..=COOKIES_PER_SECOND + burst).contains(&sent), "{sent}");
    assert_eq!(door.drops(DropReason::CookieRequired), sent);
    assert_eq!(door.drops(DropReason::CookieBudget), 20_000 - sent);
    assert_eq!(door.path.counters().cookies_sent, sent);

    let mut door = Door::new();
    door.load(NOW);
    for _ in 0..1_000 {
        door.receive(NOW, from(1), &message, INITIATION_LEN);
        leaves(&mut door);
    }
    assert_eq!(door.drops(DropReason::CookieRequired), burst / 2 + 1, "and once as somebody who was not answered");
    door.receive(NOW, from(2), &message, INITIATION_LEN);
    assert_eq!(leaves(&mut door).len(), 1);
}

#[test]
fn a_socket_that_takes_nothing_costs_no_more_than_the_slots_of_cookies() {
    let mut door = Door::new();
    door.load(NOW);
    let message = door.initiation(1);
    let held = (0..u32::from(COOKIES) + 20).fold(Vec::new(), |mut held, number| {
        let now = NOW + Duration::from_millis(number.into());
        door.receive(now, from(number), &message, INITIATION_LEN);
        held.extend(transmits(&mut door.path));
        held
    });
    assert_eq!((held.len(), door.drops(DropReason::CookieBudget)), (usize::from(COOKIES), 20));
    drop(held);
    let at = door.path.pool().accounting();
    door.path.pool().drain_returns();
    assert_eq!((at.held, at.total), (0, door.path.pool().accounting().free));
}

/// The workers keep the load up as long as there is reason to, without a word to control.
#[test]
fn load_goes_on_while_many_have_no_proof_and_ends_when_few_have_none() {
    let mut door = Door::new();
    door.load(NOW);
    let message = door.initiation(1);
    let last = NOW + Duration::from_millis(900);
    for number in 0..LOADED_REFUSED {
        door.receive(last, from(number), &message, INITIATION_LEN);
        leaves(&mut door);
    }
    let later = last + Duration::from_millis(999);
    for number in 0..LOADED_REFUSED - 1 {
        door.receive(later, from(number), &message, INITIATION_LEN);
        leaves(&mut door);
    }
    assert_eq!(door.passed(), []);
    door.receive(last + Duration::from_secs(1), from(1), &message, INITIATION_LEN);
    assert_eq!(door.passed(), [Proof::Key]);
}

/// The sender of `message` gets a cookie, and proves its address with it from now on.
fn prove(door: &mut Door, now: Time, from: Endpoint, message: &mut [u8]) {
    let mut generator = CookieGenerator::new(&door.public);
    generator.add_macs(now, message);
    door.receive(now, from, message, INITIATION_LEN);
    let sent = leaves(door);
    let Ok(Message::CookieReply(reply)) = classify(&sent[0].view) else { panic!("a cookie") };
    generator.consume_reply(now, reply).expect("it answers this message");
    generator.add_macs(now, message);
}

/// Who owns an address floods from there: control gets what the paper allows the address. A peer is not in its way, and
/// there is load until the flood ends.
#[test]
#[cfg_attr(miri, ignore = "it is 50,000 messages; others here have a few")]
fn a_flood_from_an_address_of_its_own_is_limited_before_control_and_keeps_the_load_up() {
    let mut door = Door::new();
    door.load(NOW);
    let (hostile, honest) = (from(1), from(2));
    let [mut flood, mut peer] = [door.initiation(1), door.initiation(2)];
    prove(&mut door, NOW, hostile, &mut flood);
    prove(&mut door, NOW, honest, &mut peer);
    let mut passed = 0;
    for ms in 0..5_000 {
        let now = NOW + Duration::from_millis(ms);
        for _ in 0..10 {
            door.receive(now, hostile, &flood, INITIATION_LEN);
        }
        passed += door.passed().len();
        assert!(door.device.is_loaded(now), "after {ms} ms");
        if ms % 1_000 == 999 {
            door.receive(now, honest, &peer, INITIATION_LEN);
            assert_eq!(door.passed(), [Proof::Address], "an honest peer asks once in a while");
        }
    }
    assert!(passed <= 5 * 20 + 64, "{passed} of 50,000");
    assert_eq!(door.drops(DropReason::RateLimited), 50_000 - passed as u64);
    assert!(!door.device.is_loaded(NOW + Duration::from_secs(7)));
}

/// Whether there is load after three seconds in which two workers get, in turn, so many messages a second without
/// proof, and now and then one with a proof.
fn is_load_after(unproven: u32) -> bool {
    let (mut door, mut other) = (Door::new(), Door::new());
    door.device.note_load(NOW, &mut SeededRng::new(8));
    while let Some(action) = door.device.poll_action() {
        let Action::Gate(gate) = action else { continue };
        for path in [&mut door.path, &mut other.path] {
            assert_eq!(path.handle_order(NOW, Order::Gate(gate.clone())), Outcome::Done);
        }
    }
    let (stranger, mut peer) = (door.initiation(1), door.initiation(2));
    prove(&mut door, NOW, from(0), &mut peer);
    for number in 0..3 * unproven {
        let now = NOW + Duration::from_secs(1) * number / unproven;
        let one = if number % 2 == 0 { &mut door } else { &mut other };
        one.receive(now, from(number), &stranger, INITIATION_LEN);
        leaves(one);
        one.passed();
        if number % 500 == 0 {
            one.receive(now, from(0), &peer, INITIATION_LEN);
            assert!(one.passed().contains(&Proof::Address) || !door.device.is_loaded(now), "who has a proof passes");
        }
    }
    door.device.is_loaded(NOW + Duration::from_secs(3))
}

/// Of 50,000 peers that begin a session every two minutes, 400 a second are asked for a proof. They can do without.
/// What a flood is, the workers find out together: each of them gets only a part of it.
#[test]
fn peers_that_prove_themselves_let_the_load_end_and_a_flood_does_not() {
    assert!(!is_load_after(400));
    assert!(!is_load_after(LOADED_REFUSED - 10));
    assert!(is_load_after(LOADED_REFUSED + 10));
}

/// A secret that is two minutes old proves nothing any more. Control makes another if there is load, or takes it away.
#[test]
fn secrets_are_replaced_under_load_and_taken_away_without() {
    let mut door = Door::new();
    door.load(NOW);
    assert_eq!(door.turn(NOW), Some(NOW + Duration::from_secs(115)), "the secret comes of age");
    let due = NOW + Duration::from_secs(115);
    let message = door.initiation(1);
    door.load(due - Duration::from_millis(500));
    door.receive(due, from(2), &message, INITIATION_LEN);
    assert_eq!((leaves(&mut door).len(), door.passed()), (1, vec![]), "the old one is used until there is the next");
    assert_eq!(door.turn(due), Some(due + Duration::from_secs(1)), "the former one is freed");
    door.receive(due, from(1), &message, INITIATION_LEN);
    assert_eq!((leaves(&mut door).len(), door.passed()), (1, vec![]));
    let next = NOW + Duration::from_secs(230);
    assert_eq!(door.turn(due + Duration::from_secs(1)), Some(next), "so does the next");
    door.turn(next);
    assert_eq!(door.turn(next + Duration::from_secs(1)), None, "nobody waits for what is not needed");
}
