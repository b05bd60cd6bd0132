//! A handshake message is asked where it lands whether it is worth any work. Only what is goes to control, copied.
//! Under load its sender gets a cookie, which leaves through the ring with everything else of the turn.
//!
//! A flood costs what is done here for each of its messages, and nothing behind: two blocks of BLAKE2s for mac1, a
//! cookie within the budget, no word to control.

use std::sync::Arc;
use std::time::Duration;

use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::gate::{Admission, Gate, Proof};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use ringfort_core::wire::CookieReply;

use crate::budget::{COOKIES, line};
use crate::outputs::{HANDSHAKE_TRAFFIC_CLASS, HandshakeMessage};
use crate::tap::Datagrams;
use crate::{DATAGRAMS_MAX, DataPath, Transmit, Watch};

/// Cookies that a worker sends in a second to anybody, and as many again to where peers were when the load began. One
/// costs some 12 µs, nearly all of that in the kernel, so a flood takes 1.5 % of a core, and 3 % if it knows where our
/// peers are. Twice as many took another three percent of what two cores carry.
pub const COOKIES_PER_SECOND: u64 = 1_250;
const COOKIE_NANOS: u64 = 1_000_000_000 / COOKIES_PER_SECOND;
/// Cookies that may leave at once, of either kind.
const BURST_NANOS: u64 = 2 * COOKIES as u64 * COOKIE_NANOS;

/// A worker tells of one address whose messages are for another key in so long.
const WRONG_KEY_INTERVAL: Duration = Duration::from_millis(250);

/// What a worker asks of handshake messages, and what it remembers for that.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    gate: Option<Arc<Gate>>,
    cookies: Cookies,
    /// When an address may be told of again.
    wrong_key_next: Time,
}

/// How many cookies were made, and how many may be.
#[derive(Debug, Default)]
struct Cookies {
    made: u64,
    /// When all that were made are paid for: the later, the fewer may follow.
    paid: Time,
    /// The same of those to where peers are, which come after these.
    paid_for_peers: Time,
}

impl Screen {
    /// Whether a session may have this index at some worker. Without a gate nobody knows.
    pub(super) fn may_know(&self, index: u32) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.may_know(index))
    }

    /// Asks with another gate from now on.
    pub(crate) fn set_gate(&mut self, gate: Option<Arc<Gate>>) {
        self.gate = gate;
    }
}

impl Cookies {
    /// The number of a cookie for this sender, if there is one left.
    ///
    /// Once half of what may leave at once has left, nobody gets a second one within a second: a flood from a few
    /// addresses leaves the rest to others. Of a flood from very many, peers are told by where they are. The same holds
    /// there: a flood in the name of one peer leaves half to the others.
    fn take(&mut self, now: Time, is_first: impl Fn() -> bool, is_peers: impl FnOnce() -> bool) -> Option<u64> {
        let owed = |paid: Time| paid.as_nanos().saturating_sub(now.as_nanos());
        let (anybodys, peers) = (owed(self.paid), owed(self.paid_for_peers));
        let paid = if anybodys + COOKIE_NANOS <= BURST_NANOS && (anybodys < BURST_NANOS / 2 || is_first()) {
            &mut self.paid
        } else if peers + COOKIE_NANOS <= BURST_NANOS && is_peers() && (peers < BURST_NANOS / 2 || is_first()) {
            &mut self.paid_for_peers
        } else {
            return None;
        };
        *paid = (*paid).max(now) + Duration::from_nanos(COOKIE_NANOS);
        self.made += 1;
        Some(self.made)
    }
}

impl<W: Watch> DataPath<W> {
    /// A message that is not a data message. Returns why it goes no further, if it does not.
    pub(super) fn screen(&mut self, now: Time, message: &[u8], endpoint: Endpoint, ecn: u8) -> Option<DropReason> {
        if self.is_passive() {
            self.worthless += 1;
            self.counters.drop(DropReason::Passive, 1);
            return Some(DropReason::Passive);
        }
        let Some(gate) = self.screen.gate.take() else {
            // There is no private key, or it was set just now: control knows.
            return self.pass_to_control(message, (endpoint, ecn), Proof::Unasked);
        };
        let dropped = match gate.admit(now, endpoint.remote, message) {
            Admission::Passed(proof) => self.pass_to_control(message, (endpoint, ecn), proof),
            Admission::Refused(reason) => {
                self.refuse_message(now, endpoint, reason);
                Some(reason)
            }
            Admission::Unproven { sender_index } => {
                gate.load().note_refused(now);
                let reason = self.answer(now, &gate, message, endpoint, sender_index);
                self.worthless += 1;
                self.counters.drop(reason, 1);
                Some(reason)
            }
        };
        self.screen.gate = Some(gate);
        dropped
    }

