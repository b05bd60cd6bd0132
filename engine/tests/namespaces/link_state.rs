//! Up and down, as with the kernel's WireGuard: the port is bound while the interface is up, and free while it is down.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Duration;

use ringfort_testbed::netns::{Namespace, inner_v4};
use ringfort_testbed::ping;
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Daemon, KeyPair, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{codes, eventually, us, wg, why};

/// Whether nobody listens on the port, in either family.
pub fn is_free(namespace: &Namespace, port: u16) -> bool {
    namespace.enter(|| ["0.0.0.0", "::"].iter().all(|address| UdpSocket::bind((*address, port)).is_ok()))
}

/// What the kernel answers to a datagram for a port where nobody listens.
fn assert_unreachable(namespace: &Namespace, port: u16) {
    let error = namespace.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"anybody there?").and_then(|_| socket.recv(&mut [0; 1])).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

fn shown_port(interface: &str) -> String {
    wg::wg(&format!("show {interface} listen-port")).unwrap().trim().to_owned()
}

fn set_link(namespace: &Namespace, interface: &str, state: &str) {
    namespace.ip(&format!("link set {interface} {state}")).unwrap();
}

#[test]
fn the_port_is_bound_while_the_interface_is_up() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    uapi::set(&interface, &format!("private_key={}\nlisten_port={PORT}\n", KeyPair::random().unwrap().private.hex()))
        .unwrap();
    assert!(is_free(&namespace, PORT), "it was never up");
    for _ in 0..3 {
        set_link(&namespace, &interface, "up");
        eventually(PATIENCE, "the port is bound", || !is_free(&namespace, PORT));
        set_link(&namespace, &interface, "down");
        eventually(PATIENCE, "the port is free", || is_free(&namespace, PORT));
        assert_unreachable(&namespace, PORT);
        assert_eq!(shown_port(&interface), PORT.to_string());
    }
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
}

/// The kernel's is chosen when the interface comes up for the first time, and kept.
#[test]
fn a_chosen_port_is_kept() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let _daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    assert_eq!(shown_port(&interface), "0");
    set_link(&namespace, &interface, "up");
    let port = shown_port(&interface);
    assert_ne!(port, "0", "as with the kernel, it is chosen when `ip` returns");
    let is_free = || is_free(&namespace, port.parse().unwrap());
    assert!(!is_free(), "{port} is shown");
    set_link(&namespace, &interface, "down");
    eventually(PATIENCE, "the port is free", is_free);
    set_link(&namespace, &interface, "up");
    eventually(PATIENCE, "the port is bound again", || !is_free());
    assert_eq!(shown_port(&interface), port);
}

/// A second gateway beside that of side 0, with its key, its port and its peer: a standby.
struct Standby {
    tunnel: Tunnel,
    daemon: Daemon,
}

impl Standby {
    fn new() -> Self {
        let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&us(), tunnel.namespace(0), &interface).unwrap();
        let config = wg::config(&tunnel, 0, &Peering::default());
        wg::wg_with_input(&format!("setconf {interface} /dev/stdin"), &config).unwrap();
        assert_eq!(shown_port(&interface), PORT.to_string(), "the port of another is only remembered");
        Self { tunnel, daemon }
    }

    fn names(&self) -> [&str; 2] {
        [&self.tunnel.sides[0].interface, self.daemon.interface()]
    }

    /// Moves the inner address, as whoever manages the two would.
    fn give_address(&self, from: &str, to: &str) {
        let namespace = self.tunnel.namespace(0);
        namespace.ip(&format!("address del {}/24 dev {from}", inner_v4(0))).unwrap();
        namespace.add_address(to, inner_v4(0), 24).unwrap();
    }

    fn assert_open(&self) {
        ping::until_answered(self.tunnel.namespace(0), inner_v4(1), OPENING).unwrap();
    }
}

#[test]
fn a_standby_takes_the_port_over_and_gives_it_back() {
    let standby = Standby::new();
    let [first, second] = standby.names();
    let namespace = standby.tunnel.namespace(0);
    for (from, to) in [(first, second), (second, first)] {
        standby.give_address(from, to);
        // The new one is up before the old one has heard that it is down.
        set_link(namespace, from, "down");
        set_link(namespace, to, "up");
        standby.assert_open();
        // The other side takes no second initiation within 20 ms.
        sleep(Duration::from_millis(50));
    }
}

/// The kernel would refuse that it comes up. We cannot: it comes to life when the port is free.
#[test]
fn up_while_the_port_is_taken() {
    let standby = Standby::new();
    let [first, second] = standby.names();
    let namespace = standby.tunnel.namespace(0);
    set_link(namespace, second, "up");
    eventually(PATIENCE, "the operator is told", || standby.daemon.log().contains("UDP port 51820 is in use"));
    standby.assert_open();
    assert_eq!(uapi::stats(second).unwrap()["link_up"], 0, "it is as good as down");
    let found = || codes(&why(second, &standby.tunnel.sides[1].keys.public));
    assert_eq!(found()[0], "not_listening", "and why says so of each peer");
    assert_eq!(shown_port(second), PORT.to_string());
    // Another port helps at once, and the old one is refused to whoever asks for it.
    wg::wg(&format!("set {second} listen-port 51821")).unwrap();
    assert!(!is_free(namespace, 51_821));
    wg::wg(&format!("set {second} listen-port {PORT}")).unwrap_err();
    set_link(namespace, second, "down");
    eventually(PATIENCE, "that the interface is down is another thing", || found()[0] == "link_down");
    wg::wg(&format!("set {second} listen-port {PORT}")).unwrap();
    set_link(namespace, second, "up");
    standby.give_address(first, second);
    set_link(namespace, first, "down");
    standby.assert_open();
}

#[test]
fn persistent_keepalives_begin_when_the_interface_comes_up() {
    let tunnel = Tunnel::new([&us(), &us()]).unwrap();
    let ours = &tunnel.sides[0].interface;
    set_link(tunnel.namespace(0), ours, "down");
    eventually(PATIENCE, "the interface is down", || uapi::stats(ours).unwrap()["link_up"] == 0);
    for side in [0, 1] {
        tunnel
            .configure(side, &Peering { keepalive_s: 1, knows_endpoint: [true, false], ..Peering::default() })
            .unwrap();
    }
    let sent = || uapi::stats(ours).unwrap()["handshakes_sent"];
    assert_eq!(sent(), 0);
    set_link(tunnel.namespace(0), ours, "up");
    eventually(OPENING, "a handshake without traffic", || wg::only_peer(ours).unwrap().latest_handshake > 0);
    assert!(uapi::stats(ours).unwrap()["handshakes_unsent"] == 0, "the sockets come first");
}
