//! Which worker opens what, and when it knows that nobody can.

use std::collections::VecDeque;

use ringfort_core::crypto::PrivateKey;
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::owner;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::Now;
use ringfort_core::wire::{DATA_LEN_MIN, TYPE_DATA};
use ringfort_path::{DataPath, Order, Outcome, SessionOrder, Train, Unwatched, budget};

use crate::rig::{
    Gateway, INDEX, NOW, RECEIVER, SENDER, empty, endpoint, filled, packet, pair, received, transmits, writes,
};
use crate::rng::SeededRng;

#[test]
fn a_session_that_began_meanwhile_is_found_in_the_mailbox() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(1, SENDER, "192.0.2.1:51820");
    // Many other orders lie before it.
    let mut mailbox: VecDeque<_> = (0..1_000).map(|n| SessionOrder::End { local_index: n << 8 }).collect();
    mailbox.push_back(receiver.receiver(INDEX, false, NOW));
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    sender.flush(NOW);
    let train = received(receiver, &transmits(sender)[0]);
    receiver.handle_train(NOW, train, &mut || mailbox.pop_front());
    assert_eq!(writes(receiver).len(), 1);
    assert_eq!(receiver.counters().drops.total(), 0);
}

#[test]
fn a_train_for_another_worker_is_handed_over_once() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(2, SENDER, "192.0.2.1:51820");
    let session = receiver.receiver(INDEX, true, NOW);
    receiver.workers[0].handle_session(NOW, session);
    let sender = &mut sender.workers[0];
    for n in 0..3u8 {
        let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, &[n; 100]));
        assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    }
    sender.flush(NOW);
    let [first, second] = &mut receiver.workers[..] else { unreachable!("there are two") };
    let train = received(second, &transmits(sender)[0]);
    second.handle_train(NOW, train, &mut || unreachable!("another worker owns the index"));
    let (worker, handoff) = second.poll_handoff().expect("it is of no use here");
    assert_eq!((worker, handoff.datagrams), (0, 3));
    second.note_handoff(NOW, None);
    assert_eq!(second.counters().handoffs, 1);
    let (view, stride) = (handoff.parcel.arrive(), handoff.stride);
    first.handle_train(
        NOW,
        Train { view, stride, endpoint: handoff.endpoint, ecn: handoff.ecn, handed: true },
        &mut || None,
    );
    assert_eq!(writes(first).len(), 3);
    second.pool().drain_returns();
    assert_eq!(second.pool().accounting().held, 0, "the slot has come home");
}

#[test]
fn what_was_handed_over_in_vain_is_not_handed_on() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(2, SENDER, "192.0.2.1:51820");
    let sender = &mut sender.workers[0];
    let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    sender.flush(NOW);
    let second = &mut receiver.workers[1];
    let train = Train { handed: true, ..received(second, &transmits(sender)[0]) };
    second.handle_train(NOW, train, &mut || None);
    assert!(second.poll_handoff().is_none());
    assert_eq!(second.counters().drops.get(DropReason::UnknownIndex), 1);
}

/// The gate of a device, and an index that it has given to a peer.
fn gate_and_index() -> (Order, u32) {
    let (mut device, mut rng) = (Device::new(2), SeededRng::new(3));
    device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
    device.link_up(NOW);
    let peer = device.add_peer(PrivateKey::new([9; 32]).public_key()).expect("another key");
    device.set_endpoint(NOW, peer, "192.0.2.1:51820".parse().unwrap());
    let need = PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession };
    device.handle_event(Now { mono: NOW, wall: Tai64N::default() }, need, &mut rng);
    let (mut gate, mut index) = (None, None);
    while let Some(action) = device.poll_action() {
        match action {
            Action::Gate(new) => gate = Some(Order::Gate(new)),
            Action::Outgoing(Outgoing::Send { datagram, .. }) => {
                index = datagram.as_ref()[4..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            }
            _ => {}
        }
    }
    (gate.expect("there is a key"), index.expect("there is an endpoint"))
}

fn data(receiver: u32) -> [u8; DATA_LEN_MIN] {
    let mut message = [0x5a; DATA_LEN_MIN];
    message[..4].copy_from_slice(&[TYPE_DATA, 0, 0, 0]);
    message[4..8].copy_from_slice(&receiver.to_le_bytes());
    message
}

/// The program that steers a train to a worker looks at its first message. Anybody can have the kernel make a train of
/// messages for one worker and the other in turn.
#[test]
fn what_nobody_has_an_index_for_costs_no_other_worker_anything() {
    let (gate, index) = gate_and_index();
    let mut second = empty(1 - owner(index, 2), 2, Unwatched);
    assert_eq!(second.handle_order(NOW, gate), Outcome::Done);
    let free = second.pool().available(budget::line::HANDOFFS);
    let train = |path: &DataPath, bytes: &[u8]| Train {
        view: filled(path, budget::line::UDP_READS, bytes),
        stride: DATA_LEN_MIN,
        endpoint: endpoint("192.0.2.66:9"),
        ecn: 0,
        handed: false,
    };
    // Far from the index that there is, in all that is looked at.
    let strangers: Vec<u8> = (0..64).flat_map(|n| data(!index ^ n)).collect();
    let strange = train(&second, &strangers);
    second.handle_train(NOW, strange, &mut || None);
    assert!(second.poll_handoff().is_none());
    assert_eq!((second.counters().drops.get(DropReason::UnknownIndex), second.worthless()), (64, 64));
    assert_eq!(second.pool().available(budget::line::HANDOFFS), free);
    let ours = train(&second, &data(index));
    second.handle_train(NOW, ours, &mut || unreachable!("another worker owns the index"));
    assert!(second.poll_handoff().is_some(), "what somebody may have an index for goes to its owner");
}
