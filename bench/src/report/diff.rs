//! Two files beside each other: what changed, and what is within the noise.
//!
//! The runs of two files are not interleaved: the machine may have changed between them as much as the programs did.
//! Three things guard against being misled. Differences of the machines are listed. Contenders that are the same
//! program in both files are controls: when *they* changed, that is said. And the change of the ratio to the reference
//! is shown beside the change itself, because it does not see what slows a whole session.

use ringfort_testbed::{Error, Result};

use super::cautions::cautions;
use crate::results::Results;
use crate::results::model::{Better, Contender, Figure, Test, Verdict};
use crate::results::stats::{self, Spread};
use crate::results::summary::values;
use crate::scale::Scale;
use crate::table::{Table, table};
use crate::text::ratio;

/// A figure in both files.
#[derive(Clone, Debug)]
pub struct Change {
    /// Title of the test.
    pub test: String,
    /// The contender.
    pub contender: String,
    /// Whether it is the test's first figure.
    pub primary: bool,
    /// Whether the contender is known to be the same program in both.
    pub control: bool,
    figure: Figure,
    before: Spread,
    after: Spread,
    /// Ratio to the reference, in both files.
    relative: Option<(f64, f64)>,
    /// What may be said; nothing of two tests that are not the same, though their names are.
    pub verdict: Option<Verdict>,
}

/// Compares what both files have.
///
/// # Errors
/// They have nothing in common.
pub fn changes(before: &Results, after: &Results) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for test in &after.tests {
        for contender in &after.contenders {
            for (position, figure) in test.figures.iter().enumerate() {
                changes.extend(
                    change(before, after, test, contender, figure)
                        .map(|change| Change { primary: position == 0, ..change }),
                );
            }
        }
    }
    if changes.is_empty() {
        return Err(Error::new("the two files have no test in common that the same contender took part in"));
    }
    Ok(changes)
}

fn change(before: &Results, after: &Results, test: &Test, contender: &Contender, figure: &Figure) -> Option<Change> {
    let (title, name) = (&test.title, contender.name.as_str());
    let same_test = earlier_test(before, test).is_some_and(|earlier| is_same_test(earlier, test));
    let test = test.name.as_str();
    let [old, new] = [before, after].map(|results| values(results, test, name, &figure.name));
    let difference = stats::compare(&new, &old);
    let of_reference = |results: &Results| {
        let row = results.summary_of(test, name, &figure.name)?;
        row.ratio.map(|ratio| ratio.median)
    };
    let earlier = before.contenders.iter().find(|earlier| earlier.name == contender.name)?;
    Some(Change {
        test: title.clone(),
        contender: name.to_owned(),
        primary: false,
        control: is_same_program(earlier, contender),
        figure: figure.clone(),
        before: Spread::of(&old)?,
        after: Spread::of(&new)?,
        relative: of_reference(before).zip(of_reference(after)),
        verdict: same_test.then(|| Verdict::of(difference, figure.better)),
    })
}

fn earlier_test<'a>(before: &'a Results, test: &Test) -> Option<&'a Test> {
    before.tests.iter().find(|earlier| earlier.name == test.name)
}

/// Whether the same happens in both. Rates, and how many connections there are, are in the words about it.
fn is_same_test(before: &Test, after: &Test) -> bool {
    (&before.title, &before.detail) == (&after.title, &after.detail)
}

/// The same file of the same program with the same arguments, or no program at all.
fn is_same_program(before: &Contender, after: &Contender) -> bool {
    before.sha256 == after.sha256
        && before.command.get(1..) == after.command.get(1..)
        && (before.sha256.is_some() || before.command.is_empty())
}

