//! Two gateways, one in each namespace of a wire, made peers of each other.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::Program;
pub use crate::netns::PORT;
use crate::netns::{inner_v4, inner_v6, outer_v4, outer_v6};
use crate::{Daemon, Error, Implementation, Key, KeyPair, Namespace, Result, Wire, janitor, kernel, ping, uapi};

/// How long a port may stay with a process that was killed, and when to ask again.
const PORT_PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(5);

/// The MTU of the tunnel's interfaces, as `wg-quick` sets it over Ethernet: 1500 − 40 (IPv6) − 8 (UDP) − 32.
pub const MTU: u32 = 1_420;

/// IPv4 or IPv6, inside or outside of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How the two sides know each other.
#[derive(Clone, Copy, Debug)]
pub struct Peering {
    /// Which protocol carries the datagrams.
    pub outer: Family,
    /// Whether a preshared key is mixed in.
    pub preshared: bool,
    /// Which sides know the endpoint of the other, and thus can initiate.
    pub knows_endpoint: [bool; 2],
    /// Persistent keepalive of both sides, in seconds; 0 is off.
    pub keepalive_s: u16,
}

impl Default for Peering {
    fn default() -> Self {
        Self { outer: Family::V4, preshared: false, knows_endpoint: [true, true], keepalive_s: 0 }
    }
}

/// One end of a tunnel.
#[derive(Debug)]
pub struct Side {
    /// 0 or 1: decides the addresses.
    pub index: usize,
    /// What runs here.
    pub program: Program,
    /// The name of the tunnel interface, unique on this machine.
    pub interface: String,
    /// Its identity.
    pub keys: KeyPair,
    /// The gateway; `None` while it is stopped, and where the kernel is the gateway.
    pub daemon: Option<Daemon>,
}

impl Side {
    fn new(index: usize, program: Program) -> Result<Self> {
        let interface = janitor::unique_name();
        Ok(Self { index, program, interface, keys: KeyPair::random()?, daemon: None })
    }

    /// The running gateway.
    ///
    /// # Panics
    /// When it was stopped, or is in the kernel.
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the test did not stop this gateway")
    }

    /// The outer address of this end.
    pub fn outer(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => outer_v4(self.index),
            Family::V6 => outer_v6(self.index),
        }
    }

    /// The inner address of this end.
    pub fn inner(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => inner_v4(self.index),
            Family::V6 => inner_v6(self.index),
        }
    }

    /// Where the other side finds this gateway.
    pub fn endpoint(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.outer(family), PORT)
    }
}

/// See the drawing at the top of the crate. Dropping it removes everything.
#[derive(Debug)]
pub struct Tunnel {
    /// The two ends. Declared before the wire, so gateways end before their namespaces.
    pub sides: [Side; 2],
    /// The namespaces.
    pub wire: Wire,
    /// The preshared key that is used when a [`Peering`] asks for one.
    pub preshared: Key,
}

impl Tunnel {
    /// Makes the namespaces and starts `programs` in them, interfaces up and addressed; nothing configured yet.
    ///
    /// # Errors
    /// Namespaces could not be made, or a gateway does not start.
    pub fn new(programs: [&Program; 2]) -> Result<Self> {
        let wire = Wire::new()?;
        let sides = [Side::new(0, programs[0].clone())?, Side::new(1, programs[1].clone())?];
        let mut tunnel = Self { sides, wire, preshared: Key::random()? };
        tunnel.start(0)?;
        tunnel.start(1)?;
        Ok(tunnel)
    }

    /// Two gateways, configured, ready for traffic.
    ///
    /// # Errors
    /// As [`Tunnel::new`], or a gateway refuses its configuration.
    pub fn connected(programs: [&Program; 2], peering: &Peering) -> Result<Self> {
        let tunnel = Self::new(programs)?;
        tunnel.configure(0, peering)?;
        tunnel.configure(1, peering)?;
        Ok(tunnel)
    }

