//! What passes between control and the workers: queues without locks, and a bell where the other side may sleep.
//!
//! ```text
//!   worker ──► handshakes, events, failures ──► control        (bounded; full: the sender drops and counts)
//!   control ──► sessions, mail ────────────────► worker        (each in order; sessions first)
//!   worker ──► hand-offs ──────────────────────► worker        (bounded)
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};
use ring_buffers::Waker;
use ringfort_core::device::PeerEvent;
use ringfort_core::handover::ReceiverReport;
use ringfort_core::ids;
use ringfort_core::ids::PeerId;
use ringfort_core::looped::Nesting;
use ringfort_path::turns::{EVENTS_WAITING, HANDOFFS_WAITING, HANDSHAKES_WAITING, wakes_for_order, wakes_for_sessions};
use ringfort_path::{Handoff, HandshakeMessage, Mailboxes, Order, SessionOrder};
use udp_uring::SocketPair;

use crate::failure::WorkerFailure;
use crate::sleeper::Sleeper;

/// What a worker knows when it reads nothing, and nothing of it is under way any more.
#[derive(Debug)]
pub struct Rested {
    /// Which worker.
    pub worker: usize,
    /// The number of the question that this answers.
    pub round: u32,
    /// How far each session is that it receives.
    pub sessions: Vec<ReceiverReport>,
    /// Packets that wait for sessions, each with this worker and its peer.
    pub packets: Vec<(u8, PeerId, Vec<u8>)>,
}

/// What control tells a worker, in the order in which it takes effect.
#[derive(Debug)]
pub enum Mail {
    /// For the data path.
    Order(Order),
    /// Sockets to use from now on, in place of any others; `None` when the interface is down.
    Sockets(Option<SocketPair>),
    /// Read nothing from now on, deal with all that was read, and say so: see [`Rested`]. Whoever rests already says
    /// it again, with this number of the question.
    Rest(u32),
    /// Read again.
    GoOn,
    /// Give a sign of life.
    Sign,
    /// End the thread.
    Stop,
    /// End it badly.
    #[cfg(feature = "testing")]
    Panic,
}

/// What workers tell control.
#[derive(Debug)]
pub struct ControlInbox {
    handshakes: ArrayQueue<HandshakeMessage>,
    events: ArrayQueue<PeerEvent>,
    failures: SegQueue<WorkerFailure>,
    rested: SegQueue<Rested>,
    sleeper: Sleeper,
    /// How often the bell was heard: the watchdog's sign of life.
    turns: AtomicU64,
    /// The version of the routes that each worker uses.
    routes_in_use: Box<[AtomicU64]>,
    /// How many changes of the role each worker has obeyed.
    roles_obeyed: Box<[AtomicU64]>,
    /// How many signs of life each worker has given.
    signs_given: Box<[AtomicU64]>,
}

