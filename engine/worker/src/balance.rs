//! Which worker should have which flows, as far as that is a matter of work.
//!
//! ```text
//!   the thread's CPU time ───────────────┐
//!   control: how busy each core is ──► Balance (shared) ──► this worker's look at its buckets: one that is busy may go
//!                                                           elsewhere, idle ones are spread by room
//! ```
//!
//! What counts is the core, not the worker. Interrupts or another process may have it, and then a flow that fills this
//! worker alone has a better place too. A worker that has something to do asks control for the cores, so a gateway
//! without traffic asks nobody.
//!
//! A worker whose core is full gives buckets away, one at a time, to the worker whose core has the least to do. It does
//! so if the fuller of the two is less full then. New flows fall into buckets that are idle until then. These are
//! spread in proportion to the room that each core has.
//!
//! Whether the other place is better turns out there: a bucket goes back only if others take more of that core than of
//! the one it came from.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ringfort_core::time::Time;
use tun_uring::Bucket;

use super::stopwatch::thread_time;

/// Thousandths of a core's time.
pub type Share = u64;

/// The whole of a core's time.
pub const WHOLE: Share = 1_000;
/// A core that has more to do is full.
const FULL: Share = 900;
/// A worker with less to do asks for no better place.
const ASKS_FROM: Share = 100;
/// What a move must gain, at least.
const GAIN_MIN: Share = 100;
/// A bucket that takes less than this is left where it is.
const BUCKET_MIN: Share = 30;
/// Workers whose loads differ by less have the same room.
const EVEN: Share = 250;
/// What was said of a worker or its core counts for so long.
const HEARD_FOR: Duration = Duration::from_millis(300);
/// A bucket that was moved stays for that long, and for twice as long each time that it is moved again.
const HOLD: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(32);
/// Then it is forgotten that it was moved, and why.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What a worker's core did of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// The worker had it.
    pub(super) ran: Share,
    /// Somebody else had it: another process, interrupts, or the host of a virtual machine.
    pub(super) others: Share,
}

impl Load {
    pub(super) fn total(self) -> Share {
        (self.ran + self.others).min(WHOLE)
    }
}

/// What the workers tell each other about their work, and control about their cores.
#[derive(Debug)]
pub struct Balance {
    loads: Box<[Published]>,
    /// Somebody wants to know how busy the cores are.
    asked: AtomicBool,
    /// Control can find out.
    is_told: AtomicBool,
    /// Which buckets were moved of late, each written by the worker that has the bucket.
    moves: Box<[AtomicU64; Bucket::COUNT]>,
}

/// On a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Published {
    /// What the worker did.
    said: Said,
    /// What its core did, if control knows.
    core: Said,
    sleeps: AtomicBool,
}

impl Default for Published {
    fn default() -> Self {
        Self { said: Said::default(), core: Said::default(), sleeps: AtomicBool::new(true) }
    }
}

const TICK: Duration = Duration::from_millis(1);
const SHARE_BITS: u32 = 10;

/// When it was said, in [`TICK`]s, and below that the share.
#[derive(Debug, Default)]
struct Said(AtomicU64);

impl Said {
    fn say(&self, share: Share, now: Time) {
        self.0.store(ticks(now) << SHARE_BITS | share.min(WHOLE), Relaxed);
    }

    /// What was said, if it still counts.
    fn heard(&self, now: Time) -> Option<Share> {
        let said = self.0.load(Relaxed);
        let age = ticks(now).saturating_sub(said >> SHARE_BITS);
        (said > 0 && u128::from(age) <= HEARD_FOR.as_millis()).then_some(said & ((1 << SHARE_BITS) - 1))
    }
}

