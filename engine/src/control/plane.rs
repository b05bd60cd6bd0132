//! From the device's decisions to the workers that carry them out, and to the network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use ringfort_aead::{OpenKey, Plan, SealKey};
use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::cell::{SendState, SessionNumber};
use ringfort_core::device::{Action, Datagram, Device};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::noise::NewSession;
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;
use udp_uring::{LocalAddr, Path, SentBy, SocketPair, send_handshake};

use super::notices;
use super::sockets::Sockets;
use crate::link::{Link, Mail, PeerCell, Receiver, SessionMail};

/// DSCP AF41 and no ECN for handshakes, so that they get through where data is queued: what the kernel's WireGuard sends
/// (`HANDSHAKE_DSCP` in `drivers/net/wireguard/messages.h`).
const HANDSHAKE_TRAFFIC_CLASS: u8 = 0x88;
/// How often to look whether the workers have let go of old routes. They do not tell: it concerns nothing but memory.
const ROUTES_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The workers and the network, as control reaches them.
#[derive(Debug)]
pub struct DataPlane {
    link: Arc<Link>,
    plan: Plan,
    sockets: Sockets,
    /// What the workers share of each peer, by the index in its name.
    cells: Vec<Option<Arc<PeerCell>>>,
    /// Versions of the routes that a worker may still use, the newest last. A worker that takes a newer version drops its
    /// older one; as long as that is also here, the worker is not the one that frees it.
    routes: VecDeque<(u64, AllowedIps)>,
    routes_version: u64,
    routes_check: Option<Time>,
    /// Handshake messages that left, and those that the system refused.
    pub handshakes_sent: u64,
    /// See there.
    pub handshakes_unsent: u64,
}

impl DataPlane {
    /// The workers have no sockets yet.
    #[must_use]
    pub fn new(link: Arc<Link>, plan: Plan, sockets: Sockets) -> Self {
        Self {
            link,
            plan,
            sockets,
            cells: Vec::new(),
            routes: VecDeque::new(),
            routes_version: 0,
            routes_check: None,
            handshakes_sent: 0,
            handshakes_unsent: 0,
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
        self.plan
    }

    /// New sockets for everybody.
    pub fn rebind(&mut self, rebind: super::sockets::Rebind) {
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
        self.broadcast(|| Mail::Sockets(None));
    }

    /// Tells all workers.
    pub fn broadcast(&self, mut mail: impl FnMut() -> Mail) {
        for worker in &self.link.workers {
            worker.push_mail(mail());
        }
    }

    /// Carries out all that the device has decided.
    pub fn carry_out(&mut self, device: &mut Device, now: Time) {
        while let Some(action) = device.poll_action() {
            if let Some((peer, endpoint)) = self.apply(action) {
                // An address or a route has gone, and the message that says so is on its way to us.
                device.source_failed(peer, endpoint);
            }
        }
        self.release_routes(now);
    }

    /// When [`release_routes`](Self::release_routes) or [`listen`](Self::listen) wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.routes_check.into_iter().chain(self.sockets.next_attempt()).min()
    }

    /// Frees versions of the routes that no worker uses any more.
    pub fn release_routes(&mut self, now: Time) {
        let oldest = self.link.control.oldest_routes_in_use();
        while self.routes.len() > 1 && self.routes[0].0 < oldest {
            self.routes.pop_front();
        }
        self.routes_check = (self.routes.len() > 1).then(|| now + ROUTES_CHECK_INTERVAL);
    }

