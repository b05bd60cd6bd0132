//! From the device's decisions to the orders of each worker.

use std::collections::VecDeque;
use std::sync::Arc;

use ringfort_aead::{OpenKey, Plan, SealKey};
use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::cell::{SendState, SessionNumber};
use ringfort_core::device::{Action, Outgoing};
use ringfort_core::handover::{Progress, Resumed, SendHalf};
use ringfort_core::ids::{PeerId, owner};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::noise::NewSession;
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;

use crate::orders::{Order, SessionOrder};
use crate::{PeerCell, Receiver};

/// Where the orders of each worker go. Each of the two mailboxes of a worker keeps its order.
pub trait Mailboxes {
    /// To a worker's mailbox of orders. One that sleeps is woken, unless the order can wait ([`Order::is_quiet`]) and
    /// not many do.
    fn order(&mut self, worker: usize, order: Order);
    /// To its mailbox of session orders, which is read before the other, and before data under a session is. So a
    /// worker that sleeps is woken only if many wait.
    fn session(&mut self, worker: usize, order: SessionOrder);
    /// A worker that sleeps is woken, if anything waits for it.
    fn wake(&mut self, worker: usize);
}

/// Control's half of the data paths: it knows which worker has to be told what.
#[derive(Debug)]
pub struct Dispatch {
    plan: Plan,
    workers: usize,
    /// What the workers share of each peer, by the index in its name.
    cells: Vec<Option<Arc<PeerCell>>>,
    /// Versions of the routes that a worker may still use, the newest last. A worker that takes a newer version drops
    /// its older one; as long as that is also here, the worker is not the one that frees it.
    routes: VecDeque<(u64, AllowedIps)>,
    routes_version: u64,
    first_counter: u64,
}

impl Dispatch {
    /// For so many workers, whose sessions use the ciphers of `plan`.
    #[must_use]
    pub const fn new(plan: Plan, workers: usize) -> Self {
        Self { plan, workers, cells: Vec::new(), routes: VecDeque::new(), routes_version: 0, first_counter: 0 }
    }

    /// Sessions begin with this counter from now on, instead of 0. For tests of what happens at the limits; a nonce is
    /// used once all the same.
    pub const fn begin_at_counter(&mut self, counter: u64) {
        self.first_counter = counter;
    }

    /// The ciphers of all sessions.
    #[must_use]
    pub const fn plan(&self) -> Plan {
        self.plan
    }

    /// Tells the workers what the device has decided. Returns what is not for them.
    pub fn apply(&mut self, action: Action, to: &mut impl Mailboxes) -> Option<Outgoing> {
        match action {
            Action::Outgoing(outgoing) => return Some(outgoing),
            Action::AddPeer { peer, shared } => {
                let cell = Arc::new(PeerCell::new(peer, shared));
                self.broadcast(to, || Order::AddPeer(cell.clone()));
                self.keep(cell);
            }
            Action::RemovePeer { peer } => {
                self.broadcast(to, || Order::RemovePeer { peer });
                self.cells[peer.index as usize] = None;
            }
            Action::Routes(routes) => {
                self.routes_version += 1;
                let version = self.routes_version;
                self.broadcast(to, || Order::Routes { routes: routes.clone(), version });
                self.routes.push_back((version, routes));
            }
            Action::BeginSession { peer, number, created, session } => self.begin(peer, number, created, &session, to),
            Action::ResumeSession { peer, number, created, session, resumed } => {
                self.resume((peer, number), created, &session, *resumed, to);
            }
            Action::Offer { worker, peer, packet } => {
                // Where it waited, since what comes later of its flow comes there too.
                to.order(usize::from(worker) % self.workers, Order::Offer { peer, packet });
            }
            Action::RetireReceive { local_index } => {
                // Any worker may have sealed under it, and have parts of its key on its stack.
                (0..self.workers).for_each(|worker| to.session(worker, SessionOrder::End { local_index }));
            }
            Action::SendStaged { peer, confirm } => {
                let confirms = confirm.map(|local_index| owner(local_index, self.workers));
                let waiters = self.cell(peer).shared().waiting.take();
                for worker in 0..self.workers {
                    if confirms == Some(worker) {
                        to.order(worker, Order::SendKeepalive { peer });
                    } else if waiters.contains(worker) {
                        to.order(worker, Order::SendStaged { peer });
                    }
                }
            }
            Action::EndSessions { peer, number } => {
                self.cell(peer).advance(Arc::new(SendState::end(number)));
                // No key outlives its end in the mailbox or the table of a worker that sleeps.
                (0..self.workers).for_each(|worker| to.wake(worker));
            }
            // The same worker for the same peer, and different ones for different peers.
            Action::SendKeepalive { peer } => {
                to.order(peer.index as usize % self.workers, Order::SendKeepalive { peer });
            }
            Action::Recover(whereabouts) => self.broadcast(to, || Order::Recover(whereabouts.clone())),
            Action::Passive(since) => self.broadcast(to, || Order::Passive(since)),
            Action::Gate(gate) => self.broadcast(to, || Order::Gate(gate.clone())),
            Action::DropStaged { peer } => {
                let waiters = self.cell(peer).shared().waiting.take();
                let waits = (0..self.workers).filter(|&worker| waiters.contains(worker));
                waits.for_each(|worker| to.order(worker, Order::DropStaged { peer }));
            }
        }
        None
    }

