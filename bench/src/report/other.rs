//! Files of single commands: what kind they are, and the figures in them.

use std::path::Path;

use ringfort_testbed::{Context, Error, Result};
use ringfort_traffic::rfc2544::LatencyAt;
use ringfort_traffic::rrul::RrulOutcome;
use ringfort_traffic::search::Found;
use ringfort_traffic::tcp::BulkOutcome;
use ringfort_traffic::{Outcome, Percentiles, Size};
use serde::Deserialize;
use serde_json::Value;

use crate::handshakes;
use crate::results::Results;
use crate::results::files::{
    Carried, FLOODS, File, Floods, HANDSHAKES, Head, SCHEMA_VERSION, SOAK, STAGES, Sized, Stages, TRAFFIC,
};
use crate::results::model::{Better, SCHEMA, Stage, Unit};
use crate::results::stats::Spread;
use crate::soak::{Soak, Turn};
use crate::traffic::bulk::{named, percent_lost};
use crate::traffic::numbers::way;

/// Any file of results.
#[derive(Clone, Debug)]
pub enum Any {
    /// Of `compare` or `aead`.
    Session(Box<Results>),
    /// Of another command.
    Other(Box<Other>),
}

/// A file of a single command.
#[derive(Clone, Debug)]
pub enum Other {
    /// Of `udp`, `rfc2544` and `generator`.
    Traffic(File<Carried>),
    /// Of `handshakes`.
    Handshakes(File<handshakes::Outcome>),
    /// Of `stages`.
    Stages(File<Stages>),
    /// Of `floods`.
    Floods(File<Floods>),
    /// Of `soak`.
    Soak(File<Soak>),
}

/// A number, and what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// Of what: a size, a direction, a stage.
    pub subject: String,
    /// What was counted.
    pub figure: String,
    /// In what.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// How much.
    pub value: f64,
}

impl Any {
    /// Reads a file of any kind.
    ///
    /// # Errors
    /// It cannot be read, is none of ours, or of another version.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(format_args!("reading {}", path.display()))?;
        Self::parse(&text).context(path.display())
    }

    /// The contents of such a file.
    ///
    /// # Errors
    /// As [`Any::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("this is not a file of results of ringfort-bench")?;
        let Some(schema) = value["schema"].as_str() else {
            return Err(Error::new("this is not a file of results of ringfort-bench: it does not name its schema"));
        };
        match schema {
            SCHEMA => Results::parse(text).map(|results| Self::Session(Box::new(results))),
            TRAFFIC => read(with_kind(value)).map(Other::Traffic).map(Self::other),
            HANDSHAKES => read(value).map(Other::Handshakes).map(Self::other),
            STAGES => read(value).map(Other::Stages).map(Self::other),
            FLOODS => read(value).map(Other::Floods).map(Self::other),
            SOAK => read(value).map(Other::Soak).map(Self::other),
            _ => {
                let known = [SCHEMA, TRAFFIC, HANDSHAKES, STAGES, FLOODS, SOAK].join(", ");
                Err(Error::new(format!("its schema is {schema:?}; {known} are known")))
            }
        }
    }

    fn other(other: Other) -> Self {
        Self::Other(Box::new(other))
    }
}

fn read<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T> {
    let version = &value["schema_version"];
    if version.as_u64() != Some(u64::from(SCHEMA_VERSION)) {
        let message = format!("it has schema version {version}, and this program reads version {SCHEMA_VERSION}");
        return Err(Error::new(message));
    }
    serde_json::from_value(value).context("it does not follow the schema")
}

/// Files of traffic did not say their kind at first.
fn with_kind(mut value: Value) -> Value {
    if value.get("kind").is_none() {
        let kind = if value.get("sizes").is_some() { "rfc2544" } else { "udp" };
        value["kind"] = kind.into();
    }
    value
}

impl Other {
    /// What every file begins with.
    pub fn head(&self) -> &Head {
        match self {
            Self::Traffic(file) => &file.head,
            Self::Handshakes(file) => &file.head,
            Self::Stages(file) => &file.head,
            Self::Floods(file) => &file.head,
            Self::Soak(file) => &file.head,
        }
    }

    /// For people.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Traffic(File { findings: Carried::Udp(_), .. }) => "UDP load",
            Self::Traffic(File { findings: Carried::Rfc2544(_), .. }) => "Throughput without loss (RFC 2544)",
            Self::Traffic(File { findings: Carried::Tcp(_), .. }) => "TCP connections",
            Self::Traffic(File { findings: Carried::Rrul(_), .. }) => "Latency under load (RRUL)",
            Self::Handshakes(_) => "Handshakes",
            Self::Stages(_) => "Stages of a packet's way",
            Self::Floods(_) => "Floods",
            Self::Soak(_) => "Soak",
        }
    }

    /// All figures, those of one subject side by side.
    pub fn data(&self) -> Vec<Datum> {
        match self {
            Self::Traffic(file) => match &file.findings {
                Carried::Udp(udp) => legs(&udp.outcome),
                Carried::Rfc2544(found) => found.sizes.iter().flat_map(rates).collect(),
                Carried::Tcp(outcome) => bulk(format!("{} connections", outcome.bulk.streams), outcome),
                Carried::Rrul(outcome) => rrul(outcome),
            },
            Self::Handshakes(file) => handshakes_of(&file.findings),
            Self::Stages(file) => file.findings.stages.iter().flat_map(stage).collect(),
            Self::Floods(file) => file.findings.attacks.iter().flat_map(attack).collect(),
            Self::Soak(file) => soak(&file.findings),
        }
    }
}

