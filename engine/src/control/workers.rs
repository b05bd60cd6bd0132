//! The threads of the data plane, from their start to their end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use ringfort_worker::queues::{Mail, Queues};
use ringfort_worker::{Flows, Prepared, Tuning, WorkerConfig, WorkerHandle, WorkerStats};
use tun_uring::device::MTU_DEFAULT;

use super::error::DaemonError;
use super::slice;
use crate::sandbox::{self, Role};

/// For the workers to end their rings. What hangs longer ends with the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
const STOP_INTERVAL: Duration = Duration::from_millis(1);

/// On a worker's thread, when it has all that it works with: the last calls that its sandbox forbids it.
fn settle_in() {
    slice::shorten();
    sandbox::enter(Role::Worker);
}

/// The running workers. They are stopped when this is dropped.
pub struct Workers {
    /// What passes between them and control.
    pub queues: Arc<Queues>,
    /// What each of them counts.
    pub stats: Vec<Arc<WorkerStats>>,
    handles: Vec<WorkerHandle>,
    /// How many of them work without locked memory.
    pub unlocked: usize,
}

impl Workers {
    /// Starts one on each of `cpus`. All rings come before the first packet memory. Those that rest read nothing before
    /// they are told to go on.
    ///
    /// # Errors
    /// The first that cannot be started. The others end.
    pub fn spawn(
        queues: &Arc<Queues>,
        stats: &[Arc<WorkerStats>],
        tun_queues: Vec<OwnedFd>,
        flows: Option<&Flows>,
        cpus: &[usize],
        tuning: Tuning,
        rests: bool,
    ) -> Result<Self, DaemonError> {
        let mut prepared = Vec::new();
        for ((index, tun), (stats, &id)) in tun_queues.into_iter().enumerate().zip(stats.iter().zip(cpus)) {
            let core = Some(CoreId { id });
            let (queues, stats, flows) = (queues.clone(), stats.clone(), flows.cloned());
            let (mtu, before_packets) = (MTU_DEFAULT, settle_in);
            let config = WorkerConfig { index, core, tun, flows, mtu, tuning, rests, queues, stats, before_packets };
            match ringfort_worker::prepare(config) {
                Ok(worker) => prepared.push(worker),
                Err(error) => {
                    prepared.into_iter().for_each(Prepared::cancel);
                    return Err(error.into());
                }
            }
        }
        let (queues, stats) = (queues.clone(), stats.to_vec());
        let lock = ringfort_worker::locks_arenas(prepared.len());
        let mut workers = Self { queues, stats, handles: Vec::new(), unlocked: 0 };
        let mut prepared = prepared.into_iter();
        while let Some(worker) = prepared.next() {
            match worker.begin(lock) {
                Ok((handle, locked)) => {
                    workers.handles.push(handle);
                    workers.unlocked += usize::from(!locked);
                }
                Err(error) => {
                    prepared.for_each(Prepared::cancel);
                    return Err(error.into());
                }
            }
        }
        Ok(workers)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.handles.len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for inbox in &self.queues.workers {
            // The port is free for the next daemon sooner than the ring is wound up.
            inbox.push_mail(Mail::Sockets(None));
            inbox.push_mail(Mail::Stop);
        }
        let handles = std::mem::take(&mut self.handles);
        // No thread for it: there may be none to be had, and then this must work all the same.
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if handles.iter().all(WorkerHandle::has_ended) {
                return handles.into_iter().for_each(WorkerHandle::join);
            }
            std::thread::sleep(STOP_INTERVAL);
        }
        log::warn!("a worker did not stop in time");
    }
}
