//! Messages that come alone in one turn are opened together, and nobody can tell.

mod alike;
mod world;

use std::time::Duration;

use ringfort_aead::Provider;
use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_path::{Order, Outcome, Stage, Train, bare, budget};

use crate::rig::{NOW, events, writes};
use world::{Datagrams, NOBODY, SESSIONS, SUITES, UNKNOWN, World, inner, peer, place};

const TOGETHER: [Stage; 4] = [Stage::Classify, Stage::Open, Stage::Check, Stage::Coalesce];

fn world() -> World {
    World::new((Provider::RustCrypto, SUITES[0]))
}

/// The last bytes of the packets that a world has for the TUN.
fn arrived(world: &mut World) -> Vec<u8> {
    writes(&mut world.path).iter().filter_map(|packet| packet.last().copied()).collect()
}

fn dropped(world: &World, reason: DropReason) -> u64 {
    world.path.counters().drops.get(reason)
}

#[test]
fn messages_of_one_session_are_opened_together_in_their_order() {
    let mut world = world();
    // Of lengths that no train has.
    for n in [3, 1, 2, 5, 4] {
        let message = world.data(0, n, &vec![n as u8; 10 * n as usize]);
        world.gather(message);
    }
    assert_eq!(world.path.watch().0, [], "all wait");
    assert_eq!(arrived(&mut world), [3, 1, 2, 5, 4]);
    assert_eq!(world.path.watch().0, TOGETHER);
    let counters = world.path.counters();
    assert_eq!((counters.udp_receive_datagrams, counters.udp_receive_trains.counts()[0]), (5, 5));
    assert_eq!(world.cells[0].shared().traffic().rx_packets, 5);
}

#[test]
fn the_last_of_a_turn_is_opened_with_those_that_wait_for_it() {
    let mut world = world();
    for n in 0..2 {
        let message = world.data(0, n, &[n as u8]);
        world.gather(message);
    }
    let bytes = world.data(0, 2, &[2]);
    world.receive(&Datagrams { stride: bytes.len(), bytes, from: 1, ecn: 0 }, false);
    assert_eq!(world.path.watch().0, TOGETHER);
    assert_eq!(world.path.counters().tun_write_packets, 3);
    assert_eq!(arrived(&mut world), [0, 1, 2]);
}

#[test]
fn forged_messages_and_replays_among_others_are_lost_alone() {
    let mut world = world();
    for (n, is_forged) in [(0, false), (1, true), (2, false), (2, false), (3, true), (0, false), (4, false)] {
        let mut message = world.data(0, n, &[n as u8]);
        message[40] ^= u8::from(is_forged);
        world.gather(message);
    }
    assert_eq!(arrived(&mut world), [0, 2, 4]);
    assert_eq!((dropped(&world, DropReason::BadTag), dropped(&world, DropReason::Replay)), (2, 2));
    // Neither a forged message nor a replay has spoilt a counter.
    let message = world.data(0, 1, &[1]);
    world.gather(message);
    assert_eq!(arrived(&mut world), [1]);
}

