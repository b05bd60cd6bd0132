//! Rules of `ringfort steer` pass each message on to the gateway whose number its receiver index has, once, and as it
//! is.
//!
//! ```text
//!                        ┌─ [veth0] 10.210.0.10 ─ gateway 0 ┐
//!   client 10.210.0.2 ───┤ bridge                           ├─ both: 192.0.2.1, 10.77.0.1 in the tunnel
//!                        └─ [veth0] 10.210.0.11 ─ gateway 1 ┘
//! ```
//! The client sends to the first of them, whosever it is. How crowds of clients fare behind a router is tested with
//! `ringfort-bench nodes`.

mod xdp;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use ringfort_testbed::command::{run, run_with_input};
use ringfort_testbed::netns::{Namespace, VETH, cable};
use ringfort_testbed::{Daemon, Family, KeyPair, janitor, uapi};

use crate::harness::{drops, eventually, us};

const PORT: u16 = 51_820;
const PATIENCE: Duration = Duration::from_secs(30);

struct Gateway {
    namespace: Namespace,
    interface: String,
    _daemon: Daemon,
}

struct Lab {
    family: Family,
    gateways: [Gateway; 2],
    client: Namespace,
    bridge: Namespace,
}

fn shared(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x192, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn host(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 210, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x210, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

fn join(bridge: &Namespace, namespace: &Namespace, link: &str, address: IpAddr) {
    cable([(bridge, link), (namespace, VETH)]).unwrap();
    bridge.ip(&format!("link set {link} master lan")).unwrap();
    namespace.add_address(VETH, address, if address.is_ipv4() { 24 } else { 64 }).unwrap();
}

impl Lab {
    fn new(family: Family) -> Self {
        let bridge = Namespace::new().unwrap();
        bridge.ip("link add lan type bridge").unwrap();
        bridge.ip("link set lan up").unwrap();
        let keys = KeyPair::random().unwrap();
        let gateways = [0, 1].map(|number| {
            let namespace = Namespace::new().unwrap();
            join(&bridge, &namespace, &format!("node{number}"), host(family, 10 + number));
            namespace.add_address("lo", shared(family), if family == Family::V4 { 32 } else { 128 }).unwrap();
            let interface = janitor::unique_name();
            let options = format!("--node {number}/3 --endpoints off");
            let daemon = Daemon::start(&us().with_options(&options), &namespace, &interface).unwrap();
            uapi::set(&interface, &format!("private_key={}\nlisten_port={PORT}\n", keys.private.hex())).unwrap();
            namespace.ip(&format!("link set {interface} up")).unwrap();
            Gateway { namespace, interface, _daemon: daemon }
        });
        let client = Namespace::new().unwrap();
        join(&bridge, &client, "client", host(family, 2));
        client.ip(&format!("route add {} via {}", shared(family), host(family, 10))).unwrap();
        Self { family, gateways, client, bridge }
    }

    /// Loads the rules of a gateway that takes itself for `own`, and the other one for `node`.
    fn steer(&self, gateway: usize, own: u8, node: u8) {
        let (other, own) = (self.other(gateway), own.to_string());
        let mut steer = Command::new(us().path);
        let rules = run(steer
            .args(["steer", "nft", "--self", &own, "--bits", "3", "--device", VETH, "--nodes"])
            .arg(format!("{node}={other}")));
        let mut load = self.gateways[gateway].namespace.command("nft");
        run_with_input(load.args(["-f", "-"]), &rules.unwrap()).unwrap();
    }

    /// Where the other gateway is.
    fn other(&self, gateway: usize) -> IpAddr {
        host(self.family, 11 - u8::try_from(gateway).unwrap())
    }

    fn socket(&self, ttl: u32) -> UdpSocket {
        let socket = self.client.enter(|| UdpSocket::bind(SocketAddr::new(host(self.family, 2), 0))).unwrap();
        if self.family == Family::V4 {
            socket.set_ttl(ttl).unwrap();
        } else {
            let hops = i32::try_from(ttl).unwrap();
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6Ttl, &hops).unwrap();
        }
        socket.connect(SocketAddr::new(shared(self.family), PORT)).unwrap();
        socket
    }

    /// Waits until the gateways have dropped so many of one reason, each.
    fn await_drops(&self, reason: &str, expected: [u64; 2]) {
        let found = || self.gateways.each_ref().map(|gateway| drops(&gateway.interface, reason));
        eventually(PATIENCE, &format!("{expected:?} dropped as {reason}, found {:?}", found()), || found() == expected);
    }

    /// How many datagrams a gateway has passed on.
    fn passed_on(&self, gateway: usize) -> u64 {
        let rules = self.gateways[gateway].namespace.run("nft list ruleset").unwrap();
        let counts = rules.split("counter packets ").skip(1);
        counts.map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// A message of that type and length, whose receiver index at `index` begins with the number of a node of three bits.
fn message(kind: u8, len: usize, index: usize, node: u8) -> Vec<u8> {
    let mut message = vec![0x1f; len];
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    message[index + 3] = node << 5 | 0x1f;
    message
}

/// On the first gateway, something passes on what is of the second one, which is node 1.
fn each_message_goes_to_its_node(lab: &Lab) {
    let socket = lab.socket(64);
    let kinds = [(2, 92, 8), (3, 64, 4), (4, 32, 4), (4, 1_400, 4)];
    for (kind, len, index) in kinds {
        // Of a node that is nowhere, too: that stays.
        for node in [0, 1, 1, 1, 5, 5] {
            socket.send(&message(kind, len, index, node)).unwrap();
        }
    }
    // Each gateway gets what is its own, as nobody has the index.
    lab.await_drops("unknown_index", [4, 12]);
    lab.await_drops("other_node", [8, 0]);
    // What has no receiver index stays, whatever it has in these places.
    for index in [4, 8] {
        socket.send(&message(1, 148, index, 1)).unwrap();
        socket.send(&message(9, 148, index, 1)).unwrap();
    }
    lab.await_drops("bad_mac1", [2, 0]);
    lab.await_drops("unknown_type", [2, 0]);
    // So does what was passed on already, as its TTL says.
    let last_hop = lab.socket(1);
    last_hop.send(&message(4, 32, 4, 1)).unwrap();
    lab.await_drops("other_node", [9, 0]);
}

/// The first gateway is the way to a machine whose WireGuard has a port of the same number.
fn what_goes_through_is_left_alone(lab: &Lab) {
    let server = Namespace::new().unwrap();
    join(&lab.bridge, &server, "server", host(lab.family, 3));
    let (address, length) = match lab.family {
        Family::V4 => (IpAddr::from([10, 213, 0, 1]), 32),
        Family::V6 => (Ipv6Addr::new(0xfd00, 0x213, 0, 0, 0, 0, 0, 1).into(), 128),
    };
    server.add_address("lo", address, length).unwrap();
    let through = &lab.gateways[0].namespace;
    set_forwarding(through, true);
    through.enter(|| {
        for name in ["all", VETH] {
            fs::write(format!("/proc/sys/net/ipv4/conf/{name}/send_redirects"), "0").unwrap();
        }
    });
    through.ip(&format!("route add {address} via {}", host(lab.family, 3))).unwrap();
    lab.client.ip(&format!("route add {address} via {}", host(lab.family, 10))).unwrap();
    let theirs = server.enter(|| UdpSocket::bind(SocketAddr::new(address, PORT))).unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = lab.socket(64);
    for (kind, len, index) in [(2, 92, 8), (3, 64, 4), (4, 96, 4)] {
        let (message, mut buffer) = (message(kind, len, index, 1), [0; 128]);
        socket.send_to(&message, SocketAddr::new(address, PORT)).unwrap();
        let got = theirs.recv(&mut buffer).expect("it goes on to where it was sent");
        assert_eq!(buffer[..got], message);
    }
}

fn set_forwarding(namespace: &Namespace, is_on: bool) {
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        namespace.enter(|| fs::write(format!("/proc/sys/net/{name}"), u8::from(is_on).to_string())).unwrap();
    }
}

#[test]
fn what_is_not_for_the_gateway_is_left_alone() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer(0, 0, 1);
        what_goes_through_is_left_alone(&lab);
        assert_eq!(lab.passed_on(0), 0, "{family:?}");
    }
}

