//! One client of the control socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use ringfort_core::time::Time;

use super::{Handler, Progress, Ticket, Unfinished, unless_blocked};
use crate::control::uapi::{Errno, Refusal, Reply, Request, RequestEvent, RequestReader};

/// Reads of one turn, each of at most a line buffer. A large request takes many turns, between which others have
/// theirs.
const READS_PER_STEP: usize = 16;
/// Requests of one turn.
const REQUESTS_PER_STEP: usize = 4;

/// While others wait, how long a client may leave its connection unused, and how long it may let us wait in the middle
/// of a request or of an answer.
const IDLE_GRACE: Duration = Duration::from_millis(100);
const STALLED_GRACE: Duration = Duration::from_secs(1);

/// What a client may do in this turn.
pub(super) struct Shares {
    pub now: Time,
    /// The new deadline of a client that is done with a request.
    pub deadline: Time,
    /// What other clients have left of the bound on requests, in bytes.
    pub request_len: usize,
    /// Whether the answers that have not been read leave room for another.
    pub may_answer: bool,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    Write,
    /// For other clients to read their answers, or for its own to be made.
    Parked,
    /// For nothing: the server drops it.
    Close,
}

pub(super) struct Client {
    stream: UnixStream,
    /// By which the server knows it.
    ticket: Ticket,
    reader: RequestReader,
    reply: Reply,
    /// A request that waits for its turn, and since when.
    parked: Option<(Time, Request)>,
    /// One that was begun.
    unfinished: Option<Unfinished>,
    /// Text of the request that is parked or was begun, in bytes: what was made of it takes memory.
    request_len: usize,
    deadline: Time,
    /// When it last sent or read something.
    moved: Time,
    /// It may ask. Otherwise it is told so, whatever it asks.
    is_admitted: bool,
    /// It is to go on in our place, and takes its time.
    is_heir: bool,
    /// The client sends nothing more; it gets what it is owed and is then dropped.
    closing: bool,
    /// It has hung up, and only what it asked for is still there.
    is_gone: bool,
    /// What it waits for, as the server knows it.
    waits_for: Step,
}

impl Client {
    pub fn new(stream: UnixStream, ticket: Ticket, is_admitted: bool, now: Time, deadline: Time) -> Self {
        let (reader, reply) = (RequestReader::default(), Reply::default());
        Self {
            stream,
            ticket,
            reader,
            reply,
            parked: None,
            unfinished: None,
            request_len: 0,
            deadline,
            moved: now,
            is_admitted,
            is_heir: false,
            closing: false,
            is_gone: false,
            waits_for: Step::Read,
        }
    }

    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// When the server disconnects it; never while it waits for others, who have deadlines of their own, or for us. Who
    /// watches may read as slowly as he likes: he keeps nobody waiting.
    pub fn deadline(&self) -> Option<Time> {
        (!self.waits() && !self.watches()).then_some(self.deadline)
    }

    fn waits(&self) -> bool {
        let is_ours = matches!(self.unfinished, Some(Unfinished::Change(_) | Unfinished::Role(_)));
        self.parked.is_some() || self.is_heir || is_ours || self.watches() && self.unread_len() == 0
    }

    fn watches(&self) -> bool {
        matches!(self.unfinished, Some(Unfinished::Watch(_)))
    }

    /// Whether it must read before there is anything to do for it. The server hears of that.
    pub fn is_stalled(&self) -> bool {
        self.waits_for == Step::Write && self.unread_len() > 0
    }

    /// Notes what the client waits for. True: the server does not know.
    pub fn note_wait(&mut self, step: Step) -> bool {
        std::mem::replace(&mut self.waits_for, step) != step
    }

    /// The client has hung up. True: a change that it asked for goes on.
    pub fn hang_up(&mut self) -> bool {
        self.is_gone = matches!(self.unfinished, Some(Unfinished::Change(_)));
        self.is_gone
    }

    /// Whether it has hung up, and a change goes on.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether a request of it was begun, and is not done.
    pub fn is_begun(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Whether a request of it was begun, and can go on as far as the client is concerned.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.is_some() && self.unread_len() == 0
    }

    /// Whether the next page of an answer must be made.
    pub fn awaits_page(&self) -> bool {
        let has_more = match &self.unfinished {
            Some(Unfinished::Listing(_)) => true,
            Some(Unfinished::Watch(watching)) => watching.is_behind(),
            _ => false,
        };
        has_more && self.is_unfinished()
    }

    pub fn parked_since(&self) -> Option<Time> {
        self.parked.as_ref().map(|&(since, _)| since)
    }

    /// Text of requests that are held in memory, unfinished or not yet applied, in bytes.
    pub fn held_len(&self) -> usize {
        self.reader.held_len() + self.request_len
    }

    /// Text of the answer that has not been read, in bytes.
    pub fn unread_len(&self) -> usize {
        self.reply.unwritten().len()
    }

    /// Whether it is between two requests: nothing is lost if it is disconnected.
    pub fn is_idle(&self) -> bool {
        self.parked.is_none() && self.unfinished.is_none() && self.held_len() == 0 && self.unread_len() == 0
    }

