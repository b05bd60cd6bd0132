//! Two gateways with one key behind one address, of which one stands by. The address moves, and with it the peers.
//!
//! ```text
//!                                    ┌─ [veth0] 10.201.0.2 ─ gateway 0 ┐
//!   client 10.200.0.2 ─── router ────┤                                 ├─ both: 192.0.2.1, and 10.77.0.1 in the tunnel
//!                                    └─ [veth0] 10.202.0.2 ─ gateway 1 ┘
//! ```
//! The router's route to 192.0.2.1 says who has it: whoever fails over moves it by hand here.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ringfort_testbed::netns::{Namespace, inner_v4, join};
use ringfort_testbed::tunnel::{MTU, PORT};
use ringfort_testbed::{Daemon, Implementation, KeyPair, janitor, uapi};

use crate::harness::flow::{Arrivals, Flow};
use crate::harness::traffic::PATIENCE;
use crate::harness::{codes, drops, eventually, peer, us, wg, why};

/// The address that both gateways have.
const ADDRESS: &str = "192.0.2.1";
const DATAGRAMS: u16 = 4_444;
/// Long before the client notices by itself, after 15 s.
const SOON: Duration = Duration::from_secs(5);

struct Gateway {
    daemon: Option<Daemon>,
    interface: String,
    namespace: Namespace,
    /// What comes out of the tunnel here.
    arrivals: Arrivals,
}

struct Network {
    gateways: [Gateway; 2],
    _client_daemon: Daemon,
    client_interface: String,
    keys: KeyPair,
    client_keys: KeyPair,
    client: Namespace,
    router: Namespace,
}

impl Gateway {
    fn start(network: u8, router: &Namespace, options: &str) -> Self {
        let namespace = Namespace::new().unwrap();
        join(router, &namespace, network).unwrap();
        namespace.ip(&format!("address add {ADDRESS}/32 dev lo")).unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&us().with_options(options), &namespace, &interface).unwrap();
        namespace.ip(&format!("link set {interface} addrgenmode none")).unwrap();
        namespace.add_address(&interface, inner_v4(0), 24).unwrap();
        namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
        let arrivals = Arrivals::at(&namespace, DATAGRAMS);
        Self { daemon: Some(daemon), interface, namespace, arrivals }
    }

    /// Runs a command about the gateway, and returns what it prints.
    #[track_caller]
    fn run(&self, command: &str) -> String {
        let output = Command::new(us().path).args([command, &self.interface]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn stat(&self, name: &str) -> u64 {
        uapi::stats(&self.interface).unwrap()[name]
    }

    /// Bytes that it has sent to its peer, and handshake messages in all.
    fn sent(&self) -> (u64, u64) {
        (uapi::transfer(&uapi::get(&self.interface).unwrap()).1, self.stat("handshakes_sent"))
    }
}

impl Network {
    /// The first gateway serves, and the second one stands by. It is told where the client is, as any tool may tell it.
    fn new(client: Implementation) -> Self {
        Self::with(client, "endpoint=10.200.0.2:51820\n")
    }

    /// The same, with this said to the standby of its peer.
    fn with(client: Implementation, told: &str) -> Self {
        let router = Namespace::new().unwrap();
        router.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
        let gateways = [Gateway::start(201, &router, ""), Gateway::start(202, &router, "--passive")];
        let namespace = Namespace::new().unwrap();
        join(&router, &namespace, 200).unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&peer(client), &namespace, &interface).unwrap();
        namespace.add_address(&interface, inner_v4(1), 24).unwrap();
        namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
        let [keys, client_keys] = [(); 2].map(|()| KeyPair::random().unwrap());
        let network = Self {
            gateways,
            _client_daemon: daemon,
            client_interface: interface,
            keys,
            client_keys,
            client: namespace,
            router,
        };
        network.configure(told);
        network.move_to(0);
        network
    }

    fn configure(&self, told: &str) {
        // Both know by which address they are known: the one that asks first would otherwise ask from its own, and the
        // client would follow it there.
        for (gateway, endpoint) in self.gateways.iter().zip(["", told]) {
            let lines = format!(
                "private_key={}\nlisten_port={PORT}\npublic_key={}\nsource={ADDRESS}\nallowed_ip={}/32\n{endpoint}",
                self.keys.private.hex(),
                self.client_keys.public.hex(),
                inner_v4(1)
            );
            uapi::set(&gateway.interface, &lines).unwrap();
        }
        let lines = format!(
            "private_key={}\nlisten_port={PORT}\npublic_key={}\nallowed_ip={}/32\nendpoint={ADDRESS}:{PORT}\n",
            self.client_keys.private.hex(),
            self.keys.public.hex(),
            inner_v4(0)
        );
        uapi::set(&self.client_interface, &lines).unwrap();
    }

    /// From now on this gateway has the address.
    fn move_to(&self, gateway: usize) {
        self.router.ip(&format!("route replace {ADDRESS}/32 via 10.{}.0.2", 201 + gateway)).unwrap();
    }
}

