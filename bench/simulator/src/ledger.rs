//! What was offered and what arrived: each packet once at most, where it belongs, and when all is well every one of
//! them, soon and in order.

use std::time::Duration;

use ringfort_core::time::Time;

use crate::packets::{Flow, Number};

/// When nothing is wrong a packet takes no longer.
const SLOWEST: Duration = Duration::from_millis(250);
/// How long a thread that did not run may still use the routes that were before.
const ROUTES_LATE: Duration = Duration::from_secs(90);

/// All flows of a run.
#[derive(Debug)]
pub struct Ledger {
    flows: Vec<Flow>,
    accounts: Vec<Account>,
    /// Between two that nothing is done to, everything offered from here on comes in order.
    in_order: Time,
    /// Everything offered from here on arrives soon.
    settled: Time,
    /// Everything offered from here on arrives.
    complete: Time,
    moves: Vec<Move>,
    spreads: Vec<Spread>,
    /// Packets offered, and arrived.
    pub offered: u64,
    /// See there.
    pub delivered: u64,
}

/// Who sends a flow, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The gateway that it begins at.
    pub from: usize,
    /// The gateway that it ends at, or a phantom.
    pub to: usize,
    /// Nobody will ever have it.
    pub to_phantom: bool,
}

#[derive(Debug)]
struct Account {
    ends: Ends,
    offered: u32,
    /// A bit for each packet that arrived.
    arrived: Vec<u64>,
    /// The first packet of each offer, and its time.
    offers: Vec<(u32, Time)>,
    /// The last that arrived of those that must come in order.
    newest: Option<u32>,
}

/// A gateway took what belongs to one for what belongs to another.
#[derive(Clone, Copy, Debug)]
struct Move {
    at: usize,
    of: usize,
    to: usize,
    begins: Time,
    ends: Time,
}

/// The flows of a gateway were given to another number of workers while packets waited.
#[derive(Clone, Copy, Debug)]
struct Spread {
    of: usize,
    at: Time,
}

impl Ledger {
    /// Without flows.
    #[must_use]
    pub fn new(in_order: Time, settled: Time, complete: Time) -> Self {
        let (flows, accounts, moves, spreads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { flows, accounts, in_order, settled, complete, moves, spreads, offered: 0, delivered: 0 }
    }

    /// Adds a flow, whose number is its place.
    pub fn add(&mut self, flow: Flow, ends: Ends) {
        self.flows.push(flow);
        self.accounts.push(Account { ends, offered: 0, arrived: Vec::new(), offers: Vec::new(), newest: None });
    }

    /// All flows.
    #[must_use]
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Who sends a flow to whom.
    #[must_use]
    pub fn ends(&self, flow: u16) -> Ends {
        self.accounts[usize::from(flow)].ends
    }

    /// Whether a gateway has packets with this ECN field for anybody.
    #[must_use]
    pub fn sends_ecn(&self, gateway: usize, ecn: u8) -> bool {
        self.flows.iter().zip(&self.accounts).any(|(flow, account)| account.ends.from == gateway && flow.ecn == ecn)
    }

    /// Packets are put into the TUN device. Returns the first one's place in its flow.
    pub fn offer(&mut self, flow: u16, count: u16, now: Time) -> u32 {
        let account = &mut self.accounts[usize::from(flow)];
        let first = account.offered;
        account.offered += u32::from(count);
        account.arrived.resize(account.offered.div_ceil(64) as usize, 0);
        account.offers.push((first, now));
        self.offered += u64::from(count);
        first
    }

    /// For some time a gateway takes what belongs to `of` for what belongs to `to`.
    pub fn note_move(&mut self, at: usize, of: usize, to: usize, begins: Time, ends: Time) {
        self.moves.push(Move { at, of, to, begins, ends });
    }

    /// The flows that begin at `of` come to other workers than before: what waits at the former ones may be overtaken.
    pub fn note_spread(&mut self, of: usize, at: Time) {
        self.spreads.push(Spread { of, at });
    }

    /// A packet came out of a gateway's TUN device.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn deliver(&mut self, number: Number, gateway: usize, now: Time) -> Result<(), String> {
        let account = &mut self.accounts[usize::from(number.flow)];
        let sequence = number.sequence;
        if sequence >= account.offered {
            return Err(format!("{number:?} was never offered"));
        }
        let (word, bit) = (&mut account.arrived[sequence as usize / 64], 1 << (sequence % 64));
        if *word & bit != 0 {
            return Err(format!("{number:?} arrives twice"));
        }
        *word |= bit;
        self.delivered += 1;
        let offered = account.offered_at(sequence);
        let Ends { from, to, .. } = account.ends;
        if gateway != to {
            let moved = |m: &Move| (m.at, m.of, m.to) == (from, to, gateway) && m.begins <= now;
            if !self.moves.iter().any(|m| moved(m) && m.ends + ROUTES_LATE >= offered) {
                return Err(format!("{number:?} is for g{to} and arrives at g{gateway}"));
            }
        }
        if offered >= self.in_order {
            let may_wait = self.spreads.iter().any(|spread| spread.of == from && offered <= spread.at);
            if !may_wait && account.newest.is_some_and(|newest| newest > sequence) {
                return Err(format!("{number:?} arrives behind {:?}", account.newest));
            }
            account.newest = account.newest.max(Some(sequence));
        }
        if offered >= self.settled && now.since(offered) > SLOWEST {
            return Err(format!("{number:?} took {:?}", now.since(offered)));
        }
        Ok(())
    }

