//! What came of a load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Clocks, Load, Percentiles};

/// A generator that offers less than this share of what it was asked for was the limit itself.
pub const OFFERED_SHARE_MIN: f64 = 0.99;

/// What came of a [`Load`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// What was asked for.
    pub load: Load,
    /// Mean size of the inner IP packets, in bytes.
    pub packet_bytes_mean: f64,
    /// All legs together; rates are sums.
    pub total: Traffic,
    /// Each direction by itself: two of them only for [`Direction::BothWays`](crate::Direction::BothWays).
    pub legs: Vec<Leg>,
    /// For round trips: how many packets the reflector saw and sent back, duplicates included.
    pub reflected: Option<u64>,
    /// How the clocks of two hosts compared. Absent where one clock times everything: on one host, and for round trips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Clocks>,
}

/// Which way a leg went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// From the first namespace to the second.
    Forward,
    /// From the second to the first.
    Backward,
    /// There and back: latency is the round-trip time, loss is that of both ways.
    RoundTrip,
}

/// One direction of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// Which.
    pub route: Route,
    /// What came of it.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// What was offered and what arrived. `planned = sent + refused + skipped`; `sent = received + lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// The rate that was asked for, in packets per second.
    pub asked_pps: f64,
    /// The rate that was offered: packets that the kernel took, over the duration.
    pub offered_pps: f64,
    /// The rate that was delivered: distinct packets that arrived, over the duration.
    pub delivered_pps: f64,
    /// The same as IP packets in 10^6 bits per second.
    pub delivered_mbit_per_s: f64,
    /// The generator could not offer what was asked (less than [`OFFERED_SHARE_MIN`] of it): then the rates are its own
    /// limit, and the latencies contain its lateness.
    pub generator_limited: bool,
    /// How long packets were due, in seconds.
    pub duration_s: f64,
    /// How long it took to hand them over, in seconds; 0 if nobody says.
    #[serde(default)]
    pub sending_s: f64,
    /// Packets of the schedule.
    pub planned: u64,
    /// Of these, taken by the kernel.
    pub sent: u64,
    /// Of these, refused by the kernel (for instance `ENETUNREACH`, or `EAGAIN` for a full socket buffer).
    pub refused: u64,
    /// The first such error, in words.
    pub refusal: Option<String>,
    /// Of these, given up because the sender was too late for them.
    pub skipped: u64,
    /// Distinct packets that arrived.
    pub received: u64,
    /// Packets that were sent and did not arrive.
    pub lost: u64,
    /// `lost / sent`; 0 when nothing was sent.
    pub loss_ratio: f64,
    /// Arrivals of packets that had arrived before.
    pub duplicated: u64,
    /// Packets that arrived after a later one of their flow (RFC 4737, section 3.3).
    pub reordered: u64,
    /// By how many packets of its flow one was behind the newest at the most.
    pub reordering_distance_packets_max: u64,
    /// Arrivals with bytes or a length other than sent.
    pub damaged: u64,
    /// Arrivals that are not of this load.
    pub foreign: u64,
    /// From when a packet was due to when the receiver had it, in nanoseconds.
    pub latency_ns: Option<Percentiles>,
    /// From when a packet was due to when the sender handed it to the kernel, in nanoseconds: the generator's own share
    /// of the latency.
    pub lateness_ns: Option<Percentiles>,
    /// CPU time of the sending threads, the kernel's work on their behalf included, in percent of one CPU.
    pub sender_cpu_percent: f64,
    /// CPU time of the receiving threads (and of the reflector), likewise.
    pub receiver_cpu_percent: f64,
    /// How long an interval of `intervals` is, in seconds.
    #[serde(default)]
    pub interval_s: f64,
    /// What became of the packets that were due in each interval, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Interval>,
}

/// The packets that were due in some part of a load's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Distinct packets that arrived.
    pub received: u64,
    /// The mean of their latencies, in nanoseconds; 0 if none arrived.
    pub latency_ns_mean: u64,
    /// The longest.
    pub latency_ns_max: u64,
}
