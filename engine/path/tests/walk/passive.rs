//! A worker of a gateway that stands by: what comes from either side is dropped under that name, and nothing is sent.

use std::time::Duration;

use ringfort_core::drops::DropReason;
use ringfort_core::wire::TYPE_DATA;
use ringfort_path::{Order, Outcome, Train, budget};

use crate::rig::{
    Gateway, INDEX, NOW, PEER, RECEIVER, SENDER, endpoint, events, filled, packet, pair, received, route, super_packet,
    transmits, writes,
};

fn tell(gateway: &mut Gateway, order: Order) {
    assert_eq!(gateway.workers[0].handle_order(NOW, order), Outcome::Done);
}

fn offer(gateway: &mut Gateway, bytes: &[u8]) {
    let path = &mut gateway.workers[0];
    let read = filled(path, budget::line::TUN_READS, bytes);
    assert_eq!(path.handle_packet(NOW, read), Outcome::Done);
    path.flush(NOW);
}

fn dropped(gateway: &Gateway) -> (u64, u64) {
    let drops = &gateway.workers[0].counters().drops;
    (drops.get(DropReason::Passive), drops.total())
}

/// It has a session to send with: that does not help.
#[test]
fn nothing_leaves_and_senders_are_told() {
    let (mut sender, _) = pair();
    tell(&mut sender, Order::Passive(Some(NOW)));
    offer(&mut sender, &packet(SENDER, RECEIVER, b"hello"));
    offer(&mut sender, &super_packet(3));
    assert_eq!(dropped(&sender), (4, 4), "each segment counts");
    assert!(transmits(&mut sender.workers[0]).is_empty());
    assert_eq!(writes(&mut sender.workers[0]).len(), 2, "an ICMP error for each read");
    assert!(events(&mut sender.workers[0]).is_empty(), "control has nothing to do");
    tell(&mut sender, Order::Passive(None));
    offer(&mut sender, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!((transmits(&mut sender.workers[0]).len(), dropped(&sender)), (1, (4, 4)));
}

#[test]
fn nothing_is_opened_and_control_hears_of_no_handshake() {
    let (mut sender, mut receiver) = pair();
    offer(&mut sender, &packet(SENDER, RECEIVER, b"hello"));
    tell(&mut receiver, Order::Passive(Some(NOW)));
    assert_eq!(receiver.workers[0].sessions(), 0);
    let data = transmits(&mut sender.workers[0]).remove(0);
    let path = &mut receiver.workers[0];
    let train = received(path, &data);
    path.handle_train(NOW, train, &mut || None);
    for kind in [1, 2, 3] {
        let mut message = vec![0; [148, 92, 64][kind - 1]];
        message[0] = kind as u8;
        assert_ne!(message[0], TYPE_DATA);
        let (view, stride) = (filled(path, budget::line::UDP_READS, &message), message.len());
        let from = endpoint("198.51.100.1:1");
        path.handle_train(NOW, Train { view, stride, endpoint: from, ecn: 0, handed: false }, &mut || None);
    }
    assert!(path.poll_handshake().is_none() && path.poll_transmit().is_none());
    assert!(writes(path).is_empty());
    assert_eq!(dropped(&receiver), (4, 4));
}

/// What is said of sessions is read before other mail. So one that was made after a promotion is here before the worker
/// hears that there was a demotion.
#[test]
fn a_session_of_later_stays() {
    let mut gateway = Gateway::new(1, SENDER, "192.0.2.1:51820");
    let later = NOW + Duration::from_millis(1);
    let sessions = [(INDEX, NOW), (INDEX + 0x100, later)].map(|(index, made)| gateway.receiver(index, true, made));
    sessions.into_iter().for_each(|session| gateway.workers[0].handle_session(NOW, session));
    tell(&mut gateway, Order::Passive(Some(NOW)));
    assert_eq!(gateway.workers[0].sessions(), 1);
    tell(&mut gateway, Order::Passive(None));
    assert_eq!(gateway.workers[0].sessions(), 1);
}

/// The operator's changes are in force as soon as it serves.
#[test]
fn routes_that_are_set_meanwhile_count_afterwards() {
    let (mut sender, _) = pair();
    tell(&mut sender, Order::Passive(Some(NOW)));
    let elsewhere = [10, 0, 9, 9];
    tell(&mut sender, Order::Routes { routes: route(elsewhere, PEER), version: 2 });
    offer(&mut sender, &packet(SENDER, elsewhere, b"hello"));
    assert_eq!(dropped(&sender), (1, 1));
    tell(&mut sender, Order::Passive(None));
    offer(&mut sender, &packet(SENDER, elsewhere, b"hello"));
    assert_eq!(transmits(&mut sender.workers[0]).len(), 1);
    offer(&mut sender, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.workers[0].counters().drops.get(DropReason::NoRoute), 1);
}
