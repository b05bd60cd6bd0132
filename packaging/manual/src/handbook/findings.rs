//! What `ringfort why` says, for one example of each finding.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringfort::commands::why;
use ringfort::control::key_text;
use ringfort::control::peers::{Subject, finding};
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Unreachable;
use ringfort_core::diagnosis::{Finding, UnresolvedName};
use ringfort_core::suite::Suite;
use ringfort_handbook::Page;
use serde_json::json;

const PEER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const STRANGER: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const ENDPOINT: &str = "192.0.2.2:51820";

/// The page with what is said in the block below the heading of each finding.
pub fn with_texts(page: &Page) -> Result<String, String> {
    let mut text = page.text.clone();
    for sample in samples()? {
        let heading = format!("### `{}`\n", sample.code());
        let missing = || format!("{} has no block of text below {}", page.file, heading.trim());
        let at = text.find(&heading).ok_or_else(missing)? + heading.len();
        let section = at + text[at..].find("\n#").unwrap_or(text.len() - at);
        let begin = at + text[at..section].find("```text\n").ok_or_else(missing)? + "```text\n".len();
        let end = begin + text[begin..section].find("```").ok_or_else(missing)?;
        text.replace_range(begin..end, &said(&sample)?);
    }
    Ok(text)
}

/// As the command prints it.
fn said(sample: &Finding) -> Result<String, String> {
    let key = key(PEER)?;
    let subject = Subject { interface: "wg0", key: &key, fwmark: 0, bound: Default::default() };
    Ok(why::text(&json!({ "findings": [finding(sample, &subject)], "peer": null })))
}

fn key(text: &str) -> Result<PublicKey, String> {
    key_text::decode(text).map_err(|error| error.to_string())
}

/// One of each.
fn samples() -> Result<Vec<Finding>, String> {
    let ago = Duration::from_secs(7);
    let remote: SocketAddr = ENDPOINT.parse().map_err(|_| "the example has no address")?;
    let other = SocketAddr::new(IpAddr::from([198, 51, 100, 7]), 51_820);
    let inner = IpAddr::from([10, 0, 0, 9]);
    let error = Some("Name or service not known".to_owned());
    let name = "site.example.net:51820".to_owned();
    let name = UnresolvedName { name, since: Duration::from_secs(90), error, next: Some(ago) };
    Ok(vec![
        Finding::LinkDown,
        Finding::Passive,
        Finding::NotListening,
        Finding::NoPrivateKey,
        Finding::NotAPeer { asked: Some((remote, 3, ago)) },
        Finding::NoEndpoint { dropped: 4 },
        Finding::NameUnresolved { name, remote: None },
        Finding::NoRoute { remote, errno: libc::ENETUNREACH },
        Finding::SendRefused { remote, errno: libc::EPERM, count: 2 },
        Finding::SendsLost { remote, count: 3, are_full: true },
        Finding::Undeliverable { remote, unreachable: Unreachable::Port, reporter: remote.ip(), ago },
        Finding::Silent {
            remote: Some(remote),
            initiations: 4,
            since: Duration::from_secs(21),
            was_up: false,
            is_deaf: false,
        },
        Finding::PskDiffers { count: 3, has_psk: true },
        Finding::AnswersUnused { count: 3, remote: Some(remote), has_psk: false },
        Finding::SuiteDiffers { ours: Suite::ChaCha20Poly1305, theirs: Suite::Aes256Gcm },
        Finding::ClockBehind { behind: Duration::from_secs(86_400), count: 3 },
        Finding::TwoGateways { places: [remote, other], returns: 4, old_timestamps: 2 },
        Finding::OtherKeyAtEndpoint { key: key(STRANGER)?, remote, ago, has_session: false },
        Finding::WrongKeyThere { remote, count: 3, ago, is_endpoint: true, has_session: false },
        Finding::SourceNotAllowed { source: Some(inner), count: 12, ago },
        Finding::NoAllowedIps,
        Finding::Unrouted { destinations: vec![inner] },
        Finding::NothingBack { sent: 40 },
        Finding::PathTooSmall { path_mtu: 1_400, needed: 1_480, fits: 1_328 },
        Finding::LargeMissing { missing: 20, received: 60, largest: 128, largest_possible: 1_452 },
        Finding::LargeUnanswered { sent: 1_452, received: 128 },
        Finding::Asking { since: Duration::from_secs(2) },
        Finding::NeverHeard,
        Finding::Idle { had_session: true },
        Finding::Up { age: Duration::from_secs(42), worker: 0 },
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ringfort_handbook::root;

    use super::*;

    /// There is an example of each, and the page has a section for nothing else.
    #[test]
    fn every_finding_has_an_example() {
        let path = root().join("engine/core/src/diagnosis/finding.rs");
        let source = std::fs::read_to_string(path).unwrap();
        let code = source.split("fn code(").nth(1).unwrap().split("\n    }\n").next().unwrap();
        let there: BTreeSet<&str> = code.split('"').skip(1).step_by(2).collect();
        let samples = samples().unwrap();
        let shown: BTreeSet<&str> = samples.iter().map(Finding::code).collect();
        assert_eq!(shown, there);
        assert_eq!(samples.len(), there.len());
        let page = ringfort_handbook::page("troubleshooting.md").unwrap();
        let sections = page.headings().iter().filter(|heading| heading.level == 3);
        let sections: BTreeSet<&str> = sections.map(|heading| heading.text.trim_matches('`')).collect();
        assert_eq!(sections, there);
    }
}
