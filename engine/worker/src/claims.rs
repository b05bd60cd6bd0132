//! Which flows this worker sends for: what it mainly receives, it also answers.
//!
//! Flows are spread over the workers, so many can seal for one peer. For the answers to a download that is waste:
//! another worker is woken for each handful of acknowledgements, beside the one that is at work on the flow and has
//! just caused them. So whoever receives much more in a bucket than goes out of it claims the bucket, and gives it up
//! when that has changed. It adds little to what the claimant does, by the very measure by which it is claimed.
//!
//! Else flows are where there is room for them: see [`balance`](super::balance).
//!
//! A bucket changes hands when none of its packets is left with the worker that it leaves, so they keep their order.

use std::sync::Arc;
use std::time::Duration;

use ringfort_core::time::Time;
use tun_uring::{Bucket, FlowTable, cost};

use super::balance::{Account, Balance, Load, Share, Spread};

/// How often the buckets are looked at while there is something to do.
const INTERVAL: Duration = Duration::from_millis(100);
/// A bucket is claimed by who receives so many times what goes out of it, and given up at half of that.
const CLAIM_RATIO: u64 = 8;
const RELEASE_RATIO: u64 = CLAIM_RATIO / 2;
/// Below this, in bytes received in an interval, a bucket is not worth the move: some 5 Mbit/s.
const CLAIM_MIN: u64 = 64 << 10;
/// Below this, in units of [`tun_uring::cost`] sent in an interval, neither: a request after a pause is not an upload.
const RELEASE_MIN: u64 = 16 << 10;

/// The flows of a device, and what the workers that share them have to do.
#[derive(Clone, Debug)]
pub struct Flows {
    /// By which queues they come.
    pub table: Arc<FlowTable>,
    /// How much each worker has to do.
    pub balance: Arc<Balance>,
}

impl Flows {
    /// Those of a device, one worker to each queue.
    #[must_use]
    pub fn new(table: Arc<FlowTable>) -> Self {
        let balance = Arc::new(Balance::new(table.queues()));
        Self { table, balance }
    }
}

/// What one worker receives in each bucket, and which it wants to give up.
#[derive(Debug)]
pub(super) struct Claims {
    flows: Option<Flows>,
    worker: usize,
    /// `None`: there is nobody to share with.
    account: Option<Account>,
    last_look: Time,
    buckets: Box<[Seen; Bucket::COUNT]>,
    next_look: Time,
    /// Some buckets are to leave, once the worker's queue is empty.
    leaving: bool,
    /// Among them is a busy one. Until it has gone, nobody knows what its going changes.
    busy_leaving: bool,
}

/// A bucket since it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Bytes received by this worker. Bytes alone, so nobody can claim much with small packets.
    received: u64,
    /// What went out until then by any worker, in units of [`tun_uring::cost`].
    sent_before: u64,
    /// What went out between the last two looks.
    sent: u64,
}

/// What a look has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// A busy bucket is to go to another worker.
    pub(super) moves: bool,
    /// Control is to find out how busy the cores are.
    pub(super) asks: bool,
    /// How busy the worker's own is, in thousandths, if that was found out.
    pub(super) core_busy: Option<Share>,
}

/// What a worker does about a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Claim,
    Release,
    Keep,
}

impl Claims {
    /// Of the calling thread. One that polls all the time always looks full, and shares no work.
    pub fn new(flows: Option<Flows>, worker: usize, polls: bool) -> Self {
        Self {
            account: (flows.is_some() && !polls).then(Account::default),
            flows,
            worker,
            last_look: Time::ZERO,
            buckets: Box::new([Seen::default(); _]),
            next_look: Time::ZERO,
            leaving: false,
            busy_leaving: false,
        }
    }

    /// A packet, or a run of packets behind the headers of its first, goes into the TUN: `len` bytes in all.
    #[inline]
    pub fn note_received(&mut self, first: &[u8], len: usize) {
        if let Some(flows) = &self.flows
            && let Some(bucket) = flows.table.bucket(first)
        {
            self.buckets[bucket.index()].received += len as u64;
        }
    }

