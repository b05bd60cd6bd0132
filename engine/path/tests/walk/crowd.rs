//! In a large table of routes, packets are routed together, and sessions remember a source. Nothing else may differ.

use std::net::IpAddr;

use proptest::prelude::*;
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_path::{DataPath, Order, Outcome, bare, budget};

use crate::allocation::allocations;
use crate::rig::{
    NOW, PEER, RECEIVER, SENDER, events, filled, packet, pair, received, route, super_packet, transmits, writes,
};

/// Somebody else, whom no gateway here knows.
const OTHER: PeerId = PeerId { index: 7, generation: 0 };
const NOBODYS: [u8; 4] = [192, 0, 2, 99];
const OTHERS: [u8; 4] = [172, 16, 0, 1];

/// These routes, in a table that takes itself for large.
fn in_a_crowd(mut routes: AllowedIps) -> AllowedIps {
    routes.insert(Prefix::new(IpAddr::from(OTHERS), 32).unwrap(), OTHER);
    routes.with_large_from(1)
}

fn give(path: &mut DataPath, routes: AllowedIps) {
    assert_eq!(path.handle_order(NOW, Order::Routes { routes, version: 2 }), Outcome::Done);
}

fn read(path: &mut DataPath, packet: &[u8]) {
    let read = filled(path, budget::line::TUN_READS, packet);
    assert_eq!(path.handle_packet(NOW, read), Outcome::Done);
}

/// What leaves, as bytes.
fn left(path: &mut DataPath) -> Vec<(Vec<u8>, usize)> {
    path.flush(NOW);
    transmits(path).iter().map(|transmit| (transmit.view.to_vec(), transmit.stride)).collect()
}

/// All that a gateway is seen to do: datagrams with their strides, packets for the TUN, what control is told, drops of
/// each kind.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    left: Vec<(Vec<u8>, usize)>,
    told: Vec<Vec<u8>>,
    events: Vec<PeerEvent>,
    drops: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// To one of these, with so many bytes.
    Lone([u8; 4], u8),
    Super,
    EndOfTurn,
    Keepalive,
    /// The address of the peer is its own, or somebody else's.
    Route(PeerId),
    RemovePeer,
    AddPeer,
}

/// Reads of a turn, for which there are slots for sure.
const READS_MAX: usize = 20;

fn walk(steps: &[Step], is_large: bool) -> Seen {
    let routes = |peer| {
        let mut routes = route(OTHERS, OTHER);
        routes.insert(Prefix::new(IpAddr::from(RECEIVER), 32).unwrap(), peer);
        if is_large { in_a_crowd(routes) } else { routes }
    };
    let (mut sender, _) = pair();
    let (path, cell, mut seen, mut reads) = (&mut sender.workers[0], &sender.cell, Seen::default(), 0);
    give(path, routes(PEER));
    for &step in steps.iter().chain([&Step::EndOfTurn]) {
        let order = match step {
            Step::Lone(to, len) => {
                read(path, &packet(SENDER, to, &vec![len; len.into()]));
                None
            }
            Step::Super => {
                read(path, &super_packet(3));
                None
            }
            Step::EndOfTurn => None,
            Step::Keepalive => Some(Order::SendKeepalive { peer: PEER }),
            Step::Route(peer) => Some(Order::Routes { routes: routes(peer), version: 2 }),
            Step::RemovePeer => Some(Order::RemovePeer { peer: PEER }),
            Step::AddPeer => Some(Order::AddPeer(cell.clone())),
        };
        reads += 1;
        if let Some(order) = order {
            assert_eq!(path.handle_order(NOW, order), Outcome::Done);
        }
        if reads == READS_MAX || matches!(step, Step::EndOfTurn | Step::Super) {
            reads = 0;
            seen.left.extend(left(path));
            seen.told.extend(writes(path));
            seen.events.extend(events(path));
            assert_eq!(path.pool().accounting().held, 0, "all slots have come home");
        }
    }
    seen.drops = DropReason::ALL.iter().map(|&reason| path.counters().drops.get(reason)).collect();
    seen
}