    fn refuse_message(&mut self, now: Time, endpoint: Endpoint, reason: DropReason) {
        self.worthless += 1;
        self.counters.drop(reason, 1);
        if reason == DropReason::BadMac1 && now >= self.screen.wrong_key_next {
            self.screen.wrong_key_next = now + WRONG_KEY_INTERVAL;
            self.report(PeerEvent::WrongKey { remote: endpoint.remote }, None);
        }
    }

    /// Sends a cookie, if one may be sent and there is a slot to spare. Returns what the message is dropped for.
    fn answer(&mut self, now: Time, gate: &Gate, message: &[u8], endpoint: Endpoint, sender_index: u32) -> DropReason {
        const { assert!(size_of::<CookieReply>() < super::SHORTEST_WITH_MACS, "nobody is sent more than he sent") };
        let Some(mut view) = self.pool.claim_for(line::COOKIES) else { return DropReason::CookieBudget };
        let remote = endpoint.remote;
        let number = self.screen.cookies.take(now, || gate.is_first(now, remote), || gate.is_peers(remote));
        let Some(count) = number else { return DropReason::CookieBudget };
        let worker = self.config.worker as u8;
        let Some(reply) = gate.reply(endpoint.remote, message, sender_index, worker, count) else {
            return DropReason::CookieBudget;
        };
        view.truncate(size_of::<CookieReply>());
        view.copy_from_slice(&reply);
        self.counters.cookies_sent += 1;
        let stride = view.len();
        if let Some(tap) = self.tap.as_mut().filter(|tap| tap.wants_peer(None)) {
            let datagrams = Datagrams { peer: None, stride, endpoint: Some(endpoint), ecn: HANDSHAKE_TRAFFIC_CLASS };
            tap.sent(now, &datagrams, &view, None);
        }
        self.outputs.transmits.push_back(Transmit {
            peer: PeerId::NOBODY,
            view,
            stride,
            endpoint,
            ecn: HANDSHAKE_TRAFFIC_CLASS,
            any_data: false,
        });
        DropReason::CookieRequired
    }

    fn pass_to_control(&mut self, message: &[u8], from: (Endpoint, u8), proof: Proof) -> Option<DropReason> {
        let (endpoint, ecn) = from;
        match HandshakeMessage::new(endpoint, message, proof) {
            Some(message) if self.outputs.handshakes.len() < DATAGRAMS_MAX => {
                self.outputs.handshakes.push_back(HandshakeMessage { ecn, ..message });
                None
            }
            _ => {
                self.counters.drop(DropReason::HandshakeQueueFull, 1);
                Some(DropReason::HandshakeQueueFull)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(100);

    /// How many of `n` senders at one instant get a cookie.
    fn answered(cookies: &mut Cookies, now: Time, n: usize, is_first: bool, is_peers: bool) -> usize {
        (0..n).filter(|_| cookies.take(now, || is_first, || is_peers).is_some()).count()
    }

    const BURST: usize = 2 * COOKIES as usize;

    #[test]
    fn cookies_have_a_burst_and_a_rate() {
        let mut cookies = Cookies::default();
        assert_eq!(answered(&mut cookies, NOW, 1_000, true, false), BURST);
        let second = (1..=1_000).map(|ms| NOW + Duration::from_millis(ms));
        let second = second.map(|now| answered(&mut cookies, now, 100, true, false));
        assert_eq!(second.sum::<usize>(), COOKIES_PER_SECOND as usize);
        let later = NOW + Duration::from_secs(9);
        assert_eq!(answered(&mut cookies, later, 1_000, true, false), BURST, "rest is not saved up");
    }

    #[test]
    fn half_of_the_burst_is_for_those_who_were_not_answered_lately() {
        let mut cookies = Cookies::default();
        assert_eq!(answered(&mut cookies, NOW, 1_000, false, false), BURST / 2);
        assert_eq!(answered(&mut cookies, NOW, 1_000, true, false), BURST / 2);
    }

    #[test]
    fn where_peers_are_there_are_cookies_when_strangers_have_taken_theirs() {
        let mut cookies = Cookies::default();
        assert_eq!(answered(&mut cookies, NOW, 1_000, true, false), BURST);
        assert_eq!(
            answered(&mut cookies, NOW, 1_000, false, true),
            BURST / 2,
            "one peer's name leaves the rest to others"
        );
        assert_eq!(answered(&mut cookies, NOW, 1_000, true, true), BURST / 2, "and no more");
    }

    #[test]
    fn no_two_cookies_of_a_worker_have_one_number() {
        let mut cookies = Cookies::default();
        let mut take = |is_peers| cookies.take(NOW, || false, || is_peers);
        assert_eq!([take(false), take(true), take(false)], [Some(1), Some(2), Some(3)]);
    }
}
