//! One peer, one cell: what any core must know to answer a peer.
//!
//! A worker that learns something of a peer, where it is or that it has the new key, writes it here *before* the packet
//! that taught it goes on. So the answer finds it, whichever core sends that. Control hears of it afterwards.
//!
//! ```text
//!   worker that received ──► endpoint, sending session ──► packet goes up ──► answer ──► any worker reads both
//!                        └─► event ──► control, whenever it comes to it
//! ```
//!
//! Readers take a consistent copy without a lock: they wait for nobody, and write to nothing that another core reads
//! often. Two that write at once do not undo each other's work: the sending session only moves on to sessions with
//! higher numbers ([`SessionNumber`]), and what is found to be wrong about an endpoint is taken back only if it is
//! still the same endpoint.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use crate::activity::{Activity, PeerCounters, Sizes, Traffic, WorkerCounters};
use crate::ids::{Endpoint, PeerId};
use crate::keypair::{ReceiveSession, SendSession};
use crate::peer_drops::PeerDrops;
pub use crate::session_number::SessionNumber;
use crate::shared::{self, Highest, Numbered};
use crate::time::Time;
use crate::waiting::Waiting;
use crate::whereabouts::{LostSession, Move, Moves};

/// Where a peer is reached, or that nobody knows.
#[derive(Debug, Default)]
pub struct EndpointCell(ArcSwapOption<Endpoint>);

impl EndpointCell {
    /// The endpoint as it is now.
    pub fn get(&self) -> Option<Endpoint> {
        self.0.load().as_deref().copied()
    }

    /// Whether there is one.
    #[inline]
    pub fn is_known(&self) -> bool {
        self.0.load().is_some()
    }

    /// Sets the endpoint, and returns what it was before. Stores nothing if it is the same.
    pub fn set(&self, endpoint: Endpoint) -> Option<Endpoint> {
        if self.get() == Some(endpoint) {
            return Some(endpoint);
        }
        self.0.swap(Some(Arc::new(endpoint))).as_deref().copied()
    }

    /// Follows the peer to where an authenticated message came from.
    #[inline]
    pub fn follow(&self, endpoint: Endpoint) -> Followed {
        if self.0.load().as_deref() == Some(&endpoint) { Followed::Same } else { self.follow_away(endpoint) }
    }

    #[cold]
    fn follow_away(&self, endpoint: Endpoint) -> Followed {
        match self.set(endpoint) {
            None => Followed::Found,
            // Another worker was faster, or it came in by another interface, which is learnt and no move.
            Some(before) if before.has_addresses_of(&endpoint) => Followed::Same,
            Some(_) => Followed::Moved,
        }
    }

    /// Changes `seen` into `new`, unless the endpoint is another one by now: what was learned of one path says nothing
    /// about the next. True if it was changed.
    pub fn change(&self, seen: Endpoint, new: Endpoint) -> bool {
        shared::change(&self.0, &seen, new)
    }
}

/// What a message says of where its sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Where it was.
    Same,
    /// Somewhere else.
    Moved,
    /// Nobody knew before.
    Found,
}

/// The index that our latest handshake message to a peer carries: control writes it before it sends the message.
#[derive(Debug, Default)]
pub struct LatestHandshake(AtomicU64);

impl LatestHandshake {
    /// In the word beside an index, so no index is as none.
    const SOME: u64 = 1 << 32;

    /// A message with this index is about to be sent.
    pub fn note(&self, index: u32) {
        self.0.store(Self::SOME | u64::from(index), Ordering::Relaxed);
    }

    /// The index, if there was a message.
    pub(crate) fn get(&self) -> Option<u32> {
        let word = self.0.load(Ordering::Relaxed);
        (word >= Self::SOME).then_some(word as u32)
    }

    /// Whether the latest message has this index.
    pub fn is(&self, index: u32) -> bool {
        self.0.load(Ordering::Relaxed) == Self::SOME | u64::from(index)
    }
}

