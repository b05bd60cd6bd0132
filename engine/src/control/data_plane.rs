//! From the device's decisions to the workers that carry them out, and to the network.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use ringfort_aead::Plan;
use ringfort_core::device::{Action, Datagram, Device, Outgoing};
use ringfort_core::drops::DropReason;
use ringfort_core::handover::Progress;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use ringfort_path::tap::Tap;
use ringfort_path::{Dispatch, HANDSHAKE_TRAFFIC_CLASS, HandshakeMessage, Mailboxes as _, Order};
use ringfort_worker::queues::{Mail, Queues};
use udp_uring::{SentBy, SocketPair, send_handshake};

use super::former_ports::FormerPorts;
use super::notices;
use super::sockets::Sockets;

/// How often to look whether the workers have let go of old routes. They do not tell: it concerns nothing but memory.
const ROUTES_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a worker may sleep on while the end of a session waits for it, whose key it has. Others' ends share a wake.
const ENDS_WAIT_MAX: Duration = Duration::from_secs(1);

/// The workers and the network, as control reaches them.
#[derive(Debug)]
pub struct DataPlane {
    queues: Arc<Queues>,
    dispatch: Dispatch,
    sockets: Sockets,
    former: FormerPorts,
    routes_check: Option<Time>,
    /// When workers that sleep are woken, because they may not have heard of the end of a session.
    ends_due: Option<Time>,
    /// Shows handshake messages to whoever looks on.
    tap: Option<Box<Tap>>,
    /// Handshake messages that left, and those that the system refused.
    pub handshakes_sent: u64,
    /// See there.
    pub handshakes_unsent: u64,
    /// Cookies that left, which are among the handshake messages. They are for senders whose message reached us before
    /// a worker could ask for proof.
    pub cookies_sent: u64,
}

impl DataPlane {
    /// The workers have no sockets yet.
    #[must_use]
    pub fn new(queues: Arc<Queues>, plan: Plan, sockets: Sockets) -> Self {
        let dispatch = Dispatch::new(plan, queues.workers.len());
        Self {
            queues,
            dispatch,
            sockets,
            former: FormerPorts::default(),
            routes_check: None,
            ends_due: None,
            tap: None,
            handshakes_sent: 0,
            handshakes_unsent: 0,
            cookies_sent: 0,
        }
    }

    /// The sockets.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The sockets, to prepare a change.
    pub fn sockets_mut(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    /// The ciphers of all sessions.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.dispatch.plan()
    }

    /// New sockets for everybody.
    pub fn rebind(&mut self, rebind: super::sockets::Rebind, now: Time) {
        self.former.note(self.sockets.port(), now);
        let pairs = self.sockets.adopt(rebind);
        self.give_sockets(pairs);
    }

    /// Opens the sockets if they are wanted and it is time to. True: there are sockets.
    pub fn listen(&mut self, now: Time) -> bool {
        if let Some(pairs) = self.sockets.open_if_due(now) {
            self.give_sockets(pairs);
        }
        self.sockets.are_open()
    }

    /// Closes the sockets.
    pub fn close(&mut self) {
        self.sockets.close();
        for worker in &self.queues.workers {
            worker.push_mail(Mail::Sockets(None));
        }
    }

    /// Whether a port is asked for that workers of ours have not let go of yet.
    #[must_use]
    pub fn must_wait_for(&self, port: u16, now: Time) -> bool {
        self.former.may_be_ours(port, now) && self.sockets.is_taken(port)
    }

    /// Tells all workers.
    pub fn broadcast(&self, order: impl FnMut() -> Order) {
        self.dispatch.broadcast(&mut &*self.queues, order);
    }

    /// Carries out all that the device has decided, and says how much that was.
    pub fn carry_out(&mut self, device: &mut Device, now: Time) -> usize {
        let mut count = 0;
        while let Some(action) = device.poll_action() {
            self.apply(action, device, now);
            count += 1;
        }
        self.tell_of_ends(now);
        self.release_routes(now);
        count
    }

    /// The same for a device that goes on here, but nothing that makes a worker send. That comes back, for
    /// [`send_offers`](Self::send_offers).
    pub fn carry_out_at_rest(&mut self, device: &mut Device, now: Time) -> Vec<Action> {
        let mut offers = Vec::new();
        while let Some(action) = device.poll_action() {
            if matches!(action, Action::Offer { .. }) {
                offers.push(action);
            } else {
                self.apply(action, device, now);
            }
        }
        offers
    }

    /// Gives the workers packets that had waited for sessions in another process.
    pub fn send_offers(&mut self, offers: Vec<Action>, device: &mut Device, now: Time) {
        offers.into_iter().for_each(|offer| self.apply(offer, device, now));
    }

    /// Adds what all peers are sent under, once nobody sends any more.
    pub fn note_sending(&self, progress: &mut Progress) {
        self.dispatch.note_sending(progress);
    }

