//! Why the daemon did not start, or why it ended: one sentence with the remedy, and whose fault it is.

use std::io;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use ring_buffers::RingError;
use ringfort_aead::SelectionError;
use ringfort_config::Mistakes;
use ringfort_worker::StartError;
use ringfort_worker::failure::WorkerFailure;
use tun_uring::TunError;
use udp_uring::BindError;

use super::file::NoTarget;
use super::file::save::SaveError;
use super::file::steward::HookError;
use super::limits::{LockedMemory, TooFewDescriptors};
use super::preflight;
use super::uapi::Refusal;
use super::user::UserError;
use crate::cli::{CpuError, TooLittleMemory};
use crate::metrics::MetricsError;
pub use ringfort_worker::fault::Fault;

/// A failure that ends the process.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// `CAP_NET_ADMIN` is not among the effective capabilities.
    #[error("no permission to create network interfaces: run as root or with CAP_NET_ADMIN")]
    NoCapability,
    /// A CPU that cannot be had.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// Less memory may be taken than what was asked for takes.
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    /// Another daemon answers on the interface's socket.
    #[error("interface {0} is already served by another daemon: stop that one first, or choose another name")]
    Served(String),
    /// No daemon answers, for `--stats` and what else is asked of one.
    #[error("no daemon serves interface {name} ({source}): start it with: ringfort up {name}")]
    NotServed {
        /// The interface.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// Its socket belongs to somebody else.
    #[error("whether a daemon serves interface {name} cannot be asked ({source}): do it as root, as by sudo")]
    MayNotAsk {
        /// The interface.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// A daemon is there, and says nothing.
    #[error(
        "the daemon that serves interface {name} does not answer ({source}): it is busy or stopped; its log may say \
         why, and `ringfort down {name}` ends it"
    )]
    NoAnswer {
        /// The interface.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// A daemon answers, but not with our statistics.
    #[error("the daemon that serves interface {0} has no statistics: it is not ringfort")]
    NoStatistics(String),
    /// A daemon answers, but shows no metrics.
    #[error(
        "the daemon that serves interface {0} shows nothing at /run/ringfort/{0}.metrics.sock: it is not ringfort, \
         another version of it, or its log says why it could not make that socket"
    )]
    NoOverview(String),
    /// A daemon answers, but knows nothing of cipher suites.
    #[error("the daemon that serves interface {0} has no cipher suites: it is not ringfort, or an older one")]
    NoSuites(String),
    /// A daemon answers, but cannot say how its peers do.
    #[error("the daemon that serves interface {0} cannot say how its peers do: it is not ringfort, or an older one")]
    NoPeers(String),
    /// A capture was refused, or there is no place for it.
    #[error("{0}")]
    Capture(String),
    /// A daemon knows no such request, or carries it out for nobody else at the moment.
    #[error("{0}")]
    Declined(String),
    /// No peer has that name or key, or more than one.
    #[error("{0}")]
    WhichPeer(String),
    /// A daemon answers, and refuses a cipher suite.
    #[error(
        "the daemon that serves interface {0} refuses the cipher suite: it is not ringfort, or suites are set for as \
         many peers as it takes"
    )]
    SuiteRefused(String),
    /// An address for metrics cannot be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The configuration file is wrong: a line for each mistake.
    #[error("{0}")]
    Config(#[from] Mistakes),
    /// An argument names no configuration file.
    #[error(transparent)]
    Target(#[from] NoTarget),
    /// The running configuration was not written to its file.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A command of the configuration has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Addresses, routes or what belongs to them cannot be set up.
    #[error(transparent)]
    Network(#[from] network_setup::Error),
    /// The configuration cannot be applied to the gateway itself.
    #[error("the configuration cannot be applied: {0}")]
    Refused(#[from] Refusal),
    /// The gateway was asked to end while it was being brought up.
    #[error("the gateway ended before everything was set up")]
    Unfinished,
    /// The gateway that serves hands nothing over, and goes on.
    #[error("the gateway that serves interface {0} goes on as it is: {1}")]
    NotHandedOver(String, String),
    /// A reload was not carried out.
    #[error("all is as it was before:\n{lines}")]
    NotReloaded {
        /// A line for each reason.
        lines: String,
        /// Whose.
        fault: Fault,
    },
    /// A daemon answers, but cannot read a file again.
    #[error(
        "the daemon that serves interface {0} reads no configuration file, or ends at this moment, or is no ringfort: \
         start it with ringfort up"
    )]
    NoFile(String),
    /// A daemon did not end.
    #[error("the daemon that serves interface {0} (process {1}) does not end: see its log, or kill it")]
    DoesNotEnd(String, i32),
    /// The control socket cannot be made.
    #[error("cannot {step} {path}: {source}")]
    ControlSocket {
        /// What was tried.
        step: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The directory of the control sockets is not safe to use.
    #[error("cannot make a control socket: the directory {path} {why}: {remedy}")]
    ForeignDirectory {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another process holds the lock for too long.
    #[error("another process holds the lock {0}: wait for the daemon that starts, or end what holds it (see fuser(1))")]
    DirectoryLocked(PathBuf),
    /// The TUN interface cannot be made.
    #[error(transparent)]
    Tun(TunError),
    /// A ring, or its memory, cannot be had.
    #[error(transparent)]
    Ring(RingError),
    /// The same, and somebody filters our system calls.
    #[error(
        "{0}. A filter of system calls is on this process: container engines take \
         /usr/share/ringfort/container/seccomp.json in place of their own (docker run --security-opt seccomp=FILE)"
    )]
    FilteredRing(RingError),
    /// The user that was asked for.
    #[error(transparent)]
    User(#[from] UserError),
    /// An interface of somebody else has fewer queues than workers were asked for.
    #[error(
        "interface {0} has a single queue, which one worker serves: use --workers 1, or make it with several \
         (ip tuntap add dev {0} mode tun multi_queue)"
    )]
    SingleQueue(String),
    /// A descriptor that the environment names cannot be used.
    #[error("cannot use the file descriptor in {variable}: {why}")]
    Inherited {
        /// The variable.
        variable: &'static str,
        /// What is wrong, and what is right.
        why: &'static str,
    },
    /// The UDP sockets cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No cipher computes correctly here.
    #[error(transparent)]
    Aead(#[from] SelectionError),
    /// No library computes handshakes correctly here.
    #[error("{0}, and so did all others: this build, or this CPU, is broken")]
    X25519(#[from] ringfort_x25519::SelfTestError),
    /// The limit on open files is too low.
    #[error(
        "no file descriptor is left to {0}: raise the limit on open files (ulimit -n, or LimitNOFILE= in the service)"
    )]
    Descriptors(&'static str),
    /// The limit on open files is too low, as is known before anything is made.
    #[error(transparent)]
    TooFewDescriptors(#[from] TooFewDescriptors),
    /// The limit on locked memory is too low for the rings alone.
    #[error("{0}")]
    LockedMemory(LockedMemory),
    /// The daemon does not know the request that asks for its log level.
    #[error("the daemon that serves interface {0} cannot change its log level: it may be an older one, or no Ringfort")]
    NoLogLevel(String),
    /// The place to log to is not to be had.
    #[error("cannot log to {place}: {source}: choose another place with --log")]
    Log {
        /// Which one.
        place: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another call failed.
    #[error("cannot {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A worker cannot be started.
    #[error(transparent)]
    Start(StartError),
    /// A worker gave up.
    #[error(transparent)]
    Worker(#[from] WorkerFailure),
    /// The interface is gone, and nobody has asked us to end.
    #[error("interface {0} was deleted, by itself or with the network namespace that it was in")]
    InterfaceDeleted(String),
    /// A signal came while the start waited. Not a success: whoever waits for the daemon must not take it to be ready.
    #[error("ended by {0} before it was ready")]
    Interrupted(Signal),
    /// The start ended without a word.
    #[error("the daemon ended before it was ready ({0})")]
    Vanished(String),
}

impl DaemonError {
    /// A failed call. An exhausted limit on open files is named as such.
    pub fn system(step: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        if is_out_of_descriptors(&source) { Self::Descriptors(step) } else { Self::System { step, source } }
    }

    /// A failed step of making the control socket at `path`.
    pub fn control_socket(step: &'static str, path: PathBuf, source: io::Error) -> Self {
        if is_out_of_descriptors(&source) {
            return Self::Descriptors("make the control socket");
        }
        Self::ControlSocket { step, path, source }
    }

    /// The same error of a daemon with that many workers, which all need memory.
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        match self {
            Self::LockedMemory(_) => Self::LockedMemory(LockedMemory::of(workers)),
            other => other,
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Cpu(_)
            | Self::Memory(_)
            | Self::Start(StartError::Core(_))
            | Self::Served(_)
            | Self::Aead(SelectionError::Unavailable { .. })
            | Self::NotServed { .. }
            | Self::MayNotAsk { .. }
            | Self::NoAnswer { .. }
            | Self::NoStatistics(_)
            | Self::NoOverview(_)
            | Self::NoSuites(_)
            | Self::NoPeers(_)
            | Self::WhichPeer(_)
            | Self::Capture(_)
            | Self::SuiteRefused(_)
            | Self::NoLogLevel(_)
            | Self::Log { .. }
            | Self::SingleQueue(_)
            | Self::Inherited { .. }
            | Self::Config(_)
            | Self::Target(_)
            | Self::Save(SaveError::Wrong(_) | SaveError::Changed(_))
            | Self::NoFile(_) => Fault::Request,
            Self::Network(network_setup::Error::Setup(_)) => Fault::Request,
            Self::Refused(Refusal::Fwmark | Refusal::Sockets) => Fault::System,
            Self::Refused(_) => Fault::Request,
            Self::Tun(TunError::Name { .. } | TunError::Queues(_) | TunError::Taken(_) | TunError::Unusable { .. }) => {
                Fault::Request
            }
            Self::Bind(BindError::PortInUse { .. } | BindError::Address { .. } | BindError::Device { .. }) => {
                Fault::Request
            }
            Self::Aead(_)
            | Self::X25519(_)
            | Self::Vanished(_)
            | Self::Start(StartError::Silent)
            | Self::Bind(BindError::NoWorkers) => Fault::Bug,
            Self::Worker(failure) => failure.error.fault(),
            Self::NotReloaded { fault, .. } => *fault,
            Self::User(_) | Self::Declined(_) | Self::NotHandedOver(..) => Fault::Request,
            Self::Metrics(error) if error.is_of_request() => Fault::Request,
            Self::NoCapability
            | Self::ControlSocket { .. }
            | Self::ForeignDirectory { .. }
            | Self::DirectoryLocked(_)
            | Self::Tun(_)
            | Self::Ring(_)
            | Self::FilteredRing(_)
            | Self::Start(_)
            | Self::Bind(_)
            | Self::Descriptors(_)
            | Self::TooFewDescriptors(_)
            | Self::LockedMemory(_)
            | Self::Metrics(_)
            | Self::System { .. }
            | Self::Interrupted(_)
            | Self::Hook(_)
            | Self::Save(SaveError::Write { .. })
            | Self::Network(_)
            | Self::Unfinished
            | Self::DoesNotEnd(..)
            | Self::InterfaceDeleted(_) => Fault::System,
        }
    }

    /// The exit status: 2 for a request that cannot be met, as for a wrong command line; else 1.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.fault() {
            Fault::Request => 2,
            Fault::System | Fault::Bug => 1,
        }
    }
}

impl From<TunError> for DaemonError {
    fn from(error: TunError) -> Self {
        match error {
            TunError::Step { step, source } => match Self::system(step, source) {
                Self::System { step, source } => Self::Tun(TunError::Step { step, source }),
                descriptors => descriptors,
            },
            error => Self::Tun(error),
        }
    }
}

impl From<RingError> for DaemonError {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Setup { source, .. } if is_out_of_descriptors(&source) => Self::Descriptors("make an io_uring"),
            RingError::Setup { source, .. } if source.raw_os_error() == Some(libc::ENOMEM) => {
                Self::LockedMemory(LockedMemory::of(1))
            }
            error @ RingError::Disabled(_) if preflight::is_filtered() => Self::FilteredRing(error),
            error => Self::Ring(error),
        }
    }
}

impl From<StartError> for DaemonError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Ring(error) => error.into(),
            error => Self::Start(error),
        }
    }
}

/// Whether the limit on open files is why a call failed, that of the process or that of the system.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
