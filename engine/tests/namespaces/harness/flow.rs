//! A trickle of datagrams through a tunnel, and when one of them arrives.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use ringfort_testbed::Namespace;

use super::traffic::PATIENCE;

const INTERVAL: Duration = Duration::from_millis(5);

/// Datagrams of a few bytes, one after the other, until it is dropped.
pub struct Flow {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

/// Where they arrive.
pub struct Arrivals(UdpSocket);

impl Flow {
    /// From a namespace to an address in the tunnel.
    pub fn start(from: &Namespace, target: SocketAddr) -> Self {
        let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // There may be no interface at the moment.
                let _ = socket.send_to(b"hello", target);
                sleep(INTERVAL);
            }
        });
        Self { stop, sender: Some(sender) }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.take().map(JoinHandle::join);
    }
}

impl Arrivals {
    /// At this port of a namespace.
    pub fn at(namespace: &Namespace, port: u16) -> Self {
        let socket = namespace.enter(|| UdpSocket::bind(("0.0.0.0", port))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self(socket)
    }

    /// Waits for the next datagram, and says when it came. Those that have arrived already do not count.
    pub fn next(&self) -> Instant {
        let (mut buffer, deadline) = ([0; 16], Instant::now() + PATIENCE);
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut buffer).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
        while self.0.recv(&mut buffer).is_err() {
            assert!(Instant::now() < deadline, "nothing arrives");
        }
        Instant::now()
    }
}
