//! What clients of a cluster lose when a part of it fails: three gateways, three members of etcd, BIRD, a router,
//! clients, and a server behind the router to which all of them speak.
//!
//! ```text
//!   client ─┐                ┌─ node 0 ─┐   each node: gateway, agent, BIRD
//!   client ─┼─ router ─ ECMP ┼─ node 1  │   the router: BIRD; etcd ×3 run there too
//!   client ─┘     │          └─ node 2 ─┘
//!               server 10.220.0.2
//! ```
//!
//! Most clients send a numbered datagram every 20 ms through their tunnels, and the server sends it back. The others
//! only receive, from the server. They send a keepalive every 2 s, as peers do that must be reached at any time.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ringfort_testbed::netns::join;
use ringfort_testbed::{Namespace, ping};
use serde_json::Value;

use crate::bird::Birds;
use crate::harness::{ADDRESS, ClientNode, Cluster, PATIENCE, eventually, gateway, own_prefix};
use crate::traffic::{Flow, Outcome, await_arrivals, serve};
use crate::ways::{self, Ways};

const NODES: usize = 3;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 220, 0, 2);
/// Of clients that only receive.
const KEEPALIVE_S: u16 = 2;
/// Every so manyth client only receives.
const SILENT_EVERY: usize = 3;
/// Without a datagram for so long, a client is cut off.
const CUT_OFF: Duration = Duration::from_millis(200);
/// So many datagrams in all must have arrived of each flow before a part fails, and after it: 6 s. What takes longer to
/// be noticed is the lease of a node, 5 s.
const BEFORE: usize = 25;
const AFTER: usize = 300;
/// What an agent logs when its gateway asks peers of others.
const ASKED: &str = "the gateway asks peers for sessions";

/// A line of the table.
pub struct Row {
    /// What has failed.
    pub what: &'static str,
    /// Clients that were cut off.
    pub cut_off: usize,
    /// Clients that began a handshake themselves, since nobody answered.
    pub by_itself: usize,
    /// Datagrams of all flows that did not arrive, and all that were sent.
    pub lost: usize,
    /// All of them.
    pub sent: usize,
    /// How long it took until the router led to other gateways, if it had to.
    pub other_way: Option<Duration>,
    /// How long it took until another gateway was told to ask peers for sessions, if one was.
    pub asked: Option<Duration>,
    /// The longest time without a datagram of clients that send, and of those that only receive.
    pub gaps: [Duration; 2],
}

/// What the columns are.
pub const HEADER: &str = "                             clients            datagrams   other              longest gap\n\
                          what fails             cut off  by itself          lost     way   asked    sends  receives";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds =
            |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
        let lost = format!("{} of {}", self.lost, self.sent);
        let [sends, receives] = self.gaps.map(|gap| seconds(Some(gap)));
        let (way, asked) = (seconds(self.other_way), seconds(self.asked));
        let Self { what, cut_off, by_itself, .. } = self;
        write!(f, "{what:<23} {cut_off:>6} {by_itself:>10} {lost:>13} {way:>7} {asked:>7} {sends:>8} {receives:>9}")
    }
}

/// A cluster with everything in place.
pub struct Demo {
    /// What fails.
    pub cluster: Cluster,
    server: Namespace,
    _birds: Birds,
}

impl Demo {
    /// Three nodes and so many clients, all of which have a session.
    pub fn new(clients: usize) -> Self {
        let mut cluster = Cluster::with_members(NODES as u8, 3);
        cluster.router.run("sysctl -q net.ipv4.fib_multipath_hash_policy=1").unwrap();
        cluster.leave_address_to_routing();
        let prefixes: Vec<String> = (0..NODES).map(|node| format!("node-{node}={}", own_prefix(node))).collect();
        let options = format!("--announce {ADDRESS}/32 --nodes {}", prefixes.join(","));
        cluster.nodes.iter_mut().for_each(|node| node.start_agent(&options));
        let birds = Birds::start(&cluster);
        let server = Namespace::new().unwrap();
        join(&cluster.router, &server, 220).unwrap();
        serve(&server);
        for index in 0..clients {
            let client = cluster.add_client();
            cluster.put_client(client);
            if is_silent(index) {
                cluster.clients[client].keepalive_s = KEEPALIVE_S;
            }
        }
        for client in &cluster.clients {
            client.namespace.ip(&format!("route add {SERVER} dev {} src {}", client.interface, client.inner)).unwrap();
        }
        Self { cluster, server, _birds: birds }
    }

