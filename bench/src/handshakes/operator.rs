//! What an operator asks of the gateway while clients connect: large requests, of which no client should notice
//! anything.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{panic, thread};

use clap::ValueEnum;
use ringfort_testbed::{Context, Result, uapi};
use ringfort_traffic::{Histogram, Percentiles};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Peers that these requests are about. They never say anything.
const PEERS: u32 = 100_000;

/// What is asked, again and again, on the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "HandshakesRequest")]
pub enum Request {
    /// 100,000 peers with a prefix each come in one request, and go in the next one
    SetPeers,
    /// One peer comes or goes, beside 100,000
    SetOne,
    /// All of 100,000 peers are listed
    Show,
    /// The mark of the sockets changes, which concerns each of 100,000 peers
    Mark,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HandshakesOperator")]
pub struct Requests {
    /// What was asked.
    pub request: Request,
    /// How often it was answered.
    pub answered: u64,
    /// From a request to its answer, in nanoseconds.
    pub times_ns: Option<Percentiles>,
}

impl Request {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The peers that are there before anything is measured.
    ///
    /// # Errors
    /// The gateway refuses them.
    pub fn prepare(self, interface: &str) -> Result<()> {
        if self == Self::SetPeers { Ok(()) } else { uapi::set(interface, &peers(0..PEERS, true)) }
    }

    /// Asks this again and again while `work` is done.
    ///
    /// # Errors
    /// A request is refused, or those of `work`.
    pub fn beside<T: Send>(self, interface: &str, work: impl FnOnce() -> Result<T>) -> Result<(Requests, T)> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| self.ask(interface, &stop));
            let done = work();
            stop.store(true, Ordering::Release);
            let requests = asking.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
            Ok((requests.context("a request of the operator")?, done?))
        })
    }

    fn ask(self, interface: &str, stop: &AtomicBool) -> Result<Requests> {
        let (mut times, mut answered) = (Histogram::default(), 0_u64);
        while !stop.load(Ordering::Acquire) {
            let is_first = answered.is_multiple_of(2);
            let lines = match self {
                Self::SetPeers => peers(0..PEERS, is_first),
                Self::SetOne => peers(PEERS..PEERS + 1, is_first),
                Self::Show => String::new(),
                Self::Mark => format!("fwmark={}\n", u32::from(is_first)),
            };
            let begun = Instant::now();
            if self == Self::Show {
                uapi::get(interface).map(drop)?
            } else {
                uapi::set(interface, &lines)?
            }
            times.record(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            answered += 1;
        }
        Ok(Requests { request: self, answered, times_ns: times.summary() })
    }
}

/// Lines that add or remove peers.
fn peers(numbers: std::ops::Range<u32>, come: bool) -> String {
    let mut lines = String::new();
    for number in numbers {
        // Nobody has the private key of such a small number.
        let _ = writeln!(lines, "public_key={:064x}", 0x1_0000_0000 + u64::from(number));
        let [_, a, b, c] = number.to_be_bytes();
        let _ = if come { writeln!(lines, "allowed_ip=11.{a}.{b}.{c}/32") } else { writeln!(lines, "remove=true") };
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_key_and_a_prefix_of_its_own() {
        let lines = peers(0..PEERS, true);
        let all: std::collections::HashSet<_> = lines.lines().collect();
        assert_eq!(all.len(), 2 * PEERS as usize);
        assert_eq!(peers(7..8, false).lines().last(), Some("remove=true"));
    }
}
