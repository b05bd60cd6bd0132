//! The process: it waits for questions, and has each answered by a process of its own.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, SockType, getsockopt, sockopt};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, fork, pipe2};

use super::client::ARGV0;
use super::wire::{Answer, Ask, NAME_LEN_MAX, Outcome, hear, tell};
use crate::control::inherited::{Alone, close_all_except};
use crate::control::runner::hear_no_signal;
use crate::sandbox::Mode;
use crate::sandbox::names::Layers;

/// Names that are looked up at the same time. Others wait in the socket.
const AT_ONCE: usize = 16;
/// The C library asks three servers twice, and waits 5 s for each.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of what a lookup writes.
const OUTCOME_LEN_MAX: usize = 2048;

/// Whether this process was started to look names up.
#[must_use]
pub fn is_wanted() -> bool {
    std::env::args_os().next().is_some_and(|name| name == ARGV0)
}

/// Looks names up until the daemon has ended.
#[must_use]
pub fn main(_alone: Alone) -> ExitCode {
    // SAFETY: nobody owns what was left open.
    unsafe { close_all_except(&[]) };
    let mode = std::env::args().nth(1).and_then(|mode| Mode::from_str(&mode, false).ok());
    let (Some(mode), Ok(socket)) = (mode, take_socket()) else {
        let _ = writeln!(io::stderr(), "{ARGV0}: a gateway starts this process, and nobody else");
        return ExitCode::from(2);
    };
    let _ = CString::new(ARGV0).map(|name| set_name(&name));
    // What a service manager tells all processes of a service is for the daemon to decide.
    hear_no_signal();
    // Whatever happens here, it leaves no file behind.
    let _ = [Resource::RLIMIT_FSIZE, Resource::RLIMIT_CORE].map(|limit| setrlimit(limit, 0, 0));
    let (layers, gaps) = Layers::enter(mode);
    let gaps = Answer::begun(gaps);
    if tell(socket.as_fd(), &gaps, MsgFlags::empty()).is_ok() {
        Lookups::new(socket, PATIENCE, move |host| match layers.enter_lookup() {
            Ok(()) => look_up(host),
            Err(error) => Outcome::failed(error),
        })
        .serve();
    }
    ExitCode::SUCCESS
}

/// What the daemon has given us as our standard input.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if getsockopt(&socket, sockopt::SockType)? != SockType::SeqPacket {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

fn look_up(host: &str) -> Outcome {
    match (host, 0).to_socket_addrs().map(|mut addrs| addrs.next()) {
        Ok(Some(addr)) => Outcome::Found(addr),
        Ok(None) => Outcome::failed("it has no address"),
        Err(error) => Outcome::failed(error),
    }
}

/// All that are under way.
struct Lookups<LookUp> {
    socket: OwnedFd,
    patience: Duration,
    look_up: LookUp,
    running: Vec<Lookup>,
}

/// A process that looks a name up.
struct Lookup {
    number: u64,
    process: Pid,
    answer: File,
    text: Vec<u8>,
    deadline: Instant,
}

/// The daemon has ended.
struct DaemonGone;

impl<LookUp: FnMut(&str) -> Outcome> Lookups<LookUp> {
    fn new(socket: OwnedFd, patience: Duration, look_up: LookUp) -> Self {
        Self { socket, patience, look_up, running: Vec::new() }
    }

    fn serve(mut self) {
        while let Ok(()) = self.turn() {}
        self.running.iter().for_each(Lookup::end);
    }

    fn turn(&mut self) -> Result<(), DaemonGone> {
        let (said, answered) = self.wait()?;
        for place in answered.into_iter().rev() {
            if let Some(outcome) = self.running[place].read() {
                self.finish(place, outcome)?;
            }
        }
        let now = Instant::now();
        for place in (0..self.running.len()).rev().collect::<Vec<_>>() {
            if self.running[place].deadline <= now {
                let outcome = Outcome::failed(format!("the resolver says nothing for {:?}", self.patience));
                self.finish(place, outcome)?;
            }
        }
        if said { self.begin() } else { Ok(()) }
    }

