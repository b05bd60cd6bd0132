//! The other end of the control socket: what this program asks of a daemon that runs.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{UnixCredentials, getsockopt};
use ringfort_config::SecretText;
use ringfort_core::crypto::PublicKey;
use ringfort_core::suite::Suite;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::error::{DaemonError, Fault};
use super::file::steward::Report;
use super::key_text;
use super::logging::level_name;
use super::server::{connect, socket_path};
use super::uapi::{DEFAULT_SUITE, Role};
use crate::capture;
use crate::origin::Origin;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of a reason that is told; a line has some more.
const FAILURE_LEN_MAX: usize = 1_000;
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

/// Has the daemon that serves interface `name` take a role, and waits until that is so. Returns the role that holds
/// then, on a line: somebody else may have decided otherwise.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::Declined`].
pub fn role(name: &str, role: Role) -> Result<String, DaemonError> {
    let older = |name| {
        DaemonError::Declined(format!(
            "the daemon that serves interface {name} knows no roles: it is \
        not ringfort, or an older one"
        ))
    };
    let lines = answer(name, &format!("role={}\n\n", role.name()), older)?;
    lines.strip_prefix("role=").map(str::to_owned).ok_or_else(|| older(name.to_owned()))
}

/// Has control and each worker of the daemon that serves interface `name` give a sign of life. Returns a line that says
/// so, with the role.
///
/// # Errors
/// [`DaemonError::NotServed`]; [`DaemonError::NoAnswer`] if one of them hangs; [`DaemonError::Declined`].
pub fn alive(name: &str) -> Result<String, DaemonError> {
    let older = |name| {
        DaemonError::Declined(format!("the daemon that serves interface {name} is not ringfort, or an older one"))
    };
    let lines = answer(name, "alive=1\n\n", older)?;
    let words = lines.strip_prefix("workers=").and_then(|lines| lines.trim_end().split_once("\nrole="));
    let (workers, role) = words.ok_or_else(|| older(name.to_owned()))?;
    let workers = if workers == "1" { "1 worker".to_owned() } else { format!("{workers} workers") };
    Ok(format!("{role}: control and {workers} answer\n"))
}

/// Has the daemon that serves interface `name` recover sessions as after a start. Returns for how many seconds; none if
/// it serves nobody at present.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::Declined`].
pub fn recover(name: &str) -> Result<u64, DaemonError> {
    let older = |name| {
        DaemonError::Declined(format!(
            "the daemon that serves interface {name} cannot be told to recover: it is not ringfort, or an older one"
        ))
    };
    let lines = answer(name, "recover=1\n\n", older)?;
    let seconds = lines.trim_end().strip_prefix("recovery_s=").and_then(|seconds| seconds.parse().ok());
    seconds.ok_or_else(|| older(name.to_owned()))
}

/// All peers of interface `name`, and who would like to be one. They come in parts, so the daemon is never kept long.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoPeers`].
pub fn peers(name: &str) -> Result<Value, DaemonError> {
    let (mut peers, mut from) = (Vec::new(), 1);
    loop {
        let part = json_text(name, &format!("peers={from}\n\n"), DaemonError::NoPeers)?;
        let mut part: Value = serde_json::from_str(&part).map_err(|_| DaemonError::NoPeers(name.to_owned()))?;
        if let Some(some) = part["peers"].as_array_mut() {
            peers.append(some);
        }
        match part["next"].as_u64().filter(|&next| next > from) {
            Some(next) => from = next,
            None => return Ok(json!({ "interface": part["interface"].take(), "peers": peers })),
        }
    }
}

/// What is wrong with the peer of this key, as JSON.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoPeers`].
pub fn why(name: &str, key: &PublicKey) -> Result<String, DaemonError> {
    json_text(name, &format!("why={}\n\n", key_text::hex(key)), DaemonError::NoPeers)
}

