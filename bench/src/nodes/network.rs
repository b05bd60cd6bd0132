//! The gateways, the router in front of them, and what an operator does with both.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use clap::ValueEnum;
use ringfort_testbed::command::{output, run, run_with_input};
use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::{Namespace, VETH, cable};
use ringfort_testbed::{Context, Daemon, Error, Family, KeyPair, Result, janitor, uapi};

use super::client::{Client, INNER_GATEWAY};
use crate::players;

/// How many there are, and the top bits of an index that say which.
pub const NODES: u8 = 3;
pub const BITS: u8 = 2;
pub const PORT: u16 = 51_820;
/// Answers that wait for a gateway. A machine that does not run it for a moment must not count as a router that loses.
const QUEUE_LEN: u32 = 20_000;

/// What has been passed on already, as the next gateway sees it. It is in front of the rules, and behind a program.
const ARRIVALS: &str = "\
table netdev arrivals {
\tchain passed_on {
\t\ttype filter hook ingress device \"veth0\" priority -400
\t\tudp dport 51820 ip ttl 1 counter
\t\tudp dport 51820 ip6 hoplimit 1 counter
\t}
}
";

/// What passes datagrams on to their owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Steer {
    /// Rules of nftables.
    Nft,
    /// A program in the generic XDP hook, with the rules behind it.
    Xdp,
}

/// One of the gateways.
pub struct Gateway {
    number: u8,
    namespace: Namespace,
    interface: String,
    daemon: Option<Daemon>,
}

/// All of it.
pub struct Network {
    family: Family,
    steer: Steer,
    program: Program,
    pub clients: Namespace,
    router: Namespace,
    gateways: Vec<Gateway>,
    keys: KeyPair,
}

/// The address that all gateways have.
pub fn shared(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)),
        Family::V6 => IpAddr::from(Ipv6Addr::new(0xfd00, 0x192, 0, 0, 0, 0, 0, 1)),
    }
}

/// An address of network 200, where the clients are, or 210, which the gateways share with the router.
fn address(family: Family, network: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from(Ipv4Addr::new(10, network, 0, host)),
        Family::V6 => IpAddr::from(Ipv6Addr::new(0xfd00, network.into(), 0, 0, 0, 0, 0, host.into())),
    }
}

