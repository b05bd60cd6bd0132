//! The times of the stages as a gateway gives them: among the lines of `stats=1`, for each worker and stage
//! `worker0_stage_seal_total_ns=…`, and for each bucket of durations `worker0_stage_seal_upto_1151_ns=…`.

use std::collections::BTreeMap;

use ringfort_testbed::{Error, Result, uapi};

use crate::results::model::{Side, Stage};

/// The stage in which a worker does nothing.
pub const WAIT: &str = "wait";
/// What of each stage goes into a file, in percent.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];

/// The stages of all workers of a gateway, since it has started or since another moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    cores: BTreeMap<u32, u32>,
    /// In the gateway's order, which is that of a packet's way: worker and stage.
    stages: Vec<((u32, String), Durations)>,
}

/// How long a stage took.
#[derive(Clone, Debug, Default, PartialEq)]
struct Durations {
    total_ns: u64,
    /// How many took up to so many nanoseconds, but more than the bucket before.
    buckets: BTreeMap<u64, u64>,
}

impl Times {
    /// Asks the gateway of an interface.
    ///
    /// # Errors
    /// It does not answer, or does not take the times.
    pub fn read(interface: &str) -> Result<Self> {
        let answer = uapi::request(interface, "stats=1\n\n")?;
        let times = Self::parse(&answer.pairs)?;
        if answer.errno != 0 || times.stages.is_empty() {
            return Err(Error::new(format!("the gateway of {interface} does not take the times of its stages")));
        }
        Ok(times)
    }

    fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let mut times = Self::default();
        for (key, value) in pairs {
            let Some((worker, name)) = key.strip_prefix("worker").and_then(|rest| rest.split_once('_')) else {
                continue;
            };
            let Ok(worker) = worker.parse() else { continue };
            let bad = || Error::new(format!("the gateway answered {key}={value}"));
            let value: u64 = value.parse().map_err(|_| bad())?;
            if name == "core" {
                times.cores.insert(worker, u32::try_from(value).map_err(|_| bad())?);
            } else if let Some(rest) = name.strip_prefix("stage_") {
                let rest = rest.strip_suffix("_ns").ok_or_else(bad)?;
                if let Some(stage) = rest.strip_suffix("_total") {
                    times
                        .stages
                        .push(((worker, stage.to_owned()), Durations { total_ns: value, ..Durations::default() }));
                } else {
                    let (stage, longest) = rest.rsplit_once("_upto_").ok_or_else(bad)?;
                    let ((of, last), durations) = times.stages.last_mut().ok_or_else(bad)?;
                    if (*of, last.as_str()) != (worker, stage) {
                        return Err(bad());
                    }
                    durations.buckets.insert(longest.parse().map_err(|_| bad())?, value);
                }
            }
        }
        Ok(times)
    }

    /// What was added since an earlier moment.
    pub fn since(mut self, before: &Self) -> Self {
        for (key, durations) in &mut self.stages {
            if let Some((_, earlier)) = before.stages.iter().find(|(other, _)| other == key) {
                durations.total_ns = durations.total_ns.saturating_sub(earlier.total_ns);
                for (longest, count) in &earlier.buckets {
                    durations.buckets.entry(*longest).and_modify(|now| *now = now.saturating_sub(*count));
                }
            }
        }
        self
    }

    /// Each stage that happened at all.
    pub fn stages(self, test: &str, side: Side) -> Vec<Stage> {
        let Self { cores, stages } = self;
        let happened = stages.into_iter().filter(|(_, durations)| durations.count() > 0);
        happened
            .map(|((worker, name), durations)| Stage {
                contender: "ringfort".to_owned(),
                test: test.to_owned(),
                side,
                worker,
                name,
                core: cores.get(&worker).copied().unwrap_or(worker),
                count: durations.count(),
                total_ns: durations.total_ns,
                percentiles_ns: PERCENTILES.map(|percent| (percent, durations.percentile(percent))).to_vec(),
            })
            .collect()
    }
}

impl Durations {
    fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The bucket in which the percentile lies: the longest duration that it takes. 0 if there are none.
    fn percentile(&self, percent: f64) -> u64 {
        let rank = (percent / 100.0 * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reaches = self.buckets.iter().find(|&(_, count)| {
            seen += count;
            seen >= rank
        });
        reaches.map_or(0, |(&longest, _)| longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let split = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
        text.split_whitespace().map(split).collect()
    }

    const BEFORE: &str = "turns=9 worker0_turns=9 worker0_core=3 worker0_stage_seal_total_ns=10 \
        worker0_stage_seal_upto_7_ns=2 worker0_stage_tun_read_total_ns=0";
    const AFTER: &str = "turns=12 worker0_turns=12 worker0_core=3 worker0_stage_seal_total_ns=1060 \
        worker0_stage_seal_upto_7_ns=3 worker0_stage_seal_upto_1151_ns=1 worker0_stage_tun_read_total_ns=0";

    #[test]
    fn what_happened_between_two_answers() {
        let [before, after] = [BEFORE, AFTER].map(|text| Times::parse(&pairs(text)).unwrap());
        let stages = after.since(&before).stages("tcp", Side::Sender);
        assert_eq!(stages.len(), 1, "the TUN was not read: {stages:?}");
        let seal = &stages[0];
        assert_eq!((seal.name.as_str(), seal.worker, seal.core, seal.count, seal.total_ns), ("seal", 0, 3, 2, 1050));
        assert_eq!((seal.percentile(50.0), seal.percentile(99.0)), (7, 1151));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "worker0_stage_seal_upto_7_ns=2",
            "worker0_stage_seal_total_ns=x",
            "worker0_stage_seal_total=1",
            "worker0_stage_open_total_ns=1 worker0_stage_seal_upto_7_ns=2",
            "worker0_stage_seal_total_ns=1 worker0_stage_seal_upto_seven_ns=2",
        ] {
            assert!(Times::parse(&pairs(text)).is_err(), "{text}");
        }
        assert_eq!(Times::parse(&pairs("workers=2 link_up=1")).unwrap(), Times::default());
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        // One to a bucket, so the answer is exact.
        let mut durations: Vec<u64> = (1..=997).map(|n: u64| n * n % 7919).collect();
        durations.sort_unstable();
        let mut buckets = BTreeMap::new();
        durations.iter().for_each(|&ns| *buckets.entry(ns).or_default() += 1);
        let found = Durations { total_ns: durations.iter().sum(), buckets };
        assert_eq!(found.count(), 997);
        for percent in [0.0, 0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            let rank = ((percent / 100.0 * 997.0_f64).ceil() as usize).max(1);
            assert_eq!(found.percentile(percent), durations[rank - 1], "{percent} %");
        }
        assert_eq!(Durations::default().percentile(50.0), 0);
    }
}
