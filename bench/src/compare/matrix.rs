//! What is measured, and in which order.

use std::time::Duration;

use clap::ValueEnum;

use crate::results::model::{Better, Figure, Test, Unit};

/// How long [`Kind::Rrul`] sends nothing but probes at first.
pub const QUIET: Duration = Duration::from_secs(1);
/// Probes of each kind in a second of [`Kind::Rrul`].
pub const RRUL_PROBES_PPS: u64 = 200;

/// Measurements that a person may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// TCP over one connection, every byte verified.
    #[value(name = "tcp-1")]
    Tcp1,
    /// TCP over many connections, every byte verified.
    #[value(name = "tcp-n")]
    TcpN,
    /// [`Kind::Tcp1`] inside VXLAN, as in the overlay network of a cluster.
    #[value(name = "vxlan-tcp-1")]
    VxlanTcp1,
    /// `iperf3` with one connection.
    #[value(name = "iperf-1")]
    Iperf1,
    /// `iperf3` with many connections.
    #[value(name = "iperf-n")]
    IperfN,
    /// UDP, packets of 64 bytes, one by one, at a rate.
    #[value(name = "udp-64")]
    Udp64,
    /// UDP, packets of 1400 bytes, at a rate.
    #[value(name = "udp-1400")]
    Udp1400,
    /// Round trips of small packets.
    #[value(name = "latency")]
    Latency,
    /// Round trips of small packets while TCP fills the tunnel in both directions.
    #[value(name = "rrul")]
    Rrul,
    /// Requests and answers of a byte over one TCP connection.
    #[value(name = "rr-1")]
    Rr1,
    /// [`Kind::Rr1`] over 16 connections at once.
    #[value(name = "rr-16")]
    Rr16,
    /// [`Kind::Rr1`] over 256 connections at once.
    #[value(name = "rr-256")]
    Rr256,
    /// Requests and answers of 1 KiB over one TCP connection.
    #[value(name = "rr-1-1k")]
    Rr1Kib,
    /// [`Kind::Rr1Kib`] over 16 connections at once.
    #[value(name = "rr-16-1k")]
    Rr16Kib,
    /// [`Kind::Rr1Kib`] over 256 connections at once.
    #[value(name = "rr-256-1k")]
    Rr256Kib,
    /// A page of nginx, asked for by wrk.
    #[value(name = "http")]
    Http,
    /// Nothing at all.
    #[value(name = "idle")]
    Idle,
}

/// The numbers of a session.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often everything is measured.
    pub rounds: u32,
    /// How long each measurement lasts.
    pub time: Duration,
    /// Traffic before it that does not count.
    pub warm_up: Duration,
    /// Connections of [`Kind::TcpN`] and [`Kind::IperfN`].
    pub streams: u16,
    /// Packets per second of [`Kind::Udp64`] and [`Kind::Udp1400`].
    pub udp_rate: u64,
    /// Packets per second of [`Kind::Latency`].
    pub probe_rate: u64,
    /// The longest packet inside of the tunnel, in bytes.
    pub mtu: u32,
}

/// One measurement of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// From 1.
    pub round: u32,
    /// What.
    pub kind: Kind,
    /// Of whom: a position.
    pub contender: usize,
}

/// All measurements in their order. In each round every contender has its turn at every test, one right after the
/// other, and each round begins with the next contender: A B C, B C A, C A B.
pub fn schedule(rounds: u32, kinds: &[Kind], contenders: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 1..=rounds {
        for &kind in kinds {
            let turns = (0..contenders).map(|turn| (turn + round as usize - 1) % contenders);
            steps.extend(turns.map(|contender| Step { round, kind, contender }));
        }
    }
    steps
}

impl Kind {
    /// As `--tests` takes it, and as the file has it.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether there is anything to measure without a gateway.
    pub fn includes_bare(self) -> bool {
        self != Self::Idle
    }