#[test]
fn each_message_goes_to_the_node_that_its_index_names() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer(0, 0, 1);
        lab.steer(1, 1, 0);
        each_message_goes_to_its_node(&lab);
        assert_eq!([lab.passed_on(0), lab.passed_on(1)], [12, 0], "{family:?}");
    }
}

/// Each gateway takes the other one for the owner.
#[test]
fn what_was_passed_on_is_never_passed_on_again() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer(0, 0, 6);
        lab.steer(1, 1, 6);
        let socket = lab.socket(64);
        (0..10).for_each(|_| assert_eq!(socket.send(&message(4, 64, 4, 6)).unwrap(), 64));
        lab.await_drops("other_node", [0, 10]);
        assert_eq!([lab.passed_on(0), lab.passed_on(1)], [10, 0], "{family:?}");
    }
}

/// GRO hands trains to the rules in one piece, and they are passed on so.
#[test]
fn trains_are_passed_on_whole() {
    let lab = Lab::new(Family::V4);
    lab.steer(0, 0, 1);
    let socket = lab.socket(64);
    let segment: i32 = 64;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &segment).unwrap();
    socket.send(&message(4, 64, 4, 1).repeat(20)).unwrap();
    lab.await_drops("unknown_index", [0, 20]);
    lab.await_drops("other_node", [0, 0]);
}

#[test]
fn a_gateway_recovers_when_it_is_told_and_not_while_it_serves_nobody() {
    let lab = Lab::new(Family::V4);
    let interface = &lab.gateways[0].interface;
    let recover = || Command::new(us().path).args(["recover", interface]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&recover().stdout), "180\n");
    lab.gateways[0].namespace.ip(&format!("link set {interface} down")).unwrap();
    let refused = recover();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is down or passive"), "{refused:?}");
}