fn arb_step() -> impl Strategy<Value = Step> {
    let to = prop_oneof![6 => Just(RECEIVER), 1 => Just(OTHERS), 1 => Just(NOBODYS)];
    prop_oneof![
        24 => (to, prop_oneof![Just(40), 1_u8..80]).prop_map(|(to, len)| Step::Lone(to, len)),
        2 => Just(Step::Super),
        2 => Just(Step::EndOfTurn),
        1 => Just(Step::Keepalive),
        1 => Just(Step::Route(OTHER)),
        2 => Just(Step::Route(PEER)),
        1 => Just(Step::RemovePeer),
        2 => Just(Step::AddPeer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn packets_leave_as_with_a_small_table(steps in proptest::collection::vec(arb_step(), 1..120)) {
        prop_assert_eq!(walk(&steps, true), walk(&steps, false));
    }
}

#[test]
fn what_was_read_is_routed_before_an_order_takes_effect() {
    let (mut sender, _) = pair();
    let path = &mut sender.workers[0];
    give(path, in_a_crowd(route(RECEIVER, PEER)));
    read(path, &packet(SENDER, RECEIVER, b"before"));
    give(path, in_a_crowd(route(RECEIVER, OTHER)));
    read(path, &packet(SENDER, RECEIVER, b"after"));
    assert_eq!(left(path).len(), 1);
    assert_eq!(path.counters().drops.get(DropReason::Down), 1, "of a peer that is not there");
}

#[test]
fn a_source_is_remembered_no_longer_than_its_route() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let refused = |receiver: &DataPath| receiver.counters().drops.get(DropReason::SourceNotAllowed);
    let mut exchange = |receiver: &mut DataPath, source| {
        read(sender, &packet(source, RECEIVER, b"hello"));
        sender.flush(NOW);
        for transmit in transmits(sender) {
            let train = received(receiver, &transmit);
            receiver.handle_train(NOW, train, &mut || None);
        }
        writes(receiver).len()
    };
    give(receiver, in_a_crowd(route(SENDER, PEER)));
    for _ in 0..2 {
        assert_eq!(exchange(receiver, SENDER), 1);
    }
    assert_eq!(exchange(receiver, OTHERS), 0);
    assert_eq!(exchange(receiver, NOBODYS), 0);
    assert_eq!(refused(receiver), 2);
    assert_eq!(exchange(receiver, SENDER), 1);
    for (round, is_large) in [true, false, true].into_iter().enumerate() {
        let routes = |peer| if is_large { in_a_crowd(route(SENDER, peer)) } else { route(SENDER, peer) };
        give(receiver, routes(OTHER));
        assert_eq!(exchange(receiver, SENDER), 0, "it has gone to somebody else");
        assert_eq!(refused(receiver), 3 + round as u64);
        give(receiver, routes(PEER));
        assert_eq!(exchange(receiver, SENDER), 1, "and has come back");
    }
}

#[test]
fn each_source_of_a_train_is_asked_for() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    give(receiver, in_a_crowd(route(SENDER, PEER)));
    for source in [SENDER, SENDER, OTHERS, SENDER, NOBODYS, SENDER] {
        read(sender, &packet(source, RECEIVER, &[1; 100]));
    }
    sender.flush(NOW);
    let sent = transmits(sender);
    assert_eq!(sent.iter().map(|transmit| transmit.datagrams()).collect::<Vec<_>>(), [6]);
    let train = received(receiver, &sent[0]);
    receiver.handle_train(NOW, train, &mut || None);
    assert_eq!(receiver.counters().drops.get(DropReason::SourceNotAllowed), 2);
    writes(receiver);
    assert_eq!(receiver.counters().tun_write_packets, 4);
}

#[test]
fn nothing_is_allocated_in_a_crowd() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    give(sender, in_a_crowd(route(RECEIVER, PEER)));
    give(receiver, in_a_crowd(route(SENDER, PEER)));
    let (mut sent, mut pieces) = (Vec::with_capacity(64), Vec::with_capacity(64));
    for round in 0..3 {
        let packet = packet(SENDER, RECEIVER, &[2; 64]);
        let mut reads: Vec<_> = (0..30).map(|_| filled(sender, budget::line::TUN_READS, &packet)).collect();
        let going_out = allocations(|| bare::turn_out(sender, NOW, &mut reads, &mut sent));
        let mut trains: Vec<_> = sent.drain(..).map(|transmit| received(receiver, &transmit)).collect();
        let coming_in = allocations(|| bare::turn_in(receiver, NOW, &mut trains, &mut pieces));
        // The first round may still find something that is made when it is first used.
        if round > 0 {
            assert_eq!((going_out, coming_in), (0, 0), "round {round}");
        }
    }
    assert_eq!(receiver.counters().tun_write_packets, 90);
}