fn fails_over(client: Implementation) {
    let mut network = Network::new(client);
    let flow = Flow::start(&network.client, SocketAddr::new(inner_v4(0), DATAGRAMS));
    let [first, second] = &network.gateways;
    first.arrivals.next();
    assert_eq!((second.sent(), second.stat("passive"), second.stat("link_up")), ((0, 0), 1, 1));

    // An orderly hand-over: the one goes quiet, and the address moves before the other serves.
    assert_eq!(first.run("demote"), "passive\n");
    let before = first.sent();
    eventually(PATIENCE, "what comes is dropped by name", || drops(&first.interface, "passive") > 10);
    assert_eq!(first.sent(), before, "nothing is answered");
    network.move_to(1);
    eventually(PATIENCE, "the standby gets the client's data", || drops(&second.interface, "passive") > 10);
    assert_eq!((second.sent(), drops(&second.interface, "unknown_index")), ((0, 0), 0), "and says nothing");
    shows_that_it_is_passive(&network, second);
    let promoted = Instant::now();
    assert_eq!(second.run("promote"), "active\n");
    let took = second.arrivals.next().saturating_duration_since(promoted);
    eprintln!("{client:?}: {took:?} from the promotion to the client's data");
    assert!(took < SOON, "{took:?}");
    let known = wg::only_peer(&network.client_interface).unwrap().endpoint;
    assert_eq!(known, format!("{ADDRESS}:{PORT}"), "the client stays with the address");

    // The one that serves is killed. The other was demoted before, and still knows where the client was.
    network.gateways[1].daemon.take().unwrap().kill().unwrap();
    let [first, _] = &network.gateways;
    network.move_to(0);
    let promoted = Instant::now();
    assert_eq!(first.run("promote"), "active\n");
    let took = first.arrivals.next().saturating_duration_since(promoted);
    eprintln!("{client:?}: {took:?} after the other one was killed");
    assert!(took < SOON, "{took:?}");
    may_change_again_and_again(first);
    drop(flow);
}

/// Who asks twice changes nothing. Its peers need no help but the data that they send anyway.
fn may_change_again_and_again(gateway: &Gateway) {
    for _ in 0..2 {
        assert_eq!(gateway.run("demote"), "passive\n");
        assert_eq!(gateway.run("demote"), "passive\n");
        // A peer refuses to be asked twice within 20 ms, and is then asked again after Rekey-Timeout.
        let before = drops(&gateway.interface, "passive");
        eventually(PATIENCE, "the client has sent for a while", || drops(&gateway.interface, "passive") > before + 10);
        assert_eq!(gateway.run("promote"), "active\n");
        let promoted = Instant::now();
        let took = gateway.arrivals.next().saturating_duration_since(promoted);
        assert!(took < SOON, "{took:?}");
    }
    assert_eq!(gateway.run("promote"), "active\n");
}

