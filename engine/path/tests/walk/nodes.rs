//! One of several gateways: what it says of messages that are another's.

use std::sync::Arc;

use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::node::Node;
use ringfort_core::time::Time;
use ringfort_core::whereabouts::Whereabouts;
use ringfort_core::wire::{DATA_LEN_MIN, TYPE_DATA};
use ringfort_path::{DataPath, Order, Outcome, Train, Unwatched, budget};

use crate::rig::{
    Gateway, INDEX, NOW, PEER, RECEIVER, SENDER, empty_of, endpoint, events, filled, meet, packet, pair, received,
    transmits, writes,
};

const THERE: &str = "192.0.2.1:51820";

/// A gateway with two workers, of which this is the first.
fn worker_of(node: Node) -> (DataPath, Gateway) {
    let gateway = Gateway::new(2, SENDER, THERE);
    let mut path = empty_of(node, 0, 2, Unwatched);
    meet(&mut path, &gateway.cell, SENDER);
    (path, gateway)
}

fn node() -> Node {
    Node::new(2, 4).unwrap()
}

/// Takes a datagram under that index.
fn receive(path: &mut DataPath, index: u32) {
    let mut datagram = vec![TYPE_DATA, 0, 0, 0];
    datagram.extend(index.to_le_bytes());
    datagram.resize(DATA_LEN_MIN, 9);
    let view = filled(path, budget::line::UDP_READS, &datagram);
    let train = Train { view, stride: DATA_LEN_MIN, endpoint: endpoint(THERE), ecn: 0, handed: false };
    path.handle_train(NOW, train, &mut || None);
}

fn drops(path: &DataPath) -> [u64; 3] {
    [DropReason::UnknownIndex, DropReason::OtherNode, DropReason::Passive]
        .map(|reason| path.counters().drops.get(reason))
}

#[test]
fn what_is_of_another_node_has_a_name_of_its_own() {
    let (mut path, _) = worker_of(node());
    receive(&mut path, 0x2fff_ff00);
    assert_eq!(drops(&path), [1, 0, 0]);
    for index in [0x1fff_ff00, 0x3000_0000, 0xa000_0000] {
        receive(&mut path, index);
    }
    assert_eq!(drops(&path), [1, 3, 0]);
    // A stray for another worker goes there first, whoever's it is.
    receive(&mut path, 0x1fff_ff01);
    assert_eq!((drops(&path), path.poll_handoff().is_some()), ([1, 3, 0], true));
    assert_eq!(path.handle_order(NOW, Order::Passive(Some(NOW))), Outcome::Done);
    receive(&mut path, 0x1fff_ff00);
    assert_eq!(drops(&path), [1, 3, 1]);
}

/// It was handed over by a process that was another node, or none.
#[test]
fn a_session_that_is_here_is_served_whatever_its_index_begins_with() {
    let (mut sender, _) = pair();
    let (mut path, gateway) = worker_of(node());
    assert!(!node().owns(INDEX));
    path.handle_session(NOW, gateway.receiver(INDEX, true, NOW));
    let read = filled(&sender.workers[0], budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.workers[0].handle_packet(NOW, read), Outcome::Done);
    sender.workers[0].flush(NOW);
    let train = received(&path, &transmits(&mut sender.workers[0])[0]);
    path.handle_train(NOW, train, &mut || None);
    assert_eq!((writes(&mut path).len(), path.counters().drops.total()), (1, 0));
}

#[test]
fn the_session_of_a_node_that_is_gone_is_asked_for() {
    let (mut path, _) = worker_of(node());
    let table = Whereabouts::new(1, Time::from_secs(1_180));
    assert!(table.enter(endpoint(THERE).remote, PEER.index));
    assert_eq!(path.handle_order(NOW, Order::Recover(Some(Arc::new(table)))), Outcome::Done);
    receive(&mut path, 0x1fff_ff00);
    assert_eq!((events(&mut path), drops(&path)), (vec![PeerEvent::LostSession(PEER)], [0, 1, 0]));
}
