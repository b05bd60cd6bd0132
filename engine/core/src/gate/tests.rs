use super::*;
use crate::cookie::CookieGenerator;
use crate::crypto::{PrivateKey, PublicKey};
use crate::node::Node;
use crate::test_support::SeededRng;
use crate::wire::{MAC_LEN, MACS_LEN};

const NOW: Time = Time::from_secs(1_000);
const INDEX: u32 = 0x1234_5601;
const SENDER: u32 = 77;
const KEY: u64 = 0x1122_3344_5566_7788;

fn own() -> PublicKey {
    PrivateKey::new([7; 32]).public_key()
}

fn remote(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 51_820))
}

/// With a peer at the last of our addresses.
fn answered(seed: u8) -> Answered {
    let answered = Answered::new([seed; 16], KEY, 1, NOW);
    answered.locate(remote(255));
    answered
}

/// Who sends, with the gate that it comes to.
struct Sender {
    generator: CookieGenerator,
    gate: Gate,
}

impl Sender {
    /// `secret`: control has given the gate one.
    fn new(secret: bool) -> Self {
        let (mut checker, indices) = (CookieChecker::new(&own()), IndexFilter::default());
        indices.note(INDEX, 1, std::iter::empty());
        if secret {
            assert!(checker.renew_secret(NOW, &mut SeededRng::new(1)));
        }
        let gate = Gate::new(
            checker,
            Arc::default(),
            (Arc::new(indices), Node::SINGLE),
            secret.then(|| Arc::new(answered(9))),
        );
        Self { generator: CookieGenerator::new(&own()), gate }
    }

    fn message(&mut self, kind: u8, len: usize, receiver: u32) -> Vec<u8> {
        let mut message = vec![0x5a; len];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message[4..8].copy_from_slice(&SENDER.to_le_bytes());
        message[8..12].copy_from_slice(&receiver.to_le_bytes());
        self.generator.add_macs(NOW, &mut message);
        message
    }

    fn initiation(&mut self) -> Vec<u8> {
        self.message(1, 148, 0)
    }

    fn admit(&self, message: &[u8]) -> Admission {
        self.gate.admit(NOW, remote(1), message)
    }
}

#[test]
fn who_knows_our_key_passes_and_nobody_else() {
    let mut sender = Sender::new(true);
    let initiation = sender.initiation();
    assert_eq!(sender.admit(&initiation), Admission::Passed(Proof::Key));
    for byte in 4..initiation.len() - MAC_LEN {
        let mut other = initiation.clone();
        other[byte] ^= 1;
        assert_eq!(sender.admit(&other), Admission::Refused(DropReason::BadMac1), "byte {byte}");
    }
    sender.gate.load().note(NOW);
    let mut other = initiation;
    other[20] ^= 1;
    assert_eq!(sender.admit(&other), Admission::Refused(DropReason::BadMac1), "under load as well");
}

#[test]
fn what_answers_nothing_is_refused() {
    let mut sender = Sender::new(true);
    let other = INDEX ^ 0x100;
    let refused = Admission::Refused(DropReason::UnknownIndex);
    let responses = [INDEX, other].map(|index| sender.message(2, 92, index));
    assert_eq!(sender.admit(&responses[0]), Admission::Passed(Proof::Key));
    assert_eq!(sender.admit(&responses[1]), refused);
    let [known, unknown] = responses.map(|mut response| {
        response[40] ^= 1;
        sender.admit(&response)
    });
    assert_eq!((known, unknown), (Admission::Refused(DropReason::BadMac1), refused), "nobody hashes for a stranger");
    for (index, expected) in [(INDEX, Admission::Passed(Proof::Key)), (other, refused)] {
        let mut reply = [3; 64];
        reply[1..4].fill(0);
        reply[4..8].copy_from_slice(&index.to_le_bytes());
        assert_eq!(sender.admit(&reply), expected);
    }
    let mut data = [4; 32];
    data[1..4].fill(0);
    assert_eq!(sender.admit(&data), Admission::Refused(DropReason::UnknownType));
    assert_eq!(sender.admit(&[1, 0, 0, 0]), Admission::Refused(DropReason::BadLength));
}

