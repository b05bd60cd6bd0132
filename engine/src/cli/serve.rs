//! The options of the daemon itself: `ringfort [OPTIONS] NAME`, as wg-quick calls it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use log::LevelFilter;
use ringfort_aead::{Selection, UnknownProvider};
use ringfort_config::{BusyPoll, MemoryBound, Overlays, SocketBuffer, StartSettings, UdpGso};
pub use ringfort_config::{CpuList, LogLevel};
use ringfort_core::crypto::PublicKey;
use ringfort_core::node::Node;
use ringfort_core::suite::{Suite, UnknownSuite};
use tun_uring::Merge;
use udp_uring::{Bind, Segmentation, SocketConfig};

use super::cpus::{CpuError, Cpus};
use super::memory::{Bound, Division, Memory};
use crate::control::endpoints::EndpointFile;
use crate::control::key_text::{self, NotAKey};
use crate::control::logging::Target;
use crate::control::uapi::DEFAULT_SUITE;
use crate::guard::Filter;
use crate::metrics::{self, PeerSeries};
use crate::sandbox::Mode;

/// Options that mean nothing to a command that asks a daemon which runs.
const DAEMON_OPTIONS: [&str; 22] = [
    "foreground",
    "workers",
    "cpus",
    "busy_poll",
    "udp_gso",
    "overlays",
    "bind",
    "socket_buffer",
    "memory",
    "stages",
    "metrics",
    "metrics_peers",
    "log",
    "log_level",
    "config",
    "endpoints",
    "filter",
    "node",
    "passive",
    "sandbox",
    "core_dumps",
    "user",
];

