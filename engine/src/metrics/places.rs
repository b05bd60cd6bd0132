//! Which peers have series of their own.
//!
//! Every peer costs a database some series, for as long as it keeps data. So there is a limit. Whoever showed the peers
//! with the most traffic of each moment would make series that come and go with every scrape, and the database would
//! have one for every peer in the end. So a peer *has a place*: it gets one while some are free, those with the most
//! traffic first, and keeps it. Only a peer that was silent for an hour loses its place, and only to one that is at
//! work. With a limit as high as the number of peers this is the same as no limit.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use ringfort_core::time::Time;

use super::sample::PeerSample;

/// How long a peer must have been silent before another gets its place.
const SILENCE: Duration = Duration::from_secs(3600);
/// A peer is at work if its last handshake is not older: no session lasts longer (Reject-After-Time).
const AT_WORK: Duration = Duration::from_secs(180);

/// How many peers have series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSeries {
    /// So many.
    Most(usize),
    /// All.
    All,
}

impl PeerSeries {
    /// What most databases take without noticing: 1,000 peers are some 8,000 series.
    pub const DEFAULT: Self = Self::Most(1_000);
}

impl FromStr for PeerSeries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::Most(0)),
            _ => text.parse().map(Self::Most).map_err(|_| "expected a number of peers, \"all\" or \"none\"".to_owned()),
        }
    }
}

/// The places, and who has them.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    taken: HashMap<[u8; 32], Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// What had passed when it last said something.
    bytes: u64,
    /// When that was.
    heard: Time,
}

impl Places {
    /// All are free.
    pub fn new(series: PeerSeries) -> Self {
        let limit = match series {
            PeerSeries::Most(limit) => limit,
            PeerSeries::All => usize::MAX,
        };
        Self { limit, taken: HashMap::new() }
    }

    /// Whether no peer has a place, whatever it does.
    pub const fn are_none(&self) -> bool {
        self.limit == 0
    }

    /// Leaves those that have a place, in the order of their keys. `wall` is the time since the Unix epoch.
    pub fn choose(&mut self, now: Time, wall: Duration, peers: &mut Vec<PeerSample>) {
        // A peer that was removed and added again in the middle of a snapshot can be there twice.
        peers.sort_unstable_by_key(|peer| peer.key);
        peers.dedup_by(|a, b| a.key == b.key);
        if self.limit == usize::MAX {
            return;
        }
        self.note(now, peers);
        if self.taken.len() < peers.len() {
            self.give(now, wall, peers);
        }
        peers.retain(|peer| self.taken.contains_key(&peer.key));
    }

    /// Who is gone has no place any more, and who says something is noted.
    fn note(&mut self, now: Time, peers: &[PeerSample]) {
        self.taken.retain(|key, place| {
            let Ok(found) = peers.binary_search_by(|peer| peer.key.cmp(key)) else { return false };
            let bytes = bytes_of(&peers[found]);
            if place.bytes != bytes {
                *place = Place { bytes, heard: now };
            }
            true
        });
    }

    fn give(&mut self, now: Time, wall: Duration, peers: &[PeerSample]) {
        let mut waiting: Vec<&PeerSample> = peers.iter().filter(|peer| !self.taken.contains_key(&peer.key)).collect();
        waiting.sort_by_key(|peer| std::cmp::Reverse(bytes_of(peer)));
        let mut waiting = waiting.into_iter();
        let free = self.limit - self.taken.len();
        for peer in waiting.by_ref().take(free) {
            self.taken.insert(peer.key, Place { bytes: bytes_of(peer), heard: now });
        }
        let is_at_work = |peer: &&PeerSample| peer.last_handshake.is_some_and(|at| wall.saturating_sub(at) <= AT_WORK);
        let silent = |place: &Place| now.since(place.heard) >= SILENCE;
        let mut given_up: Vec<_> = self.taken.iter().filter(|(_, place)| silent(place)).map(|(key, _)| *key).collect();
        given_up.sort_unstable_by_key(|key| self.taken[key].heard);
        for (peer, key) in waiting.filter(is_at_work).zip(given_up) {
            self.taken.remove(&key);
            self.taken.insert(peer.key, Place { bytes: bytes_of(peer), heard: now });
        }
    }
}

fn bytes_of(peer: &PeerSample) -> u64 {
    peer.traffic.rx_bytes.wrapping_add(peer.traffic.tx_bytes)
}

#[cfg(test)]
mod tests {
    use ringfort_core::activity::Traffic;

    use super::*;

    /// Peers by their bytes; a peer's name is its place in the list.
    fn peers(bytes: &[u64], handshake_s: u64) -> Vec<PeerSample> {
        let peer = |(name, &rx_bytes): (usize, &u64)| PeerSample {
            key: [name as u8; 32],
            traffic: Traffic { rx_bytes, ..Traffic::default() },
            last_handshake: Some(Duration::from_secs(handshake_s)),
            ..PeerSample::default()
        };
        bytes.iter().enumerate().map(peer).collect()
    }

    fn chosen(places: &mut Places, at_s: u64, mut peers: Vec<PeerSample>) -> Vec<u8> {
        places.choose(Time::from_secs(at_s), Duration::from_secs(at_s), &mut peers);
        peers.iter().map(|peer| peer.key[0]).collect()
    }

    #[test]
    fn a_place_is_kept_whoever_has_more_traffic_later() {
        let mut places = Places::new(PeerSeries::Most(2));
        assert_eq!(chosen(&mut places, 1, peers(&[5, 9, 7], 1)), [1, 2]);
        assert_eq!(chosen(&mut places, 2, peers(&[900, 10, 8], 2)), [1, 2]);
        // One is removed: its place is free.
        let mut two = peers(&[900, 10, 8], 2);
        two.remove(1);
        assert_eq!(chosen(&mut places, 3, two), [0, 2]);
        assert_eq!(chosen(&mut places, 4, peers(&[900, 10, 8], 2)), [0, 2]);
    }

    #[test]
    fn after_an_hour_of_silence_a_place_goes_to_one_that_is_at_work() {
        let mut places = Places::new(PeerSeries::Most(2));
        assert_eq!(chosen(&mut places, 0, peers(&[1, 9, 7], 0)), [1, 2]);
        assert_eq!(chosen(&mut places, 3_599, peers(&[1, 9, 8], 3_599)), [1, 2], "not an hour yet");
        assert_eq!(chosen(&mut places, 3_600, peers(&[1, 9, 8], 3_000)), [1, 2], "nobody is at work");
        assert_eq!(chosen(&mut places, 3_601, peers(&[2, 9, 8], 3_600)), [0, 2], "only the silent one goes");
        assert_eq!(chosen(&mut places, 3_602, peers(&[2, 9, 8], 3_600)), [0, 2], "and it has to wait in its turn");
    }

    #[test]
    fn no_limit_is_no_state_and_twins_are_one() {
        let mut places = Places::new(PeerSeries::All);
        let mut all = peers(&[1, 2, 3], 0);
        all.reverse();
        all.extend(peers(&[4], 0));
        assert_eq!(chosen(&mut places, 0, all), [0, 1, 2]);
        assert!(places.taken.is_empty());
    }

    #[test]
    fn the_option_says_how_many() {
        assert_eq!("all".parse(), Ok(PeerSeries::All));
        assert_eq!("none".parse(), Ok(PeerSeries::Most(0)));
        assert_eq!("25".parse(), Ok(PeerSeries::Most(25)));
        assert!("some".parse::<PeerSeries>().unwrap_err().contains("\"all\""));
    }
}
