//! The other end of the control socket: what this program asks of a daemon that runs.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::Duration;

use log::LevelFilter;
use ringfort_core::crypto::PublicKey;
use ringfort_core::suite::Suite;

use super::error::DaemonError;
use super::key_text;
use super::logging::level_name;
use super::server::{connect, socket_path};
use super::uapi::DEFAULT_SUITE;

const TIMEOUT: Duration = Duration::from_secs(10);
/// What ends an answer to a request that was carried out.
const DONE: &str = "errno=0\n\n";

/// The counters of the daemon that serves interface `name`, as lines of `name=value`.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoStatistics`].
pub fn stats(name: &str) -> Result<String, DaemonError> {
    answer(name, "stats=1\n\n", DaemonError::NoStatistics)
}

/// The same as JSON, the workers one by one: one line.
///
/// # Errors
/// As [`stats`].
pub fn stats_json(name: &str) -> Result<String, DaemonError> {
    let answer = answer(name, "stats_json=1\n\n", DaemonError::NoStatistics)?;
    let json = answer.strip_prefix("json=").ok_or_else(|| DaemonError::NoStatistics(name.to_owned()))?;
    Ok(json.to_owned())
}

/// The cipher suites that are set in the daemon that serves interface `name`: a line for the interface and one for each
/// peer with a suite of its own, name and suite separated by a tab.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoSuites`].
pub fn suites(name: &str) -> Result<String, DaemonError> {
    let lines = answer(name, "suites=1\n\n", DaemonError::NoSuites)?;
    let mut text = String::new();
    for line in lines.lines() {
        let shown = match line.split_once('=') {
            Some(("public_key", hex)) => {
                key_text::from_hex(hex).map(|key| write!(text, "{}\t", key_text::encode(&key)))
            }
            Some(("cipher_suite", suite)) if text.is_empty() => Some(writeln!(text, "interface\t{suite}")),
            Some(("cipher_suite", suite)) => Some(writeln!(text, "{suite}")),
            _ => None,
        };
        shown.ok_or_else(|| DaemonError::NoSuites(name.to_owned()))?.expect("a string takes everything");
    }
    Ok(text)
}

/// Sets the suite of the interface `name`, or that of one peer, which need not be there. `None` takes the setting back.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::SuiteRefused`].
pub fn set_suite(name: &str, peer: Option<&PublicKey>, suite: Option<Suite>) -> Result<(), DaemonError> {
    let suite = suite.map_or(DEFAULT_SUITE, Suite::name);
    // update_only: a peer that is not there is not made.
    let peer = peer.map_or_else(String::new, |key| format!("public_key={}\nupdate_only=true\n", key_text::hex(key)));
    answer(name, &format!("set=1\n{peer}cipher_suite={suite}\n\n"), DaemonError::SuiteRefused).map(drop)
}

/// What the daemon that serves interface `name` logs, by the name of the level; a level that is given is set first.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoLogLevel`].
pub fn log_level(name: &str, level: Option<LevelFilter>) -> Result<String, DaemonError> {
    let level = level.map_or("1", level_name);
    let lines = answer(name, &format!("log_level={level}\n\n"), DaemonError::NoLogLevel)?;
    let level = lines.strip_prefix("log_level=").ok_or_else(|| DaemonError::NoLogLevel(name.to_owned()))?;
    Ok(level.to_owned())
}

/// All peers of interface `name`, as JSON.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoPeers`].
pub fn peers(name: &str) -> Result<String, DaemonError> {
    json(name, "peers=1\n\n", DaemonError::NoPeers)
}

/// What is wrong with the peer of this key, as JSON.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoPeers`].
pub fn why(name: &str, key: &PublicKey) -> Result<String, DaemonError> {
    json(name, &format!("why={}\n\n", key_text::hex(key)), DaemonError::NoPeers)
}

/// The JSON in an answer of one line.
fn json(name: &str, request: &str, refused: fn(String) -> DaemonError) -> Result<String, DaemonError> {
    let line = answer(name, request, refused)?;
    line.strip_prefix("json=").map(str::to_owned).ok_or_else(|| refused(name.to_owned()))
}

/// What the daemon answers, if it carries the request out.
fn answer(name: &str, request: &str, refused: fn(String) -> DaemonError) -> Result<String, DaemonError> {
    let answer = ask(name, request).map_err(|source| DaemonError::NotServed { name: name.to_owned(), source })?;
    let lines = answer.strip_suffix(DONE).ok_or_else(|| refused(name.to_owned()))?;
    Ok(lines.to_owned())
}

fn ask(name: &str, request: &str) -> io::Result<String> {
    let mut stream = connect(&socket_path(name))?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    // The daemon closes the connection once it has answered the last request.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