#[test]
fn under_load_a_cookie_is_asked_for_and_proves_one_address() {
    let mut sender = Sender::new(true);
    sender.gate.load().note(NOW);
    for (kind, len) in [(1, 148), (2, 92)] {
        let message = sender.message(kind, len, INDEX);
        assert_eq!(sender.admit(&message), Admission::Unproven { sender_index: SENDER });
    }
    let first = sender.initiation();
    let reply = sender.gate.reply(remote(1), &first, SENDER, 0, 1).expect("there is a secret");
    let Ok(Message::CookieReply(reply)) = classify(&reply) else { panic!("a cookie reply") };
    assert_eq!(reply.receiver_index.get(), SENDER);
    sender.generator.consume_reply(NOW, reply).expect("it answers the last message");
    let second = sender.initiation();
    assert_eq!(sender.admit(&second), Admission::Passed(Proof::Address));
    assert_eq!(sender.gate.admit(NOW, remote(2), &second), Admission::Unproven { sender_index: SENDER });
    let after = NOW + LOADED_FOR;
    assert_eq!(sender.gate.admit(after, remote(2), &second), Admission::Passed(Proof::Key), "the load is over");
}

/// So control knows whose token to give back.
#[test]
fn who_is_where_a_peer_is_has_another_proof() {
    let mut sender = Sender::new(true);
    sender.gate.load().note(NOW);
    let mut proof = |host| {
        let first = sender.initiation();
        let reply = sender.gate.reply(remote(host), &first, SENDER, 0, host.into()).expect("there is a secret");
        let Ok(Message::CookieReply(reply)) = classify(&reply) else { panic!("a cookie reply") };
        sender.generator.consume_reply(NOW, reply).expect("it answers the last message");
        let second = sender.initiation();
        sender.gate.admit(NOW, remote(host), &second)
    };
    assert_eq!(proof(255), Admission::Passed(Proof::Place));
    assert_eq!(proof(1), Admission::Passed(Proof::Address));
}

/// A peer begins again in a flood, and must not wait until it has a cookie.
#[test]
fn from_where_a_peer_is_one_message_in_a_second_is_believed() {
    let mut sender = Sender::new(true);
    let initiation = sender.initiation();
    let later = NOW + Duration::from_secs(1);
    for now in [NOW, later] {
        sender.gate.load().note(now);
        for expected in [Admission::Passed(Proof::Claim), Admission::Unproven { sender_index: SENDER }] {
            assert_eq!(sender.gate.admit(now, remote(255), &initiation), expected);
        }
        assert_eq!(sender.gate.admit(now, remote(1), &initiation), Admission::Unproven { sender_index: SENDER });
    }
}

/// Filters let pass whoever seems to have a cookie.
#[test]
fn who_makes_up_a_cookie_is_not_believed() {
    let mut sender = Sender::new(true);
    let mut initiation = sender.initiation();
    sender.gate.load().note(NOW);
    *initiation.last_mut().expect("it is long") = 1;
    assert_eq!(sender.gate.admit(NOW, remote(255), &initiation), Admission::Unproven { sender_index: SENDER });
}

/// They take the places of the other table within a second.
#[test]
fn strangers_who_get_cookies_keep_no_peer_from_being_believed() {
    let answered = answered(1);
    let stranger = |n: u32| SocketAddr::from((n.to_be_bytes(), 7_777));
    let first = (0..100_000).filter(|&n| answered.is_first(NOW, stranger(n))).count();
    assert!(first > 16_000, "{first} of 16,384 places");
    assert!(answered.believes(NOW, remote(255)));
}