    /// How long it probably takes, set-up included.
    pub fn expected(self, settings: &Settings) -> Duration {
        // Namespaces, two gateways, a handshake; at the end, their end.
        let set_up = Duration::from_millis(700);
        let quiet = if self == Self::Rrul { QUIET } else { Duration::ZERO };
        set_up + quiet + settings.warm_up + settings.time
    }

    /// The programs of others that carry its traffic.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Iperf1 | Self::IperfN => &["iperf3"],
            Self::Http => &["nginx", "wrk"],
            _ => &[],
        }
    }

    /// TCP connections at once, of tests that have any.
    pub fn connections(self, settings: &Settings) -> u16 {
        match self {
            Self::TcpN | Self::IperfN => settings.streams,
            Self::Rrul => 4,
            Self::Rr16 | Self::Rr16Kib => 16,
            Self::Rr256 | Self::Rr256Kib => 256,
            Self::Http => 64,
            _ => 1,
        }
    }

    /// Bytes of an answer, and of our own generator's request, of tests that have any.
    pub fn message_bytes(self) -> u32 {
        match self {
            Self::Rr1Kib | Self::Rr16Kib | Self::Rr256Kib | Self::Http => 1_024,
            _ => 1,
        }
    }

    /// Its entry in the file of results.
    pub fn describe(self, settings: &Settings) -> Test {
        let (title, detail) = self.words(settings);
        Test { name: self.name(), title, detail, figures: self.figures() }
    }

    /// A heading, and a sentence about what happens.
    fn words(self, settings: &Settings) -> (String, String) {
        let Settings { udp_rate, probe_rate, .. } = settings;
        let connections = self.connections(settings);
        let size = if self.message_bytes() == 1 { "1 byte" } else { "1 KiB" };
        match self {
            Self::Tcp1 => (
                "TCP, 1 stream".to_owned(),
                "One connection, as fast as it goes; the receiver verifies every byte.".to_owned(),
            ),
            Self::TcpN => (
                format!("TCP, {connections} streams"),
                format!("{connections} connections at once, as fast as they go; the receiver verifies every byte."),
            ),
            Self::VxlanTcp1 => (
                "TCP in VXLAN, 1 stream".to_owned(),
                "One connection inside VXLAN, as fast as it goes; the receiver verifies every byte.".to_owned(),
            ),
            Self::Iperf1 => ("iperf3, 1 stream".to_owned(), "iperf3 over TCP, one connection.".to_owned()),
            Self::IperfN => (
                format!("iperf3, {connections} streams"),
                format!("iperf3 over TCP, {connections} connections at once."),
            ),
            Self::Udp64 => (
                "UDP, 64 bytes".to_owned(),
                format!("IP packets of 64 bytes, one by one, {udp_rate} per second on offer, one way."),
            ),
            Self::Udp1400 => (
                "UDP, 1400 bytes".to_owned(),
                format!("IP packets of 1400 bytes, one by one, {udp_rate} per second on offer, one way."),
            ),
            Self::Latency => (
                "Latency".to_owned(),
                format!("Round trips of 64-byte packets, {probe_rate} per second, nothing else on the way."),
            ),
            Self::Rrul => (
                "Latency under load".to_owned(),
                format!(
                    "TCP connections, {connections} each way, as fast as they go, beside round trips of UDP and of \
                     ICMP echo, {RRUL_PROBES_PPS} of each per second (RRUL)."
                ),
            ),
            Self::Rr1 | Self::Rr16 | Self::Rr256 | Self::Rr1Kib | Self::Rr16Kib | Self::Rr256Kib => (
                format!("Requests of {size}, {connections} at once"),
                format!("TCP connections ({connections}), one request at a time on each, one answer, {size} each."),
            ),
            Self::Http => (
                format!("HTTP, {connections} connections"),
                format!("wrk asks nginx for a page of {size}, over {connections} connections that stay open."),
            ),
            Self::Idle => ("Idle".to_owned(), "A tunnel that is up, and no traffic.".to_owned()),
        }
    }

    fn figures(self) -> Vec<Figure> {
        match self {
            Self::Tcp1 | Self::TcpN | Self::VxlanTcp1 | Self::Iperf1 | Self::IperfN => bulk_figures(),
            Self::Udp64 | Self::Udp1400 => datagram_figures(),
            Self::Latency => latency_figures(),
            Self::Rrul => rrul_figures(),
            Self::Rr1 | Self::Rr16 | Self::Rr256 | Self::Rr1Kib | Self::Rr16Kib | Self::Rr256Kib | Self::Http => {
                transaction_figures()
            }
            Self::Idle => idle_figures(),
        }
    }
}

