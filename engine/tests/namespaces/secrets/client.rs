//! A peer without a gateway of its own, which therefore knows every key that it shares with the gateway under test.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_core::crypto::{self, Key, PresharedKey, PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::ids::Endpoint;
use ringfort_core::noise::NewSession;
use ringfort_core::suite::Suite;
use ringfort_core::time::Now;
use ringfort_core::wire::{
    DATA_HEADER_LEN, DATA_LEN_MIN, HandshakeInitiation, Message, TYPE_DATA, classify, write_data_header,
};
use ringfort_testbed::memory::Needle;
use ringfort_testbed::{KeyPair, Namespace};
use ringfort_worker::clock;

use crate::harness::eventually;
use crate::harness::traffic::PATIENCE;

/// What the two sides of an initiation have in common, which the gateway has sent.
pub struct Initiated {
    /// From which the session's keys will come.
    pub chaining_key: Needle,
    /// What led there, and is not needed any more.
    pub passed: Vec<Needle>,
}

/// Between two initiations of ours. The clock of the client runs ahead instead of waiting.
const REKEY_TIMEOUT: Duration = Duration::from_secs(6);

pub struct Client {
    pub keys: KeyPair,
    /// The public key of the gateway.
    gateway: [u8; 32],
    device: Device,
    socket: UdpSocket,
    ahead: Duration,
    /// The keys of each session, as the gateway names them: under which it sends, under which it receives.
    pub sessions: Vec<[[u8; 32]; 2]>,
    /// By which the last of them is known.
    latest_index: Option<u32>,
    /// Data messages that came under it.
    data: u64,
}

impl Client {
    pub fn new(namespace: &Namespace, gateway: SocketAddr) -> Self {
        let socket = namespace.enter(|| UdpSocket::bind("10.200.0.2:0")).unwrap();
        socket.connect(gateway).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (keys, device) = (KeyPair::random().unwrap(), Device::new(1));
        let (ahead, sessions, latest_index, data) = (Duration::ZERO, Vec::new(), None, 0);
        let mut client = Self { keys, gateway: [0; 32], device, socket, ahead, sessions, latest_index, data };
        let now = client.now().mono;
        client.device.set_private_key(now, Some(PrivateKey::new(keys.private.0)));
        client.device.link_up(now);
        client
    }

