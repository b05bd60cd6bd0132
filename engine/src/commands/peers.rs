//! `ringfort peers NAME`: how each peer does.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::print;
use crate::control::{age, ask};

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,

    /// Print JSON: sizes are in bytes, times in seconds
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub fn run(args: &Args) -> ExitCode {
    print(ask::peers(&args.name).map(|answer| if args.json { format!("{answer}\n") } else { text(&answer) }))
}

fn text(answer: &Value) -> String {
    let mut text = String::new();
    if answer["interface"]["passive"] == true {
        line(&mut text, format_args!("passive: nothing is sent or answered until ringfort promote"));
    }
    if let Some(node) = answer["interface"]["node"].as_str() {
        line(&mut text, format_args!("node: {node}"));
    }
    for peer in answer["peers"].as_array().into_iter().flatten() {
        write_peer(&mut text, peer);
    }
    if answer["peers"].as_array().is_none_or(Vec::is_empty) {
        line(&mut text, format_args!("no peers"));
    }
    for stranger in answer["interface"]["unknown_keys"].as_array().into_iter().flatten() {
        let (key, endpoint) = (of(&stranger["public_key"]), of(&stranger["endpoint"]));
        line(&mut text, format_args!("unknown key: {key}"));
        line(&mut text, format_args!("  asks from {endpoint}, last {} ago", ago(&stranger["ago_s"])));
    }
    text
}

/// In the form of `wg show`.
pub fn write_peer(text: &mut String, peer: &Value) {
    let name = peer["name"].as_str().map_or_else(String::new, |name| format!(" \"{name}\""));
    line(text, format_args!("peer: {}{name}", of(&peer["public_key"])));
    line(text, format_args!("  state: {}", of(&peer["state"])));
    if let Some(endpoint) = peer["endpoint"].as_str() {
        let from = peer["source"].as_str().map_or_else(String::new, |source| format!(", from {source}"));
        line(text, format_args!("  endpoint: {endpoint}{from}"));
    }
    let unresolved = &peer["unresolved"];
    if unresolved.is_object() {
        let error = unresolved["error"].as_str().map_or_else(String::new, |error| format!(" ({error})"));
        let next = &unresolved["next_try_s"];
        let next = if next.is_null() { String::new() } else { format!("; next try in {}", ago(next)) };
        let (name, since) = (of(&unresolved["name"]), ago(&unresolved["since_s"]));
        line(text, format_args!("  endpoint name: {name} has had no address for {since}{error}{next}"));
    }
    let session = &peer["session"];
    if session.is_object() {
        let took = peer["handshake_took_s"].as_f64().map_or_else(String::new, |took| format!(", took {took} s"));
        let rekeys = number(&peer["rekeys"]);
        line(
            text,
            format_args!(
                "  session: {} old{took}; rekeys: {rekeys}; worker {}",
                ago(&session["age_s"]),
                of(&session["worker"])
            ),
        );
    }
    if peer["last_failure"].is_object() {
        write_failure(text, &peer["last_failure"]);
    }
    let drops = peer["drops"].as_object().into_iter().flatten();
    let drops: Vec<_> = drops.map(|(reason, count)| format!("{count} {reason}")).collect();
    if !drops.is_empty() {
        let source = peer["refused_source"].as_str().map_or_else(String::new, |addr| format!(" (source {addr})"));
        line(text, format_args!("  dropped: {}{source}", drops.join(", ")));
    }
    let (rx, tx) = (number(&peer["rx_bytes"]), number(&peer["tx_bytes"]));
    line(text, format_args!("  transfer: {rx} B received, {tx} B sent"));
    let (rx, tx) = (number(&peer["rx_largest"]), number(&peer["tx_largest"]));
    line(text, format_args!("  largest message of the last session: {rx} B received, {tx} B sent"));
}

fn write_failure(text: &mut String, failure: &Value) {
    let detail = failure["detail"].as_str().map_or_else(String::new, |detail| format!(" ({detail})"));
    let endpoint = failure["endpoint"].as_str().map_or_else(String::new, |endpoint| format!(", {endpoint}"));
    let (reason, count, ago) = (of(&failure["reason"]), number(&failure["count"]), ago(&failure["ago_s"]));
    line(text, format_args!("  last failure: {reason}{detail}{endpoint}, {ago} ago; {count} of that kind"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A value without quotes. Nothing in it moves a terminal's cursor: names have no control characters.
fn of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn ago(value: &Value) -> String {
    age(Duration::from_secs_f64(value.as_f64().unwrap_or(0.0).max(0.0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peer_is_shown_with_what_failed_and_what_was_dropped() {
        let mut text = String::new();
        write_peer(
            &mut text,
            &json!({
                "public_key": "xTIB", "name": "office", "state": "refused", "endpoint": "192.0.2.1:7", "source": null,
                "unresolved": {"name": "a.example:7", "since_s": 90.5, "error": "no such host", "next_try_s": 8},
                "session": null, "rekeys": 0, "drops": {"bad_tag": 3}, "refused_source": null,
                "last_failure": {"reason": "old_timestamp", "detail": "90 s behind", "count": 2, "ago_s": 4.5,
                    "endpoint": "192.0.2.1:7"},
                "rx_bytes": 1, "tx_bytes": 2, "rx_largest": 3, "tx_largest": 4,
            }),
        );
        assert_eq!(
            text,
            "peer: xTIB \"office\"\n  state: refused\n  endpoint: 192.0.2.1:7\n  endpoint name: a.example:7 has had no \
             address for 90 s (no such host); next try in 8 s\n  last failure: old_timestamp (90 s \
             behind), 192.0.2.1:7, 4 s ago; 2 of that kind\n  dropped: 3 bad_tag\n  transfer: 1 B received, 2 B sent\n\
             \x20 largest message of the last session: 3 B received, 4 B sent\n"
        );
    }
}
