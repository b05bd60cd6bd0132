//! Everything that a daemon is made of, made in an order in which any step may fail and leave nothing behind.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::signalfd::SignalFd;
use nix::unistd::gettid;
use ringfort_aead::{Choice, Suite};
use ringfort_core::node::Node;
use tun_uring::device::MTU_DEFAULT;
use tun_uring::{Given, Offloads, SelfTest, self_test};

use super::acquire::{self, TakenOver};
use super::capture::Captures;
use super::ciphers;
use super::cores::Cores;
use super::data_plane::DataPlane;
use super::endpoints::{self, Keeper, Loaded};
use super::error::DaemonError;
use super::event_loop::{Control, End, Sleep};
use super::file::ConfigFile;
use super::file::steward::{LastHooks, Steward, Until, run_hooks};
use super::inherited::Inherited;
use super::interface::Interface;
use super::limits::{self, LockedMemory};
use super::names::Names;
use super::preflight::Means;
use super::runner::Runner;
use super::server::{Bounds, Listener, Server, SocketPlace};
use super::signals;
use super::sockets::Sockets;
use super::sources::SourceCheck;
use super::supervisor;
use super::uapi::Role as Standing;
use super::workers::Workers;
use crate::cli::Serve;
use crate::cli::memory::Division;
use crate::guard::Guard;
use crate::metrics::{Exchange, InterfaceName, Listening, Metrics, Options, Registry};
use crate::panics;
use crate::queues::Queues;
use crate::sandbox::{self, Role};
use crate::worker::{Flows, Tuning, WorkerStats};

/// A daemon that is ready to serve: its interface is there, its workers run, its control socket takes requests.
pub struct Daemon {
    // In this order they go: first nobody can ask us any more, then the workers stop and with them the interface goes.
    server: Server,
    metrics: Option<Metrics>,
    workers: Workers,
    control: Control,
    signals: SignalFd,
    sleep: Sleep,
    /// The file of the interface of this name.
    file: Option<(String, ConfigFile)>,
    choice: Choice,
    x25519: ringfort_x25519::Choice,
    self_test: SelfTest,
    unguarded: Option<String>,
    unsteered: Option<String>,
    taken_over: Option<TakenOver>,
    unshown: Option<DaemonError>,
    loaded: Option<Loaded>,
}

impl Daemon {
    /// Makes everything, with a worker for each of the CPUs. Whatever serving takes is there when this returns.
    ///
    /// # Errors
    /// The first thing that could not be made. What was made before it is gone again.
    pub fn start(
        cli: &Serve,
        file: Option<ConfigFile>,
        means: &Means,
        inherited: Inherited,
    ) -> Result<Self, DaemonError> {
        Self::make(cli, file, means, inherited).map_err(|error| error.with_workers(means.cpus.len()))
    }

