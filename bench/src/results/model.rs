//! What a session of measurements leaves behind: the JSON file, version 1. Documented field by field in
//! `bench/README.md`; whoever changes the meaning of a field or removes one raises [`SCHEMA_VERSION`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stamp::{Interface, Stamp};

/// The value of `schema` in every file.
pub const SCHEMA: &str = "ringfort-bench";
/// The value of `schema_version` that this program writes, and the only one that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Which command made it.
    pub kind: Kind,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC; empty while the session goes on, or when it was interrupted.
    pub finished: String,
    /// The command line.
    pub command: Vec<String>,
    /// On what it was measured, and by what.
    pub stamp: Stamp,
    /// How it was measured.
    pub plan: Plan,
    /// Who took part, in the order of the first round.
    pub contenders: Vec<Contender>,
    /// What was measured, in order.
    pub tests: Vec<Test>,
    /// Every measurement, in the order in which they were made.
    pub runs: Vec<Run>,
    /// Medians, spreads and ratios; follows from `runs`, and is computed anew when a file is read.
    #[serde(default)]
    pub summary: Vec<Summary>,
    /// Where the time of a packet goes inside of a gateway; empty when nothing measured it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

/// Which command made a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Gateways, through tunnels.
    Compare,
    /// Ciphers, in memory.
    Aead,
}

/// How it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// How many measurements each contender gets of each test.
    pub rounds: u32,
    /// How long each of them lasts.
    pub seconds: f64,
    /// Traffic before it that does not count.
    pub warm_up_s: f64,
    /// Whom the others are compared with; absent when nobody is.
    #[serde(default)]
    pub reference: Option<String>,
    /// The longest packet inside of the tunnels, in bytes. Absent in older files: 1420.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// How many peers each gateway knows. Absent in older files: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<u32>,
}

/// Somebody who took part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contender {
    /// Unique in the file.
    pub name: String,
    /// Nobody can be better than this one: it does not do the work that is compared.
    #[serde(default)]
    pub ceiling: bool,
    /// What it says of itself; absent when it does not.
    #[serde(default)]
    pub version: Option<String>,
    /// How it was started, `{interface}` standing for the name; empty when it is not a program.
    #[serde(default)]
    pub command: Vec<String>,
    /// Of the program's file.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The interfaces of its sending side, as they were when its first measurement began.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
}

/// Something that is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Test {
    /// Unique in the file, as `--tests` takes it.
    pub name: String,
    /// A heading.
    pub title: String,
    /// One sentence about what happens.
    pub detail: String,
    /// What comes of it; the first is what the test is about.
    pub figures: Vec<Figure>,
}

/// A number that a test yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Unique in the test; the key in [`Run::figures`].
    pub name: String,
    /// The head of a column.
    pub title: String,
    /// In what it is counted.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
}

/// In what a figure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// 10⁶ bits of payload per second.
    #[serde(rename = "Mbit/s")]
    MegabitsPerSecond,
    /// 10⁹ bytes per second.
    #[serde(rename = "GB/s")]
    GigabytesPerSecond,
    /// Packets per second.
    #[serde(rename = "packets/s")]
    PacketsPerSecond,
    /// Events per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Seconds of CPU time per 10⁹ bytes of payload.
    #[serde(rename = "CPU s/GB")]
    CpuSecondsPerGigabyte,
    /// Seconds of CPU time per 10⁶ packets.
    #[serde(rename = "CPU s/Mpkt")]
    CpuSecondsPerMillionPackets,
    /// Cores busy for each 10⁹ bits of payload per second.
    #[serde(rename = "cores per Gbit/s")]
    CoresPerGigabit,
    /// Parts of a hundred.
    #[serde(rename = "%")]
    Percent,
    /// 1,024 bytes.
    #[serde(rename = "KiB")]
    Kibibytes,
    /// A count, or a ratio.
    #[serde(rename = "1")]
    Number,
}

/// Which direction of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It says how the measurement was made.
    Neither,
}

