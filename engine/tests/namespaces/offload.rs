//! Super-packets and congestion marks: what the kernel hands over in one piece, and what it says beside it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicU64;

use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::capture::{Capture, Datagram};
use ringfort_testbed::command::run_with_input;
use ringfort_testbed::payload::Pattern;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Family, Implementation, Tunnel, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{peer, us};

/// Of the traffic class (RFC 3168): able to carry a mark, and marked.
const ECT_0: i32 = 2;
const CONGESTED: u8 = 3;

struct Ends {
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Ends {
    /// Sockets in both namespaces; from side `from` to the other.
    fn new(tunnel: &Tunnel, from: usize, inner: Family) -> Self {
        let bind = |side: usize| {
            let address = SocketAddr::new(tunnel.sides[side].inner(inner), 0);
            tunnel.namespace(side).enter(|| UdpSocket::bind(address)).unwrap()
        };
        let (sender, receiver) = (bind(from), bind(1 - from));
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { sender, receiver }
    }
}

/// An application that sends with `UDP_SEGMENT`: one system call, many datagrams, the last of them shorter.
fn segmented_datagrams_arrive(partner: Implementation, from: usize) {
    let tunnel = Tunnel::connected([&us(), &peer(partner)], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    for inner in [Family::V4, Family::V6] {
        let ends = Ends::new(&tunnel, from, inner);
        for (segment, total) in [(1_200, 24_000), (1_200, 24_001), (100, 6_350), (1_372, 20_000), (1, 60), (900, 901)] {
            setsockopt(&ends.sender, sockopt::UdpGsoSegment, &segment).unwrap();
            let payload = Pattern::new(total as u64).peek(total).to_vec();
            assert_eq!(ends.sender.send(&payload).unwrap(), total);
            let mut missing: Vec<&[u8]> = payload.chunks(segment as usize).collect();
            let mut buffer = [0; 2_000];
            while !missing.is_empty() {
                let len = ends.receiver.recv(&mut buffer).unwrap_or_else(|error| {
                    panic!(
                        "{} of {} datagrams did not arrive: {error}",
                        missing.len(),
                        total.div_ceil(segment as usize)
                    )
                });
                let position = missing.iter().position(|datagram| *datagram == &buffer[..len]);
                let position = position.unwrap_or_else(|| panic!("a datagram of {len} bytes that was not sent so"));
                missing.remove(position);
            }
        }
    }
}

#[test]
fn segmented_datagrams_of_ours_arrive() {
    segmented_datagrams_arrive(Implementation::Ringfort, 0);
}

#[test]
fn segmented_datagrams_reach_wireguard_go() {
    segmented_datagrams_arrive(Implementation::WireguardGo, 0);
}

#[test]
fn segmented_datagrams_come_from_wireguard_go() {
    segmented_datagrams_arrive(Implementation::WireguardGo, 1);
}

/// A route over segments (SRv6): the IPv6 header has the first one, and the checksum is over the last.
#[test]
fn tcp_over_segments_passes() {
    const BYTES: u64 = 256 << 10;
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let [near, far] = &tunnel.sides;
    let (from, to) = (tunnel.namespace(0), tunnel.namespace(1));
    let (first, last) = (IpAddr::from(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9)), far.inner(Family::V6));
    to.add_address(&far.interface, first, 128).unwrap();
    for interface in ["all", far.interface.as_str()] {
        let enabled = format!("/proc/sys/net/ipv6/conf/{interface}/seg6_enabled");
        to.enter(|| fs::write(enabled, "1")).unwrap();
    }
    uapi::set(&near.interface, &format!("public_key={}\nallowed_ip={first}/128\n", far.keys.public.hex())).unwrap();
    let device = &near.interface;
    from.ip(&format!("-6 route add {first}/128 dev {device}")).unwrap();
    from.ip(&format!("-6 route add {last}/128 encap seg6 mode inline segs {first} dev {device}")).unwrap();
    tcp::transfer(from, to, last, Amount::Bytes(BYTES), &AtomicU64::new(0)).unwrap();
    let stats = uapi::stats(device).unwrap();
    assert_eq!(stats["drop_bad_vnet_header"], 0);
    assert!(stats["udp_send_datagrams"] > 2 * stats["udp_send_trains"], "there were super-packets: {stats:?}");
}

/// The address of side `side` on a network that is inside VXLAN, which is inside the tunnel.
fn overlay(side: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 78, 0, side as u8 + 1))
}

