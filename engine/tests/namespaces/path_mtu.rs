//! What anybody says about the MTU of the path, and a path that really is narrow.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ringfort_testbed::capture::Capture;
use ringfort_testbed::netns::VETH;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Family, Namespace, Tunnel, forge, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, us};

/// The least that the kernel believes: `net.ipv4.route.min_pmtu`, and the least MTU of an IPv6 link.
fn least_mtu(outer: Family) -> u16 {
    match outer {
        Family::V4 => 552,
        Family::V6 => 1_280,
    }
}

/// A counter of the kernel's own in a namespace, of IPv4 or IPv6.
fn counted(namespace: &Namespace, family: Family, name: &str) -> u64 {
    let read = |file: &str| namespace.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap());
    let value = match family {
        Family::V6 => read("snmp6").lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().parse())),
        Family::V4 => {
            // Two lines for each protocol: names, then values.
            let table = read("snmp");
            let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
            let column =
                |pair: &[Vec<&str>]| pair[0].iter().position(|n| *n == name).map(|place| pair[1][place].parse());
            lines.chunks(2).find_map(column)
        }
    };
    value.unwrap_or_else(|| panic!("no counter {name}")).unwrap()
}

/// Outer packets in fragments, made by side 0 or put together by side 1.
fn fragments(tunnel: &Tunnel, outer: Family) -> u64 {
    let (made, needed) = match outer {
        Family::V4 => ("FragCreates", "ReasmReqds"),
        Family::V6 => ("Ip6FragCreates", "Ip6ReasmReqds"),
    };
    counted(tunnel.namespace(0), outer, made) + counted(tunnel.namespace(1), outer, needed)
}

/// Somebody on the network of side 1 who takes no part in the tunnel.
struct Stranger<'a> {
    tunnel: &'a Tunnel,
    outer: Family,
    address: IpAddr,
}

impl<'a> Stranger<'a> {
    fn new(tunnel: &'a Tunnel, outer: Family) -> Self {
        let (address, length) = match outer {
            Family::V4 => ("10.200.0.66", 24),
            Family::V6 => ("fd00:200::66", 64),
        };
        let address = address.parse().unwrap();
        tunnel.namespace(1).add_address(VETH, address, length).unwrap();
        Self { tunnel, outer, address }
    }

    /// Says that what port `port` of side 0 sends to side 1 does not fit. Returns when the kernel of side 0 has heard.
    fn says_too_big(&self, port: u16) {
        let name = match self.outer {
            Family::V4 => "InDestUnreachs",
            Family::V6 => "Icmp6InPktTooBigs",
        };
        let heard = || counted(self.tunnel.namespace(0), self.outer, name);
        let before = heard();
        let [victim, remote] = [0, 1].map(|side| self.tunnel.sides[side].outer(self.outer));
        let (victim, remote) = (SocketAddr::new(victim, port), SocketAddr::new(remote, PORT));
        forge::packet_too_big(self.tunnel.namespace(1), self.address, victim, remote, least_mtu(self.outer)).unwrap();
        eventually(PATIENCE, "the ICMP error arrives", || heard() > before);
    }

    /// The same about a socket that listens to such errors, so the route of all of side 0 has the small MTU.
    fn narrows_the_route(&self) {
        let [here, there] = [0, 1].map(|side| self.tunnel.sides[side].outer(self.outer));
        let gullible = self.tunnel.namespace(0).enter(|| std::net::UdpSocket::bind((here, 0))).unwrap();
        self.says_too_big(gullible.local_addr().unwrap().port());
        let route = self.tunnel.namespace(0).ip(&format!("route get {there}")).unwrap();
        let expected = format!("mtu {}", least_mtu(self.outer));
        assert!(route.contains(&expected), "the forged error is one that the kernel believes: {route}");
    }
}

/// The largest packet that the tunnel takes goes over the wire in one piece.
fn assert_lone_datagrams_are_whole(tunnel: &Tunnel, outer: Family) {
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    let longest = MTU as usize + 32;
    let is_whole = |datagram: &ringfort_testbed::capture::Datagram| {
        datagram.destination.ip() == tunnel.sides[1].outer(outer) && datagram.payload.len() == longest
    };
    // One that leaves in the same turn as another packet for the peer is part of a train, and seen as one with it.
    eventually(PATIENCE, &format!("a datagram of {longest} bytes"), || {
        pinger.ping(MTU as usize - 28, PATIENCE).unwrap();
        let seen = capture.datagrams_until(PORT, Duration::from_millis(200), |seen| seen.iter().any(is_whole));
        seen.iter().any(is_whole)
    });
}

