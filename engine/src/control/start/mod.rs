//! Everything that a daemon is made of, made in an order in which any step may fail and leave nothing behind.

mod listen;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::signalfd::SignalFd;
use nix::unistd::gettid;
use ring_buffers::Capabilities;
use ringfort_aead::{Choice, Suite};
use ringfort_core::device::Remembered;
use ringfort_core::node::Node;
use ringfort_worker::queues::Queues;
use ringfort_worker::{Tuning, WorkerStats};
use tun_uring::device::MTU_DEFAULT;
use tun_uring::{Offloads, SelfTest, self_test};

use crate::cli::Serve;
use crate::cli::memory::Division;
use crate::control::acquire::TakenOver;
use crate::control::capture::Captures;
use crate::control::ciphers;
use crate::control::cores::Cores;
use crate::control::data_plane::DataPlane;
use crate::control::endpoints::{self, Keeper, Loaded};
use crate::control::error::DaemonError;
use crate::control::event_loop::{Control, Sleep};
use crate::control::file::ConfigFile;
use crate::control::ground::Ground;
use crate::control::handover::Offer;
use crate::control::inheritance::{self, Beginning, Inheritance};
use crate::control::inherited::Inherited;
use crate::control::limits::{self, LockedMemory};
use crate::control::preflight::Means;
use crate::control::server::{Bounds, Server, SocketPlace};
use crate::control::signals;
use crate::control::sources::SourceCheck;
use crate::control::uapi::Role as Standing;
use crate::control::workers::Workers;
use crate::guard::Guard;
use crate::metrics::{Exchange, InterfaceName, Metrics, Registry};
use listen::{listener, show};

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
    /// Another process serves, and hands over.
    inheritance: Option<Inheritance>,
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
        let mut offer = cli.take_over.then(|| Offer::ask(&cli.name)).transpose()?;
        let ground = Ground::of(cli, inherited.tun, offer.as_mut(), means, self_test.offloads, &signals)?;
        let Ground { interface, given, link, tun_queues, flows, unsteered, program, taken_over, mut possessions } =
            ground;
        let cpus = &inheritance::cpus_for(tun_queues.len(), &means.cpus);
        let count = u8::try_from(cpus.len()).expect("the command line has at most 255 workers");
        let memory = means.memory.divide(cpus.len());
        let choice = ciphers::choose(cli.selection(), cpus)?;
        let x25519 = ringfort_x25519::choose()?;
        let queues = Queues::new(cpus.len()).map_err(|error| DaemonError::system("make the workers' bells", error))?;
        let queues = Arc::new(queues);
        let sources = SourceCheck::new()?;
        let (guard, unguarded, stats) = guarded(cli, cpus, count);
        let node = cli.node();
        let tuning = tuning(cli, capabilities, &self_test);
        let exchange = exchange()?;
        let sockets = inheritance::sockets(offer.as_mut(), cli.sockets(count, &memory), file.as_ref())?;
        let sockets = sockets.behind(guard.as_ref().map(Guard::filter));
        let plane = DataPlane::new(queues.clone(), choice.plan(), sockets);
        let source = Arc::new(source(&cli.name, &choice, &queues, &stats, (memory, node)));
        // Before the workers, so it goes after them if anything below fails, as it does in the end.
        let captures = Captures::start(queues.clone());
        let captures = captures.map_err(|error| DaemonError::system("start a thread for captures", error))?;
        let (of_control, for_metrics) = (source.clone(), exchange.clone());
        let mut control = Control::new(plane, interface, sources, of_control, for_metrics, captures, MTU_DEFAULT);
        control.watch_cores(flows.as_ref().and_then(|flows| Cores::open(flows.balance.clone(), cpus)));
        let (keeper, peers, loaded) = keep_endpoints(cli)?;
        let is_passive = cli.is_passive();
        let beginning = Beginning { x25519: x25519.x25519, guard, node, is_passive, peers, keeper };
        let mut beginning = Some(beginning);
        if offer.is_none() {
            control.begin(beginning.take().expect("made just now"), file.as_ref())?;
        }
        let workers = Workers::spawn(&queues, &stats, tun_queues, flows.as_ref(), cpus, tuning, offer.is_some())?;
        let mut server = Server::new(listener(cli, inherited.uapi, offer.as_mut(), &signals)?, Bounds::default())?;
        let sleep = control.sleep(&server, &signals)?;
        let options = cli.metrics_options(file.as_ref().map(ConfigFile::addresses).unwrap_or_default());
        let (metrics, unshown) = show(&options, source, exchange, offer.as_mut(), &mut possessions, &signals)?;
        control.show_at(metrics.as_ref().map(Metrics::place));
        possessions.control = Some(server.copy_of_listener()?);
        control.keep(possessions, (flows.map(|flows| flows.table), program), &signals)?;
        server.limit_clients(limits::clients_max(cpus.len(), Bounds::default().clients)?);
        if given.is_some() && offer.is_none() {
            // Nothing tells afterwards that it was not chosen, so it is not changed before all else is there.
            link.replace_driver_mtu()?;
        }
        let inheritance = offer.zip(beginning).map(|(offer, beginning)| Inheritance::new(offer, beginning));
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
            inheritance,
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
        Arc::new(match guard.clone() {
            Some(guard) => stats.with_outside(move |reason| guard.dropped(worker, reason)),
            None => stats,
        })
    };
    let stats = cpus.iter().enumerate().map(on).collect();
    (guard, left_out, stats)
}

/// How the workers go about their work.
fn tuning(cli: &Serve, capabilities: Capabilities, self_test: &SelfTest) -> Tuning {
    let (segmentation, busy_poll) = (cli.segmentation(), cli.busy_poll());
    Tuning { node: cli.node(), capabilities, merge: cli.merge(self_test.merge), segmentation, busy_poll }
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

/// Reads where peers were last, and has it kept from now on, unless that is not wanted.
fn keep_endpoints(cli: &Serve) -> Result<(Keeper, Vec<Remembered>, Option<Loaded>), DaemonError> {
    let Some(path) = cli.endpoints.path(&cli.name) else { return Ok((Keeper::none(), Vec::new(), None)) };
    let (peers, loaded) = endpoints::load(&path, 0);
    let keeper = Keeper::start(cli.endpoints.clone(), path, loaded.as_ref());
    let keeper = keeper.map_err(|error| DaemonError::system("start a thread for the file of endpoints", error))?;
    Ok((keeper, peers, loaded))
}