/// What the daemon is asked for.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Stay in the foreground and log to the standard error
    #[arg(short, long)]
    pub foreground: bool,

    /// Number of worker threads [default: one for each usable CPU, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub workers: Option<u8>,

    /// CPUs to pin the workers to, as in "0-3,6", also isolated ones [default: those that the process may run on, and
    /// of these only those near the network card, if the machine has several NUMA nodes]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuList>,

    /// Implementation of the ciphers: rustcrypto, aws-lc, or one of our own, over whole trains of packets. Of
    /// ChaCha20-Poly1305 these are train (needs AVX-512 with IFMA and VBMI2) and train-avx2 (AVX2 and BMI2); of
    /// AES-256-GCM vaes (VAES, VPCLMULQDQ, AVX2) and vaes512 (the same with AVX-512). "auto" takes the fastest that
    /// this CPU can run, for each size of packets and trains. It measures them with all CPUs at work, for some tenths
    /// of a second. With AVX2 only, aes256gcm (--set-suite) is the faster suite; without AES instructions that one is
    /// slow. "list" prints what is measured, in nanoseconds per packet, and exits [default: auto]
    #[arg(long, value_name = "NAME")]
    pub aead: Option<AeadArg>,

    /// Look for packets this long after the last one before sleeping, in microseconds, or "always". It costs whole
    /// cores, and the power that they take, for a shorter way out of sleep [default: sleep at once]
    #[arg(long, value_name = "MICROSECONDS")]
    pub busy_poll: Option<BusyPoll>,

    /// Leave it to the kernel to cut trains of packets up (UDP_SEGMENT): on, off, or ragged. Then the last packet of a
    /// train is always shorter than the others, by a keepalive if need be. Linux 7.0.0 to 7.1.4 damages other trains
    /// with some drivers, silently, also those of virtual machines on such a host. "auto" is ragged on those kernels,
    /// and on otherwise [default: auto]
    #[arg(long, value_name = "HOW")]
    pub udp_gso: Option<UdpGso>,

    /// Merge flows in VXLAN and Geneve that come from peers (UDP ports 4789, 8472 and 6081) into super-packets, where
    /// the kernel takes these: on, or off. It has to be off if a program, not a tunnel device of the kernel, receives
    /// on such a port of this machine. That would be given many datagrams as one [default: on]
    #[arg(long, value_name = "HOW")]
    pub overlays: Option<Overlays>,

    /// Bind the UDP sockets to an address of this machine, or to a network device: datagrams come in and leave there
    /// only. An address leaves out the other family; 0.0.0.0 and :: stand for all of one. The port is still set with
    /// wg(8). A device that is made anew is bound to when the interface comes up again, or the port changes
    #[arg(long, value_name = "ADDRESS|DEVICE")]
    pub bind: Option<Bind>,

    /// Size of the receive buffer of each UDP socket, in bytes, or as 512K or 4M: what arrives while a worker waits
    /// for its CPU. Each worker has two sockets, for each of which the kernel may take twice the size. Send buffers get
    /// a quarter [default: 16M, or what --memory leaves]
    #[arg(long, value_name = "BYTES")]
    pub socket_buffer: Option<SocketBuffer>,

    /// The most that packets and the buffers of the UDP sockets may take together, in bytes, or as 32M or 1G. The
    /// packets of each worker take 6.1 MiB, and the buffers get the rest. If they would get less than 1 MiB each, there
    /// are fewer workers, unless --workers or --cpus says how many. 8M is enough for one. Peers and keys are not in it.
    /// While the listening port changes, there are two sets of sockets for a moment [default: a quarter of the memory
    /// of the machine, or of the control group, which nothing is refused for]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<MemoryBound>,

    /// Measure where the workers' time goes, stage by stage, in one of EVERY turns, for --stats: 16 costs about a
    /// hundredth of it, 1 costs several
    #[arg(long, value_name = "EVERY", num_args = 0..=1, require_equals = true, default_missing_value = "16",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub stages: Option<u32>,

    /// Serve metrics for Prometheus over HTTP on this address and port, as in 127.0.0.1:9586, besides the unix socket
    /// /run/ringfort/NAME.metrics.sock. An address that the file gives to the interface may be set later. Whoever
    /// reaches it reads the public keys of the peers and their traffic. May be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Vec<SocketAddr>,

    /// How many peers have metrics of their own: a number, all, or none. A peer keeps its place; only one that was
    /// silent for an hour makes room for one that is at work [default: 1000]
    #[arg(long, value_name = "N")]
    pub metrics_peers: Option<PeerSeries>,

    /// Where to log: stderr, syslog, journal (systemd's, with fields such as RINGFORT_PEER), kmsg (the kernel's log,
    /// for images without syslog), or a file with a slash in its path. SIGUSR1 opens the file anew, for logrotate(8).
    /// "auto" is the journal if we run under it, else the standard error in the foreground, syslog in the background
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub log: Target,

    /// What to log: silent, error, warn, info, debug (or verbose), trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Configuration file, see below [default: /etc/ringfort/NAME.conf, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// File in which it is kept where peers were last, for the next start, or "off". It holds no secret [default:
    /// NAME.endpoints in $STATE_DIRECTORY, or else in /var/lib/ringfort]
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub endpoints: EndpointFile,

    /// Drop floods in front of the UDP sockets, before they wake a worker, by an eBPF program: on, or off. What the
    /// kernel does not allow of it is left out, and the log says so. It takes CAP_BPF and CAP_PERFMON at the start
    #[arg(long, value_name = "HOW", default_value = "on")]
    pub filter: Filter,

    /// Go on in the place of the gateway that serves NAME, which hands over everything and ends: interface, sockets,
    /// sessions. Its peers notice nothing. If that is not possible, it goes on, and this one ends with the reason.
    /// `ringfort restart NAME` does so with the same options
    #[arg(long)]
    pub take_over: bool,

    /// One of several gateways that have the same private key and address. This one is NUMBER, from 0, and the top BITS
    /// bits of each receiver index that it chooses say so. BITS is 1 to 8, for up to 256 gateways, and the same in all
    /// of them. So whoever stands in front of them finds the owner of a session, see `ringfort steer`. A gateway has
    /// 2^(32-BITS) indices: enough for a million peers with 8 bits [default: the only one]
    #[arg(long, value_name = "NUMBER/BITS")]
    pub node: Option<Node>,

    /// Stand by: take configuration and endpoints, but send and answer nothing until `ringfort promote NAME`. For the
    /// second of two gateways that have the same private key
    #[arg(long)]
    pub passive: bool,

    /// What the daemon gives up once it serves: capabilities, system calls (seccomp), and paths (Landlock) that it has
    /// no use for. "report" refuses nothing, and has the kernel's log say which system calls "on" would refuse: lines
    /// of "audit: type=1326"
    #[arg(long, value_name = "HOW", default_value = "on")]
    pub sandbox: Mode,

    /// Allow core dumps, and debuggers of the same user. A core dump may hold keys of sessions. Packets are left out
    #[arg(long)]
    pub core_dumps: bool,

    /// Become this user, and keep the capabilities that are needed. Commands of a file go on as root. Whoever is this
    /// user may ask on the control socket, so it should be one for gateways alone [default: stay who we are]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Set the cipher suite of the daemon that serves NAME, and exit: that of the interface, or with --peer that of one
    /// peer. "default" takes the setting back
    #[arg(long, value_name = "SUITE", conflicts_with_all = DAEMON_OPTIONS)]
    pub set_suite: Option<SuiteArg>,

    /// The peer that --set-suite is about, by its public key
    #[arg(long, value_name = "PUBLICKEY", requires = "set_suite", value_parser = parse_key)]
    pub peer: Option<PublicKey>,

    /// Print the cipher suites that are set in the daemon that serves NAME, the interface's first, and exit
    #[arg(long, conflicts_with_all = DAEMON_OPTIONS, conflicts_with = "set_suite")]
    pub suites: bool,

    /// Print the counters of the daemon that serves NAME, as lines of "name=value", and exit
    #[arg(long, conflicts_with_all = DAEMON_OPTIONS, conflicts_with_all = ["set_suite", "suites"])]
    pub stats: bool,

    /// With --stats: as JSON, the workers one by one
    #[arg(long, requires = "stats")]
    pub json: bool,

    /// The name of the interface to create, or to use if it is there
    // Required, except by subcommands and by `--aead list`: see `Cli::read`.
    #[arg(value_name = "NAME", default_value = "", hide_default_value = true)]
    pub name: String,

    /// What the configuration file says of the same. An option counts more.
    #[arg(skip)]
    pub file: StartSettings,
}

