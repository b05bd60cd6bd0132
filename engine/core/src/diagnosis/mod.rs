//! From what is known of a peer to what is wrong with it: a pure function.
//!
//! ```text
//!   PeerSnapshot    what the peer did, and what was dropped ─┐
//!   DeviceSnapshot  strangers, destinations without a peer ──┼─► diagnose ─► findings, the worst first
//!   Outside         what the system says of the way out ─────┘
//! ```
//!
//! A gateway sees one end. Each finding says how well it is founded ([`Certainty`]), and nothing is found that a
//! stranger can make up alone: what only a stranger says is at most possible.

mod finding;
mod sessions;

pub use finding::{Certainty, Finding, Severity, UnresolvedName};

use std::net::SocketAddr;
use std::time::Duration;

use crate::crypto::PublicKey;
use crate::device::{DeviceSnapshot, Failure, FailureRecord, PeerSnapshot, PeerState, Unreachable};
use crate::drops::DropReason;
use crate::peer_drops::{PeerDrop, SendError};
use crate::time::Time;

/// What happened longer ago than this is history, and explains nothing now.
const LATELY: Duration = Duration::from_secs(300);
/// Answers in a row that a peer made no use of before it is not a lost datagram.
const UNUSED_MIN: u64 = 2;
/// Handshakes from where a peer is that is up, until they are not a datagram that was on its way for long.
const ASKED_AGAIN_MIN: u64 = 2;
/// A distance between timestamps that is no reordering on the way.
const CLOCK_BEHIND_MIN: Duration = Duration::from_secs(5);
/// Old initiations of a peer that is up which are not a recording that somebody plays.
const REPLAYS_MIN: u64 = 3;
/// How often a peer goes back and forth before it is two. A client with two networks does so, too, but rarely.
const RETURNS_MIN: u32 = 3;

/// What the system says of the way to a peer, and of our sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// We have sockets.
    pub is_listening: bool,
    /// MTU of the interface in bytes.
    pub interface_mtu: u32,
    /// The route to the endpoint: the largest packet that it takes, in bytes, or the system's number for why there is
    /// none. `None`: not asked, or there is no endpoint.
    pub route: Option<Result<u32, i32>>,
    /// Nothing can be heard of what ICMP says of our handshakes.
    pub is_deaf: bool,
    /// The endpoint that was configured is a name, and has no address so far.
    pub unresolved: Option<UnresolvedName>,
}

/// What is wrong with a peer, the worst first; if nothing is, how it does. Never empty.
pub fn diagnose(peer: &PeerSnapshot, device: &DeviceSnapshot, outside: &Outside) -> Vec<Finding> {
    let case = Case { peer, device, outside };
    let mut findings = Vec::new();
    case.ourselves(&mut findings);
    case.way_out(&mut findings);
    case.handshakes(&mut findings);
    case.strangers(&mut findings);
    case.silence(&mut findings);
    case.inner_addresses(&mut findings);
    case.sizes(&mut findings);
    findings.sort_by_key(|finding| (finding.severity(), finding.certainty()));
    if findings.iter().all(|finding| finding.severity() == Severity::Note) {
        findings.insert(0, case.well());
    }
    findings
}

/// What is known of a key that is no peer's.
pub fn diagnose_stranger(key: &PublicKey, device: &DeviceSnapshot) -> Vec<Finding> {
    let asked = device.strangers.iter().find(|stranger| stranger.public_key == *key);
    let asked = asked.map(|stranger| (stranger.remote, stranger.count, device.now.since(stranger.last)));
    vec![Finding::NotAPeer { asked }]
}

struct Case<'a> {
    peer: &'a PeerSnapshot,
    device: &'a DeviceSnapshot,
    outside: &'a Outside,
}

