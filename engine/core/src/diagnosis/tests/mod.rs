//! Seventeen faults between two devices, and what each side finds.

mod duo;
mod strangers;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::crypto::{PresharedKey, PrivateKey};
use crate::device::{HandshakeReason, Notice, PeerEvent};
use crate::ids::Endpoint;
use crate::peer_drops::SendError;
use crate::suite::Suite;
use duo::{Duo, MTU, Side, outside};

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(Finding::code).collect()
}

#[test]
fn nothing_is_wrong() {
    let duo = Duo::connected();
    assert_eq!((codes(&duo.here()), codes(&duo.there())), (vec!["up"], vec!["up"]));
    assert_eq!(codes(&Duo::new().here()), ["never_heard"]);
    let lines = |side: &Side| side.notices.iter().filter(|notice| matches!(notice, Notice::State { .. })).count();
    assert_eq!((lines(&duo.a), lines(&duo.b)), (1, 1), "a line on each side");
}

#[test]
fn another_key_here() {
    let mut duo = Duo::strangers();
    duo.a.add(PrivateKey::new([9; 32]).public_key(), Some(duo.b.address), duo.now);
    duo.b.add(duo.a.key, Some(duo.a.address), duo.now);
    duo.ask();
    duo.wait(7);
    assert_eq!(codes(&duo.here()), ["silent"]);
    let remote = duo.a.address;
    assert!(matches!(duo.there()[..], [Finding::WrongKeyThere { remote: at, is_endpoint: true, .. }] if at == remote));
}

#[test]
fn another_key_here_while_the_other_side_asks() {
    let mut duo = Duo::strangers();
    let wrong = PrivateKey::new([9; 32]).public_key();
    duo.b.add(wrong, Some(duo.a.address), duo.now);
    duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
    duo.ask();
    let key = duo.a.key;
    assert!(duo.there().iter().any(|found| matches!(found, Finding::OtherKeyAtEndpoint { key: at, .. } if *at == key)));
}

#[test]
fn unknown_there() {
    let mut duo = Duo::strangers();
    duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
    duo.ask();
    duo.wait(7);
    assert_eq!(codes(&duo.here()), ["silent"]);
    let found = diagnose_stranger(&duo.a.key, &duo.b.device.snapshot(duo.now));
    let remote = duo.a.address;
    assert!(matches!(found[..], [Finding::NotAPeer { asked: Some((at, 2, _)) }] if at == remote), "{found:?}");
    let nobody = diagnose_stranger(&PublicKey::new([7; 32]), &duo.b.device.snapshot(duo.now));
    assert_eq!(nobody, [Finding::NotAPeer { asked: None }]);
}

#[test]
fn another_preshared_key() {
    let mut duo = Duo::new();
    duo.b.device.set_psk(duo.b.peer, PresharedKey::new([5; 32]));
    duo.ask();
    assert!(matches!(duo.here()[..], [Finding::PskDiffers { has_psk: false, count: 1 }]), "{:?}", duo.here());
    duo.wait(12);
    assert!(matches!(duo.there()[..], [Finding::AnswersUnused { has_psk: true, count: 2, .. }]), "{:?}", duo.there());
    let states = [&duo.a, &duo.b].map(|side| side.device.status(side.peer).unwrap().state(duo.now));
    assert_eq!(states, [PeerState::Refused; 2]);
}

/// Another port, another host, or a host that is off: from here they are the same.
#[test]
fn endpoint_wrong_or_silent() {
    let mut duo = Duo::new();
    duo.lost = Some(duo.b.address);
    duo.ask();
    assert_eq!(codes(&duo.here()), ["asking"]);
    duo.wait(7);
    assert!(matches!(duo.here()[..], [Finding::Silent { initiations: 2, was_up: false, .. }]), "{:?}", duo.here());
}

