//! The loop: prepare, enter the ring once, deal with what came back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ring_buffers::{Arena, Completion, Doorbell, Pool, Ring, RingError, Tag, View, Wait};
use ringfort_core::time::Time;
use ringfort_path::budget::{TRAINS_PER_READ, budget, line};
use ringfort_path::turns::SENDS_PER_READ;
use ringfort_path::{Config, DataPath, Outcome, Stage, Watch as _};
use secret_memory::scrub_stack;
use tun_uring::TunEdge;
use udp_uring::{Segmentation, SocketPair, UdpEdge};

use super::claims::Claims;
use super::edges::{EDGE_DOORBELL, PLACES, tun_edge, udp_edge};
use super::naps::{Naps, Totals};
use super::operations::RING;
use super::stopwatch::Stopwatch;
use super::{StartError, WorkerConfig, WorkerStats};
use crate::clock::boot_time;
use crate::failure::WorkerError;
use crate::queues::Queues;

/// Completions dealt with in one turn, so sends are submitted while more comes in.
pub(super) const BATCH: usize = 256;

/// Whether a worker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It does.
    No,
    /// It does not, and control asks whether anything is under way, in this round.
    Asked(u32),
    /// It does not, and control knows.
    Told,
}

/// Everything that one thread of the data plane owns: a data path, and what connects it with the kernel and with the
/// other threads. No decision about a packet is made here.
pub(super) struct Worker {
    pub(super) ring: Ring,
    pub(super) tun: TunEdge,
    pub(super) udp: UdpEdge,
    doorbell: Doorbell,
    pub(super) path: DataPath<Stopwatch>,
    pub(super) index: usize,
    pub(super) queues: Arc<Queues>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) claims: Claims,
    /// The time of this turn.
    pub(super) now: Time,
    /// When something last completed; it is looked for without sleeping for so long after that.
    last_completion: Time,
    pub(super) busy_poll: Duration,
    /// What has completed and is not dealt with, except reads of the TUN.
    pub(super) completed: VecDeque<Completion>,
    /// Reads of the TUN, which come last in a turn, and wait for slots.
    pub(super) reads: VecDeque<Completion>,
    pub(super) reaped: Vec<Completion>,
    /// The pieces of the write that is being queued.
    pub(super) pieces: Vec<View>,
    pub(super) naps: Naps,
    /// There may be mail or hand-offs.
    pub(super) inbox_waiting: bool,
    /// Sockets that the ring has not let the worker take over so far, or let go of.
    pub(super) sockets_due: Option<Option<SocketPair>>,
    pub(super) rest: Rest,
    pub(super) stopping: bool,
}

impl Worker {
    /// Sets up the calling thread as a worker.
    pub(super) fn new(config: WorkerConfig) -> Result<Self, StartError> {
        if let Some(core) = config.core
            && !core_affinity::set_for_current(core)
        {
            return Err(StartError::Core(core.id));
        }
        Self::on(Ring::new(RING)?, config)
    }

    /// A worker on a ring of the calling thread.
    pub(super) fn on(mut ring: Ring, config: WorkerConfig) -> Result<Self, StartError> {
        let WorkerConfig { index, queues, tuning, .. } = config;
        config.stats.note_thread();
        let waker = queues.workers[index].waker().clone();
        let arena = Arena::new(&budget(), waker.clone())?;
        ring.register_files(&[None; PLACES])?;
        let pool = Pool::new(arena);
        let mut tun = tun_edge(&mut ring, &pool, config.tun, tuning.capabilities)?;
        let mut udp = udp_edge(&mut ring, &pool, tuning.segmentation)?;
        if config.rests {
            tun.rest();
            udp.rest();
        }
        let path = Config {
            worker: index,
            workers: queues.workers.len(),
            node: tuning.node,
            mtu: config.mtu as usize,
            merge: tuning.merge,
            ragged: tuning.segmentation == Segmentation::Ragged,
        };
        Ok(Self {
            doorbell: Doorbell::new(waker, Tag { edge: EDGE_DOORBELL, context: 0 }),
            ring,
            tun,
            udp,
            path: DataPath::new(path, pool, queues.nesting.clone(), Stopwatch::new(&config.stats)),
            index,
            queues,
            stats: config.stats,
            claims: Claims::new(config.flows, index, !tuning.busy_poll.is_zero()),
            now: boot_time(),
            last_completion: boot_time(),
            busy_poll: tuning.busy_poll,
            completed: VecDeque::with_capacity(2 * BATCH),
            reads: VecDeque::with_capacity(BATCH),
            reaped: Vec::with_capacity(BATCH),
            pieces: Vec::with_capacity(tun_uring::PIECES_MAX),
            naps: Naps::default(),
            inbox_waiting: false,
            sockets_due: None,
            rest: if config.rests { Rest::Told } else { Rest::No },
            stopping: false,
        })
    }