/// What both ends see.
impl Case<'_> {
    /// What keeps us from doing anything.
    fn ourselves(&self, findings: &mut Vec<Finding>) {
        if !self.device.is_up {
            findings.push(if self.outside.is_listening { Finding::LinkDown } else { Finding::NotListening });
        }
        if self.device.is_passive {
            findings.push(Finding::Passive);
        }
        if !self.device.has_private_key {
            findings.push(Finding::NoPrivateKey);
        }
        if let Some(name) = &self.outside.unresolved {
            findings.push(Finding::NameUnresolved { name: name.clone(), remote: self.remote() });
        } else if self.peer.endpoint.is_none() {
            let dropped = self.drops(DropReason::NoEndpoint).map_or(0, |drop| drop.count);
            if dropped > 0 || self.peer.is_waiting || self.peer.keepalive_secs > 0 {
                findings.push(Finding::NoEndpoint { dropped });
            }
        }
    }

    /// What the system and the network say.
    fn way_out(&self, findings: &mut Vec<Finding>) {
        let Some(remote) = self.remote() else { return };
        if let Some(Err(errno)) = self.outside.route {
            findings.push(Finding::NoRoute { remote, errno });
        } else if let Some((error, count)) = self.send_error() {
            findings.push(match error {
                SendError::System(errno) => Finding::SendRefused { remote, errno, count },
                SendError::Full => Finding::SendsLost { remote, count, are_full: true },
                SendError::Partial => Finding::SendsLost { remote, count, are_full: false },
            });
        }
        let undeliverable = self.current(|failure| matches!(failure, Failure::Undeliverable { .. }));
        if let Some(&FailureRecord {
            failure: Failure::Undeliverable { unreachable, reporter }, last, endpoint, ..
        }) = undeliverable
            && endpoint == Some(remote)
        {
            findings.push(Finding::Undeliverable { remote, unreachable, reporter, ago: self.ago(last) });
        }
    }

    /// What the other side proves by what it says.
    fn handshakes(&self, findings: &mut Vec<Finding>) {
        let places = self.peer.returns.filter(|&(returns, _)| returns >= RETURNS_MIN);
        let old = self.current(|failure| matches!(failure, Failure::OldTimestamp { .. }));
        if let Some((returns, places)) = places {
            let old_timestamps = old.map_or(0, |record| record.count);
            findings.push(Finding::TwoGateways { places, returns, old_timestamps });
        } else if let Some(&FailureRecord { failure: Failure::OldTimestamp { behind }, count, .. }) = old
            && behind >= CLOCK_BEHIND_MIN
            && (self.peer.state != PeerState::Up || count >= REPLAYS_MIN)
        {
            findings.push(Finding::ClockBehind { behind, count });
        }
        if let Some(record) = self.current(|failure| failure == Failure::BadResponse) {
            findings.push(Finding::PskDiffers { count: record.count, has_psk: self.peer.has_psk });
        }
        if let Some(record) = self.current(|failure| failure == Failure::Unused)
            && record.count >= UNUSED_MIN
        {
            let FailureRecord { count, endpoint: remote, .. } = *record;
            findings.push(Finding::AnswersUnused { count, remote, has_psk: self.peer.has_psk });
        }
        let mismatch = self.current(|failure| matches!(failure, Failure::SuiteMismatch { .. }));
        if let Some(&FailureRecord { failure: Failure::SuiteMismatch { theirs }, .. }) = mismatch
            && theirs != self.peer.suite
        {
            findings.push(Finding::SuiteDiffers { ours: self.peer.suite, theirs });
        }
    }

    /// Who else speaks from where the peer is.
    fn strangers(&self, findings: &mut Vec<Finding>) {
        let has_session = self.peer.state == PeerState::Up;
        for stranger in self.device.strangers.iter().filter(|one| self.is_from_peer(one.remote, one.count, one.last)) {
            let (key, remote, ago) = (stranger.public_key, stranger.remote, self.ago(stranger.last));
            findings.push(Finding::OtherKeyAtEndpoint { key, remote, ago, has_session });
        }
        let is_endpoint = self.remote().is_some();
        let wrong_keys = self.device.wrong_keys.iter();
        for wrong in wrong_keys.filter(|one| !is_endpoint || self.is_from_peer(one.remote, one.count, one.last)) {
            if self.is_lately(wrong.last) {
                let (remote, count, ago) = (wrong.remote, wrong.count, self.ago(wrong.last));
                findings.push(Finding::WrongKeyThere { remote, count, ago, is_endpoint, has_session });
            }
        }
    }

    /// Whether what came from an address tells of the peer. One that is up may share its address with others behind a
    /// NAT. So it must be the port as well, again and again, and later than its session began.
    fn is_from_peer(&self, from: SocketAddr, count: u64, last: Time) -> bool {
        let Some(remote) = self.remote() else { return false };
        if self.peer.state == PeerState::Up {
            from == remote && count >= ASKED_AGAIN_MIN && self.is_current(last)
        } else {
            from.ip() == remote.ip() && self.is_lately(last)
        }
    }

    /// Initiations without an answer, if nothing says why.
    fn silence(&self, findings: &mut Vec<Finding>) {
        let peer = self.peer;
        let explained = findings.iter().any(|finding| {
            matches!(
                finding,
                Finding::LinkDown
                    | Finding::Passive
                    | Finding::NotListening
                    | Finding::NoPrivateKey
                    | Finding::NoRoute { .. }
                    | Finding::SendRefused { .. }
                    | Finding::Undeliverable { unreachable: Unreachable::Port, .. }
                    | Finding::PskDiffers { .. }
                    | Finding::SuiteDiffers { .. }
            )
        });
        let Some(since) = peer.unanswered_for.filter(|_| !explained && peer.initiations_unanswered > 0) else { return };
        // Until the first is repeated, the answer may be on its way.
        if self.current(|failure| failure == Failure::Unanswered).is_some() {
            let (initiations, was_up) = (peer.initiations_unanswered, peer.handshakes > 0);
            let is_deaf = self.outside.is_deaf;
            findings.push(Finding::Silent { remote: self.remote(), initiations, since, was_up, is_deaf });
        }
    }
}

