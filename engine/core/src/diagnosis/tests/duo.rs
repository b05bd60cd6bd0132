//! Two devices without data paths, and a virtual wire between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Finding, Outside, diagnose};
use crate::allowed_ips::Prefix;
use crate::cell::{PeerCell, PeerShared, Receiver};
use crate::crypto::{PrivateKey, PublicKey};
use crate::device::{Action, Device, HandshakeReason, Notice, Outgoing, PeerEvent};
use crate::gate::Proof;
use crate::ids::{Endpoint, PeerId};
use crate::keypair::{ReceiveSession, SendSession};
use crate::noise::NewSession;
use crate::tai64n::Tai64N;
use crate::test_support::SeededRng;
use crate::time::{Now, Time};

pub(super) const WALL: u64 = 1_800_000_000;
pub(super) const MTU: u32 = 1_420;

/// A device without a data path: what it sends is handed on, and its sessions are kept.
pub(super) struct Side {
    pub(super) device: Device,
    pub(super) key: PublicKey,
    pub(super) address: SocketAddr,
    pub(super) rng: SeededRng,
    /// The other side, as this one knows it.
    pub(super) peer: PeerId,
    pub(super) shared: Option<Arc<PeerShared>>,
    pub(super) receiver: Option<Receiver<(), ()>>,
    pub(super) notices: Vec<Notice>,
}

impl Side {
    pub(super) fn new(number: u8, now: Time) -> Self {
        let key = PrivateKey::new([number; 32]);
        let (public, mut device) = (key.public_key(), Device::new(1));
        device.set_private_key(now, Some(key));
        device.link_up(now);
        let address = SocketAddr::from(([192, 0, 2, number], 51_820));
        let peer = PeerId { index: 0, generation: 0 };
        let rng = SeededRng::new(number.into());
        Self { device, key: public, address, rng, peer, shared: None, receiver: None, notices: Vec::new() }
    }

    pub(super) fn add(&mut self, key: PublicKey, endpoint: Option<SocketAddr>, now: Time) {
        self.peer = self.device.add_peer(key).unwrap();
        self.device.insert_allowed_ip(self.peer, Prefix::new(IpAddr::from([10, 0, 0, 0]), 24).unwrap());
        endpoint.into_iter().for_each(|remote| self.device.set_endpoint(now, self.peer, remote));
        assert!(self.take().is_empty());
    }

    /// What leaves.
    pub(super) fn take(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(action) = self.device.poll_action() {
            match action {
                Action::Outgoing(Outgoing::Send { endpoint, datagram, .. }) => {
                    sent.push((endpoint.remote, datagram.as_ref().to_vec()));
                }
                Action::Outgoing(Outgoing::Notify { notice, .. }) => self.notices.push(notice),
                Action::AddPeer { shared, .. } => self.shared = Some(shared),
                Action::BeginSession { peer, number, created, session } => {
                    let NewSession { local_index, remote_index, initiator, .. } = *session;
                    let cell = Arc::new(PeerCell::new(peer, self.shared.clone().unwrap()));
                    let receive = ReceiveSession::new((), local_index, created, initiator);
                    let send = SendSession::new((), local_index, remote_index, created, initiator);
                    self.receiver = Some(Receiver::new(cell, number, receive, send).0);
                }
                _ => {}
            }
        }
        sent
    }

    pub(super) fn shared(&self) -> &PeerShared {
        self.shared.as_ref().unwrap()
    }

    /// Messages came under the session, of so many bytes each.
    pub(super) fn receive_data(&mut self, now: Now, messages: u64, bytes: u64) {
        self.receiver.as_mut().unwrap().note_authentic();
        self.shared().counters[0].received(messages, messages * bytes);
        self.shared().counters[0].received_up_to(bytes as usize, 0);
        self.device.handle_event(now, PeerEvent::Confirmed(self.peer), &mut self.rng);
    }

    pub(super) fn findings(&self, now: Time, outside: &Outside) -> Vec<Finding> {
        let peer = self.device.status(self.peer).unwrap().snapshot(now);
        diagnose(&peer, &self.device.snapshot(now), outside)
    }
}

