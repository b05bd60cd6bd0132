//! The longest burst that gets through whole: RFC 2544, section 26.4, and RFC 9004, which says what it tells of a
//! device's buffers.
//!
//! RFC 2544 sends bursts at the rate of the medium. A tunnel has none, so the plan names a rate. A generator that
//! cannot offer it sends as fast as it can: what it offered is part of the answer.

use std::time::Duration;

use ringfort_testbed::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::search::{SearchPlan, Trial, highest};
use crate::{Outcome, seconds};

/// How to search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BurstPlan {
    /// Packets per second and direction within a burst.
    pub rate_pps: u64,
    /// How long a burst takes at that rate at the most; RFC 2544 wants two seconds at least.
    #[serde(rename = "longest_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub longest: Duration,
    /// The search ends when the shortest burst that fails is above the longest that passes by no more than this share
    /// of it.
    pub resolution: f64,
    /// Trials of each length; one passes when more than half of them do. Odd.
    pub repeats: u32,
}

/// What became of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BurstTrial {
    /// Packets in each direction.
    pub packets: u64,
    /// How fast they were handed over, in packets per second and direction.
    pub offered_pps: f64,
    /// Packets of all directions that did not arrive, or that the kernel did not take.
    pub lost: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackToBack {
    /// How it was searched.
    pub plan: BurstPlan,
    /// The longest burst that lost nothing, in packets and for each direction; null when not even a single packet got
    /// through.
    pub packets: Option<u64>,
    /// The shortest longer one that lost something; null when the longest of the plan lost nothing.
    pub failed_at: Option<u64>,
    /// How fast the bursts were handed over: the median of all trials, in packets per second and direction.
    pub offered_pps: f64,
    /// How long the device can buffer what exceeds its no-drop rate: the corrected buffer time of RFC 9004, section
    /// 6.4, in seconds. Null when no burst failed, or when bursts were offered no faster than the no-drop rate.
    pub buffer_s: Option<f64>,
    /// Everything that was tried, in its order.
    pub trials: Vec<BurstTrial>,
}

impl BurstPlan {
    fn packets_max(&self) -> u64 {
        (self.rate_pps as f64 * self.longest.as_secs_f64()) as u64
    }

    /// Checks it against the limits.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn check(&self) -> Result<()> {
        if self.packets_max() == 0 {
            let (rate, longest) = (self.rate_pps, self.longest.as_secs_f64());
            return Err(Error::new(format!("bursts of {longest} s at {rate} packets per second have no packets")));
        }
        self.lengths().check()
    }

    /// The same search as that for a rate, over lengths.
    fn lengths(&self) -> SearchPlan {
        SearchPlan {
            rate_pps_min: 1,
            rate_pps_max: self.packets_max(),
            resolution: self.resolution,
            repeats: self.repeats,
            pdr_loss_ratio: 0.0,
            trial: self.longest,
        }
    }
}

/// Searches for the longest burst. `ndr_pps` is the no-drop rate, if there is one. `carry` sends a burst of so many
/// packets.
///
/// # Errors
/// The plan is not within the limits, or the first error of `carry`.
pub fn longest_burst(
    plan: &BurstPlan,
    ndr_pps: Option<u64>,
    mut carry: impl FnMut(u64) -> Result<Outcome>,
) -> Result<BackToBack> {
    plan.check()?;
    let mut trials = Vec::new();
    let found = highest(&plan.lengths(), 0.0, |packets| {
        let trial = BurstTrial::of(packets, &carry(packets)?);
        trials.push(trial);
        let loss_ratio = if trial.lost == 0 { 0.0 } else { 1.0 };
        let offered_pps = trial.offered_pps;
        Ok(Trial { rate_pps: packets, offered_pps, delivered_pps: 0.0, loss_ratio, generator_limited: false })
    })?;
    let mut offered: Vec<f64> = trials.iter().map(|trial| trial.offered_pps).collect();
    offered.sort_by(f64::total_cmp);
    let offered_pps = match offered.len() {
        0 => 0.0,
        len => f64::midpoint(offered[(len - 1) / 2], offered[len / 2]),
    };
    let (packets, failed_at) = (found.rate_pps, found.failed_at_pps);
    let buffer_s = packets.filter(|_| failed_at.is_some()).and_then(|packets| {
        // What did not have to wait has left meanwhile.
        let share = 1.0 - ndr_pps.unwrap_or(0) as f64 / offered_pps;
        (share > 0.0 && share.is_finite()).then(|| packets as f64 / offered_pps * share)
    });
    Ok(BackToBack { plan: plan.clone(), packets, failed_at, offered_pps, buffer_s, trials })
}