/// What is asked of the facts.
impl Case<'_> {
    fn remote(&self) -> Option<SocketAddr> {
        self.peer.endpoint.map(|endpoint| endpoint.remote)
    }

    fn ago(&self, at: Time) -> Duration {
        self.peer.now.since(at)
    }

    fn is_lately(&self, at: Time) -> bool {
        self.ago(at) < LATELY
    }

    /// Whether something still explains how the peer does: it is not long ago, and nothing has succeeded since.
    fn is_current(&self, at: Time) -> bool {
        let succeeded = self.peer.session.map(|session| self.peer.now - session.age);
        self.is_lately(at) && succeeded.is_none_or(|succeeded| succeeded < at)
    }

    /// A kind of failure that still explains how the peer does.
    fn current(&self, which: impl Fn(Failure) -> bool) -> Option<&FailureRecord> {
        self.peer.failures.iter().find(|record| which(record.failure) && self.is_current(record.last))
    }

    fn drops(&self, reason: DropReason) -> Option<&PeerDrop> {
        self.peer.drops.iter().find(|drop| drop.reason == reason && self.is_lately(drop.last))
    }

    /// Why datagrams did not leave, and how often: of handshakes, or of data.
    fn send_error(&self) -> Option<(SendError, u64)> {
        let handshakes = self.current(|failure| matches!(failure, Failure::NotSent { .. }));
        if let Some(&FailureRecord { failure: Failure::NotSent { errno }, count, .. }) = handshakes {
            return Some((SendError::System(errno), count));
        }
        let data = self.drops(DropReason::SendFailed).filter(|drop| self.is_current(drop.last))?;
        Some((self.peer.send_error?, data.count))
    }
}

#[cfg(test)]
mod tests;
