//! The text of the file.
//!
//! ```text
//! ringfort endpoints 1
//! boot 0d3a4b6c-5f21-4a3f-9a55-3a6f0a2c8c11
//! written 1796000000
//! xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg= 198.51.100.9:40112 192.0.2.7%3 - -
//! end 1 5b2f0e…
//! ```
//!
//! Each peer has a line of five fields: its key; where it was; the source that it knew us by, with the interface's
//! index; the endpoint as configured; and the second since 1970 from which it is not configured. The last line has the
//! number of peers, and a hash of all before it: what a disk has damaged is not believed. Interfaces are known by other
//! numbers after the machine was started anew, or on another machine. When the list was made, in seconds since 1970,
//! tells a gateway that stood by which is newer: the file, or what it knows itself.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

use ringfort_core::constants::PEERS_MAX;
use ringfort_core::crypto;
use ringfort_core::device::Remembered;
use ringfort_core::ids::{Endpoint, LocalAddr};

use crate::control::key_text;

const HEAD: &str = "ringfort endpoints 1\n";
const HEAD_OF_ANY_VERSION: &str = "ringfort endpoints ";
const NONE: &str = "-";
/// Bytes of a line, at most, and of all others together.
const LINE_LEN_MAX: u64 = 256;
/// Peers that are configured, and peers that were.
const LINES_MAX: u64 = 2 * PEERS_MAX as u64;

/// Longest file in bytes.
pub const FILE_LEN_MAX: u64 = LINE_LEN_MAX * (LINES_MAX + 1);

/// Why a text is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It begins with something else.
    #[error("it is not a file of endpoints")]
    Foreign,
    /// It begins as ours do, but with another number.
    #[error("it is of another version of ringfort")]
    Version,
    /// The end is missing, or does not fit the rest.
    #[error("it is damaged: its end does not fit the rest")]
    End,
    /// A line that nobody has written.
    #[error("line {0} is damaged")]
    Line(usize),
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Where peers were.
    pub rows: Vec<Remembered>,
    /// When that was so, in seconds since 1970.
    pub written: u64,
}

/// The text that says this of peers, on a machine that was started under this name. `written` is when that is so, in
/// seconds since 1970.
pub fn render(rows: &[Remembered], written: u64, boot: &str) -> String {
    let mut text = String::with_capacity(rows.len() * 128 + 256);
    text.push_str(HEAD);
    writeln!(text, "boot {boot}\nwritten {written}").expect("a string takes everything");
    for Remembered { key, endpoint, configured, gone_since } in rows {
        let source = endpoint.source.map(|LocalAddr { addr, ifindex }| format!("{addr}%{ifindex}"));
        let configured = configured.map(|configured| configured.to_string());
        let gone_since = gone_since.map(|since| since.to_string());
        let [source, configured, gone_since] =
            [&source, &configured, &gone_since].map(|x| x.as_deref().unwrap_or(NONE));
        let key = key_text::encode(key);
        writeln!(text, "{key} {} {source} {configured} {gone_since}", endpoint.remote).expect("as above");
    }
    let hash = hash(&text);
    writeln!(text, "end {} {hash}", rows.len()).expect("as above");
    text
}

/// What a text says of peers. On a machine that has been started anew since, nothing is said of interfaces.
///
/// # Errors
/// [`Damage`].
pub fn parse(text: &str, boot: &str) -> Result<Contents, Damage> {
    let body = text
        .strip_prefix(HEAD)
        .ok_or_else(|| if text.starts_with(HEAD_OF_ANY_VERSION) { Damage::Version } else { Damage::Foreign })?;
    let end = text.trim_end_matches('\n').rfind('\n').ok_or(Damage::End)? + 1;
    let (count, claimed) = text[end..].strip_prefix("end ").and_then(|end| end.split_once(' ')).ok_or(Damage::End)?;
    if claimed.strip_suffix('\n') != Some(hash(&text[..end]).as_str()) {
        return Err(Damage::End);
    }
    let lines = body.get(..end - HEAD.len()).ok_or(Damage::End)?;
    let mut lines = lines.lines().zip(2..);
    let was = lines.next().and_then(|(line, _)| line.strip_prefix("boot ")).ok_or(Damage::Line(2))?;
    let written = lines.next().and_then(|(line, _)| line.strip_prefix("written ")?.parse().ok());
    let written = written.ok_or(Damage::Line(3))?;
    let rows: Vec<_> = lines.map(|(line, number)| row(line).ok_or(Damage::Line(number))).collect::<Result<_, _>>()?;
    if count.parse() != Ok(rows.len()) {
        return Err(Damage::End);
    }
    let is_same = was == boot && boot != NONE;
    let rows = rows.into_iter().filter_map(|row| if is_same { Some(row) } else { of_another_boot(row) }).collect();
    Ok(Contents { rows, written })
}

fn row(line: &str) -> Option<Remembered> {
    let mut words = line.split(' ');
    let key = key_text::decode(words.next()?).ok()?;
    let remote = words.next()?.parse().ok()?;
    let source = optional(words.next()?, |text| {
        let (addr, ifindex) = text.rsplit_once('%')?;
        Some(LocalAddr { addr: addr.parse().ok()?, ifindex: ifindex.parse().ok()? })
    })?;
    let configured = optional(words.next()?, parsed)?;
    let gone_since = optional(words.next()?, parsed)?;
    words.next().is_none().then_some(Remembered { key, endpoint: Endpoint { remote, source }, configured, gone_since })
}

