//! A gateway with a thousand peers is killed, and comes back, or goes on in another process. And strangers pretend to
//! be those peers.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_aead::{Plan, Provider, SealKey, Suite};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::ids::Endpoint;
use ringfort_core::noise::NewSession;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TYPE_DATA, TYPE_INITIATION, write_data_header};
use ringfort_testbed::command::output;
use ringfort_testbed::payload::Dice;
use ringfort_testbed::process::Usage;
use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Family, KeyPair, Namespace, Tunnel, janitor, uapi};
use ringfort_worker::clock;

use crate::handover::hand_over;
use crate::harness::traffic::PATIENCE;
use crate::harness::{all_drops, drops, eventually, us};

const CLIENTS: usize = 1_000;
/// Of the file of endpoints, beside those of peers: what it is, the machine, when it was written, and its checksum.
const OTHER_LINES: usize = 4;
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// A client without a gateway of its own: a device, and a socket on a port of its own.
struct Client {
    keys: KeyPair,
    device: Device,
    socket: UdpSocket,
    /// The session that it has asked for.
    session: Option<Box<NewSession>>,
    /// When the gateway asked for a session.
    asked: Vec<Instant>,
    /// When the gateway's first data message came.
    open: Option<Instant>,
}

impl Client {
    fn new(namespace: &Namespace, gateway: &KeyPair, endpoint: SocketAddr) -> Self {
        let keys = KeyPair::random().unwrap();
        let socket = namespace.enter(|| UdpSocket::bind("10.200.0.2:0")).unwrap();
        socket.connect(endpoint).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut device = Device::new(1);
        let now = clock::boot_time();
        device.set_private_key(now, Some(PrivateKey::new(keys.private.0)));
        device.link_up(now);
        let peer = device.add_peer(PublicKey::new(gateway.public.0)).unwrap();
        device.set_endpoint(now, peer, endpoint);
        Self { keys, device, socket, session: None, asked: Vec::new(), open: None }
    }

    /// Asks the gateway for a session.
    fn ask(&mut self, gateway: &KeyPair) {
        let peer = self.device.peer(&PublicKey::new(gateway.public.0)).unwrap();
        let need = PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession };
        self.device.handle_event(clock::now(), need, &mut UnwrapErr(SysRng));
        self.carry_out();
    }

    fn carry_out(&mut self) {
        let mut confirmation = None;
        while let Some(action) = self.device.poll_action() {
            match action {
                Action::Outgoing(Outgoing::Send { datagram, .. }) => {
                    // A socket that is full is a network that loses.
                    let _ = self.socket.send(datagram.as_ref());
                }
                Action::BeginSession { session, .. } if session.initiator => confirmation = Some(session),
                _ => {}
            }
        }
        if confirmation.is_some() {
            self.session = confirmation;
            self.send_keepalive(0);
            self.open = Some(Instant::now());
        }
    }

    /// Sends nothing under its session, as the message of this number.
    fn send_keepalive(&self, counter: u64) {
        let session = self.session.as_ref().unwrap();
        let mut message = [0; DATA_LEN_MIN];
        let (header, tag) = message.split_first_chunk_mut::<DATA_HEADER_LEN>().unwrap();
        write_data_header(header, session.remote_index, counter);
        let (plan, suite) = (Plan::fixed(Provider::RustCrypto), Suite::ChaCha20Poly1305);
        let tag = tag.try_into().unwrap();
        SealKey::new(plan, suite, session.keys.send.as_bytes()).seal(counter, &mut [], tag).unwrap();
        let _ = self.socket.send(&message);
    }

    /// Takes what has come. `answers`: as a peer would, and not as somebody who only pretends to be there.
    fn receive(&mut self, answers: bool) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            match buffer[0] {
                TYPE_DATA => _ = self.open.get_or_insert_with(Instant::now),
                kind => {
                    if kind == TYPE_INITIATION {
                        self.asked.push(Instant::now());
                    }
                    if answers {
                        let from = Endpoint::new(self.socket.peer_addr().unwrap());
                        let message = &buffer[..len];
                        let rng = &mut UnwrapErr(SysRng);
                        let _ = self.device.handle_datagram(clock::now(), from, message, false, rng);
                        self.carry_out();
                    }
                }
            }
        }
    }

    /// Sends what nobody can open, as somebody does whose session is lost.
    fn send_data(&self, dice: &mut Dice) {
        let mut message = dice.bytes(DATA_LEN_MIN);
        message[..4].copy_from_slice(&[TYPE_DATA, 0, 0, 0]);
        let _ = self.socket.send(&message);
    }
}