/// Two sides. Only `a` asks, unless a test says so.
pub(super) struct Duo {
    pub(super) now: Time,
    /// Added to what `a` takes for the wall clock's time, in seconds.
    pub(super) skew: i64,
    pub(super) a: Side,
    pub(super) b: Side,
    /// What is sent to this address is lost.
    pub(super) lost: Option<SocketAddr>,
}

impl Duo {
    pub(super) fn strangers() -> Self {
        let now = Time::from_secs(1_000);
        Self { now, skew: 0, a: Side::new(1, now), b: Side::new(2, now), lost: None }
    }

    pub(super) fn new() -> Self {
        let mut duo = Self::strangers();
        duo.a.add(duo.b.key, Some(duo.b.address), duo.now);
        duo.b.add(duo.a.key, Some(duo.a.address), duo.now);
        duo
    }

    pub(super) fn clock(&self, skew: i64) -> Now {
        let wall = (WALL + self.now.as_nanos() / 1_000_000_000).saturating_add_signed(skew);
        Now { mono: self.now, wall: Tai64N::from_unix(wall, 0) }
    }

    /// Passes messages until there are none.
    pub(super) fn pass(&mut self) {
        let (a_now, b_now) = (self.clock(self.skew), self.clock(0));
        let (a_address, b_address) = (self.a.address, self.b.address);
        loop {
            let (from_a, from_b) = (self.a.take(), self.b.take());
            if from_a.is_empty() && from_b.is_empty() {
                return;
            }
            for (messages, from, to, now) in
                [(from_a, a_address, &mut self.b, b_now), (from_b, b_address, &mut self.a, a_now)]
            {
                for (remote, bytes) in messages {
                    let endpoint = Endpoint::new(from);
                    if remote != to.address
                        || self.lost == Some(remote)
                        || to.device.screen(now.mono, endpoint, &bytes, Proof::Unasked).is_err()
                    {
                        continue;
                    }
                    let _ = to.device.handle_datagram(now, endpoint, &bytes, false, &mut to.rng);
                }
            }
        }
    }

    pub(super) fn ask(&mut self) {
        let need = PeerEvent::NeedHandshake { peer: self.a.peer, reason: HandshakeReason::NoSession };
        let now = self.clock(self.skew);
        // As a worker does: the request stands until control takes notice.
        let _ = self.a.shared().activity.request_handshake();
        self.a.device.handle_event(now, need, &mut self.a.rng);
        self.pass();
    }

    /// So many seconds pass, with what is due in them.
    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let (a_now, b_now) = (self.clock(self.skew), self.clock(0));
            self.a.device.handle_timeout(a_now, &mut self.a.rng);
            self.b.device.handle_timeout(b_now, &mut self.b.rng);
            self.pass();
        }
    }

    /// A session that both sides use.
    pub(super) fn connected() -> Self {
        let mut duo = Self::new();
        duo.ask();
        let now = duo.clock(0);
        duo.b.receive_data(now, 1, 32);
        duo.pass();
        duo
    }

    /// Two sides that carried much of all sizes, and then have a new session.
    pub(super) fn renewed() -> Self {
        let mut duo = Self::connected();
        for side in [&duo.a, &duo.b] {
            let counters = &side.shared().counters[0];
            counters.received(2_000, 2_000 * 96);
            counters.sent(2_000, 2_000 * 96);
            counters.received_up_to(1_452, 40);
            counters.sent_up_to(1_452);
        }
        duo.wait(6);
        let local_index = duo.a.receiver.as_ref().unwrap().session.local_index();
        let need = PeerEvent::NeedHandshake { peer: duo.a.peer, reason: HandshakeReason::KeyAging { local_index } };
        let now = duo.clock(0);
        duo.a.device.handle_event(now, need, &mut duo.a.rng);
        duo.pass();
        duo.b.receive_data(now, 1, 32);
        duo.pass();
        for side in [&duo.a, &duo.b] {
            assert_eq!(side.device.status(side.peer).unwrap().handshakes(), 2);
        }
        duo
    }

    pub(super) fn here(&self) -> Vec<Finding> {
        self.a.findings(self.now, &outside())
    }

    pub(super) fn there(&self) -> Vec<Finding> {
        self.b.findings(self.now, &outside())
    }
}

pub(super) fn outside() -> Outside {
    Outside { is_listening: true, interface_mtu: MTU, route: Some(Ok(1_500)), ..Outside::default() }
}
