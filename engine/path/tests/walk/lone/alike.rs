//! Whatever comes in whatever order: opened together or one by one, the same comes of it.

use proptest::prelude::*;
use ringfort_aead::Provider;
use ringfort_core::device::PeerEvent;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_path::Counters;

use super::world::{Datagrams, NOBODY, PEERS, SESSIONS, SUITES, UNKNOWN, World, inner};
use crate::rig::{NOW, RECEIVER, SENDER, events, filled, packet, transmits, writes};

/// What happens to a worker in a turn.
#[derive(Clone, Debug)]
enum Step {
    /// Messages come side by side; more comes in this turn, or nothing.
    Receive { messages: Vec<Sealed>, from: u8, ecn: u8, others_follow: bool },
    /// Bytes that are no data message, of that length.
    Strange { kind: u8, len: usize },
    /// The second session begins, which control says while the turn goes on.
    Begins,
    /// One ends likewise.
    Ends(usize),
}

#[derive(Clone, Debug)]
struct Sealed {
    session: usize,
    counter: u64,
    what: What,
    is_forged: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Keepalive,
    /// A packet with that many bytes of payload.
    Packet(usize),
    OfNobody,
    NotIp,
}

/// All that anybody can see of a worker and its peers.
#[derive(Debug, PartialEq)]
struct Seen {
    written: Vec<Vec<u8>>,
    counters: Counters,
    worthless: u64,
    events: Vec<PeerEvent>,
    sent: Vec<(PeerId, usize, Endpoint)>,
    handshakes: Vec<Vec<u8>>,
    sessions: usize,
    /// What is shared of each peer, as text.
    peers: Vec<String>,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        2 => Just(What::Keepalive),
        8 => (1..50usize).prop_map(What::Packet),
        1 => Just(What::OfNobody),
        1 => Just(What::NotIp),
    ]
}

fn sealed() -> impl Strategy<Value = Sealed> {
    let session = prop_oneof![6 => Just(0), 4 => Just(1), 4 => Just(2), 1 => Just(UNKNOWN)];
    (session, 0..40u64, what(), prop::bool::weighted(0.1)).prop_map(|(session, counter, what, is_forged)| Sealed {
        session,
        counter,
        what,
        is_forged,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let messages = prop_oneof![9 => prop::collection::vec(sealed(), 1), 1 => prop::collection::vec(sealed(), 2..4)];
    let from = prop_oneof![4 => Just(1), 1 => 2..4u8];
    let ecn = prop_oneof![4 => Just(0), 1 => 1..4u8];
    let receive = (messages, from, ecn, prop::bool::weighted(0.9));
    let receive =
        receive.prop_map(|(messages, from, ecn, others_follow)| Step::Receive { messages, from, ecn, others_follow });
    prop_oneof![
        30 => receive,
        1 => (0..6u8, 1..150usize).prop_map(|(kind, len)| Step::Strange { kind, len }),
        1 => Just(Step::Begins),
        1 => (0..SESSIONS.len()).prop_map(Step::Ends),
    ]
}

fn datagrams(world: &World, messages: &[Sealed], from: u8, ecn: u8) -> Datagrams {
    let messages: Vec<_> = messages.iter().map(|message| bytes(world, message)).collect();
    let stride = messages[0].len();
    // What does not fit into a train of the first is cut off, or left out.
    let mut bytes = messages[0].clone();
    for message in &messages[1..] {
        bytes.extend(&message[..message.len().min(stride)]);
        if message.len() < stride {
            break;
        }
    }
    Datagrams { bytes, stride, from, ecn }
}

fn bytes(world: &World, &Sealed { session, counter, what, is_forged }: &Sealed) -> Vec<u8> {
    let source = SESSIONS.get(session).map_or(NOBODY, |known| PEERS[known.0]);
    let plaintext = match what {
        What::Keepalive => Vec::new(),
        What::Packet(len) => inner(source, &vec![counter as u8; len]),
        What::OfNobody => inner(NOBODY, &[0; 9]),
        What::NotIp => vec![0xff; 32],
    };
    let mut message = world.seal(session, counter, &plaintext);
    let len = message.len();
    message[len - 1] ^= u8::from(is_forged);
    message
}

/// What is seen after all steps. `together`: messages wait for those that follow.
fn seen(cipher: (Provider, ringfort_aead::Suite), steps: &[Step], together: bool) -> Seen {
    let mut world = World::new(cipher);
    // Some packets wait for the session that the peer has to confirm.
    for _ in 0..2 {
        let read = filled(&world.path, ringfort_path::budget::line::TUN_READS, &packet(RECEIVER, SENDER, b"waits"));
        assert_eq!(world.path.handle_packet(NOW, read), ringfort_path::Outcome::Done);
    }
    for step in steps {
        match step {
            Step::Receive { messages, from, ecn, others_follow } => {
                let datagrams = datagrams(&world, messages, *from, *ecn);
                world.receive(&datagrams, together && *others_follow);
            }
            &Step::Strange { kind, len } => {
                let bytes = [vec![kind, 0, 0, 0], vec![7; len]].concat();
                world.receive(&Datagrams { stride: bytes.len(), bytes, from: 1, ecn: 0 }, together);
            }
            Step::Begins => {
                let order = world.begin(1);
                world.mailbox.push_back(order);
            }
            Step::Ends(session) => world.mailbox.push_back(World::end(*session)),
        }
    }
    let written = writes(&mut world.path);
    let path = &mut world.path;
    let sent =
        transmits(path).iter().map(|transmit| (transmit.peer, transmit.datagrams(), transmit.endpoint)).collect();
    let (events, handshakes) = (events(path), std::iter::from_fn(|| path.poll_handshake()));
    Seen {
        written,
        events,
        sent,
        handshakes: handshakes.map(|message| message.bytes().to_vec()).collect(),
        counters: path.counters().clone(),
        worthless: path.worthless(),
        sessions: path.sessions(),
        peers: world.cells.iter().map(|cell| format!("{cell:?} {:?} {:?}", cell.endpoint(), cell.shared())).collect(),
    }
}

fn ciphers() -> Vec<(Provider, ringfort_aead::Suite)> {
    let all = SUITES.into_iter().flat_map(|suite| Provider::available(suite).map(move |provider| (provider, suite)));
    all.filter(|(provider, _)| !cfg!(miri) || *provider == Provider::RustCrypto).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn together_and_one_by_one_are_alike(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 8 } else { 80 }),
        which in any::<prop::sample::Index>(),
    ) {
        let ciphers = ciphers();
        let cipher = ciphers[which.index(ciphers.len())];
        prop_assert_eq!(seen(cipher, &steps, true), seen(cipher, &steps, false));
    }
}
