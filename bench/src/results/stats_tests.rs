//! The tests are tested against published tables, by brute force, and with what a noisy machine would produce.

use super::*;

/// SplitMix64, and of it normally distributed numbers.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A throughput around `level`: log-normal, and one run in ten is slowed down by something else.
    fn run(&mut self, level: f64, spread: f64) -> f64 {
        let disturbed = if self.uniform() < 0.1 { 0.5 + 0.5 * self.uniform() } else { 1.0 };
        level * (spread * self.normal()).exp() * disturbed
    }

    /// Rounds of two contenders; each round is fast or slow for both.
    fn rounds(&mut self, count: usize, ratio: f64, spread: f64, weather: f64) -> Vec<(f64, f64)> {
        (0..count)
            .map(|_| {
                let level = 1_000.0 * (weather * self.normal()).exp();
                (self.run(level * ratio, spread), self.run(level, spread))
            })
            .collect()
    }
}

/// The share of `trials` sessions in which `wanted` holds for the verdict.
fn share(trials: usize, mut session: impl FnMut() -> Difference, wanted: impl Fn(Difference) -> bool) -> f64 {
    (0..trials).filter(|_| wanted(session())).count() as f64 / trials as f64
}

fn seen(difference: Difference) -> bool {
    matches!(difference, Difference::Higher | Difference::Lower)
}

#[test]
fn spreads() {
    let spread = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
    assert_eq!(spread, Spread { runs: 3, median: 2.0, min: 1.0, max: 3.0, mad: 1.0 });
    assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
    assert_eq!(Spread::of(&[7.0]).unwrap().mad, 0.0);
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn ranks_of_ties_are_their_mean() {
    assert_eq!(doubled_ranks(&[10.0, 30.0, 20.0]), [2, 6, 4]);
    assert_eq!(doubled_ranks(&[5.0, 5.0, 7.0]), [3, 3, 6]);
}

#[test]
fn five_ranges_that_do_not_overlap_are_a_difference_and_four_are_too_few() {
    let low = [1.0, 2.0, 3.0, 4.0, 5.0];
    let high = [6.0, 7.0, 8.0, 9.0, 10.0];
    assert!((rank_sum_p(&low, &high) - 2.0 / 252.0).abs() < 1e-12);
    assert_eq!(compare(&high, &low), Difference::Higher);
    assert_eq!(compare(&low, &high), Difference::Lower);
    // One run across the border is enough for doubt.
    assert_eq!(compare(&[1.0, 2.0, 3.0, 4.0, 6.5], &high), Difference::NotSeen);
    assert_eq!(compare(&low[..4], &high[..4]), Difference::TooFewRuns);
    assert_eq!(compare(&[], &high), Difference::TooFewRuns);
}

#[test]
fn exact_values_agree_with_published_tables() {
    // Mann–Whitney, n = m = 5: the critical value of U at 5 % is 2.
    let p_of = |ours: [f64; 5]| {
        let theirs: Vec<f64> = (1..=10).map(f64::from).filter(|value| !ours.contains(value)).collect();
        rank_sum_p(&ours, &theirs)
    };
    assert!((p_of([1.0, 2.0, 3.0, 4.0, 7.0]) - 8.0 / 252.0).abs() < 1e-12, "U = 2");
    assert!((p_of([1.0, 2.0, 3.0, 4.0, 8.0]) - 14.0 / 252.0).abs() < 1e-12, "U = 3");
    // Signed ranks, n = 8: the critical sum at 5 % is 3, at 1 % it is 0.
    let differences = |negative: &[f64]| -> Vec<f64> {
        (1..=8).map(f64::from).map(|size| if negative.contains(&size) { -size } else { size }).collect()
    };
    assert!((signed_rank_p(&differences(&[])) - 2.0 / 256.0).abs() < 1e-12);
    assert!(signed_rank_p(&differences(&[3.0])) <= 0.05);
    assert!(signed_rank_p(&differences(&[4.0])) > 0.05);
    assert!(signed_rank_p(&differences(&[1.0])) > 0.01);
    assert_eq!(signed_rank_p(&[0.0; 8]), 1.0);
}

#[test]
fn exact_values_agree_with_counting_every_arrangement() {
    let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0];
    let ranks = doubled_ranks(&values);
    let observed: usize = ranks[..4].iter().sum();
    let sums: Vec<usize> = (0_u32..1 << 9)
        .filter(|set| set.count_ones() == 4)
        .map(|set| ranks.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, rank)| rank).sum())
        .collect();
    let tail = |far: &dyn Fn(usize) -> bool| sums.iter().filter(|sum| far(**sum)).count() as f64 / sums.len() as f64;
    let expected = (2.0 * tail(&|sum| sum <= observed).min(tail(&|sum| sum >= observed))).min(1.0);
    assert!((rank_sum_p(&values[..4], &values[4..]) - expected).abs() < 1e-12);
}

