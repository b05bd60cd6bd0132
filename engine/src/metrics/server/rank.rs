//! Which peers have had most traffic since somebody looked last.

use std::collections::HashMap;
use std::time::Duration;

use ringfort_core::time::Time;

use crate::metrics::overview::PeerOverview;
use crate::metrics::sample::PeerSample;

/// Peers in an overview.
const BUSIEST: usize = 1_000;
/// What was seen is forgotten if nobody looks for so long: more than twice the longest interval of `ringfort top`.
const MEMORY: Duration = Duration::from_secs(150);
/// Traffic of less than this says nothing. Somebody else has just looked, and what passed before that counts as well.
const WINDOW: Duration = Duration::from_millis(900);

/// What had passed when somebody looked.
#[derive(Debug, Default)]
struct Look {
    bytes: HashMap<[u8; 32], u64>,
    at: Time,
}

/// The last look that began a window, and the one before it.
#[derive(Debug, Default)]
pub struct Ranks {
    last: Look,
    before: Look,
}

impl Ranks {
    /// The busiest peers, the busiest first. For the first look they are those with most traffic in all.
    pub fn busiest(&mut self, now: Time, peers: &[PeerSample]) -> Vec<PeerOverview> {
        if now.since(self.last.at) > MEMORY {
            (self.last, self.before) = Default::default();
        }
        let begins = now.since(self.last.at) >= WINDOW;
        let since = if begins { &self.last } else { &self.before };
        let all = |peer: &PeerSample| peer.traffic.rx_bytes.wrapping_add(peer.traffic.tx_bytes);
        let lately = |peer: &PeerSample| all(peer).saturating_sub(*since.bytes.get(&peer.key).unwrap_or(&0));
        let mut ranked: Vec<_> = peers.iter().map(|peer| (lately(peer), all(peer), peer)).collect();
        ranked.sort_unstable_by_key(|&(lately, all, peer)| std::cmp::Reverse((lately, all, peer.key)));
        ranked.truncate(BUSIEST);
        let busiest = ranked.into_iter().map(|(_, _, peer)| peer.into()).collect();
        if begins {
            let bytes = peers.iter().map(|peer| (peer.key, all(peer))).collect();
            self.before = std::mem::replace(&mut self.last, Look { bytes, at: now });
        }
        busiest
    }
}

#[cfg(test)]
mod tests {
    use ringfort_core::activity::Traffic;

    use super::*;

    fn peers(bytes: &[u64]) -> Vec<PeerSample> {
        let peer = |(name, &rx_bytes): (usize, &u64)| PeerSample {
            key: [name as u8; 32],
            traffic: Traffic { rx_bytes, ..Traffic::default() },
            ..PeerSample::default()
        };
        bytes.iter().enumerate().map(peer).collect()
    }

    #[test]
    fn who_is_at_work_now_comes_first() {
        let mut ranks = Ranks::default();
        let mut order = |at, bytes: &[u64]| -> Vec<u64> {
            ranks.busiest(Time::from_secs(at), &peers(bytes)).iter().map(|peer| peer.rx_bytes).collect()
        };
        assert_eq!(order(1, &[5, 900, 20]), [900, 20, 5]);
        assert_eq!(order(2, &[8, 901, 20]), [8, 901, 20]);
        assert_eq!(order(63, &[12, 901, 22]), [12, 22, 901], "a minute is not long");
        assert_eq!(order(214, &[12, 901, 22]), [901, 22, 12], "what was seen before is forgotten");
    }

    /// Of two who look at almost the same time, the second sees the same.
    #[test]
    fn two_who_look_see_the_same() {
        let mut ranks = Ranks::default();
        let mut order = |at, bytes: &[u64]| -> Vec<u64> {
            ranks.busiest(Time::from_millis(at), &peers(bytes)).iter().map(|peer| peer.rx_bytes).collect()
        };
        for (second, busy) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
            let first = order(1_000 * second, &[5 + busy, 900, 20]);
            assert_eq!(order(1_000 * second + 1, &[5 + busy, 900, 20]), first);
            assert_eq!(first[0], if second == 1 { 900 } else { 5 + busy }, "{second}");
        }
    }
}