    /// The peer for which the source of an endpoint has failed, if one has.
    fn apply(&mut self, action: Action) -> Option<(PeerId, Endpoint)> {
        match action {
            Action::Send { endpoint, datagram, peer } => {
                let source_works = self.send(endpoint, &datagram);
                return peer.filter(|_| !source_works).map(|peer| (peer, endpoint));
            }
            Action::AddPeer { peer, shared } => {
                let cell = Arc::new(PeerCell::new(peer, shared));
                self.broadcast(|| Mail::AddPeer(cell.clone()));
                self.keep(cell);
            }
            Action::RemovePeer { peer } => {
                self.broadcast(|| Mail::RemovePeer { peer });
                self.cells[peer.index as usize] = None;
            }
            Action::Routes(routes) => self.publish_routes(routes),
            Action::BeginSession { peer, number, created, session } => self.begin(peer, number, created, &session),
            Action::RetireReceive { local_index } => self.to_owner(local_index, SessionMail::End { local_index }),
            Action::SendStaged { peer, confirm } => {
                let confirms = confirm.map(|local_index| self.link.owner(local_index));
                for (index, worker) in self.link.workers.iter().enumerate() {
                    let confirms = confirms == Some(index);
                    worker.push_mail(if confirms { Mail::SendKeepalive { peer } } else { Mail::SendStaged { peer } });
                }
            }
            Action::EndSessions { peer, number } => _ = self.cell(peer).advance(Arc::new(SendState::end(number))),
            Action::SendKeepalive { peer } => self.to_any(peer, Mail::SendKeepalive { peer }),
            Action::DropStaged { peer } => self.broadcast(|| Mail::DropStaged { peer }),
            Action::Notify { peer, notice } => notices::log(&peer, notice),
        }
        None
    }

    /// Makes the two halves of a session and gives them away: the receiving one to its worker, the sending one to the
    /// peer's cell, now or when the peer has shown that it has the key.
    fn begin(&mut self, peer: PeerId, number: SessionNumber, created: Time, session: &NewSession) {
        let &NewSession { ref keys, local_index, remote_index, initiator, suite } = session;
        let open = OpenKey::new(self.plan, cipher(suite), keys.receive.as_bytes());
        let receive = ReceiveSession::new(open, local_index, created, initiator);
        let seal = SealKey::new(self.plan, cipher(suite), keys.send.as_bytes());
        let send = SendSession::new(seal, local_index, remote_index, created, initiator)
            .with_rekey_after_messages(suite.rekey_after_messages());
        let cell = self.cell(peer);
        let (receiver, sends_now) = Receiver::new(cell.clone(), number, receive, send);
        self.to_owner(local_index, SessionMail::Begin(Box::new(receiver)));
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

    /// False: the source address that the endpoint names does not work.
    fn send(&mut self, endpoint: Endpoint, datagram: &Datagram) -> bool {
        let source = endpoint.source.map(|source| LocalAddr { addr: source.addr, ifindex: source.ifindex });
        let path = Path { remote: endpoint.remote, source };
        let Some(sockets) = self.sockets.own() else {
            self.handshakes_unsent += 1;
            return true;
        };
        match send_handshake(sockets, &path, datagram.as_ref(), HANDSHAKE_TRAFFIC_CLASS) {
            Ok(sent_by) => {
                self.handshakes_sent += 1;
                sent_by == SentBy::Path
            }
            Err(errno) => {
                self.handshakes_unsent += 1;
                // Retransmission deals with it: a route may come back, a buffer become free.
                let level = if errno == Errno::EPERM { log::Level::Warn } else { log::Level::Debug };
                log::log!(level, "a handshake message to {} was not sent: {}", endpoint.remote, errno.desc());
                true
            }
        }
    }

    fn publish_routes(&mut self, routes: AllowedIps) {
        self.routes_version += 1;
        let version = self.routes_version;
        self.broadcast(|| Mail::Routes { routes: routes.clone(), version });
        self.routes.push_back((version, routes));
    }

    fn give_sockets(&self, pairs: Vec<SocketPair>) {
        for (worker, pair) in self.link.workers.iter().zip(pairs) {
            worker.push_mail(Mail::Sockets(Some(pair)));
        }
    }

    fn to_owner(&self, local_index: u32, mail: SessionMail) {
        self.link.workers[self.link.owner(local_index)].push_session(mail);
    }

    /// The same worker for the same peer, and different ones for different peers.
    fn to_any(&self, peer: PeerId, mail: Mail) {
        self.link.workers[peer.index as usize % self.link.workers.len()].push_mail(mail);
    }
}

/// What seals and opens the data of a suite. The core does not know the ciphers, nor they the core.
fn cipher(suite: Suite) -> ringfort_aead::Suite {
    match suite {
        Suite::ChaCha20Poly1305 => ringfort_aead::Suite::ChaCha20Poly1305,
        Suite::Aes256Gcm => ringfort_aead::Suite::Aes256Gcm,
    }
}
