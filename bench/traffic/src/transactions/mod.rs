//! Requests and answers over TCP, which netperf calls `TCP_RR`. A transaction is a request and its answer, of the same
//! length. On each connection there is one at a time: the next request leaves when the answer has come.
//!
//! This is a closed loop: a slow answer delays what would be asked next. So the rate is that of all connections
//! together, and a time says how long those who asked waited for the answer.

mod ends;
mod lanes;

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::crew::Crew;
use crate::port::descriptors;
use crate::tcp::ends::Window;
use crate::tcp::fairness;
use crate::{Endpoint, Histogram, Percentiles, Placement, seconds};
use ends::{Client, Server, Taken};
use lanes::{Lane, LaneResult, Threads, retransmits};

/// The most connections.
pub const CONNECTIONS_MAX: u16 = 256;
/// The longest message.
pub const MESSAGE_BYTES_MAX: u32 = 65_536;

/// Requests and answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transactions {
    /// Connections at once, 1 to 256, each with `TCP_NODELAY` at both ends.
    pub connections: u16,
    /// Length of each request and of each answer, 1 to 65,536. Both ends compare every byte with what was sent.
    pub message_bytes: u32,
    /// How long they go on before they count.
    #[serde(rename = "ramp_up_s", with = "seconds")]
    pub ramp_up: Duration,
    /// How long they count.
    #[serde(rename = "sustain_s", with = "seconds")]
    pub sustain: Duration,
    /// Where the threads run; connections are divided among lanes.
    pub placement: Placement,
}

impl Default for Transactions {
    /// One byte each way over one connection, for five seconds after one.
    fn default() -> Self {
        Self {
            connections: 1,
            message_bytes: 1,
            ramp_up: Duration::from_secs(1),
            sustain: Duration::from_secs(5),
            placement: Placement::default(),
        }
    }
}

/// What happened in the sustain phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionsOutcome {
    /// What was asked for.
    pub transactions: Transactions,
    /// How long was measured, in seconds.
    pub measured_s: f64,
    /// Transactions whose answer came meanwhile.
    pub completed: u64,
    /// The same per second.
    pub per_second: f64,
    /// Of these, each connection's.
    pub connection_counts: Vec<u64>,
    /// How evenly they are divided: Jain's index, from 1 / connections to 1 (RFC 5166, section 2.3).
    pub fairness: f64,
    /// From when a request was ready to when its answer had come, whole; `None` if none did.
    pub time_ns: Option<Percentiles>,
    /// Segments that both ends sent again, from the first to the last (`tcpi_total_retrans`).
    pub retransmits: u64,
    /// CPU time of the asking threads, the kernel's work on their behalf included, in percent of one CPU.
    pub client_cpu_percent: f64,
    /// Of the answering threads, likewise.
    pub server_cpu_percent: f64,
}

impl Transactions {
    /// Checks it against the limits, for connections between these addresses.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn check(&self, from: IpAddr, to: IpAddr) -> Result<()> {
        let (connections, bytes, lanes) = (self.connections, self.message_bytes, self.placement.lanes);
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Error::new(format!("from {from} to {to}: two address families")));
        }
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            return Err(Error::new(format!("{connections} connections: 1 to {CONNECTIONS_MAX}")));
        }
        if !(1..=MESSAGE_BYTES_MAX).contains(&bytes) {
            return Err(Error::new(format!("messages of {bytes} bytes: 1 to {MESSAGE_BYTES_MAX}")));
        }
        if !(1..=connections).contains(&lanes) {
            return Err(Error::new(format!("{connections} connections cannot be divided among {lanes} lanes")));
        }
        if self.sustain.is_zero() {
            return Err(Error::new("transactions of which no time is measured"));
        }
        Ok(())
    }
}

