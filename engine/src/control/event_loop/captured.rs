//! Captures, as the loop serves them.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Control;
use crate::capture;
use crate::control::capture::Step;
use crate::control::uapi::{Errno, Reply};

/// Between two looks at a capture that ends: what it asks for is answered within that.
const LAST_STEPS: Duration = Duration::from_millis(1);

impl Control {
    /// Gives a client's connection to a capture.
    pub(super) fn begin_capture(
        &mut self,
        request: &capture::Request,
        client: &UnixStream,
        reply: &mut Reply,
    ) -> Result<(), Errno> {
        // The one before may have ended in this turn.
        self.step_capture();
        let (interface, port) = (self.interface.name(), self.plane.sockets().port());
        self.captures.begin(request, client, interface, port, &self.device).map_err(|why| {
            log::warn!("a capture is refused: {why}");
            reply.line("json", json!({ "error": why }));
            Errno::INVALID
        })?;
        // Or just now, after that step. Its tap goes with it: nobody else would take it away.
        self.plane.set_tap(None);
        Ok(())
    }

    /// Does what the capture asks for that is under way.
    pub(super) fn step_capture(&mut self) {
        loop {
            match self.captures.step(&self.device, self.plane.sockets().port()) {
                Step::Same => return,
                Step::Tap(tap) => self.plane.set_tap(Some(tap)),
                Step::Ended => self.plane.set_tap(None),
            }
        }
    }

    /// Ends the capture that is under way, and answers what it asks for until then. To be called while there are
    /// workers: they take their taps away.
    pub fn end_capture(&mut self) {
        let Some(deadline) = self.captures.stop() else { return };
        loop {
            self.step_capture();
            if !self.captures.is_running() {
                return;
            }
            if Instant::now() >= deadline {
                log::warn!("the capture did not end in time: its last packets and its sums are missing");
                return;
            }
            thread::sleep(LAST_STEPS);
        }
    }
}
