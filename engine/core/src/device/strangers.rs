//! Who is not a peer and yet wants something: short lists, so an operator sees a key that was forgotten here, one that
//! is wrong over there, and a destination that belongs to nobody.
//!
//! All lists are bounded. A key is listed once its owner has proved to have it, which costs one more Diffie-Hellman;
//! that is done a few times a second at most. Still, whoever knows our public key can make keys without number. So one
//! address has a few places only, and whoever sends from many addresses can push others out: then the list shows that.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::api::{Notice, PeerEvent};
use super::outbox::Outbox;
use super::{Device, Identity};
use crate::crypto::PublicKey;
use crate::drops::DropReason;
use crate::ids::Endpoint;
use crate::noise::{ClaimedInitiation, RemoteIdentity};
use crate::time::Time;

/// Entries of each list.
const LISTED: usize = 16;
/// Of these, how many one address has.
const LISTED_PER_ADDRESS: usize = 4;
/// Proofs that are checked at once, and then in each second.
const PROOFS: Rate = Rate { burst: 8, interval_ms: 250 };
/// Lines about strangers at once, and then in each minute.
const LINES: Rate = Rate { burst: 5, interval_ms: 60_000 };

/// A key that asks for a session and belongs to no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The key. Its owner proved to have it.
    pub public_key: PublicKey,
    /// Where it last asked from.
    pub remote: SocketAddr,
    /// How often it was seen; when we are asked a lot, not every time is.
    pub count: u64,
    /// When last.
    pub last: Time,
}

/// An address from which handshakes come that are meant for another public key than ours. Nothing proves the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacStranger {
    /// The address.
    pub remote: SocketAddr,
    /// How many came. Of a flood, workers tell a few in a second.
    pub count: u64,
    /// When last.
    pub last: Time,
}

/// An inner destination that belongs to no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrouted {
    /// The address.
    pub destination: IpAddr,
    /// How often it was reported, which is not for each packet.
    pub count: u64,
    /// When last.
    pub last: Time,
}

/// So many at once, and then one in each interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u64,
    interval_ms: u64,
}

impl Rate {
    /// Takes one, if there is one. `paid`: when all that were taken so far are paid for.
    fn take(self, paid: &mut Time, now: Time) -> bool {
        let next = (*paid).max(now) + Duration::from_millis(self.interval_ms);
        let may = next.since(now) <= Duration::from_millis(self.burst * self.interval_ms);
        *paid = if may { next } else { *paid };
        may
    }
}

/// What was seen lately, by `K`: how often, and when last.
#[derive(Debug)]
struct Recent<K>(Vec<(K, u64, Time)>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + PartialEq> Recent<K> {
    /// Notes one more. `crowd`: entries of the same origin, of which there are few. True if it was not listed.
    fn note(&mut self, key: K, now: Time, same: impl Fn(&K) -> bool, crowd: impl Fn(&K) -> bool) -> bool {
        if let Some(entry) = self.0.iter_mut().find(|(listed, ..)| same(listed)) {
            *entry = (key, entry.1.saturating_add(1), now);
            return false;
        }
        let crowded = self.0.iter().filter(|(listed, ..)| crowd(listed)).count() >= LISTED_PER_ADDRESS;
        if crowded || self.0.len() == LISTED {
            let candidates = self.0.iter().enumerate().filter(|(_, (listed, ..))| !crowded || crowd(listed));
            if let Some(oldest) = candidates.min_by_key(|(_, (.., last))| *last).map(|(place, _)| place) {
                self.0.swap_remove(oldest);
            }
        }
        self.0.push((key, 1, now));
        true
    }

    /// All of them, the latest first.
    fn all<T>(&self, make: impl Fn(K, u64, Time) -> T) -> Vec<T> {
        let mut sorted = self.0.clone();
        sorted.sort_by_key(|&(.., last)| std::cmp::Reverse(last));
        sorted.into_iter().map(|(key, count, last)| make(key, count, last)).collect()
    }
}

/// The lists of a device.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    keys: Recent<(PublicKey, SocketAddr)>,
    wrong_keys: Recent<SocketAddr>,
    unrouted: Recent<IpAddr>,
    proofs_paid: Time,
    lines_paid: Time,
}