    /// Starts the gateway of one side and brings its interface up with both inner addresses.
    ///
    /// # Errors
    /// The gateway does not start, or `ip` refuses.
    pub fn start(&mut self, index: usize) -> Result<()> {
        let namespace = &self.wire.ends[index];
        let side = &mut self.sides[index];
        if side.program.implementation == Implementation::Kernel {
            kernel::add_interface(namespace, &side.interface)?;
        } else {
            side.daemon = Some(Daemon::start(&side.program, namespace, &side.interface)?);
            // Or else the kernel sends router solicitations into it. An interface of its own WireGuard does not.
            namespace.ip(&format!("link set {} addrgenmode none", side.interface))?;
        }
        namespace.add_address(&side.interface, inner_v4(index), 24)?;
        namespace.add_address(&side.interface, inner_v6(index), 64)?;
        namespace.ip(&format!("link set {} mtu {MTU} up", side.interface)).map(drop)
    }

    /// Configures one side over its UAPI socket, or with `wg` if the kernel is the gateway: key, port, and the other
    /// side as its only peer.
    ///
    /// # Errors
    /// The gateway refuses.
    pub fn configure(&self, index: usize, peering: &Peering) -> Result<()> {
        let (side, other) = (&self.sides[index], &self.sides[1 - index]);
        if side.program.implementation == Implementation::Kernel {
            let text = kernel::configuration(&side.keys, &[self.peer(index, peering)]);
            return kernel::configure(self.namespace(index), &side.interface, &text);
        }
        let mut lines = format!("private_key={}\nlisten_port={PORT}\nreplace_peers=true\n", side.keys.private.hex());
        lines += &self.peer_lines(index, peering);
        let _ = write!(
            lines,
            "replace_allowed_ips=true\nallowed_ip={}/32\nallowed_ip={}/128\n",
            other.inner(Family::V4),
            other.inner(Family::V6)
        );
        // The kernel winds up what a killed process has left behind, its port too, in its own time.
        let in_use = format!("errno={}", -(nix::errno::Errno::EADDRINUSE as i32));
        let end = Instant::now() + PORT_PATIENCE;
        loop {
            match uapi::set(&side.interface, &lines) {
                Err(error) if error.to_string().contains(&in_use) && Instant::now() < end => thread::sleep(AGAIN),
                result => return result,
            }
        }
    }

    fn peer_lines(&self, index: usize, peering: &Peering) -> String {
        let other = &self.sides[1 - index];
        let mut lines = format!("public_key={}\n", other.keys.public.hex());
        if peering.preshared {
            let _ = writeln!(lines, "preshared_key={}", self.preshared.hex());
        }
        if peering.knows_endpoint[index] {
            let _ = writeln!(lines, "endpoint={}", other.endpoint(peering.outer));
        }
        if peering.keepalive_s > 0 {
            let _ = writeln!(lines, "persistent_keepalive_interval={}", peering.keepalive_s);
        }
        lines
    }

    /// The other side as one side knows it.
    pub fn peer(&self, index: usize, peering: &Peering) -> kernel::Peer {
        let other = &self.sides[1 - index];
        kernel::Peer {
            public: other.keys.public,
            preshared: peering.preshared.then_some(self.preshared),
            endpoint: peering.knows_endpoint[index].then(|| other.endpoint(peering.outer)),
            keepalive_s: peering.keepalive_s,
            allowed: vec![other.inner(Family::V4), other.inner(Family::V6)],
        }
    }

    /// The namespace of one side.
    pub fn namespace(&self, index: usize) -> &Namespace {
        &self.wire.ends[index]
    }

    /// Sets the MTU of both tunnel interfaces, in bytes.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        for (side, namespace) in self.sides.iter().zip(&self.wire.ends) {
            namespace.ip(&format!("link set {} mtu {mtu}", side.interface))?;
        }
        Ok(())
    }

    /// Pings from one side until the other answers, and returns how long that took.
    ///
    /// # Errors
    /// No answer within `patience`.
    pub fn wait_until_open(&self, from: usize, patience: Duration) -> Result<Duration> {
        let target = self.sides[1 - from].inner(Family::V4);
        ping::until_answered(self.namespace(from), target, patience)
            .map_err(|error| Error::new(format!("the tunnel does not open from side {from}: {error}")))
    }
}
