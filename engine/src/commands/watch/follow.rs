//! From the gateway to the standard output, line by line. Nothing waits for one of the two without hearing of the
//! other, and of signals. So a reader who has stopped can be interrupted, and one who is gone is noticed at once.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::super::signals::Signals;
use super::words;
use crate::control::error::DaemonError;
use crate::plain;

/// Bytes that are read at once.
const READ_LEN: usize = 64 << 10;
/// Text that waits for its reader: with more, the gateway waits.
const UNWRITTEN_MAX: usize = 256 << 10;
/// What a pipe that is writable takes without blocking (`PIPE_BUF`).
const PIPE_CHUNK: usize = 4_096;

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal came, or nobody reads any more.
    Enough,
    /// The gateway has closed the connection.
    Gateway,
}

/// Copies what the gateway says.
pub struct Follower<'a> {
    interface: &'a str,
    stream: UnixStream,
    lines: Lines,
    /// What was read, without an end of line so far.
    unread: Vec<u8>,
    unwritten: Vec<u8>,
    /// The gateway says nothing more.
    is_over: bool,
}

/// What becomes of the gateway's lines.
struct Lines {
    json: bool,
    /// The keys of the peers that are of interest; empty: all.
    only: BTreeSet<String>,
    /// It has said something.
    has_begun: bool,
    /// Why it refuses.
    refusal: Option<String>,
}

impl<'a> Follower<'a> {
    /// Prints lines of JSON, or text, about all peers or only those with these keys.
    pub fn new(interface: &'a str, stream: UnixStream, json: bool, only: BTreeSet<String>) -> Self {
        let lines = Lines { json, only, has_begun: false, refusal: None };
        Self { interface, stream, lines, unread: Vec::new(), unwritten: Vec::new(), is_over: false }
    }

    /// Goes on until it ends.
    ///
    /// # Errors
    /// The gateway refuses, or the system.
    pub fn follow(mut self, signals: &Signals) -> Result<Ended, DaemonError> {
        // What came last is still said.
        while !self.is_over || !self.unwritten.is_empty() {
            let (reads, writes) = match self.wait(signals)? {
                Ok(ready) => ready,
                Err(ended) => return Ok(ended),
            };
            if writes && !self.write()? {
                return Ok(Ended::Enough);
            }
            if reads {
                self.is_over = !self.read();
            }
        }
        self.lines.end(self.interface)
    }

    /// Waits for the gateway, for the reader, or for a signal. Says who is ready, or why it is over.
    fn wait(&self, signals: &Signals) -> Result<Result<(bool, bool), Ended>, DaemonError> {
        let reads = !self.is_over && self.unwritten.len() < UNWRITTEN_MAX;
        let wanted = if self.unwritten.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        let stdout = io::stdout();
        let mut fds = [
            // A hang-up is told whether one asks for it or not: what must not be read is left out.
            PollFd::new(if reads { self.stream.as_fd() } else { signals.as_fd() }, PollFlags::POLLIN),
            // And so are errors, which means that nobody reads any more.
            PollFd::new(stdout.as_fd(), wanted),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(Ok((false, false))),
            result => result.map_err(|errno| DaemonError::system("wait for the gateway", errno))?,
        };
        let [stream, stdout, signal] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !signal.is_empty() && signals.came() || stdout.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return Ok(Err(Ended::Enough));
        }
        Ok(Ok((reads && !stream.is_empty(), stdout.contains(PollFlags::POLLOUT))))
    }

    /// False: nothing more comes.
    fn read(&mut self) -> bool {
        let before = self.unread.len();
        self.unread.resize(before + READ_LEN, 0);
        let read = self.stream.read(&mut self.unread[before..]);
        self.unread.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // A gateway that is gone has nothing more to say.
            Err(_) => return false,
        }
        let end = self.unread.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        for line in self.unread[..end].split(|&byte| byte == b'\n') {
            self.lines.take(line, &mut self.unwritten);
        }
        self.unread.drain(..end);
        true
    }

    /// False: nobody reads any more.
    fn write(&mut self) -> Result<bool, DaemonError> {
        let len = self.unwritten.len().min(PIPE_CHUNK);
        let mut stdout = io::stdout().lock();
        match stdout.write_all(&self.unwritten[..len]).and_then(|()| stdout.flush()) {
            Ok(()) => {
                self.unwritten.drain(..len);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(DaemonError::system("write to the standard output", error)),
        }
    }
}

impl Lines {
    /// One line of the gateway, without its end.
    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(json) = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("json=")) else { return };
        let Ok(event) = serde_json::from_str::<Value>(json) else { return };
        if let Some(error) = event["error"].as_str() {
            self.refusal = Some(error.to_owned());
            return;
        }
        self.has_begun = true;
        let key = event["public_key"].as_str();
        if key.is_some_and(|key| !self.only.is_empty() && !self.only.contains(key)) {
            return;
        }
        let text = if self.json { Some(json.to_owned()) } else { words::of(&event) };
        if let Some(text) = text {
            out.extend_from_slice(plain::line(&text).as_bytes());
            out.push(b'\n');
        }
    }

    /// Nothing more comes.
    fn end(self, interface: &str) -> Result<Ended, DaemonError> {
        match self {
            Self { has_begun: true, .. } => Ok(Ended::Gateway),
            Self { refusal: Some(why), .. } => Err(DaemonError::Declined(why)),
            Self { refusal: None, .. } => Err(DaemonError::Declined(format!(
                "the daemon that serves interface {interface} lets nobody watch: it is not ringfort, or an older one"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: bool, only: &[&str]) -> Lines {
        let only = only.iter().map(|&key| key.to_owned()).collect();
        Lines { json, only, has_begun: false, refusal: None }
    }

    fn taken(lines: &mut Lines, text: &str) -> String {
        let mut out = Vec::new();
        text.split('\n').for_each(|line| lines.take(line.as_bytes(), &mut out));
        String::from_utf8(out).unwrap()
    }

    const REMOVED: &str = r#"json={"event":"removed","public_key":"abcd","time":"T"}"#;

    #[test]
    fn json_is_passed_on_as_it_is_and_only_of_who_is_asked_for() {
        let mut all = lines(true, &[]);
        assert_eq!(taken(&mut all, REMOVED), format!("{}\n", REMOVED.strip_prefix("json=").unwrap()));
        assert_eq!(all.end("wg0").ok(), Some(Ended::Gateway));
        assert_eq!(taken(&mut lines(true, &["zzzz"]), REMOVED), "");
        assert!(taken(&mut lines(true, &["abcd"]), REMOVED).contains("removed"));
        let complete = r#"json={"event":"complete","peers":3}"#;
        assert!(taken(&mut lines(true, &["zzzz"]), complete).contains("complete"), "it is about no peer");
        let escapes = r#"json={"event":"removed","public_key":"a\nb\u001b[2J","time":"T"}"#;
        assert!(taken(&mut lines(false, &[]), escapes).ends_with("a; b\\u{1b}[2J\n"));
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_silence() {
        let mut refused = lines(false, &[]);
        assert_eq!(taken(&mut refused, "json={\"error\":\"8 clients watch already\"}\nerrno=-16\n\n"), "");
        assert!(refused.end("wg0").unwrap_err().to_string().contains("8 clients"));
        assert!(lines(false, &[]).end("wg0").unwrap_err().to_string().contains("not ringfort"));
    }
}
