//! A key that was mistyped is not told, in whatever place it stands.

use super::tests::{KEY_HEX, events};
use super::*;

/// The same in base64, as people have it.
const KEY_BASE64: &str = "6EtabScXwQA6E7QxVwNT26ypFGzxUMX4V1aA/rpSAno=";
/// What is shown of a secret at most.
const SHOWN_MAX: usize = 7;

/// What becomes of a key under the hands of people and programs.
fn slips() -> Vec<String> {
    let mut slips = vec![KEY_BASE64.to_owned()];
    for key in [KEY_HEX, KEY_BASE64] {
        let (first, second) = key.split_at(key.len() / 2);
        slips.extend([first, second, &key[1..], &key[..key.len() - 1]].map(str::to_owned));
        slips.extend([format!("{key}{key}"), format!("{key}0"), format!("{key} "), format!("{first} {second}")]);
        slips.extend(["!", "-", "=", "\"", "\0", "\u{e9}"].map(|wrong| format!("{first}{wrong}{}", &second[1..])));
    }
    slips
}

fn is_told(text: &str) -> bool {
    let all = [KEY_HEX, KEY_BASE64, &KEY_HEX.to_uppercase()].map(str::to_owned);
    all.iter().any(|key| (0..key.len() - SHOWN_MAX).any(|start| text.contains(&key[start..=start + SHOWN_MAX])))
}

/// Where a key may stand, and where it stands if a line or a word is missing.
fn requests(slip: &str) -> Vec<String> {
    let peer = format!("public_key={}\n", "0a".repeat(32));
    let of_device = ["private_key", "privatekey", "PrivateKey", "listen_port", "fwmark", "cipher_suite", "public_key"];
    let of_peer = ["preshared_key", "presharedkey", "endpoint", "allowed_ip", "source", "private_key", "update_only"];
    let of_device = of_device.iter().map(|key| format!("set=1\n{key}={slip}\n\n"));
    let of_peer = of_peer.iter().map(|key| format!("set=1\n{peer}{key}={slip}\n\n"));
    let lines = ["", "private_key ", "private_key:"].map(|before| format!("set=1\n{before}{slip}\n\n"));
    let operations = ["set", "get", "why", "peers", "log_level", "role", "reload", "hand_over"];
    let operations = operations.iter().map(|name| format!("{name}={slip}\n\n"));
    let others = [format!("{slip}\n\n"), format!("get=1\n{slip}\n\n")];
    of_device.chain(of_peer).chain(lines).chain(operations).chain(others).collect()
}

/// Neither what the log has of it, nor what is printed of it in a test or a panic.
#[test]
fn what_is_malformed_is_not_told() {
    let mut refused = 0;
    for request in slips().iter().flat_map(|slip| requests(slip)) {
        for event in events(request.as_bytes(), 4096) {
            if let RequestEvent::Refused(refusal) = &event {
                refused += 1;
                assert!(!is_told(&refusal.to_string()), "{request:?}: {refusal}");
            }
            let is_public = matches!(&event, RequestEvent::Request(Request::HandOver(_) | Request::Capture(_)));
            assert!(is_public || !is_told(&format!("{event:?}")), "{request:?}: {event:?}");
        }
    }
    assert!(refused > slips().len() * 10, "most of it is refused: {refused}");
}