fn bulk_figures() -> Vec<Figure> {
    let per_gigabyte = Unit::CpuSecondsPerGigabyte;
    let mut figures = vec![
        Figure::new("throughput", "throughput", Unit::MegabitsPerSecond, Better::Higher),
        Figure::new("cpu_per_gb", "CPU per GB, both", per_gigabyte, Better::Lower),
        Figure::new("cpu_per_gb_sender", "sender", per_gigabyte, Better::Lower),
        Figure::new("cpu_per_gb_receiver", "receiver", per_gigabyte, Better::Lower),
        Figure::new("cores_per_gbps", "cores per Gbit/s", Unit::CoresPerGigabit, Better::Lower),
    ];
    figures.extend(memory_figures());
    figures
}

fn datagram_figures() -> Vec<Figure> {
    let per_million = Unit::CpuSecondsPerMillionPackets;
    let mut figures = vec![
        Figure::new("delivered", "delivered", Unit::PacketsPerSecond, Better::Higher),
        Figure::new("loss", "lost", Unit::Percent, Better::Lower),
        Figure::new("cpu_per_mpkt", "CPU per million, both", per_million, Better::Lower),
        Figure::new("cpu_per_mpkt_sender", "sender", per_million, Better::Lower),
        Figure::new("cpu_per_mpkt_receiver", "receiver", per_million, Better::Lower),
    ];
    figures.extend(memory_figures());
    figures.extend([
        Figure::new("throughput", "IP throughput", Unit::MegabitsPerSecond, Better::Higher),
        Figure::new("cpu_per_gb", "CPU per GB, both", Unit::CpuSecondsPerGigabyte, Better::Lower),
        Figure::new("p50", "one way, p50", Unit::Nanoseconds, Better::Lower),
        Figure::new("p99", "one way, p99", Unit::Nanoseconds, Better::Lower),
        Figure::new("offered", "offered", Unit::PacketsPerSecond, Better::Neither),
    ]);
    figures
}

fn latency_figures() -> Vec<Figure> {
    let time = |name: &str, title: &str| Figure::new(name, title, Unit::Nanoseconds, Better::Lower);
    vec![
        time("p50", "p50"),
        time("p90", "p90"),
        time("p99", "p99"),
        time("p99_9", "p99.9"),
        time("max", "longest"),
        Figure::new("loss", "lost", Unit::Percent, Better::Lower),
        Figure::new("cpu_per_mpkt", "CPU per million, both", Unit::CpuSecondsPerMillionPackets, Better::Lower),
    ]
}

fn rrul_figures() -> Vec<Figure> {
    let time = |name: &str, title: &str| Figure::new(name, title, Unit::Nanoseconds, Better::Lower);
    let rate = |name: &str, title: &str| Figure::new(name, title, Unit::MegabitsPerSecond, Better::Higher);
    let mut figures = vec![
        time("p50", "UDP, p50"),
        time("p99", "UDP, p99"),
        time("quiet_p50", "without load, p50"),
        rate("throughput", "TCP, both ways"),
        rate("throughput_forth", "TCP, there"),
        rate("throughput_back", "TCP, back"),
        time("p90", "UDP, p90"),
        time("p99_9", "UDP, p99.9"),
        time("max", "UDP, longest"),
        time("quiet_p99", "without load, p99"),
        time("ping_p50", "ping, p50"),
        time("ping_p99", "ping, p99"),
        time("ping_max", "ping, longest"),
        Figure::new("loss", "UDP, lost", Unit::Percent, Better::Lower),
        Figure::new("ping_loss", "ping, lost", Unit::Percent, Better::Lower),
        Figure::new("cpu_per_gb", "CPU per GB, both", Unit::CpuSecondsPerGigabyte, Better::Lower),
    ];
    figures.extend(memory_figures());
    figures
}

