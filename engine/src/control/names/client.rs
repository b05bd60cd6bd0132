//! The daemon's end of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use nix::sys::socket::{AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, shutdown, socketpair};

use super::wire::{Answer, Ask, NAME_LEN_MAX, hear, tell};
use crate::sandbox::Mode;

/// By which the program knows that it should look names up, and as which `ps` and `top` show it.
pub(super) const ARGV0: &str = "ringfort-dns";

/// For a process that has nothing left to do to end.
const END_PATIENCE: Duration = Duration::from_secs(2);
const END_INTERVAL: Duration = Duration::from_millis(1);
/// What the C library's resolver, or that which loads it, is told by the environment.
const ENVIRONMENT: [&str; 4] = ["LD_LIBRARY_PATH", "LOCALDOMAIN", "RES_OPTIONS", "LANG"];

/// Has names looked up. Nothing here waits.
#[derive(Debug)]
pub struct Names {
    socket: OwnedFd,
    process: Mutex<Option<Child>>,
    /// Why there never was a process.
    failure: Option<String>,
    is_ending: AtomicBool,
}

impl Names {
    /// Starts the process. Without one, each name fails for the reason that there is none: a gateway that runs is worth
    /// more than one that does not.
    ///
    /// # Errors
    /// The system's, if there are no sockets.
    pub fn start(mode: Mode) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        // What is executed is what runs, also if the file was replaced.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(ARGV0).args(mode.to_possible_value().map(|value| value.get_name().to_owned()));
        command.env_clear().envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // Whoever reads our output waits for the end of all who have it.
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = command.current_dir("/").spawn();
        let failure = spawned.as_ref().err().map(|error| format!("no process could be started for it: {error}"));
        Ok(Self::new(ours, spawned.ok(), failure))
    }

    /// With what is at the other end of the socket.
    pub(super) fn new(socket: OwnedFd, process: Option<Child>, failure: Option<String>) -> Self {
        Self { socket, process: Mutex::new(process), failure, is_ending: AtomicBool::new(false) }
    }

    /// Asks for the addresses of a name. An [`Answer`] of this number follows.
    ///
    /// # Errors
    /// Why it is not asked for.
    pub fn ask(&self, number: u64, host: &str) -> io::Result<()> {
        if host.len() > NAME_LEN_MAX {
            return Err(io::Error::other(format!("a host name has {NAME_LEN_MAX} bytes at most")));
        }
        let ask = Ask { number, host: host.to_owned() };
        tell(self.socket.as_fd(), &ask, MsgFlags::MSG_DONTWAIT).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.gone(),
            _ => error,
        })
    }

    /// An answer, if there is one.
    ///
    /// # Errors
    /// That there will be none any more, and why.
    pub fn answer(&self) -> io::Result<Option<Answer>> {
        match hear::<Answer>(self.socket.as_fd()) {
            Ok(answer) => Ok(Some(answer.checked())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.gone()),
            Err(error) => Err(error),
        }
    }

    /// Whether we have ended it ourselves.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Ends it, and waits for that: whoever took us down finds no process of ours.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.socket), Shutdown::Both);
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(process) = process.as_mut() else { return };
        let deadline = Instant::now() + END_PATIENCE;
        while matches!(process.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(END_INTERVAL);
        }
    }

    fn gone(&self) -> io::Error {
        if let Some(process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // Its number is free again.
            let _ = process.try_wait();
        }
        let ended = || "the process that looks names up (ringfort-dns) has ended: restart the gateway".to_owned();
        io::Error::other(self.failure.clone().unwrap_or_else(ended))
    }
}

impl AsFd for Names {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}
