//! Where the demonstration happens.
//!
//! ```text
//!   client 0   10.100.0.2 ─┐                       ┌ [eth0] machine 0 [eth1] ┐
//!   client 1   10.101.0.2 ─┤── router ── (outer) ──┤                         ├── (inner) ── server 10.50.0.10
//!   …                      ┘   192.0.2.254         └ [eth0] machine 1 [eth1] ┘
//!
//!   outer: 192.0.2.2 and .3, and 192.0.2.1 for whoever has it    inner: 10.50.0.2 and .3, and 10.50.0.1
//! ```
//!
//! Both networks are bridges, in the namespaces of the router and of the server. So a machine can lose its cables, and
//! what tells where an address is are ARP and the bridges' tables, as with real switches.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use ringfort_testbed::netns::cable;
use ringfort_testbed::{Context, Namespace, Result};

/// The address that clients know.
pub const OUTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The address that the server has its route to the clients over.
pub const INNER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
/// The machine behind the gateways.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 10);
/// The gateways in the tunnel.
pub const TUNNEL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The outer and the inner interface of a machine.
pub const INTERFACES: [&str; 2] = ["eth0", "eth1"];
const BRIDGES: [&str; 2] = ["outer", "inner"];

/// See the module.
#[derive(Debug)]
pub struct Network {
    /// Between clients and gateways.
    pub router: Namespace,
    /// Behind the gateways.
    pub server: Namespace,
}

/// The machine's own addresses: outer and inner.
pub fn addresses(machine: usize) -> [Ipv4Addr; 2] {
    let host = 2 + machine as u8;
    [Ipv4Addr::new(192, 0, 2, host), Ipv4Addr::new(10, 50, 0, host)]
}

/// The address of a client in the tunnel.
pub fn client_address(client: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 10 + client as u8)
}

impl Network {
    /// Makes the router, the server and both bridges.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new() -> Result<Self> {
        let network = Self { router: Namespace::new()?, server: Namespace::new()? };
        forward(&network.router)?;
        for (namespace, bridge, address) in
            [(&network.router, BRIDGES[0], Ipv4Addr::new(192, 0, 2, 254)), (&network.server, BRIDGES[1], SERVER)]
        {
            namespace.ip(&format!("link add {bridge} type bridge forward_delay 0"))?;
            namespace.add_address(bridge, IpAddr::V4(address), 24)?;
            namespace.ip(&format!("link set {bridge} up"))?;
        }
        network.server.ip(&format!("route add 10.77.0.0/24 via {INNER_ADDRESS}"))?;
        Ok(network)
    }

    /// Gives a machine its two cables, addresses and routes.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn connect_machine(&self, machine: usize, namespace: &Namespace) -> Result<()> {
        forward(namespace)?;
        for (side, (own, (bridge, interface))) in
            addresses(machine).into_iter().zip(BRIDGES.into_iter().zip(INTERFACES)).enumerate()
        {
            let port = port(machine);
            let switch = self.switch(side);
            cable([(namespace, interface), (switch, &port)])?;
            switch.ip(&format!("link set {port} master {bridge}"))?;
            namespace.add_address(interface, IpAddr::V4(own), 24)?;
        }
        namespace.ip("route add default via 192.0.2.254").map(drop)
    }

    /// Joins a client with the router.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn connect_client(&self, client: usize, namespace: &Namespace) -> Result<()> {
        let (network, link) = (100 + client, format!("client{client}"));
        cable([(namespace, "eth0"), (&self.router, &link)])?;
        for (namespace, interface, host) in [(&self.router, link.as_str(), 1), (namespace, "eth0", 2)] {
            let address = Ipv4Addr::new(10, network as u8, 0, host);
            namespace.add_address(interface, IpAddr::V4(address), 24)?;
        }
        namespace.ip(&format!("route add default via 10.{network}.0.1")).map(drop)
    }

    /// Pulls the cable of a machine on a side (0 is outer), or plugs it in.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn set_cable(&self, machine: usize, side: usize, is_plugged: bool) -> Result<()> {
        let state = if is_plugged { "up" } else { "down" };
        self.switch(side).ip(&format!("link set {} {state}", port(machine))).map(drop)
    }

    fn switch(&self, side: usize) -> &Namespace {
        if side == 0 { &self.router } else { &self.server }
    }
}

/// The port of a bridge that a machine is plugged into.
fn port(machine: usize) -> String {
    format!("machine{machine}")
}

fn forward(namespace: &Namespace) -> Result<()> {
    namespace.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).context("switching IP forwarding on")
}
