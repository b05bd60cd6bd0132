//! Latency under load: TCP as fast as it goes in both directions at once, beside probes of UDP and ICMP. It is what
//! flent's test RRUL (realtime response under load) does, with four connections each way.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ringfort_testbed::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::prober::{Answers, Echo, Prober, Trips};
use crate::sockets::open_the_way;
use crate::sys::nanoseconds;
use crate::tcp::{self, Bulk, BulkOutcome};
use crate::{Endpoint, Placement, seconds};

/// The most probes of a kind in a second.
pub const PROBES_PPS_MAX: u64 = 1_000;
/// The most seconds: each probe is remembered.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(3_600);
/// The time that a point of a plot stands for.
const INTERVAL: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rrul {
    /// Connections in each direction.
    pub streams: u16,
    /// How long only probes are sent at first.
    #[serde(rename = "quiet_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub quiet: Duration,
    /// How long the connections run before it is measured.
    #[serde(rename = "ramp_up_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub ramp_up: Duration,
    /// How long it is measured.
    #[serde(rename = "sustain_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub sustain: Duration,
    /// Probes of each kind in a second.
    pub probes_pps: u64,
    /// Where the threads of the connections run.
    pub placement: Placement,
}

impl Default for Rrul {
    /// Four connections each way for five seconds, after a second without them.
    fn default() -> Self {
        Self {
            streams: 4,
            quiet: Duration::from_secs(1),
            ramp_up: Duration::from_secs(1),
            sustain: Duration::from_secs(5),
            probes_pps: 200,
            placement: Placement::default(),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RrulOutcome {
    /// What was asked for.
    pub rrul: Rrul,
    /// From the first end to the second.
    pub forth: BulkOutcome,
    /// From the second to the first.
    pub back: BulkOutcome,
    /// Bytes that arrived in both directions, those of the ramp-up included.
    pub bytes_all: u64,
    /// When the measured time began, in seconds since the probes did.
    pub measured_from_s: f64,
    /// Round trips of UDP.
    pub udp: Probed,
    /// Round trips of ICMP echo.
    pub icmp: Probed,
}

/// Probes of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probed {
    /// Before the load.
    pub quiet: Answers,
    /// In the time that is measured.
    pub loaded: Answers,
    /// Seconds since the probes began, and the median time of the probes around then, in nanoseconds.
    pub over_time: Vec<(f64, u64)>,
}

impl Rrul {
    /// Checks it against the limits, for ends with these addresses.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn check(&self, from: IpAddr, to: IpAddr) -> Result<()> {
        if !(1..=PROBES_PPS_MAX).contains(&self.probes_pps) {
            return Err(Error::new(format!("{} probes per second: 1 to {PROBES_PPS_MAX}", self.probes_pps)));
        }
        let time = self.quiet.saturating_add(self.ramp_up).saturating_add(self.sustain);
        if time > TIME_MAX {
            return Err(Error::new(format!("{} s of probes: {} at the most", time.as_secs(), TIME_MAX.as_secs())));
        }
        self.bulk().check(from, to)
    }

    /// The transfer of each direction.
    pub(crate) fn bulk(&self) -> Bulk {
        let Self { streams, ramp_up, sustain, placement, .. } = self.clone();
        Bulk { streams, ramp_up, sustain, verify: true, placement }
    }
}

/// Loads both directions between two namespaces. `progress` counts the bytes that have arrived at the second so far.
///
/// # Errors
/// It is not within the limits, nothing gets through within five seconds, a connection breaks or stands still, or a
/// byte arrives that was not sent.
pub fn run(rrul: &Rrul, from: Endpoint<'_>, to: Endpoint<'_>, progress: &AtomicU64) -> Result<RrulOutcome> {
    rrul.check(from.address, to.address)?;
    open_the_way(from, to)?;
    let echo = to.namespace.enter(|| Echo::begin(to.address, from.address))?;
    let prober = from.namespace.enter(|| Prober::new(from.address, echo.address(), rrul.probes_pps))?;
    let probing = prober.begin(&rrul.placement);
    let (start_ns, bytes_back) = (probing.start_ns, AtomicU64::new(0));
    thread::sleep(rrul.quiet);
    let [(forth, forth_ns), (back, back_ns)] = load(&rrul.bulk(), [from, to], [progress, &bytes_back])?;
    // The last probes have their answers then, or never will.
    let trips = probing.end()?;
    echo.end()?;
    // Both ran in this time.
    let begin_ns = forth_ns.max(back_ns) + nanoseconds(rrul.ramp_up);
    let end_ns = forth_ns.min(back_ns) + nanoseconds(rrul.ramp_up) + nanoseconds(rrul.sustain);
    let bytes_all = progress.load(Ordering::Relaxed) + bytes_back.into_inner();
    Ok(RrulOutcome::of(rrul, ([forth, back], bytes_all), (start_ns, begin_ns..end_ns), trips))
}

impl RrulOutcome {
    /// Of what came of both directions, with all bytes of theirs, and of probes: when they began, and in which time
    /// both directions were measured, on one clock.
    pub(crate) fn of(
        rrul: &Rrul,
        ([forth, back], bytes_all): ([BulkOutcome; 2], u64),
        (start_ns, measured_ns): (u64, Range<u64>),
        trips: [Trips; 2],
    ) -> Self {
        let quiet_until_ns = start_ns + nanoseconds(rrul.quiet);
        let [udp, icmp] = trips.map(|trips| Probed {
            quiet: trips.during(start_ns, quiet_until_ns),
            loaded: trips.during(measured_ns.start, measured_ns.end),
            over_time: trips.over_time(start_ns, INTERVAL),
        });
        let measured_from_s = measured_ns.start.saturating_sub(start_ns) as f64 / 1e9;
        Self { rrul: rrul.clone(), forth, back, bytes_all, measured_from_s, udp, icmp }
    }
}

/// What came of a direction, and when it began.
type Timed = (BulkOutcome, u64);

/// Both directions at once, there and back.
fn load(bulk: &Bulk, [from, to]: [Endpoint<'_>; 2], progress: [&AtomicU64; 2]) -> Result<[Timed; 2]> {
    thread::scope(|scope| {
        let back = scope.spawn(|| tcp::run_timed(bulk, to, from, progress[1]));
        let forth = tcp::run_timed(bulk, from, to, progress[0]);
        let back = back.join().unwrap_or_else(|_| Err(Error::new("the transfer back panicked")));
        Ok([forth?, back?])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        let v4 = IpAddr::from([127, 0, 0, 1]);
        let refused = |rrul: Rrul| rrul.check(v4, v4).unwrap_err().to_string();
        assert!(refused(Rrul { probes_pps: 0, ..Rrul::default() }).contains("1 to 1000"));
        assert!(refused(Rrul { streams: 0, ..Rrul::default() }).contains("1 to 128"));
        assert!(refused(Rrul { quiet: Duration::from_secs(9_999), ..Rrul::default() }).contains("3600 at the most"));
        assert!(Rrul::default().check(v4, v4).is_ok());
    }
}
