//! Which peers have had most traffic since somebody looked last.

use std::collections::HashMap;
use std::time::Duration;

use ringfort_core::time::Time;

use crate::metrics::overview::PeerOverview;
use crate::metrics::sample::PeerSample;

/// Peers in an overview.
const BUSIEST: usize = 1_000;
/// What was seen is forgotten if nobody looks for so long.
const MEMORY: Duration = Duration::from_secs(60);

/// What had passed when somebody looked last.
#[derive(Debug, Default)]
pub struct Ranks {
    before: HashMap<[u8; 32], u64>,
    looked: Time,
}

impl Ranks {
    /// The busiest peers, the busiest first. For the first look they are those with most traffic in all.
    pub fn busiest(&mut self, now: Time, peers: &[PeerSample]) -> Vec<PeerOverview> {
        if now.since(self.looked) > MEMORY {
            self.before.clear();
        }
        let all = |peer: &PeerSample| peer.traffic.rx_bytes.wrapping_add(peer.traffic.tx_bytes);
        let lately = |peer: &PeerSample| all(peer).saturating_sub(*self.before.get(&peer.key).unwrap_or(&0));
        let mut ranked: Vec<_> = peers.iter().map(|peer| (lately(peer), all(peer), peer)).collect();
        ranked.sort_unstable_by_key(|&(lately, all, peer)| std::cmp::Reverse((lately, all, peer.key)));
        ranked.truncate(BUSIEST);
        let busiest = ranked.into_iter().map(|(_, _, peer)| peer.into()).collect();
        self.before = peers.iter().map(|peer| (peer.key, all(peer))).collect();
        self.looked = now;
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
        assert_eq!(order(100, &[8, 901, 20]), [901, 20, 8], "what was seen before is forgotten");
    }
}
