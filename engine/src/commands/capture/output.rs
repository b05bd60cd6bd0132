//! Where a capture is written to: a file that only its owner can read, or a pipe whose reader may be slow.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::control::error::DaemonError;

/// What a pipe that is writable takes without blocking (`PIPE_BUF`).
const PIPE_CHUNK: usize = 4_096;

/// The file.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: Option<PathBuf>,
    is_regular: bool,
}

impl Output {
    /// Makes the file, or takes the standard output.
    ///
    /// # Errors
    /// There is such a file; the standard output is a terminal; or the system refuses.
    pub fn open(path: &str) -> Result<Self, DaemonError> {
        let failed = |step: &'static str| move |error| DaemonError::system(step, error);
        if path != "-" {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => DaemonError::Capture(format!(
                    "{path} exists already: remove it, or choose another name; a pipe is written to with --write -"
                )),
                _ => DaemonError::Capture(format!("cannot write to {path}: {error}")),
            })?;
            return Ok(Self { file, path: Some(path.into()), is_regular: true });
        }
        if io::stdout().is_terminal() {
            let text = "a capture is no text for a terminal: give --write a file, or pipe it into `tshark -r -`";
            return Err(DaemonError::Capture(text.to_owned()));
        }
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed("keep the standard output"))?);
        let is_regular = file.metadata().map_err(failed("look at the standard output"))?.is_file();
        Ok(Self { file, path: None, is_regular })
    }

    /// Removes a file that was made for nothing.
    pub fn discard(&self) {
        if let Some(path) = &self.path {
            // One that stays is empty.
            let _ = std::fs::remove_file(path);
        }
    }

    /// What to poll before it is written to, if writing may block for as long as somebody else likes.
    ///
    /// # Errors
    /// The system's.
    pub fn pipe(&self) -> io::Result<Option<OwnedFd>> {
        (!self.is_regular).then(|| self.file.as_fd().try_clone_to_owned()).transpose()
    }

    /// Writes as much as can be written at once. A [`Output::pipe`] must be writable.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = if self.is_regular { bytes.len() } else { bytes.len().min(PIPE_CHUNK) };
        self.file.write(&bytes[..len])
    }
}
