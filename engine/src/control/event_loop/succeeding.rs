//! Control goes on where that of another process has stopped: see [`crate::control::handover`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfort_core::device::{Action, Device};
use ringfort_core::handover::Handover;
use ringfort_core::outpost::Outpost;
use ringfort_worker::clock;
use ringfort_worker::queues::Mail;

use super::Control;
use crate::control::error::DaemonError;
use crate::control::handover::rest;
use crate::control::inheritance::{Beginning, attach, steer};
use crate::panics;

/// For workers that rest to take over peers and sessions.
const PATIENCE: Duration = Duration::from_secs(4);

impl Control {
    /// Makes the device of the state, and tells the workers, which rest. What makes them send comes back. Nobody hears
    /// of it before [`serve_from_now_on`](Self::serve_from_now_on).
    ///
    /// # Errors
    /// Why this cannot go on, in words.
    pub fn take_over(&mut self, beginning: Beginning, handover: Handover) -> Result<Vec<Action>, String> {
        let deadline = Instant::now() + PATIENCE;
        let Beginning { x25519, guard, node, keeper, .. } = beginning;
        let workers = u8::try_from(self.queues.workers.len()).expect("the command line has at most 255 workers");
        let outpost = guard.map(|guard| Arc::new(guard) as Arc<dyn Outpost>);
        let now = clock::boot_time();
        let device = Device::take_over(now, workers, x25519, outpost, handover);
        self.device = device.map_err(|error| error.to_string())?;
        self.device.set_node(now, node);
        self.endpoints = keeper;
        if self.device.is_passive() {
            self.endpoints.begin_passive();
        }
        self.look_at_interface(now).map_err(|error| error.to_string())?;
        self.plane.give_inherited_sockets().map_err(|error| error.to_string())?;
        let offers = self.plane.carry_out_at_rest(&mut self.device, now);
        rest(&self.queues, 0, deadline).map_err(|unrest| unrest.to_string())?;
        Ok(offers)
    }

    /// Flows come to the workers that they came to in the other process. That had so many queues.
    pub fn resume_flows(&self, places: &[u32], queues: usize) {
        self.estate.resume_flows(places, queues);
    }

    /// Gives the workers the sockets that were offered, if there are any: they are open already, so nobody else would.
    ///
    /// # Errors
    /// The system's.
    pub fn give_inherited_sockets(&self) -> Result<(), DaemonError> {
        let given = self.plane.give_inherited_sockets();
        given.map_err(|error| DaemonError::system("give the workers their sockets", error))
    }

    /// The other process sends nothing any more: this one does. It had so many queues.
    pub fn serve_from_now_on(&mut self, offers: Vec<Action>, queues: usize) {
        attach(self.estate.queues().skip(queues));
        steer(self.estate.program(), self.interface.queue());
        if let Err(error) = self.plane.own_sockets() {
            log::warn!("some workers have no sockets of their own: {error}");
        }
        // First what waited: a worker reads its mail in order, and what it reads then is younger.
        self.plane.send_offers(offers, &mut self.device, clock::boot_time());
        self.queues.workers.iter().for_each(|inbox| inbox.push_mail(Mail::GoOn));
        self.interface.own();
        if let Some(given) = self.interface.given() {
            panics::restore_interface(given, Arc::downgrade(self.interface.queue()));
        }
    }

    /// The mark of the sockets.
    #[must_use]
    pub fn fwmark(&self) -> u32 {
        self.plane.sockets().fwmark()
    }
}
