//! The control loop: one thread that sleeps until something concerns it.
//!
//! ```text
//!   signals ──────┐
//!   workers' bell ┤                ┌─► Device ──► DataPlane ──► mail to the workers, handshakes to the network
//!   netlink ──────┼─► epoll ──► turn
//!   alarm ────────┤                └─► Server ◄──► clients
//!   control socket┘
//! ```
//!
//! Nothing in a turn waits, and each part of it is bounded, so neither a flood of handshakes nor a large
//! configuration keeps the others out. There is no tick: a daemon without traffic sleeps.

mod captured;
mod from_file;
mod giving;
mod messages;
mod name;
mod requests;
mod role;
mod sleep;
mod succeeding;

use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use nix::sys::epoll::EpollTimeout;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use ringfort_core::device::{Device, Durations};
use ringfort_core::time::{Now, Time};
use ringfort_path::Order;
use ringfort_worker::clock;
use ringfort_worker::failure::WorkerError;
use ringfort_worker::queues::Queues;
use route_netlink::LinkState;
use secret_memory::scrubbed;

use super::capture::Captures;
use super::cores::Cores;
use super::data_plane::DataPlane;
use super::endpoints::{Keeper, Pending};
use super::error::DaemonError;
use super::file::steward::{LastHooks, Steward};
use super::gather::{Gathering, Subject};
use super::intake::Intake;
use super::interface::{Change, Interface};
use super::jobs::Jobs;
use super::keyless::Keyless;
use super::server::Server;
use super::signals::received;
use super::sources::SourceCheck;
use super::unreachable::Unreachables;
use super::watch::Watchers;
use crate::cli::memory::Division;
use crate::metrics::{Exchange, MetricsPlace, Registry};
use giving::Estate;
pub use sleep::Sleep;
use sleep::{Wakeup, wait};

/// Who asked the daemon to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever sent this signal.
    Signal(Signal),
    /// Whoever removed its control socket.
    SocketRemoved,
    /// Nobody: it goes on in the process of this number.
    HandedOver(u32),
}

/// Everything that the control thread decides with.
pub struct Control {
    device: Device,
    plane: DataPlane,
    interface: Interface,
    sources: SourceCheck,
    queues: Arc<Queues>,
    source: Arc<Registry>,
    rng: UnwrapErr<SysRng>,
    mtu: u32,
    /// What was found out while a request was served, and ends the daemon.
    failure: Option<DaemonError>,
    /// The interface is up. The device is only once it has sockets, too.
    is_link_up: bool,
    intake: Intake,
    keyless: Keyless,
    gathering: Gathering,
    jobs: Jobs,
    captures: Captures,
    watchers: Watchers,
    /// How long turns took.
    turns: Durations,
    endpoints: Keeper,
    /// The file of endpoints is read before the gateway serves.
    promotion: Option<Pending>,
    /// How many signs of life each worker was asked for.
    signs_asked: u64,
    metrics_place: Option<MetricsPlace>,
    unreachables: Unreachables,
    /// Who reads the configuration file, if there is one.
    steward: Option<Steward>,
    /// Everything is set up, and a reload may begin.
    is_ready: bool,
    /// The steward takes everything down, and then this is why we end.
    ending: Option<End>,
    /// What follows when the interface is gone.
    last_hooks: LastHooks,
    /// `None`: there is one worker, or nobody knows how busy its core is.
    cores: Option<Cores>,
    /// What a process that comes after this one gets.
    estate: Estate,
}

/// What a turn comes to.
enum Turned {
    /// The next turn follows, at once or when something happens.
    On {
        at_once: bool,
    },
    End(End),
}

impl Control {
    /// A device without keys and peers, for workers that use `mtu`.
    pub fn new(
        plane: DataPlane,
        interface: Interface,
        sources: SourceCheck,
        source: Arc<Registry>,
        exchange: Arc<Exchange>,
        captures: Captures,
        mtu: u32,
    ) -> Self {
        let workers = u8::try_from(source.workers.len()).expect("the command line has at most 255 workers");
        let (device, rng) = (Device::new(workers), UnwrapErr(SysRng));
        // Those of another process are open as long as the interface has not gone down since.
        let is_link_up = plane.sockets().are_open();
        Self {
            device,
            plane,
            interface,
            sources,
            queues: source.queues.clone(),
            rng,
            mtu,
            failure: None,
            is_link_up,
            intake: Intake::new(),
            keyless: Keyless::default(),
            gathering: Gathering::new(exchange),
            jobs: Jobs::default(),
            captures,
            watchers: Watchers::default(),
            source,
            turns: Durations::default(),
            endpoints: Keeper::none(),
            promotion: None,
            signs_asked: 0,
            metrics_place: None,
            unreachables: Unreachables::new(),
            steward: None,
            is_ready: true,
            ending: None,
            last_hooks: LastHooks::default(),
            cores: None,
            estate: Estate::default(),
        }
    }

    /// Tells the workers how busy their cores are when they ask.
    pub fn watch_cores(&mut self, cores: Option<Cores>) {
        self.cores = cores;
    }

    /// What packets and sockets may take.
    #[must_use]
    pub fn memory(&self) -> Division {
        self.source.memory
    }

