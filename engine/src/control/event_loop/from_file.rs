//! What follows from the configuration file, and from the signals: control's side of the steward.

use nix::sys::signal::Signal;
use ringfort_core::time::Time;
use ringfort_worker::clock;

use super::{Control, End};
use crate::control::config::Application;
use crate::control::error::DaemonError;
use crate::control::file::difference::{Comparison, difference};
use crate::control::file::steward::{LastHooks, Steward, Wish};
use crate::control::file::{ConfigFile, Running};
use crate::control::logging;
use crate::control::peers::Surroundings;
use crate::control::secrecy;

impl Control {
    /// Sets what the file of a plain daemon says, before anybody else has set anything: a `wg setconf` that follows
    /// must find it there, and not be overwritten by it.
    ///
    /// # Errors
    /// [`DaemonError::Refused`].
    pub fn configure(&mut self, file: &ConfigFile) -> Result<(), DaemonError> {
        let (config, running) = (file.config(), Running::default());
        let (scope, fwmark) = (file.scope_of(config), config.interface.fwmark);
        let request = difference(&Comparison { config, previous: None, running: &running, scope, fwmark });
        let now = clock::boot_time();
        let application = Application::begin(request, &mut self.device, &mut self.plane, now);
        let application = application?;
        application.finish(&mut self.device, &mut self.plane, now);
        Ok(())
    }

    /// Has a steward from now on, which begins to work.
    pub fn employ(&mut self, steward: Steward) {
        self.is_ready = !steward.is_gateway();
        self.steward = Some(steward);
    }

    /// Everything that the steward has set up is taken down, if that was not done. Returns the commands that follow
    /// when the interface is gone.
    pub fn dismiss(&mut self) -> LastHooks {
        // It may wait for one of these.
        self.jobs.clear();
        match self.steward.take() {
            Some(steward) => steward.finish(),
            None => std::mem::take(&mut self.last_hooks),
        }
    }

    /// Why to end, if this signal says so.
    pub(super) fn obey(&mut self, signal: Signal) -> Option<End> {
        match signal {
            Signal::SIGUSR1 => logging::reopen(),
            Signal::SIGUSR2 => log::info!("SIGUSR2 means nothing here"),
            Signal::SIGHUP if self.steward.is_none() => log::info!("SIGHUP: there is no configuration to read again"),
            Signal::SIGHUP => _ = self.reload(),
            _ => match &self.steward {
                // The second one waits for what is going on, but not for long.
                Some(steward) if steward.is_gateway() && self.ending.is_none() => {
                    log::info!("taking everything down on {signal}");
                    steward.end();
                    self.ending = Some(End::Signal(signal));
                }
                _ => return Some(End::Signal(signal)),
            },
        }
        None
    }

    /// Has the file read again, at once or when everything is set up. `None` if there is none, or the gateway ends.
    pub(super) fn reload(&mut self) -> Option<u64> {
        if self.ending.is_some() {
            log::info!("the configuration is not read again: the gateway ends");
            return None;
        }
        let steward = self.steward.as_mut()?;
        if self.is_ready {
            return Some(steward.reload());
        }
        log::info!("the configuration is read again once everything is set up");
        Some(steward.reload_later())
    }

    /// Has another process started that is to go on in our place. `None` if nobody can, or the gateway ends.
    pub(super) fn restart(&mut self) -> Option<u64> {
        let can = self.ending.is_none() && self.is_ready;
        self.steward.as_mut().filter(|steward| can && steward.is_gateway()).map(Steward::restart)
    }

    /// Does what the steward wants. It waits for each answer, so there is one order at a time.
    pub(super) fn take_wishes(&mut self, now: Time) -> Result<Option<End>, DaemonError> {
        while let Some(wish) = self.steward.as_ref().and_then(Steward::next_wish) {
            match wish {
                Wish::Copy(answer) => self.jobs.copy_for(answer),
                Wish::Apply(request, answer) => self.jobs.request_for(request, answer),
                Wish::Listen(answer) => {
                    self.look_at_interface(now)?;
                    self.listen(now);
                    // Who has asked may have ended meanwhile.
                    let _ = answer.send(self.plane.sockets().failure().map_or(Ok(()), Err));
                }
                Wish::Endpoints(located) => {
                    let is_first = self.jobs.is_empty();
                    self.jobs.locate(located);
                    if is_first {
                        // A few are set before anybody hears that all is ready.
                        self.work(now);
                    }
                }
                Wish::Ready => {
                    self.is_ready = true;
                    self.steward.as_mut().map(Steward::reload_now_if_asked);
                }
                Wish::Failed(error) => {
                    self.steward = None;
                    return Err(*error);
                }
                Wish::Ended(last) => {
                    self.last_hooks = last;
                    self.steward = None;
                    return Ok(self.ending.take());
                }
            }
        }
        Ok(None)
    }

    /// What answers about peers need beside the device.
    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            interface: self.interface.name(),
            mtu: self.mtu,
            is_deaf: self.unreachables.is_deaf(),
            unresolved: self.steward.as_ref().map(Steward::unresolved),
        }
    }

    /// Does the next part of what takes more than a turn, and has it carried out.
    pub(super) fn work(&mut self, now: Time) {
        if self.jobs.is_empty() {
            return;
        }
        self.jobs.step(&mut self.device, &mut self.plane, now);
        self.listen(now);
        self.plane.carry_out(&mut self.device, now);
        if self.jobs.answer(&self.device) {
            self.queues.nesting.forget();
            secrecy::note_unlocked();
        }
    }
}
