//! Where a worker's time goes, for `--stages`. A stopwatch that is read where one stage of a turn ends and the next begins,
//! so that every nanosecond of the thread is in exactly one stage:
//!
//! ```text
//!   out  TunRead ──► Route ──► Segment ──► Seal ──► Transmit ──► UdpSend
//!   in   UdpReceive ──► Classify ──► Open ──► Check ──► Coalesce ──► TunWrite
//! ```
//!
//! It is read once for each train or batch, never for each packet. The kernel's part of the way would all be in the one
//! `io_uring_enter` of a turn; while the stopwatch runs, writes and sends are submitted by themselves, so that they can be
//! told from reading and from waiting. These system calls cost more than a small turn does, so that the stopwatch runs in
//! one of many turns, chosen at random: the shares are right, and the other turns are as they are without it.

use super::counters::WorkerStats;
use super::histogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use ring_buffers::{Ring, Wait};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker does with its time, in the order of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Asleep until something completes, or runnable on a core that another thread has.
    Wait,
    /// Entering the ring, where that brought nothing to read: what `--busy-poll` does most of the time.
    Enter,
    /// The kernel reads from the TUN into our buffers.
    TunRead,
    /// Headers are parsed, the peer of each packet is found. Once for a super-packet, or for the packets gathered in a turn.
    Route,
    /// The headers of a super-packet's segments are made. Once for a train.
    Segment,
    /// A train is encrypted and authenticated, which includes copying it; or the lone packets of a batch are.
    Seal,
    /// The send of a train is queued; timers and counters are kept. Once for a train, or a batch of lone packets.
    Transmit,
    /// The kernel sends what was queued: UDP, IP and as much of the way as the driver goes at once. Once for a batch of
    /// trains.
    UdpSend,
    /// The kernel receives datagrams into our buffers.
    UdpReceive,
    /// A train's headers are parsed, its session is found. Once for each run of messages of one session.
    Classify,
    /// A run is authenticated and decrypted in place.
    Open,
    /// What follows from a run: replay window, timers and counters, the source address of each packet.
    Check,
    /// Packets find their neighbours, and writes are queued.
    Coalesce,
    /// The kernel takes packets into its IP stack. Once for a batch of writes.
    TunWrite,
    /// The kernel reads from the TUN and receives datagrams in one go.
    BothRead,
    /// The loop itself: completions, mail, operations armed anew.
    Turn,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 16] = [
        Self::Wait,
        Self::Enter,
        Self::TunRead,
        Self::Route,
        Self::Segment,
        Self::Seal,
        Self::Transmit,
        Self::UdpSend,
        Self::UdpReceive,
        Self::Classify,
        Self::Open,
        Self::Check,
        Self::Coalesce,
        Self::TunWrite,
        Self::BothRead,
        Self::Turn,
    ];

    /// Its name in the answer to `stats=1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Enter => "enter",
            Self::TunRead => "tun_read",
            Self::Route => "route",
            Self::Segment => "segment",
            Self::Seal => "seal",
            Self::Transmit => "transmit",
            Self::UdpSend => "udp_send",
            Self::UdpReceive => "udp_receive",
            Self::Classify => "classify",
            Self::Open => "open",
            Self::Check => "check",
            Self::Coalesce => "coalesce",
            Self::TunWrite => "tun_write",
            Self::BothRead => "both_read",
            Self::Turn => "turn",
        }
    }
}

/// One worker's stages.
#[derive(Debug, Default)]
pub struct StageTable {
    /// The core that the worker runs on.
    pub core: usize,
    /// One of so many turns is measured, on average.
    pub every: u32,
    histograms: [Histogram; Stage::ALL.len()],
}

impl StageTable {
    /// An empty one, for the worker on `core` that measures one of `every` turns.
    #[must_use]
    pub fn new(core: usize, every: u32) -> Self {
        Self { core, every, ..Self::default() }
    }

    /// How long a stage took each time.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Histogram {
        &self.histograms[stage as usize]
    }
}

/// Tells the stages of one worker apart, or does nothing.
pub(super) struct Stopwatch {
    /// This turn is measured.
    runs: bool,
    watch: Option<Box<Watch>>,
}

