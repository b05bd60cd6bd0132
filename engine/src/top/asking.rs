//! Asks the gateway, on a thread of its own: keys are heard also while a gateway does not answer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::control::ask;
use crate::control::error::DaemonError;
use crate::metrics::{Overview, PATH_OVERVIEW, socket_path};

/// Control has 5 s to answer.
const TIMEOUT: Duration = Duration::from_secs(8);

/// What a gateway answers.
pub type Answer = Result<Overview, DaemonError>;

/// One answer of the gateway that serves interface `name`.
///
/// # Errors
/// [`DaemonError::NotServed`] or [`DaemonError::NoOverview`].
pub fn ask(name: &str) -> Answer {
    let not_served = |source| ask::unanswered(name, source);
    let text = request(name).map_err(|error| match error.kind() {
        ErrorKind::NotFound if crate::control::server::socket_path(name).exists() => {
            DaemonError::NoOverview(name.to_owned())
        }
        _ => not_served(error),
    })?;
    serde_json::from_str(&text).map_err(|_| DaemonError::NoOverview(name.to_owned()))
}

fn request(name: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket_path(name))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET {PATH_OVERVIEW} HTTP/1.1\r\nHost: ringfort\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        Some((_, body)) => Err(io::Error::other(body.trim().to_owned())),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The thread that asks. It ends with the process: at the most it waits for an answer.
pub struct Asker {
    orders: Sender<()>,
    answers: Receiver<Answer>,
}

impl Asker {
    /// Asks the gateway of `name`, whenever it is told to.
    ///
    /// # Errors
    /// The system's, if there is no thread to be had.
    pub fn new(name: &str) -> io::Result<Self> {
        let (orders, ordered) = channel();
        let (answer, answers) = channel();
        let name = name.to_owned();
        thread::Builder::new().spawn(move || {
            while let Ok(()) = ordered.recv() {
                if answer.send(ask(&name)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, answers })
    }

    /// Asks once.
    pub fn ask(&self) {
        // The thread lives as long as we do.
        let _ = self.orders.send(());
    }

    /// What was answered, if anything was.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}
