//! What the gateways did while a load went through them: what it cost, and where packets were dropped.

use std::collections::BTreeMap;

use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Namespace, Result, Side, uapi};

use super::{SetUp, Usages};
use crate::results::files::Gateways;
use crate::text::{grouped, mebibytes, table};

/// Counters of both sides, the sending one first.
type Both = [u64; 2];

/// Taken before a load.
pub struct Before {
    usages: Option<Usages>,
    drops: BTreeMap<String, Both>,
}

impl Before {
    /// Reads all counters.
    ///
    /// # Errors
    /// A gateway has died, or the kernel's tables cannot be read.
    pub fn of(set_up: &SetUp) -> Result<Self> {
        Ok(Self { usages: set_up.usages()?, drops: drops(set_up)? })
    }
}

impl Gateways {
    /// What changed since; `None` where there are no gateways.
    ///
    /// # Errors
    /// As [`Before::of`].
    pub fn since(before: &Before, set_up: &SetUp) -> Result<Option<Self>> {
        let Some(spent) = set_up.spent_since(before.usages.as_ref())? else { return Ok(None) };
        let mut now = drops(set_up)?;
        for (reason, counts) in &mut now {
            let earlier = before.drops.get(reason).copied().unwrap_or_default();
            *counts = [0, 1].map(|side| counts[side].saturating_sub(earlier[side]));
        }
        now.retain(|_, counts| *counts != [0; 2]);
        Ok(Some(Self { cpu_s: spent.cpu_s, memory_peak_kib: set_up.memory_peaks_kib(), drops: now }))
    }

    /// For a person, after a load of that many seconds.
    pub fn print(&self, duration_s: f64) {
        let mut rows = table(&["gateways", "sending", "receiving"]);
        let percent = self.cpu_s.map(|cpu_s| format!("{:.0} %", cpu_s / duration_s * 100.0));
        rows.add_row([vec!["of a CPU".to_owned()], percent.to_vec()].concat());
        let peak = [0, 1].map(|side| mebibytes(self.memory_peak_kib.map(|peaks| peaks[side])));
        rows.add_row([vec!["peak memory".to_owned()], peak.to_vec()].concat());
        for (reason, counts) in &self.drops {
            rows.add_row([format!("dropped: {reason}"), grouped(counts[0]), grouped(counts[1])]);
        }
        println!("{rows}");
    }
}

fn drops(set_up: &SetUp) -> Result<BTreeMap<String, Both>> {
    let mut drops: BTreeMap<String, Both> = BTreeMap::new();
    let SetUp::Gateways(tunnel) = set_up else { return Ok(drops) };
    for (side, namespace) in tunnel.sides.iter().zip(&tunnel.wire.ends) {
        for (reason, count) in drops_of(side, namespace)? {
            drops.entry(reason).or_default()[side.index] = count;
        }
    }
    Ok(drops)
}

fn drops_of(side: &Side, namespace: &Namespace) -> Result<Vec<(String, u64)>> {
    let mut drops = vec![
        ("tunnel queue full".to_owned(), namespace.interface_counters(&side.interface)?.send_dropped),
        ("UDP buffer full".to_owned(), namespace.udp_socket_drops(PORT)?),
    ];
    // Only Ringfort has them.
    let stats = uapi::stats(&side.interface).unwrap_or_default();
    let named = stats.iter().filter_map(|(name, count)| Some((name.strip_prefix("drop_")?.replace('_', " "), *count)));
    drops.extend(named);
    Ok(drops)
}