/// The figures of one subject.
struct Data {
    subject: String,
    all: Vec<Datum>,
}

impl Data {
    fn of(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), all: Vec::new() }
    }

    fn note(&mut self, figure: &str, unit: Unit, better: Better, value: f64) {
        if value.is_finite() {
            let (subject, figure) = (self.subject.clone(), figure.to_owned());
            self.all.push(Datum { subject, figure, unit, better, value });
        }
    }

    fn times(&mut self, prefix: &str, times: Option<Percentiles>) {
        let Some(times) = times else { return };
        let named = [("p50", times.p50), ("p90", times.p90), ("p99", times.p99), ("p99.9", times.p99_9)];
        for (name, ns) in named.into_iter().chain([("longest", times.max)]) {
            self.note(&format!("{prefix}{name}"), Unit::Nanoseconds, Better::Lower, ns as f64);
        }
    }
}

/// `64 bytes`, `IMIX`.
pub fn size_name(size: Size) -> String {
    match size {
        Size::Fixed { bytes } => format!("{bytes} bytes"),
        Size::Imix(_) => "IMIX".to_owned(),
    }
}

fn bulk(subject: String, outcome: &BulkOutcome) -> Vec<Datum> {
    let mut data = Data::of(subject);
    data.note("throughput", Unit::MegabitsPerSecond, Better::Higher, outcome.megabits_per_s);
    data.note("fairness", Unit::Number, Better::Higher, outcome.fairness);
    data.note("sent again", Unit::Number, Better::Lower, outcome.retransmits as f64);
    data.note("sender's CPU", Unit::Percent, Better::Neither, outcome.sender_cpu_percent);
    data.note("receiver's CPU", Unit::Percent, Better::Neither, outcome.receiver_cpu_percent);
    data.all
}

fn rrul(outcome: &RrulOutcome) -> Vec<Datum> {
    let mut all = Vec::new();
    for (name, answers) in named(outcome) {
        let mut data = Data::of(format!("round trips of {name}"));
        data.times("", answers.times_ns);
        data.note("lost", Unit::Percent, Better::Lower, percent_lost(answers));
        all.extend(data.all);
    }
    all.extend(
        [("TCP, there", &outcome.forth), ("TCP, back", &outcome.back)]
            .into_iter()
            .flat_map(|(name, outcome)| bulk(name.to_owned(), outcome)),
    );
    all
}

fn legs(outcome: &Outcome) -> Vec<Datum> {
    let of_leg = |leg: &ringfort_traffic::Leg| {
        let traffic = &leg.traffic;
        let mut data = Data::of(format!("{}, {}", size_name(outcome.load.size), way(leg.route)));
        data.note("asked", Unit::PacketsPerSecond, Better::Neither, traffic.asked_pps);
        data.note("offered", Unit::PacketsPerSecond, Better::Neither, traffic.offered_pps);
        data.note("delivered", Unit::PacketsPerSecond, Better::Higher, traffic.delivered_pps);
        data.note("throughput", Unit::MegabitsPerSecond, Better::Higher, traffic.delivered_mbit_per_s);
        data.note("lost", Unit::Percent, Better::Lower, traffic.loss_ratio * 100.0);
        data.times("", traffic.latency_ns);
        data.note("reordered", Unit::Number, Better::Lower, traffic.reordered as f64);
        data.note("repeated", Unit::Number, Better::Lower, traffic.duplicated as f64);
        data.all
    };
    outcome.legs.iter().flat_map(of_leg).collect()
}

fn rates(sized: &Sized) -> Vec<Datum> {
    let mut data = Data::of(size_name(sized.size));
    let search = &sized.report.search;
    for (name, found) in [("NDR", search.ndr), ("PDR", search.pdr)] {
        let Found { rate_pps: Some(rate), .. } = found else { continue };
        let megabits = rate as f64 * sized.packet_bytes_mean * 8.0 / 1e6;
        data.note(name, Unit::PacketsPerSecond, Better::Higher, rate as f64);
        data.note(&format!("{name}, throughput"), Unit::MegabitsPerSecond, Better::Higher, megabits);
    }
    for LatencyAt { pdr_percent, outcome } in &sized.report.latencies {
        let Some(times) = outcome.total.latency_ns else { continue };
        for (name, ns) in [("p50", times.p50), ("p99", times.p99)] {
            let name = format!("{name} at {pdr_percent} % of PDR");
            data.note(&name, Unit::Nanoseconds, Better::Lower, ns as f64);
        }
    }
    if let Some(bursts) = &sized.report.back_to_back {
        if let Some(packets) = bursts.packets {
            data.note("longest burst", Unit::Number, Better::Higher, packets as f64);
        }
        data.note("burst, offered", Unit::PacketsPerSecond, Better::Neither, bursts.offered_pps);
        if let Some(buffer_s) = bursts.buffer_s {
            data.note("buffer", Unit::Nanoseconds, Better::Neither, buffer_s * 1e9);
        }
    }
    data.all
}