    /// Registers the arena with the ring. False: it cannot be locked, and the worker does without.
    pub(super) fn lock_memory(&mut self) -> Result<bool, StartError> {
        match self.ring.register_pool(self.path.pool()) {
            Ok(()) => Ok(true),
            Err(RingError::LockedMemory { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Turns until told to stop.
    ///
    /// # Errors
    /// What makes going on impossible.
    pub(super) fn run(mut self) -> Result<(), WorkerError> {
        let mut result = Ok(());
        while !self.stopping && result.is_ok() {
            result = self.turn();
        }
        self.leave();
        result
    }

    /// One turn. What it has counted is published, also if it ends in an error: that turn may be the last.
    pub(super) fn turn(&mut self) -> Result<(), WorkerError> {
        let result = self.work();
        self.path.tell_tap();
        self.publish();
        if self.path.take_forgotten() {
            // The cipher has left parts of keys on the stack. As long as a session lives, so does its key elsewhere.
            scrub_stack();
        }
        result
    }

    #[inline]
    fn work(&mut self) -> Result<(), WorkerError> {
        self.path.watch().begin();
        let wait = self.prepare()?;
        self.claims.note_sleep(wait != Wait::No);
        self.enter(wait)?;
        self.claims.note_sleep(false);
        self.now = boot_time();
        let waiting = self.reads.len();
        self.reap();
        if !self.completed.is_empty() || self.reads.len() > waiting {
            self.last_completion = self.now;
        }
        if self.claims.is_leaving() && self.has_sent_all() {
            self.claims.let_go();
        }
        // Mail first: a key must be in place before the data that it is for, and both may have come in one turn.
        // The doorbell's completion may lie behind the data in the completion queue, so the queues themselves are
        // asked.
        self.inbox_waiting |= !self.queues.workers[self.index].is_empty();
        let had_mail = self.inbox_waiting;
        if had_mail {
            self.read_inbox()?;
            self.submit()?;
        }
        // What comes in goes first, since it frees slots; what is to go out takes one.
        while let Some(completion) = self.completed.pop_front() {
            self.dispatch(completion)?;
        }
        self.path.flush_writes(self.now);
        self.drain();
        self.submit()?;
        self.path.watch().lap(Stage::Turn);
        self.read_tun()?;
        self.path.flush(self.now);
        self.drain();
        self.submit()?;
        debug_assert!(self.path.is_drained(), "what is left would wait as long as the worker sleeps");
        self.look_at_flows();
        self.naps.look(self.totals(), had_mail);
        self.tell_rest();
        Ok(())
    }

    fn totals(&self) -> Totals {
        let tun = self.tun.counters();
        Totals {
            received: self.path.counters().udp_receive_datagrams,
            worthless: self.path.worthless(),
            read: tun.reads,
            errors: self.udp.counters().receive_errors + tun.read_errors,
        }
    }

    fn look_at_flows(&mut self) {
        let look = self.claims.look(self.now);
        if look.moves {
            self.stats.flow_buckets_moved.add(1);
        }
        if look.asks {
            self.queues.control.wake();
        }
        if let Some(busy) = look.core_busy {
            self.stats.core_busy_thousandths.set(busy);
        }
    }

    fn publish(&self) {
        self.stats.turns.add(1);
        self.stats.staged.set(self.path.staged() as u64);
        self.stats.ring_operations.set(self.ring.in_flight() as u64);
        self.stats.udp_sends_in_flight.set(self.udp.sends_in_flight() as u64);
        let (ring, slots) = (self.ring.counters(), self.path.pool().accounting());
        self.stats.publish(self.path.counters(), ring, slots, self.tun.counters(), self.udp.counters());
    }

    /// Deals with what was read from the TUN, as far as there are slots and sends for the trains that come of it. The
    /// rest waits, and with it, in the end, the kernel's queue: what the socket cannot take is not read.
    fn read_tun(&mut self) -> Result<(), WorkerError> {
        while !self.reads.is_empty() {
            if !self.can_send_trains() {
                self.make_room();
            }
            if !self.can_send_trains() {
                return Ok(());
            }
            let completion = self.reads.pop_front().expect("looked at just now");
            self.dispatch(completion)?;
        }
        while self.can_send_trains()
            && let Some(event) = self.tun.poll_read()
        {
            self.on_tun(event)?;
        }
        Ok(())
    }

    /// Whether the worker's queue is empty, and the socket has taken what was in it: to be asked when completions were
    /// just reaped.
    fn has_sent_all(&mut self) -> bool {
        let unread = self.tun.is_starved() || self.tun.is_readable() || !self.reads.is_empty();
        if unread || self.ring.has_completed() {
            return false;
        }
        self.udp.sends_in_flight() <= self.completed.iter().filter(|c| matches!(c, Completion::Sent(_))).count()
    }

    fn can_send_trains(&self) -> bool {
        self.path.pool().available(line::TRAINS) >= TRAINS_PER_READ && self.sends_free() >= SENDS_PER_READ
    }

    /// Sends that can still be given to the kernel before some complete.
    pub(super) fn sends_free(&self) -> usize {
        self.udp.sends_free()
    }

    pub(super) fn reap(&mut self) {
        let Self { ring, path, completed, reads, .. } = self;
        let waiting = reads.len();
        // Each goes to its place at once: they are moved for every packet.
        ring.reap(BATCH, |completion| match completion {
            Completion::Read(_) => reads.push_back(completion),
            other => completed.push_back(other),
        });
        path.watch().entered(|| (reads.len() > waiting, brought(&*completed).1));
    }

    /// Takes slots home, gives the kernel new ones, and decides whether this turn may sleep.
    pub(super) fn prepare(&mut self) -> Result<Wait, WorkerError> {
        self.path.pool().drain_returns();
        let begun = self.begin_reads()?;
        let starved = self.rest == Rest::No && (self.tun.is_starved() || self.udp.is_starved());
        let reads_wait = !self.reads.is_empty();
        let undone = !self.completed.is_empty();
        let polls = self.now.since(self.last_completion) < self.busy_poll;
        let to_read = reads_wait || self.tun.is_readable();
        let to_do = if to_read { self.can_send_trains() } else { self.may_let_go() && !starved };
        let more = polls || self.inbox_waiting || to_do || undone || !begun;
        if more || (starved || reads_wait) && self.path.pool().declare_starved() > 0 {
            return Ok(Wait::No);
        }
        Ok(self.naps.wait())
    }

    /// Whether a bucket can be given away without waiting for anything: what is sent says so when it has left.
    fn may_let_go(&self) -> bool {
        self.claims.is_leaving() && self.udp.sends_in_flight() == 0
    }

    /// Renews the reads that have ended. False: the ring takes nothing at the moment, and the next turn tries again.
    fn begin_reads(&mut self) -> Result<bool, WorkerError> {
        let Self { ring, udp, tun, doorbell, reads, .. } = self;
        // The socket first: it may use slots beyond its own, and has more that comes at once.
        let begun = udp.prepare(ring).and_then(|()| tun.prepare(ring, reads.len())).and_then(|()| doorbell.arm(ring));
        match begun {
            Err(why) if !why.passes() => Err(WorkerError::push(why)),
            begun => Ok(begun.is_ok()),
        }
    }

    fn dispatch(&mut self, completion: Completion) -> Result<(), WorkerError> {
        match completion {
            Completion::Read(_) | Completion::Polled(_) | Completion::Wrote(_) => {
                let event = self.tun.complete(completion);
                self.on_tun(event)
            }
            Completion::Received(_) | Completion::Sent(_) => {
                let event = self.udp.complete(&mut self.ring, completion);
                self.on_udp(event)
            }
            Completion::Rang(rang) => {
                let is_rung = rang.outcome().is_ok();
                self.doorbell.on_completion(rang);
                if !is_rung {
                    self.naps.note_failed();
                    return Ok(());
                }
                // Whoever rang has disarmed the bell, also if what it was for has been read since: reading arms it.
                self.inbox_waiting = true;
                Ok(())
            }
        }
    }

    /// Takes the outputs of a step to their places, and goes on with it as long as that frees slots.
    pub(super) fn settle(&mut self, mut outcome: Outcome) {
        loop {
            self.drain();
            if outcome == Outcome::Done {
                return;
            }
            let freed = self.make_room();
            outcome = self.path.resume(self.now);
            if outcome == Outcome::NoSlot && !freed && self.path.is_drained() {
                self.path.give_up(self.now);
                return;
            }
        }
    }
}

/// Whether packets from the TUN are among what has completed, and whether datagrams are.
pub(super) fn brought<'a>(completed: impl IntoIterator<Item = &'a Completion>) -> (bool, bool) {
    completed.into_iter().fold((false, false), |(read, received), completion| match completion {
        Completion::Read(_) => (true, received),
        Completion::Received(_) => (read, true),
        _ => (read, received),
    })
}
