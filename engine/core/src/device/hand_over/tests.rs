use super::*;
use crate::allowed_ips::Prefix;
use crate::cell::{PeerCell, PeerShared, Receiver};
use crate::crypto::{Portable, PresharedKey};
use crate::device::{HandshakeReason, Outgoing, PeerEvent};
use crate::handover::{HEADER_LEN, ReadError, ReceiverReport, VERSION};
use crate::ids::Endpoint;
use crate::keypair::{ReceiveSession, SendSession};
use crate::node::Node;
use crate::noise::NewSession;
use crate::test_support::SeededRng;

const NOW: Time = Time::from_secs(1_000);
const LATER: Time = Time::from_secs(1_001);
/// What came under each session.
const COUNTERS: [u64; 5] = [0, 1, 2, 70, 9_000];
/// What did not.
const MISSING: u64 = 8_996;

fn now(mono: Time) -> Now {
    Now { mono, wall: Tai64N::from_unix(1_800_000_000 + mono.as_nanos() / 1_000_000_000, 0) }
}

/// A device whose workers do nothing but keep what they are given.
struct Side {
    device: Device,
    key: PublicKey,
    rng: SeededRng,
    shared: Vec<(PeerId, Arc<PeerShared>)>,
    progress: Progress,
    sent: Vec<Vec<u8>>,
    resumed: usize,
    offered: Vec<(u8, Box<[u8]>)>,
}

impl Side {
    fn new(number: u8) -> Self {
        let private = PrivateKey::new([number; 32]);
        let (key, mut device) = (private.public_key(), Device::new(2));
        device.set_private_key(NOW, Some(private));
        device.link_up(NOW);
        Self::of(device, key, number)
    }

    fn of(device: Device, key: PublicKey, number: u8) -> Self {
        let (shared, progress, sent) = (Vec::new(), Progress::default(), Vec::new());
        Self {
            device,
            key,
            rng: SeededRng::new(number.into()),
            shared,
            progress,
            sent,
            resumed: 0,
            offered: Vec::new(),
        }
    }

    fn add(&mut self, key: PublicKey, last: u8) -> PeerId {
        let peer = self.device.add_peer(key).unwrap();
        self.device.set_endpoint(NOW, peer, endpoint(last).remote);
        self.device.insert_allowed_ip(peer, Prefix::new([10, 0, last, 0].into(), 24).unwrap());
        peer
    }

    fn ask(&mut self, peer: PeerId) {
        let event = PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession };
        self.device.handle_event(now(NOW), event, &mut self.rng);
        self.work();
    }

    fn hear(&mut self, message: &[u8]) {
        self.device.handle_datagram(now(NOW), endpoint(9), message, false, &mut self.rng).unwrap();
        self.work();
    }

    /// Carries out what was decided.
    fn work(&mut self) {
        while let Some(action) = self.device.poll_action() {
            match action {
                Action::AddPeer { peer, shared } => self.shared.push((peer, shared)),
                Action::BeginSession { peer, number, created, session } => {
                    let NewSession { local_index, remote_index, initiator, .. } = *session;
                    let (_, shared) = self.shared.iter().find(|(id, _)| *id == peer).unwrap();
                    let cell = Arc::new(PeerCell::new(peer, shared.clone()));
                    let receive = ReceiveSession::new((), local_index, created, initiator);
                    let send = SendSession::new((), local_index, remote_index, created, initiator);
                    let (mut receiver, state) = Receiver::new(cell.clone(), number, receive, send);
                    state.map(|state| cell.advance(state));
                    for counter in COUNTERS {
                        receiver.session.accept(counter).unwrap();
                    }
                    if let Some(session) = cell.sending().session() {
                        session.reserve(NOW, 17).unwrap();
                    }
                    self.progress.note_receiver(ReceiverReport::of(&receiver));
                    self.progress.note_cell(&cell);
                }
                Action::ResumeSession { peer, session, resumed, .. } => {
                    self.resumed += 1;
                    self.progress.note_resumed(peer, session.local_index, *resumed);
                }
                Action::Offer { worker, packet, .. } => self.offered.push((worker, packet)),
                Action::Outgoing(Outgoing::Send { datagram, .. }) => self.sent.push(datagram.as_ref().to_vec()),
                _ => {}
            }
        }
    }

    fn hand_over(&self, packets: Vec<(u8, PeerId, Vec<u8>)>) -> Vec<u8> {
        let handover = self.device.hand_over(NOW, &self.progress, packets).unwrap();
        let mut bytes = vec![0; handover.encoded_len()];
        handover.write(&mut bytes);
        bytes
    }

    fn take_over(&self, bytes: &[u8]) -> Self {
        let device = Device::take_over(LATER, 3, &Portable, None, Handover::read(bytes).unwrap()).unwrap();
        let mut side = Self::of(device, self.key, 77);
        side.work();
        side
    }
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint::new(([192, 0, 2, last], 51_820).into())
}

