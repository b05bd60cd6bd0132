//! An error on its way to the standard error, and to the exit status.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;

use crate::control::ask;
use crate::control::error::DaemonError;
use crate::{origin, plain};

/// How long an error is offered to whoever reads the standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The status to exit with, once the error was printed.
#[must_use]
pub fn exit(result: Result<(), DaemonError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.exit_status()),
    }
}

/// The same for the text of an error. Whoever was to leave its place to us hears of it as well.
pub fn fail(text: &str, status: u8) -> ExitCode {
    if let Some(name) = origin::predecessor() {
        ask::tell_failed_heir(name, text);
    }
    say(format!("ringfort: {}", plain::lines(text)));
    ExitCode::from(status)
}

/// Writes a line to the standard error, and waits a moment until somebody has read it, but no longer: whoever does not
/// read must not keep us from ending, or from starting.
pub fn say(line: String) {
    let (done, is_done) = mpsc::sync_channel(1);
    let line = format!("{line}\n");
    let copy = line.clone();
    let write = move || {
        let _ = std::io::stderr().write_all(copy.as_bytes());
        let _ = done.send(());
    };
    match thread::Builder::new().spawn(write) {
        Ok(_) => drop(is_done.recv_timeout(LAST_WORDS)),
        Err(_) => say_without_thread(&line),
    }
}

/// The message may be that no thread can be started.
fn say_without_thread(line: &str) {
    let stderr = std::io::stderr();
    let mut writable = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(LAST_WORDS).unwrap_or(PollTimeout::ZERO);
    if poll(&mut writable, timeout).is_ok_and(|ready| ready > 0) {
        // A pipe that takes anything takes a page, and no line of ours is longer.
        let _ = unistd::write(stderr.as_fd(), line.as_bytes());
    }
}