#[test]
fn messages_of_several_sessions_keep_their_order() {
    let mut world = world();
    for n in 0..6 {
        let message = world.data([0, 2][n as usize % 2], n, &[n as u8]);
        world.gather(message);
    }
    assert_eq!(arrived(&mut world), [0, 1, 2, 3, 4, 5]);
    assert_eq!(world.path.watch().0, TOGETHER);
    assert_eq!(world.cells.iter().map(|cell| cell.shared().traffic().rx_packets).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn a_session_that_ends_in_the_middle_of_a_turn_has_what_came_before() {
    let mut world = world();
    world.mailbox = [world.begin(1), World::end(0)].into();
    for (session, n) in [(0, 0), (0, 1), (1, 2), (0, 3), (1, 4)] {
        let message = world.data(session, n, &[n as u8]);
        world.gather(message);
    }
    assert_eq!(arrived(&mut world), [0, 1, 2, 4]);
    assert_eq!(dropped(&world, DropReason::UnknownIndex), 1);
    let told = events(&mut world.path);
    assert!(told.contains(&PeerEvent::Confirmed(peer(0))), "the new session is in use: {told:?}");
}

#[test]
fn what_waits_is_opened_before_an_order_takes_effect() {
    let mut world = world();
    for (session, n) in [(0, 0), (2, 1), (0, 2)] {
        let message = world.data(session, n, &[n as u8]);
        world.gather(message);
    }
    world.path.handle_session(NOW, World::end(0));
    let message = world.data(2, 3, &[3]);
    world.gather(message);
    assert_eq!(world.path.handle_order(NOW, Order::Routes { routes: AllowedIps::new(), version: 2 }), Outcome::Done);
    let message = world.data(2, 4, &[4]);
    world.gather(message);
    assert_eq!(arrived(&mut world), [0, 1, 2, 3]);
    assert_eq!((dropped(&world, DropReason::UnknownIndex), dropped(&world, DropReason::SourceNotAllowed)), (0, 1));
}

/// Of both kinds: a train, and messages that wait for each other. The last of a train may be shorter.
#[test]
fn the_longest_message_of_a_peer_is_an_authentic_one() {
    for is_train in [true, false] {
        let mut world = world();
        let mut forged = world.data(0, 0, &[0; 400]);
        forged[40] ^= 1;
        let authentic = world.data(0, 1, &[1; 100]);
        let (stride, len) = (forged.len(), authentic.len());
        if is_train {
            world.receive(&Datagrams { bytes: [forged, authentic].concat(), stride, from: 1, ecn: 0 }, false);
        } else {
            world.gather(forged);
            world.gather(authentic);
        }
        assert_eq!(arrived(&mut world), [1]);
        assert_eq!(world.cells[0].shared().sizes().rx_largest as usize, len);
    }
}

#[test]
fn a_peer_is_where_its_last_authentic_message_came_from() {
    let mut world = world();
    for (n, from, is_forged) in [(0, 1, false), (1, 2, false), (2, 3, false), (3, 4, true)] {
        let mut bytes = world.data(0, n, &[n as u8]);
        bytes[40] ^= u8::from(is_forged);
        world.receive(&Datagrams { stride: bytes.len(), bytes, from, ecn: 0 }, true);
    }
    assert_eq!(arrived(&mut world), [0, 1, 2]);
    assert_eq!(world.cells[0].endpoint(), Some(place(3)));
}

#[test]
fn whatever_else_comes_ends_the_waiting() {
    let world = world();
    let train = [world.data(2, 0, &[1]), world.data(2, 1, &[1])].concat();
    let mut handshake = vec![0; 148];
    handshake[0] = 1;
    let others = [handshake, vec![9; 60], vec![4, 0, 0, 0, 1], world.seal(UNKNOWN, 0, &[])];
    let lone = others.map(|bytes| (bytes.len(), bytes));
    for (stride, bytes) in lone.into_iter().chain([(train.len() / 2, train)]) {
        let mut world = self::world();
        let message = world.data(0, 0, &[0]);
        world.gather(message);
        world.receive(&Datagrams { bytes, stride, from: 1, ecn: 0 }, true);
        assert_eq!(world.path.watch().0[..4], TOGETHER);
        assert_eq!(arrived(&mut world)[0], 0);
    }
}

#[test]
fn a_packet_from_another_peers_address_goes_no_further() {
    let mut world = world();
    let spoofed = world.seal(0, 0, &inner(NOBODY, &[0]));
    world.gather(spoofed);
    let message = world.data(0, 1, &[1]);
    world.gather(message);
    assert_eq!(arrived(&mut world), [1]);
    assert_eq!(dropped(&world, DropReason::SourceNotAllowed), 1);
}

#[test]
fn an_expired_session_opens_nothing() {
    let mut world = world();
    let bytes = world.data(0, 0, &[0]);
    let view = bare::filled(&world.path, budget::line::UDP_READS, &bytes).unwrap();
    let train = Train { view, stride: bytes.len(), endpoint: place(1), ecn: 0, handed: false };
    world.path.gather_train(NOW + Duration::from_secs(180), train, &mut || None);
    assert_eq!((arrived(&mut world), dropped(&world, DropReason::ExpiredSession)), (vec![], 1));
}

/// The kernel has no slot left to receive into: what it has given is opened, and all come home.
#[test]
fn messages_in_all_slots_are_opened_and_the_slots_come_home() {
    let mut world = world();
    let mut n = 0_u8;
    while world.path.pool().available(budget::line::UDP_READS) > 0 {
        let bytes = world.data(usize::from(n) % 2 * 2, n.into(), &[n]);
        let view = bare::filled(&world.path, budget::line::UDP_READS, &bytes).unwrap();
        world.handle(Train { view, stride: bytes.len(), endpoint: place(1), ecn: 0, handed: false }, true);
        n += 1;
    }
    assert!(bare::filled(&world.path, budget::line::UDP_READS, &[0; 32]).is_none());
    assert!(n > 32, "{n}: more than wait for each other");
    assert_eq!(arrived(&mut world), (0..n).collect::<Vec<_>>());
    assert_eq!(world.path.watch().0, TOGETHER.repeat(2));
    let accounting = world.path.pool().accounting();
    assert_eq!((accounting.held, accounting.free), (0, accounting.total));
}

#[test]
fn sessions_have_indices_of_their_own() {
    assert!(SESSIONS.iter().all(|(_, index, _)| index & 0xff == 0), "worker 0 owns them");
}
