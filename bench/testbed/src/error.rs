//! One error for the whole testbed: a sentence that says what was attempted and what happened.

use std::fmt::{Debug, Display, Formatter};

/// What was attempted, and what happened instead.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// As a reader of a failed test wants to see it: with its line breaks.
impl Debug for Error {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Result of the testbed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Adds what was attempted to an error of any kind.
pub trait Context<T> {
    /// Turns the error into "`attempt`: error".
    ///
    /// # Errors
    /// Whenever `self` is one.
    fn context(self, attempt: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, attempt: impl Display) -> Result<T> {
        self.map_err(|error| Error(format!("{attempt}: {error}")))
    }
}