    /// Talks to the gateway with this public key from now on, and nobody else.
    pub fn know(&mut self, gateway: [u8; 32], psk: [u8; 32], suite: Suite) {
        let now = self.now().mono;
        self.gateway = gateway;
        self.device.remove_all_peers();
        self.carry_out();
        self.device.set_suite(now, suite);
        let peer = self.device.add_peer(PublicKey::new(gateway)).unwrap();
        self.device.set_psk(peer, PresharedKey::new(psk));
        self.device.set_endpoint(now, peer, self.socket.peer_addr().unwrap());
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Asks for a session until there is one, and uses it. The gateway takes an initiation of a peer 50 times a second.
    pub fn ask(&mut self) {
        let before = self.sessions.len();
        let mut looks = 0;
        eventually(PATIENCE, "a session that we asked for", || {
            if looks % 20 == 0 {
                self.ask_once();
            }
            looks += 1;
            self.receive();
            self.sessions.len() > before
        });
    }

    fn ask_once(&mut self) {
        self.ahead += REKEY_TIMEOUT;
        let peer = self.device.peers().next().unwrap().id();
        let aging = |local_index| HandshakeReason::KeyAging { local_index };
        let reason = self.latest_index.map_or(HandshakeReason::NoSession, aging);
        let need = PeerEvent::NeedHandshake { peer, reason };
        self.device.handle_event(self.now(), need, &mut UnwrapErr(SysRng));
        self.carry_out();
    }

    /// Waits until the gateway has asked for a session, which `cause` makes it do.
    pub fn await_session(&mut self, mut cause: impl FnMut()) {
        let before = self.sessions.len();
        eventually(PATIENCE, "a session that the gateway asked for", || {
            cause();
            self.receive();
            self.sessions.len() > before
        });
    }

    /// Waits until the gateway sends data under the latest session, which `cause` makes it do.
    pub fn await_data(&mut self, mut cause: impl FnMut()) {
        let before = self.data;
        eventually(PATIENCE, "data from the gateway", || {
            cause();
            self.receive();
            self.data > before
        });
    }

    /// The initiation that came last, if one came. It stays unanswered.
    pub fn unanswered(&mut self) -> Option<Initiated> {
        let mut buffer = [0; 2_048];
        let mut last = None;
        while let Ok(len) = self.socket.recv(&mut buffer) {
            if let Ok(Message::Initiation(suite, initiation)) = classify(&buffer[..len]) {
                last = Some(self.initiated(suite, initiation));
            }
        }
        last
    }

    /// The first message as the responder computes it (paper, section 5.4.2).
    fn initiated(&self, suite: Suite, message: &HandshakeInitiation) -> Initiated {
        let private = PrivateKey::new(self.keys.private.0);
        // e
        let [begun] = crypto::kdf(&Key::new(crypto::hash(&[suite.construction()])), &message.ephemeral);
        // es, s
        let es = private.diffie_hellman(&PublicKey::new(message.ephemeral)).unwrap();
        let [chaining_key, seals_static] = crypto::kdf(&begun, es.as_bytes());
        // ss, {t}
        let ss = private.diffie_hellman(&PublicKey::new(self.gateway)).unwrap();
        let [last, seals_timestamp] = crypto::kdf(&chaining_key, ss.as_bytes());
        let passed = [
            ("the Diffie-Hellman of the ephemeral key", es),
            ("the chaining key before the last", chaining_key),
            ("the key of the static key", seals_static),
            ("the key of the timestamp", seals_timestamp),
        ];
        let passed = passed.map(|(name, key)| Needle::new(name, key.as_bytes())).to_vec();
        Initiated { chaining_key: Needle::new("the chaining key of an initiation", last.as_bytes()), passed }
    }

    /// All keys of a session.
    pub fn needles(&self, session: usize) -> [Needle; 2] {
        let [send, receive] = self.sessions[session];
        [("send", send), ("receive", receive)].map(|(half, key)| Needle::new(format!("{half} key {session}"), key))
    }

    fn now(&self) -> Now {
        let Now { mono, wall } = clock::now();
        Now { mono: mono + self.ahead, wall }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            if buffer[0] == TYPE_DATA {
                let index = buffer[4..8].try_into().map(u32::from_le_bytes).unwrap();
                self.data += u64::from(Some(index) == self.latest_index);
                continue;
            }
            let from = Endpoint::new(self.socket.peer_addr().unwrap());
            let (now, rng) = (self.now(), &mut UnwrapErr(SysRng));
            let _ = self.device.handle_datagram(now, from, &buffer[..len], false, rng);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        let mut confirm = None;
        while let Some(action) = self.device.poll_action() {
            match action {
                // A socket that is full is a network that loses.
                Action::Outgoing(Outgoing::Send { datagram, .. }) => _ = self.socket.send(datagram.as_ref()),
                Action::BeginSession { session, .. } => {
                    let keys = &session.keys;
                    self.sessions.push([*keys.receive.as_bytes(), *keys.send.as_bytes()]);
                    self.latest_index = Some(session.local_index);
                    confirm = session.initiator.then_some(session);
                }
                _ => {}
            }
        }
        confirm.into_iter().for_each(|session| self.send_keepalive(&session));
    }

    fn send_keepalive(&self, session: &NewSession) {
        let mut message = [0; DATA_LEN_MIN];
        let (header, tag) = message.split_first_chunk_mut::<DATA_HEADER_LEN>().unwrap();
        write_data_header(header, session.remote_index, 0);
        crypto::aead_seal(session.suite, &session.keys.send, &[], &[], tag);
        let _ = self.socket.send(&message);
    }
}
