//! A route that leads our own datagrams back into the tunnel: they are dropped by name, and nothing comes of them.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::netns::VETH;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Daemon, Family, KeyPair, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE, exchange};
use crate::harness::{drops, eventually, us, wg, worker_stats};

const EVERYTHING: &str = "allowed_ip=0.0.0.0/0\nallowed_ip=::/0\n";
/// Segments of a train that is sent into the loop.
const SEGMENTS: u64 = 20;
/// How many packets may come of those that the test sends, with all repetitions of a handshake in that time: each once
/// more, in fragments at the worst. A loop makes a hundred thousand in a second.
const READS_MAX: u64 = 200;

struct Loop {
    tunnel: Tunnel,
    route: String,
}

impl Loop {
    /// Side 0 sends everything to side 1. The endpoint is not routed into the tunnel yet.
    fn new(outer: Family) -> Self {
        let tunnel = Tunnel::connected([&us(), &us()], &Peering { outer, ..Peering::default() }).unwrap();
        let [ours, theirs] = &tunnel.sides;
        uapi::set(&ours.interface, &format!("public_key={}\n{EVERYTHING}", theirs.keys.public.hex())).unwrap();
        let route = format!("{} dev {}", theirs.outer(outer), ours.interface);
        Self { tunnel, route }
    }

    fn close(&self) {
        self.tunnel.namespace(0).ip(&format!("route add {}", self.route)).unwrap();
    }

    fn open(&self) {
        self.tunnel.namespace(0).ip(&format!("route del {}", self.route)).unwrap();
        self.tunnel.wait_until_open(0, OPENING).unwrap();
        exchange(&self.tunnel, Family::V4, MTU as usize, 200_000);
    }

    fn interface(&self) -> &str {
        &self.tunnel.sides[0].interface
    }

    fn looped(&self) -> u64 {
        drops(self.interface(), "looped_endpoint")
    }

    fn reads(&self) -> u64 {
        worker_stats(self.interface(), "tun_read_packets")
    }

    fn ping_in_vain(&self, size: usize) {
        let mut pinger = Pinger::new(self.tunnel.namespace(0), self.tunnel.sides[1].inner(Family::V4)).unwrap();
        assert!(pinger.ping(size, Duration::from_millis(200)).is_err(), "the route leads nowhere");
    }

    /// Many datagrams in one system call, of which one train is made.
    fn send_train(&self) {
        let [from, to] = [0, 1].map(|side| SocketAddr::new(self.tunnel.sides[side].inner(Family::V4), 9));
        let socket = self.tunnel.namespace(0).enter(|| UdpSocket::bind(from)).unwrap();
        setsockopt(&socket, sockopt::UdpGsoSegment, &1_000).unwrap();
        assert_eq!(socket.send_to(&[7; 1_000 * SEGMENTS as usize], to).unwrap(), 1_000 * SEGMENTS as usize);
    }
}

fn data_that_comes_back_is_dropped(outer: Family) {
    let endless = Loop::new(outer);
    endless.tunnel.wait_until_open(0, OPENING).unwrap();
    endless.close();
    let before = endless.reads();
    endless.ping_in_vain(56);
    eventually(PATIENCE, "the datagram with the ping is counted", || endless.looped() >= 1);
    endless.send_train();
    eventually(PATIENCE, "each datagram of a train is counted", || endless.looped() > SEGMENTS);
    // One that fills the tunnel's MTU, and is too long for it when it comes back.
    endless.ping_in_vain(MTU as usize - 28);
    for _ in 0..5 {
        endless.ping_in_vain(56);
    }
    let reads = endless.reads() - before;
    assert!(reads < READS_MAX, "{reads} packets were read");
    endless.open();
}

fn a_handshake_that_comes_back_is_dropped(outer: Family) {
    let endless = Loop::new(outer);
    endless.close();
    let before = endless.reads();
    endless.ping_in_vain(56);
    eventually(PATIENCE, "the initiation is counted", || endless.looped() >= 1);
    let reads = endless.reads() - before;
    assert!(reads < READS_MAX, "{reads} packets were read");
    endless.open();
}

/// Two peers, each of which would be reached through the other. They are one gateway's two interfaces.
#[test]
fn two_endpoints_behind_each_other() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    let ours = tunnel.sides[0].interface.as_str();
    let (far, key, second) = (tunnel.namespace(1), KeyPair::random().unwrap(), janitor::unique_name());
    let _second_gateway = Daemon::start(&us(), far, &second).unwrap();
    far.add_address(VETH, "10.200.0.3".parse().unwrap(), 24).unwrap();
    let endpoints = ["10.200.0.2", "10.200.0.3"];
    let us_there = format!("public_key={}\nallowed_ip=10.77.0.1/32\n", tunnel.sides[0].keys.public.hex());
    uapi::set(&second, &format!("private_key={}\nlisten_port={}\n{us_there}", key.private.hex(), PORT + 1)).unwrap();
    far.ip(&format!("link set {second} up")).unwrap();
    let peers = [
        format!("public_key={}\nallowed_ip={}/32\n", tunnel.sides[1].keys.public.hex(), endpoints[1]),
        format!(
            "public_key={}\nendpoint={}:{}\npersistent_keepalive_interval=1\nallowed_ip={}/32\n",
            key.public.hex(),
            endpoints[1],
            PORT + 1,
            endpoints[0]
        ),
    ];
    uapi::set(ours, &peers.concat()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    eventually(PATIENCE, "both are connected", || {
        wg::peers(ours).unwrap().iter().all(|peer| peer.latest_handshake > 0)
    });
    let before = worker_stats(ours, "tun_read_packets");
    for endpoint in endpoints {
        tunnel.namespace(0).ip(&format!("route add {endpoint} dev {ours}")).unwrap();
    }
    eventually(PATIENCE, "what goes round is counted", || drops(ours, "looped_endpoint") >= 3);
    let reads = worker_stats(ours, "tun_read_packets") - before;
    assert!(reads < READS_MAX, "{reads} packets were read");
}

#[test]
fn data_over_ipv4_that_comes_back_is_dropped() {
    data_that_comes_back_is_dropped(Family::V4);
}

#[test]
fn data_over_ipv6_that_comes_back_is_dropped() {
    data_that_comes_back_is_dropped(Family::V6);
}

#[test]
fn a_handshake_over_ipv4_that_comes_back_is_dropped() {
    a_handshake_that_comes_back_is_dropped(Family::V4);
}

#[test]
fn a_handshake_over_ipv6_that_comes_back_is_dropped() {
    a_handshake_that_comes_back_is_dropped(Family::V6);
}
