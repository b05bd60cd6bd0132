//! An answer that comes late, from a peer that has restarted since and has asked in its turn.

use std::time::Duration;

use ringfort_core::drops::DropReason;

use super::*;

/// The first asked, and the second answered and restarted. The second asks, and the first has answered. Returns both
/// answers; nobody has them yet.
fn crossed_by_a_restart() -> (Pair, Sent, Sent) {
    let mut pair = Pair::new();
    pair.offer_a();
    let asked = pair.a.take_sent().remove(0);
    pair.b.receive(asked.from, &asked.bytes).unwrap();
    pair.b.settle();
    let late = pair.b.take_sent().remove(0);
    pair.advance_to(START + Duration::from_secs(1));
    pair.b.restart(55);
    pair.b.device.set_endpoint(pair.b.now.mono, pair.a_at_b, pair.a.address);
    pair.offer_b();
    let asked = pair.b.take_sent().remove(0);
    pair.a.receive(asked.from, &asked.bytes).unwrap();
    pair.a.settle();
    let answer = pair.a.take_sent().remove(0);
    assert_eq!((late.kind(), answer.kind()), (2, 2));
    (pair, late, answer)
}

fn assert_both_ways(pair: &mut Pair) {
    pair.exchange();
    pair.a.delivered.clear();
    pair.b.delivered.clear();
    pair.offer_a();
    pair.offer_b();
    pair.exchange();
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1));
}

#[test]
fn a_late_answer_gives_way_to_what_the_peer_uses() {
    let (mut pair, late, answer) = crossed_by_a_restart();
    assert_eq!(pair.a.receive(late.from, &late.bytes), Ok(()), "the peer may have both sessions");
    pair.a.settle();
    pair.b.receive(answer.from, &answer.bytes).unwrap();
    pair.b.settle();
    assert_both_ways(&mut pair);
}

#[test]
fn a_late_answer_behind_a_confirmation_is_not_needed() {
    for control_has_heard in [false, true] {
        let (mut pair, late, answer) = crossed_by_a_restart();
        pair.b.receive(answer.from, &answer.bytes).unwrap();
        pair.b.settle();
        let first = pair.b.take_sent().remove(0);
        pair.a.receive(first.from, &first.bytes).unwrap();
        if control_has_heard {
            pair.a.settle();
        }
        // Control looks into the peer's cell before it believes.
        assert_eq!(pair.a.receive(late.from, &late.bytes), Err(DropReason::UnknownIndex));
        pair.a.settle();
        assert_both_ways(&mut pair);
        pair.advance_to(pair.a.now.mono + Duration::from_secs(200));
        pair.a.take_sent();
        pair.offer_a();
        assert_eq!(kinds(&pair.a.take_sent()), [1], "control knows which session has run out");
    }
}

/// The initiation goes on when all sessions end, and what it asks for is not one of those that ended.
#[test]
fn an_answer_behind_the_end_of_all_sessions_is_sent_under() {
    let mut pair = Pair::connected();
    pair.advance_to(START + Duration::from_secs(181));
    pair.offer_a();
    let mut asked = pair.a.take_sent();
    // Nobody answers until the sessions are wiped, 540 s after the last of them began.
    while pair.a.receiving_sessions() > 0 {
        let due = pair.a.device.poll_timeout().expect("an attempt goes on");
        pair.a.advance_to(due);
        pair.offer_a();
        asked.extend(pair.a.take_sent());
    }
    let latest = asked.pop().expect("an initiation");
    pair.b.advance_to(pair.a.now.mono);
    pair.b.receive(latest.from, &latest.bytes).unwrap();
    pair.b.settle();
    pair.exchange();
    assert!(pair.a.has_sending_session(pair.b_at_a));
    assert_both_ways(&mut pair);
}
