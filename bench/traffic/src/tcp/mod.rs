//! Bulk TCP over many connections, the sustained rate measured apart from the ramp-up.

pub(crate) mod connections;
pub(crate) mod ends;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crew::{Crew, Done, Member, join};
use crate::schedule::slice;
use crate::tcp::connections::Connections;
use crate::tcp::ends::Drained;
use crate::{Endpoint, Placement, seconds};

/// The most connections.
pub const STREAMS_MAX: u16 = 128;
/// How long the transfer may stand still, and a connection may take to be made.
pub(crate) const STALL: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A bulk transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bulk {
    /// Connections at once, 1 to 128.
    pub streams: u16,
    /// How long the transfer runs before it is measured (the ramp-up phase of RFC 9411, section 4.3.4).
    #[serde(rename = "ramp_up_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub ramp_up: Duration,
    /// How long it is measured (the sustain phase).
    #[serde(rename = "sustain_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub sustain: Duration,
    /// Whether the receiver compares every byte with what was sent.
    pub verify: bool,
    /// Where the threads run; connections are divided among lanes.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// How long an interval of `interval_bytes` is, in seconds.
    #[serde(default)]
    pub interval_s: f64,
    /// The bytes of all connections in each interval of the measured time, in order.
    #[serde(default)]
    pub interval_bytes: Vec<u64>,
    /// How evenly they are divided: Jain's index, from 1 / streams to 1 (RFC 5166, section 2.3).
    pub fairness: f64,
    /// Segments that the senders sent again, from the first byte to the last (`tcpi_total_retrans`).
    pub retransmits: u64,
    /// CPU time of the sending threads, the kernel's work on their behalf included, in percent of one CPU.
    pub sender_cpu_percent: f64,
    /// Of the receiving threads, likewise.
    pub receiver_cpu_percent: f64,
}

impl BulkOutcome {
    /// The middle of each interval in seconds since the sustain phase began, and the rate within it in 10^6 bits per
    /// second. The last interval may be shorter than the others.
    #[must_use]
    pub fn rate_over_time(&self) -> Vec<(f64, f64)> {
        let count = self.interval_bytes.len();
        let rate = |(number, &bytes): (usize, &u64)| {
            let begin_s = number as f64 * self.interval_s;
            let length_s = if number + 1 == count { self.measured_s - begin_s } else { self.interval_s }.max(1e-9);
            (begin_s + length_s / 2.0, bytes as f64 * 8.0 / 1e6 / length_s)
        };
        self.interval_bytes.iter().enumerate().map(rate).collect()
    }
}

impl Bulk {
    /// Checks it against the limits, for connections between these addresses.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn check(&self, from: IpAddr, to: IpAddr) -> Result<()> {
        let (streams, lanes) = (self.streams, self.placement.lanes);
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Error::new(format!("from {from} to {to}: two address families")));
        }
        if !(1..=STREAMS_MAX).contains(&streams) {
            return Err(Error::new(format!("{streams} connections: 1 to {STREAMS_MAX}")));
        }
        if !(1..=streams).contains(&lanes) {
            return Err(Error::new(format!("{streams} connections cannot be divided among {lanes} lanes")));
        }
        if self.sustain.is_zero() {
            return Err(Error::new("a transfer of which no time is measured"));
        }
        Ok(())
    }
}

/// The threads of a lane.
struct Threads<'scope> {
    source: Member<'scope, ()>,
    sink: Member<'scope, Drained>,
}

/// What the threads of a lane gave.
type LaneResult = (Done<()>, Done<Drained>);

/// Transfers from one namespace to the other. `progress` counts the bytes received so far, those of the ramp-up
/// included.
///
/// # Errors
/// The bulk is not within its limits, a connection cannot be made or breaks, nothing moves for 20 seconds, or a byte
/// arrives that was not sent.
pub fn run(bulk: &Bulk, from: Endpoint<'_>, to: Endpoint<'_>, progress: &AtomicU64) -> Result<BulkOutcome> {
    run_timed(bulk, from, to, progress).map(|(outcome, _)| outcome)
}

