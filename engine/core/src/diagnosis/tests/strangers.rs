//! What others than the peer say, and what becomes of it.

use super::*;
use crate::gate::Proof;

/// The other side started anew with another key of its own, or of ours, and keeps asking. Our session is from before.
#[test]
fn the_endpoint_asks_under_another_key_while_a_session_is_up() {
    let ask_as = |duo: &mut Duo, number: u8, believed: PublicKey, address: SocketAddr| {
        let mut other = Side { address, ..Side::new(number, duo.now) };
        other.add(believed, Some(duo.b.address), duo.now);
        let need = PeerEvent::NeedHandshake { peer: other.peer, reason: HandshakeReason::NoSession };
        let now = duo.clock(0);
        other.device.handle_event(now, need, &mut other.rng);
        let (_, message) = other.take().pop().unwrap();
        let endpoint = Endpoint::new(address);
        if duo.b.device.screen(now.mono, endpoint, &message, Proof::Unasked).is_ok() {
            let _ = duo.b.device.handle_datagram(now, endpoint, &message, false, &mut duo.b.rng);
        }
        duo.now += Duration::from_secs(5);
    };
    let (us, nobody) = (Side::new(2, Time::ZERO).key, PublicKey::new([9; 32]));
    for (believed, code) in [(us, "other_key_at_endpoint"), (nobody, "wrong_key_there")] {
        let mut duo = Duo::connected();
        let address = duo.a.address;
        duo.wait(1);
        let neighbour = SocketAddr::new(address.ip(), address.port() + 1);
        for _ in 0..3 {
            ask_as(&mut duo, 7, believed, neighbour);
        }
        assert_eq!(codes(&duo.there()), ["up"], "others share its address");
        ask_as(&mut duo, 8, believed, address);
        assert_eq!(codes(&duo.there()), ["up"], "once may be late");
        ask_as(&mut duo, 8, believed, address);
        let found = duo.there();
        assert_eq!((codes(&found), found[0].severity()), (vec![code], Severity::Impaired));
        duo.a = Side::new(1, duo.now);
        duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
        duo.ask();
        let now = duo.clock(0);
        duo.b.receive_data(now, 1, 32);
        duo.pass();
        assert_eq!(codes(&duo.there()), ["up"], "a new session speaks against it");
    }
}

/// Who only copies a key of others, without having it, is not listed.
#[test]
fn a_claim_without_its_proof_is_not_listed() {
    let mut duo = Duo::strangers();
    duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
    let need = PeerEvent::NeedHandshake { peer: duo.a.peer, reason: HandshakeReason::NoSession };
    let now = duo.clock(0);
    duo.a.device.handle_event(now, need, &mut duo.a.rng);
    let (_, mut message) = duo.a.take().pop().unwrap();
    message[90] ^= 1; // in the sealed timestamp
    let mac1 = crate::crypto::hash(&[b"mac1----", duo.b.key.as_bytes()]);
    let (covered, macs) = message.split_at_mut(116);
    macs[..16].copy_from_slice(&crate::crypto::mac(&mac1, &[covered]));
    let endpoint = Endpoint::new(duo.a.address);
    let refused = duo.b.device.handle_datagram(now, endpoint, &message, false, &mut duo.b.rng);
    assert_eq!(refused, Err(DropReason::UnknownPeer));
    assert!(duo.b.device.snapshot(duo.now).strangers.is_empty());
}

/// An eavesdropper who plays back what a peer once said does not make it look broken.
#[test]
fn a_recording_is_no_clock_that_went_back() {
    let mut duo = Duo::new();
    let need = PeerEvent::NeedHandshake { peer: duo.a.peer, reason: HandshakeReason::NoSession };
    let now = duo.clock(0);
    duo.a.device.handle_event(now, need, &mut duo.a.rng);
    let (_, recorded) = duo.a.take().pop().unwrap();
    let mut duo = Duo::connected();
    duo.wait(30);
    let endpoint = Endpoint::new(SocketAddr::from(([203, 0, 113, 9], 9)));
    let now = duo.clock(0);
    let refused = duo.b.device.handle_datagram(now, endpoint, &recorded, false, &mut duo.b.rng);
    assert_eq!(refused, Err(DropReason::HandshakeReplay));
    assert_eq!(codes(&duo.there()), ["up"]);
}

/// Whatever strangers send: memory and lines stay within bounds.
#[test]
fn strangers_fill_neither_memory_nor_logs() {
    let mut duo = Duo::strangers();
    duo.b.add(PublicKey::new([77; 32]), None, duo.now);
    for number in 0..200_u8 {
        let mut stranger = Side::new(number.wrapping_add(50), duo.now);
        stranger.add(duo.b.key, Some(duo.b.address), duo.now);
        let need = PeerEvent::NeedHandshake { peer: stranger.peer, reason: HandshakeReason::NoSession };
        let now = duo.clock(0);
        stranger.device.handle_event(now, need, &mut stranger.rng);
        let (_, message) = stranger.take().pop().unwrap();
        let endpoint = Endpoint::new(stranger.address);
        let _ = duo.b.device.handle_datagram(now, endpoint, &message, false, &mut duo.b.rng);
        duo.now += Duration::from_millis(10);
    }
    duo.b.take();
    let snapshot = duo.b.device.snapshot(duo.now);
    assert!(snapshot.strangers.len() <= 16, "{}", snapshot.strangers.len());
    let lines = duo.b.notices.iter().filter(|notice| matches!(notice, Notice::Stranger { .. })).count();
    assert_eq!(lines, 5);
}
