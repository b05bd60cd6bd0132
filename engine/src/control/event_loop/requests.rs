//! What clients of the control socket ask for.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};

use ringfort_core::crypto::PublicKey;
use ringfort_worker::clock;

use super::Control;
use crate::capture;
use crate::control::file::steward::{Report, Steward};
use crate::control::gather::Subject;
use crate::control::jobs::Outcome;
use crate::control::listing::{self, Listing};
use crate::control::server::{HandOver, Handler, Progress, Unfinished};
use crate::control::uapi::{Errno, Reply, Request};
use crate::control::{answer, peers};
use crate::metrics::Overview;

impl Handler for Control {
    fn handle(&mut self, request: Request, reply: &mut Reply) -> Progress {
        if self.is_given().is_some() {
            // What is changed here would be lost, and nothing may be sent any more.
            return Progress::Done(Errno::IO);
        }
        // Whoever has just set the interface up or down, and asks us then, must get an answer that fits.
        let now = clock::boot_time();
        if let Err(error) = self.look_at_interface(now) {
            self.failure.get_or_insert(error);
        }
        self.listen(now);
        self.plane.carry_out(&mut self.device, now);
        match request {
            Request::Get => {
                listing::interface(reply, &self.device, &self.plane);
                return Progress::Unfinished(Unfinished::Listing(Listing::default()));
            }
            Request::Stats => {
                answer::stats(reply, &self.device, &self.plane, self.handshakes_waiting(), &self.source);
            }
            Request::StatsJson => {
                let Self { device, plane, turns, .. } = &*self;
                let handshakes_waiting = self.handshakes_waiting();
                let subject = Subject { device, plane, handshakes_waiting, turns, now };
                answer::json(reply, &Overview::new(&self.source, &subject.sample()));
            }
            Request::Suites => answer::suites(reply, &self.device),
            Request::Reload => answer::reload(reply, self.reload()),
            Request::Origin => answer::origin(reply, self.steward.as_ref(), self.failed_heirs()),
            Request::HeirFailed(why) => self.note_failed_heir(why),
            Request::Restart => answer::reload(reply, self.restart()),
            Request::Report => {
                answer::report(reply, &self.steward.as_ref().map_or_else(Report::default, Steward::report));
            }
            Request::File => answer::file(reply, self.steward.as_ref()),
            Request::LogLevel(level) => answer::log_level(reply, level),
            Request::Watch => match self.watchers.admit(&mut self.device, reply) {
                Ok(watching) => return self.go_on(Unfinished::Watch(Box::new(watching)), reply),
                Err(errno) => return Progress::Done(errno),
            },
            Request::Recover => self.recover(reply, now),
            Request::Role(role) => return self.change_role(role, reply, now),
            Request::Alive => return self.ask_for_signs(reply),
            Request::Peers(from) => peers::peers(reply, &self.device, &self.surroundings(), from, now),
            Request::Why(key) => {
                let key = PublicKey::new(key);
                peers::why(reply, &self.device, &self.plane, &self.surroundings(), &key, now);
            }
            // They have ways of their own.
            Request::Capture(_) | Request::HandOver(_) => return Progress::Done(Errno::PROTOCOL),
            Request::Set(request) => {
                let is_first = self.jobs.is_empty();
                let outcome = self.jobs.request(request);
                if is_first {
                    // A short one is done at once.
                    self.work(now);
                }
                return change(outcome);
            }
        }
        Progress::Done(Errno::OK)
    }

    fn go_on(&mut self, unfinished: Unfinished, reply: &mut Reply) -> Progress {
        match unfinished {
            Unfinished::Change(outcome) => change(outcome),
            Unfinished::Watch(mut watching) => {
                watching.page(reply, &mut self.device, self.interface.name(), clock::boot_time());
                Progress::Unfinished(Unfinished::Watch(watching))
            }
            Unfinished::Role(wanted) => self.settle_role(wanted, reply),
            Unfinished::Alive(asked) => self.settle_signs(asked, reply),
            Unfinished::Listing(mut listing) => match listing.page(reply, &self.device) {
                true => Progress::Unfinished(Unfinished::Listing(listing)),
                false => Progress::Done(Errno::OK),
            },
        }
    }

    fn capture(&mut self, request: &capture::Request, client: &UnixStream, reply: &mut Reply) -> Result<(), Errno> {
        self.begin_capture(request, client, reply)
    }

    fn hand_over(&mut self, step: HandOver, client: &UnixStream) -> io::Result<()> {
        self.answer_heir(step, client)
    }
}

/// What became of a change so far.
fn change(outcome: Receiver<Outcome>) -> Progress {
    match outcome.try_recv() {
        Ok(Ok(())) => Progress::Done(Errno::OK),
        Ok(Err(refusal)) => {
            log::warn!("a request on the control socket is refused: {refusal}");
            Progress::Done(refusal.errno())
        }
        Err(TryRecvError::Empty) => Progress::Unfinished(Unfinished::Change(outcome)),
        // It was forgotten, which is so only at the end.
        Err(TryRecvError::Disconnected) => Progress::Done(Errno::IO),
    }
}