impl ControlInbox {
    fn new(workers: usize) -> io::Result<Self> {
        Ok(Self {
            handshakes: ArrayQueue::new(HANDSHAKES_WAITING),
            events: ArrayQueue::new(EVENTS_WAITING),
            failures: SegQueue::new(),
            rested: SegQueue::new(),
            sleeper: Sleeper::new()?,
            turns: AtomicU64::new(0),
            routes_in_use: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            roles_obeyed: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            signs_given: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// The bell to poll; it rings when there is something to take.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.sleeper.waker
    }

    /// Resets the bell; to be called before taking.
    pub fn heard(&self) {
        self.sleeper.waker.clear();
        self.sleeper.bell.arm();
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the bell was heard.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Has control make a turn, whether there is anything to take or not.
    pub fn wake(&self) {
        self.sleeper.ring();
    }

    /// The next handshake message.
    #[must_use]
    pub fn next_handshake(&self) -> Option<HandshakeMessage> {
        self.handshakes.pop()
    }

    /// How many handshake messages wait: the measure of load.
    #[must_use]
    pub fn handshakes_waiting(&self) -> usize {
        self.handshakes.len()
    }

    /// The next event.
    #[must_use]
    pub fn next_event(&self) -> Option<PeerEvent> {
        self.events.pop()
    }

    /// The next worker that has failed.
    #[must_use]
    pub fn next_failure(&self) -> Option<WorkerFailure> {
        self.failures.pop()
    }

    /// Passes a handshake message on. It comes back if there is no room, and the sender counts the drop.
    #[must_use]
    pub fn push_handshake(&self, message: HandshakeMessage) -> Option<HandshakeMessage> {
        let refused = self.handshakes.push(message).err();
        self.sleeper.ring();
        refused
    }

    /// Passes an event on. False: there is no room, and the sender undoes the note that keeps it from telling again.
    #[must_use]
    pub fn push_event(&self, event: PeerEvent) -> bool {
        let pushed = self.events.push(event).is_ok();
        self.sleeper.ring();
        pushed
    }

    /// How many events wait.
    #[must_use]
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// Whether a worker has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The last words of a worker.
    pub fn push_failure(&self, failure: WorkerFailure) {
        self.failures.push(failure);
        self.sleeper.ring();
    }

    /// A worker has come to rest.
    pub fn push_rested(&self, rested: Rested) {
        self.rested.push(rested);
        self.sleeper.ring();
    }

    /// The next worker that has come to rest.
    #[must_use]
    pub fn next_rested(&self) -> Option<Rested> {
        self.rested.pop()
    }

    /// Whether nothing that workers have told waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handshakes.is_empty() && self.events.is_empty()
    }

    /// Worker `worker` uses version `version` of the routes and holds no earlier one.
    pub fn acknowledge_routes(&self, worker: usize, version: u64) {
        self.routes_in_use[worker].store(version, Ordering::Release);
    }

    /// The oldest version that a worker may still hold. Control keeps every version from this one on, so no
    /// worker is ever the one that frees a table.
    #[must_use]
    pub fn oldest_routes_in_use(&self) -> u64 {
        self.routes_in_use.iter().map(|v| v.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Worker `worker` has obeyed one more change of the role. Somebody may wait for that.
    pub fn acknowledge_role(&self, worker: usize) {
        self.roles_obeyed[worker].fetch_add(1, Ordering::Release);
        self.sleeper.ring();
    }

    /// Worker `worker` lives, and somebody waits to hear that.
    pub fn give_sign(&self, worker: usize) {
        self.signs_given[worker].fetch_add(1, Ordering::Release);
        self.sleeper.ring();
    }

    /// Whether all workers have given so many signs of life: one for each that they were asked for.
    #[must_use]
    pub fn have_given_signs(&self, asked: u64) -> bool {
        self.signs_given.iter().all(|given| given.load(Ordering::Acquire) >= asked)
    }

    /// Whether all workers have obeyed the last of so many changes of the role. They obey each, in order.
    #[must_use]
    pub fn have_obeyed(&self, role_changes: u64) -> bool {
        self.roles_obeyed.iter().all(|obeyed| obeyed.load(Ordering::Acquire) == role_changes)
    }
}

/// How much waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLengths {
    /// Orders about sessions.
    pub sessions: usize,
    /// Other mail.
    pub mail: usize,
    /// Trains from other workers.
    pub handoffs: usize,
}

/// What a worker is told.
#[derive(Debug)]
pub struct WorkerInbox {
    sessions: SegQueue<SessionOrder>,
    mail: SegQueue<Mail>,
    handoffs: ArrayQueue<Handoff>,
    sleeper: Sleeper,
}

impl WorkerInbox {
    fn new() -> io::Result<Self> {
        let handoffs = ArrayQueue::new(HANDOFFS_WAITING);
        Ok(Self { sessions: SegQueue::new(), mail: SegQueue::new(), handoffs, sleeper: Sleeper::new()? })
    }

    /// The bell that the worker's ring reads.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.sleeper.waker
    }

    /// Resets the bell; to be called before taking.
    pub fn heard(&self) {
        self.sleeper.bell.arm();
    }

    /// Whether anything waits to be taken. What was pushed before a datagram was sent is seen by whoever has received
    /// it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.mail.is_empty() && self.handoffs.is_empty()
    }

    /// How much waits to be taken. Anybody may ask.
    #[must_use]
    pub fn lengths(&self) -> InboxLengths {
        InboxLengths { sessions: self.sessions.len(), mail: self.mail.len(), handoffs: self.handoffs.len() }
    }

    /// The next mail about sessions, to be taken before any other.
    #[must_use]
    pub fn next_session(&self) -> Option<SessionOrder> {
        self.sessions.pop()
    }

    /// The next mail.
    #[must_use]
    pub fn next_mail(&self) -> Option<Mail> {
        self.mail.pop()
    }

    /// The next train from another worker.
    #[must_use]
    pub fn next_handoff(&self) -> Option<Handoff> {
        self.handoffs.pop()
    }

    /// Has the worker make a turn, whether there is anything to take or not.
    pub fn wake(&self) {
        self.sleeper.ring();
    }

    /// Sends mail about a session. It is read before data under the session is, so a worker that sleeps goes on
    /// sleeping, until a turn has no time for more.
    pub fn push_session(&self, mail: SessionOrder) {
        self.sessions.push(mail);
        if wakes_for_sessions(self.sessions.len()) {
            self.sleeper.ring();
        }
    }

    /// Sends mail.
    pub fn push_mail(&self, mail: Mail) {
        self.mail.push(mail);
        self.sleeper.ring();
    }

    /// Sends an order. For one that can wait, a worker that sleeps goes on sleeping, until a turn has no time for more.
    pub fn push_order(&self, order: Order) {
        let wakes = wakes_for_order(&order, self.mail.len() + 1);
        self.mail.push(Mail::Order(order));
        if wakes {
            self.sleeper.ring();
        }
    }

    /// Hands a train over. It comes back if there is no room, and the sender drops it.
    #[must_use]
    pub fn push_handoff(&self, handoff: Handoff) -> Option<Handoff> {
        let refused = self.handoffs.push(handoff).err();
        self.sleeper.ring();
        refused
    }
}

/// The orders of all workers.
impl Mailboxes for &Queues {
    fn order(&mut self, worker: usize, order: Order) {
        self.workers[worker].push_order(order);
    }

