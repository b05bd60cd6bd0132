//! Log lines, from the thread that has something to say to the place that they go to.
//!
//! ```text
//!   any thread ─► wanted? ─► Limits: too many of this kind? ─► bounded queue ─► one thread ─► Place
//!                                                                               Gap, while the place takes nothing
//! ```
//!
//! Nobody but that one thread ever waits for the reader of the log. When the queue is full a line is lost, and counted.
//! What one place in the source says again and again is limited: what strangers can cause must neither fill a disk nor
//! hide everything else. Who ends waits a moment for what he has said, see `Logger::flush`.
//!
//! A line names what it is about in its text. Key-values (`log::warn!(peer = key; "…")`) are fields of the journal
//! beside it: `RINGFORT_PEER`. `peer` is always the whole public key in base64.

mod gap;
mod level;
mod limits;
mod line;
mod places;
mod target;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use log::{LevelFilter, Metadata, Record};
use ringfort_worker::clock::boot_time;

pub use level::{level_name, parse_level};
use limits::{Limits, Verdict};
use line::Line;
pub use line::Timestamp;
use places::Place;
pub use target::{Log, Target};
use writer::Writer;

/// Lines that wait for their reader.
const WAITING: usize = 1_024;
/// How long the last words of a process are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

/// The logger of this process, to be told to open its place anew.
static INSTALLED: OnceLock<Logger> = OnceLock::new();

/// An option or the environment says what is logged, and counts more than a file.
static IS_CHOSEN: AtomicBool = AtomicBool::new(false);

/// Logs to this place from now on. `is_chosen`: the level is not that of a file, and no file changes it.
///
/// # Errors
/// The system's, if it gives no thread.
pub fn install(log: Log, level: LevelFilter, is_chosen: bool) -> io::Result<()> {
    IS_CHOSEN.store(is_chosen, Ordering::Relaxed);
    let logger = Logger::start(log.into_place())?;
    // Both fail only if there is a logger already, as in tests: then that one is used.
    if INSTALLED.set(logger).is_ok() && log::set_logger(INSTALLED.wait()).is_ok() {
        set_level(level);
    }
    Ok(())
}

/// What is logged from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// The same of a file that has changed. False, and nothing changes, if the level was chosen otherwise at the start.
#[must_use]
pub fn set_level_of_file(level: LevelFilter) -> bool {
    let follows = !IS_CHOSEN.load(Ordering::Relaxed);
    if follows {
        set_level(level);
    }
    follows
}

/// Opens the file that lines go to anew: whoever turns logs over has moved it away.
pub fn reopen() {
    if let Some(logger) = INSTALLED.get() {
        logger.reopen();
    }
}

/// Lines are of this interface from now on: it was renamed.
pub fn rename(interface: &str) {
    if let Some(logger) = INSTALLED.get() {
        logger.rename(interface);
    }
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
    /// There is something to look at in [`Shared`].
    Look,
}

/// What all threads share with the one that writes.
#[derive(Debug, Default)]
struct Shared {
    limits: Limits,
    /// Lines that found the queue full.
    lost: AtomicU64,
    /// The place must be opened anew.
    reopen: AtomicBool,
    /// The interface has a new name.
    renamed: Mutex<Option<String>>,
}

/// Takes lines from all threads. Never waits.
#[derive(Debug)]
struct Logger {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Logger {
    /// Starts the thread that writes.
    fn start(place: impl Place + Send + 'static) -> io::Result<Self> {
        let (queue, messages): (_, Receiver<Message>) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(place, shared.clone());
        thread::Builder::new().name("ringfort-log".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { queue, shared })
    }

    fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // With a full queue it looks anyway.
        let _ = self.queue.try_send(Message::Look);
    }

    fn rename(&self, interface: &str) {
        *self.shared.renamed.lock().unwrap_or_else(PoisonError::into_inner) = Some(interface.to_owned());
        let _ = self.queue.try_send(Message::Look);
    }

    fn send(&self, message: Message) -> bool {
        let sent = self.queue.try_send(message).is_ok();
        if !sent {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = || Line::of(record);
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
