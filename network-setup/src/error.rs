//! What went wrong, and what to do about it.

use std::io;

use thiserror::Error;

/// Why the network could not be set up. Nothing of it is left, unless [`Error::Left`] says so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The setup cannot be meant.
    #[error("{0}")]
    Setup(String),
    /// There is no interface of this name.
    #[error("there is no interface {0}: it must exist before it gets addresses and routes")]
    NoInterface(String),
    /// The kernel has refused something.
    #[error("cannot {what}: {reason}{}", sentence(.remedy))]
    Refused {
        /// What it was, for which address or route.
        what: String,
        /// The kernel's reason, in its own words if it gave any.
        reason: String,
        /// Its number, for instance `EEXIST`.
        errno: i32,
        /// What to do; empty if nothing is known.
        remedy: String,
    },
    /// The kernel could not be asked, or a file not be read or written.
    #[error("cannot {what}: {source}")]
    System {
        /// What it was.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A program that is needed is not installed.
    #[error("cannot {what}: it needs {program}, which is not installed. {remedy}")]
    Missing {
        /// What it is needed for.
        what: String,
        /// Which program, or which of several.
        program: String,
        /// What to do.
        remedy: String,
    },
    /// A program has failed.
    #[error("cannot {what}: {program} failed: {output}")]
    Program {
        /// What it was run for.
        what: String,
        /// Which program.
        program: String,
        /// What it said, else how it ended.
        output: String,
    },
    /// Something failed, and then something could not be taken back.
    #[error("{error}; and of what was done before, this is left: {}", .left.join("; "))]
    Left {
        /// What failed first.
        error: Box<Error>,
        /// What is left and why, one sentence each.
        left: Vec<String>,
    },
}

fn sentence(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!(". {remedy}") }
}
