//! `ringfort why NAME PEER`: what is wrong with a peer, and what to do.

use std::process::ExitCode;

use ringfort_core::crypto::PublicKey;
use serde_json::Value;

use super::peers::write_peer;
use super::print;
use crate::control::error::DaemonError;
use crate::control::{ask, key_text};

/// Columns of a line of text.
const WIDTH: usize = 80;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,

    /// The peer: its public key, the beginning of it, or its name
    peer: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub fn run(args: &Args) -> ExitCode {
    print(answer(args))
}

fn answer(args: &Args) -> Result<String, DaemonError> {
    let key = match key_text::decode(&args.peer) {
        Ok(key) => key,
        Err(_) => find(&args.name, &args.peer)?,
    };
    let json = ask::why(&args.name, &key)?;
    if args.json {
        return Ok(json);
    }
    let answer: Value = serde_json::from_str(&json).map_err(|_| DaemonError::NoPeers(args.name.clone()))?;
    Ok(text(&answer))
}

/// The one key with this name, or that begins like this. Keys that only ask for a session are found as well.
pub(super) fn find(interface: &str, text: &str) -> Result<PublicKey, DaemonError> {
    let refused = || DaemonError::NoPeers(interface.to_owned());
    let all = ask::peers(interface)?;
    let peers = all["peers"].as_array().into_iter().flatten();
    let strangers = all["interface"]["unknown_keys"].as_array().into_iter().flatten();
    let entries: Vec<_> = peers.chain(strangers).collect();
    key_text::decode(&choose(interface, text, &entries)?).map_err(|_| refused())
}

fn choose(interface: &str, text: &str, entries: &[&Value]) -> Result<String, DaemonError> {
    let named = entries.iter().filter(|entry| entry["name"].as_str() == Some(text));
    let mut found: Vec<_> = named.filter_map(|entry| entry["public_key"].as_str()).collect();
    if found.is_empty() {
        let keys = entries.iter().filter_map(|entry| entry["public_key"].as_str());
        found = keys.filter(|key| key.starts_with(text)).collect();
    }
    match found[..] {
        [key] => Ok(key.to_owned()),
        [] => Err(DaemonError::WhichPeer(format!(
            "no peer of interface {interface} has the name {text:?}, nor a key that begins so: ringfort peers \
             {interface} lists them"
        ))),
        _ => Err(DaemonError::WhichPeer(format!(
            "{} peers of interface {interface} have the name {text:?}, or a key that begins so: give more of the key",
            found.len()
        ))),
    }
}

/// Findings, and what is known of the peer, as people read them.
#[must_use]
pub fn text(answer: &Value) -> String {
    let mut text = String::new();
    for finding in answer["findings"].as_array().into_iter().flatten() {
        let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let certainty = match word("certainty").as_str() {
            "known" => String::new(),
            other => format!(", {other}"),
        };
        text += &format!("{} ({}{certainty})\n", word("code"), word("severity"));
        wrap(&mut text, "  ", &word("what"));
        if !word("do").is_empty() {
            wrap(&mut text, "  → ", &word("do"));
        }
    }
    if answer["peer"].is_object() {
        text += "\n";
        write_peer(&mut text, &answer["peer"]);
    }
    text
}

/// Words on lines that fit, behind an indent that the first line may show in another way.
fn wrap(text: &mut String, first: &str, words: &str) {
    let indent = " ".repeat(first.chars().count());
    let mut line = first.to_owned();
    for word in words.split_whitespace() {
        let begun = line.trim_start().chars().count() > first.trim_start().chars().count();
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            *text += &format!("{}\n", line.trim_end());
            line.clone_from(&indent);
        }
        if !line.ends_with(' ') {
            line.push(' ');
        }
        line += word;
    }
    *text += &format!("{}\n", line.trim_end());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peer_is_found_by_name_or_by_a_beginning_that_only_it_has() {
        let entries = [
            json!({"public_key": "abcd=", "name": "office"}),
            json!({"public_key": "abef=", "name": "abcd"}),
            json!({"public_key": "zzzz="}),
        ];
        let entries: Vec<_> = entries.iter().collect();
        let find = |text: &str| choose("wg0", text, &entries).map_err(|error| error.to_string());
        assert_eq!(find("office").unwrap(), "abcd=");
        assert_eq!(find("abcd").unwrap(), "abef=", "a name comes first");
        assert_eq!(find("abc").unwrap(), "abcd=");
        assert_eq!(find("z").unwrap(), "zzzz=");
        assert!(find("ab").unwrap_err().contains("2 peers"));
        assert!(find("nobody").unwrap_err().contains("ringfort peers wg0"));
    }

    #[test]
    fn text_is_wrapped_behind_its_indent() {
        let mut text = String::new();
        wrap(&mut text, "  → ", &"word ".repeat(30));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(lines[0].starts_with("  → word") && lines[1].starts_with("    word"), "{text}");
        assert_eq!(text.split_whitespace().count(), 31);
    }

    #[test]
    fn findings_are_shown_with_how_sure_they_are() {
        let shown = text(&json!({
            "findings": [
                {"code": "silent", "severity": "broken", "certainty": "possible", "what": "A.", "do": "B."},
                {"code": "up", "severity": "note", "certainty": "known", "what": "C.", "do": ""},
            ],
            "peer": null,
        }));
        assert_eq!(shown, "silent (broken, possible)\n  A.\n  → B.\nup (note)\n  C.\n");
    }
}