    fn session(&mut self, worker: usize, order: SessionOrder) {
        self.workers[worker].push_session(order);
    }

    fn wake(&mut self, worker: usize) {
        let inbox = &self.workers[worker];
        if !inbox.is_empty() {
            inbox.wake();
        }
    }
}

/// All queues of a daemon, shared by all its threads.
#[derive(Debug)]
pub struct Queues {
    /// Into control.
    pub control: ControlInbox,
    /// Into each worker.
    pub workers: Box<[WorkerInbox]>,
    /// Tunnels inside tunnels.
    pub nesting: Arc<Nesting>,
}

impl Queues {
    /// The queues for `workers` workers.
    ///
    /// # Errors
    /// The system's, `EMFILE` when it has no descriptors left for the bells.
    pub fn new(workers: usize) -> io::Result<Self> {
        Ok(Self {
            control: ControlInbox::new(workers)?,
            workers: (0..workers).map(|_| WorkerInbox::new()).collect::<io::Result<_>>()?,
            nesting: Arc::new(Nesting::new()),
        })
    }

    /// The worker that owns a receiver index.
    #[must_use]
    pub fn owner(&self, local_index: u32) -> usize {
        ids::owner(local_index, self.workers.len())
    }
}

#[cfg(test)]
#[path = "queues_tests.rs"]
mod tests;
