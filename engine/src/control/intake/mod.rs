//! Handshake messages on their way from the workers to the device, and how many of them are too many.
//!
//! ```text
//!   workers ─► queue ─► worth the work? ─► those that wait ─► one at a time: Device::handle_datagram
//!                       (Device::screen)   their number is the load
//! ```
//!
//! A message is worth work if it knows our public key, and, if it answers something, what it answers: that costs
//! microseconds to find out. Only those count as load. Otherwise anybody could make us demand cookies of honest peers,
//! whose first handshake then takes five seconds longer, by sending some hundred datagrams of nonsense.

use std::collections::VecDeque;
use std::time::Duration;

use ringfort_core::device::Device;
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;
use ringfort_path::HandshakeMessage;

use crate::queues::HANDSHAKES_WAITING;

/// Messages looked at in one turn: less than a millisecond.
const SCREENED_PER_TURN: usize = 512;
/// With so many messages waiting we are under load, and for some time after (`MAX_QUEUED_INCOMING_HANDSHAKES / 8` and
/// one second in the kernel's `receive.c`).
const LOADED_WAITING: usize = HANDSHAKES_WAITING / 8;
const LOADED_FOR: Duration = Duration::from_secs(1);

const _: () = assert!(SCREENED_PER_TURN > LOADED_WAITING, "a turn can see that there is load");

/// The messages that wait, and the load that they are.
#[derive(Debug)]
pub struct Intake {
    waiting: VecDeque<HandshakeMessage>,
    loaded_until: Time,
}

impl Intake {
    /// Nothing waits.
    pub fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(HANDSHAKES_WAITING), loaded_until: Time::ZERO }
    }

    /// Takes a bounded number of messages from `queue`, and keeps what is worth work. What is not is given to
    /// `dropped`, and counted by the device.
    pub fn fill(
        &mut self,
        now: Time,
        device: &mut Device,
        mut queue: impl FnMut() -> Option<HandshakeMessage>,
        mut dropped: impl FnMut(&HandshakeMessage, DropReason),
    ) {
        for _ in 0..SCREENED_PER_TURN {
            // What does not fit waits in the queue, whose bound is the workers' business.
            if self.waiting.len() == HANDSHAKES_WAITING {
                return;
            }
            let Some(message) = queue() else { return };
            match device.screen(now, message.endpoint, message.bytes()) {
                Ok(()) => self.waiting.push_back(message),
                Err(reason) => dropped(&message, reason),
            }
        }
    }

    /// The next message, and whether we are under load as it is dealt with.
    pub fn next(&mut self, now: Time) -> Option<(HandshakeMessage, bool)> {
        if self.waiting.len() >= LOADED_WAITING {
            self.loaded_until = now + LOADED_FOR;
        }
        let message = self.waiting.pop_front()?;
        Some((message, now < self.loaded_until))
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