/// What control and all workers share of one peer, apart from the ciphers, which only workers know.
#[derive(Debug)]
pub struct PeerShared {
    /// The peer's traffic, for the timers.
    pub activity: Activity,
    /// One per worker.
    pub counters: WorkerCounters,
    /// Where the peer is reached.
    pub endpoint: EndpointCell,
    /// Our latest handshake message to the peer, by which it is known if it comes back.
    pub handshake: LatestHandshake,
    /// The workers that hold packets back until there is a session.
    pub waiting: Waiting,
    /// Who tells control that the peer sends under a session that nobody has.
    pub lost: LostSession,
    /// Whether any peer of the device has moved.
    pub moves: Arc<Moves>,
    /// Whether this one has.
    own_move: Move,
    /// What was thrown away of its packets.
    pub drops: PeerDrops,
    /// The highest number of a session that the peer has proved to have.
    confirmed: AtomicU64,
}

impl PeerShared {
    /// For a device with that many workers.
    pub fn new(workers: usize) -> Self {
        Self::with_moves(workers, Arc::default())
    }

    /// For a device with that many workers, all whose peers share `moves`.
    pub fn with_moves(workers: usize, moves: Arc<Moves>) -> Self {
        Self {
            activity: Activity::default(),
            counters: WorkerCounters::new(workers),
            endpoint: EndpointCell::default(),
            handshake: LatestHandshake::default(),
            waiting: Waiting::default(),
            lost: LostSession::default(),
            moves,
            own_move: Move::default(),
            drops: PeerDrops::default(),
            confirmed: AtomicU64::new(0),
        }
    }

    /// The endpoint has just changed. True: control has to be told.
    #[must_use = "control has to be told"]
    pub fn note_move(&self) -> bool {
        // Both are noted, whoever asks for which.
        self.moves.note() | self.own_move.note(&self.moves)
    }

    /// Control could not be told.
    pub fn untold_move(&self) {
        self.own_move.untold(&self.moves);
    }

    /// Control was told, and reads the endpoint after this.
    pub fn hear_move(&self) {
        self.own_move.heard();
    }

    /// The sum over all workers.
    pub fn traffic(&self) -> Traffic {
        self.counters.iter().fold(Traffic::default(), |sum, counters| sum.plus(counters.read()))
    }

    /// The sizes that any worker has seen.
    pub fn sizes(&self) -> Sizes {
        self.counters.iter().map(PeerCounters::sizes).fold(Sizes::default(), |all, one| Sizes {
            rx_largest: all.rx_largest.max(one.rx_largest),
            tx_largest: all.tx_largest.max(one.tx_largest),
            rx_missing: all.rx_missing.saturating_add(one.rx_missing),
        })
    }

    /// The highest number of a session that we answered for and the peer has used.
    pub fn confirmed(&self) -> SessionNumber {
        SessionNumber(self.confirmed.get())
    }

    /// In another process, the peer has used the session with this number.
    pub(crate) fn resume_confirmed(&self, number: SessionNumber) {
        self.confirmed.raise(number.0);
    }
}

/// What a peer is sent under from one session on: that session, or nothing.
pub struct SendState<K> {
    number: SessionNumber,
    session: Option<SendSession<K>>,
}

impl<K> SendState<K> {
    /// A session, by its number.
    pub const fn session(number: SessionNumber, session: SendSession<K>) -> Self {
        Self { number, session: Some(session) }
    }

    /// The end of all sessions up to a number.
    pub const fn end(number: SessionNumber) -> Self {
        Self { number, session: None }
    }
}

impl<K> Numbered for SendState<K> {
    fn number(&self) -> u64 {
        self.number.0
    }
}

/// A peer, as all workers see it.
pub struct PeerCell<K> {
    id: PeerId,
    shared: Arc<PeerShared>,
    sending: ArcSwapOption<SendState<K>>,
}

/// The session to send with, as it was when it was asked for. To be dropped before the worker sleeps.
pub struct Sending<K>(Guard<Option<Arc<SendState<K>>>>);

impl<K> Sending<K> {
    /// The session, if there is one.
    #[inline]
    pub fn session(&self) -> Option<&SendSession<K>> {
        self.0.as_ref()?.session.as_ref()
    }

