//! Networks other than two machines on one cable: address translation, a tunnel inside a tunnel, changing MTUs.

use std::fs;
use std::thread::{self, sleep};
use std::time::Duration;

use ringfort_testbed::command::run_with_input;
use ringfort_testbed::netns::{Namespace, VETH, cable, inner_v4};
use ringfort_testbed::ping::{self, Pinger};
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Daemon, Family, Implementation, KeyPair, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE, exchange};
use crate::harness::{eventually, peer, seccomp, us, wg};

/// How long the router remembers: some keepalives of one second, in case the gateway is not run for a while.
const MEMORY: Duration = Duration::from_secs(5);

/// ```text
///   inside               router                      outside
///  [veth0] 192.168.7.2 ─ [lan] 192.168.7.1
///                        [wan] 10.200.0.254 ──────── [veth0] 10.200.0.1
/// ```
/// The router translates what comes from inside to its own address, and forgets a flow after [`MEMORY`] of silence.
struct Translated {
    inside: Side,
    outside: Side,
    router: Namespace,
}

/// A gateway of a hand-made network. Declared in this order: it ends before its namespace.
struct Side {
    _daemon: Daemon,
    interface: String,
    keys: KeyPair,
    namespace: Namespace,
}

impl Side {
    fn new(implementation: Implementation, namespace: Namespace, end: usize) -> Self {
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&peer(implementation), &namespace, &interface).unwrap();
        namespace.add_address(&interface, inner_v4(end), 24).unwrap();
        namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
        Self { _daemon: daemon, interface, keys: KeyPair::random().unwrap(), namespace }
    }

    fn configure(&self, other: &Side, allowed: usize, extra: &str) {
        let lines = format!(
            "private_key={}\nlisten_port={PORT}\npublic_key={}\nallowed_ip={}/32\n{extra}",
            self.keys.private.hex(),
            other.keys.public.hex(),
            inner_v4(allowed)
        );
        uapi::set(&self.interface, &lines).unwrap();
    }
}

impl Translated {
    fn new(inside: Implementation, outside: Implementation) -> Self {
        let [near, router, far] = std::array::from_fn(|_| Namespace::new().unwrap());
        cable([(&near, VETH), (&router, "lan")]).unwrap();
        cable([(&far, VETH), (&router, "wan")]).unwrap();
        let wiring = [
            (&near, VETH, "192.168.7.2"),
            (&router, "lan", "192.168.7.1"),
            (&router, "wan", "10.200.0.254"),
            (&far, VETH, "10.200.0.1"),
        ];
        for (namespace, interface, address) in wiring {
            namespace.add_address(interface, address.parse().unwrap(), 24).unwrap();
        }
        near.ip("route add default via 192.168.7.1").unwrap();
        let rules =
            "table ip nat { chain post { type nat hook postrouting priority 100; oifname \"wan\" masquerade; }; }";
        run_with_input(router.command("nft").args(["-f", "-"]), rules).unwrap();
        router.enter(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            let seconds = MEMORY.as_secs().to_string();
            fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", &seconds).unwrap();
            fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream", &seconds).unwrap();
        });
        Self { inside: Side::new(inside, near, 0), outside: Side::new(outside, far, 1), router }
    }
}

fn persistent_keepalives_hold_a_translation_open(inside: Implementation, outside: Implementation) {
    let network = Translated::new(inside, outside);
    network.outside.configure(&network.inside, 0, "");
    let keepalive = "endpoint=10.200.0.1:51820\npersistent_keepalive_interval=1\n";
    network.inside.configure(&network.outside, 1, keepalive);
    ping::until_answered(&network.inside.namespace, inner_v4(1), OPENING).unwrap();
    // Longer than the router remembers: only the keepalives make it.
    sleep(MEMORY + Duration::from_secs(3));
    Pinger::new(&network.outside.namespace, inner_v4(0)).unwrap().ping(56, PATIENCE).unwrap();
}

#[test]
fn behind_a_translating_router_we_stay_reachable() {
    persistent_keepalives_hold_a_translation_open(Implementation::Ringfort, Implementation::WireguardGo);
}

