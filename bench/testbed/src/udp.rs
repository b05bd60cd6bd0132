//! UDP through a tunnel: an echo in which every datagram must come back intact, and a paced stream that counts
//! losses and times each round trip.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::payload::Pattern;
use crate::{Context, Error, Namespace, Result};

/// How much of an echo is under way at once: little enough for any socket buffer (208 KiB by default, and the kernel
/// counts what a packet occupies, not what it holds).
const WINDOW_LEN: usize = 8;
const WINDOW_BYTES: usize = 32_768;
const ECHO_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the stream waits for the next straggler, if any are missing.
const LINGER: Duration = Duration::from_secs(3);
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
const LARGEST: usize = 65_535;
/// Sequence number and time of sending.
const STAMP_LEN: usize = 16;

/// A pair of connected sockets, one in each namespace.
struct Sockets {
    client: UdpSocket,
    server: UdpSocket,
}

impl Sockets {
    fn new(client: &Namespace, server: &Namespace, client_address: IpAddr, server_address: IpAddr) -> Result<Self> {
        let bind = |namespace: &Namespace, address: IpAddr| {
            namespace.enter(|| UdpSocket::bind((address, 0))).context(format_args!("binding {address}"))
        };
        let client = bind(client, client_address)?;
        let server = bind(server, server_address)?;
        let address = |socket: &UdpSocket| socket.local_addr().context("reading a socket's address");
        client.connect(address(&server)?).context("connecting the client")?;
        server.connect(address(&client)?).context("connecting the server")?;
        Ok(Self { client, server })
    }
}

/// Sends one datagram of each size to the other namespace, which sends it back; every byte is compared both times. The
/// order is not: fragments may take another way than whole datagrams.
///
/// # Errors
/// One of them did not arrive within 20 s, or differs.
pub fn echo(client: (&Namespace, IpAddr), server: (&Namespace, IpAddr), sizes: &[usize]) -> Result<()> {
    let sockets = Sockets::new(client.0, server.0, client.1, server.1)?;
    sockets.client.set_read_timeout(Some(ECHO_TIMEOUT)).context("setting a timeout")?;
    sockets.server.set_read_timeout(Some(ECHO_TIMEOUT)).context("setting a timeout")?;
    let mut first = 0;
    while first < sizes.len() {
        let window = window_len(&sizes[first..]);
        let datagrams: Vec<Vec<u8>> =
            (first..first + window).map(|number| Pattern::new(number as u64).peek(sizes[number]).to_vec()).collect();
        send_all(&sockets.client, &datagrams)?;
        expect_all(&sockets.server, &datagrams).context("on the way there")?;
        send_all(&sockets.server, &datagrams)?;
        expect_all(&sockets.client, &datagrams).context("on the way back")?;
        first += window;
    }
    Ok(())
}

/// How many of the next datagrams may be under way together: at least one.
fn window_len(sizes: &[usize]) -> usize {
    let mut bytes = 0;
    let fitting = sizes.iter().take(WINDOW_LEN).take_while(|&&size| {
        bytes += size;
        bytes <= WINDOW_BYTES
    });
    fitting.count().max(1)
}

fn send_all(socket: &UdpSocket, datagrams: &[Vec<u8>]) -> Result<()> {
    for datagram in datagrams {
        socket.send(datagram).context(format_args!("sending {} bytes", datagram.len()))?;
    }
    Ok(())
}

/// Each of them must arrive exactly once.
fn expect_all(socket: &UdpSocket, datagrams: &[Vec<u8>]) -> Result<()> {
    let mut missing: Vec<&[u8]> = datagrams.iter().map(Vec::as_slice).collect();
    let mut buffer = vec![0; LARGEST];
    while !missing.is_empty() {
        let received = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let sizes: Vec<usize> = missing.iter().map(|datagram| datagram.len()).collect();
                return Err(Error::new(format!("datagrams of {sizes:?} bytes did not arrive: {error}")));
            }
            Ok(len) => &buffer[..len],
        };
        let Some(position) = missing.iter().position(|datagram| *datagram == received) else {
            return Err(Error::new(format!("a datagram of {} bytes arrived that was not sent so", received.len())));
        };
        missing.swap_remove(position);
    }
    Ok(())
}

/// A paced stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Payload of each datagram in bytes, 16 at least.
    pub size: usize,
    /// Datagrams per second.
    pub rate: u32,
    /// For how long.
    pub duration: Duration,
}

