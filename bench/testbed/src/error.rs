//! One error for the whole testbed: a sentence that says what was attempted and what happened.

use std::fmt::Display;

/// What was attempted, and what happened instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

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
