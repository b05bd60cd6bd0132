//! The control connection: one line of JSON for each message. A line has a longest length, and each wait a longest
//! time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::{Context, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A host that answers nothing for so long is gone. Through a path that loses nine of ten packets, some arrive.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(30);
/// How often a connection without messages asks whether the other host is there, in seconds.
const KEEPALIVE_EVERY_S: u32 = 3;

/// A connection that carries lines.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    /// What was read and not yet taken.
    buffer: Vec<u8>,
    /// The longest message that the other end may send.
    len_max: usize,
}

impl Line {
    /// Messages over a connection.
    pub(crate) fn new(stream: TcpStream, len_max: usize) -> Result<Self> {
        let attempt = "setting up the control connection";
        // A round trip must not wait for a delayed acknowledgement.
        stream.set_nodelay(true).context(attempt)?;
        notice_silence(&stream).context(attempt)?;
        Ok(Self { stream, buffer: Vec::new(), len_max })
    }

    /// Sends a message. No write waits longer than that: it is given up when nothing was taken for so long. As long as
    /// the other end takes a part each time, all of it takes longer.
    pub(crate) fn send(&mut self, message: &impl Serialize, patience: Duration) -> Result<()> {
        let mut line = serde_json::to_vec(message).context("writing a control message")?;
        line.push(b'\n');
        let attempt = "sending over the control connection";
        self.stream.set_write_timeout(Some(patience)).context(attempt)?;
        self.stream.write_all(&line).context(attempt)
    }

    /// While the other end only waits, it says nothing, and it is there.
    ///
    /// # Errors
    /// It has closed the connection, or its host has not answered for [`DEAD_AFTER`], or it has said something.
    pub(crate) fn expect_silence(&self) -> Result<()> {
        let mut looked = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        match poll(&mut looked, PollTimeout::ZERO) {
            Err(Errno::EINTR) => return Ok(()),
            looked => looked.context("looking at the control connection")?,
        };
        let speaks = || Error::new("the other end speaks where it has to wait");
        if !self.buffer.is_empty() {
            return Err(speaks());
        }
        if looked[0].any() == Some(false) {
            return Ok(());
        }
        // The kernel has an answer at once: bytes, the end, or why it has ended.
        match self.stream.peek(&mut [0]).context("waiting at the control connection")? {
            0 => Err(gone()),
            _ => Err(speaks()),
        }
    }

    /// Waits for a message, for that long.
    ///
    /// # Errors
    /// None comes, the connection ends, or it is too long or none of ours.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T> {
        let message = self.next(patience)?;
        message.ok_or_else(gone)
    }

    /// The same; `None` when the other end has closed the connection after its last message.
    ///
    /// # Errors
    /// As [`Line::receive`].
    pub(crate) fn next<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<Option<T>> {
        let Some(line) = self.line(patience)? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).map_err(|error| {
            let begin: String = String::from_utf8_lossy(&line).chars().take(60).collect();
            Error::new(format!("a control message is not understood: {error}, in {begin:?}"))
        })
    }

    fn line(&mut self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + patience;
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > self.len_max {
                return Err(Error::new(format!("a control message is longer than {} bytes", self.len_max)));
            }
            if !self.read_more(deadline, patience)? {
                return Ok(None);
            }
        }
    }

    /// Whether the connection goes on.
    fn read_more(&mut self, deadline: Instant, patience: Duration) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(format!("the other end of the control connection said nothing for {patience:?}")));
        }
        self.stream.set_read_timeout(Some(left)).context("reading the control connection")?;
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) if self.buffer.is_empty() => Ok(false),
            Ok(0) => Err(Error::new("the control connection ended within a message")),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            // The loop looks at the clock.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error).context("reading the control connection"),
        }
    }
}

fn gone() -> Error {
    Error::new("the other end has closed the control connection")
}

/// A host that has crashed closes nothing. Nor is it noticed while nobody writes, which lasts as long as a load.
fn notice_silence(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_EVERY_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_EVERY_S)?;
    // This limit holds for keepalives as well as for what was sent and is not acknowledged (tcp(7)).
    setsockopt(stream, sockopt::TcpUserTimeout, &(DEAD_AFTER.as_millis() as u32))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use nix::sys::socket::getsockopt;

    use super::*;
    use crate::hosts::messages::Request;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a line of at most 1,000 bytes makes of these bytes.
    fn received(bytes: &[u8]) -> Result<Vec<Request>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut line = Line::new(listener.accept().unwrap().0, 1_000).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                // A few bytes at a time, so a message ends in the middle of what is read. The reader may have gone.
                for part in bytes.chunks(7) {
                    let _ = writer.write_all(part);
                }
            });
            let mut requests = Vec::new();
            while let Some(request) = line.next(PATIENCE)? {
                requests.push(request);
            }
            Ok(requests)
        })
    }

    #[test]
    fn lines_are_messages_however_they_arrive() {
        let text = "{\"ask\":\"clock\"}\n{\"ask\":\"sent\",\"packets\":[1,2]}\n{\"ask\":\"open\"}\n";
        let requests = received(text.as_bytes()).unwrap();
        let [Request::Clock, Request::Sent { packets }, Request::Open { proof: None }] = &requests[..] else {
            panic!("{requests:?}")
        };
        assert_eq!(packets, &[1, 2]);
    }

    #[test]
    fn what_is_too_long_or_none_of_ours_is_an_error() {
        let refusal = |bytes: &[u8]| received(bytes).unwrap_err().to_string();
        assert!(refusal(&[b'x'; 40_000]).contains("longer than 1000 bytes"));
        assert!(refusal(b"GET / HTTP/1.1\r\n\r\n").contains("not understood"));
        assert!(refusal(b"{\"ask\":\"else\"}\n").contains("else"));
        assert!(refusal(b"{\"ask\":\"clock\"}").contains("within a message"));
        assert!(refusal(b"\xff\xfe\n").contains("not understood"));
    }

    #[test]
    fn whoever_has_to_wait_neither_speaks_nor_leaves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Line::new(listener.accept().unwrap().0, 1_000).unwrap();
        let until_not_silent = || {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match line.expect_silence() {
                    Ok(()) => assert!(Instant::now() < deadline, "it notices nothing"),
                    Err(error) => return error.to_string(),
                }
            }
        };
        line.expect_silence().unwrap();
        waiting.write_all(b"x").unwrap();
        assert!(until_not_silent().contains("speaks"));
        (&line.stream).read_exact(&mut [0]).unwrap();
        line.expect_silence().unwrap();
        drop(waiting);
        assert!(until_not_silent().contains("closed"));
    }

    #[test]
    fn a_host_that_answers_nothing_is_given_up_after_half_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Line::new(stream, 1_000).unwrap();
        assert!(getsockopt(&line.stream, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&line.stream, sockopt::TcpKeepIdle).unwrap(), 3);
        assert_eq!(getsockopt(&line.stream, sockopt::TcpKeepInterval).unwrap(), 3);
        assert_eq!(getsockopt(&line.stream, sockopt::TcpUserTimeout).unwrap(), 30_000);
    }

    #[test]
    fn silence_has_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut line = Line::new(listener.accept().unwrap().0, 1_000).unwrap();
        let error = line.receive::<Request>(Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("said nothing"), "{error}");
    }
}
