//! Real sockets, real requests, and a test that plays control.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use ringfort_aead::Suite;
use ringfort_core::activity::Traffic;
use ringfort_core::node::Node;
use ringfort_worker::WorkerStats;
use ringfort_worker::queues::Queues;

use super::*;
use crate::cli::memory::{Bound, Memory};
use crate::metrics::sample::PeerSample;
use crate::metrics::{ControlSample, InterfaceName, PeerSeries};

/// For what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server without a gateway.
struct Rig {
    metrics: Metrics,
    exchange: Arc<Exchange>,
    registry: Arc<Registry>,
    directory: PathBuf,
}

fn at(address: &str) -> Options {
    Options { addresses: vec![address.parse().unwrap()], ..Options::default() }
}

impl Rig {
    fn new(name: &str, peers: PeerSeries) -> Self {
        let directory = std::env::temp_dir().join(format!("ringfort-metrics-{name}-{}", std::process::id()));
        let queues = Arc::new(Queues::new(2).unwrap());
        let registry = Arc::new(Registry {
            interface: InterfaceName::new(name),
            started: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            ciphers: vec![(Suite::ChaCha20Poly1305, "aws-lc")],
            control_thread: nix::unistd::gettid().as_raw(),
            workers: vec![Arc::new(WorkerStats::default()), Arc::new(WorkerStats::default())],
            queues,
            memory: Memory { bound: Bound::None, receive_buffer: None }.divide(2),
            node: Node::SINGLE,
        });
        let exchange = Arc::new(Exchange::new().unwrap());
        let mut listening = Listening::on(&at("127.0.0.1:0")).unwrap();
        listening.listen_in(&directory, name, &SignalFd::new(&SigSet::empty()).unwrap()).unwrap();
        let options = Options { peers, ..Options::default() };
        let metrics = Metrics::start(listening, registry.clone(), exchange.clone(), &options).unwrap();
        Self { metrics, exchange, registry, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.metrics.sock", self.registry.interface.get()))
    }

    /// Sends a request.
    fn ask(&self, request: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The snapshot that control is asked for, once it is.
    fn asked(&self) -> Box<Snapshot> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(snapshot) = self.exchange.next_asked() {
                return snapshot;
            }
            assert!(std::time::Instant::now() < deadline, "nobody has asked control");
            thread::yield_now();
        }
    }

