//! What all scenarios share: etcd, nodes with a gateway and an agent, clients, and a router between them.
//!
//! ```text
//!                            ┌──── 10.201.0.2 ─ node 0: gateway, agent ┐
//!   client ─ 10.20x.0.2 ─ router ─ 10.202.0.2 ─ node 1: gateway, agent ┴─ both: 192.0.2.1, and 10.77.0.1 in the tunnel
//!                            │
//!                            └─ etcd, on each of the router's own addresses
//! ```

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use etcd_client::Client;
use nix::sys::signal::Signal;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::join;
use ringfort_testbed::tunnel::{MTU, PORT};
use ringfort_testbed::{Daemon, KeyPair, Namespace, janitor, ping, uapi};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::etcd::{Etcd, client_port};
use crate::programs::built;

/// How long anything may take that is bound to happen: a busy machine may not run a process for seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The address that all gateways share.
pub const ADDRESS: &str = "192.0.2.1";
/// That of all gateways in the tunnel.
pub const INNER: &str = "10.77.0.1";
/// The network whose peers all are.
pub const NETWORK: &str = "net";
/// Those of nodes themselves are in it: see [`own_prefix`].
pub const OWN_PREFIXES: &str = "10.99.0.0/24";
/// The kernel of a node looks into this table as well.
const TABLE: u32 = 77;

/// Waits until `condition` holds, and returns how long that took.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

/// By which other nodes see that one is there.
pub fn own_prefix(node: usize) -> String {
    format!("10.99.0.{}/32", node + 1)
}

/// The agent.
pub fn agent() -> PathBuf {
    built("ringfort-agent")
}

/// The gateway: what is built beside the agent, or what RINGFORT_BIN names.
pub fn gateway() -> Program {
    let path = std::env::var_os("RINGFORT_BIN").map_or_else(|| built("ringfort"), PathBuf::from);
    Program::ringfort(path).with_options("--workers 1 --aead aws-lc")
}

/// A node: a gateway and its agent.
pub struct Node {
    /// Where all of it runs.
    pub namespace: Namespace,
    /// The gateway's.
    pub interface: String,
    /// What agents call it.
    pub name: String,
    /// `None`: it does not run.
    pub gateway: Option<Daemon>,
    /// `None`: it does not run.
    pub agent: Option<Daemon>,
    /// Where members of etcd are, as seen from here.
    etcd: String,
}

impl Node {
    /// Starts the gateway, with the key of all gateways.
    pub fn start_gateway(&mut self, keys: &KeyPair, options: &str) {
        let program = gateway().with_options(options);
        self.gateway = Some(Daemon::start(&program, &self.namespace, &self.interface).unwrap());
        self.namespace.ip(&format!("link set {} addrgenmode none mtu {MTU} up", self.interface)).unwrap();
        self.namespace.ip(&format!("address add {INNER}/32 dev {}", self.interface)).unwrap();
        uapi::set(&self.interface, &format!("private_key={}\nlisten_port={PORT}\n", keys.private.hex())).unwrap();
    }

    /// Starts the agent, with more options.
    pub fn start_agent(&mut self, options: &str) {
        let mut command = self.namespace.command(agent());
        command.args(["run", &self.interface, "--network", NETWORK, "--etcd", &self.etcd, "--node", &self.name]);
        command.args(["--log-level", "debug"]).args(options.split_whitespace());
        self.agent = Some(Daemon::spawn_command(command, &self.interface).unwrap());
        eventually("the agent follows etcd and the gateway", || {
            assert!(self.agent.as_mut().unwrap().is_running(), "{}", self.log());
            let status = self.command("status", "--json");
            status.status.success() && {
                let status: Value = serde_json::from_slice(&status.stdout).unwrap();
                !status["etcd"].is_null() && status["gateway"] != "absent"
            }
        });
    }

    /// Ends the agent, which must say that all is well.
    pub fn stop_agent(&mut self) {
        assert!(self.agent.take().unwrap().stop().unwrap().success());
    }

    /// A command about the agent.
    pub fn command(&self, command: &str, options: &str) -> Output {
        let mut process = Command::new(agent());
        process.args([command, &self.interface]).args(options.split_whitespace()).output().unwrap()
    }