    /// Looks at the buckets, if it is time to.
    #[inline]
    pub fn look(&mut self, now: Time) -> Look {
        if now < self.next_look || self.flows.is_none() {
            return Look::default();
        }
        self.next_look = now + INTERVAL;
        let look = self.look_now(now);
        self.last_look = now;
        look
    }

    fn look_now(&mut self, now: Time) -> Look {
        let mut look = Look::default();
        let Self { flows: Some(Flows { table, balance }), worker, buckets, .. } = self else { return look };
        let (worker, mut received_here, mut sent_here) = (*worker, 0, 0);
        for (bucket, seen) in Bucket::all().zip(&mut **buckets) {
            let sent_before = table.sent(bucket);
            let sent = sent_before.wrapping_sub(seen.sent_before);
            let received = std::mem::replace(seen, Seen { received: 0, sent_before, sent }).received;
            match verdict(table.is_claimed_by(bucket, worker), received, sent) {
                Verdict::Claim => table.claim(bucket, worker),
                Verdict::Release => table.release(bucket, worker),
                Verdict::Keep => {}
            }
            received_here += received;
            sent_here += if table.place(bucket) == worker { sent } else { 0 };
        }
        look.core_busy = balance.core(worker, now);
        let window = now.since(self.last_look);
        if let Some(load) = self.account.as_mut().and_then(|account| account.take(window, look.core_busy)) {
            balance.publish(worker, load.ran, now);
            look.asks = balance.ask(load);
            if balance.is_known(look.core_busy) {
                look.moves = self.spread_work(load, cost(0, received_here) + sent_here, now);
            }
        }
        let leaves = |flows: &Flows| Bucket::all().any(|bucket| flows.table.is_to_leave(bucket, worker));
        self.leaving = self.flows.as_ref().is_some_and(leaves);
        self.busy_leaving &= self.leaving;
        look
    }

    /// Gives idle buckets to whom they should have, and a busy one away if there is too much to do here, which is
    /// `work` in units of [`cost`]. True: a busy one is to go.
    fn spread_work(&mut self, load: Load, work: u64, now: Time) -> bool {
        let Some(Flows { table, balance }) = &self.flows else { return false };
        let spread = Spread::new(balance, now);
        let least = balance.least(self.worker, now);
        let mut largest: Option<(Share, Bucket, usize)> = None;
        for (bucket, seen) in Bucket::all().zip(&*self.buckets) {
            if table.place(bucket) != self.worker || table.is_claimed(bucket) {
                continue;
            }
            if seen.sent == 0 && !balance.is_held(bucket, now) {
                table.assign(bucket, self.worker, spread.place(bucket));
            }
            let share = load.ran * seen.sent.min(work) / work.max(1);
            if let Some((to, there)) = least
                && !self.busy_leaving
                && largest.is_none_or(|(most, ..)| share > most)
                && balance.should_go(bucket, share, load, to, there, now)
            {
                largest = Some((share, bucket, to));
            }
        }
        let Some((share, bucket, to)) = largest else { return false };
        balance.note_move(bucket, (self.worker, load), (to, share), now);
        table.assign(bucket, self.worker, to);
        self.busy_leaving = true;
        true
    }

    /// The worker is about to sleep, or has woken up.
    #[inline]
    pub fn note_sleep(&self, sleeps: bool) {
        if let Some(flows) = &self.flows {
            flows.balance.note_sleep(self.worker, sleeps);
        }
    }

    /// Whether [`let_go`](Self::let_go) must be called when the worker's queue has been seen empty.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    #[cfg(test)]
    pub(super) fn begin_to_leave(&mut self) {
        self.leaving = true;
    }

    /// Lets all buckets go that are wanted elsewhere. To be called when nothing that was read from the queue is on its
    /// way to the socket. What waits for a key is not waited for: there may never be one.
    pub fn let_go(&mut self) {
        (self.leaving, self.busy_leaving) = (false, false);
        if let Some(flows) = &self.flows {
            Bucket::all().for_each(|bucket| flows.table.let_go(bucket, self.worker));
        }
    }
}

