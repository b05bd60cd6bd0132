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
//! Each client sends a numbered datagram every 20 ms through its tunnel, and the server sends it back. What does not
//! come back is lost.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use ringfort_testbed::{Namespace, ping};

use crate::bird::{Birds, ways};
use crate::harness::{Cluster, PATIENCE, eventually, join};

const SERVER: &str = "10.220.0.2";
const PORT: u16 = 7_777;
const INTERVAL: Duration = Duration::from_millis(20);
/// Without an answer for so long, a client is cut off.
const CUT_OFF: Duration = Duration::from_millis(200);
/// So many answers in all must each client have had before a part fails, and after it: 6 s. What takes longer to be
/// noticed is the lease of a node, 5 s.
const BEFORE: usize = 25;
const AFTER: usize = 300;

/// A line of the table.
pub struct Row {
    /// What has failed.
    pub what: &'static str,
    /// Clients that were cut off.
    pub cut_off: usize,
    /// Datagrams of all clients that did not come back, and all that they sent.
    pub lost: usize,
    pub sent: usize,
    /// The longest time without an answer.
    pub gap: Duration,
}

pub const HEADER: &str = "what fails              clients cut off    datagrams lost    longest gap";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = format!("{} of {}", self.lost, self.sent);
        write!(f, "{:<23} {:>15} {:>17} {:>11.2} s", self.what, self.cut_off, lost, self.gap.as_secs_f64())
    }
}

/// The numbers of one client, and when they came back.
type Answers = Vec<Option<Instant>>;

/// A client that sends until it is told to stop.
struct Sender {
    stop: Arc<AtomicBool>,
    /// How many answers it has.
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Answers>,
}

impl Sender {
    fn start(from: &Namespace) -> Self {
        let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (stop.clone(), count.clone());
        let target: SocketAddr = format!("{SERVER}:{PORT}").parse().unwrap();
        let thread = thread::spawn(move || {
            let mut answers = Answers::new();
            let mut silent_since_stop = None;
            loop {
                let mut number = [0; 4];
                while let Ok((4, _)) = socket.recv_from(&mut number) {
                    answers[u32::from_be_bytes(number) as usize] = Some(Instant::now());
                    counted.fetch_add(1, Relaxed);
                }
                if stopped.load(Relaxed) {
                    // What is under way may still arrive.
                    let since: Instant = *silent_since_stop.get_or_insert_with(Instant::now);
                    if since.elapsed() > CUT_OFF {
                        return answers;
                    }
                } else {
                    let number = u32::try_from(answers.len()).unwrap();
                    answers.push(None);
                    // There may be no way at the moment.
                    let _ = socket.send_to(&number.to_be_bytes(), target);
                }
                sleep(INTERVAL);
            }
        });
        Self { stop, count, thread }
    }

    /// Waits until it has so many more answers.
    fn await_answers(&self, more: usize) {
        let wanted = self.count.load(Relaxed) + more;
        eventually("a client is answered", || self.count.load(Relaxed) >= wanted);
    }

    fn stop(self) -> Answers {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// A cluster with everything in place.
pub struct Demo {
    pub cluster: Cluster,
    _birds: Birds,
    _server: Namespace,
}

impl Demo {
    /// Three nodes and so many clients, all of which have a session.
    pub fn new(clients: usize) -> Self {
        let mut cluster = Cluster::with_members(3, 3);
        cluster.router.run("sysctl -q net.ipv4.fib_multipath_hash_policy=1").unwrap();
        cluster.leave_address_to_routing();
        cluster.nodes.iter_mut().for_each(|node| node.start_agent("--announce 192.0.2.1/32"));
        let birds = Birds::start(&cluster);
        let server = Namespace::new().unwrap();
        join(&cluster.router, &server, 220);
        serve(&server);
        for _ in 0..clients {
            let client = cluster.add_client();
            cluster.put_client(client);
        }
        for client in &cluster.clients {
            client.namespace.ip(&format!("route add {SERVER} dev {} src {}", client.interface, client.inner)).unwrap();
        }
        let demo = Self { cluster, _birds: birds, _server: server };
        demo.cluster.clients.iter().for_each(|client| client.connect(&demo.cluster.keys));
        demo.await_all();
        demo
    }

    /// Waits until every client is answered by the server.
    fn await_all(&self) {
        for client in &self.cluster.clients {
            ping::until_answered(&client.namespace, SERVER.parse().unwrap(), PATIENCE).unwrap();
        }
    }

    /// Lets a part fail while all clients send, and says what that has cost.
    pub fn fail(&mut self, what: &'static str, fail: impl FnOnce(&mut Cluster)) -> Row {
        let senders: Vec<Sender> = self.cluster.clients.iter().map(|client| Sender::start(&client.namespace)).collect();
        senders.iter().for_each(|sender| sender.await_answers(BEFORE));
        fail(&mut self.cluster);
        senders.iter().for_each(|sender| sender.await_answers(AFTER));
        let all: Vec<Answers> = senders.into_iter().map(Sender::stop).collect();
        let gaps: Vec<Duration> = all.iter().map(longest_gap).collect();
        Row {
            what,
            cut_off: gaps.iter().filter(|gap| **gap > CUT_OFF).count(),
            lost: all.iter().flatten().filter(|answer| answer.is_none()).count(),
            sent: all.iter().map(Vec::len).sum(),
            gap: gaps.into_iter().max().unwrap_or_default(),
        }
    }

    /// A member of etcd, the link of a node, and the gateway of another, one after the other.
    pub fn all(&mut self, mut print: impl FnMut(&Row)) {
        print(&self.fail("a member of etcd", |cluster| cluster.etcd.kill(0)));
        self.cluster.etcd.run(0, &self.cluster.router);

        print(&self.fail("the link of a gateway", |cluster| {
            cluster.router.ip("link set to202 down").unwrap();
        }));
        self.cluster.router.ip("link set to202 up").unwrap();
        eventually("the link is used again", || ways(&self.cluster) == 3);
        self.await_all();

        print(&self.fail("a gateway", |cluster| cluster.nodes[2].gateway.take().unwrap().kill().map(drop).unwrap()));
    }
}

/// Sends back whatever comes, until the namespace is gone and the process with it.
fn serve(namespace: &Namespace) {
    let socket = namespace.enter(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        loop {
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..len], from);
            }
        }
    });
}

fn longest_gap(answers: &Answers) -> Duration {
    let times: Vec<Instant> = answers.iter().flatten().copied().collect();
    times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or(PATIENCE)
}