    /// Plays control with so many peers, once.
    fn fill(&self, peers: u32) {
        let mut snapshot = self.asked();
        snapshot.control = ControlSample { peers: peers as usize, is_up: true, ..ControlSample::default() };
        let room = snapshot.peers.capacity();
        snapshot.peers.extend((0..peers).map(peer).take(room));
        self.exchange.give(snapshot);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn peer(number: u32) -> PeerSample {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    let traffic = Traffic { rx_bytes: u64::from(number), ..Traffic::default() };
    PeerSample { key, traffic, ..PeerSample::default() }
}

fn read(mut stream: impl Read) -> (String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_scrape_has_its_length_and_its_type() {
    let rig = Rig::new("scrape", PeerSeries::All);
    rig.registry.workers[1].tun_read_packets.set(77);
    let stream = rig.ask("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n");
    rig.fill(3);
    let (head, body) = read(stream);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("application/openmetrics-text"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("ringfort_tun_read_packets_total{interface=\"scrape\",worker=\"1\"} 77\n"), "{body}");
    assert_eq!(body.lines().filter(|line| line.starts_with("ringfort_peer_receive_bytes_total{")).count(), 3);
    assert!(body.ends_with("# EOF\n"));
    let mode = std::fs::metadata(rig.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read");
}

/// Control answers what reached it before a worker could ask for proof.
#[test]
fn cookies_of_control_are_shown_beside_those_of_the_workers() {
    let rig = Rig::new("cookies", PeerSeries::All);
    rig.registry.workers[1].cookies_sent.set(2);
    let fill = || {
        let mut snapshot = rig.asked();
        snapshot.control = ControlSample { cookies_sent: 1_800, ..ControlSample::default() };
        rig.exchange.give(snapshot);
    };
    let scrape = rig.ask(GET);
    fill();
    let (_, body) = read(scrape);
    let lines: Vec<_> = body.lines().filter(|line| line.starts_with("ringfort_cookies_sent_total{")).collect();
    let line = |worker: &str, count: u32| {
        format!("ringfort_cookies_sent_total{{interface=\"cookies\",worker=\"{worker}\"}} {count}")
    };
    assert_eq!(lines, [line("control", 1_800), line("0", 0), line("1", 2)]);
    let overview = rig.ask(&format!("GET {PATH_OVERVIEW} HTTP/1.1\r\n\r\n"));
    fill();
    let overview: Overview = serde_json::from_str(&read(overview).1).unwrap();
    assert_eq!((overview.control.cookies_sent, overview.workers[1].figures["cookies_sent"]), (1_800, 2));
}

#[test]
fn the_thread_ends_and_takes_its_socket_with_it() {
    let rig = Rig::new("ends", PeerSeries::All);
    let (path, mut waiting) = (rig.path(), rig.ask(GET));
    let Rig { metrics, .. } = &rig;
    assert_eq!(metrics.addresses().len(), 1);
    let directory = rig.directory.clone();
    drop(rig);
    assert!(!path.exists() && !directory.exists());
    let mut nothing = Vec::new();
    assert_eq!(waiting.read_to_end(&mut nothing).unwrap_or(0), 0);
}

#[test]
fn head_and_refusals_need_no_control() {
    let rig = Rig::new("refusals", PeerSeries::All);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("PUT /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "400 Bad Request"),
    ] {
        let (head, body) = read(rig.ask(request));
        assert!(head.contains(status) && !body.is_empty(), "{head}");
    }
    assert!(rig.exchange.next_asked().is_none());
    let stream = rig.ask("HEAD /metrics HTTP/1.1\r\n\r\n");
    rig.fill(0);
    let (head, body) = read(stream);
    assert!(head.contains("200 OK") && !head.contains("Content-Length: 0") && body.is_empty(), "{head}");
}

/// The first snapshot has memory for some peers only; the next one for all that there are.
#[test]
fn memory_for_the_peers_is_had_by_who_asks() {
    let rig = Rig::new("memory", PeerSeries::All);
    let stream = rig.ask(GET);
    rig.fill(5_000);
    rig.fill(5_000);
    let (_, body) = read(stream);
    assert_eq!(body.lines().filter(|line| line.starts_with("ringfort_peer_receive_bytes_total{")).count(), 5_000);
    // It is remembered.
    let stream = rig.ask(GET);
    rig.fill(5_000);
    assert!(read(stream).1.contains("ringfort_peers{interface=\"memory\"} 5000\n"));
}

#[test]
fn without_series_of_peers_none_is_copied() {
    let rig = Rig::new("none", PeerSeries::Most(0));
    let stream = rig.ask(GET);
    let snapshot = rig.asked();
    assert_eq!(snapshot.peers.capacity(), 0);
    rig.exchange.give(snapshot);
    assert!(!read(stream).1.contains("peer=\""));
}

/// Half a request on every connection, and silence: who comes then is served all the same.
#[test]
fn slow_clients_make_room() {
    let rig = Rig::new("slow", PeerSeries::All);
    let address = rig.metrics.addresses()[0];
    let slow: Vec<TcpStream> = (0..2 * CLIENTS_MAX)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /met").unwrap();
            stream
        })
        .collect();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    rig.fill(1);
    assert!(read(stream).0.contains("200 OK"));
    drop(slow);
}

/// An answer of megabytes that nobody reads keeps nobody else waiting.
#[test]
fn who_does_not_read_keeps_only_himself_waiting() {
    let rig = Rig::new("unread", PeerSeries::All);
    let unread = rig.ask(GET);
    rig.fill(5_000);
    rig.fill(5_000);
    for _ in 0..3 {
        let stream = rig.ask("GET /overview HTTP/1.1\r\n\r\n");
        rig.fill(5_000);
        let overview: Overview = serde_json::from_str(&read(stream).1).unwrap();
        assert_eq!((overview.peers, overview.workers.len()), (5_000, 2));
        assert_eq!(overview.peers_in_state["idle"], 5_000);
        assert_eq!(overview.busiest_peers.len(), 1_000);
        assert_eq!(overview.busiest_peers[0].rx_bytes, 4_999);
    }
    unread.shutdown(Shutdown::Both).unwrap();
}

/// Answers of megabytes that nobody reads, on every connection: who comes then is served all the same, and only one had
/// to make room.
#[test]
fn those_who_do_not_read_make_room_one_by_one() {
    let rig = Rig::new("crowd", PeerSeries::All);
    let unread: Vec<_> = (0..CLIENTS_MAX).map(|_| rig.ask(GET)).collect();
    // Whether they come together or one after the other is left to the threads.
    let answered = |stream: &UnixStream| {
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    };
    while !unread.iter().all(answered) {
        if let Some(mut snapshot) = rig.exchange.next_asked() {
            snapshot.control.peers = 6_000;
            let room = snapshot.peers.capacity();
            snapshot.peers.extend((0..6_000).map(peer).take(room));
            rig.exchange.give(snapshot);
        }
        thread::yield_now();
    }
    let stream = rig.ask("GET /overview HTTP/1.1\r\n\r\n");
    rig.fill(6_000);
    let overview: Overview = serde_json::from_str(&read(stream).1).unwrap();
    assert_eq!(overview.peers, 6_000);
    let is_whole = |stream| {
        let (head, body) = read(stream);
        head.contains(&format!("Content-Length: {}\r\n", body.len()))
    };
    assert_eq!(unread.into_iter().filter_map(|stream| is_whole(stream).then_some(())).count(), CLIENTS_MAX - 1);
}

/// A control thread that hangs is said to whoever scrapes, and nobody waits for ever.
#[test]
fn control_that_does_not_answer_is_unavailable() {
    let rig = Rig::new("hangs", PeerSeries::All);
    let first = rig.ask(GET);
    let snapshot = rig.asked();
    assert!(read(first).0.contains("503 Service Unavailable"));
    assert!(read(rig.ask(GET)).0.contains("503 Service Unavailable"), "as long as it hangs");
    rig.exchange.give(snapshot);
    let stream = rig.ask(GET);
    rig.fill(1);
    assert!(read(stream).0.contains("200 OK"));
}

#[test]
fn an_address_that_is_taken_is_refused_with_a_remedy() {
    let rig = Rig::new("taken", PeerSeries::All);
    let address = rig.metrics.addresses()[0];
    assert_refused(&at(&address.to_string()));
    let of_interface = vec![address.ip()];
    assert_refused(&Options { of_interface, ..at(&address.to_string()) });
}

fn assert_refused(options: &Options) {
    let error = Listening::on(options).unwrap_err();
    let address = options.addresses[0].to_string();
    assert!(error.is_of_request() && error.to_string().contains(&address), "{error}");
    assert!(error.to_string().contains("--metrics"), "{error}");
}

/// Addresses for documentation, which no machine has.
#[test]
fn only_an_address_of_the_interface_may_be_absent() {
    for address in ["192.0.2.7:9586", "[2001:db8::7]:9586"] {
        assert_refused(&at(address));
        let of_interface = vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let listening = Listening::on(&Options { of_interface, ..at(address) }).unwrap();
        assert_eq!(listening.addresses().map(|addr| addr.to_string()).collect::<Vec<_>>(), [address]);
    }
}