    /// What the agent says of itself.
    pub fn status(&self) -> Value {
        let output = self.command("status", "--json");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the agent has logged.
    pub fn log(&self) -> String {
        self.agent.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) {
        self.agent.as_ref().unwrap().signal(signal);
    }

    /// Whether the gateway has exactly these peers with these prefixes.
    pub fn has(&self, peers: &[(&KeyPair, &str)]) -> bool {
        let mut there = Vec::new();
        for (name, value) in uapi::get(&self.interface).unwrap() {
            match name.as_str() {
                "public_key" => there.push((value, String::new())),
                "allowed_ip" => there.last_mut().unwrap().1 += &value,
                _ => {}
            }
        }
        let mut wanted: Vec<_> = peers.iter().map(|(keys, ips)| (keys.public.hex(), (*ips).to_owned())).collect();
        there.sort();
        wanted.sort();
        there == wanted
    }

    /// The routes of the agent.
    pub fn routes(&self) -> Vec<String> {
        let all = self.namespace.ip("-4 route show proto 52 table all").unwrap();
        all.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
}

/// A client of the shared address.
pub struct ClientNode {
    /// Where it runs.
    pub namespace: Namespace,
    /// Its own.
    pub keys: KeyPair,
    /// Its address in the tunnel.
    pub inner: Ipv4Addr,
    /// Its interface.
    pub interface: String,
    /// How often it sends a keepalive from the next connection on; 0 is never.
    pub keepalive_s: u16,
    _gateway: Daemon,
}

impl ClientNode {
    /// Knows the gateways anew, so it begins with a handshake.
    pub fn connect(&self, gateways: &KeyPair) {
        let peer = format!("public_key={}\n", gateways.public.hex());
        uapi::set(&self.interface, &format!("{peer}remove=true\n")).unwrap();
        let keepalive = format!("persistent_keepalive_interval={}", self.keepalive_s);
        let ips = "allowed_ip=10.77.0.0/16\nallowed_ip=10.220.0.0/24";
        uapi::set(&self.interface, &format!("{peer}endpoint={ADDRESS}:{PORT}\n{keepalive}\n{ips}\n")).unwrap();
    }

    /// Waits until the gateway answers through the tunnel, for which it needs a route.
    pub fn reaches_gateway(&self) -> Duration {
        ping::until_answered(&self.namespace, INNER.parse().unwrap(), PATIENCE).unwrap()
    }
}

/// See the drawing at the top.
pub struct Cluster {
    /// Those with a gateway.
    pub nodes: Vec<Node>,
    /// Their clients.
    pub clients: Vec<ClientNode>,
    /// Its members.
    pub etcd: Etcd,
    /// Those of all gateways.
    pub keys: KeyPair,
    runtime: Runtime,
    /// Between all of them.
    pub router: Namespace,
}

impl Cluster {
    /// etcd and gateways run, and the first node has the shared address.
    pub fn new(nodes: u8) -> Self {
        Self::with_members(nodes, 1)
    }

    /// The same with so many members of etcd.
    pub fn with_members(nodes: u8, members: usize) -> Self {
        let router = Namespace::new().unwrap();
        router.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
        let keys = KeyPair::random().unwrap();
        let node = |index: u8| {
            let namespace = Namespace::new().unwrap();
            join(&router, &namespace, 201 + index).unwrap();
            namespace.ip(&format!("address add {ADDRESS}/32 dev lo")).unwrap();
            namespace.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
            namespace.ip(&format!("rule add table {TABLE}")).unwrap();
            let (interface, name) = (janitor::unique_name(), format!("node-{index}"));
            let member = |member| format!("http://10.{}.0.1:{}", 201 + index, client_port(member));
            let etcd = (0..members).map(member).collect::<Vec<_>>().join(",");
            let mut node = Node { namespace, interface, name, gateway: None, agent: None, etcd };
            node.start_gateway(&keys, "");
            node
        };
        let nodes = (0..nodes).map(node).collect();
        let etcd = Etcd::start(&router, members);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = Self { nodes, clients: Vec::new(), etcd, keys, runtime, router };
        cluster.move_to(0);
        eventually("etcd answers", || cluster.is_etcd_there());
        cluster
    }

    /// From now on this node has the shared address.
    pub fn move_to(&self, node: usize) {
        self.router.ip(&format!("route replace {ADDRESS}/32 via 10.{}.0.2", 201 + node)).unwrap();
    }

    /// Nobody moves the shared address by hand.
    pub fn leave_address_to_routing(&self) {
        self.router.ip(&format!("route del {ADDRESS}/32")).unwrap();
    }

    /// One more client, which etcd does not know yet.
    pub fn add_client(&mut self) -> usize {
        let index = self.clients.len();
        let network = 210 + u8::try_from(index).unwrap();
        let namespace = Namespace::new().unwrap();
        join(&self.router, &namespace, network).unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&gateway(), &namespace, &interface).unwrap();
        let inner = Ipv4Addr::new(10, 77, 1, 1 + u8::try_from(index).unwrap());
        namespace.ip(&format!("link set {interface} addrgenmode none mtu {MTU} up")).unwrap();
        namespace.ip(&format!("address add {inner}/32 dev {interface}")).unwrap();
        namespace.ip(&format!("route add 10.77.0.0/16 dev {interface}")).unwrap();
        let keys = KeyPair::random().unwrap();
        uapi::set(&interface, &format!("private_key={}\nlisten_port={PORT}\n", keys.private.hex())).unwrap();
        self.clients.push(ClientNode { namespace, keys, inner, interface, keepalive_s: 0, _gateway: daemon });
        index
    }

    /// Writes a peer, and returns when that was done.
    pub fn put_peer(&self, keys: &KeyPair, value: &str) -> Instant {
        self.put(&format!("/ringfort/{NETWORK}/peers/{}", keys.public.base64()), value)
    }

    /// A client with its own address.
    pub fn put_client(&self, client: usize) {
        let ClientNode { keys, inner, .. } = &self.clients[client];
        self.put_peer(keys, &format!(r#"{{"allowed_ips": ["{inner}/32"]}}"#));
    }

    /// Removes a peer.
    pub fn delete_peer(&self, keys: &KeyPair) {
        let key = format!("/ringfort/{NETWORK}/peers/{}", keys.public.base64());
        self.etcd(async |client| client.delete(key.as_str(), None).await.unwrap());
    }

    /// Writes a key, and returns when that was done.
    pub fn put(&self, key: &str, value: &str) -> Instant {
        self.etcd(async |client| client.put(key, value, None).await.unwrap());
        Instant::now()
    }

    /// Who has a client, as etcd knows it: the value of its session.
    pub fn session(&self, client: usize) -> Option<Value> {
        let key = self.session_key(client);
        let value = self.etcd(async |client| client.get(key.as_str(), None).await.unwrap().take_kvs());
        value.first().map(|kv| serde_json::from_slice(kv.value()).unwrap())
    }

    /// The lease under which that is.
    pub fn lease(&self, client: usize) -> i64 {
        let key = self.session_key(client);
        self.etcd(async |client| client.get(key.as_str(), None).await.unwrap().kvs().first().map_or(0, |kv| kv.lease()))
    }

    /// Whether a client is claimed by a node.
    pub fn is_at(&self, client: usize, node: usize) -> bool {
        self.session(client).is_some_and(|session| session["node"] == format!("node-{node}"))
    }

    fn session_key(&self, client: usize) -> String {
        format!("/ringfort/{NETWORK}/sessions/{}", self.clients[client].keys.public.base64())
    }

    /// The first member answers.
    pub fn is_etcd_there(&self) -> bool {
        self.try_etcd(async |client| client.get("/", None).await.is_ok()).unwrap_or(false)
    }

    /// Asks etcd, from the router's namespace.
    pub fn etcd<T: Send>(&self, ask: impl AsyncFn(&mut Client) -> T + Send + Sync) -> T {
        self.try_etcd(ask).expect("etcd answers")
    }

    fn try_etcd<T: Send>(&self, ask: impl AsyncFn(&mut Client) -> T + Send + Sync) -> Option<T> {
        let url = format!("127.0.0.1:{}", client_port(0));
        self.router.enter(|| {
            self.runtime.block_on(async {
                let mut client = Client::connect([url], None).await.ok()?;
                Some(ask(&mut client).await)
            })
        })
    }
}