    /// Adds what all peers are sent under, once nobody sends any more.
    pub fn note_sending(&self, progress: &mut Progress) {
        self.cells.iter().flatten().for_each(|cell| progress.note_cell(cell));
    }

    /// Tells all workers.
    pub fn broadcast(&self, to: &mut impl Mailboxes, mut order: impl FnMut() -> Order) {
        for worker in 0..self.workers {
            to.order(worker, order());
        }
    }

    /// Frees versions of the routes that no worker uses any more: those below `oldest`. True: some are still kept for
    /// workers that have not taken the newest.
    pub fn release_routes(&mut self, oldest: u64) -> bool {
        while self.routes.len() > 1 && self.routes[0].0 < oldest {
            self.routes.pop_front();
        }
        self.routes.len() > 1
    }

    /// Makes the two halves of a session and gives them away: the receiving one to its worker, the sending one to the
    /// peer's cell, now or when the peer has shown that it has the key.
    fn begin(
        &mut self,
        peer: PeerId,
        number: SessionNumber,
        created: Time,
        session: &NewSession,
        to: &mut impl Mailboxes,
    ) {
        let (receive, send) = (self.receive(created, session), self.send(created, session, self.first_counter));
        let (receiver, sends_now) = Receiver::new(self.cell(peer).clone(), number, receive, send);
        self.give_away(receiver, sends_now, to);
    }

    /// Both halves of a session that another process has begun, where that has left them.
    fn resume(
        &self,
        (peer, number): (PeerId, SessionNumber),
        created: Time,
        session: &NewSession,
        resumed: Resumed,
        to: &mut impl Mailboxes,
    ) {
        let receive = self.receive(created, session).with_received(resumed.received);
        let send = |counter| self.send(created, session, counter);
        let (now, next) = match resumed.send {
            SendHalf::Over => (None, None),
            SendHalf::InUse(counter) => (Some(counter), None),
            SendHalf::Next(counter) => (None, Some(counter)),
        };
        let receiver = Receiver::resumed(self.cell(peer).clone(), number, receive, next.map(send));
        self.give_away(receiver, now.map(|counter| Arc::new(SendState::session(number, send(counter)))), to);
    }

    fn receive(&self, created: Time, session: &NewSession) -> ReceiveSession<OpenKey> {
        let &NewSession { ref keys, local_index, initiator, suite, .. } = session;
        let open = OpenKey::new(self.plan, cipher(suite), keys.receive.as_bytes());
        ReceiveSession::new(open, local_index, created, initiator)
    }

    /// The sending half, whose next message has this counter.
    fn send(&self, created: Time, session: &NewSession, counter: u64) -> SendSession<SealKey> {
        let &NewSession { ref keys, local_index, remote_index, initiator, suite } = session;
        let seal = SealKey::new(self.plan, cipher(suite), keys.send.as_bytes());
        SendSession::new(seal, local_index, remote_index, created, initiator)
            .with_rekey_after_messages(suite.rekey_after_messages())
            .with_first_counter(counter)
    }

    /// The receiving half to its worker, and then to the peer's cell what is sent under now.
    fn give_away(&self, receiver: Receiver, sends_now: Option<Arc<SendState<SealKey>>>, to: &mut impl Mailboxes) {
        let (cell, worker) = (receiver.cell().clone(), owner(receiver.session.local_index(), self.workers));
        cell.shared().counters.prepare();
        to.session(worker, SessionOrder::Begin(Box::new(receiver)));
        sends_now.map(|state| cell.advance(state));
    }

    fn keep(&mut self, cell: Arc<PeerCell>) {
        let index = cell.id().index as usize;
        if index >= self.cells.len() {
            self.cells.resize(index + 1, None);
        }
        self.cells[index] = Some(cell);
    }

    fn cell(&self, peer: PeerId) -> &Arc<PeerCell> {
        let cell = self.cells.get(peer.index as usize).and_then(Option::as_ref);
        cell.filter(|cell| cell.id() == peer).expect("the device's actions are about peers that were added")
    }
}

/// What seals and opens the data of a suite. The core does not know the ciphers, nor they the core.
const fn cipher(suite: Suite) -> ringfort_aead::Suite {
    match suite {
        Suite::ChaCha20Poly1305 => ringfort_aead::Suite::ChaCha20Poly1305,
        Suite::Aes256Gcm => ringfort_aead::Suite::Aes256Gcm,
    }
}

#[cfg(test)]
mod tests {
    use ringfort_aead::Provider;

    use super::*;

    /// What each worker is told of sessions that end.
    #[derive(Default)]
    struct Ends([Vec<u32>; 3]);

    impl Mailboxes for Ends {
        fn order(&mut self, _: usize, _: Order) {
            unreachable!("no other order is given")
        }

        fn session(&mut self, worker: usize, order: SessionOrder) {
            let SessionOrder::End { local_index } = order else { unreachable!("none begins") };
            self.0[worker].push(local_index);
        }

        fn wake(&mut self, _: usize) {}
    }

    /// Keepalives and flows from the TUN are sealed by whichever worker has them, not by the owner of the index alone.
    #[test]
    fn all_workers_hear_that_a_session_ends() {
        let (mut dispatch, mut ends) = (Dispatch::new(Plan::fixed(Provider::RustCrypto), 3), Ends::default());
        for local_index in [7, 8] {
            assert!(dispatch.apply(Action::RetireReceive { local_index }, &mut ends).is_none());
        }
        assert_eq!(ends.0, [[7, 8], [7, 8], [7, 8]]);
    }
}