    /// Whether the daemon has said something, and which lookups have.
    fn wait(&self) -> Result<(bool, Vec<usize>), DaemonGone> {
        let has_room = self.running.len() < AT_ONCE;
        let flags = if has_room { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(self.socket.as_fd(), flags)];
        fds.extend(self.running.iter().map(|lookup| PollFd::new(lookup.answer.as_fd(), PollFlags::POLLIN)));
        let next = self.running.iter().map(|lookup| lookup.deadline).min();
        // Rounded up: the deadline has come when it wakes.
        let left = next.map(|next| next.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, Vec::new())),
            Err(_) => return Err(DaemonGone),
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let socket = fds[0].revents().unwrap_or(PollFlags::empty());
        if socket.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Err(DaemonGone);
        }
        let answered = fds[1..].iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(place, _)| place);
        Ok((socket.contains(PollFlags::POLLIN), answered.collect()))
    }

    /// Takes a question.
    fn begin(&mut self) -> Result<(), DaemonGone> {
        let Ask { number, host } = match hear(self.socket.as_fd()) {
            Ok(ask) => ask,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(DaemonGone),
        };
        if host.len() > NAME_LEN_MAX || host.contains('\0') {
            return self.tell(number, Outcome::failed("it is no name"));
        }
        match self.start(number, &host) {
            Ok(lookup) => {
                self.running.push(lookup);
                Ok(())
            }
            Err(error) => self.tell(number, Outcome::failed(format!("no process could be started for it: {error}"))),
        }
    }

    fn start(&mut self, number: u64, host: &str) -> io::Result<Lookup> {
        let (answer, to) = pipe2(OFlag::O_CLOEXEC)?;
        let parent = std::process::id();
        // SAFETY: this process has one thread, so the child may do all that the parent could.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                let deadline = Instant::now() + self.patience;
                Ok(Lookup { number, process: child, answer: answer.into(), text: Vec::new(), deadline })
            }
            ForkResult::Child => {
                // It may neither outlive us, nor answer for others.
                let is_orphan = set_pdeathsig(Signal::SIGKILL).is_err() || parent_id() != parent;
                if !is_orphan {
                    // SAFETY: this thread is the only one. It ends without going back to whoever owns any of it, and a
                    // lookup opens what it needs.
                    unsafe { close_all_except(&[to.as_raw_fd()]) };
                    let outcome = (self.look_up)(host);
                    let text = serde_json::to_vec(&outcome).unwrap_or_default();
                    let _ = File::from(to).write_all(&text);
                }
                // SAFETY: it ends the process, and runs nothing of what the parent has to run at its own end.
                unsafe { libc::_exit(0) }
            }
        }
    }

    fn finish(&mut self, place: usize, outcome: Outcome) -> Result<(), DaemonGone> {
        let lookup = self.running.swap_remove(place);
        lookup.end();
        self.tell(lookup.number, outcome)
    }

    fn tell(&self, number: u64, outcome: Outcome) -> Result<(), DaemonGone> {
        // The daemon always reads.
        tell(self.socket.as_fd(), &Answer::Ended { number, outcome }, MsgFlags::empty()).map_err(|_| DaemonGone)
    }
}

impl Lookup {
    /// Reads what there is. It comes to something once that is all.
    fn read(&mut self) -> Option<Outcome> {
        let mut buffer = [0; OUTCOME_LEN_MAX];
        match self.answer.read(&mut buffer) {
            Ok(0) => Some(self.outcome()),
            Ok(len) => {
                self.text.extend_from_slice(&buffer[..len]);
                (self.text.len() > OUTCOME_LEN_MAX).then(|| Outcome::failed("the resolver says too much"))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    /// As the process wrote it. Whatever that was, it is one of ours, and no longer than ours.
    fn outcome(&self) -> Outcome {
        match serde_json::from_slice(&self.text) {
            Ok(Outcome::Found(addr)) => Outcome::Found(addr),
            Ok(Outcome::Failed(why)) => Outcome::failed(why),
            Err(_) => Outcome::failed("the resolver has crashed"),
        }
    }

    /// Ends the process, unless it has ended. Its number stays its own until it was waited for.
    fn end(&self) {
        let _ = kill(self.process, Signal::SIGKILL);
        while let Err(Errno::EINTR) | Ok(WaitStatus::StillAlive) = waitpid(self.process, None) {}
    }
}

/// For tests of those who ask.
#[cfg(test)]
pub mod test {
    use super::*;
    use crate::control::names::Names;
    use crate::control::names::client::pair;

    /// Somebody who has names looked up by this, without a sandbox. As in a gateway, a process of one thread forks one
    /// for each name. It is a fork itself, and ends with whoever asks.
    pub fn names_by(patience: Duration, look_up: impl FnMut(&str) -> Outcome) -> Names {
        let (ours, theirs) = pair().unwrap();
        let parent = std::process::id();
        // SAFETY: with nextest the only other thread waits for the test, and has no lock that the child may want. With
        // `cargo test` there are more. A lock of theirs keeps the child waiting, which fails the test, and no worse.
        if let ForkResult::Child = unsafe { fork() }.unwrap() {
            if set_pdeathsig(Signal::SIGKILL).is_ok() && parent_id() == parent {
                // SAFETY: as above: it ends here, and what it looks up with has no descriptors.
                unsafe { close_all_except(&[theirs.as_raw_fd()]) };
                Lookups::new(theirs, patience, look_up).serve();
            }
            // SAFETY: as after a lookup.
            unsafe { libc::_exit(0) }
        }
        Names::new(ours, None, None)
    }

    /// The same, by the system's resolver.
    pub fn names() -> Names {
        names_by(PATIENCE, look_up)
    }

    /// Somebody whose process has ended.
    pub fn nobody() -> Names {
        Names::new(pair().unwrap().0, None, None)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
