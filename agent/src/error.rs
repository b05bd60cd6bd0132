//! Why the program ends without having done what it was asked for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// What has failed, and what to do.
#[derive(Debug, Error)]
pub enum AgentError {
    /// A file of the command line cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The machine has no name.
    #[error("this machine's name cannot be had ({0}): name the node with --node")]
    Node(nix::Error),
    /// The options do not fit each other.
    #[error("{0}")]
    Options(String),
    /// Another agent serves the same interface.
    #[error("an agent for interface {0} runs already: stop it first")]
    RunsAlready(String),
    /// The agent that a command is for does not answer.
    #[error("no agent for interface {interface} answers at {}: {source}", path.display())]
    NotThere {
        /// The interface.
        interface: String,
        /// Its socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The agent has ended while it was asked.
    #[error("the agent for interface {0} has ended")]
    Ended(String),
    /// The agent took the question, and says nothing.
    #[error("the agent for interface {interface} does not answer within {} s: its log may say why", time.as_secs())]
    Silent {
        /// The interface.
        interface: String,
        /// How long it was waited for.
        time: Duration,
    },
    /// The system refuses something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its reason.
        source: io::Error,
    },
}

impl AgentError {
    /// The system refuses something.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// 2: the command line is wrong, or a file that it names. 1: the system, or another process.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Node(_) | Self::Options(_) => 2,
            Self::RunsAlready(_)
            | Self::NotThere { .. }
            | Self::Ended(_)
            | Self::Silent { .. }
            | Self::System { .. } => 1,
        }
    }
}