impl Serve {
    /// Whether to stay in the foreground, by the option or by the variable that wireguard-go uses.
    #[must_use]
    pub fn stays_in_foreground(&self) -> bool {
        self.foreground || std::env::var_os("WG_PROCESS_FOREGROUND").is_some_and(|value| value == "1")
    }

    /// Whether the operator chose the number of workers.
    #[must_use]
    pub fn chooses_workers(&self) -> bool {
        self.workers().is_some() || self.cpus().is_some()
    }

    /// Whether to stand by until somebody promotes us.
    #[must_use]
    pub fn is_passive(&self) -> bool {
        self.passive || self.file.passive.unwrap_or(false)
    }

    /// Which of several gateways this is.
    #[must_use]
    pub fn node(&self) -> Node {
        self.node.or(self.file.node).unwrap_or_default()
    }

    /// How long workers poll before they sleep.
    #[must_use]
    pub fn busy_poll(&self) -> Duration {
        self.busy_poll.or(self.file.busy_poll).map_or(Duration::ZERO, |BusyPoll(time)| time)
    }

    /// How trains leave: as was asked for, or as it suits the kernel that runs.
    #[must_use]
    pub fn segmentation(&self) -> Segmentation {
        match self.udp_gso.or(self.file.udp_gso).unwrap_or_default() {
            UdpGso::Auto => Segmentation::for_this_kernel(),
            UdpGso::On => Segmentation::On,
            UdpGso::Off => Segmentation::Off,
            UdpGso::Ragged => Segmentation::Ragged,
        }
    }