/// One measurement of one contender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// From 1.
    pub round: u32,
    /// [`Test::name`].
    pub test: String,
    /// [`Contender::name`].
    pub contender: String,
    /// When it began, in seconds since the session did.
    pub at_s: f64,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// By [`Figure::name`]; what cannot be measured of this contender is not there.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
    /// What other programs took of all CPUs just before, in percent; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_cpu_percent: Option<f64>,
    /// Percentiles of the latency: percent, and nanoseconds. Only those that so many packets can tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency_ns: Vec<(f64, u64)>,
    /// What the gateways held, several times a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemorySample>,
    /// How figures went on while it was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
}

/// How something went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// Unique in the run.
    pub name: String,
    /// For people.
    pub title: String,
    /// In what it is counted.
    pub unit: Unit,
    /// Seconds since the traffic began, and how much it was around then.
    pub points: Vec<(f64, f64)>,
}

/// What the gateways held at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemorySample {
    /// Since the traffic began.
    pub at_s: f64,
    /// Resident memory of the sending gateway.
    pub sender_kib: u64,
    /// And of the receiving one.
    pub receiver_kib: u64,
}

/// One step of a packet's way through a gateway, on one core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// [`Contender::name`].
    pub contender: String,
    /// [`Test::name`].
    pub test: String,
    /// Which gateway.
    pub side: Side,
    /// Which of its workers.
    #[serde(default)]
    pub worker: u32,
    /// What happens in it, for example `seal`.
    pub name: String,
    /// Which core.
    pub core: u32,
    /// How often it happened.
    pub count: u64,
    /// All of it together, in nanoseconds.
    pub total_ns: u64,
    /// How long one took: percent, and nanoseconds.
    pub percentiles_ns: Vec<(f64, u64)>,
}

/// One of the two gateways of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The one that seals the bulk of the traffic.
    Sender,
    /// The one that opens it.
    Receiver,
}

impl Side {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

impl Stage {
    /// One of its percentiles; 0 if it is not among those that were computed.
    pub fn percentile(&self, wanted: f64) -> u64 {
        self.percentiles_ns.iter().find(|(percent, _)| *percent >= wanted).map_or(0, |&(_, ns)| ns)
    }
}

/// One figure of one contender in one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The test.
    pub test: String,
    /// The contender.
    pub contender: String,
    /// The figure.
    pub figure: String,
    /// How many measurements there are.
    pub runs: usize,
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Median of the absolute deviations from the median.
    pub mad: f64,
    /// What may be said about it beside the reference; absent for the reference itself, where that measured nothing,
    /// and in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Beside the reference; absent where there is no verdict, and where the reference has 0 in a round.
    #[serde(default)]
    pub ratio: Option<Ratio>,
}

/// A figure as a multiple of the reference's of the same round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// The middle of all rounds.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// What may be said about it: [`Summary::verdict`] again.
    pub verdict: Verdict,
}

/// What may be said about a ratio, or about two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A difference is seen, for the better.
    Better,
    /// A difference is seen, for the worse.
    Worse,
    /// A difference is seen; the figure has no good direction.
    Different,
    /// The runs vary more than they differ.
    NoDifferenceSeen,
    /// No outcome of so few runs could have shown a difference.
    TooFewRuns,
    /// The contender does not do the work that is compared.
    Ceiling,
}

impl Verdict {
    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Different => "different",
            Self::NoDifferenceSeen => "no difference seen",
            Self::TooFewRuns => "too few runs",
            Self::Ceiling => "ceiling",
        }
    }
}

impl Results {
    /// The measurements of a contender in a test that did not fail.
    pub fn runs_of<'a>(&'a self, test: &'a str, contender: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.test == test && run.contender == contender && run.error.is_none())
    }

    /// The measurements that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.error.is_some())
    }

    /// What was made of one figure, if anybody measured it.
    pub fn summary_of(&self, test: &str, contender: &str, figure: &str) -> Option<&Summary> {
        let wanted = |row: &&Summary| row.test == test && row.contender == contender && row.figure == figure;
        self.summary.iter().find(wanted)
    }
}

impl Figure {
    /// A figure of a test.
    pub fn new(name: &str, title: &str, unit: Unit, better: Better) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), unit, better }
    }
}
