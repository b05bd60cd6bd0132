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
//! told from reading and from waiting. Without `--stages` there is no stopwatch, and the ring is entered once a turn.

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
    histograms: [Histogram; Stage::ALL.len()],
}

impl StageTable {
    /// An empty one, for the worker on `core`.
    #[must_use]
    pub fn new(core: usize) -> Self {
        Self { core, ..Self::default() }
    }

    /// How long a stage took each time.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Histogram {
        &self.histograms[stage as usize]
    }
}

/// Tells the stages of one worker apart, or does nothing.
pub(super) struct Stopwatch(Option<Box<Running>>);

impl Stopwatch {
    /// Runs if `stats` have a place for what it finds.
    pub(super) fn start(stats: &Arc<WorkerStats>) -> Self {
        Self(stats.stages().map(|table| {
            let table = table.clone();
            Box::new(Running { table, last: Instant::now(), queued: None, entered: Duration::ZERO })
        }))
    }

    /// What was done since the last time is over.
    #[inline]
    pub(super) fn lap(&mut self, stage: Stage) {
        if let Some(running) = &mut self.0 {
            running.lap(stage);
        }
    }

    /// Has the kernel carry out the sends or writes that were queued, as a stage of their own.
    #[inline]
    pub(super) fn submit(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |running| running.submit(ring))
    }

    /// [`Ring::turn`]. Which stage that was is known when its completions are: see [`Self::entered`].
    #[inline]
    pub(super) fn enter(&mut self, ring: &mut Ring, wait: Wait) -> io::Result<()> {
        match &mut self.0 {
            None => ring.turn(wait),
            Some(running) => running.enter(ring, wait),
        }
    }

    /// Says what the last [`Self::enter`] brought: packets from the TUN, and from the socket.
    #[inline]
    pub(super) fn entered(&mut self, brought: impl FnOnce() -> (bool, bool)) {
        if let Some(running) = &mut self.0 {
            running.entered(brought());
        }
    }
}

struct Running {
    table: Arc<StageTable>,
    /// When the last stage ended.
    last: Instant,
    /// The stage that carries out what was queued since the last [`Running::submit`].
    queued: Option<Stage>,
    /// How long the last [`Running::enter`] took, less waiting.
    entered: Duration,
}

impl Running {
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
        let stats = Arc::new(WorkerStats::with_stages(3));
        let before = Instant::now();
        let mut stopwatch = Stopwatch::start(&stats);
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
    fn without_a_table_nothing_runs() {
        let stats = Arc::new(WorkerStats::default());
        let mut stopwatch = Stopwatch::start(&stats);
        stopwatch.lap(Stage::Seal);
        stopwatch.entered(|| unreachable!("nobody asks what was brought"));
        assert!(stats.stages().is_none());
    }
}
