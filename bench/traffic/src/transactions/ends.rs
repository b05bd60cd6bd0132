//! The two ends of transactions: a client that asks and takes the time, and a server that answers.
//!
//! A connection carries the same content in each direction, from different places of it. Message number *n* of *len*
//! bytes is what stands at *n* × *len*. So each end knows every byte that must come.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use ring_buffers::{SlotClass, Wait};
use ringfort_testbed::{Context, Error, Result};

use super::{CONNECTIONS_MAX, MESSAGE_BYTES_MAX};
use crate::port::{Port, PortEvent, PortPlan};
use crate::receiver::Signals;
use crate::tcp::ends::{WRITE_LEN, Window, content};
use crate::{Histogram, sys};

/// Buffers for receiving.
const READS: u16 = 512;
/// Where the content of requests begins, and that of answers: who hears himself notices.
const REQUESTS_FROM: u64 = 0;
const ANSWERS_FROM: u64 = 32_749;

// A port has an operation for each buffer and one for each connection; a write and a receive on each need no more.
const _: () = assert!(READS >= CONNECTIONS_MAX);
// A message is written in one piece.
const _: () = assert!(MESSAGE_BYTES_MAX as usize <= WRITE_LEN);

/// How far a connection is, in bytes.
#[derive(Clone, Copy, Default)]
struct Position {
    written: u64,
    read: u64,
}

/// What both ends do.
struct End<'a> {
    port: Port,
    positions: Vec<Position>,
    message_len: u64,
    /// Where the content begins that is written, and that is read.
    writes_from: u64,
    reads_from: u64,
    signals: &'a Signals,
}

impl<'a> End<'a> {
    fn new(
        sockets: Vec<BorrowedFd<'_>>,
        message_bytes: u32,
        (writes_from, reads_from): (u64, u64),
        signals: &'a Signals,
    ) -> Result<Self> {
        let positions = vec![Position::default(); sockets.len()];
        let (receives, slot) = (READS, SlotClass::Packet);
        let plan = PortPlan { sockets, addresses: Vec::new(), sends: 0, receives, slot, waker: &signals.waker };
        let message_len = message_bytes.into();
        Ok(Self { port: Port::new(&plan)?, positions, message_len, writes_from, reads_from, signals })
    }

    /// Writes the next message of a connection, or what is left of one that was written in part.
    fn write(&mut self, place: u16) -> Result<()> {
        let position = self.positions[usize::from(place)].written;
        let left = self.message_len - position % self.message_len;
        self.port.write(place, content(self.writes_from + position, left as usize))
    }

    /// Looks at what came until a connection has a whole message, and says which.
    fn next_message(&mut self) -> Result<Option<u16>> {
        while let Some(event) = self.port.next_event()? {
            match event {
                PortEvent::Received { place, bytes } => {
                    if self.take(place, &bytes)? {
                        return Ok(Some(place));
                    }
                }
                PortEvent::Written { place, outcome } => {
                    let written = outcome.map_err(std::io::Error::from_raw_os_error);
                    self.note_written(place, written.context(format_args!("writing to connection {place}"))?)?;
                }
                PortEvent::Closed => return Err(Error::new("a connection was closed before its time")),
                PortEvent::Sent(_) | PortEvent::Refused(..) | PortEvent::Rung => {}
            }
        }
        Ok(None)
    }

    fn note_written(&mut self, place: u16, len: usize) -> Result<()> {
        let written = &mut self.positions[usize::from(place)].written;
        *written += len as u64;
        if written.is_multiple_of(self.message_len) { Ok(()) } else { self.write(place) }
    }

    /// Takes in bytes; returns whether they complete a message.
    fn take(&mut self, place: u16, bytes: &[u8]) -> Result<bool> {
        let read = &mut self.positions[usize::from(place)].read;
        let left = self.message_len - *read % self.message_len;
        let len = bytes.len() as u64;
        if len > left {
            return Err(Error::new(format!("connection {place}: {len} bytes came where {left} were missing")));
        }
        if bytes != content(self.reads_from + *read, bytes.len()) {
            return Err(Error::new(format!(
                "connection {place}: {len} bytes after the first {read} are not those that were sent"
            )));
        }
        *read += len;
        Ok(len == left)
    }
}

/// What a client saw in the time that is measured.
pub(super) struct Taken {
    /// Transactions of each connection.
    pub(super) counts: Vec<u64>,
    /// How long they took.
    pub(super) times: Histogram,
}

