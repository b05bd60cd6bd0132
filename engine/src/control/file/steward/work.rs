//! The steward's own side: up and down, and what comes up meanwhile.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use network_setup::{Applied, Setup};
use ringfort_config::{Config, Endpoint};
use ringfort_core::crypto::PublicKey;
use secret_memory::scrubbed;

use super::super::difference::{Comparison, difference};
use super::super::save::{give, save};
use super::super::{ConfigFile, Running, Scope};
use super::hooks::{self, LastHooks, Until};
use super::resolver::{Found, Resolver};
use super::unresolved::Job;
use super::{HookError, Line, Located, Report, Task, Wish, network};
use crate::control::error::DaemonError;
use crate::control::runner::Runner;
use crate::control::uapi::SetRequest;

/// How long a start waits for names to be tried once. What is found later is set later.
const NAMES_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a port that is taken is waited for.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);
const PORT_INTERVAL: Duration = Duration::from_millis(20);

/// All that the thread has.
pub(super) struct Work {
    pub interface: String,
    pub file: ConfigFile,
    pub line: Line,
    pub report: Arc<Mutex<Report>>,
    pub read_at: Arc<AtomicU64>,
    /// For control, if there is no time left to ask for it.
    pub post_down: Arc<Mutex<LastHooks>>,
    pub resolver: Resolver,
    /// Endpoints that were names.
    pub located: HashMap<PublicKey, SocketAddr>,
    pub network: Option<Applied>,
    /// `SaveConfig` was on at the start. Else the sandbox lets nothing be written.
    pub may_save: bool,
    /// Hooks that bring up have run, so those that take down have something to undo.
    is_hooked: bool,
    /// Another process has brought everything up, with this mark of the sockets.
    resumed: Option<u32>,
}

/// Control has ended while something was going on: what began is taken back.
pub(super) struct ControlEnded;

impl From<ControlEnded> for DaemonError {
    fn from(ControlEnded: ControlEnded) -> Self {
        Self::Unfinished
    }
}

impl Work {
    pub fn new(
        interface: String,
        file: ConfigFile,
        line: Line,
        resolver: Resolver,
        (report, read_at, post_down): (Arc<Mutex<Report>>, Arc<AtomicU64>, Arc<Mutex<LastHooks>>),
        resumed: Option<u32>,
    ) -> Self {
        let located = HashMap::new();
        let (network, is_hooked, may_save) = (None, false, file.config().interface.save_config);
        Self {
            interface,
            file,
            line,
            report,
            read_at,
            post_down,
            resolver,
            located,
            network,
            may_save,
            is_hooked,
            resumed,
        }
    }

    pub fn run(mut self, to_do: &Receiver<Task>) {
        if self.file.is_gateway() {
            let begun = scrubbed(|| match self.resumed {
                Some(fwmark) => {
                    self.resume(fwmark);
                    Ok(())
                }
                None => self.bring_up(to_do),
            });
            match begun {
                Ok(()) => {
                    self.tell_runner(Runner::ready);
                    self.line.send(Wish::Ready);
                }
                Err(error) => {
                    let LastHooks { commands, limit } = self.take_down(false);
                    self.run_last_hook("PostDown", &commands, limit);
                    return self.line.send(Wish::Failed(Box::new(error)));
                }
            }
        } else {
            self.resolver.replace(jobs(self.file.config(), None));
        }
        // Whatever came behind names is done next: all tasks keep their order.
        let mut behind_names = None;
        while let Some(task) = behind_names.take().or_else(|| to_do.recv().ok()) {
            match task {
                Task::Reload(number) => scrubbed(|| self.reload(number)),
                Task::Restart(number) => self.restart(number),
                Task::Resolved(found) => behind_names = self.locate(found, to_do),
                Task::Tried => {}
                Task::Renamed(name) => self.rename(name),
                Task::End => {
                    let after = self.take_down(true);
                    return self.line.send(Wish::Ended(after));
                }
            }
        }
    }

    /// All is as another process has left it. Nothing is done that it has done, and what cannot be looked after is no
    /// reason to end.
    fn resume(&mut self, fwmark: u32) {
        let hooks = &self.file.config().interface.hooks;
        self.is_hooked = !hooks.pre_up.is_empty() || !hooks.post_up.is_empty();
        self.resolver.replace(jobs(self.file.config(), None));
        let mut setup = self.setup(self.file.config());
        setup.fwmark = setup.fwmark.or(Some(fwmark).filter(|&mark| mark != 0));
        match network_setup::resume(&setup) {
            Ok(network) => self.network = Some(network),
            Err(error) => log::error!("addresses and routes stay when the gateway ends: {error}"),
        }
    }

