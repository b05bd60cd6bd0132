//! What takes more than one turn of control, one after the other, a bounded part in each turn: requests that are
//! applied, and what the steward wants of all peers.
//!
//! Each keeps its place. So a request sees what the one before it has done, and the steward's copy of what runs shows
//! no request half applied. What only reads does not wait here.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ringfort_core::device::Device;
use ringfort_core::time::Time;

use super::config::Application;
use super::data_plane::DataPlane;
use super::file::steward::Located;
use super::file::{Copying, Running};
use super::uapi::{Refusal, SetRequest};

/// When to look again whether workers have let go of a port.
const PORT_PAUSE: Duration = Duration::from_millis(5);
/// Endpoints that are set in one turn.
const ENDPOINTS_PER_STEP: usize = 1024;

/// What became of a request.
pub type Outcome = Result<(), Refusal>;

/// All that waits, the first of which is at work.
#[derive(Debug, Default)]
pub struct Jobs {
    queue: VecDeque<Job>,
    /// Until when the first one has nothing to do: it waits for a port.
    pause: Option<Time>,
}

#[derive(Debug)]
enum Job {
    /// A request that was not looked at yet.
    Request(Box<SetRequest>, SyncSender<Outcome>),
    /// One that was accepted.
    Application(Box<Application>, SyncSender<Outcome>),
    /// What became of one, to be told when the workers know of it.
    Outcome(Outcome, SyncSender<Outcome>),
    Copy(Box<Copying>, SyncSender<Running>),
    Endpoints(Vec<Located>),
}

impl Jobs {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether there is something to do at once.
    #[must_use]
    pub fn are_ready(&self, now: Time) -> bool {
        !self.is_empty() && self.next_deadline().is_none_or(|due| due <= now)
    }

    /// When there is something to do again, if not at once.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.pause.filter(|_| !self.is_empty())
    }

    /// Has a request applied. The outcome arrives when the workers know all of it. If nobody waits for it any more, the
    /// request is applied all the same.
    pub fn request(&mut self, request: Box<SetRequest>) -> Receiver<Outcome> {
        let (answer, answered) = sync_channel(1);
        self.request_for(request, answer);
        answered
    }

    /// The same for somebody who has his own place for the outcome.
    pub fn request_for(&mut self, request: Box<SetRequest>, answer: SyncSender<Outcome>) {
        self.queue.push_back(Job::Request(request, answer));
    }

    /// Has a copy made of what runs.
    pub fn copy_for(&mut self, answer: SyncSender<Running>) {
        self.queue.push_back(Job::Copy(Box::default(), answer));
    }

    /// Has endpoints set that were resolved.
    pub fn locate(&mut self, located: Vec<Located>) {
        self.queue.push_back(Job::Endpoints(located));
    }

    /// Forgets all of it: whoever waits for an answer hears that there is none.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Does the next part of the first one. Whoever waits for it hears of its end in [`Jobs::answer`], when what the
    /// device has decided was carried out.
    pub fn step(&mut self, device: &mut Device, plane: &mut DataPlane, now: Time) {
        if !self.are_ready(now) {
            return;
        }
        self.pause = None;
        let rest = match self.queue.pop_front() {
            None => return,
            Some(Job::Request(request, answer)) if must_wait(&request, plane, now) => {
                self.pause = Some(now + PORT_PAUSE);
                Some(Job::Request(request, answer))
            }
            Some(Job::Request(request, answer)) => match Application::begin(*request, device, plane, now) {
                Ok(application) => apply(Box::new(application), answer, device, now),
                Err(refusal) => Some(Job::Outcome(Err(refusal), answer)),
            },
            Some(Job::Application(application, answer)) => apply(application, answer, device, now),
            Some(outcome @ Job::Outcome(..)) => Some(outcome),
            Some(Job::Copy(mut copying, answer)) => match copying.step(device, plane.sockets()) {
                None => Some(Job::Copy(copying, answer)),
                // Who has asked may have ended meanwhile.
                Some(running) => {
                    let _ = answer.send(running);
                    None
                }
            },
            Some(Job::Endpoints(mut located)) => {
                let rest = located.len().saturating_sub(ENDPOINTS_PER_STEP);
                located.drain(rest..).for_each(|located| locate(located, device, now));
                (rest > 0).then_some(Job::Endpoints(located))
            }
        };
        if let Some(rest) = rest {
            self.queue.push_front(rest);
        }
        let is_applied = !matches!(self.queue.front(), Some(Job::Application(..)));
        // Routes of half a request would lead to others than those of the whole.
        device.hold_routes(!is_applied);
    }

    /// Tells whoever waits for it what became of the first request, if it is done. True: somebody was told. The places
    /// of removed peers are free by then: the next request is checked against that.
    pub fn answer(&mut self, device: &Device) -> bool {
        if device.is_releasing() {
            return false;
        }
        match self.queue.pop_front_if(|job| matches!(job, Job::Outcome(..))) {
            Some(Job::Outcome(outcome, answer)) => {
                let _ = answer.send(outcome);
                true
            }
            _ => false,
        }
    }
}

/// Whether a request asks for a port that was ours a moment ago, and that workers have not let go of.
fn must_wait(request: &SetRequest, plane: &DataPlane, now: Time) -> bool {
    request.device.listen_port.is_some_and(|port| plane.must_wait_for(port, now))
}

/// The next part of a request, and what is left of it.
fn apply(
    mut application: Box<Application>,
    answer: SyncSender<Outcome>,
    device: &mut Device,
    now: Time,
) -> Option<Job> {
    match application.step(device, now) {
        true => Some(Job::Application(application, answer)),
        false => Some(Job::Outcome(Ok(()), answer)),
    }
}

/// Sets an endpoint whose name was resolved. A peer that was heard from meanwhile is where it was heard from. One that
/// was remembered is there, unless the name has another address now.
fn locate(Located { key, addr, is_news }: Located, device: &mut Device, now: Time) {
    let Some(peer) = device.peer(&key) else { return };
    match is_news {
        true => device.set_endpoint(now, peer, addr),
        false => device.place_peer_late(now, peer, addr),
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
