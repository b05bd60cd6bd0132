//! Throughput and the latency below it, in the words of RFC 2544: NDR, PDR, latency at 10, 50 and 90 % of the PDR, and
//! the longest burst.

use ringfort_testbed::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::back_to_back::{BackToBack, BurstPlan, longest_burst};
use crate::search::{SearchOutcome, SearchPlan, Trial, ndr_pdr};
use crate::{Load, Outcome, Traffic};

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
    /// The longest burst that lost nothing; absent when nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to_back: Option<BackToBack>,
}

/// What is asked of whoever carries loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A trial at that rate, in packets per second and direction.
    Rate(u64),
    /// A burst.
    Burst {
        /// Packets in each direction.
        packets: u64,
        /// How fast, in packets per second and direction.
        rate_pps: u64,
    },
}

impl Ask {
    /// A load like this one, as it is asked for.
    #[must_use]
    pub fn of(self, load: Load) -> Load {
        match self {
            Self::Rate(rate_pps) => Load { rate_pps, ..load },
            Self::Burst { packets, rate_pps } => load.burst(packets, rate_pps),
        }
    }
}

/// Percents of the partial-drop rate at which latency is measured.
pub const LATENCY_PERCENTS: [u32; 3] = [10, 50, 90];

/// Searches both rates, then measures latency at 10, 50 and 90 % of the PDR, then searches the longest burst if there
/// is a plan for that. `carry` carries what is asked for; a rate for as long as the plan says that a trial is.
///
/// # Errors
/// A plan is not within the limits, or the first error of `carry`.
pub fn measure(
    plan: &SearchPlan,
    bursts: Option<&BurstPlan>,
    mut carry: impl FnMut(Ask) -> Result<Outcome>,
) -> Result<Report> {
    bursts.map_or(Ok(()), BurstPlan::check)?;
    let search = ndr_pdr(plan, |rate_pps| carry(Ask::Rate(rate_pps)).map(|outcome| trial_of(rate_pps, &outcome)))?;
    let at = |percent: u32| Some((percent, (search.pdr.rate_pps? * u64::from(percent) / 100).max(1)));
    let rates: Vec<(u32, u64)> = LATENCY_PERCENTS.into_iter().filter_map(at).collect();
    let measured = rates
        .into_iter()
        .map(|(pdr_percent, rate_pps)| Ok(LatencyAt { pdr_percent, outcome: carry(Ask::Rate(rate_pps))? }));
    let latencies = measured.collect::<Result<_>>()?;
    let burst = |bursts: &BurstPlan| {
        let rate_pps = bursts.rate_pps;
        longest_burst(bursts, search.ndr.rate_pps, |packets| carry(Ask::Burst { packets, rate_pps }))
    };
    let back_to_back = bursts.map(burst).transpose()?;
    Ok(Report { search, latencies, back_to_back })
}

fn trial_of(rate_pps: u64, outcome: &Outcome) -> Trial {
    let Traffic { offered_pps, delivered_pps, loss_ratio, generator_limited, .. } = outcome.total;
    Trial { rate_pps, offered_pps, delivered_pps, loss_ratio, generator_limited }
}