    /// Takes `n` counters from the session: the session and the first of them. `None` if there is no session, or it is
    /// too old, or used up.
    #[inline]
    pub fn reserve(&self, now: Time, n: usize) -> Option<(&SendSession<K>, u64)> {
        let session = self.session()?;
        let first = session.reserve(now, n as u64).ok()?;
        Some((session, first))
    }
}

impl<K> PeerCell<K> {
    /// A peer without sessions.
    pub fn new(id: PeerId, shared: Arc<PeerShared>) -> Self {
        Self { id, shared, sending: ArcSwapOption::empty() }
    }

    /// The peer's name.
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// What control shares with the workers.
    pub fn shared(&self) -> &PeerShared {
        &self.shared
    }

    /// Where the peer is reached now.
    #[inline]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.shared.endpoint.get()
    }

    /// The session to send with now.
    #[inline]
    pub fn sending(&self) -> Sending<K> {
        Sending(self.sending.load())
    }

    /// Sends under this from now on, unless it sends under something with a higher number already. True if it does.
    pub fn advance(&self, new: Arc<SendState<K>>) -> bool {
        shared::advance(&self.sending, new)
    }
}

/// An address that the routes lead to a peer, in one version of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedSource {
    /// The address.
    pub addr: IpAddr,
    /// The version, in the count of whoever asked the routes.
    pub version: u64,
}

/// A receiving half at the worker that owns it, with what the peer's first message under it sets free.
pub struct Receiver<O, S> {
    /// The receiving half.
    pub session: ReceiveSession<O>,
    /// The source of the last packet under it that the routes allowed.
    pub last_source: Option<RoutedSource>,
    cell: Arc<PeerCell<S>>,
    /// The sending half of a session that we answered for, until the peer has shown that it has the key.
    next: Option<Arc<SendState<S>>>,
}

impl<O, S> Receiver<O, S> {
    /// Both halves of a new session of the peer whose cell this is. If we answered for it, we send under it from the
    /// first message on that comes under it. If we asked for it, the sending half comes back as well, for
    /// [`PeerCell::advance`]: once the receiver is where the answers will find it.
    pub fn new(
        cell: Arc<PeerCell<S>>,
        number: SessionNumber,
        session: ReceiveSession<O>,
        send: SendSession<S>,
    ) -> (Self, Option<Arc<SendState<S>>>) {
        let state = Arc::new(SendState::session(number, send));
        let (now, next) = if session.initiator() { (Some(state), None) } else { (None, Some(state)) };
        (Self { session, last_source: None, cell, next }, now)
    }

    /// A session of the peer whose cell this is that goes on from another process. `next`: we answered for it, and the
    /// peer has not shown yet that it has the key. What is sent under now is for [`PeerCell::advance`].
    pub fn resumed(
        cell: Arc<PeerCell<S>>,
        number: SessionNumber,
        session: ReceiveSession<O>,
        next: Option<SendSession<S>>,
    ) -> Self {
        let next = next.map(|send| Arc::new(SendState::session(number, send)));
        Self { session, last_source: None, cell, next }
    }

    /// The first counter of the sending half, as long as that waits for the peer's first message.
    pub(crate) fn next_counter(&self) -> Option<u64> {
        Some(self.next.as_ref()?.session.as_ref()?.next_counter())
    }

    /// The peer whose session this is.
    pub const fn cell(&self) -> &Arc<PeerCell<S>> {
        &self.cell
    }

    /// To be called for each authenticated message before it goes on. The first one proves that the peer has the key:
    /// from now on all workers send under it, and true is returned.
    #[inline]
    pub fn note_authentic(&mut self) -> bool {
        let Some(next) = self.next.take() else { return false };
        // Control first: until it knows, it could take the session for one that it may forget.
        shared::confirm_and_advance(&self.cell.shared.confirmed, &self.cell.sending, next)
    }
}

// No cipher has to be printable for what it is a part of to be.
impl<K> fmt::Debug for SendState<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendState").field("number", &self.number).field("session", &self.session).finish()
    }
}

impl<K> fmt::Debug for PeerCell<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCell").field("id", &self.id).field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl<O, S> fmt::Debug for Receiver<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("session", &self.session).field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "cell_tests.rs"]
mod tests;
