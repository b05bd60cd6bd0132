//! The thread that writes the file, and reads it when a gateway is promoted. Nobody but it waits for the disk.
//!
//! A new file is written beside the old one, brought to the disk, and takes its name. Without `fdatasync` the name may
//! reach the disk before the contents, and a power failure then leaves an empty file. The directory is not
//! synchronised: whichever of the two files a power failure leaves, it is whole. What the process alone leaves behind
//! needs neither.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use std::{fs, io};

use ringfort_core::device::Remembered;
use ringfort_worker::queues::Queues;

use super::whole::{remove_leftovers, replace};
use super::{Loaded, place, text};
use crate::sandbox::{self, Role};

/// How long after a failure the same is tried again, if nothing new comes.
const RETRY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(1);

/// A list to write.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) rows: Vec<Remembered>,
    /// When it was made, in seconds since 1970.
    pub(super) made: u64,
    /// It is written even if the file says the same already: somebody else may have replaced it, or it must be known
    /// that this is still so.
    pub(super) anew: bool,
    /// Told when it is written, or cannot be.
    pub(super) done: Option<SyncSender<()>>,
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Older ones are refused: in seconds since 1970.
    pub(super) known: u64,
    pub(super) answer: SyncSender<(Vec<Remembered>, Option<Loaded>)>,
    /// Where to ring when it is read.
    pub(super) queues: Arc<Queues>,
}

#[derive(Debug)]
enum Task {
    Write(Job),
    Read(Reading),
}

/// The thread's other end.
#[derive(Debug)]
pub(super) struct Writer {
    tasks: SyncSender<Task>,
    /// A list has not been written yet.
    busy: Arc<AtomicBool>,
    /// Where the next list goes to.
    place: Arc<Mutex<PathBuf>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let boot = place::boot_id();
        let render = move |rows: &[Remembered], made| text::render(rows, made, &boot);
        let mut is_first = true;
        let write = move |path: &Path, text: &str| {
            if std::mem::take(&mut is_first) {
                remove_leftovers(path);
            }
            replace(path, text.as_bytes())
        };
        Self::start_with(path, render, write)
    }

    pub(super) fn start_with(
        path: PathBuf,
        render: impl Fn(&[Remembered], u64) -> String + Send + 'static,
        write: impl FnMut(&Path, &str) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let place = Arc::new(Mutex::new(path.clone()));
        let (tasks, received) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let work = Work {
            place: place.clone(),
            path,
            render,
            write,
            busy: busy.clone(),
            written: None,
            unwritten: None,
            error: None,
        };
        thread::Builder::new().name("endpoints".to_owned()).spawn(move || work.run(&received))?;
        Ok(Self { tasks, busy, place })
    }

    /// Whether a list is still being written.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// The next list goes there, and the file that is there now as well. True: that is another place.
    pub(super) fn move_to(&self, path: PathBuf) -> bool {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, path);
        before != *place
    }

    /// Gives it a list to write, when it has written the one before. False: it has too much to do.
    pub(super) fn offer(&self, job: Job) -> bool {
        self.busy.store(true, Ordering::Release);
        let is_taken = self.tasks.try_send(Task::Write(job)).is_ok();
        if !is_taken {
            // Nobody else would say so: it has no list to write.
            self.busy.store(false, Ordering::Release);
        }
        is_taken
    }

    /// Has it read the file, behind what it has to write. False: it has too much to do.
    pub(super) fn read(&self, reading: Reading) -> bool {
        self.tasks.try_send(Task::Read(reading)).is_ok()
    }

    /// Writes a last list, and waits for that until `deadline`.
    pub(super) fn write_last(self, job: Job, deadline: Instant) {
        let (done, is_done) = sync_channel(1);
        let mut task = Task::Write(Job { done: Some(done), ..job });
        while let Err(TrySendError::Full(back)) = self.tasks.try_send(task) {
            if Instant::now() >= deadline {
                return;
            }
            task = back;
            sleep(POLL);
        }
        // Where peers were is then as of the list before.
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// What the thread has.
struct Work<R, W> {
    /// Where the file should be, and where it is.
    place: Arc<Mutex<PathBuf>>,
    path: PathBuf,
    render: R,
    write: W,
    busy: Arc<AtomicBool>,
    /// What the file says, if we have written it.
    written: Option<Vec<Remembered>>,
    /// What it should say, and could not be written, with when it was made.
    unwritten: Option<(Vec<Remembered>, u64)>,
    /// What was said of that last.
    error: Option<String>,
}

impl<R: Fn(&[Remembered], u64) -> String, W: FnMut(&Path, &str) -> io::Result<()>> Work<R, W> {
    fn run(mut self, tasks: &Receiver<Task>) {
        sandbox::enter(Role::Files);
        loop {
            let task = match self.unwritten {
                Some(_) => tasks.recv_timeout(RETRY),
                None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            self.follow();
            let done = match task {
                Ok(Task::Read(Reading { known, answer, queues })) => {
                    // Whoever asked may have given up waiting.
                    let _ = answer.try_send(place::load(&self.path, known));
                    queues.control.wake();
                    continue;
                }
                Ok(Task::Write(Job { rows, made, anew, done })) => {
                    self.written = self.written.take().filter(|_| !anew);
                    self.unwritten = (self.written.as_ref() != Some(&rows)).then_some((rows, made));
                    done
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.write();
            self.busy.store(false, Ordering::Release);
            done.map(|done| done.try_send(()));
        }
    }

    /// Takes the file along to where it should be.
    fn follow(&mut self) {
        let path = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if path != self.path {
            if fs::rename(&self.path, &path).is_err() {
                // It is made there.
                self.written = None;
            }
            self.path = path;
        }
    }

    /// Writes what is not written, and says what is wrong once.
    fn write(&mut self) {
        let Some((rows, made)) = self.unwritten.take() else { return };
        match (self.write)(&self.path, &(self.render)(&rows, made)) {
            Ok(()) => {
                self.written = Some(rows);
                if self.error.take().is_some() {
                    log::info!("where peers are is kept in {} again", self.path.display());
                }
            }
            Err(error) => {
                self.unwritten = Some((rows, made));
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    log::warn!(
                        "where peers are cannot be kept in {}: {error}. After a restart they are found later; \
                         --endpoints names another file, or \"off\"",
                        self.path.display()
                    );
                    self.error = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway is promoted while the disk is slow, and what it reads is in the way of a list.
    #[test]
    fn a_list_that_was_not_taken_keeps_nobody_waiting() {
        let (tasks, received) = sync_channel(1);
        let writer = Writer { tasks, busy: Arc::default(), place: Arc::default() };
        let queues = Arc::new(Queues::new(1).unwrap());
        let job = || Job { rows: Vec::new(), made: 1, anew: false, done: None };
        assert!(writer.read(Reading { known: 0, answer: sync_channel(1).0, queues }));
        assert!(!writer.offer(job()));
        assert!(!writer.is_busy(), "there is no list on its way");
        assert!(matches!(received.try_recv(), Ok(Task::Read(_))));
        assert!(writer.offer(job()) && writer.is_busy());
    }
}
