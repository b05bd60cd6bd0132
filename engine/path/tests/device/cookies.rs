//! Under load: cookies and limits (WireGuard paper, section 5.3).

use std::net::SocketAddr;
use std::time::Duration;

use ringfort_core::drops::DropReason;
use ringfort_core::gate::Proof;

use crate::node::{Node, inner_packet};
use crate::{Pair, START, kinds};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn under_load_the_requester_gets_a_cookie_and_uses_it_when_it_tries_again() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    let sent = pair.exchange();
    assert_eq!(kinds(&sent), [1, 3], "nothing is sent again before its time");
    assert!(sent[1].bytes.len() < sent[0].bytes.len(), "no amplification");
    assert_eq!(pair.b.device.drops().get(DropReason::CookieRequired), 1);
    assert_eq!(pair.b.device.status(pair.a_at_b).unwrap().endpoint(), None, "nobody was authenticated");
    assert_eq!(kinds(&pair.run_until(START + 6 * SECOND)), [1, 2, 4]);
    assert_eq!(pair.b.delivered.len(), 1);
}

/// Workers let it through when there was no load yet, which may be thousands of messages ago.
#[test]
fn what_waits_when_load_begins_is_asked_for_a_proof_and_limited() {
    let mut pair = Pair::new();
    (pair.b.under_load, pair.b.proof) = (true, Proof::Key);
    pair.offer_a();
    let first = pair.a.take_sent().remove(0);
    assert_eq!(pair.b.receive(first.from, &first.bytes), Err(DropReason::CookieRequired));
    let cookie = pair.b.take_sent().remove(0);
    assert_eq!((cookie.kind(), cookie.to), (3, first.from));
    pair.a.receive(cookie.from, &cookie.bytes).unwrap();
    pair.advance_to(START + 6 * SECOND);
    let second = pair.a.take_sent().remove(0);
    pair.b.receive(second.from, &second.bytes).unwrap();
    let limited =
        (0..20).filter(|_| pair.b.receive(second.from, &second.bytes) == Err(DropReason::RateLimited)).count();
    assert!(limited > 10, "{limited}");
}

#[test]
fn an_idle_responder_does_not_look_at_mac2() {
    let mut pair = Pair::new();
    pair.offer_a();
    let mut initiation = pair.a.take_sent().remove(0);
    initiation.bytes[140] ^= 0xff;
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
}

#[test]
fn a_loaded_initiator_gives_the_responder_a_cookie() {
    let mut pair = Pair::new();
    pair.a.under_load = true;
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 3]);
    // The responder learned the cookie for the next response.
    assert_eq!(kinds(&pair.run_until(START + 6 * SECOND)), [1, 2, 4]);
}

#[test]
fn a_cookie_is_for_one_address_and_port() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    pair.exchange();
    pair.advance_to(START + 6 * SECOND);
    let initiation = pair.a.take_sent().remove(0);
    for elsewhere in ["192.0.2.1:51821", "192.0.2.9:51820", "[2001:db8::1]:51820"] {
        let elsewhere = elsewhere.parse().unwrap();
        assert_eq!(pair.b.receive(elsewhere, &initiation.bytes), Err(DropReason::CookieRequired));
        let reply = pair.b.take_sent().remove(0);
        assert_eq!((reply.kind(), reply.to), (3, elsewhere));
    }
    pair.b.receive(initiation.from, &initiation.bytes).unwrap();
}

#[test]
fn a_cookie_from_a_former_secret_earns_a_new_one() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    pair.exchange();
    pair.b.advance_to(START + 121 * SECOND);
    pair.a.advance_to(START + 6 * SECOND);
    let initiation = pair.a.take_sent().remove(0);
    assert_eq!(pair.b.receive(initiation.from, &initiation.bytes), Err(DropReason::CookieRequired));
    assert_eq!(kinds(&pair.b.take_sent()), [3]);
}

