//! An overlay network inside the tunnel: TCP in VXLAN, as between the nodes of a cluster. Where the kernel describes
//! super-packets in UDP tunnels, and takes them, these pass in one piece.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicU64;

use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, Namespace, Tunnel, uapi};
use tun_uring::{Offloads, Tun};

use crate::harness::traffic::OPENING;
use crate::harness::{peer, us};

const BYTES: u64 = 8 << 20;

/// An overlay over addresses of one family, whose outer UDP has a checksum or none.
#[derive(Clone, Copy, Debug)]
struct Overlay {
    outer: Family,
    checksum: bool,
}

const OVERLAYS: [Overlay; 3] = [
    Overlay { outer: Family::V4, checksum: true },
    Overlay { outer: Family::V4, checksum: false },
    Overlay { outer: Family::V6, checksum: false },
];

impl Overlay {
    /// The device of the overlay at both ends.
    fn lay(self, tunnel: &Tunnel) {
        for side in [0, 1] {
            let namespace = tunnel.namespace(side);
            let [ours, theirs] = [side, 1 - side].map(|side| tunnel.sides[side].inner(self.outer));
            let device = &tunnel.sides[side].interface;
            let checksum = match (self.outer, self.checksum) {
                (Family::V4, true) => "udpcsum",
                (Family::V4, false) => "noudpcsum",
                (Family::V6, true) => "noudp6zerocsumtx",
                (Family::V6, false) => "udp6zerocsumtx udp6zerocsumrx",
            };
            namespace
                .ip(&format!(
                    "link add vx0 mtu 1350 type vxlan id 7 dstport 4789 local {ours} remote {theirs} dev {device} \
                     {checksum}"
                ))
                .unwrap();
            for address in addresses(side) {
                namespace.add_address("vx0", address, if address.is_ipv4() { 24 } else { 64 }).unwrap();
            }
        }
        // Not before both are there: IPv6 counts a datagram without checksum that nobody receives as a wrong one.
        for side in [0, 1] {
            tunnel.namespace(side).ip("link set vx0 up").unwrap();
        }
    }

    fn lift(tunnel: &Tunnel) {
        for side in [0, 1] {
            tunnel.namespace(side).ip("link delete vx0").unwrap();
        }
    }
}

/// The addresses of side `side` in the overlay.
fn addresses(side: usize) -> [IpAddr; 2] {
    let host = side as u16 + 1;
    [Ipv4Addr::new(10, 78, 0, host as u8).into(), Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, host).into()]
}

/// What the kernel of a namespace dropped for a wrong checksum, over TCP and UDP.
fn checksum_errors(namespace: &Namespace) -> u64 {
    let snmp = namespace.run("cat /proc/net/snmp").unwrap();
    let of = |protocol: &str| {
        let mut lines = snmp.lines().filter(|line| line.starts_with(protocol)).map(str::split_whitespace);
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let found = names.zip(values).find(|(name, _)| *name == "InCsumErrors").unwrap().1;
        found.parse::<u64>().unwrap()
    };
    let udp6 = namespace.run("cat /proc/net/snmp6").unwrap();
    let udp6 = udp6.lines().find_map(|line| line.strip_prefix("Udp6InCsumErrors")).unwrap();
    of("Tcp:") + of("Udp:") + udp6.trim().parse::<u64>().unwrap()
}

/// Transfers over each overlay and each inner version of IP from side `from` to the other.
fn transfer(tunnel: &Tunnel, from: usize) {
    for overlay in OVERLAYS {
        overlay.lay(tunnel);
        let errors = || [0, 1].map(|side| checksum_errors(tunnel.namespace(side)));
        let before = errors();
        for address in addresses(1 - from) {
            let (here, there) = (tunnel.namespace(from), tunnel.namespace(1 - from));
            let report = tcp::transfer(here, there, address, Amount::Bytes(BYTES), &AtomicU64::new(0));
            assert_eq!(report.unwrap().bytes, BYTES, "{overlay:?} to {address}");
        }
        assert_eq!(errors(), before, "wrong checksums at both sides, {overlay:?}");
        Overlay::lift(tunnel);
    }
}

/// Whether this kernel has the offload.
fn kernel_knows_tunnels(tunnel: &Tunnel) -> bool {
    let probe = || Tun::create("probe0", 1, Offloads::ALL).unwrap().offloads().tunnels;
    tunnel.namespace(0).enter(probe)
}

#[test]
fn an_overlay_passes_in_super_packets() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let counted = |side: usize| {
        let stats = uapi::stats(&tunnel.sides[side].interface).unwrap();
        ["tun_reads", "tun_read_packets", "tun_writes", "tun_write_packets"].map(|name| stats[name])
    };
    let before = [counted(0), counted(1)];
    transfer(&tunnel, 0);
    let after = [counted(0), counted(1)];
    let [reads, read_packets, ..] = [0, 1, 2, 3].map(|i| after[0][i] - before[0][i]);
    let [.., writes, written_packets] = [0, 1, 2, 3].map(|i| after[1][i] - before[1][i]);
    assert!(read_packets > 2 * OVERLAYS.len() as u64 * BYTES / 1_350, "it went through the tunnel");
    if kernel_knows_tunnels(&tunnel) {
        assert!(read_packets > 3 * reads, "{read_packets} packets in {reads} reads");
        assert!(written_packets > 2 * writes, "{written_packets} packets in {writes} writes");
    }
    for side in [0, 1] {
        let log = tunnel.sides[side].daemon.as_ref().unwrap().log();
        assert!(!log.contains("refused a super-packet") && !log.contains("self-test"), "{log}");
    }
}

#[test]
fn an_overlay_passes_to_and_from_wireguard_go() {
    let tunnel = Tunnel::connected([&us(), &peer(Implementation::WireguardGo)], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    transfer(&tunnel, 0);
    transfer(&tunnel, 1);
}
