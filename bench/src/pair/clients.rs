//! Clients of every kind that is installed. Each sends, or only receives.

use std::fmt::Write as _;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use ringfort_testbed::daemon::Program;
use ringfort_testbed::tunnel::{MTU, PORT};
use ringfort_testbed::{Daemon, Implementation, KeyPair, Namespace, Result, janitor, uapi};

use super::flow::{Clock, Flow};
use super::network::{Network, OUTER_ADDRESS, SERVER, client_address};

/// The port of the first client's flow.
const FIRST_PORT: u16 = 5_000;
const OTHERS: [(Implementation, &str); 3] = [
    (Implementation::WireguardGo, "wireguard-go"),
    (Implementation::Boringtun, "boringtun"),
    (Implementation::Gotatun, "gotatun"),
];

/// What a client is.
#[derive(Clone, Debug)]
pub struct Kind {
    /// What people call it.
    pub name: &'static str,
    program: Program,
}

/// Those that are installed, ours first, and the names of those that are not.
pub fn kinds(ours: &Program) -> (Vec<Kind>, Vec<&'static str>) {
    let mut kinds = vec![Kind { name: "ringfort", program: ours.clone() }];
    let mut missing = Vec::new();
    for (implementation, name) in OTHERS {
        match Program::peer(implementation) {
            Ok(program) => kinds.push(Kind { name, program }),
            Err(_) => missing.push(name),
        }
    }
    (kinds, missing)
}

/// A client with its tunnel.
#[derive(Debug)]
pub struct Client {
    number: usize,
    /// What it is.
    pub name: &'static str,
    /// It sends; if not, it only receives.
    pub sends: bool,
    // In this order they go.
    _daemon: Daemon,
    interface: String,
    keys: KeyPair,
    namespace: Namespace,
}

impl Client {
    /// Starts one and connects it with the router.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start(number: usize, kind: &Kind, sends: bool, network: &Network) -> Result<Self> {
        let namespace = Namespace::new()?;
        network.connect_client(number, &namespace)?;
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&kind.program, &namespace, &interface)?;
        namespace.ip(&format!("link set {interface} addrgenmode none mtu {MTU} up"))?;
        namespace.add_address(&interface, client_address(number).into(), 32)?;
        for network in ["10.50.0.0/24", "10.77.0.0/24"] {
            namespace.ip(&format!("route add {network} dev {interface}"))?;
        }
        let keys = KeyPair::random()?;
        Ok(Self { number, name: kind.name, sends, _daemon: daemon, interface, keys, namespace })
    }

    /// Tells it of the gateways, which have one key and one address.
    ///
    /// # Errors
    /// As [`uapi::set`].
    pub fn configure(&self, gateways: &KeyPair) -> Result<()> {
        let lines = format!(
            "private_key={}\npublic_key={}\nendpoint={OUTER_ADDRESS}:{PORT}\nallowed_ip=10.50.0.0/24\n\
             allowed_ip=10.77.0.0/24\n",
            self.keys.private.hex(),
            gateways.public.hex()
        );
        uapi::set(&self.interface, &lines)
    }

    /// What the gateways are told of it.
    pub fn peer_lines(&self) -> String {
        let mut lines = String::new();
        let _ = write!(
            lines,
            "public_key={}\nsource={OUTER_ADDRESS}\nallowed_ip={}/32\n",
            self.keys.public.hex(),
            client_address(self.number)
        );
        lines
    }

    /// Has it open its tunnel, and returns its flow: from it to the server, or from the server to it.
    ///
    /// # Errors
    /// No socket, or nothing arrives.
    pub fn flow(&self, clock: Clock, interval: Duration, network: &Network) -> Result<Flow> {
        let port = FIRST_PORT + self.number as u16;
        let to_server = SocketAddr::V4(SocketAddrV4::new(SERVER, port));
        let up = Flow::start(clock, interval, &self.namespace, (&network.server, to_server))?;
        if self.sends {
            return Ok(up);
        }
        // The gateway must have heard of it once: nobody knows where a client is that never sent.
        super::wait("a client's first datagram arrives", || Ok(up.last().is_some()))?;
        drop(up);
        let to_client = SocketAddr::V4(SocketAddrV4::new(client_address(self.number), port));
        Flow::start(clock, interval, &network.server, (&self.namespace, to_client))
    }
}
