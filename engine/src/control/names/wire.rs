//! What passes between the daemon and the process that has names looked up: JSON, one message in each record of a
//! `SOCK_SEQPACKET` socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::plain;

/// Of a message. Ours are shorter, see below.
const LEN_MAX: usize = 4096;
/// Of a name (RFC 1035).
pub(super) const NAME_LEN_MAX: usize = 253;
/// Of a reason, for instance the system's text for why there is no address.
const REASON_LEN_MAX: usize = 300;
/// Of reasons in one message.
const REASONS_MAX: usize = 5;

/// A question of the daemon's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    /// That of the answer as well.
    pub number: u64,
    /// The name.
    pub host: String,
}

/// What the daemon hears.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The process has begun, and these layers of its sandbox are missing.
    Begun {
        /// Why.
        gaps: Vec<String>,
    },
    /// The question of this number has an answer.
    Ended {
        /// That of the question.
        number: u64,
        /// The answer.
        outcome: Outcome,
    },
}

/// What a lookup came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The first address, without a port.
    Found(SocketAddr),
    /// There is none, for this reason.
    Failed(String),
}

impl Outcome {
    pub(super) fn failed(why: impl ToString) -> Self {
        Self::Failed(cut(why.to_string()))
    }
}

impl Answer {
    pub(super) fn begun(gaps: impl IntoIterator<Item = impl ToString>) -> Self {
        Self::Begun { gaps: gaps.into_iter().take(REASONS_MAX).map(|gap| cut(gap.to_string())).collect() }
    }

    /// As it would be if nobody had taken over who answers.
    pub(super) fn checked(self) -> Self {
        match self {
            Self::Begun { gaps } => Self::begun(gaps),
            Self::Ended { number, outcome: Outcome::Failed(why) } => {
                Self::Ended { number, outcome: Outcome::failed(why) }
            }
            found @ Self::Ended { outcome: Outcome::Found(_), .. } => found,
        }
    }
}

/// Nobody reads more of it, and as JSON it may be six times as long. It is one line: a resolver is told by strangers.
fn cut(text: String) -> String {
    let mut text = plain::line(&text).into_owned();
    text.truncate(text.floor_char_boundary(REASON_LEN_MAX));
    text
}

/// # Errors
/// The system's; `WouldBlock` if the other end does not read, and this end does not wait for it.
pub(super) fn tell(socket: BorrowedFd<'_>, message: &impl Serialize, flags: MsgFlags) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > LEN_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    loop {
        match send(socket.as_raw_fd(), &text, flags | MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A message that is there.
///
/// # Errors
/// The system's; `WouldBlock` if there is none, and `UnexpectedEof` if the other end is gone.
pub(super) fn hear<Message: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Message> {
    let mut text = [0; LEN_MAX];
    loop {
        match recv(socket.as_raw_fd(), &mut text, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // What does not fit is cut, and then it is no JSON.
            Ok(len) => return Ok(serde_json::from_slice(&text[..len])?),
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
