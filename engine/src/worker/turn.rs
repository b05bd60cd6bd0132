//! The loop: prepare, enter the ring once, deal with what came back.

use super::budget::{
    GATHERS_PER_TRAIN, RING, SENDS_PER_READ, STAGED_JUMBO_LIMITS, STAGED_LIMITS, TRAINS_PER_READ, UDP_OPERATIONS,
    WRITES_PER_TRAIN, budget, line,
};
use super::counters::WorkerStats;
use super::edges::{EDGE_DOORBELL, EDGE_TUN, EDGE_UDP, PLACES, tun_edge, udp_edge};
use super::inbound::endpoint_of;
use super::outbound::Pending;
use super::peers::PeerTable;
use super::sessions::Sessions;
use super::stages::{Stage, Stopwatch};
use super::staging::Staging;
use super::steering::Steering;
use super::supers::Heads;
use super::{StartError, WorkerConfig, WorkerError};
use crate::clock::boot_time;
use crate::link::Link;
use ring_buffers::{Arena, Completion, Doorbell, Pool, Ring, RingError, Token, Wait};
use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::drops::DropReason;
use ringfort_core::icmp::Allowance;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tun_uring::{Coalescer, TunEdge};
use udp_uring::{Event, Family, Segmentation, UdpEdge};

/// Completions dealt with in one turn, so that sends are submitted while more comes in.
const BATCH: usize = 256;