/// A VXLAN over the tunnel: before Linux 6.17 the kernel cannot describe its packets as super-packets, and cuts them up
/// before we read them.
fn lay_over(tunnel: &Tunnel) {
    for side in [0, 1] {
        let namespace = tunnel.namespace(side);
        let [ours, theirs] = [side, 1 - side].map(|side| tunnel.sides[side].inner(Family::V4));
        let (device, address) = (&tunnel.sides[side].interface, overlay(side));
        namespace
            .ip(&format!(
                "link add vx0 mtu 1370 type vxlan id 7 dstport 4789 local {ours} remote {theirs} dev {device}"
            ))
            .unwrap();
        namespace.ip(&format!("address add {address}/24 dev vx0")).unwrap();
        namespace.ip("link set vx0 up").unwrap();
    }
}

#[test]
fn what_is_in_vxlan_leaves_in_trains() {
    const BYTES: u64 = 32 << 20;
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    lay_over(&tunnel);
    let sent = || {
        let stats = uapi::stats(&tunnel.sides[0].interface).unwrap();
        (stats["udp_send_datagrams"], stats["udp_send_trains"])
    };
    let before = sent();
    let (from, to) = (tunnel.namespace(0), tunnel.namespace(1));
    tcp::transfer(from, to, overlay(1), Amount::Bytes(BYTES), &AtomicU64::new(0)).unwrap();
    let after = sent();
    let (datagrams, trains) = (after.0 - before.0, after.1 - before.1);
    assert!(datagrams > BYTES / 1_370, "it went through the tunnel, in {datagrams} datagrams");
    assert!(datagrams > 3 * trains, "{datagrams} datagrams left in {trains} trains");
}

/// Marks every datagram of the tunnel that arrives at side 1, if it can carry the mark.
fn congest(tunnel: &Tunnel, outer: Family) {
    let (family, field) = if outer == Family::V4 { ("ip", "ip") } else { ("ip6", "ip6") };
    let rules = format!(
        "table {family} congestion {{ chain pre {{ type filter hook prerouting priority -300; \
         udp dport {PORT} {field} ecn ect0 {field} ecn set ce; }}; }}"
    );
    run_with_input(tunnel.namespace(1).command("nft").args(["-f", "-"]), &rules).unwrap();
}

/// Sends one datagram of the traffic class from side 0, and returns what side 1 sees: outside, and inside.
fn seen(tunnel: &Tunnel, inner: Family, class: i32) -> (Datagram, Datagram) {
    let ends = Ends::new(tunnel, 0, inner);
    match inner {
        Family::V4 => setsockopt(&ends.sender, sockopt::Ipv4Tos, &class).unwrap(),
        Family::V6 => setsockopt(&ends.sender, sockopt::Ipv6TClass, &class).unwrap(),
    }
    let [wire, application] = [0, 1].map(|_| Capture::start(tunnel.namespace(1)).unwrap());
    ends.sender.send(&[7; 333]).unwrap();
    let port = ends.receiver.local_addr().unwrap().port();
    let inside = application.datagrams_until(port, PATIENCE, |seen| !seen.is_empty()).pop();
    let is_it = |datagram: &Datagram| datagram.payload.len() > 300;
    let outside = wire.datagrams_until(PORT, PATIENCE, |seen| seen.iter().any(is_it)).into_iter().find(is_it);
    (outside.expect("the datagram was on the wire"), inside.expect("the datagram arrived"))
}

/// RFC 6040: the mark's place is copied outwards, a mark set on the way is copied inwards; the DSCP stays inside.
fn congestion_marks_are_propagated(outer: Family) {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering { outer, ..Peering::default() }).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    for inner in [Family::V4, Family::V6] {
        for (class, expected) in [(0, 0), (ECT_0, 2), (1, 1), (0xb8, 0), (0xb8 | ECT_0, 2)] {
            let (outside, inside) = seen(&tunnel, inner, class);
            assert_eq!(outside.traffic_class, expected, "outside of {inner:?} with class {class:#x}");
            assert_eq!(i32::from(inside.traffic_class), class, "inside of {inner:?}");
        }
    }
    congest(&tunnel, outer);
    for inner in [Family::V4, Family::V6] {
        let (_, inside) = seen(&tunnel, inner, 0xb8 | ECT_0);
        assert_eq!(inside.traffic_class, 0xb8 | CONGESTED, "the mark goes in, {inner:?}");
        let (_, inside) = seen(&tunnel, inner, 0xb8);
        assert_eq!(inside.traffic_class, 0xb8, "what cannot be marked is not, {inner:?}");
    }
}

#[test]
fn congestion_marks_are_propagated_over_v4() {
    congestion_marks_are_propagated(Family::V4);
}

#[test]
fn congestion_marks_are_propagated_over_v6() {
    congestion_marks_are_propagated(Family::V6);
}
