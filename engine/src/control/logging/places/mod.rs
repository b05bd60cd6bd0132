//! The places that lines go to.

mod datagrams;
mod file;
mod journal;
mod kmsg;
mod stderr;
mod syslog;

use std::io;

pub(super) use file::LogFile;
pub(super) use journal::{JOURNAL, Journal};
pub(super) use kmsg::Kmsg;
pub(super) use stderr::Stderr;
pub(super) use syslog::Syslog;

use super::line::Line;

/// Where lines go.
pub(super) trait Place {
    /// Writes a line. Waits for whoever takes it if he is only slow.
    ///
    /// # Errors
    /// The line was not taken, and may be later.
    fn write(&mut self, line: &Line) -> io::Result<()>;

    /// Lines are of this interface from now on.
    fn rename(&mut self, interface: &str);

    /// Opens it anew, if it is a file that somebody has moved away.
    ///
    /// # Errors
    /// It stays as it was.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Place for Box<dyn Place + Send> {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        (**self).write(line)
    }

    fn rename(&mut self, interface: &str) {
        (**self).rename(interface);
    }

    fn reopen(&mut self) -> io::Result<()> {
        (**self).reopen()
    }
}

/// What stands before each line where several programs write: `ringfort[123]: wg0`.
fn prefix(interface: &str) -> String {
    format!("ringfort[{}]: {interface}", std::process::id())
}
