//! What happens when nothing happens (WireGuard paper, section 6).

use std::time::Duration;

use ringfort_core::constants::{REKEY_AFTER_TIME, REKEY_SPREAD, REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER_MAX};
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;

use crate::{Pair, START, kinds};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn initiations_are_repeated_with_jitter_for_ninety_seconds() {
    let mut pair = Pair::new();
    pair.offer_a();
    let mut times = vec![START];
    pair.a.take_sent();
    while let Some(due) = pair.a.device.poll_timeout().filter(|&due| due < START + 200 * SECOND) {
        pair.a.advance_to(due);
        times.extend(pair.a.take_sent().iter().map(|_| due));
    }
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(gaps.iter().all(|&gap| gap >= REKEY_TIMEOUT && gap < REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX));
    assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]), "the jitter is random");
    assert!((17..=19).contains(&times.len()), "{} initiations", times.len());
    assert!(times.last().unwrap().since(START) < 90 * SECOND);
    assert_eq!(pair.a.staged(pair.b_at_a), 0, "what waited is dropped");
    assert_eq!(pair.a.drops(DropReason::NoSession), 1);

    // Nothing is tried until there is more to send; then it is at once.
    pair.a.advance_to(START + 300 * SECOND);
    assert!(pair.a.take_sent().is_empty());
    pair.offer_a();
    assert_eq!(kinds(&pair.a.take_sent()), [1]);
}

#[test]
fn traffic_on_offer_keeps_an_attempt_alive() {
    let mut pair = Pair::new();
    for second in 0..300 {
        pair.a.advance_to(START + second * SECOND);
        pair.offer_a();
    }
    let initiations = pair.a.take_sent().len();
    assert!((56..=60).contains(&initiations), "{initiations} in 300 s");
    assert_eq!(pair.a.staged(pair.b_at_a), 128, "the newest wait");
    assert_eq!(pair.a.drops(DropReason::NoSession), 0);
}

#[test]
fn many_packets_make_one_initiation() {
    let mut pair = Pair::new();
    for _ in 0..1_000 {
        pair.offer_a();
    }
    assert_eq!(kinds(&pair.a.take_sent()), [1]);
}

#[test]
fn received_data_is_answered_after_ten_seconds_and_keepalives_are_not() {
    let mut pair = Pair::connected();
    pair.run_until(START + 60 * SECOND);
    pair.offer_a();
    pair.exchange();
    let start = pair.a.now.mono;
    assert_eq!(kinds(&pair.run_until(start + 9 * SECOND + 999 * SECOND / 1000)), [0; 0]);
    assert_eq!(kinds(&pair.run_until(start + 10 * SECOND)), [40]);
    assert_eq!(kinds(&pair.run_until(start + 500 * SECOND)), [0; 0], "both fall silent");
}

#[test]
fn a_reply_makes_the_keepalive_unnecessary() {
    let mut pair = Pair::connected();
    pair.run_until(START + 60 * SECOND);
    let start = pair.a.now.mono;
    pair.offer_a();
    pair.exchange();
    pair.run_until(start + 5 * SECOND);
    pair.offer_b();
    pair.exchange();
    // Only the reply itself is acknowledged, ten seconds after it.
    assert_eq!(kinds(&pair.run_until(start + 14 * SECOND)), [0; 0]);
    let sent = pair.run_until(start + 15 * SECOND);
    assert_eq!((kinds(&sent), sent[0].from), (vec![40], pair.a.address));
}

#[test]
fn more_data_after_the_first_needs_another_keepalive() {
    let mut pair = Pair::connected();
    pair.run_until(START + 60 * SECOND);
    let start = pair.a.now.mono;
    for second in [0, 1, 2] {
        pair.advance_to(start + second * SECOND);
        pair.offer_a();
        pair.exchange();
    }
    assert_eq!(kinds(&pair.run_until(start + 10 * SECOND)), [40]);
    assert_eq!(kinds(&pair.run_until(start + 20 * SECOND)), [40], "another one");
    assert_eq!(kinds(&pair.run_until(start + 100 * SECOND)), [0; 0], "and no more");
}

#[test]
fn silence_after_sent_data_leads_to_a_handshake() {
    let mut pair = Pair::connected();
    pair.a.advance_to(START + 30 * SECOND);
    pair.a.take_sent();
    let start = pair.a.now.mono;
    pair.offer_a();
    pair.offer_a();
    pair.a.take_sent();
    pair.a.advance_to(start + 15 * SECOND - SECOND / 1000);
    assert!(pair.a.take_sent().is_empty());
    pair.a.advance_to(start + 15 * SECOND + REKEY_TIMEOUT_JITTER_MAX);
    assert_eq!(kinds(&pair.a.take_sent()), [1]);
    // It is repeated like any other.
    pair.a.advance_to(start + 21 * SECOND);
    assert_eq!(kinds(&pair.a.take_sent()), [1]);
}