const fn prefix_len(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

/// Where a gateway is for its neighbours.
fn node_address(family: Family, number: u8) -> IpAddr {
    address(family, 210, 10 + number)
}

impl Network {
    /// Three gateways that run, a router that spreads flows over them, and rules on each of them.
    ///
    /// # Errors
    /// A gateway does not start, or the kernel refuses something.
    pub fn new(program: &Program, family: Family, steer: Steer) -> Result<Self> {
        let (router, clients) = (Namespace::new()?, Namespace::new()?);
        // By addresses and ports.
        enable(&router, &["ipv4/fib_multipath_hash_policy", "ipv6/fib_multipath_hash_policy"])?;
        enable(&router, &FORWARDING)?;
        router.ip("link add lan type bridge")?;
        router.ip("link set lan up")?;
        cable([(&router, "clients"), (&clients, VETH)])?;
        for (namespace, interface, network, host) in
            [(&router, "lan", 210, 1), (&router, "clients", 200, 1), (&clients, VETH, 200, 2)]
        {
            namespace.add_address(interface, address(family, network, host), prefix_len(family))?;
        }
        clients.ip(&format!("route add default via {}", address(family, 200, 1)))?;
        let keys = KeyPair::random()?;
        let gateways =
            (0..NODES).map(|number| Gateway::start(number, program, family, &router)).collect::<Result<_>>()?;
        let network = Self { family, steer, program: program.clone(), clients, router, gateways, keys };
        let all: Vec<u8> = (0..NODES).collect();
        network.lead_to(&all)?;
        network.steer(&all)?;
        Ok(network)
    }

    /// Their public key.
    pub const fn public(&self) -> [u8; 32] {
        self.keys.public.0
    }

    /// Makes all clients peers of all gateways.
    ///
    /// # Errors
    /// A gateway refuses.
    pub fn introduce(&self, clients: &[Client]) -> Result<()> {
        self.gateways.iter().try_for_each(|gateway| self.introduce_to(gateway, clients))
    }

    fn introduce_to(&self, gateway: &Gateway, clients: &[Client]) -> Result<()> {
        let (source, private) = (shared(self.family), self.keys.private.hex());
        uapi::set(&gateway.interface, &format!("private_key={private}\nlisten_port={PORT}\n"))?;
        gateway.tell(clients, |client| Ok(format!("allowed_ip={}/32\nsource={source}\n", client.inner())))
    }

    /// Tells all gateways where the clients are, as an agent would.
    ///
    /// # Errors
    /// As [`Network::introduce`].
    pub fn locate(&self, clients: &[Client]) -> Result<()> {
        self.gateways
            .iter()
            .filter(|gateway| gateway.daemon.is_some())
            .try_for_each(|gateway| gateway.tell(clients, |client| Ok(format!("endpoint={}\n", client.address()?))))
    }

    /// The router spreads flows over these gateways from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn lead_to(&self, nodes: &[u8]) -> Result<()> {
        let hops = nodes.iter().map(|&node| format!(" nexthop via {}", node_address(self.family, node)));
        self.router.ip(&format!("route replace {}{}", shared(self.family), hops.collect::<String>())).map(drop)
    }

    /// Each of these gateways passes on what is another's of them.
    ///
    /// # Errors
    /// `ringfort steer` or `nft` refuses.
    pub fn steer(&self, nodes: &[u8]) -> Result<()> {
        let list: Vec<_> = nodes.iter().map(|&node| format!("{node}={}", node_address(self.family, node))).collect();
        nodes.iter().try_for_each(|&node| {
            let steer = |form| {
                let mut steer = Command::new(&self.program.path);
                steer.args(["steer", form, "--nodes", &list.join(",")]);
                steer.args(["--self", &node.to_string(), "--bits", &BITS.to_string()]);
                steer
            };
            let rules = run(steer("nft").args(["--device", VETH]))?;
            self.gateway(node).load_rules(&rules)?;
            if self.steer == Steer::Nft {
                return Ok(());
            }
            let program = output(&mut steer("xdp"))?;
            if !program.status.success() {
                return Err(Error::new(String::from_utf8_lossy(&program.stderr)));
            }
            self.gateway(node).load_program(&program.stdout)
        })
    }

    /// No gateway passes anything on.
    ///
    /// # Errors
    /// There are no rules.
    pub fn without_rules(&self) -> Result<()> {
        let remove = format!("nft delete table netdev ringfort_{PORT}");
        self.gateways.iter().try_for_each(|gateway| {
            if self.steer == Steer::Xdp {
                gateway.namespace.ip(&format!("link set dev {VETH} xdpgeneric off"))?;
            }
            gateway.namespace.run(&remove).map(drop)
        })
    }

    /// Takes a gateway away, with its machine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take_away(&mut self, node: u8) -> Result<()> {
        self.router.ip(&format!("link set {} down", port(node)))?;
        let daemon = self.gateways[usize::from(node)].daemon.take();
        daemon.map_or(Ok(()), |daemon| daemon.kill().map(drop))
    }

    /// Starts a gateway that was taken away. It has no session, and no rules yet.
    ///
    /// # Errors
    /// It does not start.
    pub fn bring_back(&mut self, node: u8, clients: &[Client]) -> Result<()> {
        self.router.ip(&format!("link set {} up", port(node)))?;
        let gateway = &mut self.gateways[usize::from(node)];
        gateway.namespace.await_carrier(VETH)?;
        gateway.run(&self.program)?;
        self.introduce_to(self.gateway(node), clients)
    }

    /// These gateways ask for sessions of others that are gone.
    ///
    /// # Errors
    /// One of them does not answer.
    pub fn recover(&self, nodes: &[u8]) -> Result<()> {
        nodes.iter().try_for_each(|&node| {
            run(Command::new(&self.program.path).args(["recover", &self.gateway(node).interface])).map(drop)
        })
    }

    /// What each gateway has counted, if it runs.
    ///
    /// # Errors
    /// One of them does not answer, or `nft` refuses.
    pub fn counts(&self) -> Result<Vec<Option<Counts>>> {
        let of = |gateway: &Gateway| gateway.daemon.as_ref().map(|_| gateway.counts()).transpose();
        self.gateways.iter().map(of).collect()
    }

    fn gateway(&self, node: u8) -> &Gateway {
        &self.gateways[usize::from(node)]
    }
}

