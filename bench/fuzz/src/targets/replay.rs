//! The replay window against a set of all counters ever seen.
//!
//! The input: the first counter (eight bytes), then one step per two or nine bytes: how the next counter lies to the
//! highest that was accepted.

use std::collections::HashSet;

use ringfort_core::constants::REJECT_AFTER_MESSAGES;
use ringfort_core::replay::{ReplayWindow, WINDOW_SIZE};

use crate::Seed;
use crate::input::Input;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut window = ReplayWindow::new();
    let mut seen = HashSet::new();
    let mut highest: Option<u64> = None;
    let mut counter = input.u64();
    loop {
        let below = highest.is_some_and(|highest| highest.saturating_sub(counter) > WINDOW_SIZE);
        let fresh = counter < REJECT_AFTER_MESSAGES && !below && !seen.contains(&counter);
        assert_eq!(window.check_and_set(counter).is_ok(), fresh, "counter {counter} after {highest:?}");
        assert!(window.check_and_set(counter).is_err(), "counter {counter} twice");
        if fresh {
            seen.insert(counter);
            highest = highest.max(Some(counter));
        }
        if input.is_empty() {
            return;
        }
        counter = next(&mut input, highest.unwrap_or(counter));
    }
}

fn next(input: &mut Input<'_>, highest: u64) -> u64 {
    let step = input.byte();
    let small = u64::from(input.byte());
    match step % 8 {
        0 => highest.wrapping_add(1),
        1 => highest.wrapping_add(small),
        2 => highest.wrapping_sub(small),
        // Around the lower edge of the window, on both sides.
        3 => highest.wrapping_sub(WINDOW_SIZE).wrapping_add(small).wrapping_sub(128),
        4 => highest.wrapping_sub(small * 33),
        5 => highest.wrapping_add(small * 70),
        6 => REJECT_AFTER_MESSAGES.wrapping_add(small).wrapping_sub(128),
        _ => input.u64(),
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let start = |counter: u64, steps: &[u8]| [&counter.to_le_bytes(), steps].concat();
    let in_order = [0, 0].repeat(70);
    let shuffled: Vec<u8> = (0..60).flat_map(|i: u8| [[1, 5], [2, i % 5]]).flatten().collect();
    let far: Vec<u8> = (0..40).flat_map(|i: u8| [[5, i], [3, 4 * i], [4, 6 * i]]).flatten().collect();
    let last: Vec<u8> = (100..140).flat_map(|i| [6, i]).collect();
    vec![
        Seed::new("in-order", start(0, &in_order)),
        Seed::new("shuffled", start(5, &shuffled)),
        Seed::new("edges-of-the-window", start(20_000, &far)),
        Seed::new("last-counters", start(REJECT_AFTER_MESSAGES - 3, &last)),
        Seed::new("jump", start(0, &[&[7, 0][..], &(1_u64 << 40).to_le_bytes(), &[3, 127, 3, 128, 3, 129]].concat())),
    ]
}