/// Only who saw the initiation knows its index, so nobody else can say that it was not delivered.
#[test]
fn the_network_says_that_nobody_listens() {
    let mut duo = Duo::new();
    let need = PeerEvent::NeedHandshake { peer: duo.a.peer, reason: HandshakeReason::NoSession };
    let now = duo.clock(0);
    duo.a.device.handle_event(now, need, &mut duo.a.rng);
    let (remote, message) = duo.a.take().pop().unwrap();
    let index = u32::from_le_bytes(message[4..8].try_into().unwrap());
    let reporter = remote.ip();
    let elsewhere = SocketAddr::from(([192, 0, 2, 99], 51_820));
    for (remote, index) in [(remote, index ^ 1), (elsewhere, index)] {
        duo.a.device.note_unreachable(duo.now, remote, index, Unreachable::Port, reporter);
        assert_eq!(codes(&duo.here()), ["asking"]);
    }
    duo.a.device.note_unreachable(duo.now, remote, index, Unreachable::Port, reporter);
    let ago = Duration::ZERO;
    assert_eq!(duo.here(), [Finding::Undeliverable { remote, unreachable: Unreachable::Port, reporter, ago }]);
    duo.lost = Some(remote);
    duo.wait(7);
    assert_eq!(codes(&duo.here()), ["undeliverable"], "that explains the silence");
}

#[test]
fn a_host_that_falls_silent_for_105_seconds() {
    let mut duo = Duo::connected();
    duo.lost = Some(duo.b.address);
    duo.wait(5);
    let now = duo.now;
    let _ = duo.a.shared().activity.data_sent(now);
    duo.a.device.handle_event(duo.clock(0), PeerEvent::Awake(duo.a.peer), &mut duo.a.rng);
    duo.wait(100);
    assert!(matches!(duo.here()[..], [Finding::Silent { was_up: true, .. }]), "{:?}", duo.here());
    assert_eq!(duo.a.device.status(duo.a.peer).unwrap().state(duo.now), PeerState::Unreachable);
    let told = |notice: &Notice| matches!(notice, Notice::State { state: PeerState::Unreachable, .. });
    assert_eq!(duo.a.notices.iter().filter(|&notice| told(notice)).count(), 1, "one line");
}

#[test]
fn no_route_to_the_endpoint() {
    let mut duo = Duo::new();
    duo.lost = Some(duo.b.address);
    duo.ask();
    duo.a.device.send_failed(duo.now, duo.a.peer, duo.b.address, 101);
    duo.wait(7);
    let outside = Outside { route: Some(Err(101)), ..outside() };
    assert_eq!(duo.a.findings(duo.now, &outside), [Finding::NoRoute { remote: duo.b.address, errno: 101 }]);
}

#[test]
fn sends_that_find_no_room_are_no_refusal() {
    for (error, are_full) in [(SendError::Full, true), (SendError::Partial, false)] {
        let mut duo = Duo::connected();
        duo.wait(1);
        let _ = duo.a.shared().drops.note_send_error(error, 3, duo.now);
        let found = Finding::SendsLost { remote: duo.b.address, count: 3, are_full };
        assert!(duo.here().contains(&found), "{:?}", duo.here());
        assert_eq!(found.severity(), Severity::Impaired, "others leave");
    }
}

#[test]
fn a_firewall_that_refuses_on_the_way_out() {
    let mut duo = Duo::new();
    duo.lost = Some(duo.b.address);
    duo.ask();
    duo.a.device.send_failed(duo.now, duo.a.peer, duo.b.address, 1);
    duo.wait(7);
    assert_eq!(duo.here(), [Finding::SendRefused { remote: duo.b.address, errno: 1, count: 1 }]);
    let told = |notice: &&Notice| matches!(notice, Notice::Dropped { reason: DropReason::SendFailed, .. });
    assert_eq!(duo.a.notices.iter().filter(told).count(), 1);
    assert_eq!(codes(&duo.there()), ["never_heard"], "the other side cannot know");
}

