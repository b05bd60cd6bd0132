//! Numbered datagrams through tunnels, and which of them arrive.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use ringfort_testbed::Namespace;

use crate::harness::{PATIENCE, eventually};

/// The port of the server, and of clients that only receive.
pub const PORT: u16 = 7_777;
/// Between two datagrams.
pub const INTERVAL: Duration = Duration::from_millis(20);
/// What is under way when a flow is stopped may take so long.
const LATE: Duration = Duration::from_millis(200);

/// Datagrams by their numbers, and when they arrived.
type Arrivals = Vec<Option<Instant>>;

/// One datagram each [`INTERVAL`], until it is stopped.
pub struct Flow {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicUsize>,
    thread: JoinHandle<Arrivals>,
}

/// What became of a flow.
pub struct Outcome {
    /// Datagrams that did not arrive.
    pub lost: usize,
    /// All of them.
    pub sent: usize,
    /// The longest time without one.
    pub gap: Duration,
}

impl Flow {
    /// A client sends, and the server sends back.
    pub fn echo(client: &Namespace, server: Ipv4Addr) -> Self {
        let socket = client.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let back = socket.try_clone().unwrap();
        Self::start(socket, back, (server, PORT).into())
    }

    /// The server sends to a client, which says nothing.
    pub fn to_client(client: &Namespace, inner: Ipv4Addr, server: &Namespace) -> Self {
        let from = server.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let to = client.enter(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
        Self::start(from, to, (inner, PORT).into())
    }

    fn start(from: UdpSocket, to: UdpSocket, target: SocketAddr) -> Self {
        from.set_nonblocking(true).unwrap();
        to.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (stop.clone(), arrived.clone());
        let thread = thread::spawn(move || {
            let mut arrivals = Arrivals::new();
            let mut stopped_at = None;
            loop {
                let mut number = [0; 4];
                while let Ok((4, _)) = to.recv_from(&mut number) {
                    arrivals[u32::from_be_bytes(number) as usize] = Some(Instant::now());
                    counted.fetch_add(1, Relaxed);
                }
                if stopped.load(Relaxed) {
                    let since: Instant = *stopped_at.get_or_insert_with(Instant::now);
                    if since.elapsed() > LATE {
                        return arrivals;
                    }
                } else {
                    let number = u32::try_from(arrivals.len()).unwrap();
                    arrivals.push(None);
                    // There may be no way at the moment.
                    let _ = from.send_to(&number.to_be_bytes(), target);
                }
                sleep(INTERVAL);
            }
        });
        Self { stop, arrived, thread }
    }

    /// Ends it.
    pub fn stop(self) -> Outcome {
        self.stop.store(true, Relaxed);
        let arrivals = self.thread.join().unwrap();
        let times: Vec<Instant> = arrivals.iter().flatten().copied().collect();
        let gaps = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
        Outcome { lost: arrivals.len() - times.len(), sent: arrivals.len(), gap: gaps.max().unwrap_or(PATIENCE) }
    }
}

/// Waits until so many more have arrived of each.
pub fn await_arrivals(flows: &[Flow], more: usize) {
    let wanted: Vec<usize> = flows.iter().map(|flow| flow.arrived.load(Relaxed) + more).collect();
    for (flow, wanted) in flows.iter().zip(wanted) {
        eventually("datagrams of a client arrive", || flow.arrived.load(Relaxed) >= wanted);
    }
}

/// Sends back whatever comes, until the namespace is gone and the process with it.
pub fn serve(namespace: &Namespace) {
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