impl BurstTrial {
    fn of(packets: u64, outcome: &Outcome) -> Self {
        let total = &outcome.total;
        let directions = outcome.legs.len().max(1) as f64;
        let offered_pps = total.sent as f64 / directions / total.sending_s.max(1e-9);
        Self { packets, offered_pps, lost: total.lost + total.refused + total.skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Leg, Load, Route, Traffic};

    /// A device that carries `rate_pps` and has room for `buffer` packets, sent to at `offered_pps`.
    fn device(rate_pps: f64, buffer: f64, offered_pps: f64) -> impl FnMut(u64) -> Result<Outcome> {
        move |packets| {
            let sending_s = packets as f64 / offered_pps;
            let lost = (packets as f64 - rate_pps * sending_s - buffer).max(0.0) as u64;
            let traffic = Traffic { sent: packets, lost, sending_s, ..Traffic::default() };
            let legs = vec![Leg { route: Route::Forward, traffic: traffic.clone() }];
            let load = Load::default();
            Ok(Outcome { load, packet_bytes_mean: 64.0, total: traffic, legs, reflected: None, clocks: None })
        }
    }

    fn plan() -> BurstPlan {
        BurstPlan { rate_pps: 1_000_000, longest: Duration::from_secs(2), resolution: 0.001, repeats: 3 }
    }

    #[test]
    fn the_burst_and_the_buffer_of_a_known_device_are_found() {
        // Half of what is offered leaves at once, so a burst of twice the buffer gets through.
        let found = longest_burst(&plan(), Some(400_000), device(400_000.0, 500.0, 800_000.0)).unwrap();
        let packets = found.packets.unwrap();
        assert!((999..=1_002).contains(&packets), "{packets}");
        assert!(found.failed_at.unwrap() > packets);
        // 500 packets at the rate at which they came.
        let buffer_s = found.buffer_s.unwrap();
        assert!((buffer_s - 500.0 / 800_000.0).abs() < 1e-5, "{buffer_s}");
        assert!((found.offered_pps - 800_000.0).abs() < 1.0);
        assert!(!found.trials.is_empty());
    }

    #[test]
    fn a_device_that_is_faster_than_the_bursts_has_no_longest_one() {
        let found = longest_burst(&plan(), Some(900_000), device(900_000.0, 1.0, 800_000.0)).unwrap();
        assert_eq!((found.packets, found.failed_at, found.buffer_s), (Some(2_000_000), None, None));
        assert_eq!(found.trials.len(), 2, "a majority of three");
    }

    #[test]
    fn of_two_bursts_the_rate_is_between_both() {
        let mut rates = [800_000.0, 400_000.0].into_iter();
        let found = longest_burst(&plan(), None, |packets| device(900_000.0, 1.0, rates.next().unwrap())(packets));
        assert_eq!(found.unwrap().offered_pps, 600_000.0);
    }

    #[test]
    fn a_device_that_carries_nothing_has_none() {
        let nothing = |packets| {
            let traffic = Traffic { sent: packets, lost: packets, sending_s: 1.0, ..Traffic::default() };
            let load = Load::default();
            Ok(Outcome { load, packet_bytes_mean: 64.0, total: traffic, legs: vec![], reflected: None, clocks: None })
        };
        let found = longest_burst(&plan(), None, nothing).unwrap();
        assert_eq!((found.packets, found.failed_at, found.buffer_s), (None, Some(1), None));
    }

    #[test]
    fn limits_are_named() {
        let none = BurstPlan { longest: Duration::ZERO, ..plan() };
        assert!(none.check().unwrap_err().to_string().contains("have no packets"));
        assert!(BurstPlan { repeats: 2, ..plan() }.check().unwrap_err().to_string().contains("odd"));
    }
}
