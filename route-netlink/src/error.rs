//! Why a request was not carried out.

use std::fmt;
use std::io;

use thiserror::Error;

/// The kernel's answer to a request that it does not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRefusal {
    /// The error number.
    pub errno: i32,
    /// What the kernel says in words (`NLMSGERR_ATTR_MSG`), if it does.
    pub text: Option<String>,
}

impl fmt::Display for KernelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = io::Error::from_raw_os_error(self.errno);
        match &self.text {
            Some(text) => write!(f, "{} ({system})", text.trim_end_matches('.')),
            None => write!(f, "{system}"),
        }
    }
}

/// Why a request was not carried out.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The kernel has refused it.
    #[error("{0}")]
    Refused(KernelRefusal),
    /// It could not be asked, or its answer not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RequestError {
    /// The error number.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            Self::Io(error) => error.raw_os_error(),
        }
    }
}

impl From<KernelRefusal> for RequestError {
    fn from(refusal: KernelRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Keeps the number, which is what callers decide by.
impl From<RequestError> for io::Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => Self::from_raw_os_error(refusal.errno),
            RequestError::Io(error) => error,
        }
    }
}
