//! The highest rate that loses no more than a given share, found by binary search. It is the throughput of RFC 2544,
//! section 26.1 (no-drop rate, NDR), or its relaxed sister (partial-drop rate, PDR).

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_testbed::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::seconds;

/// How to search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchPlan {
    /// The lowest rate that is tried, in packets per second.
    pub rate_pps_min: u64,
    /// The highest.
    pub rate_pps_max: u64,
    /// The search ends when the lowest rate that fails is above the highest that passes by no more than this share of
    /// it.
    pub resolution: f64,
    /// Trials at each rate; a rate passes when more than half of them do. Odd.
    pub repeats: u32,
    /// Loss ratio that the partial-drop rate may have, 0.005 by custom.
    pub pdr_loss_ratio: f64,
    /// How long each trial sends. The search itself does not look at it; it is here to be stated.
    #[serde(rename = "trial_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub trial: Duration,
}

impl Default for SearchPlan {
    fn default() -> Self {
        Self {
            rate_pps_min: 1_000,
            rate_pps_max: 1_000_000,
            resolution: 0.02,
            repeats: 3,
            pdr_loss_ratio: 0.005,
            trial: Duration::from_secs(2),
        }
    }
}

/// What a trial at some rate gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// The rate that was asked for, in packets per second.
    pub rate_pps: u64,
    /// The rate that was offered.
    pub offered_pps: f64,
    /// The rate that was delivered.
    pub delivered_pps: f64,
    /// The share of what was offered that was lost.
    pub loss_ratio: f64,
    /// The generator could not offer the rate: the trial says nothing about the device, and counts as failed.
    pub generator_limited: bool,
}

/// The answer to one of the two questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The share that may be lost.
    pub loss_ratio_allowed: f64,
    /// The highest rate that passed, in packets per second; `None` when not even the lowest did.
    pub rate_pps: Option<u64>,
    /// The lowest rate above it that failed; `None` when the highest rate of the plan passed.
    pub failed_at_pps: Option<u64>,
    /// That failure is the generator's: the device may be faster.
    pub generator_limited: bool,
}

/// Both answers, and every trial that led to them in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchOutcome {
    /// How it was searched.
    pub plan: SearchPlan,
    /// No-drop rate.
    pub ndr: Found,
    /// Partial-drop rate.
    pub pdr: Found,
    /// Everything that was tried.
    pub trials: Vec<Trial>,
}

impl SearchPlan {
    /// About how many trials a search takes: to be known before it begins.
    #[must_use]
    pub fn trials_expected(&self) -> u32 {
        let majority = self.repeats / 2 + 1;
        // A device in the middle of the scale, and the second search within what the first has left.
        let gap = (self.rate_pps_max - self.rate_pps_min) as f64 / (self.rate_pps_max as f64 / 4.0 * self.resolution);
        (gap.max(1.0).log2() * 1.5).ceil() as u32 * majority + majority
    }

    /// Checks it against the limits.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(text));
        match self {
            Self { rate_pps_min: 0, .. } => refuse("the lowest rate is 0: 1 packet per second at least".into()),
            Self { rate_pps_min: min, rate_pps_max: max, .. } if min > max => {
                refuse(format!("the lowest rate ({min}) is above the highest ({max})"))
            }
            Self { resolution, .. } if !(1e-4..=0.5).contains(resolution) => {
                refuse(format!("a resolution of {resolution}: 0.0001 to 0.5"))
            }
            Self { repeats, .. } if repeats % 2 == 0 || *repeats > 99 => {
                refuse(format!("{repeats} repeats: an odd number up to 99, so that more than half is defined"))
            }
            Self { pdr_loss_ratio, .. } if !(0.0..1.0).contains(pdr_loss_ratio) => {
                refuse(format!("a loss ratio of {pdr_loss_ratio}: from 0 to below 1"))
            }
            _ => Ok(()),
        }
    }
}

/// Everything that was tried, and what it says.
struct Search<'a, T> {
    plan: &'a SearchPlan,
    /// Makes a trial at a rate.
    trial: T,
    by_rate: BTreeMap<u64, Vec<Trial>>,
    in_order: Vec<Trial>,
}