    /// The sockets that were inherited are ours alone from now on: workers beyond them get their own.
    pub fn own_sockets(&mut self) -> std::io::Result<()> {
        let before = self.sockets.pairs().count();
        self.sockets.grow();
        for (worker, pair) in self.queues.workers.iter().zip(self.sockets.pairs()).skip(before) {
            worker.push_mail(Mail::Sockets(Some(pair.try_clone()?)));
        }
        self.sockets.guard_inherited();
        Ok(())
    }

    /// Gives the workers their sockets, if there are any.
    ///
    /// # Errors
    /// The system's.
    pub fn give_inherited_sockets(&self) -> std::io::Result<()> {
        let pairs = self.sockets.pairs().map(SocketPair::try_clone).collect::<std::io::Result<Vec<_>>>()?;
        self.give_sockets(pairs);
        Ok(())
    }

    /// Somebody looks on from now on, or nobody.
    pub fn set_tap(&mut self, tap: Option<Box<Tap>>) {
        self.tap = tap;
    }

    /// Shows whoever looks on what became of a handshake message.
    pub fn show_received(
        &mut self,
        device: &Device,
        now: Time,
        peer: Option<PeerId>,
        message: &HandshakeMessage,
        verdict: Result<(), DropReason>,
    ) {
        let Some(tap) = &mut self.tap else { return };
        let remote = message.endpoint.remote;
        tap.handshake_received(now, peer, message, verdict, |peer| {
            let known = device.status(peer).and_then(|peer| peer.endpoint());
            known.is_some_and(|known| known.remote == remote)
        });
    }

    /// When [`carry_out`](Self::carry_out) or [`listen`](Self::listen) wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.routes_check.into_iter().chain(self.ends_due).chain(self.sockets.next_attempt()).min()
    }

    /// Orders about sessions wake nobody. An end must not wait for the next packet all the same: the worker has the key
    /// of a session that is over.
    fn tell_of_ends(&mut self, now: Time) {
        if self.ends_due.take_if(|due| *due <= now).is_some() {
            (0..self.queues.workers.len()).for_each(|worker| (&mut &*self.queues).wake(worker));
        }
    }

    /// Frees versions of the routes that no worker uses any more.
    pub fn release_routes(&mut self, now: Time) {
        let keeps_some = self.dispatch.release_routes(self.queues.control.oldest_routes_in_use());
        self.routes_check = keeps_some.then(|| now + ROUTES_CHECK_INTERVAL);
    }

    fn apply(&mut self, action: Action, device: &mut Device, now: Time) {
        if matches!(action, Action::RetireReceive { .. }) {
            self.ends_due.get_or_insert(now + ENDS_WAIT_MAX);
        }
        match self.dispatch.apply(action, &mut &*self.queues) {
            None => {}
            Some(Outgoing::Notify { peer, notice }) => notices::log(&peer, device.peer_name(&peer), notice),
            Some(Outgoing::Send { endpoint, datagram, peer }) => {
                match (self.send(now, peer, endpoint, &datagram), peer) {
                    (Ok(sent_by), Some(peer)) => {
                        device.handshake_left(peer, datagram.as_ref().len());
                        if sent_by != SentBy::Endpoint {
                            // An address or a route has gone, and the message that says so is on its way to us.
                            device.source_failed(peer, endpoint);
                        }
                    }
                    // Retransmission deals with it: a route may come back, a buffer become free.
                    (Err(errno), Some(peer)) => device.send_failed(now, peer, endpoint.remote, errno as i32),
                    (Err(errno), None) => {
                        log::debug!("a cookie reply to {} was not sent: {}", endpoint.remote, errno.desc());
                    }
                    (Ok(_), None) => self.cookies_sent += 1,
                }
            }
        }
    }

    /// Sends a handshake message, counts it, and shows whoever looks on whether it left. Without sockets, which is
    /// while the port cannot be had, none does.
    fn send(
        &mut self,
        now: Time,
        peer: Option<PeerId>,
        endpoint: Endpoint,
        datagram: &Datagram,
    ) -> Result<SentBy, Errno> {
        let sockets = self.sockets.own().ok_or(Errno::ENETDOWN);
        let sent =
            sockets.and_then(|sockets| send_handshake(sockets, &endpoint, datagram.as_ref(), HANDSHAKE_TRAFFIC_CLASS));
        match sent {
            Ok(_) => self.handshakes_sent += 1,
            Err(_) => self.handshakes_unsent += 1,
        }
        if let Some(tap) = &mut self.tap {
            let verdict = if sent.is_ok() { Ok(()) } else { Err(DropReason::SendFailed) };
            tap.handshake_sent(now, peer, endpoint, HANDSHAKE_TRAFFIC_CLASS, datagram.as_ref(), verdict);
        }
        sent
    }

    fn give_sockets(&self, pairs: Vec<SocketPair>) {
        for (worker, pair) in self.queues.workers.iter().zip(pairs) {
            worker.push_mail(Mail::Sockets(Some(pair)));
        }
    }
}
