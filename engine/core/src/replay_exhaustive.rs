//! Small windows with every sequence of counters, of whatever length: all states that can be reached are visited, and
//! in each of them every counter is tried.

use std::collections::HashSet;
use std::ops::Range;

use super::*;

/// What a window must know, as plainly as it can be said: the counters seen that are not too old.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Oracle {
    highest: Option<u64>,
    seen: Vec<u64>,
}

impl Oracle {
    fn check_and_set(&mut self, counter: u64, size: u64) -> Result<(), Replay> {
        let is_old = |highest: Option<u64>, counter: u64| highest.is_some_and(|highest| counter + size < highest);
        if counter >= REJECT_AFTER_MESSAGES || is_old(self.highest, counter) || self.seen.contains(&counter) {
            return Err(Replay);
        }
        self.highest = self.highest.max(Some(counter));
        self.seen.push(counter);
        // So that equal states are equal: what is too old is of no account any more.
        self.seen.retain(|&seen| !is_old(self.highest, seen));
        self.seen.sort_unstable();
        Ok(())
    }
}

/// Visits every state that counters of `range` lead to; returns how many there are.
fn agrees<const WORDS: usize, const WORD_BITS: u64>(range: Range<u64>) -> usize {
    let start = (Window::<WORDS, WORD_BITS>::new(), Oracle::default());
    let mut known = HashSet::from([start.clone()]);
    let mut to_visit = vec![start];
    while let Some((window, oracle)) = to_visit.pop() {
        for counter in range.clone() {
            let (mut window, mut oracle) = (window.clone(), oracle.clone());
            let before = window.clone();
            let verdict = window.check_and_set(counter);
            let expected = oracle.check_and_set(counter, Window::<WORDS, WORD_BITS>::SIZE);
            assert_eq!(verdict, expected, "{counter} after {:?} of {:?}", oracle.seen, oracle.highest);
            assert!(verdict.is_ok() || window == before, "a refused counter changes nothing");
            let state = (window, oracle);
            if !known.contains(&state) {
                known.insert(state.clone());
                to_visit.push(state);
            }
        }
    }
    known.len()
}

/// From no counter on, over three rounds of the ring.
#[test]
fn every_sequence_from_the_start() {
    assert!(agrees::<1, 2>(0..8) > 8);
    assert!(agrees::<2, 1>(0..8) > 8);
    assert!(agrees::<2, 2>(0..13) > 13);
    assert!(agrees::<4, 1>(0..13) > 13);
    assert!(agrees::<2, 3>(0..19) > 100);
    assert!(agrees::<4, 2>(0..25) > 100);
    assert!(agrees::<8, 1>(0..25) > 100);
}

/// Up to the last counter and beyond it; the first one is a far jump.
#[test]
fn every_sequence_at_the_end() {
    let end = REJECT_AFTER_MESSAGES;
    assert!(agrees::<2, 2>(end - 9..end + 3) > 13);
    assert!(agrees::<4, 2>(end - 17..end + 3) > 100);
    assert!(agrees::<4, 2>(u64::MAX - 3..u64::MAX) == 1, "nobody may use these");
}