#[test]
fn the_approximation_meets_the_exact_value() {
    let mut noise = Noise(11);
    let ours: Vec<f64> = (0..60).map(|_| noise.normal()).collect();
    let theirs: Vec<f64> = (0..60).map(|_| noise.normal() + 0.4).collect();
    let exact = rank_sum_p(&ours, &theirs);
    let all: Vec<f64> = ours.iter().chain(&theirs).copied().collect();
    let ranks = doubled_ranks(&all);
    let normal = rank_sum_p_normal(&ranks, 60, ranks[..60].iter().sum());
    assert!((exact - normal).abs() < 0.003, "{exact} {normal}");
    let many: Vec<f64> = (0..500).map(|_| noise.normal()).collect();
    assert_eq!(compare(&many, &many), Difference::NotSeen);
}

#[test]
fn identical_programs_are_not_told_apart() {
    let mut noise = Noise(1);
    for (rounds, spread, weather) in [(5, 0.02, 0.0), (5, 0.2, 0.3), (8, 0.05, 0.5), (12, 0.1, 0.1)] {
        let wrong = share(1_000, || compare_rounds(&noise.rounds(rounds, 1.0, spread, weather)), seen);
        assert!(wrong <= 0.02, "{rounds} rounds, spread {spread}, weather {weather}: {wrong} of all sessions differ");
    }
    let same: Vec<(f64, f64)> = vec![(5.0, 5.0); 9];
    assert_eq!(compare_rounds(&same), Difference::NotSeen);
    assert_eq!(compare_rounds(&[(0.0, 0.0); 9]), Difference::NotSeen);
}

#[test]
fn a_difference_beyond_the_noise_is_seen() {
    let mut noise = Noise(2);
    let higher = |difference| difference == Difference::Higher;
    let clear = share(200, || compare_rounds(&noise.rounds(5, 2.5, 0.05, 0.0)), higher);
    assert!(clear > 0.9, "{clear}");
    // Weather that hides the difference between the sets does not hide it between the members of each pair.
    let paired = share(200, || compare_rounds(&noise.rounds(15, 1.5, 0.03, 0.6)), higher);
    assert!(paired > 0.9, "{paired}");
    let unpaired = share(
        200,
        || {
            let (ours, theirs): (Vec<f64>, Vec<f64>) = noise.rounds(15, 1.5, 0.03, 0.6).into_iter().unzip();
            compare(&ours, &theirs)
        },
        higher,
    );
    assert!(unpaired < paired);
}

#[test]
fn a_spread_larger_than_the_difference_shows_nothing() {
    let mut noise = Noise(3);
    let small = share(500, || compare_rounds(&noise.rounds(5, 1.02, 0.15, 0.0)), seen);
    assert!(small < 0.03, "{small}");
}

#[test]
fn the_test_that_is_passed_says_which_is_higher() {
    let theirs = [100.0, 110.0, 120.0, 130.0, 200.0, 210.0, 300.0, 310.0, 320.0, 330.0];
    let factor = |round| match round {
        4 => 0.99,
        5 => 0.985,
        _ => 1.05,
    };
    let rounds: Vec<(f64, f64)> =
        theirs.iter().enumerate().map(|(at, theirs)| (theirs * factor(at), *theirs)).collect();
    let (ours, _): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    assert!(Spread::of(&ours).unwrap().median < Spread::of(&theirs).unwrap().median);
    assert!(rank_sum_p(&ours, &theirs) > 0.5);
    assert_eq!(compare_rounds(&rounds), Difference::Higher);
    let turned: Vec<(f64, f64)> = rounds.iter().map(|&(ours, theirs)| (theirs, ours)).collect();
    assert_eq!(compare_rounds(&turned), Difference::Lower);
}

#[test]
fn two_tests_that_contradict_each_other_show_nothing() {
    // In 82 rounds ours is a little lower, and in 18 far higher.
    let rounds = (0..100).map(|round| (round, 100.0 + f64::from(round)));
    let rounds =
        rounds.map(|(round, level)| if round < 18 { (level * 1e2, level / 1e2) } else { (level * 0.999, level) });
    let rounds: Vec<(f64, f64)> = rounds.collect();
    let differences: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours.ln() - theirs.ln()).collect();
    let (ours, theirs): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    assert!(rank_sum_p(&ours, &theirs) < LEVEL && signed_rank_p(&differences) < LEVEL);
    assert_eq!(compare(&ours, &theirs), Difference::Higher);
    assert_eq!(compare_rounds(&rounds), Difference::NotSeen);
}