impl Balance {
    /// That of so many workers, which have nothing to do.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            loads: (0..workers).map(|_| Published::default()).collect(),
            asked: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            moves: Box::new([const { AtomicU64::new(0) }; _]),
        }
    }

    /// How busy a worker's core was lately, as the kernel says.
    pub fn publish_core(&self, worker: usize, busy: Share, now: Time) {
        self.loads[worker].core.say(busy, now);
    }

    /// From now on, whoever asks is told by [`publish_core`](Self::publish_core).
    pub fn will_tell(&self) {
        self.is_told.store(true, Relaxed);
    }

    /// Whether a worker has asked, and nobody has answered since.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// The question is answered, or about to be.
    pub fn note_answer(&self) {
        self.asked.store(false, Relaxed);
    }

    /// Whether a worker that has this of its [`core`](Self::core) knows what there is to know. Who asks for the first
    /// time after a pause has to wait.
    pub(super) fn is_known(&self, core: Option<Share>) -> bool {
        core.is_some() || !self.is_told.load(Relaxed)
    }

    /// A worker that has something to do asks. True: control must be woken.
    #[cfg(feature = "testing")]
    pub fn asks_again(&self) -> bool {
        self.ask(Load { ran: WHOLE, others: 0 })
    }

    /// A worker with this load wants to know how busy the cores are. True: control must be woken.
    pub(super) fn ask(&self, load: Load) -> bool {
        load.ran >= ASKS_FROM && !self.asked.swap(true, Relaxed)
    }

    pub(super) fn publish(&self, worker: usize, ran: Share, now: Time) {
        self.loads[worker].said.say(ran, now);
    }

    /// How busy a worker's core is, as far as it is known.
    #[must_use]
    pub fn core(&self, worker: usize, now: Time) -> Option<Share> {
        self.loads[worker].core.heard(now)
    }

    /// What a worker's core has to do, or at least the worker.
    pub(super) fn load(&self, worker: usize, now: Time) -> Share {
        let Published { said, core, sleeps } = &self.loads[worker];
        let ran = said.heard(now).unwrap_or_else(|| match sleeps.load(Relaxed) {
            true => 0,
            // Somebody else has its core all the time.
            false => WHOLE,
        });
        ran.max(core.heard(now).unwrap_or(0))
    }

    /// Another worker gives `worker` what takes that share, and nobody else should find as much room there.
    fn expect(&self, worker: usize, share: Share, now: Time) {
        let Published { said, core, .. } = &self.loads[worker];
        said.say(said.heard(now).unwrap_or(0) + share, now);
        if let Some(busy) = core.heard(now) {
            core.say(busy + share, now);
        }
    }

    /// Whether a worker has nothing to do. Whoever sleeps says nothing more.
    #[inline]
    pub(super) fn note_sleep(&self, worker: usize, sleeps: bool) {
        self.loads[worker].sleeps.store(sleeps, Relaxed);
    }

    /// Who has the least to do except `worker`, and how much.
    pub(super) fn least(&self, worker: usize, now: Time) -> Option<(usize, Share)> {
        // Of several that have as little, each worker finds another one first.
        let workers = self.loads.len();
        let others = (1..workers).map(|further| (worker + further) % workers);
        others.map(|other| (other, self.load(other, now))).min_by_key(|&(_, load)| load)
    }

    /// Whether a bucket was moved a short time ago.
    pub(super) fn is_held(&self, bucket: Bucket, now: Time) -> bool {
        now < self.last_move(bucket).until
    }

    /// Whether a bucket that takes `share` of a core with this load should go to the worker `to`, whose core has
    /// `there`.
    pub(super) fn should_go(
        &self,
        bucket: Bucket,
        share: Share,
        load: Load,
        to: usize,
        there: Share,
        now: Time,
    ) -> bool {
        let here = load.total();
        let gains = here >= FULL && share >= BUCKET_MIN && there + share + GAIN_MIN <= here;
        let last = self.last_move(bucket);
        let returns = last.from == to && last.is_known(now);
        gains && now >= last.until && (!returns || load.others >= last.others + GAIN_MIN)
    }

    /// The worker `from`, which has this load, gives a bucket that takes `share` of it to the worker `to`.
    pub(super) fn note_move(
        &self,
        bucket: Bucket,
        (from, load): (usize, Load),
        (to, share): (usize, Share),
        now: Time,
    ) {
        self.expect(to, share, now);
        let last = self.last_move(bucket);
        let times = if last.is_known(now) { last.times + 1 } else { 0 };
        let hold = HOLD.saturating_mul(1 << times.min(8)).min(HOLD_MAX);
        let this = Move { until: now + hold, times: times.min(8), from, others: load.others };
        self.moves[bucket.index()].store(this.packed(), Relaxed);
    }

    fn last_move(&self, bucket: Bucket) -> Move {
        Move::unpacked(self.moves[bucket.index()].load(Relaxed))
    }
}

fn ticks(time: Time) -> u64 {
    time.as_nanos() / TICK.as_nanos() as u64
}

