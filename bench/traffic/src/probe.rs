//! Ping over UDP: round trips at a low rate.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::Result;

use crate::{Direction, Endpoint, Load, Outcome, Placement, Size, udp};

/// Sends 64-byte packets to the other namespace and back, `rate_pps` of them each second, one flow, and times the round
/// trips: [`Outcome::total`] has them as `latency_ns`.
///
/// # Errors
/// As [`udp::run`].
pub fn round_trips(
    rate_pps: u64,
    duration: Duration,
    placement: Placement,
    from: Endpoint<'_>,
    to: Endpoint<'_>,
    progress: &AtomicU64,
) -> Result<Outcome> {
    let size = Size::Fixed { bytes: crate::load::SIZE_MIN };
    let load = Load { size, rate_pps, direction: Direction::RoundTrip, duration, placement, ..Load::default() };
    udp::run(&load, from, to, progress)
}