#[test]
fn who_forges_the_places_of_all_peers_is_believed_a_sixteenth_of_what_control_can_do() {
    const PEERS: u64 = 4_000;
    let answered = Answered::new([1; 16], KEY, PEERS as usize, NOW);
    let place = |n: u64| SocketAddr::from(([10, 0, (n / 256) as u8, n as u8], 51_820));
    (0..PEERS).for_each(|n| answered.locate(place(n)));
    let believed = |now| (0..PEERS).filter(|&n| answered.believes(now, place(n))).count();
    assert_eq!(believed(NOW), 64);
    let second = (1..=1_000).map(|ms| believed(NOW + Duration::from_millis(ms))).sum::<usize>();
    assert_eq!(second, 250);
    assert_eq!(believed(NOW + Duration::from_secs(60)), 64, "rest is not saved up");
}

/// Control makes a secret when it sees that there is load, and until then it gets the messages.
#[test]
fn without_a_secret_nobody_is_asked_for_a_proof() {
    let mut sender = Sender::new(false);
    sender.gate.load().note(NOW);
    let initiation = sender.initiation();
    assert_eq!(sender.admit(&initiation), Admission::Passed(Proof::Key));
    assert_eq!(sender.gate.reply(remote(1), &initiation, SENDER, 0, 1), None);
    let mut sender = Sender::new(true);
    let late = NOW + crate::constants::COOKIE_SECRET_MAX_AGE;
    sender.gate.load().note(late);
    let initiation = sender.initiation();
    assert_eq!(sender.gate.admit(late, remote(1), &initiation), Admission::Passed(Proof::Key), "it is too old");
}

#[test]
fn no_two_replies_have_one_nonce() {
    let (one, other) = (answered(1), answered(2));
    let mut seen = std::collections::BTreeSet::new();
    for answered in [&one, &other] {
        for worker in [0, 1, 255] {
            assert!([1, 2, 255, 256, 1 << 40].into_iter().all(|count| seen.insert(answered.nonce(worker, count))));
        }
    }
}

/// Else everybody who gets a cookie could find addresses that take the places of others.
#[test]
fn what_hides_places_is_in_no_nonce() {
    let [one, other] = [1, 2].map(|key| Answered::new([5; 16], key, 1, NOW));
    assert_eq!(one.nonce(3, 4), other.nonce(3, 4));
    let moved = (0..=255).filter(|&host| one.place(remote(host)) != other.place(remote(host))).count();
    assert!(moved > 250, "{moved} of 256 have another place with another key");
    let reseeded = Answered::new([6; 16], 1, 1, NOW);
    assert!((0..=255).all(|host| one.place(remote(host)) == reseeded.place(remote(host))));
}

#[test]
fn an_address_is_first_again_after_a_second() {
    let answered = answered(3);
    let first = |now, host| answered.is_first(now, remote(host));
    assert!(first(NOW, 1) && !first(NOW, 1) && first(NOW, 2));
    assert!(!first(NOW + Duration::from_millis(999), 1));
    assert!(first(NOW + Duration::from_millis(1_000), 1));
    let hosts = (0..=255).filter(|&host| first(NOW + Duration::from_secs(9), host)).count();
    assert!(hosts > 240, "addresses get in each other's way rarely: {hosts} of 256");
}

#[test]
fn the_places_of_peers_are_known() {
    let sender = Sender::new(true);
    assert!(sender.gate.is_peers(remote(255)) && !sender.gate.is_peers(remote(1)));
    assert!(!Sender::new(false).gate.is_peers(remote(255)));
}

#[test]
fn load_lasts_for_a_second_after_it_was_last_seen() {
    let load = Load::default();
    assert!(!load.is_on(NOW));
    load.note(NOW);
    load.note(NOW - Duration::from_millis(500));
    assert!(load.is_on(NOW + LOADED_FOR - Duration::from_nanos(1)) && !load.is_on(NOW + LOADED_FOR));
}

#[test]
fn zeros_are_no_proof() {
    let mut sender = Sender::new(true);
    sender.gate.load().note(NOW);
    let initiation = sender.initiation();
    assert_eq!(initiation[initiation.len() - MACS_LEN + MAC_LEN..], [0; MAC_LEN]);
    assert_eq!(sender.admit(&initiation), Admission::Unproven { sender_index: SENDER });
}
