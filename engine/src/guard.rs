//! The filter in front of the sockets, and what the device and the counters have to do with it.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use ringfort_core::drops::DropReason;
use ringfort_core::node::{NODE_BITS_MAX, Node};
use ringfort_core::outpost::Outpost;
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;
use udp_uring::{Extent, Junk, JunkFilter, TopByte};

/// How far the clocks of a time namespace are from those of the machine.
const CLOCK_OFFSETS: &str = "/proc/self/timens_offsets";

/// Whether there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Filter {
    /// The workers alone drop floods.
    Off,
    /// As much of it as the kernel allows.
    #[default]
    On,
}

/// A filter that the device tells what it needs to know.
#[derive(Clone, Debug)]
pub struct Guard {
    filter: Arc<JunkFilter>,
    /// What the machine's time since boot lacks to ours, in nanoseconds.
    clock_offset: i64,
}

impl Guard {
    /// A guard for the sockets of so many workers, if one is wanted and the kernel allows it; and what of it is left
    /// out since the kernel refused that, and why.
    #[must_use]
    pub fn for_workers(filter: Filter, workers: u8, node: Node) -> (Option<Self>, Option<String>) {
        if filter == Filter::Off {
            return (None, None);
        }
        let markers: Vec<_> = Suite::ALL.iter().map(|suite| suite.marker()).collect();
        let ours = top_byte(node);
        let clock_offset = clock_offset(&std::fs::read_to_string(CLOCK_OFFSETS).unwrap_or_default());
        let guard = |filter| Self { filter: Arc::new(filter), clock_offset };
        let refused = match JunkFilter::new(workers, &markers, ours, Extent::Whole) {
            Ok(filter) => return (Some(guard(filter)), None),
            Err(error) => error,
        };
        let smaller = JunkFilter::new(workers, &markers, ours, Extent::Form);
        let left_out = match &smaller {
            Ok(_) => format!(
                "floods of handshake messages are left to the workers, since the kernel refused the larger filter of \
                 their sockets (it takes CAP_BPF and CAP_PERFMON): {refused}"
            ),
            Err(error) => format!(
                "the workers alone drop floods, since the kernel refused the filter of their sockets (it takes \
                 CAP_BPF): {error}"
            ),
        };
        (smaller.ok().map(guard), Some(left_out))
    }

    /// For the sockets.
    #[must_use]
    pub fn filter(&self) -> Arc<JunkFilter> {
        self.filter.clone()
    }

    /// What was dropped in front of a worker's sockets for this reason.
    #[must_use]
    pub fn dropped(&self, worker: usize, reason: DropReason) -> u64 {
        junk(reason).map_or(0, |junk| self.filter.dropped(worker, junk))
    }
}

impl Outpost for Guard {
    fn note_index(&self, index: u32) {
        self.filter.note_index(index);
    }

    fn forget_index(&self, index: u32) {
        self.filter.forget_index(index);
    }

    fn set_mac1_key(&self, key: Option<&[u8; 32]>) {
        self.filter.set_mac1_key(key);
    }

    fn set_recovering(&self, is_on: bool) {
        self.filter.set_recovering(is_on);
    }

    fn set_loaded_until(&self, until: Time) {
        self.filter.set_loaded_until(until.as_nanos().saturating_add_signed(self.clock_offset.saturating_neg()));
    }

    fn refused(&self) -> u32 {
        self.filter.refused()
    }

    fn locate(&self, remote: SocketAddr) {
        self.filter.locate(remote);
    }

    fn renew_places(&self) {
        self.filter.renew_places();
    }
}

/// How far our time since boot is ahead of the machine's, in nanoseconds, from the lines of `/proc/PID/timens_offsets`.
/// Without such a file there are no time namespaces.
fn clock_offset(lines: &str) -> i64 {
    let mut words = lines.lines().find_map(|line| line.strip_prefix("boottime")).unwrap_or_default().split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
    let (seconds, nanos) = (number(), number());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// What the top byte of a node's indices is, as far as it is not random.
const fn top_byte(node: Node) -> TopByte {
    const { assert!(NODE_BITS_MAX <= 8, "a byte has the whole number") };
    TopByte { mask: (node.mask() >> 24) as u8, value: (node.value() >> 24) as u8 }
}

/// What the filter calls a reason, if it drops for it.
const fn junk(reason: DropReason) -> Option<Junk> {
    Some(match reason {
        DropReason::Runt => Junk::Runt,
        DropReason::UnknownType => Junk::UnknownType,
        DropReason::BadReserved => Junk::BadReserved,
        DropReason::BadLength => Junk::BadLength,
        DropReason::UnknownIndex => Junk::UnknownIndex,
        DropReason::OtherNode => Junk::OtherNode,
        DropReason::BadMac1 => Junk::BadMac1,
        DropReason::CookieBudget => Junk::CookieBudget,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_filter_drops_is_counted_under_one_reason() {
        for known in Junk::ALL {
            assert_eq!(DropReason::ALL.iter().filter(|&&reason| junk(reason) == Some(known)).count(), 1, "{known:?}");
        }
    }

    #[test]
    fn the_filter_asks_the_top_byte_what_the_node_asks_the_index() {
        for node in [Node::SINGLE, Node::new(1, 1).unwrap(), Node::new(5, 3).unwrap(), Node::new(200, 8).unwrap()] {
            let TopByte { mask, value } = top_byte(node);
            for top in 0..=u8::MAX {
                assert_eq!(top & mask == value, node.owns(u32::from(top) << 24 | 0x0012_3456), "{node}: {top}");
            }
        }
    }

    #[test]
    fn a_time_namespace_has_another_time_since_boot() {
        assert_eq!(clock_offset("monotonic           0         0\nboottime            0         0\n"), 0);
        assert_eq!(clock_offset("monotonic  1  2\nboottime  604800  500\n"), 604_800_000_000_500);
        // As the kernel writes a negative one: nanoseconds count upwards.
        assert_eq!(clock_offset("boottime -3 999999999"), -2_000_000_001);
        assert_eq!(clock_offset(""), 0);
    }

    /// Whoever is dropped for the filter's budget would have found none of the worker's.
    const _: () = {
        use ringfort_path::COOKIES_PER_SECOND;
        use ringfort_path::budget::COOKIES;

        assert!(4 * JunkFilter::UNPROVEN_PER_SECOND >= 5 * COOKIES_PER_SECOND);
        assert!(JunkFilter::UNPROVEN_AT_ONCE >= 2 * 2 * COOKIES as u64);
    };
}
