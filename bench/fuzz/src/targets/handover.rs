//! The state of a gateway that another process has written: any bytes at all are refused, or are a device.
//!
//! The input: how many workers there are (one byte), then the body of a state. The header, with its checksum, is the
//! harness's. A device that comes of it can be asked everything, and what it would hand over is read again as it is.

use std::sync::Arc;

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::cell::{PeerCell, PeerShared, Receiver};
use ringfort_core::crypto::{Portable, PrivateKey, PublicKey, hash};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::handover::{HEADER_LEN, Handover, Progress, ReceiverReport, VERSION};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::noise::NewSession;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::{Now, Time};

use crate::Seed;
use crate::rng::Repeatable;

/// When seeds were written, and when they are read.
const WRITTEN: Time = Time::from_secs(1_000);
const READ: Time = Time::from_secs(1_001);

fn at(mono: Time) -> Now {
    Now { mono, wall: Tai64N::from_unix(1_800_000_000, 0) }
}

pub(super) fn run(data: &[u8]) {
    let Some((&workers, body)) = data.split_first() else { return };
    let bytes = with_header(body);
    assert!(Handover::read(body).is_err() || body.starts_with(b"ringfort"), "a body is no state");
    let Ok(handover) = Handover::read(&bytes) else { return };
    // What was read is written as it was.
    let mut again = vec![0; handover.encoded_len()];
    handover.write(&mut again);
    let read_again = Handover::read(&again).expect("our own");
    assert_eq!(handover.counts(), read_again.counts());
    let Ok(mut device) = Device::take_over(READ, workers.max(1), &Portable, None, handover) else { return };
    let mut progress = Progress::default();
    let mut rng = Repeatable::new(1);
    carry_out(&mut device, &mut progress);
    device.handle_timeout(at(READ), &mut rng);
    device.settle(at(READ), &mut rng);
    carry_out(&mut device, &mut progress);
    let _ = device.hand_over(READ, &progress, []);
}

fn with_header(body: &[u8]) -> Vec<u8> {
    let header =
        [&b"ringfort"[..], &VERSION.to_le_bytes(), &(body.len() as u64).to_le_bytes(), &hash(&[body])].concat();
    assert_eq!(header.len(), HEADER_LEN);
    [&header, body].concat()
}

/// Does what workers would, and returns what would be sent.
fn carry_out(device: &mut Device, progress: &mut Progress) -> Vec<Vec<u8>> {
    let (mut sent, mut count) = (Vec::new(), 0);
    while let Some(action) = device.poll_action() {
        count += 1;
        assert!(count < 1_000_000, "it does not come to an end");
        match action {
            Action::BeginSession { peer, number, created, session } => {
                let NewSession { local_index, remote_index, initiator, .. } = *session;
                let cell = Arc::new(PeerCell::new(peer, Arc::new(PeerShared::new(1))));
                let receive = ReceiveSession::new((), local_index, created, initiator);
                let send = SendSession::new((), local_index, remote_index, created, initiator);
                let (receiver, state) = Receiver::new(cell.clone(), number, receive, send);
                state.map(|state| cell.advance(state));
                progress.note_receiver(ReceiverReport::of(&receiver));
                progress.note_cell(&cell);
            }
            Action::Outgoing(Outgoing::Send { datagram, .. }) => sent.push(datagram.as_ref().to_vec()),
            _ => {}
        }
    }
    sent
}

/// Two devices that know each other.
fn pair() -> [(Device, PeerId); 2] {
    let keys = [1, 2].map(|number| PrivateKey::new([number; 32]));
    let public = keys.each_ref().map(PrivateKey::public_key);
    let mut ends = keys.into_iter().zip([public[1], public[0]]).zip(1..).map(|((own, other), last)| {
        let mut device = Device::new(2);
        device.set_private_key(WRITTEN, Some(own));
        device.link_up(WRITTEN);
        let peer = device.add_peer(other).expect("another key");
        device.set_endpoint(WRITTEN, peer, endpoint(last).remote);
        device.insert_allowed_ip(peer, Prefix::new([10, 0, last, 0].into(), 24).expect("a prefix"));
        (device, peer)
    });
    [ends.next().expect("two"), ends.next().expect("two")]
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint::new(([192, 0, 2, last], 51_820).into())
}

fn body_of(device: &Device, progress: &Progress, packets: Vec<(u8, PeerId, Vec<u8>)>) -> Vec<u8> {
    let handover = device.hand_over(WRITTEN, progress, packets).expect("all is told");
    let mut bytes = vec![0; handover.encoded_len()];
    handover.write(&mut bytes);
    [&[2], &bytes[HEADER_LEN..]].concat()
}

pub(super) fn seeds() -> Vec<Seed> {
    let (mut rng, nothing) = (Repeatable::new(7), Progress::default());
    let empty = Device::new(1);
    let [(mut one, one_s_peer), (mut other, _)] = pair();
    let (mut told, mut told_other) = (Progress::default(), Progress::default());
    carry_out(&mut one, &mut told);
    carry_out(&mut other, &mut told_other);
    let peers = body_of(&one, &told, Vec::new());
    let event = PeerEvent::NeedHandshake { peer: one_s_peer, reason: HandshakeReason::NoSession };
    one.handle_event(at(WRITTEN), event, &mut rng);
    let initiations = carry_out(&mut one, &mut told);
    let waits = body_of(&one, &told, vec![(1, one_s_peer, vec![0x45; 28])]);
    for initiation in initiations {
        let _ = other.handle_datagram(at(WRITTEN), endpoint(1), &initiation, false, &mut rng);
    }
    for response in carry_out(&mut other, &mut told_other) {
        let _ = one.handle_datagram(at(WRITTEN), endpoint(2), &response, false, &mut rng);
    }
    carry_out(&mut one, &mut told);
    let passive = {
        let mut device = Device::new(1);
        device.set_private_key(WRITTEN, Some(PrivateKey::new([9; 32])));
        device.set_passive(WRITTEN, true);
        let _ = device.add_peer(PublicKey::new([5; 32]));
        carry_out(&mut device, &mut Progress::default());
        body_of(&device, &nothing, Vec::new())
    };
    vec![
        Seed::new("nothing", body_of(&empty, &nothing, Vec::new())),
        Seed::new("a-peer", peers),
        Seed::new("a-handshake-and-a-packet", waits),
        Seed::new("the-initiator-s-session", body_of(&one, &told, Vec::new())),
        Seed::new("the-responder-s-session", body_of(&other, &told_other, Vec::new())),
        Seed::new("passive", passive),
    ]
}
