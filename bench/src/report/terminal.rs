//! Tables in a terminal.

use super::cautions::cautions;
use crate::results::Results;
use crate::results::model::{Better, Figure, Summary, Test, Verdict};
use crate::scale::Scale;
use crate::table::{Table, table};
use crate::text::ratio;

/// Figures beside each other; a file and its page have all of them.
const COLUMNS_MAX: usize = 6;

/// Prints all tables, the most important one last.
pub fn print(results: &Results) {
    for test in &results.tests {
        println!("\n{}: {}\n{}", test.title, test.detail, test_table(results, test));
    }
    println!("\n{}", overview(results));
    println!("{}", footnote(results));
    for caution in cautions(results) {
        println!("CAUTION: {caution}.");
    }
    for run in results.failures() {
        let error = run.error.as_deref().unwrap_or_default();
        println!("FAILED: {} of {} in round {}: {}", run.test, run.contender, run.round, indented(error));
    }
}

/// A test: a row for each contender, a column for each figure.
fn test_table(results: &Results, test: &Test) -> Table {
    let measured =
        |figure: &&Figure| results.summary.iter().any(|row| row.test == test.name && row.figure == figure.name);
    let figures: Vec<&Figure> = test.figures.iter().filter(measured).take(COLUMNS_MAX).collect();
    let header: Vec<&str> = std::iter::once("").chain(figures.iter().map(|figure| figure.title.as_str())).collect();
    let mut rows = table(&header);
    for contender in &results.contenders {
        let cells = figures.iter().map(|figure| {
            let row = results.summary_of(&test.name, &contender.name, &figure.name);
            row.map_or_else(|| "–".to_owned(), |row| cell(row, figure))
        });
        rows.add_row(std::iter::once(contender.name.clone()).chain(cells));
    }
    rows
}

/// The median; below it least and greatest; below that how it compares.
fn cell(row: &Summary, figure: &Figure) -> String {
    let scale = Scale::of(figure.unit, row.median);
    let mut lines = scale.value(row.median);
    if row.runs > 1 {
        lines += &format!("\n{}", range(row, scale));
    }
    if let Some(comparison) = comparison(row).filter(|_| figure.better != Better::Neither) {
        lines += &format!("\n{comparison}");
    }
    lines
}

/// The primary figure of every test: a row for each test, a column for each contender.
fn overview(results: &Results) -> Table {
    let header: Vec<&str> =
        std::iter::once("median").chain(results.contenders.iter().map(|contender| contender.name.as_str())).collect();
    let mut rows = table(&header);
    for test in &results.tests {
        let Some(figure) = test.figures.first() else { continue };
        let cells = results.contenders.iter().map(|contender| {
            let row = results.summary_of(&test.name, &contender.name, &figure.name);
            row.map_or_else(
                || "–".to_owned(),
                |row| {
                    let value = Scale::of(figure.unit, row.median).value(row.median);
                    comparison(row).map_or_else(|| value.clone(), |comparison| format!("{value}\n{comparison}"))
                },
            )
        });
        rows.add_row(std::iter::once(test.title.clone()).chain(cells));
    }
    rows
}

/// `4,134 – 6,521`.
pub fn range(row: &Summary, scale: Scale) -> String {
    format!("{} – {}", scale.number(row.min), scale.number(row.max))
}

/// `6.33 × better`, `6.33 × (too few runs)`. A number that noise explains is not shown: somebody would quote it. `None`
/// where nobody is compared with.
pub fn comparison(row: &Summary) -> Option<String> {
    // A loss of nothing beside a loss of something: no ratio to be proud of.
    let times = row.ratio.map(|ratio| ratio.median).filter(|median| *median != 0.0);
    Some(match (row.verdict?, times) {
        (Verdict::NoDifferenceSeen, _) => "no difference seen".to_owned(),
        (verdict, None) => verdict.text().to_owned(),
        (Verdict::TooFewRuns, Some(times)) => format!("{} × ({})", ratio(times), Verdict::TooFewRuns.text()),
        (verdict, Some(times)) => format!("{} × {}", ratio(times), verdict.text()),
    })
}

/// How to read the tables.
pub fn footnote(results: &Results) -> String {
    let plan = &results.plan;
    let mut text = format!(
        "{} of {} s each, interleaved: medians, and from the least to the greatest run.",
        if plan.rounds == 1 { "One round".to_owned() } else { format!("{} rounds", plan.rounds) },
        plan.seconds
    );
    if let Some(reference) = &plan.reference {
        text += &format!(
            " × is the median of the ratios to {reference} in each round; where chance explains a difference \
             (exact rank tests, 1 %), none is claimed."
        );
    }
    if results.stamp.is_debug() {
        text += "\nThe lab itself is a debug build: its generators are slow, and nothing here is a benchmark.";
    }
    text
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::results::model::Contender;

    #[test]
    fn tables_say_what_is_seen_and_what_is_not() {
        let results = synthetic::results();
        let printed = test_table(&results, &results.tests[0]).to_string();
        assert!(printed.contains("2.00 × better"), "{printed}");
        assert!(printed.contains("no difference seen"), "{printed}");
        assert!(printed.contains("990 – 1,010"), "{printed}");
        let overview = overview(&results).to_string();
        for contender in &results.contenders {
            assert!(overview.contains(&contender.name), "{overview}");
        }
        assert!(footnote(&results).contains("wireguard-go"));
    }

    #[test]
    fn tables_fit_a_terminal() {
        let mut results = synthetic::results();
        for number in 0..8 {
            let name = format!("contender-with-a-long-name-{number}");
            results.contenders.push(Contender { name, ..results.contenders[0].clone() });
        }
        for table in [overview(&results), test_table(&results, &results.tests[0])] {
            let printed = table.to_string();
            assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
            assert!(printed.contains("name-7"), "{printed}");
        }
    }
}