/// A bucket was given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    /// It stays until then.
    until: Time,
    /// How often it was moved before, lately.
    times: u32,
    /// The worker that gave it away, and what others had of its core.
    from: usize,
    others: Share,
}

impl Move {
    /// There was one, lately.
    fn is_known(self, now: Time) -> bool {
        self.until > Time::ZERO && now < self.until + FORGOTTEN_AFTER
    }

    const TIMES_BITS: u32 = 4;
    const FROM_BITS: u32 = 8;

    /// The time in [`TICK`]s, and what else there is below it.
    fn packed(self) -> u64 {
        let times = ticks(self.until) << Self::TIMES_BITS | u64::from(self.times);
        (times << Self::FROM_BITS | self.from as u64) << SHARE_BITS | self.others
    }

    fn unpacked(bits: u64) -> Self {
        let field = |shift: u32, len: u32| bits >> shift & ((1 << len) - 1);
        let (from, times) = (SHARE_BITS, SHARE_BITS + Self::FROM_BITS);
        Self {
            until: Time::from_millis(bits >> (times + Self::TIMES_BITS)),
            times: field(times, Self::TIMES_BITS) as u32,
            from: field(from, Self::FROM_BITS) as usize,
            others: field(0, SHARE_BITS),
        }
    }
}

/// Where the next flows go: each worker has as many of the slots as it has room.
#[derive(Debug)]
pub(super) struct Spread {
    /// `None`: all workers have the same room, and the buckets are dealt out as at the beginning.
    slots: Option<[u8; Self::SLOTS]>,
    workers: usize,
}

impl Spread {
    const SLOTS: usize = 256;

    pub(super) fn new(balance: &Balance, now: Time) -> Self {
        let workers = balance.loads.len();
        // Each is read once: others write meanwhile, and the rooms must add up.
        let mut loads = [0; Self::SLOTS];
        (0..workers).for_each(|worker| loads[worker] = balance.load(worker, now));
        let (least, most) = loads[..workers].iter().fold((WHOLE, 0), |(a, b), &load| (a.min(load), b.max(load)));
        if most.saturating_sub(least) < EVEN {
            return Self { slots: None, workers };
        }
        // In eighths, so a small change moves nothing. A full worker has some, too: who has is asked again.
        let room = |worker: usize| (WHOLE - loads[worker]).div_ceil(WHOLE / 8).max(1) as usize;
        let rooms: usize = (0..workers).map(room).sum();
        let (mut slots, mut filled, mut before) = ([0; Self::SLOTS], 0, 0);
        for worker in 0..workers {
            before += room(worker);
            let end = before * Self::SLOTS / rooms;
            // There are no more than 255 workers.
            slots[filled..end].fill(worker as u8);
            filled = end;
        }
        Self { slots: Some(slots), workers }
    }

    /// Where the flows of an idle bucket should begin.
    pub(super) fn place(&self, bucket: Bucket) -> usize {
        match &self.slots {
            None => bucket.index() % self.workers,
            // Neighbours are far apart, so each worker keeps some of what it had.
            Some(slots) => slots[bucket.index() * 167 % Self::SLOTS].into(),
        }
    }
}

/// What the thread that asks had of its core.
#[derive(Debug, Default)]
pub(super) struct Account {
    last: Option<Duration>,
    /// In the latest looks.
    ran: [Share; Self::LOOKS],
}

impl Account {
    /// What is known of a core may be as old as that many looks.
    const LOOKS: usize = 4;

    /// The load since this was asked last, `window` ago. `busy` is the core's, if that is known.
    pub(super) fn take(&mut self, window: Duration, busy: Option<Share>) -> Option<Load> {
        let now = thread_time();
        let ran = now.saturating_sub(self.last.replace(now)?);
        Some(self.note(ran, window, busy))
    }

    fn note(&mut self, ran: Duration, window: Duration, busy: Option<Share>) -> Load {
        let share = ran.as_nanos() * u128::from(WHOLE) / window.as_nanos().max(1);
        let ran = u64::try_from(share).unwrap_or(WHOLE).min(WHOLE);
        self.ran.rotate_right(1);
        self.ran[0] = ran;
        // The core was busy some time ago: what this worker did then is not what others did.
        let most = self.ran.into_iter().max().unwrap_or(ran);
        Load { ran, others: busy.unwrap_or(ran).saturating_sub(most) }
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