#[test]
fn the_initiator_rekeys_when_it_sends_after_120_seconds_at_the_latest() {
    let mut pair = Pair::connected();
    pair.run_until(START + REKEY_AFTER_TIME - REKEY_SPREAD - SECOND);
    pair.offer_a();
    assert_eq!(kinds(&pair.exchange()), [4]);
    pair.run_until(START + 120 * SECOND);
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [4], "the responder leaves it to the initiator");
    pair.offer_a();
    let sent = kinds(&pair.exchange());
    assert_eq!(sent, [4, 1, 2, 40], "the packet goes out under the old key");
    assert_eq!((pair.a.receiving_sessions(), pair.b.receiving_sessions()), (2, 2), "the previous one still receives");
}

#[test]
fn the_initiator_rekeys_when_it_only_receives_after_165_seconds() {
    let mut pair = Pair::connected();
    pair.run_until(START + 164 * SECOND);
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [4]);
    pair.advance_to(START + 165 * SECOND);
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [4, 1, 2, 40]);
}

#[test]
fn a_lost_rekey_is_tried_again_while_the_old_session_goes_on() {
    let mut pair = Pair::connected();
    pair.run_until(START + 121 * SECOND);
    pair.offer_a();
    let sent = pair.a.take_sent();
    assert_eq!(kinds(&sent), [4, 1]);
    pair.b.receive(sent[0].from, &sent[0].bytes).unwrap();
    pair.b.settle();
    assert_eq!(pair.b.delivered.len(), 1);
    assert_eq!(kinds(&pair.run_until(START + 127 * SECOND)), [1, 2, 40]);
}

#[test]
fn sessions_are_refused_after_180_seconds() {
    let mut pair = Pair::connected();
    // What answers it leaves before a new session would be asked for.
    pair.run_until(START + 90 * SECOND);
    pair.offer_b();
    let old = pair.b.take_sent().remove(0);
    pair.offer_b();
    pair.exchange();
    pair.run_until(START + 180 * SECOND);
    assert_eq!(pair.a.receive(old.from, &old.bytes), Err(DropReason::ExpiredSession));
    // The responder has nothing that sends: it asks itself. The session is another worker's than the packet, and each
    // of the two shows that it is there.
    pair.offer_b();
    assert_eq!(kinds(&pair.exchange()), [1, 2, 4, 40]);
}

#[test]
fn keys_are_zeroed_after_540_seconds_and_then_nothing_is_waited_for() {
    let mut pair = Pair::connected();
    pair.run_until(START + 539 * SECOND);
    assert_eq!((pair.a.receiving_sessions(), pair.b.receiving_sessions()), (1, 1));
    assert_eq!(pair.a.device.poll_timeout(), Some(START + 540 * SECOND));
    pair.run_until(START + 540 * SECOND);
    assert_eq!((pair.a.receiving_sessions(), pair.b.receiving_sessions()), (0, 0));
    assert!(!pair.a.has_sending_session(pair.b_at_a) && !pair.b.has_sending_session(pair.a_at_b));
    assert_eq!((pair.a.device.poll_timeout(), pair.b.device.poll_timeout()), (None, None));
    assert_eq!(pair.a.device.indices(), 0);
}

#[test]
fn a_handshake_that_never_completes_leaves_nothing_behind() {
    let mut pair = Pair::new();
    pair.offer_a();
    pair.a.advance_to(START + 1_000 * SECOND);
    assert_eq!(pair.a.device.indices(), 0, "the ephemeral key is gone");
    assert_eq!(pair.a.device.poll_timeout(), None);
}

#[test]
fn an_idle_device_sleeps() {
    let mut pair = Pair::new();
    assert_eq!((pair.a.device.poll_timeout(), pair.b.device.poll_timeout()), (None, None));
    pair.offer_a();
    pair.exchange();
    // Between the last keepalive and the zeroing of keys there is no wake-up.
    pair.run_until(START + 40 * SECOND);
    assert_eq!(pair.a.device.poll_timeout(), Some(START + 540 * SECOND));
}

#[test]
fn busy_peers_are_looked_at_every_ten_seconds_at_most() {
    let mut pair = Pair::connected();
    let mut looks = 0;
    for tenth in 1..=1_000 {
        let now = START + Duration::from_millis(100 * tenth);
        while let Some(due) = pair.a.device.poll_timeout().filter(|&due| due <= now) {
            pair.a.advance_to(due);
            looks += 1;
        }
        pair.advance_to(now);
        pair.offer_a();
        pair.offer_b();
        pair.exchange();
    }
    assert!(looks <= 12, "{looks} looks in 100 s");
}

