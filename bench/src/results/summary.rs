//! From measurements to what is said about them.

use super::model::{Better, Contender, Figure, Ratio, Results, Run, Summary, Verdict};
use super::stats::{self, Difference, Spread};

impl Verdict {
    /// What a difference means for a figure.
    pub fn of(difference: Difference, better: Better) -> Self {
        match (difference, better) {
            (Difference::NotSeen, _) => Self::NoDifferenceSeen,
            (Difference::TooFewRuns, _) => Self::TooFewRuns,
            (_, Better::Neither) => Self::Different,
            (Difference::Higher, Better::Higher) | (Difference::Lower, Better::Lower) => Self::Better,
            (Difference::Higher, Better::Lower) | (Difference::Lower, Better::Higher) => Self::Worse,
        }
    }
}

/// Everything that there is to say about `results.runs`.
pub fn summarise(results: &Results) -> Vec<Summary> {
    let mut rows = Vec::new();
    for test in &results.tests {
        for contender in &results.contenders {
            rows.extend(test.figures.iter().filter_map(|figure| row(results, &test.name, contender, figure)));
        }
    }
    rows
}

fn row(results: &Results, test: &str, contender: &Contender, figure: &Figure) -> Option<Summary> {
    let name = contender.name.as_str();
    let values = values(results, test, name, &figure.name);
    let spread = Spread::of(&values)?;
    let reference = results.plan.reference.as_deref().filter(|reference| *reference != name);
    let ratio = reference.and_then(|reference| ratio(&rounds(results, test, name, reference, figure), figure));
    let ratio =
        ratio.map(|ratio| Ratio { verdict: if contender.ceiling { Verdict::Ceiling } else { ratio.verdict }, ..ratio });
    Some(Summary {
        test: test.to_owned(),
        contender: name.to_owned(),
        figure: figure.name.clone(),
        runs: spread.runs,
        median: spread.median,
        min: spread.min,
        max: spread.max,
        mad: spread.mad,
        ratio,
    })
}

/// A figure in all measurements of a contender, in their order.
pub fn values(results: &Results, test: &str, contender: &str, figure: &str) -> Vec<f64> {
    results.runs_of(test, contender).filter_map(|run| run.figures.get(figure).copied()).collect()
}

/// A figure of two contenders in each round in which both have it.
fn rounds(results: &Results, test: &str, ours: &str, theirs: &str, figure: &Figure) -> Vec<(f64, f64)> {
    let theirs: Vec<_> = results.runs_of(test, theirs).collect();
    let pair = |run: &Run| {
        let other = theirs.iter().find(|other| other.round == run.round)?;
        Some((*run.figures.get(&figure.name)?, *other.figures.get(&figure.name)?))
    };
    results.runs_of(test, ours).filter_map(pair).collect()
}

fn ratio(rounds: &[(f64, f64)], figure: &Figure) -> Option<Ratio> {
    let ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours / theirs).collect();
    let spread = Spread::of(&ratios).filter(|spread| spread.min.is_finite() && spread.max.is_finite())?;
    let verdict = Verdict::of(stats::compare_rounds(rounds), figure.better);
    Some(Ratio { median: spread.median, min: spread.min, max: spread.max, verdict })
}