    /// In the order of `wg-quick`: `PreUp`, keys and peers, network, `PostUp`.
    fn bring_up(&mut self, to_do: &Receiver<Task>) -> Result<(), DaemonError> {
        // Of a gateway that was killed.
        network_setup::take_back(&self.interface)?;
        let hooks = self.file.config().interface.hooks.clone();
        self.is_hooked = !hooks.pre_up.is_empty();
        self.run_hook("PreUp", &hooks.pre_up)?;
        self.resolver.replace(jobs(self.file.config(), None));
        self.wait_for_names(to_do)?;
        let (config, running) = (self.file.config(), self.copy()?);
        let mut setup = self.setup(config);
        if config.interface.fwmark.is_none() {
            // PreUp may have set one.
            setup.fwmark = Some(running.fwmark).filter(|&mark| mark != 0);
        }
        setup.fwmark = network_setup::fwmark_for(&setup)?.or(setup.fwmark);
        let fwmark = Some(setup.fwmark.unwrap_or(0));
        let request =
            difference(&Comparison { config, previous: None, running: &running, scope: Scope::Gateway, fwmark });
        self.apply(request)?;
        self.send_located();
        self.network = Some(network_setup::apply(&setup)?);
        self.wait_for_port()?;
        self.is_hooked |= !hooks.post_up.is_empty();
        self.run_hook("PostUp", &hooks.post_up)?;
        Ok(())
    }

