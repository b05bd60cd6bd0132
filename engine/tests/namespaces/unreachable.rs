//! Packets that no peer can have: their senders are told, on the machine itself and behind it.
//!
//! ```text
//!   host behind ── lan ── side 0 of the tunnel ══ side 1
//! ```

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};
use ringfort_core::icmp::Allowance;
use ringfort_testbed::command::output;
use ringfort_testbed::netns::{Namespace, VETH, cable};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Tunnel, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{drops, eventually, us, worker_stats};

/// Within the tunnel's networks, and no peer's.
const NOBODYS: [&str; 2] = ["10.77.0.200", "fd00:77::c8"];
/// Seconds that `ping` waits, if nobody says anything.
const PING_PATIENCE_S: u32 = 10;

struct Network {
    tunnel: Tunnel,
    behind: Namespace,
}

impl Network {
    fn new(peering: &Peering) -> Self {
        let tunnel = Tunnel::connected([&us(), &us()], peering).unwrap();
        let (gateway, behind) = (tunnel.namespace(0), Namespace::new().unwrap());
        cable([(gateway, "lan"), (&behind, VETH)]).unwrap();
        for (namespace, interface, host) in [(gateway, "lan", 1), (&behind, VETH, 2)] {
            for (network, length) in [("192.168.7.", 24), ("fd00:7::", 64)] {
                let address = format!("{network}{host}").parse().unwrap();
                namespace.add_address(interface, address, length).unwrap();
            }
        }
        gateway.enter(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        behind.ip("route add default via 192.168.7.1").unwrap();
        behind.ip("-6 route add default via fd00:7::1").unwrap();
        Self { tunnel, behind }
    }

    fn interface(&self) -> &str {
        &self.tunnel.sides[0].interface
    }

    fn answers(&self) -> u64 {
        worker_stats(self.interface(), "icmp_sent")
    }

    /// What `ping` says on the gateway and behind it.
    fn both_are_told(&self, target: &str) {
        for namespace in [self.tunnel.namespace(0), &self.behind] {
            let mut ping = namespace.command("ping");
            let said = output(ping.args(["-n", "-c", "1", "-W", &PING_PATIENCE_S.to_string(), target])).unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let expected = format!("From {target} icmp_seq=1 Destination ");
            let is_told = said.contains("Host Unreachable") || said.contains("Address unreachable");
            assert!(said.contains(&expected) && is_told, "{target}: {said}");
        }
    }
}

#[test]
fn of_an_address_that_nobody_has() {
    let network = Network::new(&Peering::default());
    for target in NOBODYS {
        network.both_are_told(target);
    }
    assert_eq!(network.answers(), 4);
    assert!(drops(network.interface(), "no_route") >= 4, "what was answered was dropped");
}

#[test]
fn of_a_peer_without_an_endpoint() {
    let network = Network::new(&Peering { knows_endpoint: [false, true], ..Peering::default() });
    for inner in [Family::V4, Family::V6] {
        network.both_are_told(&network.tunnel.sides[1].inner(inner).to_string());
    }
    assert!(drops(network.interface(), "no_endpoint") >= 4);
}

#[test]
fn of_a_peer_that_was_removed() {
    let network = Network::new(&Peering::default());
    network.tunnel.wait_until_open(0, OPENING).unwrap();
    let key = network.tunnel.sides[1].keys.public.hex();
    uapi::set(network.interface(), &format!("public_key={key}\nremove=true\n")).unwrap();
    for inner in [Family::V4, Family::V6] {
        network.both_are_told(&network.tunnel.sides[1].inner(inner).to_string());
    }
}

/// Sends `message` of ICMP or ICMPv6, whose checksum only the latter's kernel makes, to an address that nobody has.
fn send_icmp(network: &Network, target: &str, message: &[u8]) {
    let target: IpAddr = target.parse().unwrap();
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let open = || socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let socket = network.tunnel.namespace(0).enter(open);
    let address = SockaddrStorage::from(SocketAddr::new(target, 0));
    sendto(socket.as_raw_fd(), message, &address, MsgFlags::empty()).unwrap();
}

#[test]
fn nobody_is_told_of_errors_and_of_what_is_for_many() {
    let network = Network::new(&Peering::default());
    let interface = network.interface();
    let dropped = || drops(interface, "no_route");
    for (target, error) in NOBODYS.into_iter().zip([[3, 1, 0, 0, 0, 0, 0, 0, 0x45], [1, 3, 0, 0, 0, 0, 0, 0, 0x60]]) {
        let before = dropped();
        send_icmp(&network, target, &error);
        eventually(PATIENCE, "the error is counted", || dropped() > before);
    }
    for group in ["224.0.0.251", "ff0e::7"] {
        let before = dropped();
        let mut ping = network.tunnel.namespace(0).command("ping");
        output(ping.args(["-n", "-c", "1", "-W", "1", "-I", interface, group])).unwrap();
        eventually(PATIENCE, "the ping to many is counted", || dropped() > before);
    }
    assert_eq!(network.answers(), 0);
    // That it is the kind of the messages that kept it silent:
    send_icmp(&network, NOBODYS[1], &[128, 0, 0, 0, 0, 1, 0, 1]);
    eventually(PATIENCE, "an echo request is answered", || network.answers() == 1);
}

#[test]
fn so_often_and_no_more() {
    let network = Network::new(&Peering::default());
    let interface = network.interface();
    let socket = network.tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    eventually(PATIENCE, "some are left out", || {
        for _ in 0..200 {
            socket.send_to(b"anybody there?", (NOBODYS[0], 9)).unwrap();
        }
        worker_stats(interface, "icmp_suppressed") > 0
    });
    assert!(network.answers() >= u64::from(Allowance::BURST), "only {} were answered", network.answers());
}