#[test]
fn a_firewall_that_drops_on_the_way_in() {
    let mut duo = Duo::new();
    duo.lost = Some(duo.a.address);
    duo.ask();
    duo.wait(12);
    assert_eq!(codes(&duo.here()), ["silent"]);
    assert_eq!(codes(&duo.there()), ["answers_unused"]);
}

#[test]
fn allowed_ips_missing_here() {
    let mut duo = Duo::connected();
    let destination = IpAddr::from([10, 9, 9, 9]);
    duo.a.device.handle_event(duo.clock(0), PeerEvent::Unrouted { destination }, &mut duo.a.rng);
    assert_eq!(duo.here()[1..], [Finding::Unrouted { destinations: vec![destination] }]);
    duo.a.device.clear_allowed_ips(duo.a.peer);
    assert_eq!(codes(&duo.here()), ["no_allowed_ips", "unrouted"]);
}

#[test]
fn a_source_that_is_not_allowed_there() {
    not_allowed_there(Duo::connected());
}

/// It was allowed for long.
#[test]
fn a_source_that_is_no_longer_allowed_there() {
    not_allowed_there(Duo::renewed());
}

fn not_allowed_there(mut duo: Duo) {
    let source = IpAddr::from([10, 0, 0, 77]);
    for _ in 0..5 {
        duo.a.shared().counters[0].sent(1, 96);
        duo.a.shared().counters[0].received(1, 32);
        let _ = duo.b.shared().drops.note_source(source, duo.now);
    }
    assert_eq!(codes(&duo.here()), ["up"], "answers may be on their way");
    duo.wait(2);
    assert!(matches!(duo.there()[..], [Finding::SourceNotAllowed { source: Some(at), count: 5, .. }] if at == source));
    assert_eq!(duo.here(), [Finding::NothingBack { sent: 5 }]);
    let event = PeerEvent::Dropped { peer: duo.b.peer, reason: DropReason::SourceNotAllowed };
    duo.b.device.handle_event(duo.clock(0), event, &mut duo.b.rng);
    duo.b.take();
    let line = Notice::Dropped { reason: DropReason::SourceNotAllowed, source: Some(source), error: None };
    assert_eq!(duo.b.notices.last(), Some(&line));
}

#[test]
fn no_endpoint() {
    let mut duo = Duo::strangers();
    duo.a.add(duo.b.key, None, duo.now);
    duo.a.take();
    let _ = duo.a.shared().drops.note(DropReason::NoEndpoint, 3, duo.now);
    assert_eq!(duo.here(), [Finding::NoEndpoint { dropped: 3 }]);
    assert_eq!(duo.a.device.status(duo.a.peer).unwrap().state(duo.now), PeerState::Waiting);
}

#[test]
fn an_endpoint_whose_name_has_no_address() {
    let mut duo = Duo::strangers();
    duo.a.add(duo.b.key, None, duo.now);
    let error = Some("Name or service not known".to_owned());
    let name = UnresolvedName { name: "vpn.example:7".to_owned(), since: Duration::from_secs(9), error, next: None };
    let outside = Outside { route: None, unresolved: Some(name.clone()), ..outside() };
    let _ = duo.a.shared().drops.note(DropReason::NoEndpoint, 3, duo.now);
    assert_eq!(duo.a.findings(duo.now, &outside), [Finding::NameUnresolved { name: name.clone(), remote: None }]);
    // It has asked us itself, so nothing is broken.
    let remote = Some(duo.b.address);
    duo.a.device.set_endpoint(duo.now, duo.a.peer, duo.b.address);
    let found = duo.a.findings(duo.now, &outside);
    assert!(found.contains(&Finding::NameUnresolved { name, remote }), "{found:?}");
    assert!(found.iter().all(|found| found.severity() == Severity::Note), "{found:?}");
}

#[test]
fn no_private_key() {
    let mut duo = Duo::new();
    duo.a.device.set_private_key(duo.now, None);
    duo.ask();
    assert_eq!(duo.here(), [Finding::NoPrivateKey]);
    assert_eq!(duo.a.device.status(duo.a.peer).unwrap().state(duo.now), PeerState::Waiting);
}