/// `Some(None)` where nothing is said.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == NONE { Some(None) } else { parse(text).map(Some) }
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Who was known by the number of an interface is not known any more.
fn of_another_boot(mut row: Remembered) -> Option<Remembered> {
    if let SocketAddr::V6(remote) = row.endpoint.remote
        && remote.scope_id() != 0
    {
        return None;
    }
    row.endpoint.source = row.endpoint.source.map(|source| LocalAddr { ifindex: 0, ..source });
    Some(row)
}

/// Not against anybody who writes files: he can compute it, too.
fn hash(text: &str) -> String {
    crypto::hash(&[text.as_bytes()]).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringfort_core::crypto::PublicKey;

    use super::*;

    const WRITTEN: u64 = 1_796_000_000;
    const BOOT: &str = "0d3a4b6c-5f21-4a3f-9a55-3a6f0a2c8c11";

    fn rows() -> Vec<Remembered> {
        let row = |n: u8, remote: &str, source: Option<(&str, u32)>, configured: Option<&str>, gone_since| Remembered {
            key: PublicKey::new([n; 32]),
            endpoint: Endpoint {
                remote: remote.parse().unwrap(),
                source: source.map(|(addr, ifindex)| LocalAddr { addr: addr.parse().unwrap(), ifindex }),
            },
            configured: configured.map(|text| text.parse().unwrap()),
            gone_since,
        };
        vec![
            row(1, "198.51.100.9:40112", Some(("192.0.2.7", 3)), None, None),
            row(2, "[2001:db8::9]:1", Some(("2001:db8::1", 0)), Some("[2001:db8::2]:51820"), None),
            row(3, "[fe80::9%4]:65535", Some(("fe80::1", 4)), Some("192.0.2.1:2"), Some(1_800_000_000)),
            row(4, "0.0.0.1:0", None, None, Some(0)),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for count in 0..=rows().len() {
            let text = render(&rows()[..count], WRITTEN, BOOT);
            let rows = rows()[..count].to_vec();
            assert_eq!(parse(&text, BOOT), Ok(Contents { rows, written: WRITTEN }), "{text}");
        }
        let text = render(&rows(), WRITTEN, BOOT);
        let line = format!("{} 198.51.100.9:40112 192.0.2.7%3 - -", key_text::encode(&PublicKey::new([1; 32])));
        assert_eq!(text.lines().nth(3), Some(line.as_str()));
    }

    #[test]
    fn interfaces_have_other_numbers_after_a_boot() {
        for (was, is) in [(BOOT, "another"), (NONE, NONE)] {
            let read = parse(&render(&rows(), WRITTEN, was), is).unwrap().rows;
            let sources = read.iter().map(|row| row.endpoint.source.map(|source| source.ifindex));
            assert_eq!(sources.collect::<Vec<_>>(), [Some(0), Some(0), None], "the third was known by its link");
        }
    }

    /// Whatever a disk makes of it: a byte, or the end that is missing.
    #[test]
    fn no_damage_is_believed() {
        let text = render(&rows(), WRITTEN, BOOT);
        for len in 0..text.len() {
            assert!(parse(&text[..len], BOOT).is_err(), "{len} bytes of {}", text.len());
        }
        for at in 0..text.len() {
            for other in [b'0', b' ', b'\n', b'~'].into_iter().filter(|&other| other != text.as_bytes()[at]) {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = other;
                let damaged = String::from_utf8(bytes).unwrap();
                assert!(parse(&damaged, BOOT).is_err(), "{other} at {at}");
            }
        }
        assert!(parse(&(text.clone() + "\n"), BOOT).is_err() && parse(&text.repeat(2), BOOT).is_err());
    }

    #[test]
    fn each_damage_has_its_name() {
        assert_eq!(parse("", BOOT), Err(Damage::Foreign));
        assert_eq!(parse("[Interface]\n", BOOT), Err(Damage::Foreign));
        assert_eq!(parse("ringfort endpoints 2\n", BOOT), Err(Damage::Version));
        assert_eq!(parse(HEAD, BOOT), Err(Damage::End));
        for (lines, wrong) in [("nonsense\n", 3), ("written soon\n", 3), ("written 1\nnonsense\n", 4)] {
            let text = format!("{HEAD}boot {BOOT}\n{lines}");
            assert_eq!(parse(&format!("{text}end 1 {}\n", hash(&text)), BOOT), Err(Damage::Line(wrong)), "{lines}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_and_not_panicked_about(text in "\\PC*", lines in 0usize..4) {
            let text = format!("{HEAD}boot x\nwritten 1\n{}", format!("{text}\n").repeat(lines));
            let claimed = format!("{text}end {lines} {}\n", hash(&text));
            prop_assert!(parse(&claimed, BOOT).is_err() || lines == 0);
            prop_assert!(parse(&text, BOOT).is_err());
        }
    }
}