#[test]
fn a_peer_behind_a_translating_router_stays_reachable() {
    persistent_keepalives_hold_a_translation_open(Implementation::WireguardGo, Implementation::Ringfort);
}

/// The router loses its memory and gives us another port: the other side follows.
#[test]
fn a_router_that_restarts() {
    let network = Translated::new(Implementation::Ringfort, Implementation::Ringfort);
    network.outside.configure(&network.inside, 0, "");
    network.inside.configure(&network.outside, 1, "endpoint=10.200.0.1:51820\n");
    ping::until_answered(&network.inside.namespace, inner_v4(1), OPENING).unwrap();
    for port in [30_001, 30_002] {
        let rules = format!(
            "flush ruleset\ntable ip nat {{ chain post {{ type nat hook postrouting priority 100; \
             oifname \"wan\" ip protocol udp masquerade to :{port}; }}; }}"
        );
        run_with_input(network.router.command("nft").args(["-f", "-"]), &rules).unwrap();
        // Until it has forgotten the old translation.
        sleep(MEMORY + Duration::from_millis(500));
        ping::until_answered(&network.inside.namespace, inner_v4(1), OPENING).unwrap();
        let endpoint = || wg::only_peer(&network.outside.interface).unwrap().endpoint;
        let expected = format!("10.200.0.254:{port}");
        eventually(PATIENCE, &format!("{expected} is shown instead of {}", endpoint()), || endpoint() == expected);
        Pinger::new(&network.outside.namespace, inner_v4(0)).unwrap().ping(56, PATIENCE).unwrap();
    }
}

/// The datagrams of a second pair of gateways go through the tunnel of the first.
#[test]
fn a_tunnel_inside_a_tunnel() {
    const OUTER_PORT: u16 = PORT + 1;
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let keys = [0, 1].map(|_| KeyPair::random().unwrap());
    let names = [0, 1].map(|_| janitor::unique_name());
    let nested = [0, 1].map(|end| {
        let daemon = Daemon::start(&us(), tunnel.namespace(end), &names[end]).unwrap();
        let lines = format!(
            "private_key={}\nlisten_port={OUTER_PORT}\npublic_key={}\nallowed_ip=10.99.0.0/24\n\
             endpoint={}:{OUTER_PORT}\n",
            keys[end].private.hex(),
            keys[1 - end].public.hex(),
            inner_v4(1 - end)
        );
        uapi::set(&names[end], &lines).unwrap();
        let address = format!("10.99.0.{}", end + 1).parse().unwrap();
        tunnel.namespace(end).add_address(&names[end], address, 24).unwrap();
        tunnel.namespace(end).ip(&format!("link set {} mtu {} up", names[end], MTU - 80)).unwrap();
        daemon
    });
    let target = "10.99.0.2".parse().unwrap();
    ping::until_answered(tunnel.namespace(0), target, OPENING).unwrap();
    let amount = ringfort_testbed::tcp::Amount::Bytes(2 << 20);
    let progress = std::sync::atomic::AtomicU64::new(0);
    ringfort_testbed::tcp::transfer(tunnel.namespace(0), tunnel.namespace(1), target, amount, &progress).unwrap();
    drop(nested);
}

/// Two that know only a hub in the middle, which forwards between them: one gateway with two peers.
#[test]
fn a_hub_between_two_peers() {
    let [hub, left, right] = std::array::from_fn(|_| Namespace::new().unwrap());
    for (interface, network, spoke) in [("to_left", 0, &left), ("to_right", 1, &right)] {
        cable([(spoke, VETH), (&hub, interface)]).unwrap();
        for (namespace, interface, host) in [(&hub, interface, 1), (spoke, VETH, 2)] {
            let address = format!("10.200.{network}.{host}").parse().unwrap();
            namespace.add_address(interface, address, 24).unwrap();
        }
    }
    hub.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
    // Inner addresses: the hub 10.77.0.1, left 10.77.0.2, right 10.77.0.3.
    let hub = Side::new(Implementation::Ringfort, hub, 0);
    let left = Side::new(Implementation::Ringfort, left, 1);
    let right = Side::new(Implementation::WireguardGo, right, 2);
    for (spoke, network, end) in [(&left, 0, 1), (&right, 1, 2)] {
        hub.configure(spoke, end, "");
        let hub_endpoint = format!("allowed_ip=10.77.0.0/24\nendpoint=10.200.{network}.1:{PORT}\n");
        spoke.configure(&hub, 0, &hub_endpoint);
        ping::until_answered(&spoke.namespace, inner_v4(0), OPENING).unwrap();
    }
    for (from, to, address) in [(&left, &right, inner_v4(2)), (&right, &left, inner_v4(1))] {
        Pinger::new(&from.namespace, address).unwrap().ping(1_000, PATIENCE).unwrap();
        let amount = ringfort_testbed::tcp::Amount::Bytes(2 << 20);
        let progress = std::sync::atomic::AtomicU64::new(0);
        ringfort_testbed::tcp::transfer(&from.namespace, &to.namespace, address, amount, &progress).unwrap();
    }
}