#[test]
fn persistent_keepalives_come_when_nothing_else_does() {
    let mut pair = Pair::connected();
    pair.run_until(START + 30 * SECOND);
    let start = pair.a.now.mono;
    pair.a.device.set_keepalive(start, pair.b_at_a, 20);
    pair.a.settle();
    assert_eq!(kinds(&pair.exchange()), [40], "the first at once");
    assert_eq!(kinds(&pair.run_until(start + 19 * SECOND)), [0; 0]);
    assert_eq!(kinds(&pair.run_until(start + 20 * SECOND)), [40]);
    pair.run_until(start + 30 * SECOND);
    pair.offer_a();
    pair.exchange();
    let sent = pair.run_until(start + 49 * SECOND);
    assert_eq!((kinds(&sent), sent[0].from), (vec![40], pair.b.address), "only the answer to the packet");
    // That answer, at 40 s, counts as well.
    assert_eq!(kinds(&pair.run_until(start + 59 * SECOND)), [0; 0]);
    assert_eq!(kinds(&pair.run_until(start + 60 * SECOND)), [40]);
    pair.a.device.set_keepalive(pair.a.now.mono, pair.b_at_a, 0);
    assert_eq!(kinds(&pair.run_until(start + 100 * SECOND)), [0; 0]);
}

#[test]
fn persistent_keepalives_open_sessions_and_never_give_up() {
    let mut pair = Pair::new();
    pair.a.device.set_keepalive(START, pair.b_at_a, 25);
    pair.a.advance_to(START + 1_000 * SECOND);
    let sent = pair.a.take_sent();
    assert!(sent.iter().all(|sent| sent.kind() == 1));
    assert!(sent.len() > 130, "{} initiations in 1000 s", sent.len());
    let now = pair.a.now.mono;
    pair.b.advance_to(now);
    let sent = pair.run_until(now + 30 * SECOND);
    assert_eq!(kinds(&sent)[..3], [1, 2, 40]);
}

#[test]
fn persistent_keepalives_of_an_hour_keep_the_session_fresh() {
    let mut pair = Pair::new();
    pair.a.device.set_keepalive(START, pair.b_at_a, 25);
    let sent = pair.run_until(START + 3_600 * SECOND);
    let initiations = sent.iter().filter(|sent| sent.kind() == 1).count();
    assert!((24..=31).contains(&initiations), "{initiations}");
    assert!(
        sent.iter().filter(|sent| sent.from == pair.b.address).all(|sent| sent.kind() == 2),
        "b has nothing to say"
    );
}

#[test]
fn a_short_persistent_keepalive_does_not_flood() {
    let mut pair = Pair::new();
    pair.a.device.set_keepalive(START, pair.b_at_a, 1);
    pair.a.advance_to(START + 100 * SECOND);
    let initiations = pair.a.take_sent().len();
    assert!((19..=21).contains(&initiations), "{initiations}: one per Rekey-Timeout");
}

#[test]
fn a_long_sleep_is_survived() {
    let mut pair = Pair::connected();
    pair.offer_a();
    pair.exchange();
    // The machine was suspended for a day: everything is due at once, and long ago.
    let morning = START + 86_400 * SECOND;
    for node in [&mut pair.a, &mut pair.b] {
        node.now = crate::node::at(morning);
        node.settle();
    }
    pair.exchange();
    pair.offer_b();
    pair.exchange();
    assert_eq!(pair.a.delivered.len(), 1);
}

#[test]
fn time_at_its_end_does_not_panic() {
    let mut pair = Pair::connected();
    pair.a.now.mono = Time(u64::MAX - 5);
    pair.offer_a();
    pair.a.device.handle_timeout(pair.a.now, &mut pair.a.rng);
}

#[test]
fn only_an_aging_current_session_is_replaced() {
    let mut pair = Pair::connected();
    pair.run_until(START + 10 * SECOND);
    let (peer, now) = (pair.a_at_b, pair.b.now);
    let current = pair.b.sending_index(peer).unwrap();
    let mut ask = |reason| {
        assert!(pair.b.shared(peer).activity.request_handshake());
        pair.b.device.handle_event(now, PeerEvent::NeedHandshake { peer, reason }, &mut pair.b.rng);
        pair.b.settle();
        (kinds(&pair.b.take_sent()), pair.b.shared(peer).activity.is_requested())
    };
    // The worker has not read its mail yet: there is a session, and a younger one.
    assert_eq!(ask(HandshakeReason::NoSession), (vec![], false));
    assert_eq!(ask(HandshakeReason::KeyAging { local_index: current ^ 1 }), (vec![], false));
    // The responder, too, asks when its counter says so.
    assert_eq!(ask(HandshakeReason::KeyAging { local_index: current }), (vec![1], false));
}
