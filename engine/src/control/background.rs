//! Into the background, in a way that the caller can rely on: the command returns when the daemon is ready, or with the
//! reason why it is not.
//!
//! The fork comes first, while there is a single thread and nothing to share, because neither threads nor an `io_uring`
//! survive it. The child does everything and tells the parent through a pipe:
//!
//! ```text
//!   parent:  fork ──────────────── read ◄─────────────┐ ─► exit 0, or print the reason and exit non-zero
//!   child:    └─► setsid, start …, Readiness::report ──┘ ─► serve
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::error::DaemonError;
use super::inherited::Alone;

/// What the child sends first when it is ready; anything else is the text of an error.
const READY: &[u8] = b"\0ready";

/// In which process the program goes on.
pub enum Role {
    /// The one that was started, to exit with this result.
    Parent(Result<(), Failure>),
    /// The daemon.
    Child(Readiness, Alone),
}

/// Why the daemon is not ready, for the process that was started.
pub struct Failure {
    /// One sentence.
    pub text: String,
    /// For the exit.
    pub status: u8,
}

/// The child's end of the pipe.
pub struct Readiness {
    pipe: File,
}

/// Goes to the background.
///
/// # Errors
/// The system's, from the calling process.
pub fn daemonize(alone: Alone) -> Result<Role, DaemonError> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| DaemonError::system("make a pipe", errno))?;
    // SAFETY: this process has one thread, so the child may do all that the parent could.
    let forked = unsafe { fork() };
    match forked.map_err(|errno| DaemonError::system("start the daemon (fork)", errno))? {
        ForkResult::Parent { child } => {
            drop(writer);
            Ok(Role::Parent(wait_for(child, reader)))
        }
        ForkResult::Child => {
            drop(reader);
            // A daemon has no terminal, and keeps no directory from being unmounted. setsid fails only for a process
            // group's leader, which a child is not; and there is always a root directory.
            let _ = setsid();
            let _ = chdir("/");
            Ok(Role::Child(Readiness { pipe: writer.into() }, alone))
        }
    }
}

impl Readiness {
    /// The daemon serves. Its standard input and output go to `/dev/null`, and its standard error too unless kept.
    ///
    /// # Errors
    /// The system's, if `/dev/null` cannot be opened. The parent has been told.
    pub fn ready(mut self, keep_stderr: bool) -> Result<(), DaemonError> {
        if let Err(error) = detach(keep_stderr) {
            let error = DaemonError::system("open /dev/null", error);
            self.failed(&error);
            return Err(error);
        }
        // The parent may have been killed; the daemon serves all the same.
        let _ = self.pipe.write_all(READY);
        Ok(())
    }

    /// The daemon does not serve, for this reason.
    pub fn failed(mut self, error: &DaemonError) {
        let mut message = vec![error.exit_status()];
        message.extend_from_slice(error.to_string().as_bytes());
        // If nobody reads it, nobody is left to be told.
        let _ = self.pipe.write_all(&message);
    }
}

/// The standard input and output are nobody's from now on, and neither is the standard error unless it is kept.
///
/// # Errors
/// The system's, if `/dev/null` cannot be opened.
pub fn detach(keep_stderr: bool) -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(null.as_fd())?;
    dup2_stdout(null.as_fd())?;
    if !keep_stderr {
        dup2_stderr(null.as_fd())?;
    }
    Ok(())
}

fn wait_for(child: Pid, reader: OwnedFd) -> Result<(), Failure> {
    let mut message = Vec::new();
    // What came before a read error still counts.
    let _ = File::from(reader).read_to_end(&mut message);
    match message.split_first() {
        _ if message == READY => Ok(()),
        Some((&status, text)) => {
            // It has said its last word. Who reads it may look for what is left behind, and must not find the process.
            let _ = waitpid(child, None);
            Err(Failure { text: String::from_utf8_lossy(text).into_owned(), status })
        }
        None => {
            let end = match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, status)) => format!("exit status {status}"),
                Ok(WaitStatus::Signaled(_, signal, _)) => format!("{signal}"),
                _ => "for an unknown reason".to_owned(),
            };
            let error = DaemonError::Vanished(end);
            Err(Failure { text: error.to_string(), status: error.exit_status() })
        }
    }
}
