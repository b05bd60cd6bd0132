//! How figures went on during the measurements of a test.

use ringfort_testbed::Result;

use super::elements::figure;
use super::plots::{self, Axis, Curve};
use crate::results::Results;
use crate::results::model::{Run, Series, Test};
use crate::scale::Scale;

/// A plot for each series of a test, with a line for each contender: its last run, since a median of runs has no time.
///
/// # Errors
/// A plot cannot be drawn.
pub fn of(results: &Results, test: &Test) -> Result<String> {
    let mut known: Vec<&Series> = Vec::new();
    for series in
        results.runs.iter().filter(|run| run.test == test.name && run.error.is_none()).flat_map(|run| &run.series)
    {
        if known.iter().all(|other| other.name != series.name) {
            known.push(series);
        }
    }
    known.into_iter().map(|series| plot(results, test, series)).collect()
}

fn plot(results: &Results, test: &Test, wanted: &Series) -> Result<String> {
    let (mut curves, mut legend) = (Vec::new(), Vec::new());
    for (series, contender) in results.contenders.iter().enumerate() {
        let find = |run: &Run| run.series.iter().find(|series| series.name == wanted.name).cloned();
        let Some(found) = results.runs_of(&test.name, &contender.name).filter_map(find).last() else { continue };
        curves.push(Curve { series, points: found.points });
        legend.push((series, contender.name.as_str()));
    }
    let highest = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).fold(0.0, f64::max);
    let scale = Scale::of(wanted.unit, highest);
    let axis = Axis { title: &wanted.title, label: &|value| scale.value(value) };
    let title = format!("{}: {} over time", test.title, wanted.title);
    let description = "The last run of each contender. The figures of all runs are in the table.";
    Ok(figure(&plots::over_time(&title, description, &curves, &axis)?, &legend))
}