#[test]
fn a_cookie_reply_moves_neither_endpoint_nor_timers() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    let _ = pair.b.receive(initiation.from, &initiation.bytes);
    let reply = pair.b.take_sent().remove(0);
    let due = pair.a.device.poll_timeout();
    let before = pair.a.device.status(pair.b_at_a).unwrap().endpoint();
    let stranger = "203.0.113.1:1".parse().unwrap();
    pair.a.receive(stranger, &reply.bytes).unwrap();
    assert_eq!(pair.a.device.status(pair.b_at_a).unwrap().endpoint(), before);
    assert_eq!(pair.a.device.poll_timeout(), due);
    assert_eq!(pair.a.device.status(pair.b_at_a).unwrap().traffic().rx_bytes, 0);
    // The same reply again answers nothing.
    assert_eq!(pair.a.receive(reply.from, &reply.bytes), Err(DropReason::InvalidCookieReply));
}

#[test]
fn forged_cookie_replies_are_refused() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    let initiation = pair.a.take_sent().remove(0);
    let _ = pair.b.receive(initiation.from, &initiation.bytes);
    let reply = pair.b.take_sent().remove(0);
    let mut other_index = reply.bytes.clone();
    other_index[4] ^= 1;
    assert_eq!(pair.a.receive(reply.from, &other_index), Err(DropReason::UnknownIndex));
    let mut other_cookie = reply.bytes.clone();
    other_cookie[40] ^= 1;
    assert_eq!(pair.a.receive(reply.from, &other_cookie), Err(DropReason::InvalidCookieReply));
    // A reply to the initiation before the last.
    pair.a.advance_to(START + 6 * SECOND);
    let again = pair.a.take_sent().remove(0);
    let mut stale = reply.bytes.clone();
    stale[4..8].copy_from_slice(&again.bytes[4..8]);
    assert_eq!(pair.a.receive(reply.from, &stale), Err(DropReason::InvalidCookieReply));
}

#[test]
fn one_port_gets_a_burst_of_two_under_load() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    pair.exchange();
    pair.advance_to(START + 6 * SECOND);
    let initiation = pair.a.take_sent().remove(0);
    let results: Vec<_> = (0..4).map(|_| pair.b.receive(initiation.from, &initiation.bytes)).collect();
    let limited = Err(DropReason::RateLimited);
    assert_eq!(results, [Ok(()), Err(DropReason::HandshakeReplay), limited, limited]);
}

/// Four times as many as an address has tokens at once, all in the same moment.
#[test]
fn clients_behind_one_address_all_get_through_under_load() {
    let mut gateway = Node::new(1, START);
    gateway.under_load = true;
    let client = |number: u8| {
        let mut client = Node::new(number, START);
        client.address = SocketAddr::from(([192, 0, 2, 200], 40_000 + u16::from(number)));
        gateway.add_peer(&client, false);
        client.add_peer(&gateway, true);
        client.send_packet(&inner_packet(client.inner, gateway.inner, 1));
        client.settle();
        let initiation = client.take_sent().remove(0);
        assert_eq!(gateway.receive(initiation.from, &initiation.bytes), Err(DropReason::CookieRequired));
        let cookie = gateway.take_sent().remove(0);
        client.receive(cookie.from, &cookie.bytes).unwrap();
        client
    };
    let mut clients: Vec<_> = (100..120).map(client).collect();
    gateway.advance_to(START + 6 * SECOND);
    for client in &mut clients {
        client.advance_to(START + 6 * SECOND);
        let initiation = client.take_sent().remove(0);
        assert_eq!(gateway.receive(initiation.from, &initiation.bytes), Ok(()), "{}", client.address);
    }
    assert_eq!(kinds(&gateway.take_sent()), [2; 20]);
}

#[test]
fn a_wrong_mac1_under_load_earns_no_cookie() {
    let mut pair = Pair::new();
    pair.b.under_load = true;
    pair.offer_a();
    let mut initiation = pair.a.take_sent().remove(0);
    initiation.bytes[10] ^= 1;
    assert_eq!(pair.b.receive(initiation.from, &initiation.bytes), Err(DropReason::BadMac1));
    assert!(pair.b.take_sent().is_empty());
}
