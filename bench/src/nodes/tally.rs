//! What came of the echo requests of one client.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// When each was sent that has no answer yet, by its number.
    open: HashMap<u16, Instant>,
    /// When those were sent that had an answer.
    answered: Vec<Instant>,
}

/// How long a client was without service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first request was sent that was lost.
    pub since: Instant,
    /// When the first one was sent that had an answer again; `None` if none had.
    pub until: Option<Instant>,
}

impl Tally {
    /// A request leaves now.
    pub fn sent(&mut self, sequence: u16) {
        self.open.insert(sequence, Instant::now());
    }

    /// An answer comes; false if it answers nothing.
    pub fn answered(&mut self, sequence: u16) -> bool {
        let sent = self.open.remove(&sequence);
        self.answered.extend(sent);
        sent.is_some()
    }

    /// Requests.
    pub fn requests(&self) -> u64 {
        self.lost() + self.answered.len() as u64
    }

    /// When the last one was sent.
    pub fn last(&self) -> Option<Instant> {
        self.open.values().chain(&self.answered).max().copied()
    }

    /// Requests without an answer.
    pub fn lost(&self) -> u64 {
        self.open.len() as u64
    }

    /// When the first request was sent since `moment` that had an answer.
    pub fn first_since(&self, moment: Instant) -> Option<Instant> {
        self.answered.iter().copied().filter(|&sent| sent >= moment).min()
    }

    /// The times in which all requests were lost, in order. One that does not end is the last.
    pub fn outages(&self) -> Vec<Outage> {
        let lost = self.open.values().map(|&sent| (sent, true));
        let mut requests: Vec<_> = lost.chain(self.answered.iter().map(|&sent| (sent, false))).collect();
        requests.sort_unstable();
        let (mut outages, mut since) = (Vec::new(), None);
        for (sent, is_lost) in requests {
            if is_lost {
                since.get_or_insert(sent);
            } else if let Some(since) = since.take() {
                outages.push(Outage { since, until: Some(sent) });
            }
        }
        outages.extend(since.map(|since| Outage { since, until: None }));
        outages
    }

    /// The longest of them; `None` if nothing was lost. One that does not end lasts until `end`.
    pub fn outage_max(&self, end: Instant) -> Option<Duration> {
        let length = |outage: Outage| outage.until.unwrap_or(end).saturating_duration_since(outage.since);
        self.outages().into_iter().map(length).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    /// One request in each interval, of which those have no answer.
    fn tally(began: Instant, count: u16, lost: &[u16]) -> Tally {
        let mut tally = Tally::default();
        for n in 0..count {
            tally.open.insert(n, began + INTERVAL * n.into());
        }
        // The last answer comes first.
        for n in (0..count).rev().filter(|n| !lost.contains(n)) {
            assert!(tally.answered(n) && !tally.answered(n));
        }
        tally
    }

    #[test]
    fn an_outage_lasts_from_the_first_request_that_is_lost_to_the_next_with_an_answer() {
        let began = Instant::now();
        let tally = tally(began, 12, &[2, 5, 6, 7, 11]);
        let at = |n: u32| began + INTERVAL * n;
        let outages = tally.outages().into_iter().map(|outage| (outage.since, outage.until));
        assert_eq!(outages.collect::<Vec<_>>(), [(at(2), Some(at(3))), (at(5), Some(at(8))), (at(11), None)]);
        assert_eq!((tally.requests(), tally.lost()), (12, 5));
        assert_eq!(tally.outage_max(at(12)), Some(INTERVAL * 3));
        assert_eq!(tally.outage_max(at(20)), Some(INTERVAL * 9), "the last one goes on");
        assert_eq!(tally.last(), Some(at(11)));
        assert_eq!(tally.first_since(at(5)), Some(at(8)));
    }

    #[test]
    fn nothing_lost_is_no_outage() {
        let began = Instant::now();
        assert_eq!(tally(began, 10, &[]).outage_max(began), None);
    }
}
