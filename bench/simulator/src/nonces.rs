//! Every key and nonce that was ever used on the wire: none may be used twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringfort_core::constants::{REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_TIME};
use ringfort_core::time::Time;

/// When all is well, whoever has asked for a session that is old replaces it so soon after sending under it: there is a
/// least time between two handshakes.
const RENEWED: Duration = Duration::from_secs(7);

/// What was sent under each key.
#[derive(Debug, Default)]
pub struct Nonces {
    keys: BTreeMap<[u8; 32], usize>,
    /// The key that a gateway seals with when it writes this index.
    sessions: BTreeMap<(usize, u32), usize>,
    used: Vec<Used>,
    /// When a gateway last asked for a session there.
    asked: BTreeMap<(usize, SocketAddr), Time>,
}

#[derive(Debug)]
struct Used {
    /// When the session was made, on the sender's clock, and whether the sender asked for it.
    created: Time,
    initiator: bool,
    /// When it was first sent under at an age at which it should be replaced.
    aged: Option<Time>,
    /// Counters, as ranges that neither touch nor overlap, in order.
    ranges: Vec<(u64, u64)>,
}

impl Nonces {
    /// A gateway is about to seal with a key, in messages that carry this index.
    ///
    /// # Errors
    /// The key was had before.
    pub fn begin(
        &mut self,
        (gateway, index): (usize, u32),
        key: &[u8; 32],
        created: Time,
        initiator: bool,
    ) -> Result<(), String> {
        let place = self.used.len();
        if self.keys.insert(*key, place).is_some() {
            return Err(format!("g{gateway} has the same key for a second session, {index:08x}"));
        }
        self.used.push(Used { created, initiator, aged: None, ranges: Vec::new() });
        self.sessions.insert((gateway, index), place);
        Ok(())
    }

    /// A gateway asks for a session.
    pub fn ask(&mut self, gateway: usize, to: SocketAddr, now: Time) {
        self.asked.insert((gateway, to), now);
    }

    /// Whether it has asked there just now. A peer that has moved without a word does not answer.
    pub fn asks(&self, gateway: usize, to: SocketAddr, now: Time) -> bool {
        self.asked.get(&(gateway, to)).is_some_and(|&asked| now.since(asked) <= RENEWED)
    }

    /// A gateway has sealed with so many counters from the first on. `is_settled`: nothing keeps it from replacing a
    /// session that is old.
    ///
    /// # Errors
    /// One of them was used before under the same key, the key is too old, or there is none.
    pub fn spend(
        &mut self,
        (gateway, index): (usize, u32),
        (first, count): (u64, u64),
        now: Time,
        is_settled: bool,
    ) -> Result<(), String> {
        let place = self.sessions.get(&(gateway, index));
        let place = *place.ok_or_else(|| format!("g{gateway} sends under {index:08x}, a session that nobody made"))?;
        if first + count > REJECT_AFTER_MESSAGES {
            return Err(format!("g{gateway} sends under {index:08x} with a counter that nobody accepts: {first}"));
        }
        let Used { created, initiator, aged, ranges } = &mut self.used[place];
        let age = now.since(*created);
        if age >= REJECT_AFTER_TIME {
            return Err(format!("g{gateway} sends under {index:08x}, which is older than 180 s"));
        }
        if *initiator && is_settled && age >= REKEY_AFTER_TIME && now.since(*aged.get_or_insert(now)) > RENEWED {
            return Err(format!("g{gateway} sends under {index:08x}, which is {age:?} old, and does not replace it"));
        }
        if spend(ranges, first, first + count) {
            Ok(())
        } else {
            Err(format!("g{gateway} uses a nonce of {index:08x} twice: {count} from {first} on"))
        }
    }
}

/// Adds a range; false if it overlaps another.
fn spend(ranges: &mut Vec<(u64, u64)>, first: u64, end: u64) -> bool {
    let at = match ranges.last() {
        Some(last) if last.1 <= first => ranges.len(),
        _ => ranges.partition_point(|range| range.1 <= first),
    };
    if ranges.get(at).is_some_and(|next| next.0 < end) {
        return false;
    }
    let joins_before = at > 0 && ranges[at - 1].1 == first;
    let joins_behind = ranges.get(at).is_some_and(|next| next.0 == end);
    match (joins_before, joins_behind) {
        (true, true) => {
            ranges[at - 1].1 = ranges[at].1;
            ranges.remove(at);
        }
        (true, false) => ranges[at - 1].1 = end,
        (false, true) => ranges[at].0 = first,
        (false, false) => ranges.insert(at, (first, end)),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asked_for_a_session_replaces_it() {
        let (made, index) = (Time::from_secs(1), 7);
        let mut nonces = Nonces::default();
        for (gateway, initiator) in [(0, true), (1, false)] {
            nonces.begin((gateway, index), &[gateway as u8; 32], made, initiator).unwrap();
        }
        let mut spend = |gateway, counter, age, is_settled| {
            nonces.spend((gateway, index), (counter, 1), made + Duration::from_secs(age), is_settled)
        };
        assert_eq!(spend(0, 0, 119, true), Ok(()));
        assert_eq!(spend(0, 1, 121, false), Ok(()), "a handshake may be lost");
        assert_eq!(spend(0, 2, 150, true), Ok(()), "it is asked for now");
        assert_eq!(spend(0, 3, 156, true), Ok(()));
        assert!(spend(0, 4, 158, true).is_err());
        assert_eq!(spend(1, 0, 179, true), Ok(()), "the other side need not");
        assert!(spend(1, 1, 180, true).is_err(), "nobody sends for longer");
    }

    #[test]
    fn whoever_asks_is_known_for_a_while() {
        let (mut nonces, to) = (Nonces::default(), SocketAddr::from(([192, 0, 2, 1], 1)));
        let at = Time::from_secs;
        nonces.ask(0, to, at(10));
        assert!(nonces.asks(0, to, at(17)) && !nonces.asks(0, to, at(18)) && !nonces.asks(1, to, at(11)));
    }

    #[test]
    fn a_counter_is_spent_once() {
        let mut ranges = Vec::new();
        for (first, end) in [(10, 20), (0, 5), (30, 40), (20, 30), (5, 10)] {
            assert!(spend(&mut ranges, first, end));
        }
        assert_eq!(ranges, [(0, 40)]);
        assert!(spend(&mut ranges, 50, 51));
        for (first, end) in [(0, 1), (39, 41), (45, 60), (50, 51), (0, 100)] {
            assert!(!spend(&mut ranges, first, end), "{first}..{end}");
        }
    }
}
