//! One turn of a soak: its traffic, and its figures.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_testbed::Result;
use ringfort_traffic::rrul::{Rrul, RrulOutcome};
use ringfort_traffic::{Answers, Clocks, Direction, Imix, Load, Outcome, Percentiles, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::plan::Plan;
use crate::text::{duration, grouped};

/// Flows of UDP.
const FLOWS: u16 = 16;
/// Probes of each kind in a second.
const PROBES_PPS: u64 = 20;
/// The longest packets of UDP, in bytes, where the way takes them.
const LONGEST: u16 = 1_420;

/// The figures of a turn. Of pairs, the first is about the way there, or the sending gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// Counts how often the soak was begun. Each part has gateways of its own.
    pub part: u32,
    /// When it began, in seconds since its part did.
    pub at_s: f64,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// TCP in both directions, in 10⁶ bits of payload per second.
    pub tcp_megabits_per_s: [f64; 2],
    /// Segments of TCP that were sent again.
    pub tcp_retransmits: u64,
    /// UDP packets of both directions that were sent.
    pub udp_sent: u64,
    /// Of these, those that did not arrive.
    pub udp_lost: u64,
    /// From when a UDP packet was due to when it was received, one way.
    pub udp_ns: Option<Percentiles>,
    /// How the clocks of two hosts compared: so wrong may `udp_ns` be. Absent on one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Clocks>,
    /// Round trips of UDP probes.
    pub trips: Answers,
    /// Round trips of ICMP echo.
    pub pings: Answers,
    /// CPU time of both gateways, in percent of one CPU; null where there are none.
    pub cpu_percent: Option<[f64; 2]>,
    /// What both gateways hold after it, in KiB.
    pub memory_kib: Option<[u64; 2]>,
    /// Packets that were dropped meanwhile, by where or why.
    pub drops: BTreeMap<String, [u64; 2]>,
}

/// The heads of the columns of [`Turn::line`].
pub fn head() -> String {
    format!(
        "{:>4} {:>14} {:>9} {:>17} {:>8} {:>15} {:>6}",
        "turn", "TCP, Mbit/s", "UDP lost", "trips: p50, p99", "CPU, %", "memory, MiB", "drops"
    )
}

/// Carries the traffic of a turn, and counts. What goes wrong with the traffic is noted in the turn.
///
/// # Errors
/// A gateway has died.
pub fn measure(place: &mut Place<'_>, plan: &Plan, part: u32, at_s: f64) -> Result<Turn> {
    let before = place.counters()?;
    let begun = std::time::Instant::now();
    let (mixed, load) = plan.traffic();
    let carried = place.carry(&mixed, &load);
    let elapsed_s = begun.elapsed().as_secs_f64();
    let gateways = place.since(before.as_ref())?;
    let mut turn = Turn { part, at_s, memory_kib: place.memory_kib(), ..Turn::default() };
    if let Some(gateways) = gateways {
        turn.cpu_percent = Some(gateways.cpu_s.map(|cpu_s| (cpu_s / elapsed_s * 1e4).round() / 1e2));
        turn.drops = gateways.drops;
    }
    match carried {
        Ok((mixed, load)) => turn.note(&mixed, &load),
        Err(error) => turn.error = Some(error.to_string()),
    }
    Ok(turn)
}

impl Plan {
    /// TCP with probes, and UDP.
    fn traffic(&self) -> (Rrul, Load) {
        let time = Duration::from_secs(self.every_s);
        let mixed = Rrul {
            streams: self.streams,
            quiet: Duration::ZERO,
            ramp_up: Duration::ZERO,
            sustain: time,
            probes_pps: PROBES_PPS,
            ..Rrul::default()
        };
        let largest_bytes = u16::try_from(self.mtu).unwrap_or(LONGEST).min(LONGEST);
        let load = Load {
            size: Size::Imix(Imix { largest_bytes }),
            rate_pps: self.rate_pps,
            flows: FLOWS,
            direction: Direction::BothWays,
            duration: time,
            ..Load::default()
        };
        (mixed, load)
    }
}

impl Turn {
    fn note(&mut self, mixed: &RrulOutcome, load: &Outcome) {
        let hundredths = |value: f64| (value * 1e2).round() / 1e2;
        self.tcp_megabits_per_s = [&mixed.forth, &mixed.back].map(|way| hundredths(way.megabits_per_s));
        self.tcp_retransmits = mixed.forth.retransmits + mixed.back.retransmits;
        (self.udp_sent, self.udp_lost) = (load.total.sent, load.total.lost);
        (self.udp_ns, self.clocks) = (load.total.latency_ns, load.clocks);
        (self.trips, self.pings) = (mixed.udp.loaded, mixed.icmp.loaded);
    }

    /// UDP packets that were lost, in percent.
    pub fn udp_lost_percent(&self) -> f64 {
        if self.udp_sent == 0 { 0.0 } else { self.udp_lost as f64 * 100.0 / self.udp_sent as f64 }
    }

    /// All drops together.
    pub fn dropped(&self) -> u64 {
        self.drops.values().flatten().sum()
    }

    /// A line of a table, below [`head`].
    pub fn line(&self, number: usize) -> String {
        if let Some(error) = &self.error {
            return format!("{number:>4}  FAILED: {}", error.lines().next().unwrap_or_default());
        }
        let time = |pick: fn(&Percentiles) -> u64| {
            self.trips.times_ns.as_ref().map_or_else(dash, |times| duration(Duration::from_nanos(pick(times))))
        };
        let cpu = |side: usize| self.cpu_percent.map_or_else(dash, |percent| format!("{:.0}", percent[side]));
        let memory =
            |side: usize| self.memory_kib.map_or_else(dash, |kib| format!("{:.1}", kib[side] as f64 / 1_024.0));
        let [there, back] = self.tcp_megabits_per_s;
        format!(
            "{number:>4} {there:>6.0}  {back:>6.0} {:>8.3}% {:>8} {:>8} {:>3}  {:>3} {:>7} {:>7} {:>6}",
            self.udp_lost_percent(),
            time(|times| times.p50),
            time(|times| times.p99),
            cpu(0),
            cpu(1),
            memory(0),
            memory(1),
            grouped(self.dropped()),
        )
    }
}

fn dash() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(p50: u64, p99: u64) -> Percentiles {
        Percentiles { count: 9, min: 1, mean: 2.0, stdev: 1.0, p50, p90: p50, p99, p99_9: p99, p99_99: p99, max: p99 }
    }

    #[test]
    fn a_line_stands_below_its_heads_and_fits_a_terminal() {
        let turn = Turn {
            tcp_megabits_per_s: [12_345.6, 4.0],
            udp_sent: 1_000,
            udp_lost: 999,
            trips: Answers { sent: 9, lost: 0, times_ns: Some(percentiles(123_456_789, 1_500_000_000)) },
            cpu_percent: Some([199.6, 5.0]),
            memory_kib: Some([1_234_567, 20_000]),
            drops: BTreeMap::from([("no session".to_owned(), [100, 23])]),
            ..Turn::default()
        };
        let line = turn.line(1_440);
        let widths = [head(), line.clone()].map(|line| line.chars().count());
        assert_eq!(widths, [79, 79], "\n{}\n{line}", head());
        for part in ["1440", "12346", "99.900%", "123.5 ms", "1.50 s", "200", "1205.6", "19.5", "123"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
        let failed = Turn { error: Some("it broke\nbadly".to_owned()), ..Turn::default() };
        assert_eq!(failed.line(7), "   7  FAILED: it broke");
        assert!(Turn::default().line(1).contains('–'));
    }
}