/// Prints what differs; with `all` also what does not.
///
/// # Errors
/// As [`changes`].
pub fn print(before: &Results, after: &Results, all: bool) -> Result<()> {
    let changes = changes(before, after)?;
    let plan = |results: &Results| {
        format!("{}, {} rounds of {} s", results.started, results.plan.rounds, results.plan.seconds)
    };
    println!("before: {}\nafter:  {}", plan(before), plan(after));
    for warning in warnings(before, after, &changes) {
        println!("CAUTION: {warning}.");
    }
    let seen = |change: &&Change| change.figure.better != Better::Neither && is_difference(change.verdict);
    let shown: Vec<&Change> = changes.iter().filter(|change| all || change.primary || seen(change)).collect();
    println!("\n{}", change_table(&shown));
    let count = |wanted: Verdict| changes.iter().filter(|change| change.verdict == Some(wanted)).count();
    println!(
        "{} figures: {} better, {} worse, {} within the noise, {} with too few runs to tell ({} at least on each \
         side).",
        changes.len(),
        count(Verdict::Better),
        count(Verdict::Worse),
        count(Verdict::NoDifferenceSeen),
        count(Verdict::TooFewRuns),
        RUNS_MIN
    );
    let of_others = changes.iter().filter(|change| change.verdict.is_none()).count();
    if of_others > 0 {
        println!("{of_others} figures are of tests that are not the same in both: nothing is said about them.");
    }
    if shown.len() < changes.len() {
        println!("{} figures without a difference are left out: --all shows them.", changes.len() - shown.len());
    }
    Ok(())
}

/// What files hold that do not say which MTU the tunnels had.
const MTU_UNSAID: u32 = 1_420;

/// So many runs on both sides can pass the rank-sum test.
const RUNS_MIN: usize = 5;

fn is_difference(verdict: Option<Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Better | Verdict::Worse | Verdict::Different))
}

fn warnings(before: &Results, after: &Results, changes: &[Change]) -> Vec<String> {
    let mut warnings: Vec<String> = before.stamp.differences(&after.stamp);
    for (name, results) in [("before", before), ("after", after)] {
        warnings.extend(cautions(results).into_iter().map(|caution| format!("{name}: {caution}")));
    }
    if (before.plan.seconds, before.plan.warm_up_s) != (after.plan.seconds, after.plan.warm_up_s) {
        warnings.push("the runs are not equally long".to_owned());
    }
    let mtus = [before, after].map(|results| results.plan.mtu.unwrap_or(MTU_UNSAID));
    if mtus[0] != mtus[1] {
        warnings.push(format!("the MTU of the tunnels: {}, and {} bytes", mtus[0], mtus[1]));
    }
    let peers = [before, after].map(|results| results.plan.peers.unwrap_or(1));
    if peers[0] != peers[1] {
        warnings.push(format!("the peers of each gateway: {}, and {}", peers[0], peers[1]));
    }
    let references = [before, after].map(|results| results.plan.reference.as_deref().unwrap_or("nobody"));
    if references[0] != references[1] {
        warnings.push(format!("the references: {}, and {}", references[0], references[1]));
    }
    let pairs = after.tests.iter().filter_map(|test| Some((earlier_test(before, test)?, test)));
    warnings.extend(pairs.filter(|(earlier, test)| !is_same_test(earlier, test)).map(|(earlier, test)| {
        let words = |test: &Test| format!("{}: {}", test.title, test.detail.trim_end_matches('.'));
        format!("{} is not the same test in both: before, {}; after, {}", test.name, words(earlier), words(test))
    }));
    let controls = changes.iter().filter(|change| change.control && change.primary && is_difference(change.verdict));
    warnings.extend(controls.map(|change| {
        format!(
            "{} is the same program in both files, but its {} differs ({} ×): the machine was not the same. \
             Look at the ratios to the reference",
            change.contender,
            change.test,
            ratio(change.after.median / change.before.median)
        )
    }));
    warnings
}

