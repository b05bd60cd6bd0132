//! Throughput and the latency below it, in the words of RFC 2544: NDR, PDR, and latency at 10, 50 and 90 % of the PDR.

use ringfort_testbed::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::search::{SearchOutcome, SearchPlan, Trial, ndr_pdr};
use crate::{Outcome, Traffic};

/// Latency at a share of the partial-drop rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyAt {
    /// Percent of the partial-drop rate.
    pub pdr_percent: u32,
    /// The whole outcome at that rate.
    pub outcome: Outcome,
}

/// What was found for one kind of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The rates.
    pub search: SearchOutcome,
    /// Latencies at 10, 50 and 90 % of the PDR; empty when there is none.
    pub latencies: Vec<LatencyAt>,
}

/// Percents of the partial-drop rate at which latency is measured.
pub const LATENCY_PERCENTS: [u32; 3] = [10, 50, 90];

/// Searches both rates, then measures latency at 10, 50 and 90 % of the PDR. `carry` carries the load at the given rate
/// in packets per second, for as long as the plan says that a trial is.
///
/// # Errors
/// The plan is not within the limits, or the first error of `carry`.
pub fn measure(plan: &SearchPlan, mut carry: impl FnMut(u64) -> Result<Outcome>) -> Result<Report> {
    let search = ndr_pdr(plan, |rate_pps| carry(rate_pps).map(|outcome| trial_of(rate_pps, &outcome)))?;
    let at = |percent: u32| Some((percent, (search.pdr.rate_pps? * u64::from(percent) / 100).max(1)));
    let rates: Vec<(u32, u64)> = LATENCY_PERCENTS.into_iter().filter_map(at).collect();
    let measured =
        rates.into_iter().map(|(pdr_percent, rate_pps)| Ok(LatencyAt { pdr_percent, outcome: carry(rate_pps)? }));
    let latencies = measured.collect::<Result<_>>()?;
    Ok(Report { search, latencies })
}

fn trial_of(rate_pps: u64, outcome: &Outcome) -> Trial {
    let Traffic { offered_pps, delivered_pps, loss_ratio, generator_limited, .. } = outcome.total;
    Trial { rate_pps, offered_pps, delivered_pps, loss_ratio, generator_limited }
}