/// Asks from one namespace, and answers in the other. `progress` counts the transactions so far, those of the ramp-up
/// included.
///
/// # Errors
/// The transactions are not within their limits, a connection cannot be made or breaks, no answer comes for 20 seconds,
/// or a byte arrives that was not sent.
pub fn run(
    transactions: &Transactions,
    from: Endpoint<'_>,
    to: Endpoint<'_>,
    progress: &AtomicU64,
) -> Result<TransactionsOutcome> {
    transactions.check(from.address, to.address)?;
    let lanes = lanes::connect(transactions.connections, transactions.placement.lanes, from, to)?;
    let streams = || lanes.iter().flat_map(|lane| lane.near.iter().chain(&lane.far));
    streams().try_for_each(|stream| stream.set_nodelay(true)).context("setting TCP_NODELAY")?;
    let units = (progress, "transactions");
    let results =
        lanes::carry(&transactions.placement, &lanes, units, |lane, crew| spawn(lane, crew, transactions, progress))?;
    Ok(outcome(transactions, &results, retransmits(streams())?))
}

/// The server of a lane, which answers until it is told to stop, and its client, which measures.
fn spawn<'scope, 'env>(
    lane: &'env Lane,
    crew: &mut Crew<'scope, 'env>,
    transactions: &'env Transactions,
    progress: &'env AtomicU64,
) -> Threads<'scope, Taken> {
    let bytes = transactions.message_bytes;
    let window = |start_ns| Window::new(start_ns, transactions.ramp_up, transactions.sustain);
    Threads {
        meter: crew.add(
            move || Client::new(descriptors(&lane.near), bytes, &lane.near_signals, progress),
            move |client, start_ns| client.run(start_ns, window(start_ns)),
        ),
        partner: crew
            .add(move || Server::new(descriptors(&lane.far), bytes, &lane.far_signals), |server, _| server.run()),
    }
}

fn outcome(transactions: &Transactions, results: &[LaneResult<Taken>], retransmits: u64) -> TransactionsOutcome {
    let clients = || results.iter().map(|(_, client)| client);
    let connection_counts: Vec<u64> = clients().flat_map(|client| client.value.counts.iter().copied()).collect();
    let mut times = Histogram::default();
    clients().for_each(|client| times.merge(&client.value.times));
    let completed: u64 = connection_counts.iter().sum();
    let measured_s = transactions.sustain.as_secs_f64();
    let percent = |cpu_ns: u64| cpu_ns as f64 / 1e7 / (measured_s + transactions.ramp_up.as_secs_f64());
    TransactionsOutcome {
        transactions: transactions.clone(),
        measured_s,
        completed,
        per_second: completed as f64 / measured_s,
        fairness: fairness(&connection_counts),
        connection_counts,
        time_ns: times.summary(),
        retransmits,
        client_cpu_percent: percent(clients().map(|client| client.cpu_ns).sum()),
        server_cpu_percent: percent(results.iter().map(|(server, _)| server.cpu_ns).sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        let v4 = IpAddr::from([127, 0, 0, 1]);
        let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]);
        let usual = Transactions::default;
        let refused = |transactions: Transactions, to| transactions.check(v4, to).unwrap_err().to_string();
        assert!(refused(Transactions { connections: 0, ..usual() }, v4).contains("1 to 256"));
        assert!(refused(Transactions { connections: 257, ..usual() }, v4).contains("1 to 256"));
        assert!(refused(Transactions { message_bytes: 0, ..usual() }, v4).contains("1 to 65536"));
        assert!(refused(Transactions { message_bytes: 65_537, ..usual() }, v4).contains("1 to 65536"));
        assert!(refused(Transactions { sustain: Duration::ZERO, ..usual() }, v4).contains("no time"));
        assert!(refused(usual(), v6).contains("two address families"));
        let placement = Placement { lanes: 2, ..Placement::default() };
        assert!(refused(Transactions { placement, ..usual() }, v4).contains("among 2 lanes"));
        assert!(usual().check(v4, v4).is_ok());
    }
}
