//! What may be said about figures that vary from run to run: medians, spreads, and whether a difference is more than
//! the machine's mood.
//!
//! Nothing is assumed about how the figures are distributed: benchmarks on shared machines are skewed and have
//! outliers. Two exact tests on ranks are used instead. Both ask: were these programs the same, how often would chance
//! alone put their runs at least this far apart?
//!
//! * The rank-sum test (Wilcoxon 1945; Mann and Whitney 1947) looks at both sets of runs as they are. With five runs on
//!   each side it is passed exactly when the two ranges do not overlap.
//! * The signed-rank test (Wilcoxon 1945) looks at the ratio within each round, and so does not see what slows a whole
//!   round. It needs eight rounds to be passed at all.
//!
//! A difference is *seen* when one of them comes below [`LEVEL`]; two identical programs thus differ in one of fifty
//! comparisons at most. The test that is passed also says which of them is higher: the medians of both sets may say
//! otherwise.

use std::cmp::Ordering;

/// How often chance may pass one of the tests.
pub const LEVEL: f64 = 0.01;

/// Above this many values the sum of ranks is taken as normally distributed: exact counting becomes slow there, and
/// the approximation is good.
const EXACT_LEN_MAX: usize = 120;

/// Where the runs lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many there are.
    pub runs: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Median of the absolute deviations from the median.
    pub mad: f64,
}

impl Spread {
    /// Of at least one value; `None` of an empty set.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = middle(&sorted);
        let deviations: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        Some(Self { runs: sorted.len(), median, min, max, mad: middle(&self::sorted(&deviations)) })
    }
}

/// What a comparison of two sets of runs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The first set is higher.
    Higher,
    /// The first set is lower.
    Lower,
    /// Chance explains it.
    NotSeen,
    /// So few runs that no outcome could have shown a difference.
    TooFewRuns,
}

/// Compares two sets of runs that have nothing to do with each other: of two files, for example.
pub fn compare(ours: &[f64], theirs: &[f64]) -> Difference {
    verdict(&[rank_sum(ours, theirs)])
}

/// Compares the runs of two contenders of one interleaved session: `(ours, theirs)` of each round.
pub fn compare_rounds(rounds: &[(f64, f64)]) -> Difference {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    let differences: Vec<f64> = rounds.iter().map(|(ours, theirs)| logarithm(*ours) - logarithm(*theirs)).collect();
    verdict(&[rank_sum(&ours, &theirs), signed_rank(&differences)])
}

/// What came of a test.
struct Tested {
    p: f64,
    /// The least p-value that it can have with so many runs.
    p_least: f64,
    /// On which side of what chance gives in the middle the first set is. Medians may be on the other one.
    direction: Ordering,
}

fn rank_sum(ours: &[f64], theirs: &[f64]) -> Tested {
    let (_, observed) = ranks_of_both(ours, theirs);
    // Doubled ranks, from 2 to twice as many as there are, have this mean.
    let mean = ours.len() * (ours.len() + theirs.len() + 1);
    let p_least = rank_sum_p_least(ours.len(), theirs.len());
    Tested { p: rank_sum_p(ours, theirs), p_least, direction: observed.cmp(&mean) }
}

fn signed_rank(differences: &[f64]) -> Tested {
    let (ranks, positive) = signed_ranks(differences);
    let negative = ranks.iter().sum::<usize>() - positive;
    let p_least = 2.0_f64.powi(1 - i32::try_from(differences.len()).unwrap_or(i32::MAX));
    Tested { p: signed_rank_p(differences), p_least, direction: positive.cmp(&negative) }
}

fn verdict(tests: &[Tested]) -> Difference {
    if tests.iter().all(|test| test.p_least > LEVEL) {
        return Difference::TooFewRuns;
    }
    let passed: Vec<Ordering> = tests.iter().filter(|test| test.p <= LEVEL).map(|test| test.direction).collect();
    // Two tests that pass in opposite directions show none.
    match passed.first() {
        Some(Ordering::Greater) if !passed.contains(&Ordering::Less) => Difference::Higher,
        Some(Ordering::Less) if !passed.contains(&Ordering::Greater) => Difference::Lower,
        _ => Difference::NotSeen,
    }
}

/// So that a ratio counts the same in both directions; zeros stay comparable.
fn logarithm(value: f64) -> f64 {
    value.max(f64::MIN_POSITIVE).ln()
}