/// The cable's MTU shrinks below what the tunnel needs, and grows again.
#[test]
fn the_mtu_of_the_way_changes() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    for mtu in [1_500, 1_300, 9_000, 1_400, 1_500] {
        tunnel.wire.set_mtu(mtu).unwrap();
        exchange(&tunnel, Family::V4, MTU as usize, 200_000);
    }
}

/// The tunnel's own MTU changes while it runs.
#[test]
fn the_mtu_of_the_tunnel_changes() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    for mtu in [1_280, 1_420, 576, 1_500] {
        tunnel.set_mtu(mtu).unwrap();
        exchange(&tunnel, Family::V4, mtu as usize, 200_000);
    }
}

/// Nothing can be sent for a while: the errors are survived, and the session too.
#[test]
fn the_cable_is_pulled_and_plugged_in_again() {
    for outer in [Family::V4, Family::V6] {
        let tunnel = Tunnel::connected([&us(), &us()], &Peering { outer, ..Peering::default() }).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
        let address = tunnel.sides[0].outer(outer);
        tunnel.namespace(0).ip(&format!("link set {VETH} down")).unwrap();
        let lost = Pinger::new(tunnel.namespace(0), inner_v4(1)).unwrap().ping(56, Duration::from_millis(300));
        assert!(lost.is_err(), "there is no way to the other side");
        tunnel.namespace(0).ip(&format!("link set {VETH} up")).unwrap();
        if outer == Family::V6 {
            // The kernel drops IPv6 addresses with the link.
            tunnel.namespace(0).add_address(VETH, address, 64).unwrap();
        }
        tunnel.wait_until_open(0, OPENING).unwrap();
        exchange(&tunnel, Family::V4, MTU as usize, 200_000);
    }
}

/// A machine without IPv6.
#[test]
fn without_ipv6() {
    let namespace = Namespace::new().unwrap();
    namespace.enter(|| fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")).unwrap();
    let far = Namespace::new().unwrap();
    cable([(&namespace, VETH), (&far, VETH)]).unwrap();
    for (namespace, address) in [(&namespace, "10.200.0.1"), (&far, "10.200.0.2")] {
        namespace.add_address(VETH, address.parse().unwrap(), 24).unwrap();
    }
    let ours = Side::new(Implementation::Ringfort, namespace, 0);
    let theirs = Side::new(Implementation::WireguardGo, far, 1);
    theirs.configure(&ours, 0, "");
    ours.configure(&theirs, 1, "endpoint=10.200.0.2:51820\n");
    ping::until_answered(&ours.namespace, inner_v4(1), OPENING).unwrap();
    ping::until_answered(&theirs.namespace, inner_v4(0), OPENING).unwrap();
}

/// A kernel without IPv6 at all (`ipv6.disable=1`, or not built in), as a filter of system calls imitates it.
#[test]
fn without_an_ipv6_stack() {
    let wire = ringfort_testbed::Wire::new().unwrap();
    let [near, far] = wire.ends;
    let interface = janitor::unique_name();
    let mut command = near.command(us().path);
    command.args(["-f", &interface]);
    seccomp::deny_sockets(&mut command, libc::AF_INET6, libc::EAFNOSUPPORT);
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "it answers", || uapi::get(&interface).is_ok());
    near.add_address(&interface, inner_v4(0), 24).unwrap();
    near.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
    let ours = Side { _daemon: daemon, interface, keys: KeyPair::random().unwrap(), namespace: near };
    let theirs = Side::new(Implementation::Ringfort, far, 1);
    theirs.configure(&ours, 0, "");
    ours.configure(&theirs, 1, "endpoint=10.200.0.2:51820\n");
    ping::until_answered(&ours.namespace, inner_v4(1), OPENING).unwrap();
    ping::until_answered(&theirs.namespace, inner_v4(0), OPENING).unwrap();
}

