//! Where a worker's time goes, for `--stages`. A stopwatch that is read where one stage of a turn ends and the next
//! begins. Every nanosecond of the thread is in exactly one stage:
//!
//! ```text
//!   out  TunRead ──► Route ──► Segment ──► Seal ──► Transmit ──► UdpSend
//!   in   UdpReceive ──► Classify ──► Open ──► Check ──► Coalesce ──► TunWrite
//! ```
//!
//! It reads clocks and does nothing else. It is read once for each train or batch, never for each packet. The kernel's
//! part of the way would all be in the one `io_uring_enter` of a turn; in a turn that is measured, the worker enters in
//! steps (`enter.rs`). These system calls cost more than a small turn does. So the stopwatch runs in one of many turns,
//! chosen at random: the shares are right, and the other turns are as they are without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use ringfort_path::{Stage, Watch};

use super::counters::WorkerStats;
use super::stage_table::StageTable;

/// Tells the stages of one worker apart, or does nothing.
pub(super) struct Stopwatch {
    /// This turn is measured.
    runs: bool,
    record: Option<Box<Record>>,
}

impl Stopwatch {
    /// One that measures if `stats` have a place for what it finds.
    pub(super) fn new(stats: &Arc<WorkerStats>) -> Self {
        Self { runs: false, record: stats.stages().map(|table| Box::new(Record::new(table.clone()))) }
    }

    /// A turn begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        if let Some(record) = &mut self.record {
            self.runs = record.begin(self.runs);
        }
    }

    /// Whether this turn is measured.
    #[inline]
    pub(super) const fn runs(&self) -> bool {
        self.runs
    }

    /// The stage that carries out what was queued since the last time, if anything was.
    pub(super) fn take_queued(&mut self) -> Option<Stage> {
        self.running()?.queued.take()
    }

    /// Whether the turn before was not measured, and has left what it queued to this one. True once.
    pub(super) fn take_leftovers(&mut self) -> bool {
        self.running().is_some_and(|record| std::mem::take(&mut record.leftovers))
    }

    /// What was done since the last time is not counted.
    pub(super) fn restart(&mut self) {
        self.running().map(Record::split);
    }

    /// The ring was entered since the last time, without sleeping.
    pub(super) fn note_entered(&mut self) {
        if let Some(record) = self.running() {
            record.entered = record.split();
        }
    }

    /// The ring was entered since the last time, and the thread slept all the time but that in which it had the CPU.
    pub(super) fn note_slept(&mut self, cpu: Duration) {
        if let Some(record) = self.running() {
            let took = record.split();
            record.add(Stage::Wait, took.saturating_sub(cpu));
            record.entered += cpu.min(took);
        }
    }

    /// Says what entering the ring brought: packets from the TUN, and from the socket.
    #[inline]
    pub(super) fn entered(&mut self, brought: impl FnOnce() -> (bool, bool)) {
        if let Some(record) = self.running() {
            record.entered(brought());
        }
    }

    #[inline]
    fn running(&mut self) -> Option<&mut Record> {
        if self.runs { self.record.as_deref_mut() } else { None }
    }
}

impl Watch for Stopwatch {
    #[inline]
    fn lap(&mut self, stage: Stage) {
        if let Some(record) = self.running() {
            record.lap(stage);
        }
    }
}

struct Record {
    table: Arc<StageTable>,
    /// So many turns begin before the next that is measured.
    turns_left: u32,
    /// State of the generator that chooses the turns (Marsaglia's xorshift32, never 0).
    chance: u32,
    /// The turn before was not measured, and has left what it queued to this one.
    leftovers: bool,
    /// When the last stage ended.
    last: Instant,
    /// The stage that carries out what was queued.
    queued: Option<Stage>,
    /// How long entering the ring took, less waiting.
    entered: Duration,
}

impl Record {
    fn new(table: Arc<StageTable>) -> Self {
        Self {
            table,
            turns_left: 0,
            chance: 1,
            leftovers: true,
            last: Instant::now(),
            queued: None,
            entered: Duration::ZERO,
        }
    }

    /// Whether the turn that begins is measured; the last one was if `ran`.
    fn begin(&mut self, ran: bool) -> bool {
        if ran {
            self.lap(Stage::Turn);
        }
        if self.turns_left > 0 {
            self.turns_left -= 1;
            return false;
        }
        // Evenly from 0 to twice the mean: an interval of its own would fall in step with what the traffic repeats.
        self.turns_left = self.random() % self.table.every.saturating_mul(2).saturating_sub(1).max(1);
        if !ran {
            self.last = Instant::now();
        }
        self.leftovers = !ran;
        self.queued = None;
        true
    }

    fn random(&mut self) -> u32 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        self.chance
    }

    // Not inlined: off is the common case, and the packets' path is to stay short.
    #[inline(never)]
    fn lap(&mut self, stage: Stage) {
        let took = self.split();
        self.add(stage, took);
        match stage {
            Stage::Transmit => self.queued = Some(Stage::UdpSend),
            Stage::Coalesce => self.queued = Some(Stage::TunWrite),
            _ => {}
        }
    }

    /// The time since the last stage ended, which ends the present one.
    fn split(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.last, now)
    }

    fn add(&self, stage: Stage, took: Duration) {
        self.table.of(stage).record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn entered(&mut self, brought: (bool, bool)) {
        let stage = match brought {
            (false, false) => Stage::Enter,
            (true, false) => Stage::TunRead,
            (false, true) => Stage::UdpReceive,
            (true, true) => Stage::BothRead,
        };
        let took = std::mem::take(&mut self.entered);
        self.add(stage, took);
    }
}

/// CPU time that this thread has used.
pub(super) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux counts the CPU time of threads").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_in_one_stage() {
        let stats = Arc::new(WorkerStats::with_stages(3, 1));
        let before = Instant::now();
        let mut stopwatch = Stopwatch::new(&stats);
        stopwatch.begin();
        for stage in Stage::ALL {
            std::thread::sleep(Duration::from_millis(1));
            stopwatch.lap(stage);
        }
        let elapsed = before.elapsed();
        let table = stats.stages().unwrap();
        let total: u64 = Stage::ALL.iter().map(|&stage| table.of(stage).total_ns()).sum();
        assert!(Duration::from_nanos(total) <= elapsed);
        for stage in Stage::ALL {
            assert_eq!(table.of(stage).count(), 1);
            assert!(table.of(stage).total_ns() >= 1_000_000, "{stage:?}");
        }
        assert_eq!(table.core, 3);
    }

    #[test]
    fn one_of_many_turns_is_measured() {
        for every in [1, 2, 16, 1000] {
            let stats = Arc::new(WorkerStats::with_stages(0, every));
            let mut stopwatch = Stopwatch::new(&stats);
            let turns = 2000 * u64::from(every);
            for _ in 0..turns {
                stopwatch.begin();
                stopwatch.lap(Stage::Seal);
            }
            let measured = stats.stages().unwrap().of(Stage::Seal).count();
            let fair = if every == 1 { 2000..=2000 } else { 1800..=2200 };
            assert!(fair.contains(&measured), "{measured} of {turns} turns, one of {every}");
        }
    }

    #[test]
    fn without_a_table_nothing_runs() {
        let stats = Arc::new(WorkerStats::default());
        let mut stopwatch = Stopwatch::new(&stats);
        stopwatch.begin();
        stopwatch.lap(Stage::Seal);
        stopwatch.entered(|| unreachable!("nobody asks what was brought"));
        assert!(stats.stages().is_none());
    }
}
