//! Files of results of single commands. Sessions of `compare` and `aead` are in `model`. All of them are one family:
//! each begins with `schema` and `schema_version`, and has the machine's stamp.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use ringfort_testbed::{Context, Error, Result};
use ringfort_traffic::rfc2544::Report;
use ringfort_traffic::rrul::RrulOutcome;
use ringfort_traffic::tcp::BulkOutcome;
use ringfort_traffic::{Outcome, Size};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::model::{Contender, Stage};
use super::stamp::Stamp;
use crate::interrupt;
use crate::text::put;

/// Files of `udp`, `rfc2544` and `generator`.
pub const TRAFFIC: &str = "ringfort-traffic";
/// Files of `handshakes`.
pub const HANDSHAKES: &str = "ringfort-handshakes";
/// Files of `stages`.
pub const STAGES: &str = "ringfort-stages";
/// Files of `floods`.
pub const FLOODS: &str = "ringfort-floods";
/// Files of `soak`.
pub const SOAK: &str = "ringfort-soak";
/// Raised when a field of one of these changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// A file of results.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct File<T> {
    /// Its beginning.
    #[serde(flatten)]
    pub head: Head,
    /// What was found.
    #[serde(flatten)]
    pub findings: T,
}

/// What every file begins with.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Which kind of file it is.
    pub schema: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When it was written, RFC 3339 in UTC.
    pub finished: String,
    /// The command line.
    pub command: Vec<String>,
    /// On what it was measured, and by what.
    pub stamp: Stamp,
    /// What was measured.
    pub contender: Contender,
    /// The two hosts between which it was measured; absent on one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// What other programs took of all CPUs before it was measured, in percent; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_cpu_percent: Option<f64>,
}

/// The ends of a measurement between two hosts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hosts {
    /// The generator's address.
    pub from: IpAddr,
    /// The reflector's.
    pub to: IpAddr,
    /// The machine of the reflector, as it says. That of the generator is the file's own stamp.
    pub reflector: Stamp,
}

/// What files of traffic hold. Those of before 0.2 have no `kind`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "a file holds one, and a process few")]
pub enum Carried {
    /// One load.
    Udp(Udp),
    /// Rates and latencies by size.
    Rfc2544(Rfc2544),
    /// Bulk connections.
    Tcp(BulkOutcome),
    /// Round trips while bulk connections fill the way in both directions.
    Rrul(Box<RrulOutcome>),
}

/// What came of a load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Udp {
    /// What the generator and the receiver counted.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What the gateways did meanwhile; null where the lab started none.
    #[serde(default)]
    pub gateways: Option<Gateways>,
}

/// What two gateways did during a load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Gateways {
    /// CPU time of the sending and the receiving gateway, in seconds.
    pub cpu_s: [f64; 2],
    /// The most memory that each ever held, in KiB.
    pub memory_peak_kib: Option<[u64; 2]>,
    /// Packets that were dropped on the sending and on the receiving side, by where or why. `tunnel queue full` and
    /// `UDP buffer full` are the kernel's, in front of a gateway that is too slow. The others are the gateway's own
    /// reasons, if it names any.
    pub drops: BTreeMap<String, [u64; 2]>,
}

/// What was searched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rfc2544 {
    /// The sizes that were asked for; empty in older files.
    #[serde(default)]
    pub asked: Vec<Size>,
    /// Those that have been searched, in this order.
    pub sizes: Vec<Sized>,
}

/// What was found for one size.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sized {
    /// Size of the inner IP packets.
    pub size: Size,
    /// Mean size of the inner IP packets, in bytes.
    pub packet_bytes_mean: f64,
    /// Rates, trials and latencies.
    #[serde(flatten)]
    pub report: Report,
}

/// What files of stages hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stages {
    /// Each step of a packet's way, for each worker.
    pub stages: Vec<Stage>,
    /// What it costs to take the times; empty if nobody measured it.
    #[serde(default)]
    pub cost: Vec<Cost>,
}

/// The cost of taking the times under one load. Each list has one figure for each round, in the order of the rounds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// What ran through the tunnel.
    pub test: String,
    /// Without taking the times.
    pub off: CostRuns,
    /// With it.
    pub on: CostRuns,
    /// How much more CPU time a byte or a datagram took with the times taken than in the run beside it: the median over
    /// the rounds, in percent.
    pub cpu_percent: f64,
    /// How much less came through.
    pub rate_percent: f64,
}

/// Runs with or without.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CostRuns {
    /// What came through, in 10⁶ bits per second.
    pub megabits_per_s: Vec<f64>,
    /// CPU time of both gateways for each byte of TCP, or each datagram of UDP that arrived.
    pub cpu_ns_per_unit: Vec<f64>,
}

/// What files of floods hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Floods {
    /// Each attack, over each family.
    pub attacks: Vec<Findings>,
}

