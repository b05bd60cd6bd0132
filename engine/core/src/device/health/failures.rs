//! What can go wrong between us and a peer, as control sees it: one record for each kind.

use std::mem::discriminant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::part::{Malformed, Part, Reader, Sink, kinds, parts};
use crate::suite::Suite;
use crate::time::Time;

/// Why a handshake with a peer did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// We wanted a session, and have no private key.
    NoPrivateKey,
    /// We wanted a session, and do not know where the peer is.
    NoEndpoint,
    /// The system refused to send our message.
    NotSent {
        /// Its number for why.
        errno: i32,
    },
    /// The network said that our initiation could not be delivered.
    Undeliverable {
        /// How.
        unreachable: Unreachable,
        /// Who said so.
        reporter: IpAddr,
    },
    /// Our initiation had no answer in time.
    Unanswered,
    /// The peer answered, and its answer does not open: nearly always another preshared key.
    BadResponse,
    /// The peer is under load and wants our address proved: the next initiation proves it.
    CookieDemanded,
    /// We answered, and the peer asked again instead of using the session.
    Unused,
    /// The peer's initiation is authentic, and not later than one before.
    OldTimestamp {
        /// By how much.
        behind: Duration,
    },
    /// The peer's initiation is authentic, and under another cipher suite.
    SuiteMismatch {
        /// Which.
        theirs: Suite,
    },
}

/// What the network says of a datagram that it did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The host is there, and nobody listens on that port, or a firewall says so.
    Port,
    /// The last router does not find the host, or our own machine does not find it on the link.
    Host,
    /// A router on the way has no route.
    Network,
    /// A firewall on the way refuses, and says so.
    Prohibited,
}

impl Failure {
    /// A stable name, lower case, `_` between words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPrivateKey => "no_private_key",
            Self::NoEndpoint => "no_endpoint",
            Self::NotSent { .. } => "not_sent",
            Self::Undeliverable { .. } => "undeliverable",
            Self::Unanswered => "unanswered",
            Self::BadResponse => "bad_response",
            Self::CookieDemanded => "cookie_demanded",
            Self::Unused => "unused",
            Self::OldTimestamp { .. } => "old_timestamp",
            Self::SuiteMismatch { .. } => "suite_mismatch",
        }
    }

    /// Both sides hear each other, and one of them refuses.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::BadResponse | Self::Unused | Self::OldTimestamp { .. } | Self::SuiteMismatch { .. })
    }
}

/// One kind of failure of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRecord {
    /// What went wrong, with the details of the last time.
    pub failure: Failure,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: Time,
    /// Where the message went to, or came from.
    pub endpoint: Option<SocketAddr>,
}

parts!(FailureRecord { failure, count, last, endpoint });
kinds!(Unreachable, "why a peer is unreachable");

/// A kind by its number, then its details.
impl Part for Failure {
    fn put(&self, to: &mut dyn Sink) {
        match *self {
            Self::NoPrivateKey => 0_u8.put(to),
            Self::NoEndpoint => 1_u8.put(to),
            Self::NotSent { errno } => (2_u8, errno.cast_unsigned()).put(to),
            Self::Undeliverable { unreachable, reporter } => (3_u8, (unreachable, reporter)).put(to),
            Self::Unanswered => 4_u8.put(to),
            Self::BadResponse => 5_u8.put(to),
            Self::CookieDemanded => 6_u8.put(to),
            Self::Unused => 7_u8.put(to),
            Self::OldTimestamp { behind } => (8_u8, behind).put(to),
            Self::SuiteMismatch { theirs } => (9_u8, theirs).put(to),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::NoPrivateKey,
            1 => Self::NoEndpoint,
            2 => Self::NotSent { errno: u32::take(from)?.cast_signed() },
            3 => Self::Undeliverable { unreachable: Part::take(from)?, reporter: Part::take(from)? },
            4 => Self::Unanswered,
            5 => Self::BadResponse,
            6 => Self::CookieDemanded,
            7 => Self::Unused,
            8 => Self::OldTimestamp { behind: Part::take(from)? },
            9 => Self::SuiteMismatch { theirs: Part::take(from)? },
            _ => return Err(from.bad("a kind of failure")),
        })
    }
}

impl Unreachable {
    /// All of them.
    const ALL: [Self; 4] = [Self::Port, Self::Host, Self::Network, Self::Prohibited];
}

/// One peer's failures: at most one record for each kind.
#[derive(Clone, Debug, Default)]
pub struct Failures(Vec<FailureRecord>);

impl Part for Failures {
    fn put(&self, to: &mut dyn Sink) {
        self.0.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Part::take(from).map(Self)
    }
}

impl Failures {
    pub fn note(&mut self, failure: Failure, endpoint: Option<SocketAddr>, now: Time) {
        let kind = discriminant(&failure);
        match self.0.iter_mut().find(|record| discriminant(&record.failure) == kind) {
            Some(record) => {
                *record = FailureRecord { failure, count: record.count.saturating_add(1), last: now, endpoint };
            }
            None => {
                self.0.reserve_exact(1);
                self.0.push(FailureRecord { failure, count: 1, last: now, endpoint });
            }
        }
    }

    /// All of them, in the order in which each kind first occurred.
    pub fn all(&self) -> &[FailureRecord] {
        &self.0
    }

    /// The latest, of those that `which` picks.
    pub fn latest(&self, which: impl Fn(Failure) -> bool) -> Option<&FailureRecord> {
        self.0.iter().filter(|record| which(record.failure)).max_by_key(|record| record.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_record_with_its_latest_details() {
        let mut failures = Failures::default();
        for second in 1..=1_000 {
            failures.note(Failure::OldTimestamp { behind: Duration::from_secs(second) }, None, Time::from_secs(second));
            failures.note(Failure::Unanswered, None, Time::from_secs(second));
        }
        assert_eq!(failures.all().len(), 2);
        let latest = failures.latest(Failure::is_refusal).unwrap();
        assert_eq!(latest.failure, Failure::OldTimestamp { behind: Duration::from_secs(1_000) });
        assert_eq!((latest.count, latest.last), (1_000, Time::from_secs(1_000)));
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<FailureRecord>() <= 88, "{}", size_of::<FailureRecord>());
    }
}