impl Strangers {
    pub fn keys(&self) -> Vec<Stranger> {
        self.keys.all(|(public_key, remote), count, last| Stranger { public_key, remote, count, last })
    }

    pub fn wrong_keys(&self) -> Vec<MacStranger> {
        self.wrong_keys.all(|remote, count, last| MacStranger { remote, count, last })
    }

    pub fn unrouted(&self) -> Vec<Unrouted> {
        self.unrouted.all(|destination, count, last| Unrouted { destination, count, last })
    }

    /// A packet from inside had no peer.
    pub fn note_unrouted(&mut self, destination: IpAddr, now: Time) {
        self.unrouted.note(destination, now, |listed| *listed == destination, |_| false);
    }

    /// Handshakes for another public key came from there, or from nowhere.
    pub fn note_wrong_key(&mut self, remote: SocketAddr, now: Time) {
        let ip = remote.ip();
        self.wrong_keys.note(remote, now, |listed| *listed == remote, |listed| listed.ip() == ip);
    }

    /// Somebody claims to have a key that belongs to no peer. It is listed if that is true.
    fn note_claim(
        &mut self,
        claimed: ClaimedInitiation,
        identity: &Identity,
        endpoint: Endpoint,
        now: Time,
        out: &mut Outbox,
    ) {
        if !PROOFS.take(&mut self.proofs_paid, now) {
            return;
        }
        let (key, remote) = (*claimed.remote_public(), endpoint.remote);
        if claimed.verify(&identity.local, &RemoteIdentity::new(key)).is_err() {
            return;
        }
        let ip = remote.ip();
        let is_new = self.keys.note((key, remote), now, |listed| listed.0 == key, |listed| listed.1.ip() == ip);
        if is_new && LINES.take(&mut self.lines_paid, now) {
            out.notify(key, Notice::Stranger { remote });
        }
    }
}

impl Device {
    /// An event that is about no peer.
    pub(super) fn handle_stranger(&mut self, now: Time, event: PeerEvent) {
        match event {
            PeerEvent::Unrouted { destination } => self.strangers.note_unrouted(destination, now),
            PeerEvent::WrongKey { remote } => self.strangers.note_wrong_key(remote, now),
            _ => {}
        }
    }

    /// An initiation whose key belongs to no peer.
    pub(super) fn refuse_stranger(&mut self, claimed: ClaimedInitiation, endpoint: Endpoint, now: Time) -> DropReason {
        if let Some(identity) = &self.identity {
            self.strangers.note_claim(claimed, identity, endpoint, now, &mut self.out);
        }
        DropReason::UnknownPeer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> Time = Time::from_secs;

    fn remote(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    #[test]
    fn lists_are_bounded_and_the_latest_is_first() {
        let mut strangers = Strangers::default();
        for host in 0..=255 {
            strangers.note_wrong_key(remote(host, 1), T(host.into()));
            strangers.note_unrouted(IpAddr::from([10, 0, 0, host]), T(host.into()));
        }
        strangers.note_wrong_key(remote(250, 1), T(300));
        let listed = strangers.wrong_keys();
        assert_eq!((listed.len(), listed[0].remote, listed[0].count), (LISTED, remote(250, 1), 2));
        assert_eq!(strangers.unrouted().len(), LISTED);
        assert_eq!(strangers.unrouted()[0].destination, IpAddr::from([10, 0, 0, 255]));
    }

    #[test]
    fn one_address_has_few_places() {
        let mut strangers = Strangers::default();
        strangers.note_wrong_key(remote(1, 7), T(1));
        (0..1_000).for_each(|port| strangers.note_wrong_key(remote(2, port), T(2)));
        let listed = strangers.wrong_keys();
        assert_eq!(listed.len(), 1 + LISTED_PER_ADDRESS);
        assert!(listed.iter().any(|entry| entry.remote == remote(1, 7)), "others stay");
    }

    #[test]
    fn a_rate_has_a_burst_and_then_an_interval() {
        let mut paid = Time::ZERO;
        assert_eq!((0..50).filter(|_| LINES.take(&mut paid, T(100))).count(), 5);
        assert!(!LINES.take(&mut paid, T(159)) && LINES.take(&mut paid, T(160)));
    }
}