#[test]
fn a_clock_a_day_behind() {
    let mut duo = Duo::connected();
    duo.skew = -86_400;
    // What a restart forgets: when it last asked.
    duo.a = Side::new(1, duo.now);
    duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
    duo.wait(1);
    duo.ask();
    duo.wait(12);
    assert_eq!(codes(&duo.here()), ["silent"]);
    let found = duo.there();
    let Finding::ClockBehind { behind, .. } = found[0] else { panic!("{found:?}") };
    assert!((86_380..=86_400).contains(&behind.as_secs()), "{behind:?}");
}

#[test]
fn another_cipher_suite() {
    let mut duo = Duo::new();
    duo.b.device.set_suite(duo.now, Suite::Aes256Gcm);
    duo.ask();
    let [ours, theirs] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];
    assert_eq!(duo.here(), [Finding::SuiteDiffers { ours, theirs }]);
    assert_eq!(duo.there(), [Finding::SuiteDiffers { ours: theirs, theirs: ours }]);
}

#[test]
fn a_path_that_swallows_large_datagrams() {
    swallows_large_datagrams(&Duo::connected());
}

/// It did not always.
#[test]
fn a_path_that_swallows_large_datagrams_by_now() {
    swallows_large_datagrams(&Duo::renewed());
}

fn swallows_large_datagrams(duo: &Duo) {
    let counters = &duo.b.shared().counters[0];
    counters.received(20, 20 * 96);
    counters.received_up_to(96, 12);
    let found = duo.there();
    let Finding::LargeMissing { missing: 12, received: 20, largest: 96, largest_possible } = found[0] else {
        panic!("{found:?}")
    };
    assert_eq!(largest_possible, MTU + 32);
    let counters = &duo.a.shared().counters[0];
    counters.sent_up_to(1_392);
    counters.received(20, 20 * 96);
    counters.received_up_to(96, 0);
    assert_eq!(codes(&duo.here()), ["up", "large_unanswered"]);
    let outside = Outside { route: Some(Ok(1_400)), ..outside() };
    let found = duo.a.findings(duo.now, &outside);
    assert_eq!(found[0], Finding::PathTooSmall { path_mtu: 1_400, needed: 1_480, fits: 1_328 });
}

#[test]
fn two_gateways_with_one_key() {
    let mut duo = Duo::connected();
    let addresses = [SocketAddr::from(([192, 0, 2, 33], 7)), duo.a.address];
    for round in 0..5 {
        duo.wait(6);
        duo.a = Side { address: addresses[round % 2], ..Side::new(1, duo.now) };
        duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
        duo.ask();
        let now = duo.clock(0);
        duo.b.receive_data(now, 1, 32);
        duo.pass();
    }
    let found = duo.there();
    assert!(matches!(found[0], Finding::TwoGateways { returns: 4, .. }), "{found:?}");
}

/// Who has said where a peer is knows it. What the peer does then is news.
#[test]
fn an_endpoint_that_the_operator_sets_is_no_move_of_the_peer() {
    let mut duo = Duo::connected();
    let moves = |duo: &Duo| {
        let moves = duo.a.notices.iter().filter_map(|notice| match notice {
            Notice::Roamed { from, to } => Some((*from, *to)),
            _ => None,
        });
        moves.collect::<Vec<_>>()
    };
    let set = SocketAddr::from(([192, 0, 2, 44], 7));
    duo.a.device.set_endpoint(duo.now, duo.a.peer, set);
    let now = duo.clock(0);
    duo.a.receive_data(now, 1, 32);
    duo.a.take();
    assert_eq!(moves(&duo), []);
    let _ = duo.a.shared().endpoint.follow(Endpoint::new(duo.b.address));
    duo.a.receive_data(now, 1, 32);
    duo.a.take();
    assert_eq!(moves(&duo), [(set, duo.b.address)]);
}
