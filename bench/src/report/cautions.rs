//! What a reader must know before a figure is quoted: the machine was emulated or busy, or the ceiling is none.

use crate::busy;
use crate::results::Results;
use crate::results::model::{Better, Test};
use crate::results::stats::Spread;
use crate::scale::Scale;

/// A sentence for each.
pub fn cautions(results: &Results) -> Vec<String> {
    let others: Vec<f64> = results.runs.iter().filter_map(|run| run.others_cpu_percent).collect();
    let busy = Spread::of(&others).and_then(|others| busy::caution(others.median));
    let mut cautions: Vec<String> = results.stamp.caution().into_iter().chain(busy).collect();
    cautions.extend(results.tests.iter().flat_map(|test| above_the_ceiling(results, test)));
    if results.finished.is_empty() {
        let made = results.runs.len();
        cautions.push(format!("the session was interrupted after {made} runs: `compare --resume` goes on with it"));
    }
    cautions
}

/// Latency under load has no ceiling: the bare cable is loaded far more, so its queues may be longer.
const WITHOUT_CEILING: &str = "rrul";

/// Contenders that do better than what nobody can do better than.
fn above_the_ceiling(results: &Results, test: &Test) -> Vec<String> {
    if test.name == WITHOUT_CEILING {
        return Vec::new();
    }
    let Some(main) = test.figures.first() else { return Vec::new() };
    let median = |contender: &str| results.summary_of(&test.name, contender, &main.name).map(|row| row.median);
    let is_above = |ours: f64, ceiling: f64| match main.better {
        Better::Higher => ours > ceiling,
        Better::Lower => ours < ceiling,
        Better::Neither => false,
    };
    let ceilings = results.contenders.iter().filter(|contender| contender.ceiling);
    let ceilings = ceilings.filter_map(|contender| Some((contender.name.as_str(), median(&contender.name)?)));
    let mut found = Vec::new();
    for (name, ceiling) in ceilings {
        for contender in results.contenders.iter().filter(|contender| !contender.ceiling) {
            let Some(ours) = median(&contender.name).filter(|ours| is_above(*ours, ceiling)) else { continue };
            let scale = Scale::of(main.unit, ceiling);
            found.push(format!(
                "{}: {name} is the ceiling, but {} did better ({}, and {}): the generator or the machine was the \
                 limit, and the figures of this test say little",
                test.title,
                contender.name,
                scale.value(ours),
                scale.value(ceiling)
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::results::summary;

    #[test]
    fn a_quiet_machine_below_its_ceiling_needs_none() {
        assert_eq!(cautions(&synthetic::results()), Vec::<String>::new());
    }

    #[test]
    fn a_ceiling_that_lies_below_a_contender_is_said_to_be_none() {
        let mut results = synthetic::results();
        for run in results.runs.iter_mut().filter(|run| run.contender == "bare" && run.test == "tcp-1") {
            run.figures.values_mut().for_each(|value| *value /= 9.0);
        }
        results.summary = summary::summarise(&results);
        let cautions = cautions(&results);
        assert_eq!(cautions.len(), 1, "{cautions:?}");
        assert!(cautions[0].starts_with("TCP, 1 stream: bare is the ceiling, but fast did better"), "{cautions:?}");
    }

    #[test]
    fn a_busy_machine_and_a_session_without_an_end_are_named() {
        let mut results = synthetic::results();
        results.runs.iter_mut().for_each(|run| run.others_cpu_percent = Some(45.0));
        results.finished.clear();
        let cautions = cautions(&results);
        assert!(cautions[0].contains("45 %") && cautions[1].contains("--resume"), "{cautions:?}");
    }
}