/// Everything that one thread of the data plane owns.
pub(super) struct Worker {
    // First: the ring ends what is in flight before anything that it points to goes.
    pub(super) ring: Ring,
    pub(super) tun: TunEdge,
    pub(super) udp: UdpEdge,
    doorbell: Doorbell,
    pub(super) pool: Pool,
    pub(super) index: usize,
    pub(super) link: Arc<Link>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) stopwatch: Stopwatch,
    pub(super) peers: PeerTable,
    /// Packets that wait for a key.
    pub(super) staging: Staging,
    pub(super) sessions: Sessions,
    pub(super) routes: AllowedIps,
    pub(super) mtu: usize,
    /// The time of this turn.
    pub(super) now: Time,
    /// When something last completed; it is looked for without sleeping for so long after that.
    last_completion: Time,
    pub(super) busy_poll: Duration,
    /// No train may end in a segment as long as the others.
    pub(super) ragged: bool,
    /// Packets of this turn that have a peer and a key.
    pub(super) pending: VecDeque<Pending>,
    /// Headers of the segments of a train in the making.
    pub(super) heads: Box<Heads>,
    /// Runs of packets for the TUN, gathered over a turn.
    pub(super) coalescer: Coalescer,
    pub(super) steering: Steering,
    /// What senders may still be told about packets that no peer can have.
    pub(super) icmp_allowance: Allowance,
    /// The kernel has not refused a merged packet so far.
    pub(super) merging: bool,
    /// What has completed and is not dealt with.
    pub(super) completed: VecDeque<Completion>,
    /// Reads of the TUN that wait for slots.
    reads: VecDeque<Completion>,
    reaped: Vec<Completion>,
    /// There may be mail or hand-offs.
    pub(super) inbox_waiting: bool,
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
        let inbox = &config.link.workers[config.index];
        let arena = Arena::new(&budget(), inbox.waker().clone())?;
        let mut ring = Ring::new(RING)?;
        ring.register_files(&[-1; PLACES])?;
        let pool = Pool::new(arena);
        let tun = tun_edge(&mut ring, &pool, config.tun, config.tuning.capabilities)?;
        let udp = udp_edge(&mut ring, &pool, config.tuning.segmentation)?;
        let token = Token { edge: EDGE_DOORBELL, op: 0, index: 0, generation: 0 };
        Ok(Self {
            doorbell: Doorbell::new(inbox.waker().clone(), token),
            ring,
            tun,
            udp,
            pool,
            index: config.index,
            link: config.link,
            stopwatch: Stopwatch::new(&config.stats),
            stats: config.stats,
            peers: PeerTable::default(),
            staging: Staging::new(STAGED_LIMITS, STAGED_JUMBO_LIMITS),
            sessions: Sessions::default(),
            routes: AllowedIps::new(),
            mtu: config.mtu as usize,
            now: boot_time(),
            last_completion: boot_time(),
            busy_poll: config.tuning.busy_poll,
            ragged: config.tuning.segmentation == Segmentation::Ragged,
            pending: VecDeque::with_capacity(Pending::MAX),
            heads: Box::new([[0; _]; _]),
            coalescer: Coalescer::new(config.tuning.merge),
            steering: Steering::new(config.flows, config.index),
            icmp_allowance: Allowance::default(),
            merging: true,
            completed: VecDeque::with_capacity(2 * BATCH),
            reads: VecDeque::with_capacity(BATCH),
            reaped: Vec::with_capacity(BATCH),
            inbox_waiting: false,
            stopping: false,
        })
    }

    /// Registers the arena with the ring. False: it cannot be locked, and the worker does without.
    pub(super) fn lock_memory(&mut self) -> Result<bool, StartError> {
        match self.ring.register_pool(&self.pool) {
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

    pub(super) fn turn(&mut self) -> Result<(), WorkerError> {
        self.stopwatch.begin();
        let wait = self.prepare()?;
        self.stopwatch.enter(&mut self.ring, wait).map_err(enter_failed)?;
        self.now = boot_time();
        self.reap();
        self.stopwatch.entered(|| brought(&self.completed, &self.tun, &self.udp));
        if !self.completed.is_empty() {
            self.last_completion = self.now;
        }
        if self.steering.is_leaving() && self.has_sent_all() {
            self.steering.let_go();
        }
        // Mail first: a key must be in place before the data that it is for, and both may have come in one turn.
        // The doorbell's completion may lie behind the data in the completion queue, so the queues themselves are asked.
        self.inbox_waiting |= !self.link.workers[self.index].is_empty();
        if self.inbox_waiting {
            self.read_inbox()?;
            self.submit()?;
        }
        while let Some(completion) = self.completed.pop_front() {
            if completion.token().edge == EDGE_UDP {
                self.make_room_for_train();
            }
            // What comes in goes first, since it frees slots; what is to go out takes one.
            if self.tun.is_read(&completion) {
                self.reads.push_back(completion);
            } else {
                self.dispatch(completion)?;
            }
        }
        self.flush_runs();
        self.submit()?;
        self.stopwatch.lap(Stage::Turn);
        self.read_tun()?;
        self.flush();
        self.submit()?;
        self.steering.look(self.now);
        self.stats.turns.add(1);
        self.stats.staged.set(self.staging.len() as u64);
        let (ring, slots) = (self.ring.counters(), self.pool.accounting());
        self.stats.publish(ring, slots, self.tun.counters(), self.udp.counters());
        Ok(())
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

    /// Has the kernel carry out what was queued so far, if somebody wants to know how long that takes; or else the next
    /// turn does.
    fn submit(&mut self) -> Result<(), WorkerError> {
        self.stopwatch.submit(&mut self.ring).map_err(enter_failed)
    }

    /// Whether the worker's queue is empty, and the socket has taken what was in it: to be asked when completions were just
    /// reaped.
    fn has_sent_all(&mut self) -> bool {
        let unread = self.tun.is_starved() || self.tun.is_readable() || !self.reads.is_empty();
        if unread || self.completed.iter().any(|c| self.tun.is_read(c)) || self.ring.has_completed() {
            return false;
        }
        self.udp.sends_in_flight() <= self.completed.iter().filter(|c| self.udp.is_send(c)).count()
    }

    fn can_send_trains(&self) -> bool {
        self.pool.available(line::TRAINS) >= TRAINS_PER_READ && self.sends_free() >= SENDS_PER_READ
    }

    /// Sends that can still be given to the kernel before some complete.
    pub(super) fn sends_free(&self) -> usize {
        usize::from(UDP_OPERATIONS) - self.udp.sends_in_flight()
    }

    /// Before a received train is dealt with: there are operations for all that may be written because of it.
    pub(super) fn make_room_for_train(&mut self) {
        if self.tun.gathers_free() < GATHERS_PER_TRAIN || self.tun.writes_free() < WRITES_PER_TRAIN {
            self.make_room();
        }
    }

    pub(super) fn reap(&mut self) {
        self.ring.reap(&mut self.reaped);
        self.completed.extend(self.reaped.drain(..));
    }

    /// Has the kernel carry out what was queued in this turn, so that writes and sends free their operations and slots.
    pub(super) fn make_room(&mut self) {
        if self.stopwatch.enter(&mut self.ring, Wait::No).is_err() {
            // The next turn meets the same error, and can end the worker with it.
            return;
        }
        let mut reaped = std::mem::take(&mut self.reaped);
        self.ring.reap(&mut reaped);
        self.stopwatch.entered(|| brought(&reaped, &self.tun, &self.udp));
        // Dealt with below: they may need room themselves.
        let mut refused = Vec::new();
        for completion in reaped.drain(..) {
            if self.tun.is_write(&completion) {
                if let tun_uring::Event::WriteFailed(failed) = self.tun.complete(completion) {
                    refused.push(failed);
                }
            } else if self.udp.is_send(&completion) {
                let event = self.udp.complete(&mut self.ring, completion);
                self.on_sent(event);
            } else {
                self.completed.push_back(completion);
            }
        }
        self.reaped = reaped;
        refused.into_iter().for_each(|failed| self.on_write_failed(failed));
        self.stopwatch.lap(Stage::Turn);
    }

    /// Takes slots home, gives the kernel new ones, and decides whether this turn may sleep.
    pub(super) fn prepare(&mut self) -> Result<Wait, WorkerError> {
        self.pool.drain_returns();
        // The socket first: it may use slots beyond its own, and has more that comes at once.
        self.udp.prepare(&mut self.ring).map_err(enter_failed)?;
        self.tun.prepare(&mut self.ring).map_err(enter_failed)?;
        self.doorbell.arm(&mut self.ring).map_err(|error| WorkerError::ring("listen to the bell", error))?;
        let starved = self.tun.is_starved() || self.udp.is_starved();
        let reads_wait = !self.reads.is_empty();
        let polls = self.now.since(self.last_completion) < self.busy_poll;
        let unread = reads_wait || self.tun.is_readable();
        let to_do = if unread { self.can_send_trains() } else { self.steering.is_leaving() && !starved };
        // What `make_room` reaped after this turn had dealt with the rest.
        let undone = !self.completed.is_empty();
        let more = polls || self.inbox_waiting || to_do || undone;
        if more || (starved || reads_wait) && self.pool.declare_starved() > 0 {
            return Ok(Wait::No);
        }
        Ok(Wait::UntilCompletion)
    }

    fn dispatch(&mut self, completion: Completion) -> Result<(), WorkerError> {
        match completion.token().edge {
            EDGE_TUN => {
                let event = self.tun.complete(completion);
                self.on_tun(event)
            }
            EDGE_UDP => self.on_udp(completion),
            _ => {
                self.doorbell.on_completion(completion);
                // Whoever rang has disarmed the bell, also if what it was for has been read since: reading arms it.
                self.inbox_waiting = true;
                Ok(())
            }
        }
    }

    fn on_tun(&mut self, event: tun_uring::Event) -> Result<(), WorkerError> {
        match event {
            tun_uring::Event::Read(view) => self.outbound(view),
            tun_uring::Event::WriteFailed(failed) => self.on_write_failed(failed),
            tun_uring::Event::Gone => return Err(WorkerError::DeviceGone),
            tun_uring::Event::ReadFailed(error) => return Err(WorkerError::at("read from the TUN interface", error)),
            tun_uring::Event::Wrote { .. } | tun_uring::Event::Nothing => {}
        }
        Ok(())
    }

    fn on_udp(&mut self, completion: Completion) -> Result<(), WorkerError> {
        match self.udp.complete(&mut self.ring, completion) {
            Event::Received(received) => {
                self.stopwatch.lap(Stage::Turn);
                self.inbound(received);
            }
            Event::Dropped(why) => self.stats.count_receive_drop(why),
            Event::Late { datagrams } => self.stats.count_drop(DropReason::Down, datagrams),
            Event::ReceiveFailed { family: Family::V4, errno } => {
                return Err(WorkerError::at("receive on IPv4", errno));
            }
            Event::ReceiveFailed { family: Family::V6, errno } => {
                return Err(WorkerError::at("receive on IPv6", errno));
            }
            sent => self.on_sent(sent),
        }
        Ok(())
    }

    fn on_sent(&mut self, event: Event) {
        match event {
            Event::Sent(sent) => {
                self.stats.count_drop(DropReason::SendFailed, sent.lost);
                if let Some(path) = sent.refused {
                    self.forget_source(peer_of(sent.context), endpoint_of(&path));
                }
            }
            Event::SendFailed(failed) => {
                self.stats.count_drop(DropReason::SendFailed, failed.segments);
                log::debug!("worker {}: sending {} datagrams failed: {}", self.index, failed.segments, failed.errno);
            }
            _ => {}
        }
        if let Some(notice) = self.udp.take_notice() {
            log::warn!(
                "worker {}: the kernel refused to segment datagrams for {} ({}); they leave one by one, and it is \
                 asked again now and then. Others over {} may be affected alike",
                self.index,
                notice.remote,
                notice.errno,
                notice.family
            );
        }
    }

    /// The kernel refused the address that datagrams to this endpoint left from: it has gone, or its route has. A peer that
    /// has moved since is not concerned.
    fn forget_source(&mut self, peer: PeerId, endpoint: Endpoint) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.cell.shared().endpoint.change(endpoint, endpoint.without_source());
        }
    }
}

/// Whether packets from the TUN are among what has completed, and whether datagrams are.
fn brought<'a>(completed: impl IntoIterator<Item = &'a Completion>, tun: &TunEdge, udp: &UdpEdge) -> (bool, bool) {
    completed.into_iter().fold((false, false), |(read, received), completion| {
        let is_received = completion.token().edge == EDGE_UDP && !udp.is_send(completion);
        (read || tun.is_read(completion), received || is_received)
    })
}

fn enter_failed(error: std::io::Error) -> WorkerError {
    WorkerError::at("enter the io_uring (io_uring_enter)", error)
}

/// A peer's name as the context of a send.
pub(super) fn context_of(peer: PeerId) -> u64 {
    u64::from(peer.index) << 32 | u64::from(peer.generation)
}

fn peer_of(context: u64) -> PeerId {
    let half = |n: u64| u32::try_from(n & u64::from(u32::MAX)).expect("masked to 32 bits");
    PeerId { index: half(context >> 32), generation: half(context) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_names_its_peer() {
        let peer = PeerId { index: u32::MAX, generation: 7 };
        assert_eq!(peer_of(context_of(peer)), peer);
    }
}