    /// What of `trusted` is merged.
    #[must_use]
    pub fn merge(&self, trusted: Merge) -> Merge {
        match self.overlays.or(self.file.overlays).unwrap_or_default() {
            Overlays::On => trusted,
            Overlays::Off => Merge { tunnels: None, ..trusted },
        }
    }

    /// What is shown to Prometheus, and where. The addresses of the interface need not be there yet.
    #[must_use]
    pub fn metrics_options(&self, of_interface: Vec<IpAddr>) -> metrics::Options {
        let peers = self.metrics_peers.unwrap_or(PeerSeries::DEFAULT);
        let from_file = || self.file.metrics.into_iter().collect();
        let addresses = if self.metrics.is_empty() { from_file() } else { self.metrics.clone() };
        metrics::Options { addresses, of_interface, peers }
    }

    /// What packets and sockets may take, on a machine that has so many bytes for everything.
    #[must_use]
    pub fn memory(&self, machine: Option<usize>) -> Memory {
        let receive_buffer = self.socket_buffer.or(self.file.socket_buffer).map(|SocketBuffer(len)| len);
        Memory { bound: Bound::of(self.memory.or(self.file.memory), machine), receive_buffer }
    }

    /// With what the UDP sockets are opened, for that many workers.
    #[must_use]
    pub fn sockets(&self, workers: u8, division: &Division) -> SocketConfig {
        let bind = self.bind.or(self.file.bind).unwrap_or_default();
        let (receive_buffer, send_buffer) = (division.receive_buffer, division.send_buffer());
        SocketConfig { bind, receive_buffer, send_buffer, ..SocketConfig::new(0, workers) }
    }

    /// How the ciphers are chosen.
    #[must_use]
    pub fn selection(&self) -> Selection {
        match self.aead {
            Some(AeadArg::Use(selection)) => selection,
            Some(AeadArg::List) | None => self.file.aead.unwrap_or(Selection::Auto),
        }
    }

    /// The level that was asked for, by the option or by `LOG_LEVEL`; `None` if by neither.
    ///
    /// A `LOG_LEVEL` that means nothing to us is ignored, as wireguard-go does: the variable is not ours alone.
    #[must_use]
    pub fn explicit_log_level(&self) -> Option<LevelFilter> {
        let from_environment = || std::env::var("LOG_LEVEL").ok()?.parse().ok();
        self.log_level.or_else(from_environment).map(|LogLevel(level)| level)
    }

    /// The level to log at: that of the command line, or that of the file, or `info`.
    #[must_use]
    pub fn log_level(&self) -> LevelFilter {
        let from_file = || self.file.log_level.map(|LogLevel(level)| level);
        self.explicit_log_level().or_else(from_file).unwrap_or(LevelFilter::Info)
    }

    fn workers(&self) -> Option<u8> {
        self.workers.or(self.file.workers)
    }

    fn cpus(&self) -> Option<&CpuList> {
        self.cpus.as_ref().or(self.file.cpus.as_ref())
    }

    /// The CPU of each worker.
    ///
    /// # Errors
    /// [`CpuError`] if a CPU was asked for that a worker cannot be moved to.
    pub fn worker_cpus(&self, there: &Cpus<'_>) -> Result<Vec<usize>, CpuError> {
        let asked = self.cpus().map(|CpuList(cpus)| cpus.as_slice());
        there.choose(asked, self.workers().map(usize::from))
    }
}

/// What `--aead` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AeadArg {
    /// Print the providers, and exit.
    List,
    /// Use these.
    Use(Selection),
}

impl FromStr for AeadArg {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        if text == "list" { Ok(Self::List) } else { text.parse().map(Self::Use) }
    }
}

/// The argument of `--set-suite`: `None` for "default".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteArg(pub Option<Suite>);

impl FromStr for SuiteArg {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        if text == DEFAULT_SUITE { Ok(Self(None)) } else { text.parse().map(|suite| Self(Some(suite))) }
    }
}

fn parse_key(text: &str) -> Result<PublicKey, NotAKey> {
    key_text::decode(text)
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