/// Searches for both rates. `trial` is asked for one trial at the given rate, in packets per second.
///
/// The partial-drop rate is searched first, since the no-drop rate cannot be above it; what was tried for one counts
/// for the other. The highest rate is tried first, then the middle between the highest rate that passed, with none
/// below it that failed, and the lowest that failed.
///
/// Both answers are of the same trials. A noisy device may pass or fail a rate of the second search against what the
/// first has found. Then the first goes on from there, until neither asks for more.
///
/// # Errors
/// The plan is not within the limits, or the first error of `trial`.
pub fn ndr_pdr(plan: &SearchPlan, trial: impl FnMut(u64) -> Result<Trial>) -> Result<SearchOutcome> {
    plan.check()?;
    let mut search = Search { plan, trial, by_rate: BTreeMap::new(), in_order: Vec::new() };
    loop {
        let pdr = search.find(plan.pdr_loss_ratio)?;
        let tried = search.in_order.len();
        let ndr = search.find(0.0)?;
        // A search that tries nothing new moves neither answer. Each rate has a bounded number of trials, so this ends.
        if search.in_order.len() == tried {
            return Ok(SearchOutcome { plan: plan.clone(), ndr, pdr, trials: search.in_order });
        }
    }
}

/// Searches for the highest rate that loses no more than a share.
///
/// # Errors
/// The plan is not within the limits, or the first error of `trial`.
pub(crate) fn highest(plan: &SearchPlan, allowed: f64, trial: impl FnMut(u64) -> Result<Trial>) -> Result<Found> {
    plan.check()?;
    Search { plan, trial, by_rate: BTreeMap::new(), in_order: Vec::new() }.find(allowed)
}

impl<T: FnMut(u64) -> Result<Trial>> Search<'_, T> {
    fn find(&mut self, allowed: f64) -> Result<Found> {
        loop {
            let (passed, failed) = self.bracket(allowed);
            let next = match (passed, failed) {
                (None, None) => self.plan.rate_pps_max,
                (None, Some(failed)) if failed <= self.plan.rate_pps_min => break,
                (None, Some(failed)) => middle(self.plan.rate_pps_min, failed),
                (Some(passed), None) if passed >= self.plan.rate_pps_max => break,
                (Some(_), None) => self.plan.rate_pps_max,
                (Some(passed), Some(failed)) if self.is_narrow(passed, failed) => break,
                (Some(passed), Some(failed)) => middle(passed, failed),
            };
            self.decide(next, allowed)?;
        }
        let (rate_pps, failed_at_pps) = self.bracket(allowed);
        let generator_limited = failed_at_pps.is_some_and(|rate| self.is_generators_failure(rate, allowed));
        Ok(Found { loss_ratio_allowed: allowed, rate_pps, failed_at_pps, generator_limited })
    }

    /// The highest rate that passed without one below it that failed, and the lowest that failed.
    fn bracket(&self, allowed: f64) -> (Option<u64>, Option<u64>) {
        let mut passed = None;
        for (&rate, trials) in &self.by_rate {
            match self.verdict(trials, allowed) {
                Some(true) => passed = Some(rate),
                Some(false) => return (passed, Some(rate)),
                None => {}
            }
        }
        (passed, None)
    }

    /// Whether a rate with these trials passes; `None` while they do not say.
    fn verdict(&self, trials: &[Trial], allowed: f64) -> Option<bool> {
        let majority = self.plan.repeats as usize / 2 + 1;
        let passes = trials.iter().filter(|trial| trial.passes(allowed)).count();
        match (passes >= majority, trials.len() - passes >= majority) {
            (false, false) => None,
            (passed, _) => Some(passed),
        }
    }

    /// Tries a rate until there is a majority.
    fn decide(&mut self, rate_pps: u64, allowed: f64) -> Result<()> {
        while self.by_rate.get(&rate_pps).is_none_or(|trials| self.verdict(trials, allowed).is_none()) {
            let trial = Trial { rate_pps, ..(self.trial)(rate_pps)? };
            self.by_rate.entry(rate_pps).or_default().push(trial);
            self.in_order.push(trial);
        }
        Ok(())
    }

    fn is_narrow(&self, passed: u64, failed: u64) -> bool {
        let gap = failed - passed;
        gap <= 1 || gap as f64 <= passed as f64 * self.plan.resolution
    }

    /// Whether most of what failed at a rate failed because the generator could not offer it.
    fn is_generators_failure(&self, rate_pps: u64, allowed: f64) -> bool {
        let failures = || self.by_rate[&rate_pps].iter().filter(|trial| !trial.passes(allowed));
        failures().filter(|trial| trial.generator_limited).count() * 2 > failures().count()
    }
}

impl Trial {
    fn passes(&self, allowed: f64) -> bool {
        !self.generator_limited && self.loss_ratio <= allowed
    }
}

/// Rounded down, but never the upper end unless that is the lower one too.
fn middle(low: u64, high: u64) -> u64 {
    low + (high - low) / 2
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
