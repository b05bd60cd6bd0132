//! The daemon's end of it.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use network_setup::{Ended, Invocation};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ringfort_config::Hooks;

use super::wire::{Answer, Ask, is_readable, receive, send};

/// How often somebody who waits for a hook looks whether it should be stopped.
const LOOK_INTERVAL_MS: u16 = 5;
/// For a runner without work to end.
const END_PATIENCE: Duration = Duration::from_secs(2);
const END_INTERVAL: Duration = Duration::from_millis(1);

/// Has commands run. Whoever asks waits for the answer, so control never does.
#[derive(Debug)]
pub struct Runner {
    stream: UnixStream,
    /// Held from a question to its answer. Nobody waits for it: a hook may take for ever.
    turn: Mutex<()>,
    process: Option<Pid>,
    /// Once all is up, the runner lets go of what we were started with, as a daemon does. This says of its standard
    /// error whether it stays. `None` in the foreground.
    detaches: Option<bool>,
}

impl Runner {
    /// With the process at the other end of the stream.
    pub(super) fn new(stream: UnixStream, process: Option<Pid>, detaches: Option<bool>) -> Self {
        Self { stream, turn: Mutex::new(()), process, detaches }
    }

    /// Runs a command of the file, and waits for its end. Once `stop` is true it is ended, with all that it has
    /// started.
    ///
    /// # Errors
    /// The system's, or why it is not run: for instance because another one still runs.
    pub fn hook(&self, command: &str, interface: &str, stop: impl Fn() -> bool) -> io::Result<ExitStatus> {
        let (stream, _turn) = (&self.stream, self.turn()?);
        send(stream, &Ask::Hook { command: command.to_owned(), interface: interface.to_owned() })?;
        while !is_readable(stream, LOOK_INTERVAL_MS)? {
            if stop() {
                send(stream, &Ask::Stop)?;
                break;
            }
        }
        match answer(stream)? {
            Ended { status: Some(status), .. } => Ok(status),
            Ended { status: None, .. } => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Runs a program that sets the network up.
    ///
    /// # Errors
    /// The system's, or why it is not run.
    pub fn program(&self, invocation: &Invocation) -> io::Result<Ended> {
        let (stream, _turn) = (&self.stream, self.turn()?);
        send(stream, &Ask::Program(invocation.clone()))?;
        answer(stream)
    }

    /// The file was read again, and has these commands.
    ///
    /// # Errors
    /// The system's, or that the runner finds others in it: then they could not be run later.
    pub fn learn(&self, Hooks { pre_up, post_up, pre_down, post_down }: &Hooks) -> io::Result<()> {
        let commands = [pre_up, post_up, pre_down, post_down].into_iter().flatten().cloned().collect();
        let (stream, _turn) = (&self.stream, self.turn()?);
        send(stream, &Ask::Learn { commands })?;
        done(stream)
    }

    /// Gives the first file, which is about to replace the second one, its owner and permissions.
    ///
    /// # Errors
    /// The system's, or that the second one is no file of the configuration.
    pub fn give(&self, new: &Path, old: &Path) -> io::Result<()> {
        let (stream, _turn) = (&self.stream, self.turn()?);
        send(stream, &Ask::Give { new: new.to_owned(), old: old.to_owned() })?;
        done(stream)
    }

    /// Starts the program again, to go on in our place, and waits until that process has ended. If it succeeds we end
    /// before it does.
    ///
    /// # Errors
    /// The system's, or why it is not started.
    pub fn restart(&self) -> io::Result<ExitStatus> {
        let (stream, _turn) = (&self.stream, self.turn()?);
        send(stream, &Ask::Restart)?;
        answer(stream)?.status.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }

    /// Everything is up.
    ///
    /// # Errors
    /// The system's.
    pub fn ready(&self) -> io::Result<()> {
        let Some(keeps_stderr) = self.detaches else { return Ok(()) };
        let (stream, _turn) = (&self.stream, self.turn()?);
        send(stream, &Ask::Detach { keeps_stderr })?;
        done(stream)
    }

    fn turn(&self) -> io::Result<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Ok(turn),
            Err(TryLockError::Poisoned(turn)) => Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) => Err(io::Error::other("the command before it has not ended")),
        }
    }
}

impl Runner {
    /// Ends it, and waits for that: whoever took us down finds no process of ours. A hook that still runs is told to
    /// end, and has `END_PATIENCE` before we leave it to the runner.
    pub fn end(&self) {
        if self.turn().is_err() {
            // Whoever has the turn has asked already, and waits.
            let _ = send(&self.stream, &Ask::Stop);
        }
        // The answer to who still waits can come through.
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + END_PATIENCE;
        let has_ended = |process| !matches!(waitpid(process, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive));
        while self.process.is_some_and(|process| !has_ended(process)) && Instant::now() < deadline {
            sleep(END_INTERVAL);
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.end();
    }
}

fn answer(stream: &UnixStream) -> io::Result<Ended> {
    match receive(stream).map_err(gone)? {
        Answer::Ended { status, output, errors } => {
            Ok(Ended { status: status.map(ExitStatus::from_raw), output, errors })
        }
        Answer::Refused(why) => Err(io::Error::other(why)),
        Answer::Done => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn done(stream: &UnixStream) -> io::Result<()> {
    match receive(stream).map_err(gone)? {
        Answer::Done => Ok(()),
        Answer::Refused(why) => Err(io::Error::other(why)),
        Answer::Ended { .. } => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn gone(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            io::Error::other("the process that runs commands (ringfort-run) has ended: restart the gateway")
        }
        _ => error,
    }
}