    /// Begins with new sessions, so none is due for a new one meanwhile. Waits until every client is answered.
    fn connect(&self) {
        for client in &self.cluster.clients {
            client.connect(&self.cluster.keys);
            ping::until_answered(&client.namespace, SERVER.into(), PATIENCE).unwrap();
        }
    }

    /// The node with most of the clients.
    fn busiest(&self) -> usize {
        let claimed = |node: usize| self.cluster.nodes[node].status()["claimed"].as_u64().unwrap();
        let alive = (0..NODES).filter(|node| self.cluster.nodes[*node].gateway.is_some());
        alive.max_by_key(|node| claimed(*node)).unwrap()
    }

    fn start_flow(&self, (index, client): (usize, &ClientNode)) -> Flow {
        if is_silent(index) {
            Flow::to_client(&client.namespace, client.inner, &self.server)
        } else {
            Flow::echo(&client.namespace, SERVER)
        }
    }

    /// Lets a part fail while all clients are at work, and says what that has cost. `fail` gets the busiest node.
    pub fn fail(&mut self, what: &'static str, fail: impl FnOnce(&mut Cluster, usize)) -> Row {
        self.connect();
        let clients = &self.cluster.clients;
        eventually("all are claimed", || (0..clients.len()).all(|client| self.cluster.session(client).is_some()));
        let made: Vec<u64> = clients.iter().map(initiations).collect();
        let flows: Vec<Flow> = clients.iter().enumerate().map(|client| self.start_flow(client)).collect();
        await_arrivals(&flows, BEFORE);
        let (node, ways) = (self.busiest(), ways::count(&self.cluster.router));
        let watch = Ways::watch(&self.cluster.router);
        let (at, at_clock) = (Instant::now(), Timestamp::now());
        fail(&mut self.cluster, node);
        await_arrivals(&flows, AFTER);
        let outcomes: Vec<Outcome> = flows.into_iter().map(Flow::stop).collect();
        let gap = |of_silent: bool| {
            let those = outcomes.iter().enumerate().filter(|(index, _)| is_silent(*index) == of_silent);
            those.map(|(_, outcome)| outcome.gap).max().unwrap_or_default()
        };
        let made_now = self.cluster.clients.iter().map(initiations);
        Row {
            what,
            cut_off: outcomes.iter().filter(|outcome| outcome.gap > CUT_OFF).count(),
            by_itself: made_now.zip(made).filter(|(now, before)| now > before).count(),
            lost: outcomes.iter().map(|outcome| outcome.lost).sum(),
            sent: outcomes.iter().map(|outcome| outcome.sent).sum(),
            other_way: watch.stop(ways).map(|moved| moved.saturating_duration_since(at)),
            asked: self.first_asked(at_clock, node),
            gaps: [gap(false), gap(true)],
        }
    }

    /// When an agent of another node than that first had its gateway ask.
    fn first_asked(&self, since: Timestamp, node: usize) -> Option<Duration> {
        let logs = (0..NODES).filter(|other| *other != node).map(|other| self.cluster.nodes[other].log());
        let times = logs.flat_map(|log| {
            let lines = log.lines().filter(|line| line.contains(ASKED));
            lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect::<Vec<Timestamp>>()
        });
        let first = times.filter(|time| *time >= since).min()?;
        first.duration_since(since).try_into().ok()
    }

    /// A member of etcd, the link of a node, and the gateway of another, one after the other.
    pub fn all(&mut self, mut print: impl FnMut(&Row)) {
        print(&self.fail("a member of etcd", |cluster, _| cluster.etcd.kill(0)));
        self.cluster.etcd.run(0, &self.cluster.router);
        eventually("the member is back", || self.cluster.is_etcd_there());

        let mut cut = 0;
        print(&self.fail("the link of a gateway", |cluster, node| {
            cut = node;
            cluster.router.ip(&format!("link set to{} down", 201 + node)).unwrap();
        }));
        self.cluster.router.ip(&format!("link set to{} up", 201 + cut)).unwrap();
        eventually("the link is used again", || ways::count(&self.cluster.router) == NODES);
        eventually("its agent follows etcd", || !self.cluster.nodes[cut].status()["etcd"].is_null());

        print(&self.fail("a gateway", |cluster, node| {
            cluster.nodes[node].gateway.take().unwrap().kill().map(drop).unwrap();
        }));
    }
}

fn is_silent(client: usize) -> bool {
    client % SILENT_EVERY == SILENT_EVERY - 1
}

/// How many handshakes a client has begun.
fn initiations(client: &ClientNode) -> u64 {
    let output = Command::new(gateway().path).args(["stats", &client.interface, "--json"]).output().unwrap();
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    stats["handshakes"]["initiations"].as_u64().unwrap()
}
