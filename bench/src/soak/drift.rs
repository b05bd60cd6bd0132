//! What grows or shrinks while a soak goes on.
//!
//! The slope is that of Theil and Sen: the median over all pairs of turns, which outliers do not move. It is claimed
//! only if Kendall's test leaves less than 1 % to chance. Only turns of the same part are compared: each part has
//! gateways of its own, which begin with the memory of a start. The first turn of a part is left out for that reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use crate::results::model::Unit;
use crate::results::stats::Spread;
use crate::scale::Scale;

/// Chance exceeds this in less than one of a hundred cases, on both sides of the normal distribution.
const Z_MIN: f64 = 2.576;
/// Points of a part: longer ones are cut into so many groups, and each has its median.
const POINTS_MAX: usize = 500;
/// Turns without the first one that can show anything.
const TURNS_MIN: usize = 8;

/// What grew or shrank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// What.
    pub figure: String,
    /// In what it is counted.
    pub unit: Unit,
    /// By how much in an hour; negative if it shrank.
    pub per_hour: f64,
}

/// A figure of a turn.
type Read = fn(&Turn) -> Option<f64>;

/// The figures that are looked at.
const FIGURES: [(&str, Unit, Read); 7] = [
    ("memory of the sending gateway", Unit::Kibibytes, |turn| Some(turn.memory_kib?[0] as f64)),
    ("memory of the receiving gateway", Unit::Kibibytes, |turn| Some(turn.memory_kib?[1] as f64)),
    ("TCP throughput there", Unit::MegabitsPerSecond, |turn| Some(turn.tcp_megabits_per_s[0])),
    ("TCP throughput back", Unit::MegabitsPerSecond, |turn| Some(turn.tcp_megabits_per_s[1])),
    ("p99 of round trips", Unit::Nanoseconds, |turn| Some(turn.trips.times_ns?.p99 as f64)),
    ("CPU of the sending gateway", Unit::Percent, |turn| Some(turn.cpu_percent?[0])),
    ("CPU of the receiving gateway", Unit::Percent, |turn| Some(turn.cpu_percent?[1])),
];

/// All that is seen in these turns.
pub fn drifts(turns: &[Turn]) -> Vec<Drift> {
    let drift = |(figure, unit, read): &(&str, Unit, Read)| {
        let per_hour = slope_per_second(&points(turns, *read))? * 3_600.0;
        Some(Drift { figure: (*figure).to_owned(), unit: *unit, per_hour })
    };
    FIGURES.iter().filter_map(drift).collect()
}

/// The same for people.
pub fn sentences(turns: &[Turn]) -> Vec<String> {
    if points(turns, |_| Some(0.0)).iter().map(Vec::len).max().unwrap_or(0) < TURNS_MIN {
        return vec![format!("Too short to see a drift: that needs {} turns.", TURNS_MIN + 1)];
    }
    let drifts = drifts(turns);
    if drifts.is_empty() {
        // Where the lab has started no gateways, nobody has looked at their memory and CPU.
        let gateways = turns.iter().any(|turn| turn.memory_kib.is_some());
        let what = if gateways { "memory, throughput, round trips and CPU" } else { "throughput and round trips" };
        return vec![format!("No drift is seen in {what}.")];
    }
    drifts.iter().map(Drift::sentence).collect()
}

impl Drift {
    /// For people.
    pub fn sentence(&self) -> String {
        let verb = if self.per_hour > 0.0 { "grows" } else { "shrinks" };
        let amount = Scale::of(self.unit, self.per_hour).value(self.per_hour.abs());
        format!("DRIFT: {} {verb} by {amount} an hour.", self.figure)
    }
}

/// When and how much, for each part.
fn points(turns: &[Turn], read: Read) -> Vec<Vec<(f64, f64)>> {
    let part = |turns: &[Turn]| -> Vec<(f64, f64)> {
        let good = turns.iter().skip(1).filter(|turn| turn.error.is_none());
        let all: Vec<(f64, f64)> = good.filter_map(|turn| Some((turn.at_s, read(turn)?))).collect();
        let group = all.len().div_ceil(POINTS_MAX).max(1);
        let middle = |group: &[(f64, f64)]| {
            (median(group.iter().map(|point| point.0)), median(group.iter().map(|point| point.1)))
        };
        all.chunks(group).map(middle).collect()
    };
    turns.chunk_by(|one, next| one.part == next.part).map(part).collect()
}

