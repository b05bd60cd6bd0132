//! One connection: a request, a wait, an answer.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ringfort_core::time::Time;

use crate::metrics::http::{self, HttpRefusal, REQUEST_LEN_MAX, Want};

/// What a client can go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// With its request.
    Read,
    /// With nothing, until there is an answer.
    Wait,
    /// With its answer.
    Write,
    /// It is done with, or gone.
    Close,
}

/// A connection. Its socket does not wait.
#[derive(Debug)]
pub struct Client {
    socket: File,
    state: State,
    /// When it came, or took something of its answer last.
    since: Time,
    deadline: Time,
}

#[derive(Debug)]
enum State {
    Reading(Vec<u8>),
    Waiting(Want),
    Writing { head: Vec<u8>, body: Arc<[u8]>, written: usize },
    Done,
}

impl Client {
    /// Somebody who has just come.
    pub fn new(socket: OwnedFd, now: Time, deadline: Time) -> Self {
        Self { socket: socket.into(), state: State::Reading(Vec::new()), since: now, deadline }
    }

    /// What it wants, if it waits for it.
    pub fn wants(&self) -> Option<Want> {
        match self.state {
            State::Waiting(want) => Some(want),
            _ => None,
        }
    }

    /// When it is disconnected.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// When it may make room for another: if by then it has not said what it wants, or taken more of its answer.
    pub fn expendable_at(&self, grace: Duration) -> Option<Time> {
        matches!(self.state, State::Reading(_) | State::Writing { .. }).then(|| self.since + grace)
    }

    /// What it can go on with.
    pub fn step_wanted(&self) -> Step {
        match self.state {
            State::Reading(_) => Step::Read,
            State::Waiting(_) => Step::Wait,
            State::Writing { .. } => Step::Write,
            State::Done => Step::Close,
        }
    }

    /// Goes on as far as it can without waiting.
    pub fn step(&mut self, now: Time) {
        if self.try_step(now).is_err() {
            self.state = State::Done;
        }
    }

    /// Here is what it wants.
    pub fn answer(&mut self, want: Want, text: Arc<[u8]>, now: Time) {
        let head = http::head("200 OK", want.page.content_type(), text.len()).into_bytes();
        let body = if want.is_head { Arc::from([]) } else { text };
        self.state = State::Writing { head, body, written: 0 };
        self.since = now;
        self.step(now);
    }

    /// Control has had its time.
    pub fn give_up_waiting(&mut self, now: Time) {
        if self.wants().is_some() {
            self.refuse(HttpRefusal::Unavailable);
            self.since = now;
            self.step(now);
        }
    }

    fn try_step(&mut self, now: Time) -> io::Result<()> {
        match &mut self.state {
            State::Reading(request) => {
                let (mut piece, mut is_whole) = ([0; 1024], false);
                while request.len() < REQUEST_LEN_MAX {
                    let room = piece.len().min(REQUEST_LEN_MAX - request.len());
                    match self.socket.read(&mut piece[..room]) {
                        // Whoever says no more may still listen.
                        Ok(0) => {
                            is_whole = true;
                            break;
                        }
                        Ok(len) => request.extend_from_slice(&piece[..len]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                match http::parse(request) {
                    None if is_whole => Err(ErrorKind::UnexpectedEof.into()),
                    None => Ok(()),
                    Some(Ok(want)) => {
                        self.state = State::Waiting(want);
                        Ok(())
                    }
                    Some(Err(refusal)) => {
                        self.refuse(refusal);
                        self.write(now)
                    }
                }
            }
            // It is ready although nothing is wanted of it: it is gone.
            State::Waiting(_) => Err(ErrorKind::ConnectionReset.into()),
            State::Writing { .. } => self.write(now),
            State::Done => Ok(()),
        }
    }

    fn refuse(&mut self, refusal: HttpRefusal) {
        let text: Arc<[u8]> = refusal.text().as_bytes().into();
        let head = http::head(refusal.status(), "text/plain; charset=utf-8", text.len()).into_bytes();
        self.state = State::Writing { head, body: text, written: 0 };
    }

    fn write(&mut self, now: Time) -> io::Result<()> {
        let State::Writing { head, body, written } = &mut self.state else { return Ok(()) };
        while *written < head.len() + body.len() {
            let rest =
                head.get(*written..).filter(|rest| !rest.is_empty()).unwrap_or_else(|| &body[*written - head.len()..]);
            match self.socket.write(rest) {
                Ok(len) => {
                    *written += len;
                    self.since = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.state = State::Done;
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
