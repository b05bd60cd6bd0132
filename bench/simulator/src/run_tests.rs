//! The simulator itself: some seeds are clean, one seed is one run, and what is wrong is noticed and made small.

use super::*;

/// Seeds whose runs are short enough for a build without optimisation.
const SEEDS: [u64; 3] = [3, 5, 7];

#[test]
fn some_seeds_are_clean() {
    for seed in SEEDS {
        let summary = run(seed, &Cuts::default()).unwrap_or_else(|failure| {
            panic!("seed {seed}: {}\n{}", failure.what, failure.trace.last(60));
        });
        assert!(summary.delivered > 0, "seed {seed} is about something");
    }
}

#[test]
fn one_seed_is_one_run() {
    let hash = |seed| run(seed, &Cuts::default()).expect("a clean seed").hash;
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(7));
}

/// Whoever does not accept that anything is lost finds a failure in every network that loses something. What is left of
/// it is a network that loses, and one talk.
#[test]
fn a_failure_is_noticed_made_small_and_seen_again() {
    let impatient = Cuts(vec![Cut::Patience, Cut::Calm]);
    let lossy = (0..100).find(|&seed| {
        let drawn = scenario(seed, &Cuts::default());
        drawn.network.loss > 50 && drawn.happenings.len() > 1 && drawn.talks.len() > 1
    });
    let seed = lossy.expect("one in a hundred seeds is like that");
    let failure = run(seed, &impatient).expect_err("something is lost");
    let (cuts, small) = shrink(seed, impatient, failure);
    let left = scenario(seed, &cuts);
    assert!(left.happenings.is_empty(), "{cuts}");
    assert!(left.gateways.len() == 2 && left.talks.len() <= 2, "{cuts}");
    let again = run(seed, &cuts.to_string().parse().expect("cuts are read as they are written"));
    let again = again.expect_err("it fails again");
    assert_eq!((again.what, again.trace.hash()), (small.what, small.trace.hash()));
}
