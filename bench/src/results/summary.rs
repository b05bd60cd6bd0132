//! From measurements to what is said about them.

use serde::{Deserialize, Serialize};

use super::model::{Better, Contender, Figure, Results, Run};
use super::stats::{self, Difference, Spread};

/// One figure of one contender in one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The test.
    pub test: String,
    /// The contender.
    pub contender: String,
    /// The figure.
    pub figure: String,
    /// How many measurements there are.
    pub runs: usize,
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Median of the absolute deviations from the median.
    pub mad: f64,
    /// Beside the reference; absent for the reference itself, and where it measured nothing.
    #[serde(default)]
    pub ratio: Option<Ratio>,
}

/// A figure as a multiple of the reference's of the same round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The middle of all rounds.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// What may be said about it.
    pub verdict: Verdict,
}

/// What may be said about a ratio, or about two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A difference is seen, for the better.
    Better,
    /// A difference is seen, for the worse.
    Worse,
    /// A difference is seen; the figure has no good direction.
    Different,
    /// The runs vary more than they differ.
    NoDifferenceSeen,
    /// No outcome of so few runs could have shown a difference.
    TooFewRuns,
    /// The contender does not do the work that is compared.
    Ceiling,
}

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

    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Different => "different",
            Self::NoDifferenceSeen => "no difference seen",
            Self::TooFewRuns => "too few runs",
            Self::Ceiling => "ceiling",
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
