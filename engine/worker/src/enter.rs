//! Entering the ring: once a turn, or, in a turn that is measured, in such steps that what the kernel does in each can
//! be told apart.

use ring_buffers::{EnterError, Entered, Wait};
use ringfort_path::{Stage, Watch as _};

use super::naps::Naps;
use super::stopwatch::thread_time;
use super::turn::Worker;
use crate::failure::WorkerError;

impl Worker {
    /// [`Ring::turn`](ring_buffers::Ring::turn). Which stage that was is known when its completions are: see
    /// [`Stopwatch::entered`](super::stopwatch::Stopwatch::entered).
    #[inline]
    pub(super) fn enter(&mut self, wait: Wait) -> Result<(), WorkerError> {
        self.naps.pause(wait);
        let entered = if self.path.watch().runs() { self.enter_in_steps(wait) } else { self.ring.turn(wait) };
        // The kernel says so before it waits for anything.
        if entered.map_err(WorkerError::enter)? == Entered::ShortOfMemory {
            Naps::pause_for_memory(wait);
        }
        Ok(())
    }

    /// In a measured turn, submits the queue now so that it can be timed. In any other the next turn does.
    #[inline]
    pub(super) fn submit(&mut self) -> Result<(), WorkerError> {
        if self.path.watch().runs() {
            self.submit_queued().map_err(WorkerError::enter)?;
        }
        Ok(())
    }

    fn submit_queued(&mut self) -> Result<(), EnterError> {
        let Some(stage) = self.path.watch().take_queued() else { return Ok(()) };
        self.path.watch().lap(Stage::Turn);
        if self.ring.submit()? {
            self.path.watch().lap(stage);
        }
        Ok(())
    }

    fn enter_in_steps(&mut self, wait: Wait) -> Result<Entered, EnterError> {
        self.submit_queued()?;
        self.path.watch().lap(Stage::Turn);
        if self.path.watch().take_leftovers() {
            // What it takes to carry them out is of the turn before, and not counted.
            self.ring.submit()?;
            self.path.watch().restart();
        }
        let entered = self.ring.turn(Wait::No)?;
        self.path.watch().note_entered();
        if wait == Wait::No || self.ring.has_completed() {
            return Ok(entered);
        }
        // What woke us is received or read in the same call: that part is the one in which this thread had the CPU.
        let cpu_before = thread_time();
        let entered = self.ring.turn(wait)?;
        self.path.watch().note_slept(thread_time().saturating_sub(cpu_before));
        Ok(entered)
    }
}