fn verdict(is_claimed: bool, received: u64, sent: u64) -> Verdict {
    match is_claimed {
        false if received >= CLAIM_MIN && received >= CLAIM_RATIO * sent => Verdict::Claim,
        true if sent >= RELEASE_MIN && received < RELEASE_RATIO * sent => Verdict::Release,
        _ => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use ringfort_testbed::scratch::in_namespace;
    use tun_uring::{Offloads, Tun, cost};

    use super::super::balance::WHOLE;
    use super::*;

    /// Acknowledgements of a download: each of 52 bytes, for two super-packets.
    #[test]
    fn answers_to_a_download_are_claimed() {
        let (received, sent) = (100 * 60_000, cost(50, 50 * 52));
        assert_eq!(verdict(false, received, sent), Verdict::Claim);
        assert_eq!(verdict(true, received, sent), Verdict::Keep);
    }

    #[test]
    fn what_mainly_goes_out_is_given_up() {
        let (received, sent) = (50 * 52, cost(100, 100 * 60_000));
        assert_eq!(verdict(false, received, sent), Verdict::Keep);
        assert_eq!(verdict(true, received, sent), Verdict::Release);
        assert_eq!(verdict(true, 0, RELEASE_MIN), Verdict::Release, "nothing comes in any more");
        assert_eq!(verdict(true, 0, cost(1, 500)), Verdict::Keep, "a request after a pause");
    }

    #[test]
    fn between_the_two_all_stays_as_it_is() {
        let sent = 1 << 20;
        for received in [RELEASE_RATIO * sent, CLAIM_RATIO * sent - 1] {
            assert_eq!(verdict(false, received, sent), Verdict::Keep);
            assert_eq!(verdict(true, received, sent), Verdict::Keep);
        }
        assert_eq!(verdict(true, 0, 0), Verdict::Keep, "a pause changes nothing");
        assert_eq!(verdict(false, CLAIM_MIN - 1, 0), Verdict::Keep, "a trickle is not worth it");
    }

    #[test]
    fn packet_by_packet_both_ways_stays_spread() {
        let (received, sent) = (10_000 * 64, cost(10_000, 10_000 * 64));
        assert_eq!(verdict(false, received, sent), Verdict::Keep);
    }

    #[test]
    fn a_full_worker_gives_its_busiest_bucket_away_and_new_flows_go_where_room_is() {
        in_namespace(|| {
            let tun = Tun::create("rf0", 2, Offloads::NONE).unwrap();
            let flows = Flows::new(tun.flows().unwrap().expect("two queues are steered"));
            let table = &flows.table;
            let mut claims = Claims::new(Some(flows.clone()), 0, false);
            let ours: Vec<_> = Bucket::all().filter(|&bucket| table.place(bucket) == 0).collect();
            for (bucket, sent) in ours.iter().zip([300, 500, 200]) {
                claims.buckets[bucket.index()].sent = sent;
            }
            let now = Time::from_secs(100);
            let full = Load { ran: WHOLE, others: 0 };
            flows.balance.publish(0, full.total(), now);
            assert!(claims.spread_work(full, 1_000, now));
            assert!(!claims.spread_work(full, 1_000, now), "one at a time");
            let leaves = |bucket: &&Bucket| table.is_to_leave(**bucket, 0);
            assert_eq!(ours[..3].iter().filter(leaves).collect::<Vec<_>>(), [&ours[1]]);
            let idle = ours[3..].iter().filter(leaves).count();
            assert!(idle > ours.len() * 3 / 4, "{idle} of {}", ours.len());

            claims.let_go();
            assert_eq!(table.place(ours[1]), 1);
            flows.balance.publish(1, 0, now);
            assert!(claims.spread_work(full, 1_000, now), "the next one goes in the next look");
            claims.let_go();
            flows.balance.publish(1, 800, now);
            assert!(!claims.spread_work(full, 1_000, now), "the other would be as full");
        });
    }

    #[test]
    fn without_a_table_there_is_nothing_to_do() {
        let mut claims = Claims::new(None, 0, false);
        claims.note_received(&[0x45; 60], 60);
        assert_eq!(claims.look(Time::from_secs(1)), Look::default());
        assert!(!claims.is_leaving());
        claims.let_go();
    }
}