/// The same, with the time at which it began, on the clock of [`crate::sys::now_ns`].
pub(crate) fn run_timed(
    bulk: &Bulk,
    from: Endpoint<'_>,
    to: Endpoint<'_>,
    progress: &AtomicU64,
) -> Result<(BulkOutcome, u64)> {
    bulk.check(from.address, to.address)?;
    let [filled, drained] = connect(bulk, from, to)?;
    let (results, start_ns) = carry(bulk, &filled, &drained, progress)?;
    let arrived = together(results.iter().map(|(_, sink)| &sink.value));
    let cpu_ns =
        [results.iter().map(|(source, _)| source.cpu_ns).sum(), results.iter().map(|(_, sink)| sink.cpu_ns).sum()];
    Ok((outcome(bulk, arrived, filled.retransmits()?, cpu_ns), start_ns))
}

/// What is reported; CPU time of the sending threads and of the receiving ones.
pub(crate) fn outcome(
    bulk: &Bulk,
    drained: Drained,
    retransmits: u64,
    [sender_cpu_ns, receiver_cpu_ns]: [u64; 2],
) -> BulkOutcome {
    let Drained { streams: stream_bytes, intervals: interval_bytes } = drained;
    let received_bytes: u64 = stream_bytes.iter().sum();
    let measured_s = bulk.sustain.as_secs_f64();
    let percent = |cpu_ns: u64| cpu_ns as f64 / 1e7 / (measured_s + bulk.ramp_up.as_secs_f64());
    BulkOutcome {
        bulk: bulk.clone(),
        measured_s,
        received_bytes,
        megabits_per_s: received_bytes as f64 * 8.0 / 1e6 / measured_s,
        fairness: fairness(&stream_bytes),
        stream_bytes,
        interval_s: slice(bulk.sustain).as_secs_f64(),
        interval_bytes,
        retransmits,
        sender_cpu_percent: percent(sender_cpu_ns),
        receiver_cpu_percent: percent(receiver_cpu_ns),
    }
}

/// What the lanes drained: connections one after the other, intervals summed.
pub(crate) fn together<'a>(lanes: impl Iterator<Item = &'a Drained>) -> Drained {
    let mut all = Drained::default();
    for Drained { streams, intervals } in lanes {
        all.streams.extend(streams);
        all.intervals.resize(intervals.len().max(all.intervals.len()), 0);
        all.intervals.iter_mut().zip(intervals).for_each(|(sum, bytes)| *sum += bytes);
    }
    all
}

/// The sending ends, and the receiving ones.
fn connect(bulk: &Bulk, from: Endpoint<'_>, to: Endpoint<'_>) -> Result<[Connections; 2]> {
    let listen = || TcpListener::bind((to.address, 0));
    let listener = to.namespace.enter(listen).context(format_args!("listening on {}", to.address))?;
    let target = listener.local_addr().context("reading the listener's address")?;
    listener.set_nonblocking(true).context("making the listener non-blocking")?;
    let pairs = (0..bulk.streams).map(|_| connect_one(from, target, &listener)).collect::<Result<Vec<_>>>()?;
    let (sending, receiving) = pairs.into_iter().unzip();
    let lanes = bulk.placement.lanes;
    Ok([Connections::new(sending, lanes)?, Connections::new(receiving, lanes)?])
}

fn connect_one(from: Endpoint<'_>, target: SocketAddr, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let connected = from.namespace.enter(|| TcpStream::connect_timeout(&target, STALL));
    let sending = connected.context(format_args!("connecting from {} to {target}", from.address))?;
    let deadline = Instant::now() + STALL;
    loop {
        match listener.accept() {
            Ok((receiving, _)) => return Ok((sending, receiving)),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(LOOK_EVERY)
            }
            Err(error) => return Err(Error::new(format!("no connection came to {target}: {error}"))),
        }
    }
}

