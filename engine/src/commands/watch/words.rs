//! An event as a line of text.

use serde_json::Value;

/// Columns of a change's names: the longest of one is as long.
const WIDTH: usize = 12;

/// The line; `None` for an event of a later version.
pub fn of(event: &Value) -> Option<String> {
    let word = |key: &str| event[key].as_str().unwrap_or_default();
    let (time, what) = (word("time"), word("event"));
    let line = |what: &str, text: String| Some(format!("{time} {what:<WIDTH$} {text}").trim_end().to_owned());
    match what {
        "begin" => line(what, format!("{}, {}", word("interface"), word("role"))),
        "role" => line(what, word("role").to_owned()),
        "complete" => line(what, format!("{} peers; what follows are changes", event["peers"])),
        "resync" => line(what, "changes were missed, and all peers follow once more".to_owned()),
        "removed" => line(what, word("public_key").to_owned()),
        "peer" => line(word("state"), peer(event)),
        "changed" => {
            let changes = event["changes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            line(&changes.collect::<Vec<_>>().join(","), peer(event))
        }
        _ => None,
    }
}

/// Who, and where.
fn peer(event: &Value) -> String {
    let text = |key: &str| event[key].as_str();
    let mut words = text("public_key").unwrap_or_default().to_owned();
    if let Some(name) = text("name") {
        words += &format!(" \"{name}\"");
    }
    if let Some(endpoint) = text("endpoint") {
        words += &format!(" at {endpoint}");
    }
    if let Some(source) = text("source") {
        words += &format!(", from {source}");
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let peer = json!({
            "time": "T", "event": "peer", "public_key": "abcd=", "name": "office", "state": "up",
            "endpoint": "192.0.2.1:7", "source": "192.0.2.9",
        });
        assert_eq!(of(&peer).unwrap(), "T up           abcd= \"office\" at 192.0.2.1:7, from 192.0.2.9");
        let mut changed = json!({ "time": "T", "event": "changed", "public_key": "abcd=", "endpoint": null });
        changed["changes"] = json!(["session_gone"]);
        assert_eq!(of(&changed).unwrap(), "T session_gone abcd=");
        changed["changes"] = json!(["added", "endpoint"]);
        assert_eq!(of(&changed).unwrap(), "T added,endpoint abcd=");
        let others = [
            (json!({ "event": "begin", "interface": "wg0", "role": "passive" }), "wg0, passive"),
            (json!({ "event": "role", "role": "active" }), "active"),
            (json!({ "event": "complete", "peers": 3 }), "3 peers"),
            (json!({ "event": "resync" }), "once more"),
            (json!({ "event": "removed", "public_key": "abcd=" }), "abcd="),
        ];
        for (event, part) in others {
            let text = of(&event).unwrap();
            assert!(text.contains(event["event"].as_str().unwrap()) && text.contains(part), "{text}");
        }
        assert_eq!(of(&json!({ "event": "later" })), None);
    }
}
