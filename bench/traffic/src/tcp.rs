//! Bulk TCP over many connections, the sustained rate measured apart from the ramp-up.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{Endpoint, Placement, seconds};

/// The most connections.
pub const STREAMS_MAX: u16 = 128;

/// A bulk transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bulk {
    /// Connections at once, 1 to 128.
    pub streams: u16,
    /// How long the transfer runs before it is measured (the ramp-up phase of RFC 9411, section 4.3.4).
    #[serde(rename = "ramp_up_s", with = "seconds")]
    pub ramp_up: Duration,
    /// How long it is measured (the sustain phase).
    #[serde(rename = "sustain_s", with = "seconds")]
    pub sustain: Duration,
    /// Whether the receiver compares every byte with what was sent.
    pub verify: bool,
    /// Where the two threads run; one lane.
    pub placement: Placement,
}

impl Default for Bulk {
    /// One connection for five seconds after one, verified.
    fn default() -> Self {
        Self {
            streams: 1,
            ramp_up: Duration::from_secs(1),
            sustain: Duration::from_secs(5),
            verify: true,
            placement: Placement::default(),
        }
    }
}

/// What arrived in the sustain phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkOutcome {
    /// What was asked for.
    pub bulk: Bulk,
    /// How long was measured, in seconds.
    pub measured_s: f64,
    /// Bytes of payload that arrived meanwhile.
    pub received_bytes: u64,
    /// The same as a rate, in 10^6 bits per second.
    pub megabits_per_s: f64,
    /// Of these, each connection's bytes.
    pub stream_bytes: Vec<u64>,
    /// How evenly they are divided: Jain's index, from 1 / streams to 1 (RFC 5166, section 2.3).
    pub fairness: f64,
    /// Segments that the senders sent again, from the first byte to the last (`tcpi_total_retrans`).
    pub retransmits: u64,
    /// CPU time of the sending thread, the kernel's work on its behalf included, in percent of one CPU.
    pub sender_cpu_percent: f64,
    /// Of the receiving thread, likewise.
    pub receiver_cpu_percent: f64,
}

/// Transfers from one namespace to the other. `progress` counts the bytes received so far, those of the ramp-up included.
///
/// # Errors
/// The number of connections is not within its limits, one cannot be made or breaks, nothing moves for 20 seconds, or a
/// byte arrives that was not sent.
pub fn run(bulk: &Bulk, from: Endpoint<'_>, to: Endpoint<'_>, progress: &AtomicU64) -> Result<BulkOutcome> {
    let _ = (bulk, from.namespace, to.namespace, progress);
    Err(Error::new("bulk TCP is not there yet"))
}