fn change_table(changes: &[&Change]) -> Table {
    let header = ["", "", "before", "after", "after / before", "ratio to the reference", "verdict"];
    let mut rows = table(&header);
    for change in changes {
        let scale = Scale::of(change.figure.unit, change.before.median.max(change.after.median));
        let spread = |spread: &Spread| {
            format!("{}\n{} – {}", scale.value(spread.median), scale.number(spread.min), scale.number(spread.max))
        };
        let factor = change.after.median / change.before.median;
        rows.add_row([
            format!("{}\n{}", change.test, change.figure.title),
            change.contender.clone(),
            spread(&change.before),
            spread(&change.after),
            if factor.is_finite() { format!("{} ×", ratio(factor)) } else { "–".to_owned() },
            change.relative.map_or("–".to_owned(), |(old, new)| format!("{} → {}", ratio(old), ratio(new))),
            match change.verdict {
                Some(Verdict::NoDifferenceSeen) => "within the noise".to_owned(),
                Some(verdict) => verdict.text().to_owned(),
                None => "another test".to_owned(),
            },
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::results::summary;

    fn scaled(factor: f64, contender: &str) -> Results {
        let mut results = synthetic::results();
        for run in results.runs.iter_mut().filter(|run| run.contender == contender) {
            run.figures.values_mut().for_each(|value| *value *= factor);
        }
        results.summary = summary::summarise(&results);
        results
    }

    #[test]
    fn a_file_does_not_differ_from_itself() {
        let results = synthetic::results();
        let changes = changes(&results, &results).unwrap();
        assert!(changes.len() > 10);
        assert!(changes.iter().all(|change| change.verdict == Some(Verdict::NoDifferenceSeen)));
        assert_eq!(warnings(&results, &results, &changes), Vec::<String>::new());
    }

    #[test]
    fn a_change_has_its_direction() {
        let changes = changes(&synthetic::results(), &scaled(1.5, "fast")).unwrap();
        let of = |figure: &str| {
            changes.iter().find(|change| change.contender == "fast" && change.figure.name == figure).unwrap()
        };
        assert_eq!(of("throughput").verdict, Some(Verdict::Better));
        assert_eq!(of("cpu_per_gb").verdict, Some(Verdict::Worse));
        let (before, after) = of("throughput").relative.unwrap();
        assert!((after / before - 1.5).abs() < 1e-9);
        let others = changes.iter().filter(|change| change.contender != "fast");
        assert!(others.into_iter().all(|change| change.verdict == Some(Verdict::NoDifferenceSeen)));
    }

    #[test]
    fn a_control_that_changed_is_reported_and_so_is_another_machine() {
        let before = synthetic::results();
        let mut after = scaled(0.7, "wireguard-go");
        after.stamp.kernel = "Linux 5.4 x86_64".to_owned();
        let warnings = warnings(&before, &after, &changes(&before, &after).unwrap());
        assert!(warnings.iter().any(|warning| warning.contains("wireguard-go is the same program")), "{warnings:?}");
        assert!(warnings.iter().any(|warning| warning.starts_with("kernel")), "{warnings:?}");
    }

    #[test]
    fn another_load_is_named_and_nothing_is_claimed_of_another_test() {
        type Other = fn(&mut Results);
        let before = synthetic::results();
        let warnings_of = |change: Other| {
            let mut after = scaled(1.5, "fast");
            after.contenders[0].sha256 = Some("1e".repeat(32));
            change(&mut after);
            let changes = changes(&before, &after).unwrap();
            let claimed = changes.iter().filter(|change| is_difference(change.verdict)).count();
            (warnings(&before, &after, &changes), claimed)
        };
        let (none, all) = warnings_of(|_| ());
        assert!(none.is_empty() && all > 3, "{none:?} {all}");
        let of_plan: [(&str, Other); 4] = [
            ("MTU", |after| after.plan.mtu = Some(1_280)),
            ("peers", |after| after.plan.peers = Some(1_000)),
            ("references", |after| after.plan.reference = Some("same".to_owned())),
            ("instruction sets", |after| after.stamp.cpu.features.push("rot13".to_owned())),
        ];
        for (word, change) in of_plan {
            let (warnings, claimed) = warnings_of(change);
            assert!(warnings.len() == 1 && warnings[0].contains(word), "{warnings:?}");
            assert_eq!(claimed, all);
        }
        let (warnings, claimed) = warnings_of(|after| after.tests[0].detail = "At 9 packets per second.".to_owned());
        assert!(warnings.len() == 1 && warnings[0].starts_with("tcp-1 is not the same test"), "{warnings:?}");
        assert!((1..all).contains(&claimed), "{claimed} of {all}: the other test is the same");
        // What older files do not say.
        assert!(warnings_of(|after| (after.plan.mtu, after.plan.peers) = (None, None)).0.is_empty());
    }

    #[test]
    fn files_without_anything_in_common_are_refused() {
        let mut other = synthetic::results();
        other.tests.iter_mut().for_each(|test| test.name += "-other");
        assert!(changes(&synthetic::results(), &other).is_err());
    }
}
