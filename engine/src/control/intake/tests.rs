use ringfort_core::crypto::{self, PrivateKey};
use ringfort_core::gate::Proof;
use ringfort_core::ids::Endpoint;

use super::*;

const INITIATION_LEN: usize = 148;
const RESPONSE_LEN: usize = 92;
const COOKIE_REPLY_LEN: usize = 64;
const START: Time = Time::from_secs(100);

/// A device that is up and has a key, and what is sent to it.
struct Place {
    intake: Intake,
    device: Device,
    mac1_key: [u8; 32],
    queue: VecDeque<HandshakeMessage>,
}

impl Place {
    fn new() -> Self {
        let key = PrivateKey::new([7; 32]);
        let mac1_key = crypto::hash(&[b"mac1----", key.public_key().as_bytes()]);
        let mut device = Device::new(1);
        device.set_private_key(START, Some(key));
        device.link_up(START);
        Self { intake: Intake::new(), device, mac1_key, queue: VecDeque::new() }
    }

    fn push(&mut self, message: &[u8]) {
        let endpoint = Endpoint::new("192.0.2.1:51820".parse().unwrap());
        self.queue.push_back(HandshakeMessage::new(endpoint, message, Proof::Unasked).unwrap());
    }

    /// Messages of anybody who knows the public key.
    fn push_plausible(&mut self, count: usize) {
        for number in 0..count {
            let mut message = [0; INITIATION_LEN];
            message[0] = 1;
            message[8..16].copy_from_slice(&number.to_le_bytes());
            let (covered, macs) = message.split_at_mut(INITIATION_LEN - 32);
            macs[..16].copy_from_slice(&crypto::mac(&self.mac1_key, &[covered]));
            self.push(&message);
        }
    }

    fn fill(&mut self) {
        let Self { intake, device, queue, .. } = self;
        intake.fill(START, device, || queue.pop_front(), |_, _, _| {});
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.device.drops().get(reason)
    }
}

/// The kernel's `wg_receive_handshake_packet`: from an eighth of the queue on.
#[test]
fn load_begins_with_the_256th() {
    let mut place = Place::new();
    place.push_plausible(255);
    place.fill();
    assert!(!place.intake.is_crowded());
    place.push_plausible(1);
    place.fill();
    assert!(place.intake.is_crowded());
    assert!(place.intake.next().is_some() && !place.intake.is_crowded());
}

/// Whatever anybody sends who does not know our key, or answers what we did not ask, is no load.
#[test]
fn nonsense_is_no_load() {
    let mut place = Place::new();
    place.push_plausible(1);
    place.fill();
    for _ in 0..100 {
        for _ in 0..SCREENED_PER_TURN / 4 {
            place.push(&[&[1, 0, 0, 0][..], &[0xa5; INITIATION_LEN - 4]].concat());
            place.push(&[&[2, 0, 0, 0][..], &[0xa5; RESPONSE_LEN - 4]].concat());
            place.push(&[&[3, 0, 0, 0][..], &[0xa5; COOKIE_REPLY_LEN - 4]].concat());
            place.push(&[9; 100]);
        }
        place.fill();
        assert_eq!((place.queue.len(), place.intake.waiting()), (0, 1));
    }
    assert!(!place.intake.is_crowded() && place.intake.next().is_some());
    let each = 100 * SCREENED_PER_TURN as u64 / 4;
    let dropped =
        [DropReason::BadMac1, DropReason::UnknownIndex, DropReason::UnknownType].map(|reason| place.dropped(reason));
    assert_eq!(dropped, [2 * each, each, each]);
}

/// An answer counts if it knows our key and is to something that we have asked.
#[test]
fn answers_to_nobody_are_no_load() {
    let mut place = Place::new();
    let mut message = [0; RESPONSE_LEN];
    message[0] = 2;
    let (covered, macs) = message.split_at_mut(RESPONSE_LEN - 32);
    macs[..16].copy_from_slice(&crypto::mac(&place.mac1_key, &[covered]));
    place.push(&message);
    place.fill();
    assert_eq!((place.intake.waiting(), place.dropped(DropReason::UnknownIndex)), (0, 1));
}

#[test]
fn a_turn_and_what_waits_are_bounded() {
    let mut place = Place::new();
    place.push_plausible(HANDSHAKES_WAITING + SCREENED_PER_TURN);
    place.fill();
    assert_eq!(place.intake.waiting(), SCREENED_PER_TURN);
    for _ in 0..10 {
        place.fill();
    }
    assert_eq!((place.intake.waiting(), place.queue.len()), (HANDSHAKES_WAITING, SCREENED_PER_TURN));
}

/// Whether load begins while so many messages come within so many seconds, each at a moment of its own, and control
/// answers 3,600 in a second (AMD Zen 3).
fn load_begins(messages: u64, seconds: u64) -> bool {
    const ANSWERED_PER_SECOND: u64 = 3_600;
    let mut place = Place::new();
    place.push_plausible(1);
    let message = place.queue.pop_front().expect("it was pushed just now");
    let span_ms = seconds * 1_000;
    let mut arrivals = vec![0; span_ms as usize];
    // A generator of the same numbers in every run (Knuth's MMIX).
    let mut state = 7_u64;
    for _ in 0..messages {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        arrivals[((state >> 33) % span_ms) as usize] += 1;
    }
    (0_u64..).zip(arrivals).any(|(ms, count)| {
        (0..count).for_each(|_| place.queue.push_back(message));
        place.fill();
        // What was not used of a millisecond is not saved up.
        let due = ((ms + 1) * ANSWERED_PER_SECOND / 1_000 - ms * ANSWERED_PER_SECOND / 1_000) as usize;
        (0..due).for_each(|_| _ = place.intake.next());
        place.intake.is_crowded()
    })
}

/// Their sessions began together, and they ask for the next ones within the 15 s that the core spreads them over.
#[test]
fn ten_thousand_peers_that_renew_their_sessions_are_no_load_and_a_crowd_that_all_come_at_once_is() {
    assert!(!load_begins(10_000, 15));
    assert!(!load_begins(10_000, 4));
    assert!(load_begins(10_000, 2));
}