/// Neither lone datagrams nor trains are any smaller, or sent in another way, whatever a stranger says.
fn a_forged_icmp_error_costs_nothing(outer: Family) {
    let peering = Peering { outer, ..Peering::default() };
    let tunnel = Tunnel::connected([&us(), &us()], &peering).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let stranger = Stranger::new(&tunnel, outer);
    stranger.says_too_big(PORT);
    assert_lone_datagrams_are_whole(&tunnel, outer);
    let (progress, bytes) = (AtomicU64::new(0), 32 << 20);
    let address = tunnel.sides[1].inner(Family::V4);
    let [from, to] = [0, 1].map(|side| tunnel.namespace(side));
    thread::scope(|scope| {
        let stream = scope.spawn(|| tcp::transfer(from, to, address, Amount::Bytes(bytes), &progress));
        let reached = |part: u64| progress.load(Ordering::Relaxed) >= part;
        for (part, narrow_route) in [(1 << 20, false), (8 << 20, true), (16 << 20, false)] {
            eventually(PATIENCE, "the stream flows", || reached(part) || stream.is_finished());
            if narrow_route {
                stranger.narrows_the_route();
            } else {
                stranger.says_too_big(PORT);
            }
        }
        stream.join().unwrap().unwrap();
    });
    assert_lone_datagrams_are_whole(&tunnel, outer);
    let stats = uapi::stats(&tunnel.sides[0].interface).unwrap();
    let of = |name: &str| stats[name];
    assert_eq!((of("udp_retries_unsegmented"), of("udp_trains_split")), (0, 0), "{stats:?}");
    assert_eq!(of("drop_send_failed"), 0);
    assert!(of("udp_send_datagrams") > 2 * of("udp_send_trains"), "the stream left in trains: {stats:?}");
    assert_eq!(fragments(&tunnel, outer), 0);
}

#[test]
fn a_forged_icmp_error_costs_nothing_over_v4() {
    a_forged_icmp_error_costs_nothing(Family::V4);
}

#[test]
fn a_forged_icmp_error_costs_nothing_over_v6() {
    a_forged_icmp_error_costs_nothing(Family::V6);
}

/// Side 0 sends through a device that is narrower than the tunnel, until it is not: datagrams leave one by one, in
/// fragments, and later in trains again.
fn a_narrow_device_is_noticed_and_its_end_too(outer: Family) {
    let peering = Peering { outer, ..Peering::default() };
    let tunnel = Tunnel::connected([&us(), &us()], &peering).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let stream = || {
        let [from, to] = [0, 1].map(|side| tunnel.namespace(side));
        let address = tunnel.sides[1].inner(Family::V4);
        tcp::transfer(from, to, address, Amount::Bytes(4 << 20), &AtomicU64::new(0)).unwrap();
    };
    let figure = |name: &str| uapi::stats(&tunnel.sides[0].interface).unwrap()[name];
    tunnel.wire.set_mtu(1_400).unwrap();
    stream();
    assert!(figure("udp_retries_unsegmented") > 0 && figure("udp_trains_split") > 0);
    assert_eq!(figure("drop_send_failed"), 0, "what is refused as a train leaves one by one");
    assert!(fragments(&tunnel, outer) > 0);
    tunnel.wire.set_mtu(1_500).unwrap();
    eventually(Duration::from_secs(60), "trains are whole again", || {
        let before = figure("udp_trains_split");
        stream();
        figure("udp_trains_split") == before
    });
}

#[test]
fn a_narrow_device_is_noticed_and_its_end_too_over_v4() {
    a_narrow_device_is_noticed_and_its_end_too(Family::V4);
}

#[test]
fn a_narrow_device_is_noticed_and_its_end_too_over_v6() {
    a_narrow_device_is_noticed_and_its_end_too(Family::V6);
}
