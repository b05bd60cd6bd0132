//! Where a flood happens.
//!
//! ```text
//!   a ── veth0 ──────────── veth0 ── b ── to1 ──────── veth0 ── the attacker, who has all addresses of two networks
//!   a's gateway, TCP ───► b's gateway │
//!                                     └── to2 ──────── veth0 ── an honest peer, which begins again and again
//! ```
//!
//! Beside the same flood that nftables drops before it reaches the gateway: the attacker's own work is in both.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ringfort_testbed::command::run_with_input;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::{VETH, cable};
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Context, Daemon, Family, KeyPair, Namespace, Result, Tunnel, janitor, ping, uapi};

use super::attack::{ADDRESSES_V4, ADDRESSES_V6};

const OPEN_WITHIN: Duration = Duration::from_secs(15);
const HONEST_V4: &str = "10.77.0.9";
const HONEST_PORT: u16 = 51_830;

/// See the module. Dropping it removes everything.
pub struct Place {
    /// The two gateways; side 1 is attacked.
    pub tunnel: Tunnel,
    attacker: Namespace,
    honest: Honest,
}

struct Honest {
    daemon: Daemon,
    namespace: Namespace,
    keys: KeyPair,
}

/// The attacked gateway, as the attacker reaches it.
pub fn target(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([10, 201, 0, 1], PORT)),
        Family::V6 => SocketAddr::from(([0xfd00, 0x201, 0, 0, 0, 0, 0, 1], PORT)),
    }
}

/// What becomes of the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The gateway gets it.
    Arrives,
    /// nftables drops it.
    Dropped,
}

impl Place {
    /// Makes it, and waits until the tunnel carries packets.
    ///
    /// # Errors
    /// Not root, something is not installed, or a gateway does not start.
    pub fn new(program: &Program, outer: Family) -> Result<Self> {
        let tunnel = Tunnel::connected([program, program], &Peering { outer, ..Peering::default() })?;
        tunnel.wait_until_open(0, OPEN_WITHIN)?;
        let victim = tunnel.namespace(1);
        let attacker = Namespace::new()?;
        join(victim, "to1", 1, &attacker)?;
        attacker.ip(&format!("route add local {ADDRESSES_V4} dev lo"))?;
        attacker.ip(&format!("-6 route add local {ADDRESSES_V6} dev lo"))?;
        // A local route is enough for IPv4. IPv6 wants to be told.
        let nonlocal = "/proc/sys/net/ipv6/ip_nonlocal_bind";
        attacker.enter(|| fs::write(nonlocal, "1")).context(format_args!("writing {nonlocal}"))?;
        victim.ip(&format!("route add {ADDRESSES_V4} via 10.201.0.2"))?;
        victim.ip(&format!("-6 route add {ADDRESSES_V6} via fd00:201::2"))?;
        let honest = Honest::new(program, &tunnel)?;
        Ok(Self { tunnel, attacker, honest })
    }

    /// The attacker's socket, which may send from any of his addresses.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn attackers_socket(&self, family: Family) -> Result<UdpSocket> {
        let any = if family == Family::V4 { "0.0.0.0:7777" } else { "[::]:7777" };
        let socket = self.attacker.enter(|| UdpSocket::bind(any)).context("the attacker's socket")?;
        socket.set_nonblocking(true).context("the attacker's socket")?;
        Ok(socket)
    }

    /// Decides what becomes of the flood. In both cases the packets of others meet the same rule.
    ///
    /// # Errors
    /// nftables is missing.
    pub fn set_fate(&self, fate: Fate) -> Result<()> {
        let verdict = if fate == Fate::Dropped { "drop" } else { "accept" };
        let rules = format!(
            "table inet lab\ndelete table inet lab\ntable inet lab {{ chain flood {{ type filter hook prerouting \
             priority raw; iifname \"to1\" udp dport {PORT} {verdict}; }}; }}\n"
        );
        run_with_input(self.tunnel.namespace(1).command("nft").args(["-f", "-"]), &rules).map(drop)
    }

    /// An honest peer that the gateway has no session with, and whose place it knows, opens one: how long it takes
    /// until packets come back, or `None` if that is longer than `patience`.
    ///
    /// # Errors
    /// It cannot be begun, or pings cannot be sent.
    pub fn honest_handshake(&self, outer: Family, patience: Duration) -> Result<Option<Duration>> {
        self.honest.begin_again(&self.tunnel, outer)?;
        ping::answered_within(&self.honest.namespace, self.tunnel.sides[1].inner(Family::V4), patience)
    }
}

impl Honest {
    fn new(program: &Program, tunnel: &Tunnel) -> Result<Self> {
        let (namespace, keys) = (Namespace::new()?, KeyPair::random()?);
        join(tunnel.namespace(1), "to2", 2, &namespace)?;
        let daemon = Daemon::start(program, &namespace, &janitor::unique_name())?;
        namespace.ip(&format!("address add {HONEST_V4}/24 dev {}", daemon.interface()))?;
        namespace.ip(&format!("link set {} mtu 1420 up", daemon.interface()))?;
        let key = keys.private.hex();
        uapi::set(daemon.interface(), &format!("private_key={key}\nlisten_port={HONEST_PORT}\n"))?;
        let public = keys.public.hex();
        uapi::set(&tunnel.sides[1].interface, &format!("public_key={public}\nallowed_ip={HONEST_V4}/32\n"))?;
        Ok(Self { daemon, namespace, keys })
    }

    /// Forgets its session, and so does the other side.
    fn begin_again(&self, tunnel: &Tunnel, outer: Family) -> Result<()> {
        let (victim, own) = (&tunnel.sides[1], self.keys.public.hex());
        let [there, here] =
            if outer == Family::V4 { ["10.202.0.1", "10.202.0.2"] } else { ["[fd00:202::1]", "[fd00:202::2]"] };
        let mut lines = format!("replace_peers=true\npublic_key={}\n", victim.keys.public.hex());
        let _ = writeln!(lines, "endpoint={there}:{PORT}\nallowed_ip={}/32", victim.inner(Family::V4));
        uapi::set(&victim.interface, &format!("public_key={own}\nremove=true\n"))?;
        let known = format!("public_key={own}\nendpoint={here}:{HONEST_PORT}\nallowed_ip={HONEST_V4}/32\n");
        uapi::set(&victim.interface, &known)?;
        uapi::set(self.daemon.interface(), &lines)
    }
}

/// Joins two namespaces by a network of the number.
fn join(from: &Namespace, name: &str, number: u16, to: &Namespace) -> Result<()> {
    cable([(from, name), (to, VETH)])?;
    for (namespace, interface, host) in [(from, name, 1), (to, VETH, 2)] {
        namespace.add_address(interface, IpAddr::from([10, 200 + number as u8, 0, host as u8]), 24)?;
        namespace.add_address(interface, IpAddr::from([0xfd00, 0x200 + number, 0, 0, 0, 0, 0, host]), 64)?;
    }
    Ok(())
}
