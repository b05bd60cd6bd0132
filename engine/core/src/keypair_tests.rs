//! Counters, ages and refusals of both halves.

use std::time::Duration;

use super::*;

const START: Time = Time::from_secs(1_000);

fn send_session(initiator: bool, counter: u64) -> SendSession<()> {
    let session = SendSession::new((), 1, 2, START, initiator);
    session.counter.store(counter, Ordering::Relaxed);
    session
}

fn receive_session(initiator: bool) -> ReceiveSession<()> {
    ReceiveSession::new((), 1, START, initiator)
}

#[test]
fn ranges_follow_each_other() {
    let session = send_session(true, 0);
    assert_eq!(session.reserve(START, 64), Ok(0));
    assert_eq!(session.reserve(START, 1), Ok(64));
    assert_eq!(session.reserve(START, 3), Ok(65));
    assert_eq!((session.local_index(), session.remote_index()), (1, 2));
}

#[test]
fn the_last_counter_is_the_one_below_the_limit() {
    let session = send_session(true, REJECT_AFTER_MESSAGES - 3);
    assert_eq!(session.reserve(START, 3), Ok(REJECT_AFTER_MESSAGES - 3));
    for _ in 0..3 {
        assert_eq!(session.reserve(START, 1), Err(SendRefusal::Exhausted));
    }
}

#[test]
fn a_short_train_does_not_get_what_a_longer_one_was_refused() {
    for n in [4, u64::MAX] {
        let session = send_session(true, REJECT_AFTER_MESSAGES - 3);
        assert_eq!(session.reserve(START, n), Err(SendRefusal::Exhausted));
        assert_eq!(session.reserve(START, 3), Err(SendRefusal::Exhausted));
        assert!(session.wants_rekey(START));
    }
}

#[test]
fn sending_ends_with_the_age() {
    let session = send_session(true, 0);
    let end = START + REJECT_AFTER_TIME;
    assert_eq!(session.reserve(end - Duration::from_nanos(1), 1), Ok(0));
    assert_eq!(session.reserve(end, 1), Err(SendRefusal::Expired));
    // Another core's clock may be read a little before the session was made.
    assert_eq!(session.reserve(START - Duration::from_secs(1), 1), Ok(1));
}

#[test]
fn both_rekey_by_count_but_only_the_initiator_by_age() {
    let due = START + REKEY_AFTER_TIME;
    assert!(!send_session(true, 0).wants_rekey(due - Duration::from_nanos(1)));
    assert!(send_session(true, 0).wants_rekey(due));
    assert!(!send_session(false, 0).wants_rekey(due));
    for initiator in [true, false] {
        assert!(!send_session(initiator, REKEY_AFTER_MESSAGES - 1).wants_rekey(START));
        let worn_out = |count| send_session(initiator, count).with_rekey_after_messages(1 << 28).wants_rekey(START);
        assert!(worn_out(1 << 28) && !worn_out((1 << 28) - 1));
        assert!(send_session(initiator, REKEY_AFTER_MESSAGES).wants_rekey(START));
    }
}

/// Of two indices that differ in their low byte, which names a worker, or in their top byte, which may name a node,
/// each has the other's age.
#[test]
fn each_session_is_replaced_at_an_age_of_its_own() {
    let wants = |index, age| SendSession::new((), index, 2, START, true).wants_rekey(START + age);
    let nano = Duration::from_nanos(1);
    let earliest = REKEY_AFTER_TIME - REKEY_SPREAD;
    for (index, age) in [
        (0x0000_00ff, REKEY_AFTER_TIME),
        (0xff00_0000, REKEY_AFTER_TIME),
        (0x0080_0000, REKEY_AFTER_TIME - REKEY_SPREAD / 2),
        (0xff80_00ff, REKEY_AFTER_TIME - REKEY_SPREAD / 2),
        // One part of 2^16 is 229 µs.
        (0x00ff_ff00, earliest + Duration::from_nanos(228_882)),
    ] {
        assert!(wants(index, age) && !wants(index, age - nano), "{index:08x}");
    }
    assert!(!SendSession::new((), u32::MAX, 2, START, false).wants_rekey(START + REKEY_AFTER_TIME));
}

#[test]
fn sessions_that_began_together_are_replaced_one_by_one() {
    let mut rng = crate::test_support::SeededRng::new(1);
    let mut index = || rand_core::Rng::next_u32(&mut rng);
    let mut in_each_second = [0; REKEY_SPREAD.as_secs() as usize];
    for _ in 0..10_000 {
        let early = REKEY_AFTER_TIME - rekey_after_time(index());
        in_each_second[early.as_secs() as usize] += 1;
    }
    assert!(in_each_second.iter().all(|asked| (550..=800).contains(asked)), "{in_each_second:?}");
}

#[test]
fn no_counter_is_given_twice_to_many_threads() {
    const THREADS: u64 = 4;
    const TAKEN: u64 = 5_000;
    // It ends in the refusal, so the race for the last ones is part of the test.
    let session = send_session(true, REJECT_AFTER_MESSAGES - THREADS * TAKEN * 3 / 2);
    let take = || {
        let lengths = (0..TAKEN).map(|i| i % 3 + 1);
        let ranges = lengths.filter_map(|n| session.reserve(START, n).ok().map(|first| first..first + n));
        ranges.collect::<Vec<_>>()
    };
    let mut ranges = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.is_sorted_by(|a, b| a.end == b.start), "neither overlap nor gap");
    let end = ranges.last().expect("some").end;
    assert!((REJECT_AFTER_MESSAGES - 2..=REJECT_AFTER_MESSAGES).contains(&end), "up to where one found too few");
}

#[test]
fn receiving_ends_with_the_age() {
    let session = receive_session(false);
    let end = START + REJECT_AFTER_TIME;
    assert!(session.usable(START) && session.usable(end - Duration::from_nanos(1)));
    assert!(!session.usable(end));
}

#[test]
fn the_responder_is_confirmed_once() {
    assert!(!receive_session(true).confirm());
    let mut session = receive_session(false);
    assert!(session.awaits_confirmation());
    assert!(session.confirm());
    assert!(!session.awaits_confirmation() && !session.confirm());
}

#[test]
fn the_last_moment_comes_once_and_to_the_initiator() {
    let due = START + Duration::from_secs(165);
    let mut session = receive_session(true);
    assert!(!session.wants_rekey(due - Duration::from_nanos(1)));
    assert!(session.wants_rekey(due) && session.wants_rekey(due), "until it is asked for");
    session.note_rekey_asked();
    assert!(!session.wants_rekey(due));
    assert!(!receive_session(false).wants_rekey(due));
}

#[test]
fn a_receiving_half_takes_each_counter_once() {
    let mut session = receive_session(true);
    assert_eq!(session.accept(5), Ok(()));
    assert_eq!(session.accept(5), Err(Replay));
    assert_eq!(session.accept(REJECT_AFTER_MESSAGES), Err(Replay));
}

#[test]
fn a_replay_has_its_name() {
    assert_eq!(DropReason::from(Replay), DropReason::Replay);
}