/// What was measured of one attack.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// As `--attacks` takes it.
    pub attack: String,
    /// `V4` or `V6`.
    pub family: String,
    /// The share of the transfer that should be kept, in percent.
    pub wanted_percent: f64,
    /// TCP while the flood arrives, in Mbit/s, by pair.
    pub arrives: Vec<f64>,
    /// The same while it is dropped.
    pub dropped: Vec<f64>,
    /// Their ratios in percent.
    pub kept_percent: Vec<f64>,
    /// Datagrams a second that the attacker sent while they arrived.
    pub sent_pps: Vec<f64>,
    /// The same while they were dropped.
    pub sent_when_dropped_pps: Vec<f64>,
    /// Cookies a second that came back.
    pub cookies_pps: Vec<f64>,
    /// CPU by role, in percent of one CPU, while the flood arrives, once for each run.
    pub cpu_arrives: BTreeMap<String, Vec<f64>>,
    /// The same while it is dropped.
    pub cpu_dropped: BTreeMap<String, Vec<f64>>,
    /// Handshakes of the honest peer while the flood and the transfer go on: how long each took, in seconds. Null: it
    /// was not done when the flood ended.
    pub honest_s: Vec<Option<f64>>,
    /// CPU time of the gateway for each datagram of the flood, in µs, without a transfer.
    pub cpu_us: f64,
    /// What the gateway holds before and after, in KiB.
    pub memory_kib: [u64; 2],
    /// What it dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Datagrams that its socket had no room for.
    pub socket_drops: u64,
    /// Of one, five and fifteen minutes, when the attack was over.
    pub load_average: String,
}

impl Head {
    /// In what a measurement of which this is the head differs from another one, if in anything.
    pub fn difference(&self, fresh: &Self) -> Option<String> {
        if self.contender != fresh.contender {
            return Some("its contender is another one, or another build".to_owned());
        }
        let reflectors = match (&self.hosts, &fresh.hosts) {
            (None, None) => Vec::new(),
            (Some(old), Some(new)) if (old.from, old.to) == (new.from, new.to) => {
                old.reflector.differences(&new.reflector)
            }
            _ => return Some("it is between other hosts".to_owned()),
        };
        self.stamp.differences(&fresh.stamp).into_iter().chain(reflectors).next()
    }
}

/// Why a command does not go on with a file: it is another `what`, begun with this `command`.
pub fn is_another(what: &str, path: &Path, difference: &str, command: &[String]) -> Error {
    let (path, command) = (path.display(), command.join(" "));
    Error::new(format!("--resume: {path} is another {what}: {difference}. It was begun with `{command}`"))
}

/// The beginning of a file that is written now.
pub fn head(schema: &str, contender: Contender) -> Head {
    Head {
        schema: schema.to_owned(),
        schema_version: SCHEMA_VERSION,
        finished: super::now(),
        command: std::env::args().collect(),
        stamp: Stamp::take(),
        contender,
        hosts: None,
        others_cpu_percent: None,
    }
}

/// Writes a file of results as JSON, to standard output for `-`.
///
/// # Errors
/// It cannot be written, or this was interrupted.
pub fn write<T: Serialize>(path: &Path, head: Head, findings: T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&File { head, findings }).context("writing results as JSON")?;
    text.push('\n');
    if path == Path::new("-") {
        interrupt::check()?;
        return put(&mut std::io::stdout(), &text);
    }
    super::write(path, &text)
}

/// The contents of a file of this kind that a measurement goes on with.
///
/// # Errors
/// It cannot be read, is of another kind, or another version of the program has begun it.
pub fn resumed<T: DeserializeOwned>(path: &Path, schema: &str) -> Result<File<T>> {
    let text = std::fs::read_to_string(path).context(format_args!("--resume: reading {}", path.display()))?;
    parsed(&text, schema).context(format_args!("--resume: {}", path.display()))
}

fn parsed<T: DeserializeOwned>(text: &str, schema: &str) -> Result<File<T>> {
    super::check_head(text, schema, SCHEMA_VERSION)?;
    serde_json::from_str(text).context("it does not follow the schema")
}

/// Refuses a file of results that cannot be written before an hour of measuring, not after it.
///
/// # Errors
/// There is no such directory, no name in it, or nobody may write there.
pub fn check_writable(path: Option<&Path>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(()) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || !directory.is_dir() {
        return Err(Error::new(format!("--json {}: there has to be a directory, and a name in it", path.display())));
    }
    // The file is made anew and takes the place of an old one, so the directory counts.
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK)
        .context(format_args!("--json {}: nothing can be written into this directory", path.display()))
}

/// The same for a command that prints tables as it goes.
///
/// # Errors
/// As [`check_writable`], and for standard output, where JSON would lie among tables.
pub fn check_writable_file(path: Option<&Path>) -> Result<()> {
    if path == Some(Path::new("-")) {
        return Err(Error::new("--json -: this command prints its tables there; name a file"));
    }
    check_writable(path)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::synthetic;

    #[test]
    fn what_goes_on_is_of_its_kind_and_of_this_version() {
        let text = &synthetic::others()[1];
        assert!(parsed::<Carried>(text, TRAFFIC).is_ok());
        let why = |text: &str, schema| parsed::<Carried>(text, schema).unwrap_err().to_string();
        assert!(why(text, SOAK).contains("its schema is \"ringfort-traffic\""), "{}", why(text, SOAK));
        let mut file: Value = serde_json::from_str(text).unwrap();
        file["schema_version"] = (SCHEMA_VERSION + 1).into();
        // Whatever else it has.
        file.as_object_mut().unwrap().remove("stamp");
        let why = why(&file.to_string(), TRAFFIC);
        assert!(why.contains("schema version 2, and this program reads version 1"), "{why}");
    }
}
