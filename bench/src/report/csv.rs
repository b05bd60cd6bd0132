//! Figures as CSV (RFC 4180), one to a line: for spreadsheets, and for programs that draw them.

use super::other::{Any, Datum};
use crate::results::Results;
use crate::results::model::Unit;

const HEADER: &str = "contender,subject,round,figure,unit,value\n";

/// Every figure of a file; of a session, every run by itself.
pub fn text(file: &Any) -> String {
    let mut text = HEADER.to_owned();
    match file {
        Any::Session(results) => session(&mut text, results),
        Any::Other(other) => {
            let contender = &other.head().contender.name;
            for Datum { subject, figure, unit, value, .. } in other.data() {
                line(&mut text, [contender, &subject, "", &figure, &name(unit), &value.to_string()]);
            }
        }
    }
    text
}

fn session(text: &mut String, results: &Results) {
    for run in results.runs.iter().filter(|run| run.error.is_none()) {
        let Some(test) = results.tests.iter().find(|test| test.name == run.test) else { continue };
        for figure in &test.figures {
            let Some(value) = run.figures.get(&figure.name) else { continue };
            let (round, unit) = (run.round.to_string(), name(figure.unit));
            line(text, [&run.contender, &run.test, &round, &figure.name, &unit, &value.to_string()]);
        }
    }
}

/// As JSON has it.
fn name(unit: Unit) -> String {
    let value = serde_json::to_value(unit).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn line(text: &mut String, fields: [&str; 6]) {
    *text += &fields.map(quoted).join(",");
    text.push('\n');
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn a_session_has_a_line_for_each_figure_of_each_run() {
        let results = synthetic::results();
        let figures: usize = results.runs.iter().map(|run| run.figures.len()).sum();
        let text = text(&Any::Session(Box::new(results)));
        assert_eq!(text.lines().count(), figures + 1);
        assert!(text.starts_with(HEADER));
        assert!(text.contains("\nfast,tcp-1,1,throughput,Mbit/s,1980\n"), "{text}");
    }

    #[test]
    fn every_other_kind_has_lines_of_six_fields() {
        for file in synthetic::others() {
            let text = text(&Any::parse(&file).unwrap());
            assert!(text.lines().count() > 3, "{text}");
        }
        let udp = text(&Any::parse(&synthetic::others()[0]).unwrap());
        assert!(udp.contains("\na tunnel,\"64 bytes, there\",,delivered,packets/s,100000\n"), "{udp}");
    }

    #[test]
    fn what_has_commas_and_quotes_is_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
    }
}
