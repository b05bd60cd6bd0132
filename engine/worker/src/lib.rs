//! The shell around the data path: one pinned thread with its own ring, its own arena, one queue of the TUN and one
//! socket per family.
//!
//! ```text
//!   turn ─┬─ TUN read, UDP receive ──► events ──► data path (ringfort-path)
//!         ├─ doorbell ──► inbox: orders from control, trains from other workers ──► data path
//!         ├─ drain: what the data path has left ──► UDP send, TUN write, control, other workers
//!         └─ completion of a send or a write: the view is dropped, its slot is free
//! ```
//!
//! A worker shares nothing that it writes except atomics: what it must know comes as mail, what it learns goes as
//! events. Both are in [`queues`]. It decides nothing about a packet, and knows neither peers nor their configuration.

#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod balance;
mod claims;
pub mod clock;
mod counter;
mod counters;
mod drain;
mod edges;
mod enter;
mod events;
pub mod failure;
#[cfg(feature = "testing")]
pub mod fake;
pub mod fault;
mod histogram;
mod inbox;
mod leave;
mod naps;
mod operations;
pub mod queues;
mod rest;
mod sleeper;
mod stage_table;
mod stopwatch;
#[cfg(test)]
mod tests;
mod turn;

pub use claims::Flows;
pub use counter::Counter;
pub use counters::{Figure, Kind, WorkerStats, thread_cpu_time};
pub use histogram::Histogram;
pub use operations::{LockedLen, locked_len, locks_arenas};
pub use stage_table::StageTable;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use core_affinity::CoreId;
use ring_buffers::{Capabilities, RingError};
use ringfort_core::node::Node;
use tun_uring::Merge;
use udp_uring::Segmentation;

use failure::{WorkerError, WorkerFailure};
use queues::Queues;

/// How the workers go about their work, the same for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Which of several gateways this is.
    pub node: Node,
    /// What this kernel's io_uring can do.
    pub capabilities: Capabilities,
    /// What the TUN may be given in one piece.
    pub merge: Merge,
    /// How trains leave.
    pub segmentation: Segmentation,
    /// How long to look for more after the last completion before sleeping; zero sleeps at once.
    pub busy_poll: Duration,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its number, from 0.
    pub index: usize,
    /// The core to run on; `None` leaves it to the scheduler.
    pub core: Option<CoreId>,
    /// Its queue of the TUN device.
    pub tun: OwnedFd,
    /// By which queues packets come; `None` where there is no choice.
    pub flows: Option<Flows>,
    /// The device's MTU in bytes.
    pub mtu: u32,
    /// How it works.
    pub tuning: Tuning,
    /// Whether it reads nothing before [`crate::queues::Mail::GoOn`].
    pub rests: bool,
    /// The queues to control and to the other workers.
    pub queues: Arc<Queues>,
    /// Where it counts.
    pub stats: Arc<WorkerStats>,
    /// Called on its thread once it has all that it works with, and before it sees a packet: to confine it.
    pub before_packets: fn(),
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Whether the thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread, which ends after [`crate::queues::Mail::Stop`].
    pub fn join(self) {
        // A panic has been reported through the queues, as every other end has.
        let _ = self.thread.join();
    }
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its ring or its memory could not be had.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The core is not there, or not allowed to this process.
    #[error("cannot run on core {0}: it is offline, or outside the process's CPU affinity; choose others with --cpus")]
    Core(usize),
    /// The thread could not be made.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[from] io::Error),
    /// The thread ended without a word.
    #[error("a worker thread ended while it started; this is a bug")]
    Silent,
}

/// A worker that has its ring and waits for its memory to be locked.
///
/// Rings come first, then the memory of all workers: no ring may be missing because another worker's arena, which can
/// do without, took the rest of the limit.
#[derive(Debug)]
pub struct Prepared {
    thread: JoinHandle<()>,
    /// Whether to lock the memory.
    begin: mpsc::SyncSender<bool>,
    /// One message when the ring is set up, one when the worker begins.
    steps: mpsc::Receiver<Step>,
}

/// What a thread that starts says: whether its memory is locked, once it is known.
type Step = Result<bool, StartError>;

/// Starts a worker and waits until its ring is set up.
///
/// # Errors
/// [`StartError`]; then no thread is left.
pub fn prepare(config: WorkerConfig) -> Result<Prepared, StartError> {
    let (ready, steps) = mpsc::sync_channel(1);
    let (begin, may_begin) = mpsc::sync_channel(1);
    let name = format!("ringfort-w{}", config.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || body(config, &ready, &may_begin))?;
    let prepared = Prepared { thread, begin, steps };
    match prepared.steps.recv() {
        Ok(Ok(_)) => Ok(prepared),
        Ok(Err(error)) => Err(prepared.end(error)),
        Err(_) => Err(StartError::Silent),
    }
}

impl Prepared {
    /// Lets the worker work, after it has locked its memory if `lock` says so. False: that was not possible, and it
    /// works without.
    ///
    /// # Errors
    /// [`StartError`]; then no thread is left.
    pub fn begin(self, lock: bool) -> Result<(WorkerHandle, bool), StartError> {
        // A thread that has ended says why.
        let _ = self.begin.send(lock);
        match self.steps.recv() {
            Ok(Ok(locked)) => Ok((WorkerHandle { thread: self.thread }, locked)),
            Ok(Err(error)) => Err(self.end(error)),
            Err(_) => Err(StartError::Silent),
        }
    }

    /// Ends a worker that is not needed after all.
    pub fn cancel(self) {
        drop(self.begin);
        let _ = self.thread.join();
    }

    /// Waits for a thread that has said its last word.
    fn end(self, error: StartError) -> StartError {
        let _ = self.thread.join();
        error
    }
}

fn body(config: WorkerConfig, said: &mpsc::SyncSender<Step>, may_begin: &mpsc::Receiver<bool>) {
    let mut last_words =
        LastWords { queues: config.queues.clone(), worker: config.index, why: Some(WorkerError::Panicked) };
    // The ring belongs to the thread that sets it up, so this happens here and not in `prepare`.
    let before_packets = config.before_packets;
    let begun = turn::Worker::new(config).and_then(|mut worker| {
        // The receiver waits for each of the two messages, or is gone with all of its daemon.
        let _ = said.send(Ok(false));
        let lock = |lock| if lock { worker.lock_memory() } else { Ok(true) };
        let locked = may_begin.recv().ok().map(lock).transpose()?;
        Ok((worker, locked))
    });
    match begun {
        Ok((worker, Some(locked))) => {
            before_packets();
            let _ = said.send(Ok(locked));
            last_words.why = worker.run().err();
        }
        Ok((_, None)) => last_words.why = None,
        Err(error) => {
            last_words.why = None;
            let _ = said.send(Err(error));
        }
    }
}

/// Tells control when the thread ends otherwise than by [`crate::queues::Mail::Stop`]: a daemon is never half alive.
struct LastWords {
    queues: Arc<Queues>,
    worker: usize,
    why: Option<WorkerError>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(error) = self.why.take() {
            self.queues.control.push_failure(WorkerFailure { worker: self.worker, error });
        }
    }
}
