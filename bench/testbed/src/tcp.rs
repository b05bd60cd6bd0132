//! A bulk TCP transfer whose every byte is checked by the receiver.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::payload::Pattern;
use crate::{Context, Error, Namespace, Result};

/// How long the transfer may stand still.
const STALL: Duration = Duration::from_secs(20);
/// How much is written or read at a time.
const CHUNK_LEN: usize = 65_521;

/// When a transfer ends.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// After this many bytes.
    Bytes(u64),
    /// After this time.
    Time(Duration),
}

/// What arrived, verified.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Bytes of payload.
    pub bytes: u64,
    /// From the connection to the last byte.
    pub elapsed: Duration,
}

impl Report {
    /// Payload throughput in Mbit/s.
    pub fn megabits_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.elapsed.as_secs_f64()
    }
}

/// Sends `amount` from one namespace to `address` in the other. `progress` counts the bytes received so far.
///
/// # Errors
/// No connection, a stall of 20 s, a byte that differs, or fewer bytes than were sent.
pub fn transfer(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    amount: Amount,
    progress: &AtomicU64,
) -> Result<Report> {
    let listener = to.enter(|| TcpListener::bind((address, 0))).context(format_args!("listening on {address}"))?;
    let target = listener.local_addr().context("reading the listener's address")?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let stream = from
                .enter(|| TcpStream::connect_timeout(&target, STALL))
                .context(format_args!("connecting to {target}"))?;
            send(stream, seed(target), amount)
        });
        let report = accept(&listener).and_then(|stream| receive(stream, seed(target), progress));
        let sent = sender.join().map_err(|_| Error::new("the sender panicked"))?;
        match (report, sent) {
            (Ok(report), Ok(sent)) if report.bytes == sent => Ok(report),
            (Ok(report), Ok(sent)) => Err(Error::new(format!("{} of {sent} bytes arrived", report.bytes))),
            (Err(error), Ok(_)) | (_, Err(error)) => Err(error),
        }
    })
}

fn seed(target: SocketAddr) -> u64 {
    u64::from(target.port())
}

/// Accepts one connection, or gives up when nobody comes.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true).context("making the listener non-blocking")?;
    let deadline = Instant::now() + STALL;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context("making the connection blocking")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(Error::new(format!("no connection came: {error}"))),
        }
    }
}

fn send(mut stream: TcpStream, seed: u64, amount: Amount) -> Result<u64> {
    stream.set_write_timeout(Some(STALL)).context("setting a timeout")?;
    let mut pattern = Pattern::new(seed);
    let start = Instant::now();
    let mut sent = 0;
    loop {
        let wanted = match amount {
            Amount::Bytes(bytes) => (bytes - sent).min(CHUNK_LEN as u64) as usize,
            Amount::Time(time) if start.elapsed() < time => CHUNK_LEN,
            Amount::Time(_) => 0,
        };
        if wanted == 0 {
            stream.shutdown(Shutdown::Write).context("closing the connection")?;
            return Ok(sent);
        }
        let written = uninterrupted(|| stream.write(pattern.peek(wanted)));
        let written = written.context(format_args!("sending after {sent} bytes"))?;
        pattern.advance(written);
        sent += written as u64;
    }
}

fn receive(mut stream: TcpStream, seed: u64, progress: &AtomicU64) -> Result<Report> {
    stream.set_read_timeout(Some(STALL)).context("setting a timeout")?;
    let mut pattern = Pattern::new(seed);
    let mut buffer = vec![0; CHUNK_LEN];
    let start = Instant::now();
    let mut bytes = 0;
    loop {
        let len = uninterrupted(|| stream.read(&mut buffer));
        let len = len.context(format_args!("receiving after {bytes} bytes"))?;
        if len == 0 {
            return Ok(Report { bytes, elapsed: start.elapsed() });
        }
        if !pattern.matches(&buffer[..len]) {
            return Err(Error::new(format!("the {len} bytes after the first {bytes} are not those that were sent")));
        }
        bytes += len as u64;
        progress.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Repeats a call that a signal interrupted: with a socket timeout set, the kernel does not restart it.
fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