/// The two-sided p-value of the rank-sum test: exact, ties at their mean rank.
pub fn rank_sum_p(ours: &[f64], theirs: &[f64]) -> f64 {
    if ours.is_empty() || theirs.is_empty() {
        return 1.0;
    }
    let (ranks, observed) = ranks_of_both(ours, theirs);
    if ranks.len() > EXACT_LEN_MAX {
        return rank_sum_p_normal(&ranks, ours.len(), observed);
    }
    // counts[k][s]: how many ways there are to choose k of the ranks with the sum s.
    let mut counts = vec![vec![0.0; ranks.iter().sum::<usize>() + 1]; ours.len() + 1];
    counts[0][0] = 1.0;
    let mut reached = 0;
    for (position, &rank) in ranks.iter().enumerate() {
        reached += rank;
        for chosen in (1..=ours.len().min(position + 1)).rev() {
            for sum in (rank..=reached).rev() {
                counts[chosen][sum] += counts[chosen - 1][sum - rank];
            }
        }
    }
    two_sided(&counts[ours.len()], observed)
}

/// The doubled ranks of both sets, and the sum of those of the first.
fn ranks_of_both(ours: &[f64], theirs: &[f64]) -> (Vec<usize>, usize) {
    let all: Vec<f64> = ours.iter().chain(theirs).copied().collect();
    let ranks = doubled_ranks(&all);
    let observed = ranks[..ours.len()].iter().sum();
    (ranks, observed)
}

/// The p-value of two sets that do not overlap: the least that there is.
fn rank_sum_p_least(ours: usize, theirs: usize) -> f64 {
    // 2 / binomial(ours + theirs, ours)
    (1..=ours).fold(2.0, |p, i| p * i as f64 / (theirs + i) as f64)
}

fn rank_sum_p_normal(ranks: &[usize], chosen: usize, observed: usize) -> f64 {
    let (all, chosen) = (ranks.len() as f64, chosen as f64);
    let mean_rank = ranks.iter().sum::<usize>() as f64 / all;
    let variance = ranks.iter().map(|rank| (*rank as f64 - mean_rank).powi(2)).sum::<f64>() / (all - 1.0);
    let deviation = (variance * chosen * (all - chosen) / all).sqrt();
    normal_p((observed as f64 - chosen * mean_rank).abs(), deviation)
}

/// The two-sided p-value of the signed-rank test of differences: exact; zeros are left out, ties at their mean rank.
pub fn signed_rank_p(differences: &[f64]) -> f64 {
    let (ranks, observed) = signed_ranks(differences);
    if ranks.len() > EXACT_LEN_MAX {
        let mean = ranks.iter().sum::<usize>() as f64 / 2.0;
        let variance = ranks.iter().map(|rank| (*rank as f64 / 2.0).powi(2)).sum::<f64>();
        return normal_p((observed as f64 - mean).abs(), variance.sqrt());
    }
    let mut counts = vec![0.0; ranks.iter().sum::<usize>() + 1];
    counts[0] = 1.0;
    for &rank in &ranks {
        for sum in (rank..counts.len()).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    two_sided(&counts, observed)
}

/// The doubled ranks of the sizes of all differences but zeros, and the sum of those of the positive ones.
fn signed_ranks(differences: &[f64]) -> (Vec<usize>, usize) {
    let differences: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    let sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    let ranks = doubled_ranks(&sizes);
    let positive = ranks.iter().zip(&differences).filter(|(_, difference)| **difference > 0.0);
    let observed = positive.map(|(rank, _)| *rank).sum();
    (ranks, observed)
}

/// The share of all arrangements whose sum is at least as far out as the observed one, on both sides.
fn two_sided(counts: &[f64], observed: usize) -> f64 {
    let all: f64 = counts.iter().sum();
    let below: f64 = counts[..=observed].iter().sum();
    let above: f64 = counts[observed..].iter().sum();
    (2.0 * below.min(above) / all).min(1.0)
}

/// Twice the upper tail of the normal distribution (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn normal_p(distance: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return 1.0;
    }
    let z = distance / deviation;
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let polynomial = series.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    2.0 * polynomial * (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

/// Twice the rank of each value, from 2 upwards, so the mean rank of ties is a whole number.
fn doubled_ranks(values: &[f64]) -> Vec<usize> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count();
    let equal = |value: f64| values.iter().filter(|other| **other == value).count();
    values.iter().map(|&value| 2 * below(value) + equal(value) + 1).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