    /// Waits until each name was asked for once, but not for long.
    fn wait_for_names(&mut self, to_do: &Receiver<Task>) -> Result<(), DaemonError> {
        if jobs(self.file.config(), None).is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + NAMES_TIMEOUT;
        loop {
            match to_do.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Task::Resolved(Found { job, addr, .. })) => drop(self.located.insert(job.key, addr)),
                Ok(Task::End) => return Err(DaemonError::Unfinished),
                Ok(Task::Renamed(name)) => self.interface = name,
                // Control asks for none before all is up.
                Ok(Task::Reload(_) | Task::Restart(_)) => {}
                Ok(Task::Tried) | Err(_) => return Ok(()),
            }
        }
    }

    /// The port may still be that of a gateway that was killed: the kernel winds it up some time after its end.
    fn wait_for_port(&self) -> Result<(), DaemonError> {
        let deadline = Instant::now() + PORT_TIMEOUT;
        loop {
            match self.line.ask(Wish::Listen) {
                None => return Err(DaemonError::Unfinished),
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) if Instant::now() > deadline => return Err(error.into()),
                Some(Err(_)) => sleep(PORT_INTERVAL),
            }
        }
    }

    fn setup(&self, config: &Config) -> Setup {
        network::setup(&self.interface, config, self.located.values().copied())
    }

    /// Sets endpoints that were resolved meanwhile, all at once: there may be thousands. Returns the task behind them,
    /// if another one was taken from the queue.
    fn locate(&mut self, found: Found, to_do: &Receiver<Task>) -> Option<Task> {
        let mut batch = Vec::new();
        let mut task = Some(Task::Resolved(found));
        let behind = loop {
            match task {
                Some(Task::Resolved(found)) if self.resolver.is_current(&found) => {
                    let Found { job, addr, .. } = found;
                    self.located.insert(job.key, addr);
                    batch.push(Located { key: job.key, addr, is_news: job.is_news });
                }
                Some(Task::Resolved(_) | Task::Tried) => {}
                other => break other,
            }
            task = to_do.try_recv().ok();
        };
        self.line.send(Wish::Endpoints(batch));
        // The route to an endpoint may be narrower than was known.
        self.update_network();
        behind
    }

    /// Rules, tables and DNS are found by the interface's name after a crash.
    fn rename(&mut self, name: String) {
        self.interface = name;
        self.update_network();
    }

    /// What the network is by the file as it was applied last, with the mark in use.
    pub(super) fn setup_in_use(&self) -> Setup {
        let mut setup = self.setup(self.file.config());
        setup.fwmark = setup.fwmark.or_else(|| self.network.as_ref()?.fwmark());
        setup
    }

    fn update_network(&mut self) {
        let setup = self.setup_in_use();
        if let Some(network) = &mut self.network {
            match network.update(&setup) {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => log::info!("the network was changed: {changes}"),
                Err(error) => log::warn!("the network could not be changed: {error}"),
            }
        }
    }

    fn send_located(&self) {
        let located = self.located.iter().map(|(&key, &addr)| Located { key, addr, is_news: false });
        self.line.send(Wish::Endpoints(located.collect()));
    }

    pub(super) fn copy(&self) -> Result<Running, ControlEnded> {
        self.line.ask(Wish::Copy).ok_or(ControlEnded)
    }

    pub(super) fn apply(&self, request: SetRequest) -> Result<(), DaemonError> {
        if super::super::difference::is_empty(&request) {
            return Ok(());
        }
        let answer = self.line.ask(|answer| Wish::Apply(Box::new(request), answer));
        Ok(answer.ok_or(ControlEnded)??)
    }

    /// Everything except the interface, and the commands that follow when that is gone. What fails is logged: a
    /// gateway that must end does.
    fn take_down(&mut self, is_asked: bool) -> LastHooks {
        let interface = &self.file.config().interface;
        let (pre_down, last) = (interface.hooks.pre_down.clone(), LastHooks::of(interface));
        if is_asked || self.is_hooked {
            self.run_last_hook("PreDown", &pre_down, last.limit);
        }
        if is_asked && self.file.config().interface.save_config {
            self.save();
        }
        if let Some(network) = self.network.take()
            && let Err(error) = network.take_back()
        {
            log::error!("{error}");
        }
        if is_asked || self.is_hooked { last } else { LastHooks::default() }
    }

    /// Nothing is saved over what the operator has written since the file was read.
    fn save(&self) {
        let path = self.file.path.display();
        match self.file.read_again() {
            Ok(loaded) if loaded.config == self.file.loaded.config => {}
            Ok(_) => return log::error!("what was running is not saved: {path} has changed since it was read"),
            // Of a key in a descriptor or a pipe, for instance.
            Err(mistakes) => {
                let mistakes = mistakes.to_string().lines().collect::<Vec<_>>().join("; ");
                return log::error!("what was running is not saved, since {path} cannot be read again: {mistakes}");
            }
        }
        let runner = self.line.runner.as_deref();
        let give = |new: &Path, old: &Path| runner.map_or_else(|| give(new, old), |runner| runner.give(new, old));
        match self.copy().map(|running| save(&self.file.path, running.state(), give)) {
            Ok(Ok(_)) => log::info!("{path} says what was running (SaveConfig)"),
            Ok(Err(error)) => log::error!("what was running is not saved: {error}"),
            Err(ControlEnded) => log::error!("what was running is not saved to {path}: there is no time left to ask"),
        }
    }

    fn run_hook(&self, hook: &'static str, commands: &[String]) -> Result<(), HookError> {
        let Line { runner, ending, .. } = &self.line;
        hooks::run(runner.as_deref(), hook, commands, &self.interface, Until::Stopped(ending))
    }

    fn run_last_hook(&self, hook: &'static str, commands: &[String], limit: Option<Duration>) {
        let runner = self.line.runner.as_deref();
        if let Err(error) = hooks::run(runner, hook, commands, &self.interface, Until::Passed(limit)) {
            log::error!("{error}");
        }
    }

    fn tell_runner(&self, tell: impl FnOnce(&Runner) -> io::Result<()>) {
        if let Some(Err(error)) = self.line.runner.as_deref().map(tell) {
            log::error!("{error}");
        }
    }
}

pub(super) fn endpoints(config: &Config) -> HashMap<PublicKey, &Endpoint> {
    config.others(config.own_key()).filter_map(|peer| Some((peer.public_key, peer.endpoint.as_ref()?))).collect()
}

/// The names to resolve. Those that the file had before and that were found are left alone.
pub(super) fn jobs(config: &Config, before: Option<(&Config, &HashMap<PublicKey, SocketAddr>)>) -> Vec<Job> {
    let previous = before.map_or_else(HashMap::new, |(config, _)| endpoints(config));
    let names = config.others(config.own_key()).filter_map(|peer| match &peer.endpoint {
        Some(endpoint @ Endpoint::Name { host, port }) => Some((peer.public_key, endpoint, host, *port)),
        _ => None,
    });
    let jobs = names.map(|(key, endpoint, host, port)| {
        let is_news = before.is_some() && previous.get(&key) != Some(&endpoint);
        Job { key, host: host.clone(), port, is_news }
    });
    let is_found = |job: &Job| before.is_some_and(|(_, located)| !job.is_news && located.contains_key(&job.key));
    jobs.filter(|job| !is_found(job)).collect()
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