/// All that an operator may ask tells him.
fn shows_that_it_is_passive(network: &Network, gateway: &Gateway) {
    assert_eq!(codes(&why(&gateway.interface, &network.client_keys.public))[0], "passive");
    assert!(gateway.run("peers").starts_with("passive: "));
    let doctor = Command::new(us().path).args(["doctor", &gateway.interface]).output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("this gateway is passive"), "{said}");
    // Whoever sends from inside is told as well.
    let mut ping = gateway.namespace.command("ping");
    let target = inner_v4(1).to_string();
    let answer = String::from_utf8(ping.args(["-c", "1", "-W", "5", &target]).output().unwrap().stdout).unwrap();
    assert!(answer.contains("Unreachable"), "{answer}");
}

#[test]
fn a_client_of_ours_follows_the_address() {
    fails_over(Implementation::Ringfort);
}

#[test]
fn wireguard_go_follows_the_address() {
    fails_over(Implementation::WireguardGo);
}

/// The file of endpoints of a gateway.
fn file(gateway: &Gateway) -> PathBuf {
    janitor::directory().join(format!("{}.endpoints", gateway.interface))
}

/// As an operator's tool does it: the other one's file takes its place as a whole, while the standby runs.
#[test]
fn a_copy_of_the_other_s_file_is_read_at_the_promotion() {
    let network = Network::with(Implementation::Ringfort, "");
    let _flow = Flow::start(&network.client, SocketAddr::new(inner_v4(0), DATAGRAMS));
    let [first, second] = &network.gateways;
    first.arrivals.next();
    let key = network.client_keys.public.base64();
    eventually(PATIENCE, "it is written where the client is", || {
        fs::read_to_string(file(first)).is_ok_and(|text| text.contains(&key))
    });
    let copy = file(second).with_extension("copy");
    fs::copy(file(first), &copy).unwrap();
    fs::rename(&copy, file(second)).unwrap();
    assert_eq!(first.run("demote"), "passive\n");
    network.move_to(1);
    assert_eq!(second.run("promote"), "active\n");
    let promoted = Instant::now();
    let took = second.arrivals.next().saturating_duration_since(promoted);
    assert!(took < SOON, "{took:?}");
    let log = second.daemon.as_ref().unwrap().log();
    assert!(log.contains("endpoints says where 1 peers were last"), "{log}");
}

/// Their network was cut in two, so both served. The client has a newer session with the other one.
#[test]
fn who_served_together_with_another_is_told_to_doubt_its_sessions() {
    let network = Network::new(Implementation::Ringfort);
    let _flow = Flow::start(&network.client, SocketAddr::new(inner_v4(0), DATAGRAMS));
    let [first, second] = &network.gateways;
    first.arrivals.next();
    network.move_to(1);
    assert_eq!(second.run("promote"), "active\n");
    second.arrivals.next();
    network.move_to(0);
    assert_eq!(second.run("demote"), "passive\n");
    eventually(PATIENCE, "the client goes on under a session of the other", || {
        drops(&first.interface, "unknown_index") > 10
    });
    assert_eq!(first.run("promote"), "active\n");
    let told = Instant::now();
    let took = first.arrivals.next().saturating_duration_since(told);
    // Its handshake with the client was a moment ago, so the next message waits for Rekey-Timeout (5 s).
    assert!(took < 2 * SOON, "{took:?}");
}

#[test]
fn a_gateway_gives_a_sign_of_life() {
    let network = Network::new(Implementation::Ringfort);
    let [first, second] = &network.gateways;
    let workers = first.stat("workers");
    let words = if workers == 1 { "1 worker answer".to_owned() } else { format!("{workers} workers answer") };
    assert_eq!(first.run("alive"), format!("active: control and {words}\n"));
    assert_eq!(second.run("alive"), format!("passive: control and {words}\n"));
    let output = Command::new(us().path).args(["alive", "nobody0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
