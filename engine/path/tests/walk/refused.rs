//! What control has no room for is told again.

use std::time::Duration;

use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::peer_drops::SendError;
use ringfort_path::{DataPath, Outcome, Report, Unwatched, budget};

use crate::rig::{
    Gateway, INDEX, NOW, PEER, RECEIVER, SENDER, empty, events, filled, packet, pair, received, transmits, writes,
};

fn refuse_all(path: &mut DataPath) -> Vec<PeerEvent> {
    let reports: Vec<Report> = std::iter::from_fn(|| path.poll_event()).collect();
    reports.iter().for_each(|&report| path.refuse(report));
    reports.iter().map(|report| report.event).collect()
}

/// One packet through the tunnel.
fn exchange(sender: &mut DataPath, receiver: &mut DataPath, now: ringfort_core::time::Time) {
    let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    sender.flush(NOW);
    for transmit in transmits(sender) {
        let train = received(receiver, &transmit);
        receiver.handle_train(now, train, &mut || None);
    }
    assert_eq!(writes(receiver).len(), 1);
}

#[test]
fn a_confirmation_is_told_until_control_takes_it() {
    let (mut sender, _) = pair();
    let mut receiver = Gateway::new(1, SENDER, "192.0.2.1:51820");
    let session = receiver.receiver(INDEX, false, NOW);
    let receiver = &mut receiver.workers[0];
    receiver.handle_session(NOW, session);
    for round in 0..3 {
        exchange(&mut sender.workers[0], receiver, NOW);
        assert!(refuse_all(receiver).contains(&PeerEvent::Confirmed(PEER)), "round {round}");
    }
    exchange(&mut sender.workers[0], receiver, NOW);
    assert!(events(receiver).contains(&PeerEvent::Confirmed(PEER)));
    exchange(&mut sender.workers[0], receiver, NOW);
    assert_eq!(events(receiver), [], "once it was taken, never again");
}

#[test]
fn a_peer_that_awakes_and_a_session_that_ages_are_told_until_control_takes_it() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let late = NOW + Duration::from_secs(170);
    for round in 0..3 {
        exchange(sender, receiver, late);
        let told = refuse_all(receiver);
        assert!(told.contains(&PeerEvent::Awake(PEER)), "round {round}: {told:?}");
        assert!(told.iter().any(|event| matches!(event, PeerEvent::NeedHandshake { .. })), "round {round}: {told:?}");
        assert!(refuse_all(sender).contains(&PeerEvent::Awake(PEER)), "round {round}");
    }
    exchange(sender, receiver, late);
    assert_eq!(events(receiver).len(), 2);
    exchange(sender, receiver, late);
    assert_eq!(events(receiver), []);
}

#[test]
fn a_handshake_that_is_needed_is_asked_for_until_control_takes_it() {
    let mut sender = Gateway::new(1, RECEIVER, "192.0.2.2:51820");
    let sender = &mut sender.workers[0];
    for _ in 0..3 {
        let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
        assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
        assert!(matches!(refuse_all(sender)[..], [PeerEvent::NeedHandshake { peer: PEER, .. }]));
    }
    assert_eq!(sender.staged_for(PEER), 3);
}

/// Each of them comes soon after the one before: a quiet time is not what makes it told.
#[test]
fn a_drop_that_only_the_operator_can_mend_is_told_until_control_takes_it() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let dropped = PeerEvent::Dropped { peer: PEER, reason: DropReason::SendFailed };
    for round in 0..3 {
        sender.handle_send_failed(NOW + Duration::from_secs(round), PEER, SendError::System(1), 1);
        assert_eq!(refuse_all(sender), [dropped], "round {round}");
    }
    sender.handle_send_failed(NOW + Duration::from_secs(3), PEER, SendError::System(1), 1);
    assert_eq!(events(sender), [dropped]);
    sender.handle_send_failed(NOW + Duration::from_secs(4), PEER, SendError::System(1), 1);
    assert_eq!(events(sender), [], "once it was taken, not before a quiet time");
}

/// Orders about sessions are read before the others, so a session can work before its peer is known here.
#[test]
fn events_of_a_peer_that_is_not_known_yet_are_told_until_control_takes_them() {
    let (mut sender, _) = pair();
    let gateway = Gateway::new(1, SENDER, "192.0.2.1:51820");
    let mut receiver = empty(0, 1, Unwatched);
    receiver.handle_session(NOW, gateway.receiver(INDEX, true, NOW));
    let late = NOW + Duration::from_secs(170);
    for round in 0..3 {
        let sender = &mut sender.workers[0];
        let read = filled(sender, budget::line::TUN_READS, &packet(SENDER, RECEIVER, b"hello"));
        assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
        sender.flush(NOW);
        let train = received(&receiver, &transmits(sender)[0]);
        receiver.handle_train(late, train, &mut || None);
        let told = refuse_all(&mut receiver);
        assert!(told.contains(&PeerEvent::Awake(PEER)), "round {round}: {told:?}");
        assert!(told.iter().any(|event| matches!(event, PeerEvent::NeedHandshake { .. })), "round {round}: {told:?}");
        let activity = &gateway.cell.shared().activity;
        assert!(!activity.is_armed() && !activity.is_requested(), "round {round}");
    }
}
