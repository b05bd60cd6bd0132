//! A peer that has a session already: how long its pings take meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

use ringfort_testbed::ping::Pinger;
use ringfort_testbed::{Namespace, Result};
use ringfort_traffic::{Histogram, Percentiles};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const INTERVAL: Duration = Duration::from_millis(5);
/// What takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);
const PAYLOAD_LEN: usize = 64;

/// Round trips of one time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrips {
    /// From when a ping was due to its answer, in nanoseconds; a lost one counts as two seconds.
    pub times_ns: Option<Percentiles>,
    /// Pings that had no answer within two seconds.
    pub lost: u64,
}

/// Pings `target` from `namespace` while `work` is done.
///
/// # Errors
/// No raw socket, or those of `work`.
pub fn beside<T: Send>(
    namespace: &Namespace,
    target: std::net::IpAddr,
    work: impl FnOnce() -> Result<T>,
) -> Result<(RoundTrips, T)> {
    let mut pinger = Pinger::new(namespace, target)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let pinging = scope.spawn(|| ping(&mut pinger, &stop));
        let done = work();
        stop.store(true, Ordering::Release);
        let trips = pinging.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        Ok((trips, done?))
    })
}

fn ping(pinger: &mut Pinger, stop: &AtomicBool) -> RoundTrips {
    let (mut times, mut lost) = (Histogram::default(), 0);
    let mut due = Instant::now();
    while !stop.load(Ordering::Acquire) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        lost += u64::from(pinger.ping(PAYLOAD_LEN, PATIENCE).is_err());
        times.record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        due += INTERVAL;
    }
    RoundTrips { times_ns: times.summary(), lost }
}
