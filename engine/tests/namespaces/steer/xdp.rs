//! The same by a program in the XDP hook, which `ip link` loads. It needs neighbours that are known, and devices that
//! forward: whatever it does not pass on, it leaves to the kernel, and to the rules of nftables.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use ringfort_testbed::command::output;
use ringfort_testbed::netns::{Namespace, VETH, cable};
use ringfort_testbed::{Family, janitor};

use super::{Lab, each_message_goes_to_its_node, message, set_forwarding, what_goes_through_is_left_alone};
use crate::harness::us;

/// Another cable between the gateways.
const MESH: &str = "mesh0";

/// Writes a program, and loads it on a device.
fn load(namespace: &Namespace, hook: &str, device: &str, options: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let steer = output(Command::new(us().path).args(["steer", "xdp"]).args(options.split_whitespace())).unwrap();
    assert!(steer.status.success(), "{steer:?}");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = janitor::directory().join(format!("steer-{}-{count}.o", std::process::id()));
    fs::write(&file, steer.stdout).unwrap();
    namespace.run(&format!("ip -force link set dev {device} {hook} obj {} sec xdp", file.display())).unwrap();
    let shown = namespace.ip(&format!("link show dev {device}")).unwrap();
    assert!(shown.contains(&format!(" {hook} ")) && shown.contains("name ringfort_steer"), "{options}:\n{shown}");
}

/// Has a gateway ask for a neighbour.
fn know(namespace: &Namespace, neighbour: IpAddr) {
    namespace.run(&format!("ping -q -c 1 -w 30 {neighbour}")).unwrap();
}

impl Lab {
    /// Loads the program of a gateway that takes itself for `own`, and the other one for `node`.
    fn steer_by_xdp(&self, gateway: usize, own: u8, node: u8) {
        let (namespace, other) = (&self.gateways[gateway].namespace, self.other(gateway));
        set_forwarding(namespace, true);
        know(namespace, other);
        load(namespace, "xdpgeneric", VETH, &format!("--self {own} --bits 3 --nodes {node}={other}"));
    }

    fn send(&self, count: usize) {
        let socket = self.socket(64);
        (0..count).for_each(|_| assert_eq!(socket.send(&message(4, 64, 4, 1)).unwrap(), 64));
    }
}

#[test]
fn the_kernel_takes_every_program() {
    let namespace = Namespace::new().unwrap();
    namespace.ip(&format!("link add {VETH} type veth peer name peer")).unwrap();
    let crowd: Vec<_> = (0..256).flat_map(|n| [format!("{n}=10.0.1.{n}"), format!("{n}=fd00::{n:x}")]).collect();
    let crowd = format!("--self 0 --bits 8 --nodes {}", crowd.join(","));
    for hook in ["xdpgeneric", "xdp"] {
        for options in [
            "--self 0 --bits 1 --nodes 1=10.0.0.1",
            "--self 0 --bits 1 --nodes 1=fd00::1 --port 1",
            "--self 1 --bits 2 --nodes 0=10.0.0.1,0=fd00::1,3=10.0.0.3 --to mesh0",
            "--self 1 --bits 2 --nodes 0=10.0.0.1,2=fd00::1 --port 65535",
            &crowd,
        ] {
            load(&namespace, hook, VETH, options);
        }
        namespace.ip(&format!("link set dev {VETH} {hook} off")).unwrap();
        let shown = namespace.ip(&format!("link show dev {VETH}")).unwrap();
        assert!(!shown.contains("xdp"), "{shown}");
    }
}

#[test]
fn each_message_goes_to_the_node_that_its_index_names() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer_by_xdp(0, 0, 1);
        lab.steer_by_xdp(1, 1, 0);
        each_message_goes_to_its_node(&lab);
    }
}

#[test]
fn what_is_not_for_the_gateway_is_left_alone() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer_by_xdp(0, 0, 1);
        what_goes_through_is_left_alone(&lab);
    }
}

