//! What is wrong with what passes inside of a session, and how a peer does with which nothing is wrong.

use std::time::Duration;

use super::{Case, Finding};
use crate::constants::PADDING_MULTIPLE;
use crate::device::PeerState;
use crate::drops::DropReason;
use crate::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TAG_LEN};

/// Headers outside of a data message: IPv4 or IPv6, and UDP.
const OUTER_V4_LEN: u32 = 20 + 8;
const OUTER_V6_LEN: u32 = 40 + 8;
/// Data messages that went without anything back but keepalives, until it is not a conversation that has yet to begin.
const SENT_MIN: u64 = 5;
/// A session is judged by what comes back when it is so old: until then the first answers may be on their way.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Messages that must be missing, and how many in a hundred, until it is not chance.
const MISSING_MIN: u64 = 5;
const MISSING_PERCENT_MIN: u64 = 5;
/// Bytes of a message that every path carries: the 576 bytes that every host must take, without headers.
const SMALL_MAX: u32 = 576 - OUTER_V6_LEN;
/// Bytes of a message that not every path carries.
const LARGE_MIN: u32 = 1_200;
/// Destinations that are shown.
const UNROUTED_SHOWN: usize = 4;

impl Case<'_> {
    /// Which inner addresses belong to whom, here and there.
    pub(super) fn inner_addresses(&self, findings: &mut Vec<Finding>) {
        let peer = self.peer;
        if let Some(drop) = self.drops(DropReason::SourceNotAllowed) {
            let (source, count, ago) = (peer.refused_source, drop.count, self.ago(drop.last));
            findings.push(Finding::SourceNotAllowed { source, count, ago });
        }
        if peer.allowed_ips == 0 {
            findings.push(Finding::NoAllowedIps);
        }
        let unrouted = self.device.unrouted.iter().filter(|unrouted| self.is_lately(unrouted.last));
        let destinations: Vec<_> = unrouted.map(|unrouted| unrouted.destination).take(UNROUTED_SHOWN).collect();
        if !destinations.is_empty() {
            findings.push(Finding::Unrouted { destinations });
        }
        let data = peer.session_data;
        let only_keepalives = data.rx_bytes == data.rx_packets * DATA_LEN_MIN as u64;
        let sent_data = data.tx_bytes > data.tx_packets * DATA_LEN_MIN as u64;
        let is_settled = peer.session.is_some_and(|session| session.age >= ANSWERS_WITHIN);
        if peer.state == PeerState::Up && is_settled && only_keepalives && sent_data && data.tx_packets >= SENT_MIN {
            findings.push(Finding::NothingBack { sent: data.tx_packets });
        }
    }

    /// Whether the path takes what we and the peer send.
    pub(super) fn sizes(&self, findings: &mut Vec<Finding>) {
        let (Some(remote), sizes) = (self.remote(), self.peer.sizes) else { return };
        let outer = if remote.is_ipv6() { OUTER_V6_LEN } else { OUTER_V4_LEN };
        let largest_possible = message_len(self.outside.interface_mtu);
        if let Some(Ok(path_mtu)) = self.outside.route
            && path_mtu < outer + largest_possible
        {
            // Padding is to a multiple, so the next lower one surely fits.
            let room = path_mtu.saturating_sub(outer + message_len(0));
            let fits = room - room % PADDING_MULTIPLE as u32;
            findings.push(Finding::PathTooSmall { path_mtu, needed: outer + largest_possible, fits });
        }
        let data = self.peer.session_data;
        let (missing, received) = (sizes.rx_missing, data.rx_packets);
        let in_hundred = missing * 100 / (missing + received).max(1);
        if missing >= MISSING_MIN && in_hundred >= MISSING_PERCENT_MIN && sizes.rx_largest <= SMALL_MAX {
            findings.push(Finding::LargeMissing { missing, received, largest: sizes.rx_largest, largest_possible });
        }
        let answered = data.rx_bytes > data.rx_packets * DATA_LEN_MIN as u64;
        if self.peer.state == PeerState::Up
            && answered
            && sizes.tx_largest >= LARGE_MIN
            && sizes.rx_largest <= SMALL_MAX
        {
            findings.push(Finding::LargeUnanswered { sent: sizes.tx_largest, received: sizes.rx_largest });
        }
    }

    /// How a peer does with which nothing is wrong.
    pub(super) fn well(&self) -> Finding {
        let peer = self.peer;
        match (peer.state, peer.session) {
            (PeerState::Up, Some(session)) => Finding::Up { age: session.age, worker: session.worker },
            (PeerState::Asking, _) => Finding::Asking { since: peer.unanswered_for.unwrap_or_default() },
            _ if peer.handshakes == 0 && peer.failures.is_empty() => Finding::NeverHeard,
            _ => Finding::Idle { had_session: peer.handshakes > 0 },
        }
    }
}

/// Bytes of the data message that carries a packet of so many bytes.
const fn message_len(packet_len: u32) -> u32 {
    // A packet is never padded beyond the MTU of the interface, so a full one is not padded.
    packet_len + (DATA_HEADER_LEN + TAG_LEN) as u32
}
