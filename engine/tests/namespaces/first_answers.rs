//! A client restarts with the same key, or moves, and asks one thing: the answer to its very first packet arrives,
//! whichever worker sends it. And none of many who ask for a session at once is left without.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
use ringfort_core::ids::Endpoint;
use ringfort_core::noise::NewSession;
use ringfort_core::wire::{DATA_HEADER_LEN, TYPE_DATA, TYPE_RESPONSE, write_data_header};
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, KeyPair, Tunnel, uapi};
use ringfort_worker::clock;

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{all_drops, drops, peer, us, wg};

/// Of each kind of change. With the mend undone most of them fail, each.
const ROUNDS: u16 = 5;

fn gateway_and(client: Implementation, workers: u8) -> Tunnel {
    let ours = us().with_options(&format!("--workers {workers}"));
    let tunnel = Tunnel::connected([&ours, &peer(client)], &Peering::default()).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    tunnel
}

/// One ping from the client. What is not answered at all is lost: nobody repeats it.
fn ask_once(tunnel: &Tunnel, what: &str) {
    let mut pinger = Pinger::new(tunnel.namespace(1), tunnel.sides[0].inner(Family::V4)).unwrap();
    if let Err(error) = pinger.ping(56, PATIENCE) {
        panic!("{what}: {error}; the gateway dropped {:?}", all_drops(&tunnel.sides[0].interface));
    }
}

fn a_restarted_client_is_answered(client: Implementation, workers: u8) {
    let mut tunnel = gateway_and(client, workers);
    for round in 0..ROUNDS {
        tunnel.sides[1].daemon.take().unwrap().stop().unwrap();
        tunnel.start(1).unwrap();
        tunnel.configure(1, &Peering::default()).unwrap();
        ask_once(&tunnel, &format!("restart {round}"));
    }
}

#[test]
fn one_worker_and_a_restarted_peer_of_ours() {
    a_restarted_client_is_answered(Implementation::Ringfort, 1);
}

#[test]
fn two_workers_and_a_restarted_peer_of_ours() {
    a_restarted_client_is_answered(Implementation::Ringfort, 2);
}

#[test]
fn four_workers_and_a_restarted_peer_of_ours() {
    a_restarted_client_is_answered(Implementation::Ringfort, 4);
}

#[test]
fn two_workers_and_wireguard_go_restarted() {
    a_restarted_client_is_answered(Implementation::WireguardGo, 2);
}

#[test]
fn four_workers_and_wireguard_go_restarted() {
    a_restarted_client_is_answered(Implementation::WireguardGo, 4);
}

#[test]
fn two_workers_and_boringtun_restarted() {
    a_restarted_client_is_answered(Implementation::Boringtun, 2);
}

#[test]
fn two_workers_and_gotatun_restarted() {
    a_restarted_client_is_answered(Implementation::Gotatun, 2);
}

fn a_client_that_moves_is_answered(client: Implementation, workers: u8) {
    let tunnel = gateway_and(client, workers);
    for round in 0..ROUNDS {
        wg::wg(&format!("set {} listen-port {}", tunnel.sides[1].interface, 52_000 + round)).unwrap();
        ask_once(&tunnel, &format!("port {round}"));
    }
}

#[test]
fn one_worker_and_a_peer_of_ours_on_another_port() {
    a_client_that_moves_is_answered(Implementation::Ringfort, 1);
}

#[test]
fn two_workers_and_a_peer_of_ours_on_another_port() {
    a_client_that_moves_is_answered(Implementation::Ringfort, 2);
}

#[test]
fn four_workers_and_a_peer_of_ours_on_another_port() {
    a_client_that_moves_is_answered(Implementation::Ringfort, 4);
}

#[test]
fn two_workers_and_wireguard_go_on_another_port() {
    a_client_that_moves_is_answered(Implementation::WireguardGo, 2);
}

#[test]
fn four_workers_and_wireguard_go_on_another_port() {
    a_client_that_moves_is_answered(Implementation::WireguardGo, 4);
}

/// Clients that ask for a session at the same time: fewer than an eighth of the handshake queue, at which load begins.
const ASK_AT_ONCE: usize = 200;
const CLIENTS: usize = 2_000;

/// A client without a gateway of its own: it shakes hands and sends one echo request, and that once.
struct Client {
    device: Device,
    inner: Ipv4Addr,
    local_index: u32,
    open: Option<OpenKey>,
    is_answered: bool,
}