/// Each gateway takes the other one for the owner.
#[test]
fn what_was_passed_on_is_never_passed_on_again() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer_by_xdp(0, 0, 1);
        lab.steer_by_xdp(1, 2, 1);
        lab.send(10);
        lab.await_drops("unknown_index", [0, 10]);
        assert_eq!(crate::harness::drops(&lab.gateways[0].interface, "other_node"), 0, "{family:?}");
    }
}

#[test]
fn what_it_cannot_pass_on_is_left_to_the_rules() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(family);
        lab.steer_by_xdp(0, 0, 1);
        lab.steer(0, 0, 1);
        lab.send(10);
        lab.await_drops("unknown_index", [0, 10]);
        assert_eq!(lab.passed_on(0), 0, "{family:?}: rules do nothing that the program has done");
        let namespace = &lab.gateways[0].namespace;
        set_forwarding(namespace, false);
        lab.send(10);
        lab.await_drops("unknown_index", [0, 20]);
        assert_eq!(lab.passed_on(0), 10, "{family:?}: the device does not forward");
        set_forwarding(namespace, true);
        namespace.ip(&format!("neighbour flush to {} dev {VETH}", lab.other(0))).unwrap();
        // The rules have the kernel ask for it.
        lab.send(1);
        lab.await_drops("unknown_index", [0, 21]);
        assert_eq!(lab.passed_on(0), 11, "{family:?}: the neighbour was not known");
        know(namespace, lab.other(0));
        lab.send(10);
        lab.await_drops("unknown_index", [0, 31]);
        assert_eq!(lab.passed_on(0), 11, "{family:?}");
        lab.await_drops("other_node", [0, 0]);
    }
}

/// Longer than the device takes: the rules have them in one piece.
#[test]
fn trains_are_left_to_the_rules() {
    let lab = Lab::new(Family::V4);
    lab.steer_by_xdp(0, 0, 1);
    lab.steer(0, 0, 1);
    let socket = lab.socket(64);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &64).unwrap();
    socket.send(&message(4, 64, 4, 1).repeat(40)).unwrap();
    lab.await_drops("unknown_index", [0, 40]);
    lab.await_drops("other_node", [0, 0]);
}

/// The other gateway is on another cable.
#[test]
fn frames_leave_through_another_device_only_if_they_may() {
    let lab = Lab::new(Family::V4);
    let [first, second] = lab.gateways.each_ref().map(|gateway| &gateway.namespace);
    cable([(first, MESH), (second, MESH)]).unwrap();
    for (namespace, address) in [(first, "10.211.0.10"), (second, "10.211.0.11")] {
        namespace.add_address(MESH, address.parse().unwrap(), 24).unwrap();
        // The way back to the client is through another device.
        for name in ["all", MESH] {
            namespace.enter(|| fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0")).unwrap();
        }
    }
    set_forwarding(first, true);
    first.await_carrier(MESH).unwrap();
    know(first, "10.211.0.11".parse().unwrap());
    let options = "--self 0 --bits 3 --nodes 1=10.211.0.11";
    load(first, "xdpgeneric", VETH, options);
    lab.send(5);
    lab.await_drops("other_node", [5, 0]);
    load(first, "xdpgeneric", VETH, &format!("{options} --to {MESH}"));
    lab.send(5);
    lab.await_drops("unknown_index", [0, 5]);
    lab.await_drops("other_node", [5, 0]);
    assert!(second.interface_counters(MESH).unwrap().received >= 5);
}

/// A router on the way would end it: the TTL is 1.
#[test]
fn a_node_behind_a_router_is_left_to_the_kernel() {
    let lab = Lab::new(Family::V4);
    let namespace = &lab.gateways[0].namespace;
    set_forwarding(namespace, true);
    know(namespace, lab.other(0));
    namespace.ip(&format!("route add 10.212.0.0/24 via {}", lab.other(0))).unwrap();
    load(namespace, "xdpgeneric", VETH, "--self 0 --bits 3 --nodes 1=10.212.0.1");
    lab.send(5);
    lab.await_drops("other_node", [5, 0]);
}
