//! `ringfort why`: each of seventeen faults is named, by the gateway on either side as far as it can know.
//!
//! ```text
//!        namespace 0                          namespace 1
//!   ┌───────────────────┐               ┌──────────────────────┐
//!   │ the gateway, one  │               │ for each fault a far │
//!   │ peer for each     ├───── veth ────┤ gateway of its own,  │
//!   │ fault             │               │ on a port of its own │
//!   └───────────────────┘               └──────────────────────┘
//! ```
//!
//! All faults are there at once: where only a timer of the protocol shows one (an initiation is repeated after 5 s),
//! all wait for it together. Tests wait for findings, never for time.

mod faults;
mod page;
mod place;

use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::tai64n::Tai64N;
use ringfort_core::time::{Now, Time};
use ringfort_testbed::Implementation;
use ringfort_testbed::ping::Pinger;

use crate::harness::eventually;
use crate::harness::traffic::PATIENCE;
use place::{Far, Place};

/// What the seventeen faults are, with what each side finds. The far side of some is another implementation, which
/// cannot be asked.
#[test]
fn faults_of_configuration_and_of_the_way_are_named_on_either_side() {
    let place = faults::all();
    place.expect_findings();
    faults::check_words(&place);
    faults::check_page(&place);
    faults::check_log(&place);
}

/// The far side knows: what the sender numbered did not come, and nothing large came at all.
#[test]
fn a_path_that_swallows_large_datagrams() {
    let mut place = Place::new();
    let far = place.add(Far::new("large", Implementation::Ringfort));
    place.far_drops(&format!("udp dport {} meta length > 700 drop", place.fars[far].port));
    place.far_answers(far);
    place.start();
    let mut pinger = Pinger::new(place.namespace(), place.fars[far].inner.into()).unwrap();
    eventually(PATIENCE, "small packets pass", || pinger.ping(56, Duration::from_millis(500)).is_ok());
    for _ in 0..20 {
        pinger.send_only(1_300).unwrap();
    }
    for _ in 0..10 {
        // One that leaves in a train with large ones is lost with them.
        eventually(PATIENCE, "small packets pass", || pinger.ping(56, Duration::from_millis(500)).is_ok());
    }
    place.expect(far, &["large_unanswered"], &["large_missing"]);
    page::says("a path that swallows large datagrams", &["large_unanswered"], &["large_missing"]);
}

/// Two gateways with one key ask the same peer in turn. It sees both; each of them only sees its session end.
#[test]
fn two_gateways_with_one_key() {
    let mut place = Place::new();
    let far = place.add(Far::new("twice", Implementation::Ringfort));
    place.start();
    let twin = place.twin();
    for round in 0..6 {
        let before = place.far_handshakes(far);
        place.ask_anew(if round % 2 == 0 { None } else { Some(&twin) }, far);
        eventually(PATIENCE, "a handshake is completed", || place.far_handshakes(far) > before);
    }
    place.expect(far, &[], &["two_gateways"]);
    page::says("two gateways with one key", &[], &["two_gateways"]);
}

/// The far side has accepted a handshake of tomorrow, and then comes ours. It knows by how much we are behind.
#[test]
fn a_clock_a_day_behind() {
    let mut place = Place::new();
    let far = place.add(Far::new("clock", Implementation::Ringfort));
    let tomorrow = initiation_of_tomorrow(&place, far);
    place.namespace().enter(|| {
        let socket = std::net::UdpSocket::bind("10.200.0.1:0").unwrap();
        socket.send_to(&tomorrow, place.fars[far].endpoint()).unwrap();
    });
    eventually(PATIENCE, "the handshake of tomorrow is there", || {
        place.far_peer(far)["rx_packets"].as_u64().is_some_and(|count| count > 0)
    });
    place.start();
    place.send_to(far);
    place.expect(far, &["silent"], &["clock_behind"]);
    page::says("a clock a day behind", &["silent"], &["clock_behind"]);
    let said = place.far_says(far);
    assert!(
        said.contains("86399 s") || said.contains("23 h") || said.contains("24 h") || said.contains("1 days"),
        "{said}"
    );
}

/// What our own gateway would send a day from now.
fn initiation_of_tomorrow(place: &Place, far: usize) -> Vec<u8> {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = Now { mono: Time::from_secs(1), wall: Tai64N::from_unix(wall + 86_400, 0) };
    let mut device = Device::new(1);
    device.set_private_key(now.mono, Some(PrivateKey::new(place.keys.private.0)));
    device.link_up(now.mono);
    let peer = device.add_peer(PublicKey::new(place.fars[far].keys.public.0)).unwrap();
    device.set_endpoint(now.mono, peer, place.fars[far].endpoint());
    let need = PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession };
    device.handle_event(now, need, &mut UnwrapErr(SysRng));
    loop {
        let action = device.poll_action().expect("an initiation is sent");
        if let Action::Outgoing(Outgoing::Send { datagram, .. }) = action {
            return datagram.as_ref().to_vec();
        }
    }
}
