//! `handshakes` as people run it: every client gets its session, in both loops, and all is accounted for.

use serde_json::Value;

use crate::{expect_schema, printed, refusal};

fn measured(arguments: &[&str]) -> Value {
    let text = printed(&[&["handshakes"], arguments, &["--json", "-"]].concat());
    let results = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    expect_schema(&results);
    results
}

fn number(results: &Value, path: &str) -> f64 {
    results.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {results:#}"))
}

#[test]
fn every_client_gets_a_session_and_all_is_accounted_for() {
    for pace in [["--in-flight", "4"], ["--rate", "100"]] {
        let size = ["--clients", "20", "--addresses", "3", "--handshakes", "50"];
        let results = measured(&[&size[..], &pace].concat());
        assert_eq!((&results["schema"], &results["schema_version"]), (&"ringfort-handshakes".into(), &1.into()));
        assert_eq!(number(&results, "/sessions"), 50.0, "{results:#}");
        assert_eq!(number(&results, "/given_up") + number(&results, "/refused"), 0.0);
        assert_eq!(number(&results, "/time_to_session_ns/count"), 50.0);
        assert!(number(&results, "/sessions_per_s") > 0.0 && number(&results, "/gateway/cpu_us") > 0.0);
        assert!(!results["gateway"]["threads_us"].as_object().unwrap().is_empty());
        assert!(number(&results, "/bystander/0/times_ns/count") > 0.0);
        assert!(number(&results, "/bystander/1/times_ns/count") > 0.0);
        assert_eq!(number(&results, "/bystander/1/lost"), 0.0);
    }
}

#[test]
fn a_table_says_what_was_asked_and_what_came_of_it() {
    let text = printed(&["handshakes", "--clients", "2", "--handshakes", "2"]);
    for part in ["2 clients on 2 addresses,", "32 under way", "sessions/s", "to a session", "meanwhile", "wake-ups"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn what_cannot_work_is_refused() {
    assert!(refusal(&["handshakes", "--clients", "50001"]).contains("50000"));
    assert!(refusal(&["handshakes", "--rate", "5", "--in-flight", "2"]).contains("cannot be used with"));
    assert!(refusal(&["handshakes", "--implementation", "bare-veth"]).contains("a cable shakes no hands"));
}
