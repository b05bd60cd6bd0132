//! A stream that knows what of it was lost.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use ringfort_testbed::{Family, Tunnel};

use crate::harness::traffic::PATIENCE;

const PORT: u16 = 5_555;
const INTERVAL: Duration = Duration::from_millis(1);
const RECEIVE_BUFFER: usize = 32 << 20;

/// Not ended so far.
const UNKNOWN: u64 = u64::MAX;

/// Numbered datagrams from one end of a tunnel to the other.
pub struct Stream {
    stop: Arc<AtomicBool>,
    /// How many there were, once it has ended.
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<(Vec<u64>, Duration)>>,
}

impl Stream {
    /// Begins to send from that side, one each millisecond.
    pub fn start(tunnel: &Tunnel, from: usize) -> Self {
        let (source, sink) = (tunnel.namespace(from), tunnel.namespace(1 - from));
        let target = SocketAddr::new(tunnel.sides[1 - from].inner(Family::V4), PORT);
        let receiver = sink.enter(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // A machine that is busy lets datagrams wait, and none may be lost by this test itself.
        setsockopt(&receiver, RcvBufForce, &RECEIVE_BUFFER).unwrap();
        let sender = source.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(UNKNOWN)));
        let (stopped, sum, expected) = (stop.clone(), sent.clone(), sent.clone());
        let sender = thread::spawn(move || {
            let mut count = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                match sender.send_to(&count.to_be_bytes(), target) {
                    // The kernel has told us that it did not take it.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                    sent => count += sent.map(|_| 1).unwrap(),
                }
                sleep(INTERVAL);
            }
            sum.store(count, Ordering::Relaxed);
        });
        let receiver = thread::spawn(move || {
            let (mut received, mut buffer, mut longest) = (Vec::new(), [0; 8], Duration::ZERO);
            let mut last = None;
            loop {
                if let Ok(8) = receiver.recv(&mut buffer) {
                    received.push(u64::from_be_bytes(buffer));
                    let before = last.replace(Instant::now());
                    longest = longest.max(before.map_or(Duration::ZERO, |before: Instant| before.elapsed()));
                }
                let sent = expected.load(Ordering::Relaxed);
                let is_complete = received.len() as u64 >= sent;
                // A machine that is busy has some on their way for long.
                if is_complete || (sent != UNKNOWN && last.is_none_or(|last| last.elapsed() > PATIENCE)) {
                    return (received, longest);
                }
            }
        });
        Self { stop, sent, sender: Some(sender), receiver: Some(receiver) }
    }

    /// Ends it. How many were sent, what has arrived, and how long nothing did.
    fn end(mut self) -> (u64, (Vec<u64>, Duration)) {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.take().unwrap().join().unwrap();
        (self.sent.load(Ordering::Relaxed), self.receiver.take().unwrap().join().unwrap())
    }

    /// Ends it: all has arrived, and once.
    #[track_caller]
    pub fn has_lost_nothing(self) {
        let (sent, (mut received, longest)) = self.end();
        eprintln!("{sent} datagrams, one each millisecond: nothing arrived for {longest:?} at most");
        received.sort_unstable();
        let lost: Vec<u64> = (0..sent).filter(|number| received.binary_search(number).is_err()).take(20).collect();
        assert!(lost.is_empty(), "{} of {sent} have arrived: {lost:?} have not, and perhaps others", received.len());
        assert_eq!(received.len() as u64, sent, "some have arrived twice");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
