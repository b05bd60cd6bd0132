//! What people see of a file of a single command: a table in a terminal, and two files beside each other.

use ringfort_traffic::Clocks;

use super::other::{Datum, Other};
use crate::busy;
use crate::results::files::{Carried, File};
use crate::results::model::Unit;
use crate::scale::Scale;
use crate::soak::drift;
use crate::table::{Table, table};
use crate::text::{duration, grouped, ratio};

/// Subjects and figures, each in the order of their first.
pub struct Pivot<'a> {
    /// The heads of the columns.
    pub figures: Vec<&'a str>,
    /// A row for each subject, with what is known of it.
    pub rows: Vec<(&'a str, Vec<Option<&'a Datum>>)>,
}

impl<'a> Pivot<'a> {
    /// Of all figures of a file.
    pub fn of(data: &'a [Datum]) -> Self {
        let (mut figures, mut subjects) = (Vec::new(), Vec::new());
        for Datum { subject, figure, .. } in data {
            for (list, name) in [(&mut figures, figure.as_str()), (&mut subjects, subject.as_str())] {
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
        let find =
            |subject: &str, figure: &str| data.iter().find(|datum| datum.subject == subject && datum.figure == figure);
        let row = |subject: &'a str| (subject, figures.iter().map(|figure| find(subject, figure)).collect());
        let rows = subjects.iter().copied().map(row).collect();
        Self { figures, rows }
    }
}

/// A number with its unit.
pub fn cell(datum: &Datum) -> String {
    if datum.unit == Unit::Number && datum.value.fract() == 0.0 && datum.value >= 0.0 {
        return grouped(datum.value as u64);
    }
    Scale::of(datum.unit, datum.value).value(datum.value)
}

/// Prints what is in a file.
pub fn print(other: &Other) {
    println!("{}", about(other));
    println!("{}", sheet(&other.data()));
    soak_lines(other).iter().for_each(|line| println!("{line}"));
    for caution in cautions(other) {
        println!("CAUTION: {caution}.");
    }
    if let Some(clocks) = clocks(other) {
        println!("{clocks}");
    }
}

/// What was measured, when, and between which hosts.
pub fn about(other: &Other) -> String {
    let head = other.head();
    let hosts = head.hosts.as_ref().map_or(String::new(), |hosts| format!(" between {} and {}", hosts.from, hosts.to));
    format!("{}: {}{hosts}, {}", other.title(), head.contender.name, head.finished)
}

/// What a reader must know before a figure is quoted.
pub fn cautions(other: &Other) -> Vec<String> {
    let head = other.head();
    let busy = head.others_cpu_percent.and_then(busy::caution);
    let mut cautions: Vec<String> = head.stamp.caution().into_iter().chain(busy).collect();
    if head.stamp.is_debug() {
        cautions.push("the lab was a debug build: its generators are slow, and this is no benchmark".to_owned());
    }
    let (made, wanted) = extent(other);
    if made < wanted {
        cautions.push(format!("it was interrupted after {made} of {wanted} parts: `--resume` goes on with it"));
    }
    cautions
}

/// How many parts a file has, and should have. One that is written at its end is whole.
fn extent(other: &Other) -> (u64, u64) {
    match other {
        Other::Soak(file) => (file.findings.turns.len() as u64, file.findings.plan.turns),
        Other::Traffic(File { findings: Carried::Rfc2544(found), .. }) => {
            (found.sizes.len() as u64, found.asked.len() as u64)
        }
        _ => (0, 0),
    }
}

/// What a soak says besides its figures.
fn soak_lines(other: &Other) -> Vec<String> {
    match other {
        Other::Soak(file) => drift::sentences(&file.findings.turns),
        _ => Vec::new(),
    }
}

/// How far one-way times may be wrong.
pub fn clocks(other: &Other) -> Option<String> {
    let worst = |all: &mut dyn Iterator<Item = Clocks>| all.max_by_key(|clocks| clocks.error_ns);
    let clocks = match other {
        Other::Traffic(file) => match &file.findings {
            Carried::Udp(udp) => udp.outcome.clocks,
            Carried::Rfc2544(found) => {
                let all = found.sizes.iter().flat_map(|sized| &sized.report.latencies);
                worst(&mut all.filter_map(|at| at.outcome.clocks))
            }
            Carried::Tcp(_) | Carried::Rrul(_) => None,
        },
        Other::Soak(file) => worst(&mut file.findings.turns.iter().filter_map(|turn| turn.clocks)),
        _ => None,
    }?;
    let error = duration(std::time::Duration::from_nanos(clocks.error_ns));
    Some(format!("One-way times compare the clocks of two hosts, and may be wrong by {error} in either direction."))
}

fn sheet(data: &[Datum]) -> Table {
    let pivot = Pivot::of(data);
    let header: Vec<&str> = std::iter::once("").chain(pivot.figures.iter().copied()).collect();
    let mut rows = table(&header);
    for (subject, cells) in pivot.rows {
        let cells = cells.into_iter().map(|datum| datum.map_or_else(|| "–".to_owned(), cell));
        rows.add_row(std::iter::once(subject.to_owned()).chain(cells));
    }
    rows
}

/// Prints two files of one kind beside each other.
pub fn compare(before: &Other, after: &Other) {
    println!("before: {}\nafter:  {}", about(before), about(after));
    let mut warnings = before.head().stamp.differences(&after.head().stamp);
    for (name, other) in [("before", before), ("after", after)] {
        warnings.extend(cautions(other).into_iter().map(|caution| format!("{name}: {caution}")));
    }
    for warning in warnings {
        println!("CAUTION: {warning}.");
    }
    println!("{}", changes(&before.data(), &after.data()));
    println!(
        "Each figure is of one measurement: nothing here says what is noise. `compare` measures in turns, and claims \
         only what chance does not explain."
    );
}

fn changes(before: &[Datum], after: &[Datum]) -> Table {
    let mut rows = table(&["", "before", "after", "after / before"]);
    for new in after {
        let is_it = |old: &&Datum| (&old.subject, &old.figure) == (&new.subject, &new.figure);
        let old = before.iter().find(is_it);
        let factor = old.map(|old| new.value / old.value).filter(|factor| factor.is_finite());
        rows.add_row([
            format!("{}\n{}", new.subject, new.figure),
            old.map_or_else(|| "–".to_owned(), cell),
            cell(new),
            factor.map_or_else(|| "–".to_owned(), |factor| format!("{} ×", ratio(factor))),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::other::Any;
    use crate::report::synthetic;

    fn others() -> Vec<Other> {
        let parse = |text: &String| match Any::parse(text).unwrap() {
            Any::Other(other) => *other,
            Any::Session(_) => panic!("that is a session"),
        };
        synthetic::others().iter().map(parse).collect()
    }

    #[test]
    fn every_kind_of_file_has_a_table_that_fits() {
        for other in others() {
            assert!(!other.data().is_empty(), "{}", other.title());
            for table in [sheet(&other.data()), changes(&other.data(), &other.data())] {
                let printed = table.to_string();
                assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
            }
        }
    }

    #[test]
    fn figures_stand_where_they_belong() {
        let printed: Vec<String> = others().iter().map(|other| sheet(&other.data()).to_string()).collect();
        let all = printed.join("\n");
        for part in ["64 bytes", "IMIX", "100 kpps", "200 kpps", "p99 at", "5,000 Mbit/s", "seal", "97.0 %"] {
            assert!(all.contains(part), "no {part:?} in\n{all}");
        }
    }

    #[test]
    fn two_files_of_one_kind_are_compared() {
        let udp = &others()[0];
        let halved: Vec<Datum> =
            udp.data().into_iter().map(|datum| Datum { value: datum.value / 2.0, ..datum }).collect();
        let printed = changes(&udp.data(), &halved).to_string();
        assert!(printed.contains("0.50 ×"), "{printed}");
        assert!(clocks(udp).unwrap().contains("25 µs"), "{:?}", clocks(udp));
    }
}