/// The slope, if there is one.
fn slope_per_second(parts: &[Vec<(f64, f64)>]) -> Option<f64> {
    let (mut slopes, mut agreement, mut variance) = (Vec::new(), 0.0, 0.0);
    for points in parts.iter().filter(|points| points.len() >= TURNS_MIN) {
        for (number, (earlier_s, earlier)) in points.iter().enumerate() {
            for (later_s, later) in &points[number + 1..] {
                agreement += (later - earlier).partial_cmp(&0.0).map_or(0.0, |order| f64::from(order as i8));
                slopes.push((later - earlier) / (later_s - earlier_s));
            }
        }
        // Kendall (1938), without ties: with them it is smaller, so a drift is claimed less often.
        let count = points.len() as f64;
        variance += count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
    }
    // Less by one, since it goes in steps.
    let is_seen = variance > 0.0 && (agreement.abs() - 1.0) / variance.sqrt() > Z_MIN;
    is_seen.then(|| median(slopes.into_iter()))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    Spread::of(&values).map_or(0.0, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn each minute, with that much memory.
    fn turns(part: u32, kib: impl Fn(u64) -> u64, count: u64) -> Vec<Turn> {
        let turn = |number: u64| Turn {
            part,
            at_s: number as f64 * 60.0,
            memory_kib: Some([kib(number), 9_000]),
            ..Turn::default()
        };
        (0..count).map(turn).collect()
    }

    /// Numbers up to a bound without an order, the same in each run.
    fn noise(number: u64, bound: u64) -> u64 {
        ((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % bound
    }

    #[test]
    fn of_an_even_number_of_turns_the_middle_is_between_two() {
        assert_eq!(median([4.0, 1.0, 2.0, 9.0].into_iter()), 3.0);
        // Two turns make a point, and the first is left out.
        let points =
            points(&turns(1, |number| number, 1 + 2 * POINTS_MAX as u64), |turn| Some(turn.memory_kib?[0] as f64));
        assert_eq!(points[0][..2], [(90.0, 1.5), (210.0, 3.5)]);
    }

    #[test]
    fn a_leak_is_seen_through_noise() {
        // 17 KiB a minute are 1,020 an hour.
        let leaking = turns(1, |number| 20_000 + 17 * number + noise(number, 64), 60);
        let drifts = drifts(&leaking);
        assert_eq!(drifts.len(), 1, "{drifts:?}");
        assert!((drifts[0].per_hour - 1_020.0).abs() < 60.0, "{drifts:?}");
        let said = sentences(&leaking);
        assert!(said[0].starts_with("DRIFT: memory of the sending gateway grows by "), "{said:?}");
        assert!(said[0].ends_with(" MiB an hour."), "{said:?}");
    }

    #[test]
    fn noise_and_a_start_are_no_drift() {
        let steady = turns(1, |number| if number == 0 { 5_000 } else { 20_000 + noise(number, 64) }, 40);
        assert_eq!(drifts(&steady), []);
        assert!(sentences(&steady)[0].starts_with("No drift is seen in memory"));
        let between_hosts: Vec<Turn> = steady.into_iter().map(|turn| Turn { memory_kib: None, ..turn }).collect();
        assert_eq!(sentences(&between_hosts), ["No drift is seen in throughput and round trips."]);
        // Each part begins low again, and grows in none.
        let parts = [turns(1, |_| 20_000, 12), turns(2, |_| 21_000, 12), turns(3, |_| 22_000, 12)].concat();
        assert_eq!(drifts(&parts), []);
    }

    #[test]
    fn what_shrinks_is_said_and_what_is_short_says_nothing() {
        let shrinking = turns(1, |number| 20_000 - 10 * number, 10);
        assert!(sentences(&shrinking)[0].contains("shrinks by"));
        assert!(sentences(&shrinking[..8])[0].starts_with("Too short"), "{:?}", sentences(&shrinking[..8]));
        assert_eq!(drifts(&shrinking[..8]), []);
    }

    #[test]
    fn days_are_cut_into_groups() {
        let days = turns(1, |number| 20_000 + number / 10, 5_000);
        let points = points(&days, FIGURES[0].2);
        assert!(points[0].len() <= POINTS_MAX, "{}", points[0].len());
        // A tenth of a KiB a minute.
        assert!((drifts(&days)[0].per_hour - 6.0).abs() < 0.2);
    }
}
