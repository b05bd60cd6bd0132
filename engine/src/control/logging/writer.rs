//! The thread that writes log lines, and the places where it does.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::Level;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::{Line, Message, Place, Shared};

/// How long lines of a kind are counted before the number is told.
const HELD_FOR: Duration = Duration::from_secs(5);

const SYSLOG_SOCKET: &str = "/dev/log";
/// `LOG_DAEMON` of `syslog(3)`, already shifted.
const FACILITY_DAEMON: u8 = 3 << 3;

/// What runs on the thread.
pub(super) struct Writer<P> {
    place: P,
    shared: Arc<Shared>,
    /// Lines that wait for the number of those that followed, by the time when they are due.
    held: Vec<Held>,
}

struct Held {
    due: Instant,
    kind: usize,
    line: Line,
}

impl<P: Place> Writer<P> {
    pub(super) fn new(place: P, shared: Arc<Shared>) -> Self {
        Self { place, shared, held: Vec::new() }
    }

    /// Until nobody can say anything any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        while let Some(message) = self.next(messages) {
            match message {
                Some(Message::Line(line)) => self.place.write(&line),
                // Each kind is held once at the most, and all for as long.
                Some(Message::Held { kind, line }) => {
                    self.held.push(Held { due: Instant::now() + HELD_FOR, kind, line });
                }
                Some(Message::Flush(done)) => {
                    self.tell_held(None);
                    self.tell_lost();
                    let _ = done.send(());
                }
                None => {}
            }
            self.tell_held(Some(Instant::now()));
            self.tell_lost();
        }
    }

    /// `None` at the end, `Some(None)` when a held line is due.
    fn next(&self, messages: &Receiver<Message>) -> Option<Option<Message>> {
        let Some(first) = self.held.first() else { return messages.recv().ok().map(Some) };
        match messages.recv_timeout(first.due.saturating_duration_since(Instant::now())) {
            Ok(message) => Some(Some(message)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Writes the held lines that are due at `now`, or all of them.
    fn tell_held(&mut self, now: Option<Instant>) {
        let count = self.held.iter().take_while(|held| now.is_none_or(|now| held.due <= now)).count();
        for Held { kind, mut line, .. } in self.held.drain(..count) {
            let others = self.shared.limits.take_left_out(kind).saturating_sub(1);
            if others > 0 {
                write!(line.text, " ({others} more like this were left out)").expect("a string takes everything");
            }
            self.place.write(&line);
        }
    }

    fn tell_lost(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines were lost, because the log was not read fast enough");
            self.place.write(&Line { time: SystemTime::now(), level: Level::Warn, text });
        }
    }
}

/// The standard error, by its number: the lock of `std::io::stderr` would be held while its reader makes us wait.
pub(super) struct Stderr {
    name: String,
}

impl Stderr {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

impl Place for Stderr {
    fn write(&mut self, line: &Line) {
        let text = format!("{} {:<5} {}: {}\n", Timestamp(line.time), line.level, self.name, line.text);
        let mut rest = text.as_bytes();
        let stderr = io::stderr();
        while !rest.is_empty() {
            match write(&stderr, rest) {
                Ok(len) => rest = &rest[len..],
                Err(Errno::EINTR) => {}
                // Somebody who shares it has made it so.
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, PollTimeout::NONE);
                }
                // The reader is gone, or the disk is full.
                Err(_) => return,
            }
        }
    }
}

/// A datagram for each line (RFC 3164, as `syslog(3)` writes it to `/dev/log`). Without a syslog the lines are lost: a
/// daemon has nowhere else to put them.
pub(super) struct Syslog {
    path: PathBuf,
    socket: io::Result<UnixDatagram>,
    prefix: String,
}

impl Syslog {
    pub(super) fn new(name: &str) -> Self {
        Self::at(Path::new(SYSLOG_SOCKET), name)
    }

    pub(super) fn at(path: &Path, name: &str) -> Self {
        let prefix = format!("ringfort[{}]: {name}", std::process::id());
        Self { path: path.to_owned(), socket: connect(path), prefix }
    }

    fn send(&self, datagram: &str) -> bool {
        self.socket.as_ref().is_ok_and(|socket| socket.send(datagram.as_bytes()).is_ok())
    }
}

impl Place for Syslog {
    fn write(&mut self, line: &Line) {
        let priority = FACILITY_DAEMON | severity(line.level);
        let datagram = format!("<{priority}>{}: {}", self.prefix, line.text);
        if !self.send(&datagram) {
            // It may have been started, or started anew.
            self.socket = connect(&self.path);
            self.send(&datagram);
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// The severities of RFC 3164.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A time of day as RFC 3339 writes it, in UTC and with milliseconds. A clock before 1970 reads as 1970.
struct Timestamp(SystemTime);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, millis) = (since.as_secs(), since.subsec_millis());
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day from the number of days since 1970, in eras of 400 years that begin on the first of March.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    /// From the first of March of the year 0.
    const DAYS_TO_1970: u64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    // 153 days are five months, from March.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { time: UNIX_EPOCH, level: Level::Info, text: text.to_owned() }
    }

    #[test]
    fn times_are_written_as_in_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_001, "2024-03-01T00:00:00.001Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(UNIX_EPOCH + Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn a_syslog_that_restarts_is_found_again() {
        let path = std::env::temp_dir().join(format!("ringfort-syslog-{}", std::process::id()));
        // A run that was killed may have left it, and had the same number.
        let _ = std::fs::remove_file(&path);
        let mut syslog = Syslog::at(&path, "wg0");
        syslog.write(&line("nobody is there"));
        for text in ["hello", "again"] {
            let log = UnixDatagram::bind(&path).unwrap();
            syslog.write(&line(text));
            let mut received = [0; 64];
            let len = log.recv(&mut received).unwrap();
            let expected = format!("<30>ringfort[{}]: wg0: {text}", std::process::id());
            assert_eq!(std::str::from_utf8(&received[..len]), Ok(expected.as_str()));
            std::fs::remove_file(&path).unwrap();
        }
    }
}