fn transaction_figures() -> Vec<Figure> {
    let time = |name: &str, title: &str| Figure::new(name, title, Unit::Nanoseconds, Better::Lower);
    let mut figures = vec![
        Figure::new("transactions", "transactions", Unit::PerSecond, Better::Higher),
        time("cpu_per_transaction", "CPU per transaction, both"),
        time("cpu_per_transaction_sender", "sender"),
        time("cpu_per_transaction_receiver", "receiver"),
        time("p50", "p50"),
        time("p99", "p99"),
        time("p99_9", "p99.9"),
        time("max", "longest"),
    ];
    figures.extend(memory_figures());
    figures
}

fn idle_figures() -> Vec<Figure> {
    vec![
        Figure::new("wakeups", "wake-ups", Unit::PerSecond, Better::Lower),
        Figure::new("cpu", "CPU", Unit::Percent, Better::Lower),
        Figure::new("memory", "memory", Unit::Kibibytes, Better::Lower),
    ]
}

fn memory_figures() -> [Figure; 2] {
    [
        Figure::new("memory_peak_sender", "peak memory, sender", Unit::Kibibytes, Better::Lower),
        Figure::new("memory_peak_receiver", "receiver", Unit::Kibibytes, Better::Lower),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn contenders_take_turns_and_each_round_begins_with_another() {
        let steps = schedule(3, &[Kind::Tcp1, Kind::Idle], 3);
        let order = |round, kind| -> Vec<usize> {
            steps.iter().filter(|step| step.round == round && step.kind == kind).map(|step| step.contender).collect()
        };
        assert_eq!(order(1, Kind::Tcp1), [0, 1, 2]);
        assert_eq!(order(2, Kind::Tcp1), [1, 2, 0]);
        assert_eq!(order(3, Kind::Idle), [2, 0, 1]);
        assert_eq!(steps.len(), 18);
        assert!(steps.is_sorted_by_key(|step| (step.round, step.kind)));
    }

    const SETTINGS: Settings = Settings {
        rounds: 1,
        time: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        streams: 8,
        udp_rate: 1_000,
        probe_rate: 100,
        mtu: 1_420,
    };

    #[test]
    fn names_of_requests_say_how_many_and_how_long() {
        let transactions = Kind::value_variants().iter().filter(|kind| kind.name().starts_with("rr-"));
        let names = transactions.map(|kind| {
            let suffix = if kind.message_bytes() == 1_024 { "-1k" } else { "" };
            assert_eq!(kind.name(), format!("rr-{}{suffix}", kind.connections(&SETTINGS)));
            kind.describe(&SETTINGS).title
        });
        let names: BTreeSet<String> = names.collect();
        assert_eq!(names.len(), 6);
        assert!(names.contains("Requests of 1 KiB, 256 at once"), "{names:?}");
    }

    #[test]
    fn names_and_figures_are_unique() {
        let tests: Vec<Test> = Kind::value_variants().iter().map(|kind| kind.describe(&SETTINGS)).collect();
        let names: BTreeSet<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names.len(), tests.len());
        assert!(names.contains("tcp-1") && names.contains("udp-1400"), "{names:?}");
        for test in &tests {
            let figures: BTreeSet<&str> = test.figures.iter().map(|figure| figure.name.as_str()).collect();
            assert_eq!(figures.len(), test.figures.len(), "{}", test.name);
            assert_ne!(test.figures[0].better, Better::Neither);
        }
    }
}
