//! What passes between the daemon and the runner: JSON behind its length, one question at a time.

use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use network_setup::Invocation;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longer than any script of ours, and than what `nft` lists on a busy machine.
const LEN_MAX: usize = 16 << 20;

/// What the daemon wants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Run a command of the file, with the interface's name for `%i`.
    Hook { command: String, interface: String },
    /// End the hook that runs. It has no answer of its own.
    Stop,
    /// Run a program of `network-setup`.
    Program(Invocation),
    /// Give the first file, which is about to replace the second one, its owner.
    Give { new: PathBuf, old: PathBuf },
    /// Read the file again: the daemon has, and found these commands.
    Learn { commands: Vec<String> },
    /// Start the program again, to go on in the place of the daemon.
    Restart,
    /// Let go of the terminal and of the pipes that we were started with.
    Detach { keeps_stderr: bool },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It has ended, with this wait status. `None`: it took too long.
    Ended { status: Option<i32>, output: String, errors: String },
    /// Nothing was to be run.
    Done,
    /// It was not run, for this reason.
    Refused(String),
}

/// # Errors
/// The system's.
pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let len = u32::try_from(text.len()).ok().filter(|&len| len as usize <= LEN_MAX);
    let len = len.ok_or(io::ErrorKind::FileTooLarge)?;
    to.write_all(&[&len.to_le_bytes(), text.as_slice()].concat())
}

/// # Errors
/// The system's; `UnexpectedEof` if the other end is gone.
pub(super) fn receive<Message: DeserializeOwned>(mut from: impl Read) -> io::Result<Message> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > LEN_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = vec![0; len];
    from.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Whether a message comes in this time, or the other end has gone.
///
/// # Errors
/// The system's.
pub(super) fn is_readable(stream: &UnixStream, timeout_ms: u16) -> io::Result<bool> {
    match poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], PollTimeout::from(timeout_ms)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Ask::Hook { command: "echo 'ü'\n".to_owned(), interface: "wg0".to_owned() }).unwrap();
        let Ask::Hook { command, interface } = receive(bytes.as_slice()).unwrap() else { panic!("another message") };
        assert_eq!((command.as_str(), interface.as_str()), ("echo 'ü'\n", "wg0"));
    }

    #[test]
    fn a_length_that_nobody_means_allocates_nothing() {
        let error = receive::<Answer>([0xff; 8].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let error = receive::<Answer>([4, 0, 0, 0, b'{'].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