    /// When a packet was offered.
    #[must_use]
    pub fn offered_at(&self, flow: u16, sequence: u32) -> Time {
        self.accounts[usize::from(flow)].offered_at(sequence)
    }

    /// Whether a packet has arrived.
    #[must_use]
    pub fn has_arrived(&self, flow: u16, sequence: u32) -> bool {
        self.accounts[usize::from(flow)].has_arrived(sequence)
    }

    /// Whether everything that was offered when it had to arrive did, up to `until`.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_complete(&self, until: Time) -> Result<(), String> {
        for (flow, account) in self.accounts.iter().enumerate().filter(|(_, account)| !account.ends.to_phantom) {
            let first = account.offers.partition_point(|&(_, at)| at < self.complete);
            let last = account.offers.partition_point(|&(_, at)| at <= until);
            let sequence = |place: usize| account.offers.get(place).map_or(account.offered, |&(first, _)| first);
            let due = sequence(first)..sequence(last);
            let missing: Vec<_> = due.filter(|&sequence| !account.has_arrived(sequence)).collect();
            if let Some(&first) = missing.first() {
                let Ends { from, to, .. } = account.ends;
                let at = account.offered_at(first).as_nanos() / 1_000;
                return Err(format!(
                    "flow {flow} from g{from} to g{to}: {} packets are missing, the first is {first}, of {at} µs",
                    missing.len()
                ));
            }
        }
        Ok(())
    }
}

impl Account {
    fn offered_at(&self, sequence: u32) -> Time {
        let place = self.offers.partition_point(|&(first, _)| first <= sequence);
        place.checked_sub(1).map_or(Time::ZERO, |place| self.offers[place].1)
    }

    fn has_arrived(&self, sequence: u32) -> bool {
        self.arrived[sequence as usize / 64] >> (sequence % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::Transport;

    /// One flow from the first gateway to the second, which was offered five packets at 1 s.
    fn ledger(in_order: Time, settled: Time) -> (Ledger, Flow) {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 1, 1].into());
        let flow = Flow {
            id: 0,
            source,
            destination,
            transport: Transport::Udp,
            segment: 100,
            dscp: 0,
            ecn: 0,
            lone: false,
            counts_up: true,
        };
        let mut ledger = Ledger::new(in_order, settled, settled);
        ledger.add(flow, Ends { from: 0, to: 1, to_phantom: false });
        assert_eq!(ledger.offer(0, 5, Time::from_secs(1)), 0);
        (ledger, flow)
    }

    #[test]
    fn a_packet_arrives_once_and_where_it_belongs() {
        let (mut ledger, flow) = ledger(Time::MAX, Time::MAX);
        let now = Time::from_secs(2);
        assert_eq!(ledger.deliver(flow.number(3, 100), 1, now), Ok(()));
        assert_eq!(ledger.deliver(flow.number(1, 100), 1, now), Ok(()), "order does not matter yet");
        for (sequence, gateway) in [(3, 1), (2, 0), (5, 1)] {
            assert!(ledger.deliver(flow.number(sequence, 100), gateway, now).is_err(), "{sequence} at {gateway}");
        }
        ledger.note_move(0, 1, 2, Time::ZERO, now);
        assert_eq!(ledger.deliver(flow.number(4, 100), 2, now), Ok(()), "its sender took it for another's");
        assert_eq!(ledger.check_complete(Time::MAX), Ok(()), "what is lost is not missed yet");
    }

    #[test]
    fn what_waits_while_flows_come_to_other_workers_may_be_overtaken() {
        let (mut ledger, flow) = ledger(Time::ZERO, Time::ZERO);
        let soon = Time::from_millis(1_100);
        ledger.note_spread(1, Time::from_secs(1));
        assert_eq!(ledger.deliver(flow.number(1, 100), 1, soon), Ok(()));
        assert!(ledger.deliver(flow.number(0, 100), 1, soon).is_err(), "it does not begin there");
        ledger.note_spread(0, Time::from_secs(1));
        assert_eq!(ledger.deliver(flow.number(4, 100), 1, soon), Ok(()));
        assert_eq!(ledger.deliver(flow.number(2, 100), 1, soon), Ok(()));
        ledger.offer(0, 2, soon);
        assert_eq!(ledger.deliver(flow.number(6, 100), 1, soon), Ok(()));
        assert!(ledger.deliver(flow.number(5, 100), 1, soon).is_err(), "this one came later");
    }

    #[test]
    fn when_all_is_well_packets_are_in_order_soon_and_complete() {
        let (mut ledger, flow) = ledger(Time::ZERO, Time::ZERO);
        let soon = Time::from_millis(1_100);
        assert_eq!(ledger.deliver(flow.number(1, 100), 1, soon), Ok(()));
        assert!(ledger.deliver(flow.number(0, 100), 1, soon).is_err(), "behind the next one");
        assert!(ledger.deliver(flow.number(2, 100), 1, Time::from_secs(2)).is_err(), "late");
        assert!(ledger.check_complete(Time::MAX).is_err(), "two are missing");
        assert_eq!(ledger.check_complete(Time::ZERO), Ok(()), "and were not offered by then");
    }
}