    /// From when on it may be disconnected to make room for another; `None` while it waits for others.
    pub fn expendable_at(&self) -> Option<Time> {
        let grace = if self.is_idle() { IDLE_GRACE } else { STALLED_GRACE };
        (!self.waits()).then_some(self.moved + grace)
    }

    /// Goes on as far as it can without waiting, within its shares.
    pub fn step(&mut self, shares: &Shares, handler: &mut dyn Handler) -> Step {
        self.try_step(shares, handler).unwrap_or(Step::Close)
    }

    /// Goes on with a request that was begun, and then with whatever follows.
    pub fn go_on(&mut self, shares: &Shares, handler: &mut dyn Handler) -> Step {
        if self.unread_len() == 0
            && let Some(unfinished) = self.unfinished.take()
        {
            let progress = handler.go_on(unfinished, &mut self.reply);
            self.take(progress, shares);
        }
        self.step(shares, handler)
    }

    fn try_step(&mut self, shares: &Shares, handler: &mut dyn Handler) -> io::Result<Step> {
        let (mut reads, mut requests) = (0, 0);
        loop {
            if !self.write(shares)? {
                return Ok(Step::Write);
            }
            if self.unfinished.is_some() {
                return Ok(Step::Parked);
            }
            if let Some((since, request)) = self.parked.take() {
                if !shares.may_answer {
                    self.parked = Some((since, request));
                    return Ok(Step::Parked);
                }
                // Its time starts anew, since it may have waited for others.
                self.deadline = shares.deadline;
                self.answer(request, shares, handler);
                continue;
            }
            if self.closing {
                return Ok(Step::Close);
            }
            if requests == REQUESTS_PER_STEP {
                // The rest is in our buffer, so the socket would not become readable for it. It is writable now.
                return Ok(Step::Write);
            }
            match self.reader.next_event(shares.request_len, resolve_zone) {
                Some(RequestEvent::Request(request)) => {
                    requests += 1;
                    self.request_len = self.reader.complete_len();
                    self.parked = Some((shares.now, request));
                }
                Some(RequestEvent::Refused(refusal)) => {
                    requests += 1;
                    self.refuse(refusal);
                }
                Some(RequestEvent::HangUp) => return Ok(Step::Close),
                None if reads == READS_PER_STEP => return Ok(Step::Read),
                None => {
                    reads += 1;
                    if !self.read(shares.now)? {
                        return Ok(Step::Read);
                    }
                }
            }
        }
    }

    /// False: there is nothing to read yet.
    fn read(&mut self, now: Time) -> io::Result<bool> {
        let Some(len) = unless_blocked(self.stream.read(self.reader.space()))? else { return Ok(false) };
        self.moved = now;
        if !self.is_admitted {
            self.reply.finish(Errno::ACCESS);
            self.closing = true;
            return Ok(true);
        }
        self.reader.advance(len);
        if len == 0 {
            self.closing = true;
            if self.reader.held_len() > 0 {
                self.refuse(Refusal::Truncated);
            }
        }
        Ok(true)
    }

    /// False: the client has to read first.
    fn write(&mut self, shares: &Shares) -> io::Result<bool> {
        while !self.reply.unwritten().is_empty() {
            let Some(len) = unless_blocked(self.stream.write(self.reply.unwritten()))? else { return Ok(false) };
            self.reply.advance(len);
            self.moved = shares.now;
            if self.reply.unwritten().is_empty() && self.unfinished.is_none() {
                self.deadline = shares.deadline;
            }
        }
        Ok(true)
    }

    fn answer(&mut self, request: Request, shares: &Shares, handler: &mut dyn Handler) {
        let progress = match request {
            Request::Capture(request) => match handler.capture(&request, &self.stream, &mut self.reply) {
                // Somebody else writes to the client from now on, and the answer is the first of it.
                Ok(()) => return self.closing = true,
                Err(errno) => Progress::Done(errno),
            },
            Request::HandOver(step) => {
                (self.request_len, self.moved) = (0, shares.now);
                self.is_heir = handler.hand_over(step, &self.stream).is_ok();
                return self.closing |= !self.is_heir;
            }
            request => handler.handle(request, &mut self.reply),
        };
        self.take(progress, shares);
    }

    fn take(&mut self, progress: Progress, shares: &Shares) {
        match progress {
            Progress::Unfinished(unfinished) => {
                if matches!(unfinished, Unfinished::Watch(_)) {
                    // It had nothing to read until now.
                    self.moved = shares.now;
                }
                self.unfinished = Some(unfinished);
            }
            Progress::Done(errno) => {
                self.request_len = 0;
                self.reply.finish(errno);
                self.moved = shares.now;
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        log::warn!("a request on the control socket is refused: {refusal}");
        let errno: Errno = refusal.errno();
        self.reply.finish(errno);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither requests nor answers: they hold keys.
        f.debug_struct("Client").field("stream", &self.stream).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// The index of a network interface, named or numbered, as in `[fe80::1%eth0]`.
fn resolve_zone(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}