impl Client {
    fn new(keys: &KeyPair, inner: Ipv4Addr, gateway: &KeyPair, endpoint: SocketAddr) -> Self {
        let mut device = Device::new(1);
        let now = clock::boot_time();
        device.set_private_key(now, Some(PrivateKey::new(keys.private.0)));
        device.link_up(now);
        let peer = device.add_peer(PublicKey::new(gateway.public.0)).unwrap();
        device.set_endpoint(now, peer, endpoint);
        let need = PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession };
        device.handle_event(clock::now(), need, &mut UnwrapErr(SysRng));
        Self { device, inner, local_index: 0, open: None, is_answered: false }
    }

    /// Sends what the device wants to be sent; what follows from a response is the echo request.
    fn carry_out(&mut self, socket: &UdpSocket, gateway: SocketAddr) {
        while let Some(action) = self.device.poll_action() {
            match action {
                Action::Outgoing(Outgoing::Send { datagram, .. }) => {
                    // The index by which the answer finds us.
                    self.local_index = index(datagram.as_ref(), 4);
                    socket.send_to(datagram.as_ref(), gateway).unwrap();
                }
                Action::BeginSession { session, .. } => {
                    let NewSession { keys, remote_index, .. } = *session;
                    let (plan, suite) = (Plan::fixed(Provider::RustCrypto), Suite::ChaCha20Poly1305);
                    self.open = Some(OpenKey::new(plan, suite, keys.receive.as_bytes()));
                    let key = SealKey::new(plan, suite, keys.send.as_bytes());
                    socket.send_to(&self.echo_request(&key, remote_index), gateway).unwrap();
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, datagram: &[u8], socket: &UdpSocket, gateway: SocketAddr) {
        if datagram[0] != TYPE_DATA {
            let endpoint = Endpoint::new(gateway);
            self.device.handle_datagram(clock::now(), endpoint, datagram, false, &mut UnwrapErr(SysRng)).unwrap();
            return self.carry_out(socket, gateway);
        }
        let mut text = datagram[DATA_HEADER_LEN..].to_vec();
        let key = self.open.as_ref().expect("data comes after the response");
        key.open(u64::from_le_bytes(datagram[8..16].try_into().unwrap()), &mut text).expect("sealed for us");
        // 16 bytes are a keepalive's.
        self.is_answered |= text.len() > 16 && text[20] == 0;
    }

    /// From this client to the gateway, sealed.
    fn echo_request(&self, key: &SealKey, receiver: u32) -> Vec<u8> {
        let mut packet = vec![0; 32];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 32, 0, 1, 0, 0, 64, 1]);
        packet[12..16].copy_from_slice(&self.inner.octets());
        packet[16..20].copy_from_slice(&[10, 77, 0, 1]);
        packet[20..24].copy_from_slice(&[8, 0, 0xf7, 0xff]);
        let sum: u32 = packet[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut message = vec![0; DATA_HEADER_LEN + packet.len() + 16];
        let (header, body) = message.split_first_chunk_mut().unwrap();
        write_data_header(header, receiver, 0);
        key.seal_from(0, &packet, body).unwrap();
        message
    }
}

fn index(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

/// Each of many clients shakes hands, and has its first and only packet answered.
fn nobody_of_a_crowd_is_left_without(workers: u8) {
    let ours = us().with_options(&format!("--workers {workers}"));
    let tunnel = Tunnel::connected([&ours, &us()], &Peering::default()).unwrap();
    let (interface, gateway) = (&tunnel.sides[0].interface, tunnel.sides[0].endpoint(Family::V4));
    tunnel.namespace(0).ip(&format!("route add 10.78.0.0/16 dev {interface}")).unwrap();
    let socket = tunnel.namespace(1).enter(|| UdpSocket::bind("10.200.0.2:0")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // On a slow machine the gateway asks silent clients of earlier groups anew, meanwhile: nothing may be lost here.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20)).unwrap();
    let clients = (0..CLIENTS).map(|n| {
        let [.., high, low] = n.to_be_bytes();
        (KeyPair::random().unwrap(), Ipv4Addr::new(10, 78, high, low))
    });
    let clients: Vec<_> = clients.collect();
    let peers =
        clients.iter().map(|(keys, inner)| format!("public_key={}\nallowed_ip={inner}/32\n", keys.public.hex()));
    uapi::set(interface, &peers.collect::<String>()).unwrap();
    for group in clients.chunks(ASK_AT_ONCE) {
        let client = |(keys, inner): &(KeyPair, Ipv4Addr)| Client::new(keys, *inner, &tunnel.sides[0].keys, gateway);
        let mut group: Vec<_> = group.iter().map(client).collect();
        group.iter_mut().for_each(|client| client.carry_out(&socket, gateway));
        let left_out = until_answered(&mut group, &socket, gateway);
        assert_eq!(left_out, 0, "are left without an answer; the gateway dropped {:?}", all_drops(interface));
    }
    assert_eq!(drops(interface, "unknown_index"), 0, "{:?}", all_drops(interface));
}

/// Returns how many had no answer in time.
fn until_answered(clients: &mut [Client], socket: &UdpSocket, gateway: SocketAddr) -> usize {
    let by_index: HashMap<_, _> = clients.iter().enumerate().map(|(n, client)| (client.local_index, n)).collect();
    let unanswered = |clients: &[Client]| clients.iter().filter(|client| !client.is_answered).count();
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    while unanswered(clients) > 0 && Instant::now() < deadline {
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let datagram = &buffer[..len];
        let receiver = index(datagram, if datagram[0] == TYPE_RESPONSE { 8 } else { 4 });
        // It may be for a client of an earlier group.
        let Some(&n) = by_index.get(&receiver) else { continue };
        clients[n].receive(datagram, socket, gateway);
    }
    unanswered(clients)
}

#[test]
fn one_worker_and_a_crowd() {
    nobody_of_a_crowd_is_left_without(1);
}

#[test]
fn two_workers_and_a_crowd() {
    nobody_of_a_crowd_is_left_without(2);
}