impl Gateway {
    fn start(number: u8, program: &Program, family: Family, router: &Namespace) -> Result<Self> {
        let namespace = Namespace::new()?;
        cable([(router, &port(number)), (&namespace, VETH)])?;
        router.ip(&format!("link set {} master lan", port(number)))?;
        namespace.add_address(VETH, node_address(family, number), prefix_len(family))?;
        namespace.add_address("lo", shared(family), if family == Family::V4 { 32 } else { 128 })?;
        namespace.ip(&format!("route add default via {}", address(family, 210, 1)))?;
        // As a gateway does anyway.
        enable(&namespace, &FORWARDING)?;
        let mut gateway = Self { number, namespace, interface: String::new(), daemon: None };
        gateway.load_rules(ARRIVALS)?;
        gateway.run(program)?;
        Ok(gateway)
    }

    fn run(&mut self, program: &Program) -> Result<()> {
        self.interface = janitor::unique_name();
        let program = program.clone().with_options(&format!("--node {}/{BITS} --endpoints off", self.number));
        self.daemon = Some(Daemon::start(&program, &self.namespace, &self.interface)?);
        self.namespace.ip(&format!("address add {INNER_GATEWAY}/16 dev {}", self.interface))?;
        self.namespace.ip(&format!("link set {} txqueuelen {QUEUE_LEN} up", self.interface)).map(drop)
    }

    fn load_rules(&self, rules: &str) -> Result<()> {
        run_with_input(self.namespace.command("nft").args(["-f", "-"]), rules).map(drop)
    }

    fn load_program(&self, program: &[u8]) -> Result<()> {
        let file = janitor::directory().join(format!("steer-{}.o", self.number));
        fs::write(&file, program).context(file.display())?;
        let file = file.display();
        self.namespace.run(&format!("ip -force link set dev {VETH} xdpgeneric obj {file} sec xdp")).map(drop)
    }

    /// Says something of each client to it.
    fn tell(&self, clients: &[Client], lines: impl Fn(&Client) -> Result<String>) -> Result<()> {
        players::introduce(&self.interface, clients.iter().map(|client| Ok((client.public(), lines(client)?))))
    }

    fn counts(&self) -> Result<Counts> {
        let counted = |table: &str| {
            // There may be no such table.
            let rules = self.namespace.run(&format!("nft list table netdev {table}")).unwrap_or_default();
            let counts = rules.split("counter packets ").skip(1);
            counts.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).sum()
        };
        let strays = uapi::stats(&self.interface)?.get("drop_other_node").copied().unwrap_or(0);
        Ok(Counts { arrived: counted("arrivals"), by_rules: counted(&format!("ringfort_{PORT}")), strays })
    }
}

/// What a gateway has counted.
pub struct Counts {
    /// Datagrams that others have passed on to it.
    pub arrived: u64,
    /// Datagrams that its rules have passed on since they were loaded.
    pub by_rules: u64,
    /// Datagrams that it has dropped since their sessions are those of others.
    pub strays: u64,
}

const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

fn enable(namespace: &Namespace, settings: &[&str]) -> Result<()> {
    settings.iter().try_for_each(|name| {
        let path = format!("/proc/sys/net/{name}");
        namespace.enter(|| fs::write(&path, "1")).context(path)
    })
}

/// The router's side of the cable to a gateway.
fn port(number: u8) -> String {
    format!("node{number}")
}

/// Where clients send to.
pub fn endpoint(family: Family) -> SocketAddr {
    SocketAddr::new(shared(family), PORT)
}
