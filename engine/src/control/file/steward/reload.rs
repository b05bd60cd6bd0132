//! The file is read again: what differs is made so, or all stays as it was.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use log::LevelFilter;
use network_setup::{Changes, Setup};
use nix::unistd::geteuid;
use ringfort_config::{Config, Loaded, LogLevel};

use super::super::difference::{Comparison, difference};
use super::super::{Running, Scope, kept_endpoints, summary, unix_nanos};
use super::work::{ControlEnded, Work, endpoints, jobs};
use super::{LastHooks, Report, network};
use crate::control::error::{DaemonError, Fault};
use crate::control::logging::{self, level_name};
use crate::control::uapi::SetRequest;
use crate::sandbox;

/// Why all is as it was.
struct NotApplied {
    fault: Fault,
    lines: Vec<String>,
}

impl From<DaemonError> for NotApplied {
    fn from(error: DaemonError) -> Self {
        Self { fault: error.fault(), lines: error.to_string().lines().map(str::to_owned).collect() }
    }
}

impl From<ControlEnded> for NotApplied {
    fn from(ended: ControlEnded) -> Self {
        DaemonError::from(ended).into()
    }
}

impl Work {
    /// Reads the file again, makes the difference, and reports what came of it.
    pub(super) fn reload(&mut self, number: u64) {
        // Before it is read, so a change meanwhile counts as one that came later.
        let now = unix_nanos();
        let loaded = self.file.read_again().map_err(|mistakes| NotApplied::from(DaemonError::from(mistakes)));
        let result = loaded.map_err(with_remedy).and_then(|loaded| self.become_file(loaded));
        let path = self.file.path.display();
        let (failure, lines) = match result {
            Ok(lines) => {
                self.read_at.store(now, Ordering::Relaxed);
                let said = if lines.is_empty() { "nothing has changed".to_owned() } else { lines.join("; ") };
                log::info!("{path} was read again: {said}");
                (None, lines)
            }
            Err(NotApplied { fault, lines }) => {
                log::error!("{path} is not applied, all is as it was: {}", lines.join("; "));
                (Some(fault), lines)
            }
        };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Report { number, failure, lines };
    }

