//! Handshake messages on their way from the workers to the device, and how many of them are too many.
//!
//! ```text
//!   workers, which have asked them ─► queue ─► worth the work? ─► those that wait ─► one at a time: the device
//!                                              (Device::screen)   their number is the load
//! ```
//!
//! The workers pass on what knows our public key, and, if it answers something, most likely what it answers. Here that
//! is certain. Only what then waits counts as load. Otherwise anybody could make us demand cookies of honest peers,
//! whose first handshake then takes five seconds longer, by sending some hundred datagrams of nonsense.

use std::collections::VecDeque;

use ringfort_core::device::Device;
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;
use ringfort_path::HandshakeMessage;
use ringfort_path::turns::{HANDSHAKES_WAITING, LOADED_WAITING};

/// Messages looked at in one turn: less than a millisecond.
const SCREENED_PER_TURN: usize = 512;

const _: () = assert!(SCREENED_PER_TURN > LOADED_WAITING, "a turn can see that there is load");

/// The messages that wait, and the load that they are.
#[derive(Debug)]
pub struct Intake {
    waiting: VecDeque<HandshakeMessage>,
}

impl Intake {
    /// Nothing waits.
    pub fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(HANDSHAKES_WAITING) }
    }

    /// Takes a bounded number of messages from `queue`, and keeps what is worth work. What is not is given to
    /// `dropped`, and counted by the device.
    pub fn fill(
        &mut self,
        now: Time,
        device: &mut Device,
        mut queue: impl FnMut() -> Option<HandshakeMessage>,
        mut dropped: impl FnMut(&Device, &HandshakeMessage, DropReason),
    ) {
        for _ in 0..SCREENED_PER_TURN {
            // What does not fit waits in the queue, whose bound is the workers' business.
            if self.waiting.len() == HANDSHAKES_WAITING {
                return;
            }
            let Some(message) = queue() else { return };
            match device.screen(now, message.endpoint, message.bytes(), message.proof) {
                Ok(()) => self.waiting.push_back(message),
                Err(reason) => dropped(device, &message, reason),
            }
        }
    }

    /// Whether so many messages wait that there is load.
    pub fn is_crowded(&self) -> bool {
        self.waiting.len() >= LOADED_WAITING
    }

    /// The next message.
    pub fn next(&mut self) -> Option<HandshakeMessage> {
        self.waiting.pop_front()
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
