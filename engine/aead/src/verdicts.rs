//! Which segments of a train verified.

use crate::SEGMENTS_MAX;

// One bit per segment.
const _: () = assert!(SEGMENTS_MAX <= u64::BITS as usize);

/// The outcome of opening a train: for each segment, whether its tag verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a segment that did not verify must be dropped"]
pub struct Verdicts {
    passed: u64,
    count: u32,
}

impl Verdicts {
    /// No segment of `count` has passed yet.
    pub(crate) fn none_of(count: usize) -> Self {
        debug_assert!(count <= SEGMENTS_MAX);
        Self { passed: 0, count: count as u32 }
    }

    pub(crate) fn pass(&mut self, segment: usize) {
        debug_assert!(segment < self.count());
        self.passed |= 1 << segment;
    }

    /// Number of segments that were looked at.
    pub fn count(self) -> usize {
        self.count as usize
    }

    /// Bit `i` is set if segment `i` verified.
    pub fn bits(self) -> u64 {
        self.passed
    }

    /// Whether segment `segment` verified; `false` for one that the train does not have.
    pub fn passed(self, segment: usize) -> bool {
        segment < self.count() && self.passed >> segment & 1 == 1
    }

    /// Whether every segment verified: the common case, worth one test per train.
    pub fn all_passed(self) -> bool {
        self.passed.count_ones() == self.count
    }

    /// Number of segments that verified.
    pub fn passed_count(self) -> usize {
        self.passed.count_ones() as usize
    }

    /// Number of segments that did not.
    pub fn failed_count(self) -> usize {
        self.count() - self.passed_count()
    }

    /// The verdict of each segment, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = bool> {
        (0..self.count()).map(move |segment| self.passed(segment))
    }
}