/// Nobody is asked more often than once in Rekey-Timeout. `asked` is when we took notice: what waits for us in a socket
/// makes two seem closer than they were, so the second after is what counts.
fn check_intervals(asked: &[Instant]) {
    for two in asked.windows(3) {
        assert!(two[2] - two[0] >= REKEY_TIMEOUT, "asked {asked:?}");
    }
}

/// The address of a client in the tunnel.
fn inner(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 78, high, low)
}

struct Crowd {
    tunnel: Tunnel,
    clients: Vec<Client>,
}

impl Crowd {
    /// A gateway, and clients that all have a session with it.
    fn gather() -> Self {
        let tunnel = Tunnel::new([&us(), &us()]).unwrap();
        let (keys, endpoint) = (&tunnel.sides[0].keys, tunnel.sides[0].endpoint(Family::V4));
        let clients = (0..CLIENTS).map(|_| Client::new(tunnel.namespace(1), keys, endpoint)).collect();
        let mut crowd = Self { tunnel, clients };
        crowd.configure();
        let Self { tunnel, clients } = &mut crowd;
        for group in clients.chunks_mut(100) {
            group.iter_mut().for_each(|client| client.ask(&tunnel.sides[0].keys));
            eventually(PATIENCE, "all have a session", || {
                group.iter_mut().for_each(|client| client.receive(true));
                group.iter().all(|client| client.open.is_some())
            });
        }
        crowd
    }

    fn configure(&self) {
        let side = &self.tunnel.sides[0];
        let mut lines = format!("private_key={}\nlisten_port={PORT}\n", side.keys.private.hex());
        for (number, client) in self.clients.iter().enumerate() {
            let _ = writeln!(lines, "public_key={}\nallowed_ip={}/32", client.keys.public.hex(), inner(number));
        }
        // The kernel winds up what a process has left behind, its port too, in its own time.
        eventually(PATIENCE, "the port is free", || uapi::set(&side.interface, &lines).is_ok());
    }

    /// Until each has a session again, `speak` is called for it now and then. The gateway comes before whatever else is
    /// being done on this machine: where it does not get to its messages, there is load, and who is sent away for that
    /// comes later.
    fn comes_back(&mut self, what: &str, back: Instant, mut speak: impl FnMut(usize, &Client)) {
        let mut next = back;
        let Self { clients, tunnel } = self;
        let pid = tunnel.sides[0].daemon().pid();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap().file_name());
        // Where nobody may do that, or a thread has ended since, the machine has to be quiet.
        let _ = output(Command::new("renice").args(["-n", "-20", "-p"]).args(threads));
        let usage = Usage::of(pid).unwrap();
        eventually(PATIENCE, "all are back", || {
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(100);
                let closed = clients.iter().enumerate().filter(|(_, client)| client.open.is_none());
                closed.for_each(|(number, client)| speak(number, client));
            }
            clients.iter_mut().for_each(|client| client.receive(true));
            clients.iter().all(|client| client.open.is_some())
        });
        let mut took: Vec<_> = clients.iter().filter_map(|client| Some(client.open? - back)).collect();
        took.sort_unstable();
        let (median, slowest) = (took[CLIENTS / 2], took[CLIENTS - 1]);
        let drops = all_drops(&tunnel.sides[0].interface);
        let cpu = Usage::of(pid).unwrap().cpu_since(&usage);
        eprintln!(
            "{CLIENTS} peers {what}: half of them back after {median:?}, all after {slowest:?}. The gateway took \
             {cpu:?} of CPU time for it, and dropped {drops:?}"
        );
        // Whoever is told to come again with a cookie, or is not heard, is late by Rekey-Timeout.
        for reason in ["drop_cookie_required", "drop_rate_limited", "drop_handshake_queue_full"] {
            assert_eq!(drops.get(reason), None, "{reason}");
        }
        for client in clients {
            check_intervals(&client.asked);
        }
    }

    /// The gateway is killed once it has written where all clients are, and comes back.
    fn crash(&mut self) -> Instant {
        let file = janitor::directory().join(format!("{}.endpoints", self.tunnel.sides[0].interface));
        eventually(PATIENCE, "it is written where all are", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == CLIENTS + OTHER_LINES)
        });
        self.tunnel.sides[0].daemon.take().unwrap().kill().unwrap();
        for client in &mut self.clients {
            client.receive(false);
            (client.asked, client.open) = (Vec::new(), None);
        }
        self.tunnel.start(0).unwrap();
        self.configure();
        Instant::now()
    }
}

