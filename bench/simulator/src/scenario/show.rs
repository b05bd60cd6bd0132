//! A scenario in words.

use std::fmt;

use super::{Scenario, Site};

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, site) in self.gateways.iter().enumerate() {
            let Site {
                workers,
                mtu,
                ragged,
                merges,
                aws,
                interrupted,
                phantoms,
                keepalive_secs,
                large_routes,
                first_counter,
                sight,
                ..
            } = site;
            writeln!(
                f,
                "g{n}: {workers} workers, MTU {mtu}, ragged {ragged}, merges {merges:?}, aws {aws}, interrupted \
                 {interrupted}/256, {phantoms} phantoms, keepalive {keepalive_secs} s, large routes {large_routes}, \
                 first counter {first_counter}, shown: {sight:?}",
            )?;
        }
        let pairs = (1..self.gateways.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        for (a, b) in pairs {
            let has = |bits: u64| bits & Self::pair(a, b) != 0;
            let (v6, second, unknown) = (has(self.outer_v6), has(self.second_suite), has(self.unknown));
            writeln!(f, "g{a} - g{b}: IPv6 {v6}, second suite {second}, g{b} does not know g{a} {unknown}")?;
        }
        for (n, talk) in self.talks.iter().enumerate() {
            writeln!(f, "talk {n}: {talk:?}")?;
        }
        writeln!(f, "for {:?} {:?}, latency {:?}", self.faulty, self.network, self.latency)?;
        for (n, happening) in self.happenings.iter().enumerate() {
            let begins = super::START.as_nanos() as f64 / 1e9 + happening.at.as_secs_f64();
            writeln!(f, "happening {n} from {begins:.6} for {:?}: {:?}", happening.lasts, happening.what)?;
        }
        let at = |time: ringfort_core::time::Time| time.as_nanos() as f64 / 1e9;
        writeln!(
            f,
            "in order from {:.6}, settled from {:.6}, talks end at {:.6}",
            at(self.in_order()),
            at(self.settled()),
            at(self.talked())
        )
    }
}