    fn make(cli: &Serve, file: Option<ConfigFile>, means: &Means, inherited: Inherited) -> Result<Self, DaemonError> {
        let signals = signals::take()?;
        let capabilities = ring_buffers::probe()?;
        let self_test = self_test(Offloads::ALL);
        let (tun, taken_over) = acquire::interface(cli, inherited.tun, means.cpus.len(), self_test.offloads, &signals)?;
        let cpus = &means.cpus[..tun.queue_count().min(means.cpus.len())];
        let count = u8::try_from(cpus.len()).expect("the command line has at most 255 workers");
        let memory = means.memory.divide(cpus.len());
        let (flows, unsteered) = match tun.flows() {
            Ok(flows) => (flows.map(Flows::new), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (given, tun_link, tun_queues) = (tun.given(), tun.link(), tun.into_queues());
        let interface = watch(&tun_queues[0], given)?;
        if given.is_none() {
            interface.refuse_link_local_address();
        }
        let choice = ciphers::choose(cli.selection(), cpus)?;
        let x25519 = ringfort_x25519::choose()?;
        let queues = Queues::new(cpus.len()).map_err(|error| DaemonError::system("make the workers' bells", error))?;
        let queues = Arc::new(queues);
        let sources = SourceCheck::new()?;
        let (guard, unguarded, stats) = guarded(cli, cpus, count);
        let (segmentation, busy_poll) = (cli.segmentation(), cli.busy_poll());
        let (node, merge) = (cli.node(), cli.merge(self_test.merge));
        let tuning = Tuning { node, capabilities, merge, segmentation, busy_poll };
        let exchange = exchange()?;
        let sockets = Sockets::new(cli.sockets(count, &memory))?.behind(guard.as_ref().map(Guard::filter));
        let plane = DataPlane::new(queues.clone(), choice.plan(), sockets);
        let source = Arc::new(source(&cli.name, &choice, &queues, &stats, (memory, node)));
        // Before the workers, so it goes after them if anything below fails, as it does in the end.
        let captures = Captures::start(queues.clone());
        let captures = captures.map_err(|error| DaemonError::system("start a thread for captures", error))?;
        let (of_control, for_metrics) = (source.clone(), exchange.clone());
        let mut control = Control::new(plane, interface, sources, of_control, for_metrics, captures, MTU_DEFAULT);
        control.prepare(x25519.x25519, guard, node, cli.is_passive());
        control.watch_cores(flows.as_ref().and_then(|flows| Cores::open(flows.balance.clone(), cpus)));
        let workers = Workers::spawn(&queues, &stats, tun_queues, flows.as_ref(), cpus, tuning)?;
        let loaded = keep_endpoints(cli, &mut control)?;
        if let Some(file) = file.as_ref().filter(|file| !file.is_gateway()) {
            control.configure(file)?;
        }
        let listener = inherited.uapi.map_or_else(|| Listener::open(&cli.name, &signals), Listener::adopt)?;
        let mut server = Server::new(listener, Bounds::default())?;
        let sleep = control.sleep(&server, &signals)?;
        let options = cli.metrics_options(file.as_ref().map(ConfigFile::addresses).unwrap_or_default());
        let (metrics, unshown) = show(&options, source, exchange, &signals)?;
        control.show_at(metrics.as_ref().map(Metrics::place));
        server.limit_clients(limits::clients_max(cpus.len(), Bounds::default().clients)?);
        if given.is_some() {
            // Nothing tells afterwards that it was not chosen, so it is not changed before all else is there.
            tun_link.replace_driver_mtu()?;
        }
        Ok(Self {
            server,
            metrics,
            workers,
            control,
            signals,
            sleep,
            file: file.map(|file| (cli.name.clone(), file)),
            choice,
            x25519,
            self_test,
            unguarded,
            unsteered,
            taken_over,
            unshown,
            loaded,
        })
    }

    /// How the cipher was chosen.
    #[must_use]
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Who computes handshakes, and why.
    #[must_use]
    pub fn x25519(&self) -> &ringfort_x25519::Choice {
        &self.x25519
    }

    /// What the test of the kernel's offloads has found.
    #[must_use]
    pub fn self_test(&self) -> &SelfTest {
        &self.self_test
    }

    /// What of the filter in front of the sockets is left out, and why, if anything is.
    #[must_use]
    pub fn unguarded(&self) -> Option<&str> {
        self.unguarded.as_deref()
    }

    /// Why flows are not spread over the workers by their hash, if they are not.
    #[must_use]
    pub fn unsteered(&self) -> Option<&str> {
        self.unsteered.as_deref()
    }

    /// Why there is no unix socket for metrics, if there is none.
    #[must_use]
    pub fn unshown(&self) -> Option<&DaemonError> {
        self.unshown.as_ref()
    }

    /// TCP addresses that metrics are served on.
    #[must_use]
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        self.metrics.as_ref().map_or(&[], Metrics::addresses)
    }

    /// What there is to know of the interface if it was there before us.
    #[must_use]
    pub fn taken_over(&self) -> Option<TakenOver> {
        self.taken_over
    }

    /// What came of reading where peers were last, if there was something to read.
    #[must_use]
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// Whether another gateway serves the peers.
    #[must_use]
    pub fn is_passive(&self) -> bool {
        self.control.role() == Standing::Passive
    }

    /// What packets and sockets may take.
    #[must_use]
    pub fn memory(&self) -> Division {
        self.control.memory()
    }

    /// Where the control socket is.
    #[must_use]
    pub fn socket_place(&self) -> &SocketPlace {
        self.server.place()
    }

    /// What the operator should know of memory that could not be locked, if any could not.
    #[must_use]
    pub fn unlocked(&self) -> Option<String> {
        let count = self.workers.unlocked;
        (count > 0).then(|| LockedMemory::of(self.workers()).note(count))
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.count()
    }

    /// The queues between control and the workers.
    #[cfg(test)]
    pub(crate) fn queues(&self) -> &Queues {
        &self.workers.queues
    }

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
        supervisor::watch(&self.workers.queues, &self.workers.stats)?;
        let status = format!("serving with {} workers", self.workers());
        if let Some(((name, file), names)) = self.file.zip(names.clone()) {
            let queues = self.workers.queues.clone();
            self.control.employ(Steward::start(name, file, queues, runner.clone(), names)?);
        }
        let result = self.control.run(self.sleep, &mut self.server, &self.signals, || {
            supervisor::ready(&status);
            ready()
        });
        supervisor::stopping();
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
}

/// Between control and metrics.
fn exchange() -> Result<Arc<Exchange>, DaemonError> {
    Exchange::new().map(Arc::new).map_err(|error| DaemonError::system("make a bell for metrics", error))
}

/// What stands in front of the sockets, what is left out of it, and what the workers count, with what is dropped there.
fn guarded(cli: &Serve, cpus: &[usize], count: u8) -> (Option<Guard>, Option<String>, Vec<Arc<WorkerStats>>) {
    let (guard, left_out) = Guard::for_workers(cli.filter, count, cli.node());
    let on = |(worker, &core)| {
        let stats = cli.stages.map_or_else(WorkerStats::default, |n| WorkerStats::with_stages(core, n));
        Arc::new(stats.guarded(guard.as_ref(), worker))
    };
    let stats = cpus.iter().enumerate().map(on).collect();
    (guard, left_out, stats)
}

/// What is shown of a daemon that begins now. The thread that makes it is the one that control runs on.
fn source(
    interface: &str,
    choice: &Choice,
    queues: &Arc<Queues>,
    workers: &[Arc<WorkerStats>],
    (memory, node): (Division, Node),
) -> Registry {
    let plan = choice.plan();
    Registry {
        interface: InterfaceName::new(interface),
        started: SystemTime::now(),
        ciphers: Suite::ALL.iter().map(|&suite| (suite, plan.main_provider(suite).name())).collect(),
        control_thread: gettid().as_raw(),
        workers: workers.to_vec(),
        queues: queues.clone(),
        memory,
        node,
    }
}

/// Serves metrics. The addresses were asked for and must work. The unix socket is there if it can be had; if not, the
/// reason comes back.
fn show(
    options: &Options,
    source: Arc<Registry>,
    exchange: Arc<Exchange>,
    signals: &SignalFd,
) -> Result<(Option<Metrics>, Option<DaemonError>), DaemonError> {
    let mut listening = Listening::on(options)?;
    let unshown = match listening.listen_locally(&source.interface.get(), signals) {
        Err(error @ DaemonError::Interrupted(_)) => return Err(error),
        result => result.err(),
    };
    if listening.is_nowhere() {
        return Ok((None, unshown));
    }
    let metrics = Metrics::start(listening, source, exchange, options);
    Ok((Some(metrics.map_err(|error| DaemonError::system("start a thread for metrics", error))?), unshown))
}

/// Reads where peers were last, and has it kept from now on, unless that is not wanted.
fn keep_endpoints(cli: &Serve, control: &mut Control) -> Result<Option<Loaded>, DaemonError> {
    let Some(path) = cli.endpoints.path(&cli.name) else { return Ok(None) };
    let (peers, loaded) = endpoints::load(&path);
    let keeper = Keeper::start(cli.endpoints.clone(), path);
    let keeper = keeper.map_err(|error| DaemonError::system("start a thread for the file of endpoints", error))?;
    control.remember(peers, keeper);
    Ok(loaded)
}

/// Watches the interface of `queue`. What was changed on a given one is put back if that fails, and by a panic.
fn watch(queue: &OwnedFd, given: Option<Given>) -> Result<Interface, DaemonError> {
    let restore = |_: &DaemonError| {
        if let Some(given) = given {
            given.restore(queue);
        }
    };
    let copy = queue.try_clone().map_err(|error| DaemonError::system("keep a queue of the interface", error));
    let copy = Arc::new(copy.inspect_err(restore)?);
    if let Some(given) = given {
        panics::restore_interface(given, Arc::downgrade(&copy));
    }
    Interface::watch(copy, given).inspect_err(restore)
}
