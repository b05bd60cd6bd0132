//! The configuration file of an interface: what `wg` has no words for, in the form of its own files.
//!
//! ```text
//! # /etc/ringfort/wg0.conf
//! [Interface]
//! CipherSuite = aes256gcm
//!
//! [Peer]
//! PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
//! CipherSuite = chacha20poly1305
//! Source = 192.0.2.7
//! ```
//!
//! It is read once, at the start, and holds no secret. Names are matched without regard to case, and `#` begins a
//! comment. Everything else that is not understood is refused with its line number: its writer relies on a setting, so
//! none is silently ignored. No refusal repeats the text of the file: it may be a key that was pasted into the wrong
//! place.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ringfort_config::is_source;
use ringfort_core::constants::PEERS_MAX;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Device;
use ringfort_core::suite::{Suite, UnknownSuite};
use ringfort_core::time::Time;

use super::key_text::{self, NotAKey};

/// Where the file of an interface is looked for if no other is named.
const DIRECTORY: &str = "/etc/ringfort";
/// Longest file in bytes.
const FILE_LEN_MAX: u64 = 64 << 20;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    interface: Option<Suite>,
    peers: BTreeMap<PublicKey, PeerSettings>,
}

/// What a file says of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PeerSettings {
    suite: Option<Suite>,
    source: Option<IpAddr>,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// One of its lines is wrong.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A bracket, but no section that there is.
    #[error("no such section: there are [Interface] and [Peer]")]
    UnknownSection,
    /// `[Interface]` again.
    #[error("a second [Interface]")]
    SecondInterface,
    /// Neither a section nor a setting.
    #[error("neither a section nor a setting of the form Name = value")]
    NotASetting,
    /// A setting before the first section.
    #[error("a setting before the first [Interface] or [Peer]")]
    NoSection,
    /// A setting that `wg` or `wg-quick` has.
    #[error("this is a setting of wg(8) or wg-quick(8): it belongs into their configuration, not into this one")]
    OfWg,
    /// A name that `[Interface]` does not have.
    #[error("no such setting: [Interface] has CipherSuite")]
    UnknownInterfaceName,
    /// A name that `[Peer]` does not have.
    #[error("no such setting: [Peer] has PublicKey, CipherSuite and Source")]
    UnknownPeerName,
    /// The same setting again in its section.
    #[error("the same setting twice in one section")]
    Twice,
    /// The value of CipherSuite.
    #[error("this is {0}")]
    Suite(#[from] UnknownSuite),
    /// The value of PublicKey.
    #[error("this is {0}")]
    Key(#[from] NotAKey),
    /// The value of Source.
    #[error("this is not an address that a datagram can leave from, such as 192.0.2.7 or 2001:db8::7")]
    Source,
    /// A section without a key, or with nothing else. The line is that of the section.
    #[error("this [Peer] needs a PublicKey, and a CipherSuite or a Source")]
    Incomplete,
    /// Two sections for one key. The line is that of the second section.
    #[error("an earlier [Peer] has the same PublicKey")]
    SamePeer,
    /// More peers than an interface can have.
    #[error("settings for more than {PEERS_MAX} peers")]
    TooManyPeers,
}

impl Settings {
    /// Reads the file at `path`, or else that of the interface `name` if there is one.
    ///
    /// # Errors
    /// [`SettingsError`]; that there is no file is one only for a `path`.
    pub fn load(path: Option<&Path>, name: &str) -> Result<Self, SettingsError> {
        let usual = Path::new(DIRECTORY).join(format!("{name}.conf"));
        let chosen = path.unwrap_or(&usual);
        let text = match read(chosen) {
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(SettingsError::Read { path: chosen.to_owned(), source }),
            Ok(text) => text,
        };
        let refused = |(line, problem)| SettingsError::Line { path: chosen.to_owned(), line, problem };
        parse(&text).map_err(refused)
    }

    /// Sets them, before there is any peer.
    pub fn apply(&self, device: &mut Device, now: Time) {
        if let Some(suite) = self.interface {
            device.set_suite(now, suite);
        }
        for (&key, &PeerSettings { suite, source }) in &self.peers {
            if suite.is_some() {
                device.set_peer_suite(now, key, suite).expect("the file was refused if it has too many");
            }
            if source.is_some() {
                device.set_peer_source(key, source).expect("the file was refused if it has too many");
            }
        }
    }

    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every suite that they name.
    pub fn suites(&self) -> impl Iterator<Item = Suite> {
        self.interface.into_iter().chain(self.peers.values().filter_map(|peer| peer.suite))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cipher suite of the interface {}", self.interface.unwrap_or_default())?;
        match self.peers.len() {
            0 => Ok(()),
            1 => f.write_str(", one peer with settings of its own"),
            count => write!(f, ", {count} peers with settings of their own"),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let len = std::fs::File::open(path)?.take(FILE_LEN_MAX + 1).read_to_string(&mut text)?;
    if len as u64 > FILE_LEN_MAX { Err(io::Error::from(io::ErrorKind::FileTooLarge)) } else { Ok(text) }
}

/// Where a line stands.
enum Section {
    None,
    Interface,
    Peer { line: usize, key: Option<PublicKey>, settings: PeerSettings },
}

fn parse(text: &str) -> Result<Settings, (usize, Problem)> {
    let mut settings = Settings::default();
    let mut section = Section::None;
    let mut has_interface = false;
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split_once('#').map_or(text, |(before, _)| before).trim();
        if text.is_empty() {
            continue;
        }
        if !text.starts_with('[') {
            setting(text, &mut section, &mut settings).map_err(|problem| (line, problem))?;
            continue;
        }
        close(std::mem::replace(&mut section, Section::None), &mut settings)?;
        section = if text.eq_ignore_ascii_case("[Peer]") {
            Section::Peer { line, key: None, settings: PeerSettings::default() }
        } else if !text.eq_ignore_ascii_case("[Interface]") {
            return Err((line, Problem::UnknownSection));
        } else if std::mem::replace(&mut has_interface, true) {
            return Err((line, Problem::SecondInterface));
        } else {
            Section::Interface
        };
    }
    close(section, &mut settings)?;
    Ok(settings)
}

fn setting(text: &str, section: &mut Section, settings: &mut Settings) -> Result<(), Problem> {
    let (name, value) = text.split_once('=').ok_or(Problem::NotASetting)?;
    let (name, value) = (name.trim(), value.trim());
    let named = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    match section {
        Section::None => Err(Problem::NoSection),
        Section::Interface if named("CipherSuite") => once(&mut settings.interface, value.parse()?),
        Section::Peer { settings, .. } if named("CipherSuite") => once(&mut settings.suite, value.parse()?),
        Section::Peer { settings, .. } if named("Source") => {
            let source = value.parse().ok().filter(is_source).ok_or(Problem::Source)?;
            once(&mut settings.source, source)
        }
        Section::Peer { key, .. } if named("PublicKey") => once(key, key_text::decode(value)?),
        _ if OF_WG.iter().any(|&wanted| named(wanted)) => Err(Problem::OfWg),
        Section::Interface => Err(Problem::UnknownInterfaceName),
        Section::Peer { .. } => Err(Problem::UnknownPeerName),
    }
}

/// The names in the files of wg(8) and wg-quick(8), apart from `PublicKey`.
const OF_WG: [&str; 15] = [
    "PrivateKey",
    "ListenPort",
    "FwMark",
    "PresharedKey",
    "AllowedIPs",
    "Endpoint",
    "PersistentKeepalive",
    "Address",
    "DNS",
    "MTU",
    "Table",
    "PreUp",
    "PostUp",
    "PreDown",
    "PostDown",
];

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Problem> {
    if place.replace(value).is_some() { Err(Problem::Twice) } else { Ok(()) }
}

/// A section has ended.
fn close(section: Section, settings: &mut Settings) -> Result<(), (usize, Problem)> {
    let Section::Peer { line, key, settings: own } = section else { return Ok(()) };
    let key = key.filter(|_| own != PeerSettings::default()).ok_or((line, Problem::Incomplete))?;
    if settings.peers.insert(key, own).is_some() {
        return Err((line, Problem::SamePeer));
    }
    if settings.peers.len() > PEERS_MAX { Err((line, Problem::TooManyPeers)) } else { Ok(()) }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