fn carry(
    bulk: &Bulk,
    filled: &Connections,
    drained: &Connections,
    progress: &AtomicU64,
) -> Result<(Vec<LaneResult>, u64)> {
    thread::scope(|scope| {
        let mut crew = Crew::new(scope, &bulk.placement);
        let lanes = filled.lanes.iter().zip(&drained.lanes);
        let threads: Vec<Threads<'_>> = lanes
            .map(|(from, to)| Threads { source: from.fill(&mut crew), sink: to.drain(&mut crew, bulk, progress) })
            .collect();
        let begun = crew.begin();
        // A source ends before its time only by an error.
        let runs = || {
            let running = |threads: &Threads<'_>| !threads.sink.is_finished();
            threads.iter().any(running) && !threads.iter().any(|threads| threads.source.is_finished())
        };
        let watched = if begun.is_ok() { watch(runs, progress) } else { Ok(()) };
        drained.stop();
        filled.stop();
        let joined = |threads: Threads<'_>| (join(threads.source), join(threads.sink));
        let joined: Vec<_> = threads.into_iter().map(joined).collect();
        let start_ns = begun?;
        let results: Result<_> = joined.into_iter().map(|(source, sink)| Ok((source?, sink?))).collect();
        watched.and(results).map(|results| (results, start_ns))
    })
}

/// Waits as long as a transfer runs, and moves.
pub(crate) fn watch(mut runs: impl FnMut() -> bool, progress: &AtomicU64) -> Result<()> {
    let mut moved = (progress.load(Ordering::Relaxed), Instant::now());
    while runs() {
        thread::sleep(LOOK_EVERY);
        let now = progress.load(Ordering::Relaxed);
        if now != moved.0 {
            moved = (now, Instant::now());
        } else if moved.1.elapsed() > STALL {
            return Err(Error::new(format!("the transfer stands still after {now} bytes, for {STALL:?}")));
        }
    }
    Ok(())
}

/// Jain's index: the square of the sum over the number times the sum of the squares.
pub(crate) fn fairness(stream_bytes: &[u64]) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for &bytes in stream_bytes {
        sum += bytes as f64;
        squares += bytes as f64 * bytes as f64;
    }
    if squares == 0.0 { 1.0 } else { sum * sum / (stream_bytes.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_from_one_to_all() {
        assert!((fairness(&[5, 5, 5, 5]) - 1.0).abs() < 1e-12);
        assert!((fairness(&[8, 0, 0, 0]) - 0.25).abs() < 1e-12);
        assert!((fairness(&[0, 0]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_interval_that_is_shorter_has_a_rate_of_its_own_length() {
        let bulk = Bulk { sustain: Duration::from_millis(250), ..Bulk::default() };
        let drained = Drained { streams: vec![250_000], intervals: vec![100_000, 100_000, 50_000] };
        let found = outcome(&bulk, drained, 0, [0, 0]).rate_over_time();
        let expected = [(0.05, 8.0), (0.15, 8.0), (0.225, 8.0)];
        let is_near = |((at, rate), (wanted_at, wanted)): (&(f64, f64), &(f64, f64))| {
            (at - wanted_at).abs() < 1e-6 && (rate - wanted).abs() < 1e-6
        };
        assert!(found.len() == 3 && found.iter().zip(&expected).all(is_near), "{found:?}");
    }

    #[test]
    fn limits_are_named() {
        let v4 = IpAddr::from([127, 0, 0, 1]);
        let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]);
        let refused = |bulk: Bulk, to| bulk.check(v4, to).unwrap_err().to_string();
        assert!(refused(Bulk { streams: 0, ..Bulk::default() }, v4).contains("1 to 128"));
        assert!(refused(Bulk { streams: 129, ..Bulk::default() }, v4).contains("1 to 128"));
        assert!(refused(Bulk { sustain: Duration::ZERO, ..Bulk::default() }, v4).contains("no time"));
        assert!(refused(Bulk::default(), v6).contains("two address families"));
        let placement = Placement { lanes: 2, ..Placement::default() };
        assert!(refused(Bulk { placement, ..Bulk::default() }, v4).contains("among 2 lanes"));
        assert!(Bulk::default().check(v4, v4).is_ok());
    }
}
