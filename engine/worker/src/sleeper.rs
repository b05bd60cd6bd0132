//! A thread that may sleep, and whoever has something for it.

use std::io;

use ring_buffers::{Bell, Waker};

/// What wakes a thread that may sleep, and whether it has to.
#[derive(Debug)]
pub struct Sleeper {
    /// Wakes it.
    pub waker: Waker,
    /// Whether it has to be woken.
    pub bell: Bell,
}

impl Sleeper {
    /// One that does not sleep yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self { waker: Waker::new()?, bell: Bell::armed() })
    }

    /// Call it after the push that the other side must see.
    pub fn ring(&self) {
        if self.bell.ring() {
            self.waker.wake();
        }
    }
}
