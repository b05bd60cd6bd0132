//! Which receiver indices may be in use, for those who must not ask control: a message that answers nothing is dropped
//! where it lands.
//!
//! It may say yes to an index that nobody has, rarely; control, which knows for certain, drops that message. It never
//! says no to one that is in use: an index is noted before the message leaves that tells others of it.

use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;

use crate::node::NODE_BITS_MAX;

/// Counters at first, and at most: 64 KiB and 1 MiB.
const LEN_MIN: usize = 1 << 16;
const LEN_MAX: usize = 1 << 20;
/// Counters for each index in use. With fewer, twice as many are made, as long as there may be more.
const SPARSENESS: usize = 8;

/// Counts, by the random part of an index, how many are in use. One thread writes, any number of threads read.
#[derive(Debug)]
pub struct IndexFilter(ArcSwap<Box<[AtomicU8]>>);

impl Default for IndexFilter {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(counters(LEN_MIN)))
    }
}

impl IndexFilter {
    /// Whether somebody may have this index.
    pub fn may_contain(&self, index: u32) -> bool {
        place(&self.0.load(), index).load(Ordering::Acquire) > 0
    }

    /// An index is in use from now on. It is one of `in_use`, and `all` are those.
    pub(crate) fn note(&self, index: u32, in_use: usize, all: impl Iterator<Item = u32>) {
        let counts = self.0.load();
        if counts.len() < LEN_MAX && in_use * SPARSENESS > counts.len() {
            let more = counters(2 * counts.len());
            all.for_each(|index| count_up(&more, index));
            return self.0.store(more.into());
        }
        count_up(&counts, index);
    }

    /// An index is not in use any more.
    pub(crate) fn forget(&self, index: u32) {
        let counts = self.0.load();
        let count = place(&counts, index);
        let before = count.load(Ordering::Relaxed);
        // Of a counter that was full nobody knows what it should be.
        if before > 0 && before < u8::MAX {
            count.store(before - 1, Ordering::Release);
        }
    }
}

fn counters(len: usize) -> Box<[AtomicU8]> {
    (0..len).map(|_| AtomicU8::new(0)).collect()
}

/// Bits of an index that are not looked at. What is: at most the 20 bits above. The top byte is left out since it may
/// name the node, in all of them the same. Of the lowest byte, which names a worker, the upper half is as good as
/// random if there are few workers; with many, each has as many indices as any other.
const SKIPPED: u32 = 4;

const _: () = assert!(LEN_MAX.ilog2() + SKIPPED + NODE_BITS_MAX as u32 <= u32::BITS, "the node's bits are left out");

fn place(counts: &[AtomicU8], index: u32) -> &AtomicU8 {
    &counts[(index >> SKIPPED) as usize & (counts.len() - 1)]
}

fn count_up(counts: &[AtomicU8], index: u32) {
    let count = place(counts, index);
    // One thread writes: nothing comes between these two.
    count.store(count.load(Ordering::Relaxed).saturating_add(1), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_core::Rng as _;

    use super::*;
    use crate::ids::owned_by;
    use crate::test_support::SeededRng;

    /// A filter, and what is in it.
    #[derive(Default)]
    struct Filtered {
        filter: IndexFilter,
        indices: BTreeSet<u32>,
    }

    impl Filtered {
        fn add(&mut self, index: u32) {
            if self.indices.insert(index) {
                self.filter.note(index, self.indices.len(), self.indices.iter().copied());
            }
        }

        fn check(&self) {
            assert!(self.indices.iter().all(|&index| self.filter.may_contain(index)));
        }
    }

    #[test]
    fn what_is_in_use_is_never_denied_however_much_it_is() {
        let (mut filtered, mut rng) = (Filtered::default(), SeededRng::new(1));
        for n in 0..300_000 {
            filtered.add(rng.next_u32());
            if n % 50_000 == 0 {
                filtered.check();
            }
        }
        assert_eq!(filtered.filter.0.load().len(), LEN_MAX);
        let gone: Vec<u32> = filtered.indices.iter().copied().filter(|index| index % 3 == 0).collect();
        for index in gone {
            filtered.indices.remove(&index);
            filtered.filter.forget(index);
        }
        filtered.check();
    }

    #[test]
    fn most_strangers_are_denied_and_all_when_nothing_is_left() {
        let (mut filtered, mut rng) = (Filtered::default(), SeededRng::new(2));
        for _ in 0..8_000 {
            filtered.add(rng.next_u32());
        }
        let passed = (0..100_000).filter(|_| filtered.filter.may_contain(rng.next_u32())).count();
        assert!(passed < 14_000, "{passed} of 100,000");
        for index in std::mem::take(&mut filtered.indices) {
            filtered.filter.forget(index);
        }
        assert!((0..100_000).all(|_| !filtered.filter.may_contain(rng.next_u32())));
    }

    /// All indices begin alike, and each names one of a few or of many workers.
    #[test]
    fn most_strangers_are_denied_to_a_node_as_well() {
        for workers in [1, 2, 16, 255] {
            let (mut filtered, mut rng) = (Filtered::default(), SeededRng::new(3));
            let mut draw = || owned_by(0x5a00_0000 | rng.next_u32() & 0xff_ffff, rng.next_u32() % workers, workers);
            for _ in 0..100_000 {
                filtered.add(draw());
            }
            let passed = (0..100_000).filter(|_| filtered.filter.may_contain(draw())).count();
            assert!(passed < 14_000, "{workers} workers: {passed} of 100,000");
        }
    }

    #[test]
    fn a_counter_that_was_full_stays() {
        let filter = IndexFilter::default();
        (0..=u32::from(u8::MAX)).for_each(|top| filter.note(top << 24 | 0xcd_ef00, 1, std::iter::empty()));
        (0..=u32::from(u8::MAX)).for_each(|top| filter.forget(top << 24 | 0xcd_ef00));
        assert!(filter.may_contain(0xcd_ef00));
    }
}