/// What came of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Of those, how many the far side saw.
    pub arrived: u64,
    /// For how long datagrams were sent.
    pub elapsed: Duration,
    /// Round-trip times of those that came back, in the order of their return.
    pub round_trips: Vec<Duration>,
}

impl StreamReport {
    /// Throughput of payload one way in Mbit/s, for datagrams of `size` bytes.
    pub fn megabits_per_s(&self, size: usize) -> f64 {
        self.arrived as f64 * size as f64 * 8.0 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// The share that did not arrive at the far side, in percent.
    pub fn loss_percent(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { (self.sent - self.arrived) as f64 * 100.0 / self.sent as f64 }
    }
}

/// Runs a stream from the client; the server sends each datagram back. `progress` counts round trips so far.
///
/// # Errors
/// The sockets cannot be made, or the network refuses to send.
pub fn stream(
    client: (&Namespace, IpAddr),
    server: (&Namespace, IpAddr),
    plan: Stream,
    progress: &AtomicU64,
) -> Result<StreamReport> {
    let sockets = Sockets::new(client.0, server.0, client.1, server.1)?;
    for socket in [&sockets.client, &sockets.server] {
        socket.set_read_timeout(Some(Duration::from_millis(50))).context("setting a timeout")?;
        // Loss must be the tunnel's, not ours.
        setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).context("enlarging a socket's buffer")?;
    }
    let done = AtomicBool::new(false);
    let before = progress.load(Ordering::Relaxed);
    let start = Instant::now();
    thread::scope(|scope| {
        let arrived = scope.spawn(|| send_back(&sockets.server, &done));
        let round_trips = scope.spawn(|| collect(&sockets.client, start, &done, progress));
        let sent = send_paced(&sockets.client, start, plan);
        let elapsed = start.elapsed();
        let expected = before + *sent.as_ref().unwrap_or(&0);
        let mut last = (progress.load(Ordering::Relaxed), Instant::now());
        while last.0 < expected && last.1.elapsed() < LINGER {
            thread::sleep(Duration::from_millis(1));
            let now = progress.load(Ordering::Relaxed);
            last = if now == last.0 { last } else { (now, Instant::now()) };
        }
        done.store(true, Ordering::Release);
        let panicked = |_| Error::new("a thread of the stream panicked");
        Ok(StreamReport {
            sent: sent?,
            elapsed,
            arrived: arrived.join().map_err(panicked)?,
            round_trips: round_trips.join().map_err(panicked)?,
        })
    })
}

fn send_paced(socket: &UdpSocket, start: Instant, plan: Stream) -> Result<u64> {
    let mut datagram = vec![0x5a; plan.size.max(STAMP_LEN)];
    let mut sent = 0_u64;
    while start.elapsed() < plan.duration {
        let due = (start.elapsed().as_secs_f64() * f64::from(plan.rate)) as u64;
        while sent <= due {
            datagram[..8].copy_from_slice(&sent.to_le_bytes());
            datagram[8..STAMP_LEN].copy_from_slice(&nanoseconds(start.elapsed()).to_le_bytes());
            socket.send(&datagram).context(format_args!("sending datagram {sent}"))?;
            sent += 1;
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(sent)
}

fn send_back(socket: &UdpSocket, done: &AtomicBool) -> u64 {
    let mut buffer = vec![0; LARGEST];
    let mut arrived = 0;
    while !done.load(Ordering::Acquire) {
        if let Ok(len) = socket.recv(&mut buffer) {
            arrived += 1;
            // What cannot be sent back is missing at the client, and counted there.
            let _ = socket.send(&buffer[..len]);
        }
    }
    arrived
}

fn collect(socket: &UdpSocket, start: Instant, done: &AtomicBool, progress: &AtomicU64) -> Vec<Duration> {
    let mut buffer = vec![0; LARGEST];
    let mut round_trips = Vec::new();
    while !done.load(Ordering::Acquire) {
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let now = start.elapsed();
        let Some(stamp) = buffer[..len].get(8..STAMP_LEN).and_then(|bytes| bytes.try_into().ok()) else { continue };
        round_trips.push(now.saturating_sub(Duration::from_nanos(u64::from_le_bytes(stamp))));
        progress.fetch_add(1, Ordering::Relaxed);
    }
    round_trips
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