impl Stopwatch {
    /// One that measures if `stats` have a place for what it finds.
    pub(super) fn new(stats: &Arc<WorkerStats>) -> Self {
        Self { runs: false, watch: stats.stages().map(|table| Box::new(Watch::new(table.clone()))) }
    }

    /// A turn begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        if let Some(watch) = &mut self.watch {
            self.runs = watch.begin(self.runs);
        }
    }

    /// What was done since the last time is over.
    #[inline]
    pub(super) fn lap(&mut self, stage: Stage) {
        if let Some(watch) = self.running() {
            watch.lap(stage);
        }
    }

    /// Has the kernel carry out the sends or writes that were queued, as a stage of their own.
    #[inline]
    pub(super) fn submit(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.running().map_or(Ok(()), |watch| watch.submit(ring))
    }

    /// [`Ring::turn`]. Which stage that was is known when its completions are: see [`Self::entered`].
    #[inline]
    pub(super) fn enter(&mut self, ring: &mut Ring, wait: Wait) -> io::Result<()> {
        match self.running() {
            None => ring.turn(wait),
            Some(watch) => watch.enter(ring, wait),
        }
    }

    /// Says what the last [`Self::enter`] brought: packets from the TUN, and from the socket.
    #[inline]
    pub(super) fn entered(&mut self, brought: impl FnOnce() -> (bool, bool)) {
        if let Some(watch) = self.running() {
            watch.entered(brought());
        }
    }

    #[inline]
    fn running(&mut self) -> Option<&mut Watch> {
        if self.runs { self.watch.as_deref_mut() } else { None }
    }
}

struct Watch {
    table: Arc<StageTable>,
    /// So many turns begin before the next that is measured.
    turns_left: u32,
    /// State of the generator that chooses the turns (Marsaglia's xorshift32, never 0).
    chance: u32,
    /// The turn before was not measured, and has left what it queued to this one.
    leftovers: bool,
    /// When the last stage ended.
    last: Instant,
    /// The stage that carries out what was queued since the last [`Watch::submit`].
    queued: Option<Stage>,
    /// How long the last [`Watch::enter`] took, less waiting.
    entered: Duration,
}

impl Watch {
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
        self.record(stage, took);
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

    fn record(&self, stage: Stage, took: Duration) {
        self.table.of(stage).record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn submit(&mut self, ring: &mut Ring) -> io::Result<()> {
        let Some(stage) = self.queued.take() else { return Ok(()) };
        self.lap(Stage::Turn);
        if ring.submit()? {
            self.lap(stage);
        }
        Ok(())
    }

    fn enter(&mut self, ring: &mut Ring, wait: Wait) -> io::Result<()> {
        self.submit(ring)?;
        self.lap(Stage::Turn);
        if std::mem::take(&mut self.leftovers) {
            // What it takes to carry them out is of that turn, and not counted.
            ring.submit()?;
            self.split();
        }
        ring.turn(Wait::No)?;
        self.entered = self.split();
        if wait == Wait::No || ring.has_completed() {
            return Ok(());
        }
        // What woke us is received or read in the same call: that part is the one in which this thread had the CPU.
        let cpu_before = thread_time();
        ring.turn(Wait::UntilCompletion)?;
        let cpu = thread_time().saturating_sub(cpu_before);
        let took = self.split();
        self.record(Stage::Wait, took.saturating_sub(cpu));
        self.entered += cpu.min(took);
        Ok(())
    }

    fn entered(&mut self, brought: (bool, bool)) {
        let stage = match brought {
            (false, false) => Stage::Enter,
            (true, false) => Stage::TunRead,
            (false, true) => Stage::UdpReceive,
            (true, true) => Stage::BothRead,
        };
        let took = std::mem::take(&mut self.entered);
        self.record(stage, took);
    }
}

/// CPU time that this thread has used.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux counts the CPU time of threads").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_names_of_their_own_and_places_in_order() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place);
            assert!(Stage::ALL[..place].iter().all(|other| other.name() != stage.name()), "{stage:?}");
        }
    }

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
