//! From a stream of bytes to requests, within fixed bounds.

use log::LevelFilter;
use zeroize::Zeroizing;

use super::errno::Refusal;
use super::request::{Request, Role};
use super::set::SetParser;
use super::value;
use crate::capture;
use crate::control::handover::Versions;
use crate::control::logging::parse_level;
use crate::control::server::HandOver;

/// In bytes, without the line end. The longest valid line is an eleventh of it.
pub const LINE_LEN_MAX: usize = 4096 - 1;

/// In bytes. 100,000 peers and a million prefixes fit; what a client can make us hold is a small multiple of it.
pub const REQUEST_LEN_MAX: usize = 64 << 20;

/// What a call of [`RequestReader::next_event`] found.
#[derive(Debug)]
pub enum RequestEvent {
    /// A complete and valid request.
    Request(Request),
    /// The request is refused. The rest of it, up to its blank line, will be skipped.
    Refused(Refusal),
    /// Not one of our operations: what follows cannot be understood, the connection must be closed.
    HangUp,
}

/// Cuts one client's stream into requests.
///
/// It owns the only buffer between the socket and the parsed request, of fixed size and wiped when dropped.
pub struct RequestReader {
    buffer: Zeroizing<Vec<u8>>,
    /// `buffer[start..end]` has been read and not yet consumed.
    start: usize,
    end: usize,
    /// Of the current request, also of one that is being skipped: bytes consumed so far.
    request_len: usize,
    /// Of the last complete one.
    complete_len: usize,
    state: State,
}

enum State {
    /// The next line names an operation.
    Idle,
    /// An operation of one line was read, its blank line was not.
    Simple(Simple),
    Set(SetParser),
    /// Refused; the lines up to the blank one are skipped. `mid_line` after a line that was too long.
    Skip {
        mid_line: bool,
    },
    /// Nothing more is read from this client.
    Closed,
}

/// An operation of one line.
#[derive(Clone)]
enum Simple {
    Get,
    Stats,
    StatsJson,
    Suites,
    Reload,
    Report,
    Origin,
    HeirFailed(String),
    Restart,
    File,
    LogLevel(Option<LevelFilter>),
    Role(Option<Role>),
    Recover,
    Watch,
    Alive,
    Capture(Box<capture::Request>),
    Peers(u32),
    HandOver(HandOver),
    Why([u8; 32]),
}

impl Simple {
    fn parse(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"get=1" => Self::Get,
            b"stats=1" => Self::Stats,
            b"stats_json=1" => Self::StatsJson,
            b"suites=1" => Self::Suites,
            b"reload=1" => Self::Reload,
            b"report=1" => Self::Report,
            b"origin=1" => Self::Origin,
            b"restart=1" => Self::Restart,
            b"file=1" => Self::File,
            b"log_level=1" => Self::LogLevel(None),
            b"role=1" => Self::Role(None),
            b"recover=1" => Self::Recover,
            b"watch=1" => Self::Watch,
            b"hand_over_state=1" => Self::HandOver(HandOver::State),
            line if line.starts_with(b"heir_failed=") => {
                let why = String::from_utf8_lossy(line.strip_prefix(b"heir_failed=")?);
                Self::HeirFailed(why.chars().filter(|character| !character.is_control()).collect())
            }
            line if line.starts_with(b"hand_over=") => {
                Self::HandOver(HandOver::Offer(Versions::parse(line.strip_prefix(b"hand_over=")?)?))
            }
            b"alive=1" => Self::Alive,
            line if line.starts_with(b"role=") => Self::Role(Some(Role::parse(line.strip_prefix(b"role=")?)?)),
            line if line.starts_with(b"capture=") => {
                Self::Capture(serde_json::from_slice(line.strip_prefix(b"capture=")?).ok()?)
            }
            line if line.starts_with(b"peers=") => {
                let from = value::decimal(line.strip_prefix(b"peers=")?)?;
                Self::Peers(if from > 0 { from } else { return None })
            }
            line if line.starts_with(b"why=") => Self::Why(value::public_key(line.strip_prefix(b"why=")?)?),
            _ => {
                let level = std::str::from_utf8(line.strip_prefix(b"log_level=")?).ok()?;
                Self::LogLevel(Some(parse_level(level)?))
            }
        })
    }

    fn request(self) -> Request {
        match self {
            Self::Get => Request::Get,
            Self::Stats => Request::Stats,
            Self::StatsJson => Request::StatsJson,
            Self::Suites => Request::Suites,
            Self::Reload => Request::Reload,
            Self::Report => Request::Report,
            Self::Origin => Request::Origin,
            Self::HeirFailed(why) => Request::HeirFailed(why),
            Self::Restart => Request::Restart,
            Self::File => Request::File,
            Self::LogLevel(level) => Request::LogLevel(level),
            Self::Role(role) => Request::Role(role),
            Self::Recover => Request::Recover,
            Self::Watch => Request::Watch,
            Self::Alive => Request::Alive,
            Self::Capture(request) => Request::Capture(request),
            Self::HandOver(step) => Request::HandOver(step),
            Self::Peers(from) => Request::Peers(from),
            Self::Why(key) => Request::Why(key),
        }
    }
}