/// The asking end of a lane.
pub(super) struct Client<'a> {
    end: End<'a>,
    /// When each connection's request was ready.
    begun_ns: Vec<u64>,
    taken: Taken,
    progress: &'a AtomicU64,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        sockets: Vec<BorrowedFd<'_>>,
        message_bytes: u32,
        signals: &'a Signals,
        progress: &'a AtomicU64,
    ) -> Result<Self> {
        let begun_ns = vec![0; sockets.len()];
        let taken = Taken { counts: begun_ns.clone(), times: Histogram::default() };
        let end = End::new(sockets, message_bytes, (REQUESTS_FROM, ANSWERS_FROM), signals)?;
        Ok(Self { end, begun_ns, taken, progress })
    }

    /// Asks on every connection until the time is over, or until it is told to stop.
    pub(super) fn run(mut self, start_ns: u64, window: Window) -> Result<Taken> {
        sys::sleep_until_ns(start_ns);
        let mut now_ns = sys::now_ns();
        self.begun_ns.fill(now_ns);
        for place in 0..self.begun_ns.len() {
            self.end.write(place as u16)?;
        }
        while !window.is_over(now_ns) && !self.end.signals.is_stopped() {
            self.end.port.turn(Wait::UntilCompletion)?;
            now_ns = sys::now_ns();
            let mut completed = 0;
            while let Some(place) = self.end.next_message()? {
                self.complete(usize::from(place), now_ns, window.counts(now_ns));
                self.end.write(place)?;
                completed += 1;
            }
            self.progress.fetch_add(completed, Ordering::Relaxed);
        }
        Ok(self.taken)
    }

    fn complete(&mut self, place: usize, now_ns: u64, counts: bool) {
        let begun_ns = std::mem::replace(&mut self.begun_ns[place], now_ns);
        if counts {
            self.taken.counts[place] += 1;
            self.taken.times.record(now_ns.saturating_sub(begun_ns));
        }
    }
}

/// The answering end of a lane.
pub(super) struct Server<'a>(End<'a>);

impl<'a> Server<'a> {
    pub(super) fn new(sockets: Vec<BorrowedFd<'_>>, message_bytes: u32, signals: &'a Signals) -> Result<Self> {
        End::new(sockets, message_bytes, (ANSWERS_FROM, REQUESTS_FROM), signals).map(Self)
    }

    /// Answers until it is told to stop.
    pub(super) fn run(self) -> Result<()> {
        let Self(mut end) = self;
        while !end.signals.is_stopped() {
            end.port.turn(Wait::UntilCompletion)?;
            while let Some(place) = end.next_message()? {
                end.write(place)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const LEN: usize = 1_000;

    fn request(number: u64) -> &'static [u8] {
        content(REQUESTS_FROM + number * LEN as u64, LEN)
    }

    fn answer(number: u64) -> &'static [u8] {
        content(ANSWERS_FROM + number * LEN as u64, LEN)
    }

    /// Runs a client whose other end `serve` plays. Then it is told to stop, unless it must fail by itself.
    fn client(must_fail: bool, serve: impl FnOnce(&mut UnixStream)) -> (Result<Taken>, u64) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (signals, progress) = (Signals::new().unwrap(), AtomicU64::new(0));
        let taken = thread::scope(|scope| {
            // Closed if `serve` panics, which ends the client.
            let mut theirs = theirs;
            let asking = scope.spawn(|| {
                let client = Client::new(vec![ours.as_fd()], LEN as u32, &signals, &progress)?;
                client.run(0, Window::new(0, Duration::ZERO, Duration::MAX))
            });
            serve(&mut theirs);
            if !must_fail {
                signals.stop();
            }
            asking.join().unwrap()
        });
        (taken, progress.into_inner())
    }

    fn expect_request(number: u64, theirs: &mut UnixStream) {
        let mut bytes = [0; LEN];
        theirs.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, request(number), "request {number}");
    }

    #[test]
    fn an_answer_in_pieces_completes_one_transaction() {
        let (taken, progress) = client(false, |theirs| {
            for number in 0..3 {
                expect_request(number, theirs);
                let (first, rest) = answer(number).split_at(300);
                theirs.write_all(first).unwrap();
                theirs.write_all(rest).unwrap();
            }
            // By now the third answer was taken.
            expect_request(3, theirs);
        });
        let taken = taken.unwrap();
        assert_eq!((taken.counts, taken.times.count(), progress), (vec![3], 3, 3));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let failure = |bytes: &[u8]| {
            let failed = client(true, |theirs| {
                expect_request(0, theirs);
                theirs.write_all(answer(0)).unwrap();
                expect_request(1, theirs);
                theirs.write_all(bytes).unwrap();
            });
            failed.0.err().expect("it fails").to_string()
        };
        let wrong = "connection 0: 1000 bytes after the first 1000 are not those that were sent";
        assert_eq!(failure(request(1)), wrong, "its own");
        assert_eq!(failure(answer(0)), wrong, "an old one");
        let mut damaged = answer(1).to_vec();
        damaged[LEN - 1] ^= 1;
        assert_eq!(failure(&damaged), wrong, "one wrong bit");
        assert_eq!(failure(&content(ANSWERS_FROM, LEN + 1)[1..]), wrong, "shifted");
        let longer = content(ANSWERS_FROM + LEN as u64, LEN + 1);
        assert_eq!(failure(longer), "connection 0: 1001 bytes came where 1000 were missing");
    }

    #[test]
    fn an_end_without_an_answer_is_an_error() {
        let failed = client(true, |theirs| {
            expect_request(0, theirs);
            theirs.shutdown(Shutdown::Both).unwrap();
        });
        assert!(failed.0.err().expect("it fails").to_string().contains("closed before its time"));
    }
}
