//! Settings that count at a start only. The command line has the same, with the same spelling of their values.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use ringfort_aead::Selection;
use ringfort_core::node::Node;
use udp_endpoint::Bind;

/// What the file says of the daemon's start. An option of the command line counts more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartSettings {
    /// Number of worker threads.
    pub workers: Option<u8>,
    /// CPUs of the workers.
    pub cpus: Option<CpuList>,
    /// How long to look for packets without sleeping.
    pub busy_poll: Option<BusyPoll>,
    /// Whether the kernel cuts trains up.
    pub udp_gso: Option<UdpGso>,
    /// Whether flows in VXLAN and Geneve are merged.
    pub overlays: Option<Overlays>,
    /// What the UDP sockets are bound to beside their port.
    pub bind: Option<Bind>,
    /// Size of their receive buffers.
    pub socket_buffer: Option<SocketBuffer>,
    /// What packets and the buffers of sockets may take together.
    pub memory: Option<MemoryBound>,
    /// Which of several gateways this is.
    pub node: Option<Node>,
    /// Whether to serve nobody until somebody promotes the gateway.
    pub passive: Option<bool>,
    /// Implementation of the ciphers.
    pub aead: Option<Selection>,
    /// What is logged.
    pub log_level: Option<LogLevel>,
    /// Where metrics are served over TCP.
    pub metrics: Option<SocketAddr>,
}

impl StartSettings {
    /// The names of the settings in which two differ, apart from LogLevel, which changes while the daemon runs.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        // Exhaustive, so a setting that is added is not forgotten here.
        let Self {
            workers,
            cpus,
            busy_poll,
            udp_gso,
            overlays,
            bind,
            socket_buffer,
            memory,
            node,
            passive,
            aead,
            log_level: _,
            metrics,
        } = self;
        let all = [
            ("Workers", *workers != other.workers),
            ("CPUs", *cpus != other.cpus),
            ("BusyPoll", *busy_poll != other.busy_poll),
            ("UdpGso", *udp_gso != other.udp_gso),
            ("Overlays", *overlays != other.overlays),
            ("Bind", *bind != other.bind),
            ("SocketBuffer", *socket_buffer != other.socket_buffer),
            ("Memory", *memory != other.memory),
            ("Node", *node != other.node),
            ("Passive", *passive != other.passive),
            ("Aead", *aead != other.aead),
            ("Metrics", *metrics != other.metrics),
        ];
        all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// CPUs in the order given, each once: the kernel's list format, `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// Linux supports 8,192 CPUs at most (`CONFIG_NR_CPUS`).
        const CPU_MAX: usize = 8191;
        let bad =
            || format!("expected CPU numbers and ranges, as in \"0-3,6\", each CPU once and none above {CPU_MAX}");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u16>().map(usize::from).map_err(|_| bad());
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last > CPU_MAX || cpus.len() > CPU_MAX {
                return Err(bad());
            }
            cpus.extend(first..=last);
        }
        let mut sorted = cpus.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != cpus.len() {
            return Err(bad());
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, cpu) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{cpu}")?;
        }
        Ok(())
    }
}

/// How long a worker looks for packets without sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll(pub Duration);

impl FromStr for BusyPoll {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self(Duration::MAX));
        }
        let micros = text.parse().map_err(|_| "expected a number of microseconds, or \"always\"".to_owned())?;
        Ok(Self(Duration::from_micros(micros)))
    }
}

impl fmt::Display for BusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Duration::MAX { f.write_str("always") } else { self.0.as_micros().fmt(f) }
    }
}

/// Whether the kernel cuts trains of packets up (`UDP_SEGMENT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpGso {
    /// `Ragged` on kernels that damage other trains, `On` elsewhere.
    #[default]
    Auto,
    /// It does.
    On,
    /// It does not.
    Off,
    /// It does, and the last packet of a train is always shorter.
    Ragged,
}

impl FromStr for UdpGso {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::On, Self::Off, Self::Ragged];
        all.into_iter().find(|how| how.name() == text).ok_or_else(|| "one of auto, on, off, ragged".into())
    }
}

impl UdpGso {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
            Self::Ragged => "ragged",
        }
    }
}

impl fmt::Display for UdpGso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether flows in VXLAN and Geneve are merged into super-packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlays {
    /// Where the kernel takes these.
    #[default]
    On,
    /// They are UDP like any other.
    Off,
}

impl FromStr for Overlays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::On, Self::Off].into_iter().find(|how| how.name() == text).ok_or_else(|| "one of on, off".into())
    }
}

impl Overlays {
    fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Overlays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The length of a socket's receive buffer in bytes, also with `K` or `M` for the powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffer(pub usize);

impl SocketBuffer {
    /// A train of 64 KiB must fit, with what the kernel books for its pieces.
    pub const MIN: usize = 256 << 10;
    /// The kernel counts in an `int`, and twice what it is told.
    pub const MAX: usize = 512 << 20;
}

impl FromStr for SocketBuffer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let len = bytes(text).filter(|len| (Self::MIN..=Self::MAX).contains(len));
        len.map(Self).ok_or_else(|| "expected a number of bytes from 256K to 512M".to_owned())
    }
}

impl fmt::Display for SocketBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What packets and the buffers of sockets may take together: bytes, also with `K`, `M` or `G` for the powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound(pub usize);

impl FromStr for MemoryBound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let len = bytes(text).filter(|&len| len > 0);
        len.map(Self).ok_or_else(|| "expected a number of bytes, as in 33554432, 32M or 1G".to_owned())
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of bytes, also with `K`, `M` or `G` for the powers of 1024. `None` also for one that nobody can count.
///
/// ```
/// assert_eq!(ringfort_config::bytes("32m"), Some(32 << 20));
/// assert_eq!(ringfort_config::bytes("1.5M"), None);
/// ```
#[must_use]
pub fn bytes(text: &str) -> Option<usize> {
    let (digits, unit) = match text.char_indices().last()? {
        (end, 'k' | 'K') => (&text[..end], 1 << 10),
        (end, 'm' | 'M') => (&text[..end], 1 << 20),
        (end, 'g' | 'G') => (&text[..end], 1 << 30),
        _ => (text, 1),
    };
    // A number may have a sign elsewhere.
    let digits = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// A level as `--log-level`, `LOG_LEVEL` and `LogLevel` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub LevelFilter);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "silent" | "off" => Ok(Self(LevelFilter::Off)),
            "error" => Ok(Self(LevelFilter::Error)),
            "warn" => Ok(Self(LevelFilter::Warn)),
            "info" => Ok(Self(LevelFilter::Info)),
            "debug" | "verbose" => Ok(Self(LevelFilter::Debug)),
            "trace" => Ok(Self(LevelFilter::Trace)),
            _ => Err("one of silent, error, warn, info, debug, verbose, trace".into()),
        }
    }
}

impl LogLevel {
    /// Its name, as it is read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            LevelFilter::Off => "silent",
            LevelFilter::Error => "error",
            LevelFilter::Warn => "warn",
            LevelFilter::Info => "info",
            LevelFilter::Debug => "debug",
            LevelFilter::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
