//! How often one place in the source may say something.
//!
//! A table of fixed size, in plain atomics: asking takes no lock, and nobody can make it grow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringfort_core::time::Time;

/// Lines of one kind at once, and then one in each interval.
pub(super) const BURST: u64 = 20;
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Places in the source that can be told apart: some times as many as there are.
const KINDS: usize = 256;

const INTERVAL_NANOS: u64 = INTERVAL.as_nanos() as u64;

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Pass,
    /// It is one too many of this kind, and the first since [`Limits::take_left_out`].
    FirstLeftOut(usize),
    /// It is one more of those.
    LeftOut,
}

/// The limits of all kinds of lines. A kind is a place in the source.
#[derive(Debug)]
pub(super) struct Limits {
    kinds: Box<[Kind; KINDS]>,
}

#[derive(Debug, Default)]
struct Kind {
    /// The place, hashed; 0 is free.
    place: AtomicU64,
    /// When all lines so far will be paid for, at one in each interval, in nanoseconds of the clock.
    paid_at: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kinds: Box::new(std::array::from_fn(|_| Kind::default())) }
    }
}

impl Limits {
    /// Whether a line of this place may be written now.
    pub(super) fn ask(&self, file: &str, line: u32, now: Time) -> Verdict {
        let number = self.find(hash(file, line));
        let kind = &self.kinds[number];
        if kind.pay(now.as_nanos()) {
            Verdict::Pass
        } else if kind.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
            Verdict::FirstLeftOut(number)
        } else {
            Verdict::LeftOut
        }
    }

    /// How many lines of this kind were left out since the last call.
    pub(super) fn take_left_out(&self, kind: usize) -> u64 {
        self.kinds[kind].left_out.swap(0, Ordering::Relaxed)
    }

    /// The kind of a place. In a table that is full, some share one.
    fn find(&self, place: u64) -> usize {
        let first = (place % KINDS as u64) as usize;
        let is_it = |&number: &usize| {
            let entry = &self.kinds[number].place;
            let known = match entry.compare_exchange(0, place, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => place,
                Err(known) => known,
            };
            known == place
        };
        (first..KINDS).chain(0..first).find(is_it).unwrap_or(first)
    }
}

impl Kind {
    /// False: it cannot be paid for.
    fn pay(&self, now: u64) -> bool {
        let pay = |paid_at: u64| {
            let paid_at = paid_at.max(now).saturating_add(INTERVAL_NANOS);
            (paid_at - now <= BURST * INTERVAL_NANOS).then_some(paid_at)
        };
        self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

/// FNV-1a, never 0.
fn hash(file: &str, line: u32) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = file.bytes().chain(line.to_le_bytes());
    bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_secs(100);

    /// How many of a hundred lines at one moment pass.
    fn passed(limits: &Limits, line: u32, now: Time) -> usize {
        (0..100).filter(|_| limits.ask("src/a.rs", line, now) == Verdict::Pass).count()
    }

    #[test]
    fn a_burst_and_then_one_in_each_interval() {
        let limits = Limits::default();
        assert_eq!(passed(&limits, 1, START), 20);
        assert_eq!(passed(&limits, 2, START), 20, "another place has its own");
        assert_eq!(passed(&limits, 1, START + INTERVAL), 1);
        assert_eq!(passed(&limits, 1, START + INTERVAL * 4), 3);
        assert_eq!(passed(&limits, 1, START + INTERVAL * 1000), 20, "not more for having waited longer");
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let limits = Limits::default();
        let verdicts: Vec<_> = (0..50).map(|_| limits.ask("src/a.rs", 7, START)).collect();
        let Verdict::FirstLeftOut(kind) = verdicts[20] else { panic!("{verdicts:?}") };
        assert!(verdicts[21..].iter().all(|&verdict| verdict == Verdict::LeftOut));
        assert_eq!((limits.take_left_out(kind), limits.take_left_out(kind)), (30, 0));
        assert_eq!(limits.ask("src/a.rs", 7, START), Verdict::FirstLeftOut(kind));
    }

    #[test]
    fn more_kinds_than_places_share_them() {
        let limits = Limits::default();
        let kinds = 10 * KINDS as u32;
        let passed: usize = (0..kinds).map(|line| passed(&limits, line, START)).sum();
        assert_eq!(passed, 20 * KINDS);
    }
}
