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
    let rounds = reference.map_or_else(Vec::new, |reference| rounds(results, test, name, reference, figure));
    let verdict = (!rounds.is_empty()).then(|| match contender.ceiling {
        true => Verdict::Ceiling,
        false => Verdict::of(stats::compare_rounds(&rounds), figure.better),
    });
    Some(Summary {
        test: test.to_owned(),
        contender: name.to_owned(),
        figure: figure.name.clone(),
        runs: spread.runs,
        median: spread.median,
        min: spread.min,
        max: spread.max,
        mad: spread.mad,
        verdict,
        ratio: verdict.and_then(|verdict| ratio(&rounds, verdict)),
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

/// `None` where it is infinite in a round, or nothing to nothing. There may be a difference all the same.
fn ratio(rounds: &[(f64, f64)], verdict: Verdict) -> Option<Ratio> {
    let ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours / theirs).collect();
    let spread = Spread::of(&ratios).filter(|spread| spread.min.is_finite() && spread.max.is_finite())?;
    Some(Ratio { median: spread.median, min: spread.min, max: spread.max, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::report::terminal::comparison;

    /// What is said about `fast`, of whose latency these are the figures in each round, and those of the reference.
    fn of_rounds(rounds: &[(f64, f64)]) -> Summary {
        let mut results = synthetic::results();
        for run in results.runs.iter_mut().filter(|run| run.test == "latency" && run.error.is_none()) {
            let (ours, theirs) = rounds[run.round as usize - 1];
            run.figures.insert("p50".to_owned(), if run.contender == "fast" { ours } else { theirs });
        }
        let summary = summarise(&results);
        let wanted = |row: &Summary| (row.contender.as_str(), row.figure.as_str()) == ("fast", "p50");
        summary.into_iter().find(wanted).unwrap()
    }

    #[test]
    fn a_reference_of_nothing_takes_the_ratio_and_not_the_verdict() {
        let row = of_rounds(&[(3.0, 0.0); 5]);
        assert_eq!((row.verdict, row.ratio), (Some(Verdict::Worse), None));
        assert_eq!(comparison(&row).as_deref(), Some("worse"));
        let row = of_rounds(&[(3.0, 1.0), (3.0, 0.5), (3.0, 1.0), (3.0, 0.0), (3.0, 1.5)]);
        assert_eq!((row.verdict, row.ratio), (Some(Verdict::Worse), None));
        let row = of_rounds(&[(0.0, 0.0); 5]);
        assert_eq!((row.verdict, row.ratio), (Some(Verdict::NoDifferenceSeen), None));
        let row = of_rounds(&[(3.0, 1.5); 5]);
        let ratio = Ratio { median: 2.0, min: 2.0, max: 2.0, verdict: Verdict::Worse };
        assert_eq!((row.verdict, row.ratio), (Some(Verdict::Worse), Some(ratio)));
        assert_eq!(comparison(&row).as_deref(), Some("2.00 × worse"));
    }

    #[test]
    fn files_whose_summary_has_no_verdict_are_read() {
        let mut old = serde_json::to_value(of_rounds(&[(3.0, 1.5); 5])).unwrap();
        old.as_object_mut().unwrap().remove("verdict").unwrap();
        let read: Summary = serde_json::from_value(old).unwrap();
        assert_eq!((read.verdict, read.ratio.is_some()), (None, true));
    }
}
