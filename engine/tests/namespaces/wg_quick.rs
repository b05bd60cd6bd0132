//! `wg-quick up` and `wg-quick down` with Ringfort as the implementation, inside a namespace.
//!
//! `wg-quick` asks the kernel for an interface first, and takes the implementation in user space when that fails. To
//! behave alike on machines whose kernel has WireGuard, a copy of it runs beside an `ip` that refuses only that.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{
    Daemon, Family, Implementation, KeyPair, Namespace, Tunnel, Wire, command, janitor, ping, uapi,
};

use crate::harness::traffic::{OPENING, exchange};
use crate::harness::{eventually, peer, us, wg};

const IP: &str = r#"#!/bin/sh
case "$*" in
    "link add "*" type wireguard") echo "Error: Unknown device type." >&2; exit 2 ;;
esac
PATH=/usr/sbin:/usr/bin:/sbin:/bin exec ip "$@"
"#;

/// A directory with `wg-quick`, our `ip`, the gateway, and configurations.
struct Quick {
    directory: PathBuf,
}

impl Quick {
    fn new() -> Self {
        let directory = janitor::directory().join(janitor::unique_name());
        std::fs::create_dir(&directory).unwrap();
        let quick = Self { directory };
        let source = command::run(Command::new("sh").args(["-c", "command -v wg-quick"])).unwrap();
        command::copy_program(Path::new(source.trim()), &quick.directory.join("wg-quick")).unwrap();
        command::write_program(IP, &quick.directory.join("ip")).unwrap();
        symlink(us().path, quick.directory.join("ringfort")).unwrap();
        quick
    }

    fn write(&self, interface: &str, config: &str) -> PathBuf {
        let path = self.directory.join(format!("{interface}.conf"));
        std::fs::write(&path, config).unwrap();
        path
    }

    fn run(&self, namespace: &Namespace, action: &str, config: &PathBuf) {
        let mut command = namespace.command(self.directory.join("wg-quick"));
        command.arg(action).arg(config).env("WG_QUICK_USERSPACE_IMPLEMENTATION", "ringfort");
        command::run(&mut command).unwrap();
    }
}

/// Everything that `wg-quick up` makes, as text: equal before `up` and after `down`.
fn state(namespace: &Namespace) -> String {
    let commands =
        ["ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table main", "nft list ruleset"];
    let mut text: String = commands.iter().map(|line| namespace.run(line).unwrap()).collect();
    text += &namespace.ip("-brief link").unwrap();
    // A cable that was plugged in just now settles by itself.
    let settled = text.lines().filter(|line| !line.starts_with("fe80:"));
    settled.map(|line| line.replace(" linkdown", "") + "\n").collect()
}

struct Far {
    _daemon: Daemon,
    keys: KeyPair,
}

/// The other end: wireguard-go, knowing us.
fn far_side(namespace: &Namespace, us: &KeyPair) -> Far {
    let keys = KeyPair::random().unwrap();
    let interface = janitor::unique_name();
    let daemon = Daemon::start(&peer(Implementation::WireguardGo), namespace, &interface).unwrap();
    let lines = format!(
        "private_key={}\nlisten_port={PORT}\npublic_key={}\nallowed_ip=10.77.0.1/32\nallowed_ip=fd00:77::1/128\n",
        keys.private.hex(),
        us.public.hex()
    );
    uapi::set(&interface, &lines).unwrap();
    for (address, length) in [("10.77.0.2", 24), ("fd00:77::2", 64), ("10.99.0.2", 32), ("fd00:99::2", 128)] {
        namespace.add_address(&interface, address.parse().unwrap(), length).unwrap();
    }
    namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
    Far { _daemon: daemon, keys }
}

/// Up, pings to `targets`, down; and nothing is left. Then once more, as after a change of the configuration.
fn up_and_down(outer: Family, allowed_ips: &str, targets: &[&str], expected_mtu: u32) {
    let wire = Wire::new().unwrap();
    let [here, there] = &wire.ends;
    let keys = KeyPair::random().unwrap();
    let far = far_side(there, &keys);
    let endpoint = match outer {
        Family::V4 => "10.200.0.2:51820",
        Family::V6 => "[fd00:200::2]:51820",
    };
    let config = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.77.0.1/24, fd00:77::1/64\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = {allowed_ips}\nEndpoint = {endpoint}\nPersistentKeepalive = 20\n",
        keys.private.base64(),
        far.keys.public.base64()
    );
    let quick = Quick::new();
    let interface = janitor::unique_name();
    let path = quick.write(&interface, &config);
    let before = state(here);
    for _ in 0..2 {
        quick.run(here, "up", &path);
        for target in targets {
            ping::until_answered(here, target.parse().unwrap(), OPENING).unwrap();
        }
        let link = here.ip(&format!("link show dev {interface}")).unwrap();
        assert!(link.contains(&format!("mtu {expected_mtu} ")), "{link}");
        assert!(wg::only_peer(&interface).unwrap().latest_handshake > 0);
        quick.run(here, "down", &path);
        eventually(OPENING, "the gateway ends", || here.processes().unwrap().is_empty());
        assert!(!uapi::socket_path(&interface).exists(), "a socket was left behind");
        assert_eq!(state(here), before);
    }
}

#[test]
fn up_and_down_with_routes_to_a_network() {
    up_and_down(
        Family::V4,
        "10.77.0.0/24, fd00:77::/64, 10.99.0.0/16",
        &["10.77.0.2", "fd00:77::2", "10.99.0.2"],
        1_420,
    );
}

/// The fwmark keeps our own datagrams out of the tunnel: without it they would loop, and no ping would come back.
#[test]
fn up_and_down_with_a_default_route_over_v4() {
    let targets = ["10.77.0.2", "fd00:77::2", "10.99.0.2", "fd00:99::2"];
    up_and_down(Family::V4, "0.0.0.0/0, ::/0", &targets, 1_420);
}

#[test]
fn up_and_down_with_a_default_route_over_v6() {
    let targets = ["10.77.0.2", "fd00:77::2", "10.99.0.2", "fd00:99::2"];
    up_and_down(Family::V6, "0.0.0.0/0, ::/0", &targets, 1_420);
}

/// `wg-quick strip` feeds `wg syncconf`, as the manual page has it, while traffic runs.
#[test]
fn strip_and_syncconf() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = &tunnel.sides[0].interface;
    let quick = Quick::new();
    let config = wg::config(&tunnel, 0, &Peering { keepalive_s: 21, ..Peering::default() });
    let path = quick.write(interface, &config.replace("[Interface]", "[Interface]\nAddress = 10.77.0.1/24"));
    let stripped = command::run(Command::new(quick.directory.join("wg-quick")).arg("strip").arg(&path)).unwrap();
    wg::wg_with_input(&format!("syncconf {interface} /dev/stdin"), &stripped).unwrap();
    assert_eq!(wg::only_peer(interface).unwrap().keepalive, "21");
    exchange(&tunnel, Family::V4, MTU as usize, 200_000);
}
