//! Log lines, from the thread that has something to say to wherever they go: the standard error, or syslog for a daemon
//! that has none.
//!
//! ```text
//!   any thread ─► enabled? ─► Limits: too many of this kind? ─► bounded queue ─► one thread ─► write(2)
//! ```
//!
//! Nobody but that one thread ever waits for the reader of the log. When the queue is full a line is lost, and counted.
//! What one place in the source says again and again is limited: what strangers can cause must neither fill a disk nor
//! hide everything else. Who ends waits a moment for what he has said, see `Logger::flush`.

mod limits;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock::boot_time;
use limits::{Limits, Verdict};
use writer::{Stderr, Syslog, Writer};

/// Lines that wait for their reader.
const WAITING: usize = 1_024;
/// How long the last words of a process are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

/// Logs to the standard error from now on.
///
/// # Errors
/// The system's, if it gives no thread.
pub fn to_stderr(name: &str, level: LevelFilter) -> io::Result<()> {
    install(Stderr::new(name), level)
}

/// Logs to syslog from now on.
///
/// # Errors
/// The system's, if it gives no thread.
pub fn to_syslog(name: &str, level: LevelFilter) -> io::Result<()> {
    install(Syslog::new(name), level)
}

fn install(place: impl Place + Send + 'static, level: LevelFilter) -> io::Result<()> {
    let logger = Box::new(Logger::start(place, level)?);
    // Fails only if there is a logger already, as in tests: then that one is used.
    if log::set_boxed_logger(logger).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// Where lines go. Whatever goes wrong there is nobody's concern: there is no other place to say so.
trait Place {
    /// Writes a line, and waits for as long as that takes.
    fn write(&mut self, line: &Line);
}

/// What was said.
#[derive(Clone, Debug)]
struct Line {
    time: SystemTime,
    level: Level,
    text: String,
}

/// What passes to the thread that writes.
#[derive(Debug)]
enum Message {
    Line(Line),
    /// The first line of its kind that was one too many. It is written later, with the number of those that followed.
    Held {
        kind: usize,
        line: Line,
    },
    /// Everything before this must be written before this is answered.
    Flush(SyncSender<()>),
}

/// What all threads share with the one that writes.
#[derive(Debug, Default)]
struct Shared {
    limits: Limits,
    /// Lines that found the queue full.
    lost: AtomicU64,
}

/// Takes lines from all threads. Never waits.
#[derive(Debug)]
struct Logger {
    level: LevelFilter,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Logger {
    /// Starts the thread that writes.
    fn start(place: impl Place + Send + 'static, level: LevelFilter) -> io::Result<Self> {
        let (queue, messages): (_, Receiver<Message>) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(place, shared.clone());
        thread::Builder::new().name("ringfort-log".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { level, queue, shared })
    }

    fn send(&self, message: Message) -> bool {
        let sent = self.queue.try_send(message).is_ok();
        if !sent {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = || Line { time: SystemTime::now(), level: record.level(), text: record.args().to_string() };
        match self.shared.limits.ask(record.file().unwrap_or_default(), record.line().unwrap_or(0), boot_time()) {
            Verdict::Pass => drop(self.send(Message::Line(line()))),
            Verdict::LeftOut => {}
            Verdict::FirstLeftOut(kind) => {
                if !self.send(Message::Held { kind, line: line() }) {
                    // Counted as lost, and so are those that other threads left out since; the next one of its kind is
                    // the first.
                    let others = self.shared.limits.take_left_out(kind).saturating_sub(1);
                    self.shared.lost.fetch_add(others, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits until everything that was said before is written, but no longer than [`LAST_WORDS`].
    fn flush(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        let (done, is_done) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            sleep(FLUSH_INTERVAL);
        }
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests;