/// A device with a session, one that awaits confirmation, one that it asks for, and all settings; and its peer.
fn busy() -> (Side, Side, PeerId) {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let (of_b, of_a) = (a.add(b.key, 2), b.add(a.key, 1));
    a.ask(of_b);
    b.hear(&a.sent.pop().unwrap());
    a.hear(&b.sent.pop().unwrap());
    let mut c = Side::new(3);
    let (of_c, at_c) = (a.add(c.key, 3), c.add(a.key, 1));
    c.ask(at_c);
    a.hear(&c.sent.pop().unwrap());
    let of_d = a.add(PrivateKey::new([4; 32]).public_key(), 4);
    a.ask(of_d);
    a.sent.clear();
    a.device.set_psk(of_c, PresharedKey::new([9; 32]));
    a.device.set_keepalive(NOW, of_b, 25);
    a.device.set_peer_name(b.key, Some("office, 2nd floor")).unwrap();
    a.device.set_peer_suite(NOW, PublicKey::new([8; 32]), Some(Suite::Aes256Gcm)).unwrap();
    a.device.set_peer_source(PublicKey::new([8; 32]), Some([192, 0, 2, 77].into())).unwrap();
    let remembered =
        Remembered { key: PublicKey::new([7; 32]), endpoint: endpoint(7), configured: None, gone_since: None };
    a.device.remember([remembered]);
    a.device.settle(now(NOW), &mut a.rng);
    a.work();
    _ = of_a;
    (a, b, of_d)
}

#[test]
fn a_device_goes_on_as_it_was() {
    let (a, _, waits) = busy();
    let bytes = a.hand_over(vec![(2, waits, vec![0x45; 100])]);
    let counts = Handover::read(&bytes).unwrap().counts();
    assert_eq!(counts, (3, 2, 1));
    let taken = a.take_over(&bytes);
    assert_eq!((taken.resumed, &*taken.offered), (2, &[(2, vec![0x45; 100].into_boxed_slice())][..]));
    let waits = *a.device.status(waits).unwrap().public_key();
    let again = taken.hand_over(vec![(2, taken.device.peer(&waits).unwrap(), vec![0x45; 100])]);
    assert!(again == bytes, "another process would hand over the same");
    assert_eq!(taken.device.indices(), a.device.indices());
    assert_eq!(taken.device.poll_timeout(), a.device.poll_timeout());
    assert!(taken.device.routes().lookup([10, 0, 3, 1].into()).is_some());
    assert_eq!(taken.device.peer_name(&PublicKey::new([8; 32])), None);
}

/// A session goes on with its window, and the worker that has it says again what is missing.
#[test]
fn what_is_missing_is_counted_once_and_judged_from_then_on() {
    let (a, b, _) = busy();
    let shared_of = |side: &Side| side.device.peers.get(side.device.peer(&b.key)?).map(|peer| peer.shared.clone());
    let shared = shared_of(&a).unwrap();
    shared.counters[1].received(7, 7 * 96);
    shared.counters[1].received_up_to(96, 10);
    let taken = a.take_over(&a.hand_over(Vec::new()));
    let shared = shared_of(&taken).unwrap();
    shared.counters[1].received_up_to(96, 10);
    assert_eq!((shared.traffic().rx_packets, shared.sizes().rx_missing), (7, 10));
    let judged = || {
        let peer = taken.device.status(taken.device.peer(&b.key).unwrap()).unwrap().snapshot(LATER);
        (peer.session_data.rx_packets, peer.sizes.rx_missing)
    };
    assert_eq!(judged(), (0, 0));
    shared.counters[1].received(2, 2 * 96);
    shared.counters[1].received_up_to(96, MISSING + 3);
    assert_eq!(judged(), (2, 3));
}

/// The old process may have heard of a move that it has not kept, and keeps nothing any more.
#[test]
fn where_peers_are_is_kept_by_the_new_process() {
    let (a, ..) = busy();
    a.device.take_moves();
    let taken = a.take_over(&a.hand_over(Vec::new()));
    assert!(taken.device.take_moves());
}

#[test]
fn an_answer_that_comes_later_is_taken() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let peer = a.add(b.key, 2);
    b.add(a.key, 1);
    a.ask(peer);
    let mut taken = a.take_over(&a.hand_over(Vec::new()));
    b.hear(&a.sent.pop().unwrap());
    taken.hear(&b.sent.pop().unwrap());
    let peer = taken.device.peer(&b.key).unwrap();
    assert!(taken.device.status(peer).unwrap().session(LATER).is_some());
}

/// What the index begins with that a message of ours names us by.
fn node_of(message: &[u8]) -> u8 {
    message[7] >> 4
}

