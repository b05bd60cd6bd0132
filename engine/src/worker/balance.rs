//! Which worker should have which flows, as far as that is a matter of work.
//!
//! ```text
//!   the scheduler's account ──► Load of this worker ──► Balance (shared) ──► this worker's look at its buckets:
//!                                                                            one that is busy may go elsewhere
//!                                                                            idle ones are spread by room
//! ```
//!
//! A worker that is full gives one bucket at a time to the worker that has the least to do, if that makes the fuller of
//! the two less full. New flows fall into buckets that are idle until then: these are spread in proportion to the room
//! that each worker has.
//!
//! Waiting for the core counts as work. Another process may have the core, and then a flow that fills this worker alone
//! has a better place too. Whether the other place is better turns out there: a bucket goes back only if it waits
//! longer than where it came from.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ringfort_core::time::Time;
use tun_uring::Bucket;

/// Thousandths of a worker's time.
pub(super) type Share = u64;

/// The whole of a worker's time.
pub(super) const WHOLE: Share = 1_000;
/// A worker that has more to do is full.
const FULL: Share = 900;
/// What a move must gain, at least.
const GAIN_MIN: Share = 100;
/// A bucket that takes less than this is left where it is.
const BUCKET_MIN: Share = 30;
/// Workers whose loads differ by less have the same room.
const EVEN: Share = 250;
/// What a worker has said counts for so long.
const HEARD_FOR: Duration = Duration::from_millis(300);
/// A bucket that was moved stays for that long, and for twice as long each time that it is moved again.
const HOLD: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(32);
/// Then it is forgotten that it was moved, and why.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What a worker did of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// It had the core.
    pub(super) ran: Share,
    /// It could have gone on, and somebody else had the core.
    pub(super) waited: Share,
}

impl Load {
    pub(super) fn of(ran: Duration, waited: Duration, window: Duration) -> Self {
        let share = |part: Duration| part.as_nanos() * u128::from(WHOLE) / window.as_nanos().max(1);
        let share = |part| u64::try_from(share(part)).unwrap_or(WHOLE).min(WHOLE);
        Self { ran: share(ran), waited: share(waited) }
    }

    pub(super) fn total(self) -> Share {
        (self.ran + self.waited).min(WHOLE)
    }
}

/// What the workers tell each other about their work.
#[derive(Debug)]
pub struct Balance {
    loads: Box<[Published]>,
    /// Which buckets were moved of late, each written by the worker that has the bucket.
    moves: Box<[AtomicU64; Bucket::COUNT]>,
}

/// On a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Published {
    /// When it was written, in [`TICK`]s, and below that the share.
    said: AtomicU64,
    sleeps: AtomicBool,
}

const TICK: Duration = Duration::from_millis(1);
const SHARE_BITS: u32 = 10;