fn handshakes_of(outcome: &handshakes::Outcome) -> Vec<Datum> {
    let mut data = Data::of("handshakes");
    data.note("sessions", Unit::PerSecond, Better::Higher, outcome.sessions_per_s);
    data.note("given up", Unit::Number, Better::Lower, outcome.given_up as f64);
    data.note("CPU for each", Unit::Nanoseconds, Better::Lower, outcome.gateway.cpu_us * 1e3);
    data.times("", outcome.time_to_session_ns);
    for (name, trips) in ["another's ping, before: ", "another's ping, meanwhile: "].iter().zip(&outcome.bystander) {
        data.times(name, trips.times_ns);
    }
    data.all
}

fn stage(stage: &Stage) -> Vec<Datum> {
    let Stage { test, side, worker, name, .. } = stage;
    let mut data = Data::of(format!("{test}, {} {worker}: {name}", side.name()));
    data.note("times", Unit::Number, Better::Neither, stage.count as f64);
    data.note("together", Unit::Nanoseconds, Better::Lower, stage.total_ns as f64);
    for (name, percent) in [("p50", 50.0), ("p99", 99.0), ("longest", 100.0)] {
        data.note(name, Unit::Nanoseconds, Better::Lower, stage.percentile(percent) as f64);
    }
    data.all
}

fn attack(found: &crate::results::files::Findings) -> Vec<Datum> {
    let mut data = Data::of(format!("{}, IP{}", found.attack, found.family.to_lowercase()));
    let medians = [
        ("kept", Unit::Percent, Better::Higher, &found.kept_percent),
        ("TCP, flood arrives", Unit::MegabitsPerSecond, Better::Higher, &found.arrives),
        ("TCP, flood dropped", Unit::MegabitsPerSecond, Better::Neither, &found.dropped),
        ("flood", Unit::PacketsPerSecond, Better::Neither, &found.sent_pps),
    ];
    for (name, unit, better, runs) in medians {
        if let Some(spread) = Spread::of(runs) {
            data.note(name, unit, better, spread.median);
        }
    }
    data.note("CPU for each datagram", Unit::Nanoseconds, Better::Lower, found.cpu_us * 1e3);
    data.all
}

/// Medians over the turns, what was lost in all of them, and drifts.
fn soak(soak: &Soak) -> Vec<Datum> {
    let good: Vec<&Turn> = soak.turns.iter().filter(|turn| turn.error.is_none()).collect();
    let mut data = Data::of("median turn");
    let mut median = |figure: &str, unit, better, read: &dyn Fn(&Turn) -> Option<f64>| {
        let values: Vec<f64> = good.iter().filter_map(|turn| read(turn)).collect();
        if let Some(spread) = Spread::of(&values) {
            data.note(figure, unit, better, spread.median);
        }
    };
    median("TCP there", Unit::MegabitsPerSecond, Better::Higher, &|turn| Some(turn.tcp_megabits_per_s[0]));
    median("TCP back", Unit::MegabitsPerSecond, Better::Higher, &|turn| Some(turn.tcp_megabits_per_s[1]));
    median("UDP lost", Unit::Percent, Better::Lower, &|turn| Some(turn.udp_lost_percent()));
    median("round trip, p50", Unit::Nanoseconds, Better::Lower, &|turn| Some(turn.trips.times_ns?.p50 as f64));
    median("round trip, p99", Unit::Nanoseconds, Better::Lower, &|turn| Some(turn.trips.times_ns?.p99 as f64));
    for (side, name) in ["sender", "receiver"].into_iter().enumerate() {
        median(&format!("CPU, {name}"), Unit::Percent, Better::Lower, &|turn| Some(turn.cpu_percent?[side]));
        let memory = |turn: &Turn| Some(turn.memory_kib?[side] as f64);
        median(&format!("memory, {name}"), Unit::Kibibytes, Better::Lower, &memory);
    }
    if soak.plan.peers.is_some() {
        data.note("drops", Unit::Number, Better::Lower, soak.turns.iter().map(Turn::dropped).sum::<u64>() as f64);
    }
    data.note("failed turns", Unit::Number, Better::Lower, (soak.turns.len() - good.len()) as f64);
    let mut drifts = Data::of("drift, an hour");
    for drift in &soak.drifts {
        drifts.note(&drift.figure, drift.unit, Better::Neither, drift.per_hour);
    }
    data.all.extend(drifts.all);
    data.all
}
