//! What is counted as sent has left, and what waits because there is no key is said.

use std::net::UdpSocket;

use ringfort_testbed::daemon::Daemon;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Namespace, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{drops, eventually, us};

const KEY: &str = "private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n";
const PEER: &str = "public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33\n\
                    allowed_ip=10.9.0.0/24\nendpoint=203.0.113.1:51820\n";

fn sent(interface: &str) -> u64 {
    uapi::transfer(&uapi::get(interface).unwrap()).1
}

fn stat(interface: &str, name: &str) -> u64 {
    uapi::stats(interface).unwrap()[name]
}

/// A gateway that has an interface and no network besides.
fn lonely() -> (Daemon, Namespace) {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    (daemon, namespace)
}

#[test]
fn initiations_without_a_route_have_not_been_sent() {
    let (daemon, namespace) = lonely();
    let interface = daemon.interface();
    uapi::set(interface, &format!("{KEY}{PEER}persistent_keepalive_interval=1\n")).unwrap();
    namespace.ip(&format!("link set {interface} up")).unwrap();
    eventually(PATIENCE, "two fail", || stat(interface, "handshakes_unsent") >= 2);
    assert_eq!((sent(interface), stat(interface, "handshakes_sent")), (0, 0));
}

#[test]
fn data_that_the_kernel_refuses_has_not_been_sent() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let (here, interface) = (tunnel.namespace(0), &tunnel.sides[0].interface);
    let there = tunnel.sides[1].outer(Family::V4);
    let socket = here.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let target = (tunnel.sides[1].inner(Family::V4), 9);
    let speak = || socket.send_to(&[0; 1_000], target);
    let before = sent(interface);
    eventually(PATIENCE, "what leaves is counted", || speak().is_ok() && sent(interface) > before + 10_000);
    here.ip(&format!("route add prohibit {there}/32")).unwrap();
    // What was on its way has left by the time that something is refused.
    let failed = drops(interface, "send_failed");
    eventually(PATIENCE, "it is refused", || speak().is_ok() && drops(interface, "send_failed") > failed);
    let counted = || ["udp_send_datagrams", "udp_send_trains"].map(|name| stat(interface, name));
    let (before, failed) = ((sent(interface), counted()), drops(interface, "send_failed"));
    eventually(PATIENCE, "much is", || speak().is_ok() && drops(interface, "send_failed") > failed + 20);
    assert_eq!((sent(interface), counted()), before, "none of it has left, and no train");
    let [datagrams, trains] = counted();
    assert!(trains > 0 && datagrams >= trains, "{datagrams} datagrams in {trains} trains");
}

#[test]
fn packets_that_wait_for_a_private_key_are_counted_and_said() {
    let (daemon, namespace) = lonely();
    let interface = daemon.interface();
    uapi::set(interface, PEER).unwrap();
    namespace.ip(&format!("link set {interface} up")).unwrap();
    namespace.ip(&format!("address add 10.9.0.1/24 dev {interface}")).unwrap();
    let socket = namespace.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for _ in 0..5 {
        socket.send_to(&[0; 100], "10.9.0.2:9").unwrap();
    }
    eventually(PATIENCE, "they are counted", || stat(interface, "staged_without_private_key") == 5);
    eventually(PATIENCE, "it is said", || daemon.log().contains("the interface has no private key"));
    assert_eq!(daemon.log().matches("the interface has no private key").count(), 1, "once");
    uapi::set(interface, KEY).unwrap();
    assert_eq!(stat(interface, "staged_without_private_key"), 0);
}