/// As fast as the answers come, four at a time, both ways, over both inner protocols.
#[test]
fn a_flood_of_pings_both_ways() {
    let tunnel = Tunnel::connected([&us(), &peer(Implementation::WireguardGo)], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    thread::scope(|scope| {
        for (from, inner) in [(0, Family::V4), (1, Family::V4), (0, Family::V6), (1, Family::V6)] {
            let mut pinger = Pinger::new(tunnel.namespace(from), tunnel.sides[1 - from].inner(inner)).unwrap();
            scope.spawn(move || {
                for number in 0..1_100 {
                    pinger.ping(number % 1_300, PATIENCE).unwrap();
                }
            });
        }
    });
}

/// ```text
///   near [veth0] 1500 ─ 1500 [lan] router [wan] 1400 ─ 1400 [veth0] far
/// ```
/// Nobody at the near end knows of the narrow link, and what ICMP says about it is not believed.
fn a_link_on_the_way_is_narrow(outer: Family, tunnel_mtu: u32) {
    let [near, router, far] = std::array::from_fn(|_| Namespace::new().unwrap());
    let (near_network, far_network, length) = match outer {
        Family::V4 => ("10.200.1.", "10.200.2.", 24),
        Family::V6 => ("fd00:201::", "fd00:202::", 64),
    };
    for (interface, network, end) in [("lan", near_network, &near), ("wan", far_network, &far)] {
        cable([(end, VETH), (&router, interface)]).unwrap();
        for (namespace, interface, host) in [(&router, interface, "1"), (end, VETH, "2")] {
            namespace.add_address(interface, format!("{network}{host}").parse().unwrap(), length).unwrap();
            let mtu = if network == far_network { 1_400 } else { 1_500 };
            namespace.ip(&format!("link set {interface} mtu {mtu}")).unwrap();
        }
        let version = if outer == Family::V6 { "-6 " } else { "" };
        end.ip(&format!("{version}route add default via {network}1")).unwrap();
    }
    router.enter(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    });
    let near = Side::new(Implementation::Ringfort, near, 0);
    let far = Side::new(Implementation::Ringfort, far, 1);
    let endpoint = |network: &str| match outer {
        Family::V4 => format!("endpoint={network}2:{PORT}\n"),
        Family::V6 => format!("endpoint=[{network}2]:{PORT}\n"),
    };
    near.configure(&far, 1, &endpoint(far_network));
    far.configure(&near, 0, &endpoint(near_network));
    for side in [&near, &far] {
        side.namespace.ip(&format!("link set {} mtu {tunnel_mtu}", side.interface)).unwrap();
    }
    ping::until_answered(&near.namespace, inner_v4(1), OPENING).unwrap();
    for (from, to, address) in [(&near, &far, inner_v4(1)), (&far, &near, inner_v4(0))] {
        Pinger::new(&from.namespace, address).unwrap().ping(tunnel_mtu as usize - 28, PATIENCE).unwrap();
        let amount = ringfort_testbed::tcp::Amount::Bytes(2 << 20);
        let progress = std::sync::atomic::AtomicU64::new(0);
        ringfort_testbed::tcp::transfer(&from.namespace, &to.namespace, address, amount, &progress).unwrap();
    }
}

/// The router fragments, since our packets allow it.
#[test]
fn a_link_on_the_way_is_narrow_over_v4() {
    a_link_on_the_way_is_narrow(Family::V4, MTU);
}

/// No router fragments IPv6: the tunnel's MTU is set to what fits.
#[test]
fn a_link_on_the_way_is_narrow_over_v6() {
    a_link_on_the_way_is_narrow(Family::V6, 1_400 - 80);
}
