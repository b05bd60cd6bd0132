//! How long something took, in buckets that grow with the value: eight for each power of two, so a bucket is at
//! most an eighth wide of what it holds, from a nanosecond to centuries, in memory that is had once.

use super::counter::Counter;

/// Buckets for each power of two, as a power of two.
const SUB_BITS: u32 = 3;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Below 8 each value has a bucket of its own; then come 61 powers of two.
const BUCKETS: usize = (u64::BITS as usize - SUB_BITS as usize + 1) * SUB_BUCKETS;

/// Counts of durations, with one writer and any number of readers.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
    total_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Counter::default()).collect(), total_ns: Counter::default() }
    }
}

impl Histogram {
    /// Counts one duration in nanoseconds. Only the worker that owns the histogram may call this.
    #[inline]
    pub fn record(&self, ns: u64) {
        self.buckets[bucket_of(ns)].add(1);
        self.total_ns.add(ns);
    }

    /// All durations together, in nanoseconds: exact, unlike what follows from the buckets.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.total_ns.get()
    }

    /// How many durations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.filled().map(|(_, count)| count).sum()
    }

    /// The buckets that are not empty, in order: the longest duration in nanoseconds that a bucket takes, and how many
    /// it holds.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.buckets.iter().map(Counter::get).enumerate();
        counts.filter(|&(_, count)| count > 0).map(|(bucket, count)| (longest_in(bucket), count))
    }
}

/// Which bucket takes a value.
#[inline]
fn bucket_of(value: u64) -> usize {
    if value < SUB_BUCKETS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    // The bits behind the highest one are the place within the power of two; that one carries into the power.
    ((shift as usize) << SUB_BITS) + (value >> shift) as usize
}

/// The largest value that a bucket takes.
fn longest_in(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let first = (SUB_BUCKETS + bucket % SUB_BUCKETS) as u64;
    (first << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_side_by_side_and_cover_everything() {
        let mut next = 0_u64;
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(next), bucket, "{next} is the first of its bucket");
            let longest = longest_in(bucket);
            assert_eq!(bucket_of(longest), bucket, "{longest} is the last of its bucket");
            next = longest.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends with the last value");
    }

    #[test]
    fn what_was_counted_is_what_comes_out() {
        let histogram = Histogram::default();
        for ns in [0, 7, 8, 8, 1000, 1030] {
            histogram.record(ns);
        }
        assert_eq!(histogram.filled().collect::<Vec<_>>(), [(0, 1), (7, 1), (8, 2), (1023, 1), (1151, 1)]);
        assert_eq!((histogram.count(), histogram.total_ns()), (6, 2053));
    }

    /// The value at a rank, as far as the buckets tell it.
    fn at_rank(histogram: &Histogram, rank: u64) -> u64 {
        let mut seen = 0;
        let mut longest = histogram.filled().map(|(longest, count)| {
            seen += count;
            (seen, longest)
        });
        longest.find(|&(seen, _)| seen > rank).expect("a rank among those that were counted").1
    }

    /// Durations of every size, not the huge ones that uniform numbers are.
    fn duration() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift)
    }

    proptest! {
        #[test]
        fn every_rank_is_right_to_an_eighth(mut durations in prop::collection::vec(duration(), 1..200)) {
            let histogram = Histogram::default();
            durations.iter().for_each(|&ns| histogram.record(ns));
            durations.sort_unstable();
            for (rank, &exact) in durations.iter().enumerate() {
                let found = at_rank(&histogram, rank as u64);
                prop_assert!(exact <= found && found - exact <= exact / 8, "rank {}: {} for {}", rank, found, exact);
            }
            prop_assert_eq!(histogram.count(), durations.len() as u64);
            prop_assert_eq!(histogram.total_ns(), durations.iter().fold(0, |sum: u64, ns| sum.wrapping_add(*ns)));
        }
    }
}