/// Begins a capture. The connection then carries it; it ends when nothing more is sent on that.
///
/// # Errors
/// [`DaemonError::NotServed`], or [`DaemonError::Capture`] with the reason.
pub fn capture(name: &str, request: &capture::Request) -> Result<UnixStream, DaemonError> {
    let request = serde_json::to_string(request).unwrap_or_default();
    let (mut stream, mut answer) = (open(name).map_err(|source| unanswered(name, source))?, Vec::new());
    let asked = stream.write_all(format!("capture={request}\n\n").as_bytes()).and_then(|()| {
        // Byte by byte: what follows the answer is the capture.
        while !answer.ends_with(b"\n\n") {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                break;
            }
            answer.push(byte[0]);
        }
        stream.set_read_timeout(None)
    });
    asked.map_err(|source| unanswered(name, source))?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.ends_with(DONE) {
        return Ok(stream);
    }
    let text = answer.lines().find_map(|line| line.strip_prefix("json="));
    let json = text.and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
    let older =
        || format!("the daemon that serves interface {name} cannot capture: it is not ringfort, or an older one");
    Err(DaemonError::Capture(json["error"].as_str().map_or_else(older, str::to_owned)))
}

/// Begins to watch the peers of interface `name`. Lines come on the connection until one side closes it.
///
/// # Errors
/// [`DaemonError::NotServed`].
pub fn watch(name: &str) -> Result<UnixStream, DaemonError> {
    let stream = send(name, "watch=1\n\n").and_then(|stream| {
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    stream.map_err(|source| unanswered(name, source))
}

/// The JSON in an answer of one line.
fn json_text(name: &str, request: &str, refused: fn(String) -> DaemonError) -> Result<String, DaemonError> {
    let line = answer(name, request, refused)?;
    line.strip_prefix("json=").map(str::to_owned).ok_or_else(|| refused(name.to_owned()))
}

/// A configuration file that a daemon reads.
#[derive(Clone, Debug)]
pub struct ServedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether `ringfort up` has started the daemon.
    pub is_gateway: bool,
    /// When the daemon read it last, in nanoseconds since the Unix epoch.
    pub read_at: u64,
}

/// The configuration file of the daemon that serves interface `name`, if it has one.
///
/// # Errors
/// [`DaemonError::NotServed`], or [`DaemonError::NoFile`] if it is not ringfort.
pub fn file(name: &str) -> Result<Option<ServedFile>, DaemonError> {
    let answer = json(name, "file=1\n\n")?;
    let read_at = answer["read_at"].as_u64().unwrap_or(0);
    Ok(answer["file"].as_str().map(|path| ServedFile { path: path.into(), is_gateway: answer["up"] == true, read_at }))
}

/// The configuration and the state of all peers, keys included.
///
/// # Errors
/// [`DaemonError::NotServed`].
pub fn get(name: &str) -> Result<SecretText, DaemonError> {
    let read = || -> io::Result<SecretText> {
        let mut stream = send(name, "get=1\n\n")?;
        let mut text = SecretText::default();
        let mut chunk = Zeroizing::new([0; 8192]);
        loop {
            let len = stream.read(chunk.as_mut_slice())?;
            if len == 0 {
                return Ok(text);
            }
            // All of it is ASCII, so no character lies across two reads.
            text.push_str(std::str::from_utf8(&chunk[..len]).map_err(|_| io::ErrorKind::InvalidData)?);
        }
    };
    read().map_err(|source| unanswered(name, source))
}

/// Has the daemon that serves interface `name` read its file again. The number is that of the [`report`] to wait for.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoFile`].
pub fn reload(name: &str) -> Result<u64, DaemonError> {
    let answer = json(name, "reload=1\n\n")?;
    answer["reload"].as_u64().ok_or_else(|| DaemonError::NoFile(name.to_owned()))
}

/// A process that serves an interface, as it describes itself.
#[derive(Debug, serde::Deserialize)]
pub struct Server {
    /// Its number, as it says itself.
    pub process: u32,
    /// Its number here, as the kernel tells it: it says nothing of that. 0: it is in another PID namespace.
    #[serde(skip)]
    pub peer: u32,
    /// Its user, as the kernel tells it.
    #[serde(skip)]
    pub user: u32,
    /// Whether it can start another one itself.
    pub starts: bool,
    /// How it was started.
    pub origin: Origin,
    /// How many processes could not go on in its place.
    pub failed_heirs: u64,
    /// Why the last one could not.
    pub why: String,
}

/// Which process serves interface `name`, and how it was started.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::Declined`].
pub fn server(name: &str) -> Result<Server, DaemonError> {
    let older = |name| {
        DaemonError::Declined(format!(
            "the daemon that serves interface {name} does not say how it was started: it is not ringfort, or an older \
             one; end it, and start it again"
        ))
    };
    let asked = || -> io::Result<(UnixCredentials, String)> {
        let (mut stream, mut answer) = (send(name, "origin=1\n\n")?, String::new());
        stream.read_to_string(&mut answer)?;
        Ok((getsockopt(&stream, PeerCredentials)?, answer))
    };
    let (peer, answer) = asked().map_err(|source| unanswered(name, source))?;
    let text = answer.strip_suffix(DONE).and_then(|line| line.strip_prefix("json="));
    let server: Option<Server> = text.and_then(|text| serde_json::from_str(text).ok());
    let server = server.ok_or_else(|| older(name.to_owned()))?;
    Ok(Server { peer: u32::try_from(peer.pid()).unwrap_or(0), user: peer.uid(), ..server })
}

/// Tells the daemon that serves interface `name` why this process does not go on in its place. If it does not hear,
/// nobody needs to know.
pub fn tell_failed_heir(name: &str, why: &str) {
    let why: String = why.replace('\n', "; ").chars().take(FAILURE_LEN_MAX).collect();
    let _ = ask(name, &format!("heir_failed={why}\n\n"));
}

/// Has the daemon that serves interface `name` start a process that goes on in its place. The number is that of the
/// [`report`] that says why it did not.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoFile`].
pub fn restart(name: &str) -> Result<u64, DaemonError> {
    let answer = json(name, "restart=1\n\n")?;
    answer["reload"].as_u64().ok_or_else(|| DaemonError::NoFile(name.to_owned()))
}

/// What became of the last reload that was finished.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoFile`].
pub fn report(name: &str) -> Result<Report, DaemonError> {
    let answer = json(name, "report=1\n\n")?;
    let lines = answer["lines"].as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned));
    let number = answer["reload"].as_u64().ok_or_else(|| DaemonError::NoFile(name.to_owned()))?;
    let failure = (answer["ok"] != true).then(|| match answer["system"] == true {
        true => Fault::System,
        false => Fault::Request,
    });
    Ok(Report { number, failure, lines: lines.collect() })
}

