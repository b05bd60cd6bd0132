//! What passes between the two processes: JSON behind its length, with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// Facts are short: names, and a few numbers.
const LEN_MAX: usize = 1 << 20;
/// More than 255 workers have.
const DESCRIPTORS_MAX: usize = 4096;
/// Of one message to the kernel, which takes 253.
const DESCRIPTORS_AT_ONCE: usize = 200;
/// What a message can have at most (`SCM_MAX_FD` in `include/net/scm.h`).
const DESCRIPTORS_MAX_AT_ONCE: usize = 253;
/// The length of the text and the number of descriptors that follow it.
const HEADER_LEN: usize = 8;

/// A step of a hand-over.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// What the new process needs beforehand. Descriptors come with it.
    Offer(Box<Facts>),
    /// There will be no hand-over, for this reason, and the old process serves.
    Refused(String),
    /// The state is in the descriptor that comes with it. Nobody reads from now on. These are the queues of all buckets
    /// of flows, if a program of ours chooses them.
    State(Vec<u32>),
    /// The new process can go on.
    Ready,
    /// It goes on, and nobody else does.
    Go,
    /// It does, as the process of this number.
    Runs(u32),
}

/// A connection between the two, on which everything takes a limited time.
#[derive(Debug)]
pub struct Line<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl<'a> Line<'a> {
    /// A connection, which does not block, and on which this much time is left.
    #[must_use]
    pub fn new(stream: &'a UnixStream, patience: Duration) -> Self {
        Self { stream, deadline: Instant::now() + patience }
    }

    /// Sends a message, with descriptors.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let number = |n: usize| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        let header = [number(text.len())?.to_le_bytes(), number(descriptors.len())?.to_le_bytes()].concat();
        self.send_bytes(&[header, text].concat())?;
        for some in descriptors.chunks(DESCRIPTORS_AT_ONCE) {
            let numbers: Vec<RawFd> = some.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&numbers)];
            self.when(PollFlags::POLLOUT, || {
                let (fd, bytes) = (self.stream.as_raw_fd(), [IoSlice::new(b".")]);
                sendmsg::<()>(fd, &bytes, &rights, MsgFlags::MSG_NOSIGNAL, None).map_err(io::Error::from)
            })?;
        }
        Ok(())
    }

    /// The next message, with its descriptors.
    ///
    /// # Errors
    /// The system's; `TimedOut`; `UnexpectedEof` if the other process has hung up; `InvalidData` for what is no
    /// message.
    pub fn receive(&self) -> io::Result<(Message, Vec<OwnedFd>)> {
        self.receive_with(DESCRIPTORS_MAX)
    }

    /// The next message, with which no descriptor may come: nobody fills our table with those that we do not want.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_alone(&self) -> io::Result<Message> {
        self.receive_with(0).map(|(message, _)| message)
    }

    fn receive_with(&self, descriptors_max: usize) -> io::Result<(Message, Vec<OwnedFd>)> {
        let mut header = [0; HEADER_LEN];
        self.receive_bytes(&mut header)?;
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        let (len, count) = (number(0), number(4));
        if len > LEN_MAX || count > descriptors_max {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; len];
        self.receive_bytes(&mut text)?;
        let mut descriptors = Vec::new();
        while descriptors.len() < count {
            let some = self.receive_descriptors()?;
            if some.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            descriptors.extend(some);
        }
        Ok((serde_json::from_slice(&text)?, descriptors))
    }

    fn send_bytes(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.when(PollFlags::POLLOUT, || {
                let fd = self.stream.as_raw_fd();
                sendmsg::<()>(fd, &[IoSlice::new(bytes)], &[], MsgFlags::MSG_NOSIGNAL, None).map_err(io::Error::from)
            })?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn receive_bytes(&self, mut place: &mut [u8]) -> io::Result<()> {
        while !place.is_empty() {
            let len = self.when(PollFlags::POLLIN, || {
                let fd = self.stream.as_raw_fd();
                let mut place = [IoSliceMut::new(place)];
                let received = recvmsg::<()>(fd, &mut place, None, MsgFlags::MSG_CMSG_CLOEXEC)?;
                Ok(received.bytes)
            })?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            place = &mut place[len..];
        }
        Ok(())
    }

    fn receive_descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        self.when(PollFlags::POLLIN, || {
            // As many as the kernel lets through: those beyond would be ours, and nobody would know of them.
            let (mut byte, mut space) = ([0], cmsg_space!([RawFd; DESCRIPTORS_MAX_AT_ONCE]));
            let (fd, flags) = (self.stream.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
            let mut place = [IoSliceMut::new(&mut byte)];
            let received = recvmsg::<()>(fd, &mut place, Some(&mut space), flags)?;
            let mut descriptors = Vec::new();
            for message in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(numbers) = message {
                    // SAFETY: the kernel has just made these descriptors for us, and nobody else knows of them.
                    descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
                }
            }
            if received.bytes == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(descriptors) }
        })
    }

    /// Tries until it does not block any more.
    fn when<T>(&self, flags: PollFlags, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(self.stream, flags, self.deadline)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Waits until a descriptor is ready.
///
/// # Errors
/// The system's; `TimedOut`.
pub(super) fn wait_for(fd: &impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Rounded up, or the last millisecond would be spent in turns.
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), flags)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn pair() -> (UnixStream, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        (one, other)
    }

    #[test]
    fn messages_arrive_in_their_order_with_their_descriptors() {
        let (one, other) = pair();
        let null = File::open("/dev/null").unwrap();
        let many: Vec<_> = std::iter::repeat_n(null.as_fd(), DESCRIPTORS_AT_ONCE + 1).collect();
        Line::new(&one, PATIENCE).send(&Message::Runs(7), &many).unwrap();
        Line::new(&one, PATIENCE).send(&Message::Go, &[]).unwrap();
        let (message, descriptors) = Line::new(&other, PATIENCE).receive().unwrap();
        assert!(matches!(message, Message::Runs(7)));
        assert_eq!(descriptors.len(), many.len());
        let (message, descriptors) = Line::new(&other, PATIENCE).receive().unwrap();
        assert!(matches!(message, Message::Go) && descriptors.is_empty());
    }

    #[test]
    fn no_descriptor_of_a_message_is_left_to_nobody() {
        let (one, other) = pair();
        let null = File::open("/dev/null").unwrap();
        let many = [null.as_raw_fd(); DESCRIPTORS_MAX_AT_ONCE];
        let message = [ControlMessage::ScmRights(&many)];
        sendmsg::<()>(one.as_raw_fd(), &[IoSlice::new(&[0])], &message, MsgFlags::empty(), None).unwrap();
        let received = Line::new(&other, PATIENCE).receive_descriptors().unwrap();
        assert_eq!(received.len(), many.len(), "the most that the kernel lets through");
    }

    #[test]
    fn who_hangs_up_and_who_says_nothing_are_told_apart() {
        let (one, other) = pair();
        let error = Line::new(&other, Duration::ZERO).receive().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(one);
        assert_eq!(Line::new(&other, PATIENCE).receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_message_takes_no_memory() {
        for bytes in [[0xff; HEADER_LEN], [1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0]] {
            let (mut one, other) = pair();
            one.write_all(&bytes).unwrap();
            one.write_all(b"{").unwrap();
            drop(one);
            assert!(Line::new(&other, PATIENCE).receive().is_err(), "{bytes:?}");
        }
    }
}