impl Balance {
    /// That of so many workers, which have nothing to do.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            loads: (0..workers).map(|_| Published { said: AtomicU64::new(0), sleeps: AtomicBool::new(true) }).collect(),
            moves: Box::new([const { AtomicU64::new(0) }; _]),
        }
    }

    pub(super) fn publish(&self, worker: usize, load: Share, now: Time) {
        self.loads[worker].said.store(ticks(now) << SHARE_BITS | load, Relaxed);
    }

    pub(super) fn load(&self, worker: usize, now: Time) -> Share {
        let Published { said, sleeps } = &self.loads[worker];
        let said = said.load(Relaxed);
        let age = ticks(now).saturating_sub(said >> SHARE_BITS);
        match u128::from(age) <= HEARD_FOR.as_millis() {
            true => said & ((1 << SHARE_BITS) - 1),
            false if sleeps.load(Relaxed) => 0,
            // Somebody else has its core all the time.
            false => WHOLE,
        }
    }

    /// Another worker gives `worker` what takes that share, and nobody else should find as much room there.
    fn expect(&self, worker: usize, share: Share, now: Time) {
        let load = (self.load(worker, now) + share).min(WHOLE);
        self.publish(worker, load, now);
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

    /// Whether a bucket that takes `share` of the worker that has it, and has `load` in all, should go to another
    /// worker, which has `there`.
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
        gains && now >= last.until && (!returns || load.waited >= last.waited + GAIN_MIN)
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
        let this = Move { until: now + hold, times: times.min(8), from, waited: load.waited };
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
    /// The worker that gave it away, and how long that waited.
    from: usize,
    waited: Share,
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
        (times << Self::FROM_BITS | self.from as u64) << SHARE_BITS | self.waited
    }

    fn unpacked(bits: u64) -> Self {
        let field = |shift: u32, len: u32| bits >> shift & ((1 << len) - 1);
        let (from, times) = (SHARE_BITS, SHARE_BITS + Self::FROM_BITS);
        Self {
            until: Time::from_millis(bits >> (times + Self::TIMES_BITS)),
            times: field(times, Self::TIMES_BITS) as u32,
            from: field(from, Self::FROM_BITS) as usize,
            waited: field(0, SHARE_BITS),
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

/// What the scheduler says of the thread that opens it.
#[derive(Debug)]
pub(super) struct Account {
    /// `None`: this kernel does not say.
    file: Option<File>,
    last: Option<(Duration, Duration)>,
}

impl Account {
    /// That of the calling thread (`Documentation/scheduler/sched-stats.rst`).
    pub(super) fn of_this_thread() -> Self {
        Self { file: File::open("/proc/thread-self/schedstat").ok(), last: None }
    }

    /// How long the thread ran, and how long it waited for its core, since this was asked last.
    pub(super) fn take(&mut self) -> Option<(Duration, Duration)> {
        let mut text = [0; 64];
        let len = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let now = parse(&text[..len])?;
        let last = self.last.replace(now)?;
        Some((now.0.saturating_sub(last.0), now.1.saturating_sub(last.1)))
    }
}

/// Nanoseconds on the core, nanoseconds of waiting for it, and how often it was had.
fn parse(text: &[u8]) -> Option<(Duration, Duration)> {
    let mut fields = str::from_utf8(text).ok()?.split_ascii_whitespace().map(str::parse);
    let mut next = || Some(Duration::from_nanos(fields.next()?.ok()?));
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_000);

    fn load(ran: Share, waited: Share) -> Load {
        Load { ran, waited }
    }

    fn bucket(index: usize) -> Bucket {
        Bucket::all().nth(index).unwrap()
    }

    #[test]
    fn what_a_worker_said_counts_for_a_while() {
        let balance = Balance::new(3);
        assert_eq!(balance.least(0, NOW), Some((1, 0)));
        balance.publish(1, 700, NOW);
        balance.publish(2, 400, NOW);
        assert_eq!((balance.load(1, NOW), balance.least(0, NOW)), (700, Some((2, 400))));
        let later = NOW + HEARD_FOR + TICK;
        assert_eq!((balance.load(1, later), balance.load(1, Time::ZERO)), (0, 700), "it sleeps; a clock went back");
        balance.note_sleep(1, false);
        assert_eq!(balance.load(1, later), WHOLE, "it does not get its core");
        assert_eq!(Balance::new(1).least(0, NOW), None);
    }

    #[test]
    fn a_load_is_what_the_thread_did_or_could_have_done() {
        let [second, half] = [1_000, 500].map(Duration::from_millis);
        assert_eq!(Load::of(half, Duration::ZERO, second), load(500, 0));
        assert_eq!(Load::of(half, second, second).total(), WHOLE);
        assert_eq!(Load::of(second, second, Duration::ZERO), load(WHOLE, WHOLE));
    }

    #[test]
    fn a_full_worker_gives_away_what_makes_both_less_full() {
        let balance = Balance::new(2);
        let goes = |share, load, there| balance.should_go(bucket(3), share, load, 1, there, NOW);
        assert!(goes(300, load(1_000, 0), 300));
        assert!(!goes(300, load(800, 0), 0), "it is not full");
        assert!(!goes(300, load(1_000, 0), 700), "the other would be as full");
        assert!(!goes(1_000, load(1_000, 0), 0), "all that there is would be elsewhere");
        assert!(!goes(BUCKET_MIN - 1, load(1_000, 0), 0), "it is not worth it");
        assert!(goes(500, load(500, 500), 100), "somebody else has the core");
    }

    #[test]
    fn it_goes_back_only_if_it_waits_longer_there() {
        let balance = Balance::new(3);
        balance.note_move(bucket(3), (0, load(500, 400)), (1, 500), NOW);
        assert_eq!(balance.load(1, NOW), 500, "so much is on its way there");
        assert!(balance.is_held(bucket(3), NOW) && !balance.is_held(bucket(4), NOW));
        let goes = |load, to, now| balance.should_go(bucket(3), 500, load, to, 0, now);
        assert!(!goes(load(400, 600), 2, NOW), "it was just moved");
        let later = NOW + HOLD;
        assert!(!goes(load(600, 400), 0, later) && goes(load(500, 500), 0, later));
        assert!(goes(load(600, 400), 2, later), "nobody knows how it is there");
        assert!(goes(load(600, 400), 0, later + FORGOTTEN_AFTER));
    }

    #[test]
    fn who_is_moved_again_and_again_stays_longer_each_time() {
        let balance = Balance::new(2);
        let mut now = NOW;
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            balance.note_move(bucket(9), (0, load(500, 500)), (1, 500), now);
            let end = now + Duration::from_secs(seconds);
            assert!(balance.is_held(bucket(9), Time(end.as_nanos() - 1_000_000)), "{seconds}");
            assert!(!balance.is_held(bucket(9), end), "{seconds}");
            now = end;
        }
        balance.note_move(bucket(9), (0, load(500, 500)), (1, 500), now + FORGOTTEN_AFTER);
        assert!(!balance.is_held(bucket(9), now + FORGOTTEN_AFTER + HOLD), "the former moves are forgotten");
    }

    #[test]
    fn a_move_is_kept_whole() {
        for (times, from, waited) in [(0, 0, 0), (8, 254, WHOLE), (3, 7, 512)] {
            let this = Move { until: Time::from_secs(1 << 31), times, from, waited };
            assert_eq!(Move::unpacked(this.packed()), this);
        }
    }

    #[test]
    fn new_flows_go_where_room_is() {
        let balance = Balance::new(2);
        let count = |balance: &Balance| {
            let spread = Spread::new(balance, NOW);
            Bucket::all().filter(|&bucket| spread.place(bucket) == 1).count()
        };
        assert_eq!(count(&balance), Bucket::COUNT / 2);
        balance.publish(0, 240, NOW);
        let even = Spread::new(&balance, NOW);
        assert!(Bucket::all().all(|bucket| even.place(bucket) == bucket.index() % 2), "as at the beginning");
        balance.publish(0, 1_000, NOW);
        let with_room = count(&balance);
        assert!((900..Bucket::COUNT).contains(&with_room), "{with_room}");
        balance.publish(1, 1_000, NOW);
        assert_eq!(count(&balance), Bucket::COUNT / 2, "nobody has room");
    }

    /// A worker that is asked twice may have said something else in between.
    #[test]
    fn loads_that_change_meanwhile_harm_nobody() {
        let (balance, stop) = (Balance::new(64), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0..).take_while(|_| !stop.load(Relaxed)) {
                    balance.publish(n % 64, if n % 3 == 0 { WHOLE } else { 0 }, NOW);
                }
            });
            for _ in 0..2_000 {
                let spread = Spread::new(&balance, NOW);
                assert!(Bucket::all().all(|bucket| spread.place(bucket) < 64));
            }
            stop.store(true, Relaxed);
        });
    }

    #[test]
    fn each_of_many_workers_has_its_part() {
        for workers in [2, 3, 64, 255] {
            let balance = Balance::new(workers);
            (0..workers / 2).for_each(|worker| balance.publish(worker, 900, NOW));
            let spread = Spread::new(&balance, NOW);
            let mut count = vec![0; workers];
            Bucket::all().for_each(|bucket| count[spread.place(bucket)] += 1);
            let busy: usize = count[..workers / 2].iter().sum();
            assert!(busy < Bucket::COUNT / 4, "{workers}: {count:?}");
        }
    }

    #[test]
    fn the_scheduler_accounts_for_this_thread() {
        let mut account = Account::of_this_thread();
        assert_eq!(account.take(), None, "the first time says nothing");
        let began = std::time::Instant::now();
        while account.take().expect("/proc/thread-self/schedstat").0 == Duration::ZERO {
            assert!(began.elapsed() < Duration::from_secs(30));
        }
        assert_eq!(parse(b"12 34 5\n"), Some((Duration::from_nanos(12), Duration::from_nanos(34))));
        assert_eq!((parse(b""), parse(b"12"), parse(b"12 x")), (None, None, None));
    }
}
