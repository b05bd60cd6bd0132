//! Where peers were last, kept in a file for the process that comes after this one. It holds no secret.
//!
//! ```text
//!   device ── pages ──► Keeper (control) ── one list at a time ──► a thread of its own ──► NAME.endpoints
//! ```
//!
//! The file is written when something has changed, at once but not more often than once a second. With many peers the
//! pauses are longer, so it takes no more than some megabyte a second. Control reads the device a page in each turn,
//! and never waits for the disk: while a list is being written, the next one is not made.
//!
//! The file of a gateway that stands by belongs to whoever serves: that one's file is copied here, as a whole. So a
//! passive gateway writes nothing, but what it knew when it was demoted. It reads the file when it is promoted
//! ([`Keeper::read`]), and then writes one of its own, which says from when on this gateway knows best.

mod place;
mod reading;
mod text;
mod whole;
mod writer;

pub use place::{EndpointFile, Loaded, load};
pub use reading::{Pending, Step};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfort_core::device::{Device, MemoryCursor, Remembered};
use ringfort_core::time::Time;
use ringfort_worker::clock;
use ringfort_worker::queues::Queues;

use writer::{Job, Writer};

/// Peers that one turn looks at: some tenths of a millisecond.
const PEERS_PER_TURN: usize = 1_024;
/// From the beginning of one list to that of the next, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// The same for each peer on the list: a line has some 120 bytes.
const PAUSE_PER_PEER: Duration = Duration::from_micros(100);
/// How long the end of the process waits for the disk.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Control's part: it knows when to write, and what.
#[derive(Debug)]
pub struct Keeper {
    writer: Option<Writer>,
    file: EndpointFile,
    /// Something has changed since the last list was begun.
    is_outdated: bool,
    /// When the next list may be begun.
    due: Time,
    list: Option<List>,
    /// Another gateway serves, and the file is its own.
    is_passive: bool,
    /// The next list is written whatever the file says, also by a passive gateway.
    owes_list: bool,
    /// What this gateway knows itself is of then, in seconds since 1970.
    known: u64,
}

/// A list that is being made.
#[derive(Debug, Default)]
struct List {
    cursor: MemoryCursor,
    rows: Vec<Remembered>,
}

impl Keeper {
    /// One that keeps nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            writer: None,
            file: EndpointFile::Off,
            is_outdated: false,
            due: Time::ZERO,
            list: None,
            is_passive: false,
            owes_list: false,
            known: 0,
        }
    }

    /// One that writes to `path`, which is that of `file` now, and from which `loaded` was read.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn start(file: EndpointFile, path: PathBuf, loaded: Option<&Loaded>) -> std::io::Result<Self> {
        let known = loaded.and_then(Loaded::written).unwrap_or(0);
        Ok(Self { writer: Some(Writer::start(path)?), file, known, ..Self::none() })
    }

    /// The gateway serves from now on, or another one does.
    pub fn follow_role(&mut self, is_passive: bool, now: Time) {
        if self.is_passive == is_passive {
            return;
        }
        self.is_passive = is_passive;
        self.list = None;
        (self.owes_list, self.is_outdated, self.due) = (true, true, now);
        if is_passive {
            self.known = clock::unix_secs();
        }
    }

    /// The gateway begins passive: the file is another one's.
    pub fn begin_passive(&mut self) {
        self.is_passive = true;
    }

    /// Has the file read. `queues` rings control when that is done. `None`: there is no file, or nobody to read it.
    pub fn read(&self, queues: &Arc<Queues>, now: Time) -> Option<Pending> {
        Pending::begin(self.writer.as_ref()?, self.known, queues, now)
    }

    /// The interface has another name. If the file has it as well, the next list goes to another file, and the former
    /// one is removed when that is written.
    pub fn rename(&mut self, name: &str) {
        if let (Some(writer), Some(path)) = (&self.writer, self.file.path(name)) {
            self.is_outdated |= writer.move_to(path);
        }
    }

    /// Goes on with what is due. True: there is more to do at once.
    pub fn step(&mut self, now: Time, device: &mut Device) -> bool {
        let Some(writer) = &self.writer else { return false };
        if self.list.is_none() {
            self.is_outdated |= device.take_moves();
            if !self.writes() || now < self.due {
                return false;
            }
            if writer.is_busy() {
                // The disk is slow.
                self.due = now + PAUSE;
                return false;
            }
            self.is_outdated = false;
            self.due = now + PAUSE;
            self.list = Some(List::default());
        }
        let Some(List { cursor, rows }) = &mut self.list else { return false };
        if device.memory_page(cursor, PEERS_PER_TURN, clock::unix_secs(), rows) {
            return true;
        }
        let rows = std::mem::take(rows);
        self.list = None;
        self.due = self.due.max(now + PAUSE_PER_PEER * u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if writer.offer(Job { rows, made: clock::unix_secs(), anew: self.owes_list, done: None }) {
            self.owes_list = false;
        } else {
            self.is_outdated = true;
        }
        false
    }

    /// Whether a list must be made.
    const fn writes(&self) -> bool {
        self.is_outdated && (!self.is_passive || self.owes_list)
    }

    /// When [`Keeper::step`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        (self.writes() && self.list.is_none()).then_some(self.due)
    }

    /// Writes all that is known, at the end of the process. A disk that hangs is waited for a moment.
    pub fn finish(mut self, device: &mut Device) {
        let Some(writer) = self.writer.take() else { return };
        if self.is_passive && !self.owes_list && !writer.is_busy() {
            return;
        }
        // A list that is on its way to the disk is not there yet: the process would end before it.
        if !(device.take_moves() || self.is_outdated || self.list.is_some() || writer.is_busy()) {
            return;
        }
        let mut list = List::default();
        while device.memory_page(&mut list.cursor, PEERS_PER_TURN, clock::unix_secs(), &mut list.rows) {}
        let last = Job { rows: list.rows, made: clock::unix_secs(), anew: self.owes_list, done: None };
        writer.write_last(last, Instant::now() + LAST_WRITE);
    }
}

#[cfg(test)]
mod tests;
