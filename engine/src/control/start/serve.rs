//! A daemon serves, once another process has stopped if there is one, and ends.

use std::io;
use std::sync::Arc;

use secret_memory::scrubbed;

use super::Daemon;
use crate::control::error::DaemonError;
use crate::control::event_loop::End;
use crate::control::file::steward::{LastHooks, Steward, Until, run_hooks};
use crate::control::inheritance::Inheritance;
use crate::control::names::Names;
use crate::control::runner::Runner;
use crate::control::supervisor;
use crate::fault_points::fault_point;
use crate::metrics::Metrics;
use crate::panics;
use crate::sandbox::{self, Role};

impl Daemon {
    /// Serves until the end, and cleans up. `ready` is called when everything that the file asks for is there. The file
    /// of a gateway needs a runner, and any file somebody who looks names up.
    ///
    /// # Errors
    /// What made going on impossible.
    pub fn run(
        mut self,
        runner: Option<Runner>,
        names: Option<Names>,
        mut ready: impl FnMut() -> Result<(), DaemonError>,
    ) -> Result<End, DaemonError> {
        let (runner, names) = (runner.map(Arc::new), names.map(Arc::new));
        if let Some(runner) = &runner {
            let runner = Arc::downgrade(runner);
            let gone = || io::Error::from(io::ErrorKind::NotConnected);
            network_setup::delegate(move |invocation| runner.upgrade().ok_or_else(gone)?.program(invocation));
        }
        // Whatever starts from here on is inside as well.
        sandbox::enter(Role::Control);
        let status = format!("serving with {} workers", self.workers());
        let resumed = self.inheritance.take().map(|inheritance| self.succeed(inheritance)).transpose()?.flatten();
        // An heir is the service's main process only now, and has turned at all.
        supervisor::watch(&self.workers.queues, &self.workers.stats)?;
        if let Some(((name, file), names)) = self.file.zip(names.clone()) {
            let queues = self.workers.queues.clone();
            self.control.employ(Steward::start(name, file, queues, runner.clone(), names, resumed)?);
        }
        let result = self.control.run(self.sleep, &mut self.server, &self.signals, || {
            supervisor::ready(&status);
            ready()
        });
        if let Ok(End::HandedOver(_)) = result {
            self.control.leave();
            self.server.leave();
            if let Some(metrics) = self.metrics {
                metrics.leave();
            }
            self.control.end_capture();
            return result;
        }
        supervisor::stopping();
        self.control.end_capture();
        self.control.finish();
        // Nobody serves the socket any more: a command of the operator that asks there is refused, and does not wait.
        drop(self.server);
        let LastHooks { commands, limit } = self.control.dismiss();
        // It may have been renamed.
        let name = self.control.interface_name().to_owned();
        // The interface goes before the commands that follow it.
        drop((self.metrics, self.workers, self.control));
        if let Err(error) = run_hooks(runner.as_deref(), "PostDown", &commands, &name, Until::Passed(limit)) {
            log::error!("{error}");
        }
        runner.as_deref().map(Runner::end);
        names.as_deref().map(Names::end);
        result
    }

    /// Goes on where another process stops. The mark of its sockets, if it has given its state.
    fn succeed(&mut self, inheritance: Inheritance) -> Result<Option<u32>, DaemonError> {
        let Inheritance { mut succession, beginning, queues } = inheritance;
        let file = self.file.as_ref().map(|(_, file)| file);
        let (offers, resumed) = match scrubbed(|| succession.take_state())? {
            Some((handover, places)) => {
                self.control.resume_flows(&places, queues);
                let offers = self.control.take_over(beginning, handover);
                (offers.map_err(|why| succession.declined(&why))?, Some(self.control.fwmark()))
            }
            None if self.server.process() != succession.process() => {
                return Err(succession.refused("another process goes on in the place of the one that was asked"));
            }
            None => {
                log::warn!("the process that served has ended, and this one begins anew");
                self.control.give_inherited_sockets()?;
                self.control.begin(beginning, file)?;
                (Vec::new(), None)
            }
        };
        if resumed.is_some() {
            succession.wait_for_go()?;
        }
        self.control.serve_from_now_on(offers, queues);
        fault_point("new-serves");
        self.server.own();
        panics::remove_socket(self.server.place().clone());
        self.metrics.iter_mut().for_each(Metrics::begin);
        succession.say_running();
        Ok(resumed)
    }

    /// Whether another process serves so far.
    #[must_use]
    pub fn is_heir(&self) -> bool {
        self.inheritance.is_some()
    }
}