    /// Runs until the end. `sleep` is of [`Control::sleep`] with the same server and signals.
    ///
    /// # Errors
    /// What makes going on impossible: a worker that failed, or the system.
    pub fn run(
        &mut self,
        Sleep { epoll, mut alarm }: Sleep,
        server: &mut Server,
        signals: &SignalFd,
        mut when_ready: impl FnMut() -> Result<(), DaemonError>,
    ) -> Result<End, DaemonError> {
        let mut more = false;
        self.watchers.limit(server.places());
        if self.is_ready {
            when_ready()?;
        }
        loop {
            alarm.set(self.next_deadline(server))?;
            let ready = wait(&epoll, if more { EpollTimeout::ZERO } else { EpollTimeout::NONE })?;
            let now = clock::now();
            let mut look = self.interface.next_deadline().is_some_and(|due| due <= now.mono);
            for source in ready {
                match source {
                    Wakeup::Workers => self.queues.control.heard(),
                    Wakeup::Alarm => alarm.rang(),
                    Wakeup::Routes => self.sources.note_changes(now.mono)?,
                    Wakeup::Interface => look = true,
                    Wakeup::Signals => match received(signals) {
                        None => {}
                        Some(signal) => {
                            if let Some(end) = self.obey(signal) {
                                return Ok(end);
                            }
                        }
                    },
                    // Served in every turn, since it also has deadlines.
                    Wakeup::Server => {}
                }
            }
            if look {
                self.look_at_interface(now.mono)?;
            }
            self.check_workers()?;
            let was_ready = self.is_ready;
            // All that works with keys. What it leaves on the stack is overwritten before we sleep.
            match scrubbed(|| self.serve(now, server))? {
                Turned::End(end) => return Ok(end),
                Turned::On { at_once } => more = at_once,
            }
            if self.is_ready && !was_ready {
                when_ready()?;
            }
            self.follow_name(server);
            self.turns.record(clock::boot_time().since(now.mono));
            self.failure.take().map_or(Ok(()), Err)?;
        }
    }

    /// What the steward wants, what is due, and what the clients of the control socket ask for.
    fn serve(&mut self, now: Now, server: &mut Server) -> Result<Turned, DaemonError> {
        if let Some(end) = self.take_wishes(now.mono)? {
            return Ok(Turned::End(end));
        }
        let more = self.turn(now);
        if !server.serve(now.mono, self) {
            return Ok(Turned::End(End::SocketRemoved));
        }
        if let Some(end) = self.is_given() {
            return Ok(Turned::End(end));
        }
        self.watchers.step(&mut self.device);
        Ok(Turned::On { at_once: more || server.has_more() || self.jobs.are_ready(now.mono) })
    }

    /// Decides what is due at this time, and has it carried out. True: there is more to do at once.
    fn turn(&mut self, now: Now) -> bool {
        self.listen(now.mono);
        let more = self.take_messages(now);
        self.sources.step(now.mono, &mut self.device, self.plane.sockets().way());
        self.unreachables.step(now.mono, &mut self.device);
        let promotes = self.step_promotion(now.mono);
        self.device.handle_timeout(now, &mut self.rng);
        self.plane.carry_out(&mut self.device, now.mono);
        self.work(now.mono);
        self.step_capture();
        if let Some(cores) = &mut self.cores {
            cores.step(now.mono);
        }
        let handshakes_waiting = self.handshakes_waiting();
        let Self { device, plane, turns, gathering, .. } = self;
        let gathers = gathering.step(&Subject { device, plane, handshakes_waiting, turns, now: now.mono });
        self.endpoints.step(now.mono, &mut self.device) || gathers || promotes || more
    }

    fn handshakes_waiting(&self) -> usize {
        self.queues.control.handshakes_waiting() + self.intake.waiting()
    }

    fn next_deadline(&self, server: &Server) -> Option<Time> {
        let own = [self.device.poll_timeout(), self.plane.next_deadline(), self.sources.next_deadline()];
        let own = own.into_iter().chain([self.interface.next_deadline(), self.endpoints.next_deadline()]);
        let own = own.chain([self.jobs.next_deadline(), self.cores.as_ref().and_then(Cores::next_deadline)]);
        let own = own.chain([self.promotion.as_ref().and_then(Pending::next_deadline)]);
        own.chain([server.next_deadline()]).flatten().min()
    }

    fn check_workers(&self) -> Result<(), DaemonError> {
        match self.queues.control.next_failure() {
            None => Ok(()),
            // A worker may find its queue dead before the kernel's message reaches us.
            Some(failure) if matches!(failure.error, WorkerError::DeviceGone) || self.interface.is_deleted() => {
                Err(self.interface_deleted())
            }
            Some(failure) => Err(failure.into()),
        }
    }

    /// The operator, or who manages the network, took the interface away without asking us to end: unlike a signal that
    /// is a failure, so a service manager may start us again.
    fn interface_deleted(&self) -> DaemonError {
        DaemonError::InterfaceDeleted(self.interface.name().to_owned())
    }

    fn look_at_interface(&mut self, now: Time) -> Result<(), DaemonError> {
        match self.interface.change(now)? {
            Change::None => {}
            Change::State(state) => self.set_link(state, now),
            Change::OutOfSight => self.set_link(LinkState { up: true, mtu: None }, now),
            Change::Deleted => return Err(self.interface_deleted()),
        }
        Ok(())
    }

    fn set_link(&mut self, state: LinkState, now: Time) {
        if let Some(mtu) = state.mtu.filter(|&mtu| mtu != self.mtu) {
            log::info!("the interface's MTU is {mtu}");
            self.mtu = mtu;
            self.plane.broadcast(|| Order::Mtu(mtu));
        }
        if state.up == self.is_link_up {
            return;
        }
        self.is_link_up = state.up;
        log::info!("the interface is {}", if state.up { "up" } else { "down" });
        if state.up {
            self.plane.sockets_mut().want(now);
        } else {
            self.device.link_down(now);
            self.plane.close();
        }
    }

    /// Whoever cannot listen is as good as down: no handshake is begun that nobody could answer.
    fn listen(&mut self, now: Time) {
        if self.plane.listen(now) {
            self.device.link_up(now);
        }
    }
}