#[test]
fn a_thousand_peers_are_back_at_once() {
    let mut crowd = Crowd::gather();
    let back = crowd.crash();
    let mut dice = Dice::new(1);
    crowd.comes_back("which send", back, |_, client| client.send_data(&mut dice));
}

/// Each has a packet from inside waiting for it, and says nothing.
#[test]
fn a_thousand_peers_that_only_receive_are_found_at_once() {
    let mut crowd = Crowd::gather();
    let back = crowd.crash();
    let namespace = crowd.tunnel.namespace(0);
    namespace.ip(&format!("route add 10.78.0.0/16 dev {}", crowd.tunnel.sides[0].interface)).unwrap();
    let inside = namespace.enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    crowd.comes_back("which only receive", back, |number, _| {
        inside.send_to(b"hello", (inner(number), 9)).unwrap();
    });
}

/// Each session goes on where it was: what was accepted before is not accepted again, and nobody is asked for another.
#[test]
fn a_thousand_sessions_go_on_in_another_process() {
    let mut crowd = Crowd::gather();
    let interface = crowd.tunnel.sides[0].interface.clone();
    let received = || {
        let lines = uapi::get(&interface).unwrap();
        let received = lines.iter().filter(|(name, _)| name == "rx_bytes");
        received.map(|(_, value)| value.parse::<u64>().unwrap()).sum::<u64>()
    };
    let speak = |clients: &[Client], counter| clients.iter().for_each(|client| client.send_keepalive(counter));
    speak(&crowd.clients, 1);
    let each = (CLIENTS * DATA_LEN_MIN) as u64;
    let enough = 2 * each;
    eventually(PATIENCE, "all are heard", || received() >= enough);
    for client in &mut crowd.clients {
        client.receive(false);
        client.asked.clear();
    }
    let log = hand_over(&mut crowd.tunnel, "");
    eprintln!("{CLIENTS} peers: {}", log.lines().find(|line| line.contains("handed over in")).unwrap());
    let after = received();
    speak(&crowd.clients, 1);
    speak(&crowd.clients, 2);
    eventually(PATIENCE, "all are heard again", || received() == after + each);
    eventually(PATIENCE, "what was heard before is refused", || drops(&interface, "replay") == CLIENTS as u64);
    crowd.clients.iter_mut().for_each(|client| client.receive(false));
    assert!(crowd.clients.iter().all(|client| client.asked.is_empty()), "nobody is asked");
    assert_eq!(uapi::stats(&interface).unwrap()["handshakes_sent"], 0);
}

/// Anybody can write the addresses of our peers on his datagrams.
#[test]
fn pretending_to_be_all_peers_makes_one_initiation_each_in_five_seconds() {
    let mut crowd = Crowd::gather();
    let back = crowd.crash();
    let mut dice = Dice::new(2);
    let mut sent = 0_u64;
    while back.elapsed() < REKEY_TIMEOUT * 2 + Duration::from_secs(2) {
        for client in &mut crowd.clients {
            for _ in 0..3 {
                client.send_data(&mut dice);
            }
            sent += 3;
            client.receive(false);
        }
    }
    let mut all: Vec<_> = crowd.clients.iter().flat_map(|client| client.asked.iter().copied()).collect();
    all.sort_unstable();
    let most = crowd.clients.iter().map(|client| client.asked.len()).max().unwrap();
    eprintln!("{sent} spoofed datagrams, {} initiations, at most {most} for one peer", all.len());
    for client in &crowd.clients {
        check_intervals(&client.asked);
    }
    assert!(most <= 3, "{most} in twelve seconds");
    assert!(all.len() >= CLIENTS, "each was asked");
    let daemon = crowd.tunnel.sides[0].daemon();
    assert!(daemon.is_running());
}
