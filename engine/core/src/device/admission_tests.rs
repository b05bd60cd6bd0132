use std::net::Ipv4Addr;

use super::*;
use crate::crypto::{PrivateKey, PublicKey};
use crate::tai64n::Tai64N;
use crate::test_support::SeededRng;

const NOW: Time = Time::from_secs(100);
const PEERS: usize = 5_000;

fn place(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n as u32), 51_820))
}

/// A gateway with many peers, each at a place.
fn crowded() -> Device {
    let mut device = Device::new(1);
    device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
    device.link_up(NOW);
    for n in 0..PEERS {
        let mut key = [0x40; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        let peer = device.add_peer(PublicKey::new(key)).expect("there is room");
        device.place_peer(NOW, peer, Some(place(n)));
    }
    device
}

/// The gate that the workers have in the end.
fn gate(device: &mut Device) -> Option<Arc<Gate>> {
    let mut gate = None;
    while let Some(action) = device.poll_action() {
        if let Action::Gate(latest) = action {
            gate = latest;
        }
    }
    gate
}

fn turn(device: &mut Device, now: Time) {
    device.handle_timeout(Now { mono: now, wall: Tai64N::default() }, &mut SeededRng::new(9));
}

fn known(gate: &Gate) -> usize {
    (0..PEERS).filter(|&n| gate.is_peers(place(n))).count()
}

#[test]
fn the_beginning_of_load_looks_at_no_peer_and_each_turn_at_a_bounded_number() {
    let mut device = crowded();
    device.note_load(NOW, &mut SeededRng::new(8));
    let gate = gate(&mut device).expect("there is a key");
    assert_eq!(known(&gate), 0, "the workers ask for cookies before anybody was looked at");
    let mut before = 0;
    for number in 1..=PEERS.div_ceil(PLACES_PER_TURN) {
        assert_eq!(device.poll_timeout(), Some(Time::ZERO), "there is more to do at once");
        turn(&mut device, NOW);
        let after = known(&gate);
        // One in 400 passes before its turn.
        let more = after - before;
        assert!(more <= PLACES_PER_TURN + PEERS / 100, "{more} in turn {number}");
        before = after;
    }
    assert_eq!(before, PEERS);
    assert!(device.poll_timeout() > Some(NOW), "all are known");
}

#[test]
fn a_peer_that_comes_or_moves_under_load_is_known_where_it_is() {
    let mut device = crowded();
    device.note_load(NOW, &mut SeededRng::new(8));
    let gate = gate(&mut device).expect("there is a key");
    let (came, moved) = (place(1_000_000), place(2_000_000));
    let peer = device.add_peer(PublicKey::new([9; 32])).expect("there is room");
    device.place_peer(NOW, peer, Some(came));
    assert!(gate.is_peers(came) && !gate.is_peers(moved));
    device.set_endpoint(NOW, peer, moved);
    assert!(gate.is_peers(moved));
}

#[test]
fn what_workers_used_is_freed_by_control_one_at_a_time_when_they_have_let_go() {
    let mut device = crowded();
    device.note_load(NOW, &mut SeededRng::new(8));
    let first = gate(&mut device).expect("there is a key");
    let mut now = NOW;
    for _ in 0..3 {
        now += Duration::from_secs(116);
        device.note_load(now, &mut SeededRng::new(8));
        turn(&mut device, now);
    }
    // The first is still in use; of the others nobody has taken notice, and each second one goes.
    let latest = gate(&mut device);
    let retired: Vec<usize> = (0..5)
        .map(|_| {
            now += RETIRED_CHECKED_EVERY;
            turn(&mut device, now);
            device.published.retired.len()
        })
        .collect();
    assert_eq!(retired[2..], [1, 1, 1], "{retired:?}");
    drop(first);
    assert_eq!(device.published.retired.len(), 1, "a worker that lets go frees nothing");
    turn(&mut device, now + RETIRED_CHECKED_EVERY);
    assert!(device.published.retired.is_empty() && device.published.retired_due.is_none());
    drop(latest);
}

/// Whoever forges a peer's address neither has cookies sent there nor takes the tokens of that address.
#[test]
fn what_is_believed_needs_no_cookie_and_costs_its_address_nothing() {
    let mut device = crowded();
    device.note_load(NOW, &mut SeededRng::new(8));
    let mut initiation = [0x77; 148];
    initiation[..4].copy_from_slice(&[1, 0, 0, 0]);
    let (endpoint, now) = (Endpoint::new(place(1)), Now { mono: NOW, wall: Tai64N::default() });
    let mut send = |proof| device.handle_admitted(now, endpoint, &initiation, (proof, true), &mut SeededRng::new(5));
    for _ in 0..1_000 {
        assert_eq!(send(Proof::Claim), Err(DropReason::BadHandshake));
    }
    assert_eq!(send(Proof::Address), Err(DropReason::BadHandshake), "it has a token left");
    assert_eq!(send(Proof::Key), Err(DropReason::CookieRequired));
}

/// Of which control does a Diffie-Hellman for each, and finds nobody.
#[test]
fn work_for_nobody_is_load_and_work_for_who_proved_an_address_is_not() {
    let mut initiation = [0x77; 148];
    initiation[..4].copy_from_slice(&[1, 0, 0, 0]);
    let send = |device: &mut Device, count: u32, proof: Proof, now: Time| {
        let admission = (proof, device.is_loaded(now));
        let (endpoint, now) = (Endpoint::new(place(1)), Now { mono: now, wall: Tai64N::default() });
        for _ in 0..count {
            let result = device.handle_admitted(now, endpoint, &initiation, admission, &mut SeededRng::new(5));
            assert_eq!(result, Err(DropReason::BadHandshake));
        }
    };
    let mut device = crowded();
    send(&mut device, WASTED_MAX - 1, Proof::Key, NOW);
    assert!(!device.is_loaded(NOW));
    let later = NOW + LOADED_FOR;
    send(&mut device, WASTED_MAX - 1, Proof::Key, later);
    assert!(!device.is_loaded(later), "there were as many, in twice the time");
    send(&mut device, 1, Proof::Key, later);
    assert!(device.is_loaded(later));
    assert!(gate(&mut device).is_some_and(|gate| gate.load().is_on(later)), "the workers know");
    let (mut proven, now) = (crowded(), NOW);
    for n in 0..2 * WASTED_MAX as usize {
        let (endpoint, now) = (Endpoint::new(place(n)), Now { mono: now, wall: Tai64N::default() });
        let admission = (Proof::Address, false);
        let result = proven.handle_admitted(now, endpoint, &initiation, admission, &mut SeededRng::new(5));
        assert_eq!(result, Err(DropReason::BadHandshake));
    }
    assert!(!proven.is_loaded(now), "each address has its own limit");
}
