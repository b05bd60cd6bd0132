//! How a snapshot gets from control to the thread that asked for it.

use std::io;

use crossbeam_queue::ArrayQueue;
use ring_buffers::Waker;

use super::sample::Snapshot;

/// Between the thread that shows metrics and control. There is one snapshot on its way at a time.
#[derive(Debug)]
pub struct Exchange {
    asked: ArrayQueue<Box<Snapshot>>,
    filled: ArrayQueue<Box<Snapshot>>,
    waker: Waker,
}

impl Exchange {
    /// Nobody has asked so far.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self { asked: ArrayQueue::new(1), filled: ArrayQueue::new(1), waker: Waker::new()? })
    }

    /// Asks for a snapshot, with memory for as many peers as are of interest. False: one is on its way already. Control
    /// must be woken ([`ControlInbox::wake`](ringfort_worker::queues::ControlInbox::wake)).
    #[must_use]
    pub fn ask(&self, snapshot: Box<Snapshot>) -> bool {
        self.asked.push(snapshot).is_ok()
    }

    /// For control: what was asked for.
    #[must_use]
    pub fn next_asked(&self) -> Option<Box<Snapshot>> {
        self.asked.pop()
    }

    /// For control: here it is.
    pub fn give(&self, snapshot: Box<Snapshot>) {
        // Room for the only one that there is.
        let _ = self.filled.push(snapshot);
        self.waker.wake();
    }

    /// A snapshot that was asked for.
    #[must_use]
    pub fn next_filled(&self) -> Option<Box<Snapshot>> {
        self.filled.pop()
    }

    /// What wakes the thread that asks.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}