#[test]
fn a_device_that_becomes_another_node_keeps_its_sessions_and_makes_new_ones_under_that_name() {
    let mut a = Side::new(1);
    a.device.set_node(NOW, Node::new(3, 4).unwrap());
    let (mut b, mut c) = (Side::new(2), Side::new(3));
    let (of_b, _) = (a.add(b.key, 2), b.add(a.key, 1));
    let (of_c, _) = (a.add(c.key, 3), c.add(a.key, 1));
    a.ask(of_b);
    b.hear(&a.sent.pop().unwrap());
    a.hear(&b.sent.pop().unwrap());
    a.ask(of_c);
    let asked = a.sent.pop().unwrap();
    assert_eq!(node_of(&asked), 3);
    a.device.settle(now(NOW), &mut a.rng);
    a.work();
    let mut taken = a.take_over(&a.hand_over(Vec::new()));
    taken.device.set_node(LATER, Node::new(12, 4).unwrap());
    taken.work();
    assert_eq!((taken.resumed, taken.device.indices()), (1, a.device.indices()));
    // What was asked under the former name is answered under it.
    c.hear(&asked);
    taken.hear(&c.sent.pop().unwrap());
    let of_c = taken.device.peer(&c.key).unwrap();
    assert!(taken.device.status(of_c).unwrap().session(LATER).is_some());
    let of_d = taken.add(PrivateKey::new([4; 32]).public_key(), 4);
    taken.ask(of_d);
    assert_eq!(node_of(&taken.sent.pop().unwrap()), 12);
}

#[test]
fn an_initiation_is_not_answered_twice() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let peer = a.add(b.key, 2);
    b.add(a.key, 1);
    a.ask(peer);
    let initiation = a.sent.pop().unwrap();
    b.hear(&initiation);
    let mut taken = b.take_over(&b.hand_over(Vec::new()));
    let result = taken.device.handle_datagram(now(LATER), endpoint(1), &initiation, false, &mut taken.rng);
    assert_eq!(result, Err(crate::drops::DropReason::HandshakeReplay));
}

#[test]
fn what_is_not_a_state_is_refused() {
    let (a, ..) = busy();
    let bytes = a.hand_over(Vec::new());
    for len in 0..bytes.len() {
        assert!(Handover::read(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(Handover::read(&[&bytes[..], &[0]].concat()).is_err());
    let mut other = bytes.clone();
    other[8] += 1;
    assert_eq!(Handover::read(&other).unwrap_err(), ReadError::OtherVersion { found: VERSION + 1 });
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Handover::read(&changed).is_err(), "byte {at}");
    }
}

/// Whoever computes the checksum of nonsense gets an error, or a device; never a panic.
#[test]
fn hostile_bytes_harm_nobody() {
    let (a, _, waits) = busy();
    let body = a.hand_over(vec![(1, waits, vec![0x45; 40])]).split_off(HEADER_LEN);
    let mut taken = 0;
    for at in 0..body.len() {
        for value in [0, 1, 0x7f, 0xff, body[at] ^ 0x10] {
            let mut changed = body.clone();
            changed[at] = value;
            let Ok(handover) = Handover::read_body(&changed) else { continue };
            // Agreements take their time: not for each byte and value.
            let is_taken = value == 0xff && at % 5 == 0;
            let taken_over = is_taken.then(|| Device::take_over(LATER, 2, &Portable, None, handover));
            taken += usize::from(taken_over.is_some_and(|result| result.is_ok()));
        }
        assert!(Handover::read_body(&body[..at]).is_err());
    }
    assert!(taken > 50, "most bytes are counters and keys: {taken}");
}

#[test]
fn a_state_of_another_clock_is_refused() {
    let (a, ..) = busy();
    let bytes = a.hand_over(Vec::new());
    for clock in [Time::from_secs(999), NOW + REJECT_AFTER_TIME] {
        let result = Device::take_over(clock, 2, &Portable, None, Handover::read(&bytes).unwrap());
        assert_eq!(result.err(), Some(TakeOverError::OtherClock));
    }
}

#[test]
fn a_session_that_nobody_reports_is_not_handed_over() {
    let (a, ..) = busy();
    let result = a.device.hand_over(NOW, &Progress::default(), []);
    assert!(matches!(result, Err(HandOverError::Unreported { .. })));
    let (mut a, _, peer) = busy();
    a.device.remove_peer(peer);
    assert_eq!(a.device.hand_over(NOW, &a.progress, []).err(), Some(HandOverError::Busy));
}

#[test]
fn nothing_of_it_is_shown() {
    let (a, ..) = busy();
    let handover = Handover::read(&a.hand_over(Vec::new())).unwrap();
    assert_eq!(format!("{handover:?}"), "Handover(3 peers, 2 sessions, 0 packets)");
}
