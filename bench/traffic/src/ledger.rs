//! Which packets of one lane have arrived: loss, duplication and reordering, exactly.

use crate::schedule::Schedule;

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first of its number.
    New,
    /// Its number had arrived before.
    Duplicate,
    /// There is no such number in the schedule.
    Unknown,
}

/// One bit for each packet of the schedule, and the newest of each flow. Allocated once.
#[derive(Debug)]
pub(crate) struct Ledger {
    schedule: Schedule,
    arrived: Vec<u64>,
    /// Of each flow, one more than the highest position that arrived.
    next_position: Vec<u32>,
    /// Distinct packets that arrived.
    pub(crate) received: u64,
    /// Arrivals beyond the first of a number.
    pub(crate) duplicated: u64,
    /// Packets that arrived after a later one of their flow (RFC 4737, section 3.3). A duplicate is not one of them.
    pub(crate) reordered: u64,
    /// How far behind the newest of its flow one of those was at the most, in packets of the flow.
    pub(crate) distance_max: u32,
}

impl Ledger {
    /// Nothing has arrived.
    pub(crate) fn new(schedule: Schedule) -> Self {
        let words = (schedule.planned as usize).div_ceil(64);
        let next_position = vec![0; schedule.flows as usize];
        Self {
            schedule,
            arrived: vec![0; words],
            next_position,
            received: 0,
            duplicated: 0,
            reordered: 0,
            distance_max: 0,
        }
    }

    /// Takes in an arrival.
    pub(crate) fn arrive(&mut self, number: u32) -> Arrival {
        if number >= self.schedule.planned {
            return Arrival::Unknown;
        }
        let word = &mut self.arrived[number as usize / 64];
        let bit = 1 << (number % 64);
        if *word & bit != 0 {
            self.duplicated += 1;
            return Arrival::Duplicate;
        }
        *word |= bit;
        self.received += 1;
        let position = self.schedule.position_in_flow(number);
        let next = &mut self.next_position[self.schedule.flow(number) as usize];
        if position >= *next {
            *next = position + 1;
        } else {
            self.reordered += 1;
            self.distance_max = self.distance_max.max(*next - 1 - position);
        }
        Arrival::New
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::Load;

    fn schedule(packets: u64, flows: u16) -> Schedule {
        let load = Load { rate_pps: packets, flows, duration: std::time::Duration::from_secs(1), ..Load::default() };
        Schedule::new(&load, 0, std::net::Ipv4Addr::LOCALHOST.into())
    }

    fn counts(ledger: &Ledger) -> [u64; 4] {
        [ledger.received, ledger.duplicated, ledger.reordered, u64::from(ledger.distance_max)]
    }

    #[test]
    fn in_order_is_nothing_but_received() {
        let mut ledger = Ledger::new(schedule(200, 1));
        assert!((0..200).all(|number| ledger.arrive(number) == Arrival::New));
        assert_eq!(counts(&ledger), [200, 0, 0, 0]);
    }

    #[test]
    fn loss_is_neither_reordering_nor_duplication() {
        let mut ledger = Ledger::new(schedule(200, 1));
        for number in (0..200).filter(|number| number % 7 != 0) {
            ledger.arrive(number);
        }
        assert_eq!(counts(&ledger), [171, 0, 0, 0]);
    }

    #[test]
    fn the_example_of_rfc_4737() {
        // Section 3.4 and appendix: 4 arrives after 5 and 6.
        let mut ledger = Ledger::new(schedule(10, 1));
        for number in [1, 2, 3, 5, 6, 4, 7, 7, 8] {
            ledger.arrive(number);
        }
        assert_eq!(counts(&ledger), [8, 1, 1, 2]);
    }

    #[test]
    fn flows_have_orders_of_their_own() {
        let mut ledger = Ledger::new(schedule(8, 2));
        // All of flow 1 overtakes all of flow 0; within each the order holds.
        for number in [1, 3, 5, 7, 0, 2, 4, 6] {
            assert_eq!(ledger.arrive(number), Arrival::New);
        }
        assert_eq!(counts(&ledger), [8, 0, 0, 0]);
    }

    #[test]
    fn numbers_beyond_the_schedule_are_unknown() {
        let mut ledger = Ledger::new(schedule(65, 1));
        assert_eq!(ledger.arrive(64), Arrival::New);
        assert_eq!(ledger.arrive(65), Arrival::Unknown);
        assert_eq!(ledger.arrive(u32::MAX), Arrival::Unknown);
        assert_eq!(counts(&ledger), [1, 0, 0, 0]);
    }

    proptest! {
        /// Against sets and lists of everything that came before.
        #[test]
        fn agrees_with_an_oracle_that_remembers_everything(
            flows in 1_u16..6, arrivals in prop::collection::vec(0_u32..120, 0..400),
        ) {
            let schedule = schedule(100, flows);
            let mut ledger = Ledger::new(schedule.clone());
            let mut seen = HashSet::new();
            let mut newest = HashMap::new();
            let mut expected = [0_u64; 4];
            for number in arrivals {
                ledger.arrive(number);
                if number >= 100 {
                    continue;
                }
                if !seen.insert(number) {
                    expected[1] += 1;
                    continue;
                }
                expected[0] += 1;
                let newest = newest.entry(number % u32::from(flows)).or_insert(number);
                if number < *newest {
                    expected[2] += 1;
                    expected[3] = expected[3].max(u64::from((*newest - number) / u32::from(flows)));
                }
                *newest = number.max(*newest);
            }
            prop_assert_eq!(counts(&ledger), expected);
        }
    }
}
