//! The page for readers is the table of the test: what it says of a step must be what happens, and nothing else may
//! differ.

use std::collections::BTreeMap;

/// Beside this test, for everybody who wants to know.
pub const PATH: &str = "engine/tests/DIFFERENCES.md";
const TEXT: &str = include_str!("../../DIFFERENCES.md");
/// In the column of another implementation.
const AS_WE: &str = "=";

/// What happened in a step: with us, and with each of the others.
pub type Told = Vec<String>;

/// The rows of a chapter, by step. The last cell is the reason.
type Rows = BTreeMap<String, (Told, String)>;

/// What is wrong with a chapter, as lines to show.
pub fn problems(chapter: &str, told: &[(String, Told)]) -> Vec<String> {
    compare(&rows(TEXT, chapter), told)
}

fn compare(rows: &Rows, told: &[(String, Told)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (step, told) in told {
        let differs = told.iter().any(|words| *words != told[0]);
        match rows.get(step) {
            None if differs => problems.push(format!("a difference that is not in the table:\n{}", row(step, told))),
            Some(_) if !differs => problems.push(format!("no difference any more, take the row out: {step}")),
            Some((listed, _)) if listed != told => {
                problems.push(format!("another difference than in the table:\n{}", row(step, told)));
            }
            Some((_, why)) if why.is_empty() => problems.push(format!("a row without a reason: {step}")),
            _ => {}
        }
    }
    let played = |step: &&String| !told.iter().any(|(name, _)| name == *step);
    problems.extend(rows.keys().filter(played).map(|step| format!("a row about nothing that is done: {step}")));
    problems
}

/// A row as it should be, without its reason.
fn row(step: &str, told: &Told) -> String {
    let ours = &told[0];
    let other = |words: &String| if words == ours { AS_WE.to_owned() } else { format!("`{words}`") };
    let others: Vec<String> = told[1..].iter().map(other).collect();
    format!("| `{step}` | `{ours}` | {} | |", others.join(" | "))
}

/// Rows of the table below the heading of a chapter.
fn rows(text: &str, chapter: &str) -> Rows {
    let heading = format!("## {chapter}");
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let table = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with('|'));
    // The first two are the head.
    table.skip(2).map(parse).collect()
}

fn parse(line: &str) -> (String, (Told, String)) {
    let line = line.trim().trim_start_matches('|').strip_suffix('|').unwrap_or_default();
    let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    let [step, ours, others @ .., why] = &cells[..] else { panic!("{PATH}: a row that is too short: {line}") };
    let other = |cell: &&str| if *cell == AS_WE { (*ours).to_owned() } else { (*cell).to_owned() };
    let told = std::iter::once((*ours).to_owned()).chain(others.iter().map(other)).collect();
    ((*step).to_owned(), (told, (*why).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A page\n\n## One\n\n| Step | A | B | C | Why |\n|---|---|---|---|---|\n\
                        | `knock` | `open` | `shut` | = | B is shy |\n\n## Two\n\n| Step | A | B | C | Why |\n|---|\n\
                        | `ring` | `up` | = | `down` | |\n";

    fn told(step: &str, words: [&str; 3]) -> (String, Told) {
        (step.to_owned(), words.map(str::to_owned).to_vec())
    }

    fn problems_of(chapter: &str, all: &[(String, Told)]) -> String {
        compare(&rows(PAGE, chapter), all).join("\n")
    }

    #[test]
    fn the_page_is_the_table() {
        let knock = told("knock", ["open", "shut", "open"]);
        assert_eq!(problems_of("One", std::slice::from_ref(&knock)), "");
        assert_eq!(problems_of("One", &[knock, told("cough", ["x"; 3])]), "");
    }

    #[test]
    fn every_kind_of_problem_is_noticed() {
        let knock = told("knock", ["open", "shut", "open"]);
        let new = problems_of("One", &[knock, told("cough", ["a", "b", "a"])]);
        assert!(new.contains("| `cough` | `a` | `b` | = | |"), "{new}");
        assert!(problems_of("One", &[told("knock", ["open", "shut", "shut"])]).contains("another difference"));
        assert!(problems_of("One", &[told("knock", ["open"; 3])]).contains("no difference any more"));
        assert!(problems_of("One", &[]).contains("about nothing"));
        assert!(problems_of("Two", &[told("ring", ["up", "up", "down"])]).contains("without a reason"));
    }
}
