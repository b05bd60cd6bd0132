//! A worker that is no thread, on a kernel that is none: for tests, and to measure all that it does for a packet.

use ring_buffers::Ring;
use ring_buffers::fake::{FakeKernel, Script};

use super::edges;
use super::failure::WorkerError;
use super::operations::RING;
use super::turn::Worker;
use super::{StartError, WorkerConfig};

/// Where its TUN is, to the kernel.
pub const PLACE_TUN: u32 = edges::PLACE_TUN;
/// Where its socket for IPv4 is.
pub const PLACE_V4: u32 = edges::PLACE_V4;

/// A worker that turns when it is told to.
pub struct TurnedWorker(Worker);

impl TurnedWorker {
    /// A worker on the calling thread. Its memory is registered with the ring.
    ///
    /// # Errors
    /// As for [`prepare`](super::prepare).
    pub fn new(config: WorkerConfig, script: Script) -> Result<(Self, FakeKernel), StartError> {
        let (ring, kernel) = Ring::on_fake(RING, script);
        let mut worker = Worker::on(ring, config)?;
        worker.lock_memory()?;
        Ok((Self(worker), kernel))
    }

    /// One turn, as the thread makes them one after the other.
    ///
    /// # Errors
    /// What makes going on impossible.
    pub fn turn(&mut self) -> Result<(), WorkerError> {
        self.0.turn()
    }
}

impl std::fmt::Debug for TurnedWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TurnedWorker").field(&self.0.index).finish()
    }
}
