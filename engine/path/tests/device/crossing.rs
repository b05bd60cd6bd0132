//! Both sides ask: at once, again and again, or the other one after a restart, when an answer is still on its way.

use std::time::Duration;

use ringfort_core::drops::DropReason;

use super::*;

/// Both sides have asked, and each has had the other's question.
fn crossed() -> Pair {
    let mut pair = Pair::new();
    pair.b.device.set_endpoint(START, pair.a_at_b, pair.a.address);
    pair.b.settle();
    pair.offer_a();
    pair.offer_b();
    let (ia, ib) = (pair.a.take_sent().remove(0), pair.b.take_sent().remove(0));
    pair.a.receive(ib.from, &ib.bytes).unwrap();
    pair.b.receive(ia.from, &ia.bytes).unwrap();
    pair
}

#[test]
fn both_sides_asking_at_once_both_get_a_session() {
    let mut pair = crossed();
    pair.exchange();
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1));
    pair.offer_a();
    pair.offer_b();
    pair.exchange();
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (2, 2));
}

/// Each round leaves two sessions, of which each side sends under the one that the other asked for. Who asked for a
/// session and receives under it asks for the next one after 165 s.
#[test]
fn what_is_on_its_way_survives_a_second_round_of_crossing_handshakes() {
    let mut pair = Pair::new();
    pair.b.device.set_endpoint(START, pair.a_at_b, pair.a.address);
    pair.b.settle();
    for round in 0..3 {
        pair.advance_to(START + Duration::from_secs(166 * round));
        if round > 0 {
            pair.offer_a();
            pair.offer_b();
            let (from_a, from_b) = (pair.a.take_sent(), pair.b.take_sent());
            from_a.iter().for_each(|sent| pair.b.receive(sent.from, &sent.bytes).unwrap());
            from_b.iter().for_each(|sent| pair.a.receive(sent.from, &sent.bytes).unwrap());
        }
        pair.offer_a();
        pair.offer_b();
        let is_data = |sent: &Sent| sent.kind() == 4;
        let (late_a, asked_a): (Vec<_>, Vec<_>) = pair.a.take_sent().into_iter().partition(is_data);
        let (late_b, asked_b): (Vec<_>, Vec<_>) = pair.b.take_sent().into_iter().partition(is_data);
        assert_eq!((kinds(&asked_a), kinds(&asked_b)), (vec![1], vec![1]), "both ask at once");
        pair.b.receive(asked_a[0].from, &asked_a[0].bytes).unwrap();
        pair.a.receive(asked_b[0].from, &asked_b[0].bytes).unwrap();
        pair.exchange();
        for late in late_a {
            pair.b.receive(late.from, &late.bytes).expect("the session before this round is still known");
        }
        for late in late_b {
            pair.a.receive(late.from, &late.bytes).expect("the session before this round is still known");
        }
        pair.exchange();
        let arrived = 2 * round as usize + 1;
        assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (arrived, arrived));
    }
}

#[test]
fn one_response_lost_of_two_crossing_handshakes() {
    let mut pair = crossed();
    let lost = pair.b.take_sent();
    assert_eq!(kinds(&lost), [2]);
    pair.exchange();
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1));
    // What was lost comes late: its handshake is not needed any more.
    assert_eq!(pair.a.receive(lost[0].from, &lost[0].bytes), Err(DropReason::UnknownIndex));
}

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
