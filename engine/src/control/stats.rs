//! `ringfort --stats NAME`: asks the daemon that serves an interface for its counters.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::error::DaemonError;
use super::server::{connect, socket_path};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The counters of the daemon that serves interface `name`, as lines of `name=value`.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoStatistics`].
pub fn fetch(name: &str) -> Result<String, DaemonError> {
    let answer = ask(name).map_err(|source| DaemonError::NotServed { name: name.to_owned(), source })?;
    let lines = answer.strip_suffix("errno=0\n\n").ok_or_else(|| DaemonError::NoStatistics(name.to_owned()))?;
    Ok(lines.to_owned())
}

fn ask(name: &str) -> io::Result<String> {
    let mut stream = connect(&socket_path(name))?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"stats=1\n\n")?;
    // The daemon closes the connection once it has answered the last request.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