/// An answer of one line, `json=`.
fn json(name: &str, request: &str) -> Result<Value, DaemonError> {
    let lines = answer(name, request, DaemonError::NoFile)?;
    let text = lines.trim_end().strip_prefix("json=");
    let value = text.and_then(|text| serde_json::from_str(text).ok());
    value.ok_or_else(|| DaemonError::NoFile(name.to_owned()))
}

/// Why nobody has answered for interface `name`. Only where nobody listens is there no daemon.
pub fn unanswered(name: &str, source: io::Error) -> DaemonError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => DaemonError::NotServed { name, source },
        io::ErrorKind::PermissionDenied => DaemonError::MayNotAsk { name, source },
        _ => DaemonError::NoAnswer { name, source },
    }
}

/// What the daemon answers, if it carries the request out.
fn answer(name: &str, request: &str, refused: fn(String) -> DaemonError) -> Result<String, DaemonError> {
    let answer = ask(name, request).map_err(|source| unanswered(name, source))?;
    let lines = answer.strip_suffix(DONE).ok_or_else(|| refused(name.to_owned()))?;
    Ok(lines.to_owned())
}

fn ask(name: &str, request: &str) -> io::Result<String> {
    let mut answer = String::new();
    send(name, request)?.read_to_string(&mut answer)?;
    Ok(answer)
}

fn send(name: &str, request: &str) -> io::Result<UnixStream> {
    let mut stream = open(name)?;
    stream.write_all(request.as_bytes())?;
    // The daemon closes the connection once it has answered the last request.
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(stream)
}

/// A connection on which nothing takes for ever.
fn open(name: &str) -> io::Result<UnixStream> {
    let stream = connect(&socket_path(name))?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