    /// Has another process started, and waits until it has ended, or we do.
    pub(super) fn restart(&mut self, number: u64) {
        let Some(runner) = self.line.runner.as_deref() else { return };
        let why = match runner.restart() {
            // In the background that was the one that started it.
            Ok(status) if status.success() => return,
            Ok(status) => format!("the new process ended with {status}; its log says why"),
            Err(error) => format!("the new process was not started: {error}"),
        };
        log::error!("the gateway does not go on in a new process: {why}");
        let report = Report { number, failure: Some(Fault::System), lines: vec![why] };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// Makes the difference, and says what it was; or leaves all as it was, and says why.
    fn become_file(&mut self, loaded: Loaded) -> Result<Vec<String>, NotApplied> {
        let running = self.copy()?;
        let (config, previous) = (&loaded.config, self.file.config());
        self.teach_runner(config, previous)?;
        let scope = self.file.scope_of(config);
        let (now, earlier) = (endpoints(config), endpoints(previous));
        let mut located = self.located.clone();
        located.retain(|key, _| now.get(key).is_some_and(|endpoint| earlier.get(key) == Some(endpoint)));
        let mut setup = network::setup(&self.interface, config, located.values().copied());
        let mut fwmark = config.interface.fwmark;
        if let Some(network) = &self.network {
            let needed = network_setup::fwmark_for(&setup).map_err(DaemonError::from)?;
            setup.fwmark = setup.fwmark.or_else(|| needed.map(|mark| network.fwmark().unwrap_or(mark)));
            fwmark = Some(setup.fwmark.unwrap_or(0));
        }
        let request = difference(&Comparison { config, previous: Some(previous), running: &running, scope, fwmark });
        let mut lines = summary(&request, config, |key| running.peers.contains_key(key));
        if scope != Scope::Settings {
            lines.extend(kept_endpoints(config, previous, &running, &located));
        }
        let changes = self.change(request, &setup, &running)?;
        let previous = self.file.config();
        lines.extend(changes.filter(|changes| !changes.is_empty()).map(|changes| format!("network: {changes}")));
        lines.extend(needs_restart(previous, config, self.may_save));
        lines.extend(unreachable_metrics(previous, config));
        lines.extend(loaded.warnings.iter().map(|warning| format!("warning: {warning}")));
        let jobs = jobs(config, Some((previous, &located)));
        lines.extend(
            jobs.iter().filter(|job| job.is_news).map(|job| format!("endpoint {}: is being resolved", job.host)),
        );
        self.located = located;
        self.resolver.replace(jobs);
        lines.extend(follow_log_level(previous, config));
        *self.post_down.lock().unwrap_or_else(PoisonError::into_inner) = LastHooks::of(&loaded.config.interface);
        self.file.loaded = loaded;
        Ok(lines)
    }

    /// Makes the difference, of which `running` is what it was made to. What can be refused comes first: sockets, which
    /// are as they were after they have changed back, and the network. A peer that was removed would not get its
    /// session back, so peers come last.
    fn change(&mut self, request: SetRequest, setup: &Setup, running: &Running) -> Result<Option<Changes>, NotApplied> {
        let (sockets, rest) = sockets_first(request);
        let sockets_before = sockets_as_before(&sockets, running);
        let setup_before = self.network.is_some().then(|| self.setup_in_use());
        self.apply(sockets)?;
        let changes = match self.network.as_mut().map(|network| network.update(setup)).transpose() {
            Ok(changes) => changes,
            Err(error) => return Err(self.put_back(DaemonError::from(error), sockets_before, None)),
        };
        match self.apply(rest) {
            Ok(()) => Ok(changes),
            Err(error) => Err(self.put_back(error, sockets_before, setup_before.as_ref())),
        }
    }

    /// Something was refused: the network, if it has changed, and the sockets are made what they were.
    fn put_back(&mut self, refused: DaemonError, sockets: SetRequest, setup: Option<&Setup>) -> NotApplied {
        let mut failure = NotApplied::from(refused);
        if let (Some(network), Some(setup)) = (&mut self.network, setup)
            && let Err(error) = network.update(setup)
        {
            failure.lines.push(format!("and the network could not be put back: {error}"));
        }
        if let Err(error) = self.apply(sockets) {
            failure.lines.push(format!("and the port and the mark of the sockets could not be put back: {error}"));
        }
        failure
    }

    /// The runner believes only the file. Before anything is applied it has read the commands that this will need.
    fn teach_runner(&self, config: &Config, previous: &Config) -> Result<(), DaemonError> {
        let hooks = &config.interface.hooks;
        match &self.line.runner {
            Some(runner) if *hooks != previous.interface.hooks => {
                runner.learn(hooks).map_err(|error| DaemonError::system("have the commands of the file run", error))
            }
            _ => Ok(()),
        }
    }
}

/// The level of a file that says another one, or none any more. An option, or LOG_LEVEL, counts more.
fn follow_log_level(previous: &Config, config: &Config) -> Option<String> {
    let [before, now] = [previous, config].map(|config| config.interface.start.log_level);
    if before == now {
        return None;
    }
    let level = now.map_or(LevelFilter::Info, |LogLevel(level)| level);
    let name = level_name(level);
    Some(if logging::set_level_of_file(level) {
        format!("log level {name}")
    } else {
        format!("LogLevel {name} is not followed: an option or the environment said another at the start")
    })
}

/// What the sockets must be before the network changes, and all else. A mark comes before the rules that let it pass,
/// and goes after them: without it, our own datagrams would be led into the interface.
fn sockets_first(mut request: SetRequest) -> (SetRequest, SetRequest) {
    let mut sockets = SetRequest::default();
    sockets.device.listen_port = request.device.listen_port.take();
    sockets.device.fwmark = request.device.fwmark.take_if(|mark| *mark != 0);
    (sockets, request)
}

/// What undoes a request that is about sockets. A port that the kernel has chosen is asked for by its number then.
fn sockets_as_before(request: &SetRequest, running: &Running) -> SetRequest {
    let mut before = SetRequest::default();
    before.device.listen_port = request.device.listen_port.map(|_| running.listen_port);
    before.device.fwmark = request.device.fwmark.map(|_| running.fwmark);
    before
}

/// What is new and counts at a start only. To save, a gateway must have been started so: the sandbox leaves it the
/// places that it needs, and another user than root is refused there.
fn needs_restart(previous: &Config, config: &Config, may_save: bool) -> Option<String> {
    let mut names = config.interface.start.differences(&previous.interface.start);
    let is_new = config.interface.save_config && !previous.interface.save_config;
    if is_new && !may_save && (sandbox::fences_paths() || !geteuid().is_root()) {
        names.push("SaveConfig");
    }
    (!names.is_empty()).then(|| format!("needs a restart: {}", names.join(", ")))
}

/// Metrics were at an address of the interface, and the interface loses it.
fn unreachable_metrics(previous: &Config, config: &Config) -> Option<String> {
    let address = config.interface.start.metrics?;
    let has = |config: &Config| config.interface.addresses.iter().any(|own| own.addr == address.ip());
    (has(previous) && !has(config)).then(|| {
        format!(
            "warning: Metrics = {address} is no address of the interface any more. Nobody reaches it, and a start is \
             refused unless the machine has it otherwise"
        )
    })
}

/// What to do if the sandbox may be why a file cannot be read. It was laid after the first reading.
fn with_remedy(mut failure: NotApplied) -> NotApplied {
    let is_refusal = |line: &String| line.contains("(os error 13)") || line.contains("(os error 1)");
    if sandbox::fences_paths() && failure.lines.iter().any(is_refusal) {
        let remedy = "restart the gateway: it may read only the directories that it was started with";
        failure.lines.push(remedy.to_owned());
    }
    failure
}