impl Default for RequestReader {
    fn default() -> Self {
        Self {
            buffer: Zeroizing::new(vec![0; LINE_LEN_MAX + 1]),
            start: 0,
            end: 0,
            request_len: 0,
            complete_len: 0,
            state: State::Idle,
        }
    }
}

impl RequestReader {
    /// Where the next bytes of the client go. Never empty after [`next_event`](Self::next_event) gave `None`.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        let end = self.end - self.start;
        self.buffer[end..self.end].fill(0);
        (self.start, self.end) = (0, end);
        &mut self.buffer[self.end..]
    }

    /// That many bytes were written to the front of [`space`](Self::space).
    pub fn advance(&mut self, len: usize) {
        self.end = (self.end + len).min(self.buffer.len());
    }

    /// Length, in bytes, of the unfinished `set=1` that is held in memory; 0 if there is none.
    pub fn held_len(&self) -> usize {
        match self.state {
            State::Set(_) => self.request_len,
            _ => 0,
        }
    }

    /// Length, in bytes, of the request that [`next_event`](Self::next_event) gave last.
    pub fn complete_len(&self) -> usize {
        self.complete_len
    }

    /// Consumes what was read up to the next event; `None` asks for more bytes.
    ///
    /// `request_len_max` is [`REQUEST_LEN_MAX`], less what the requests of other clients hold at the moment.
    pub fn next_event(
        &mut self,
        request_len_max: usize,
        resolve_zone: impl Fn(&str) -> Option<u32>,
    ) -> Option<RequestEvent> {
        let event = self.consume(request_len_max, resolve_zone);
        // A client may stay connected for days after it has set a key.
        self.buffer[..self.start].fill(0);
        event
    }

    fn consume(&mut self, request_len_max: usize, resolve_zone: impl Fn(&str) -> Option<u32>) -> Option<RequestEvent> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            let Some(line_len) = unread.iter().position(|&byte| byte == b'\n') else {
                return self.line_unfinished();
            };
            let line = self.start..self.start + line_len;
            self.start = line.end + 1;
            self.request_len += line_len + 1;
            let too_long = self.request_len > request_len_max;
            let event = self.state.line(&self.buffer[line], too_long, &resolve_zone);
            if matches!(self.state, State::Idle) {
                self.complete_len = std::mem::take(&mut self.request_len);
            }
            if event.is_some() {
                return event;
            }
        }
    }

    /// No line end in the buffer: wait for more, unless the buffer is full.
    fn line_unfinished(&mut self) -> Option<RequestEvent> {
        if matches!(self.state, State::Closed) {
            self.start = self.end;
            return None;
        }
        if let State::Skip { mid_line } = &mut self.state {
            if !*mid_line && self.buffer[self.start..self.end] == *b"\r" {
                return None; // the end of the blank line, if a line feed follows
            }
            *mid_line |= self.start != self.end;
            self.request_len += self.end - self.start;
            self.start = self.end;
            return (self.request_len > REQUEST_LEN_MAX).then(|| self.close());
        }
        if self.end - self.start < self.buffer.len() {
            return None;
        }
        if matches!(self.state, State::Idle) {
            return Some(self.close());
        }
        self.request_len += self.end - self.start;
        self.start = self.end;
        self.state = State::Skip { mid_line: true };
        Some(RequestEvent::Refused(Refusal::LineTooLong))
    }

    fn close(&mut self) -> RequestEvent {
        self.state = State::Closed;
        RequestEvent::HangUp
    }
}

impl State {
    fn line(
        &mut self,
        line: &[u8],
        too_long: bool,
        resolve_zone: impl Fn(&str) -> Option<u32>,
    ) -> Option<RequestEvent> {
        match self {
            Self::Idle => {
                *self = match line {
                    b"set=1" => Self::Set(SetParser::default()),
                    line => Simple::parse(line).map_or(Self::Closed, Self::Simple),
                };
                matches!(self, Self::Closed).then_some(RequestEvent::HangUp)
            }
            Self::Simple(request) => {
                let request = request.clone();
                if line.is_empty() {
                    *self = Self::Idle;
                    return Some(RequestEvent::Request(request.request()));
                }
                *self = Self::Skip { mid_line: false };
                Some(RequestEvent::Refused(Refusal::TrailingText))
            }
            Self::Set(_) if too_long => {
                *self = Self::Skip { mid_line: false };
                Some(RequestEvent::Refused(Refusal::RequestTooLong))
            }
            Self::Set(parser) => {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.is_empty() {
                    let request = std::mem::take(parser).finish();
                    *self = Self::Idle;
                    return Some(RequestEvent::Request(Request::Set(Box::new(request))));
                }
                let refusal = parser.line(line, resolve_zone).err()?;
                *self = Self::Skip { mid_line: false };
                Some(RequestEvent::Refused(refusal))
            }
            Self::Skip { mid_line } => {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.is_empty() && !*mid_line {
                    *self = Self::Idle;
                }
                if let Self::Skip { mid_line } = self {
                    *mid_line = false;
                }
                None
            }
            Self::Closed => Some(RequestEvent::HangUp),
        }
    }
}
