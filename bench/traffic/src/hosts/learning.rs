//! Before a load: datagrams that resolve neighbours and bring tunnels up (the learning frames of RFC 2544, section 23).
//!
//! They do more here. The reflector chooses a number and says it over the control connection. It answers only datagrams
//! that hold it, and goes on only if one came from the address that the generator claims. So nobody can have it send to
//! a third host.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ringfort_testbed::{Context, Error, Result};

use crate::sockets::{OPEN_EVERY, OPEN_TIMEOUT, bind_one};

/// Answers learning datagrams until it is told to stop, or dropped.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) port: u16,
    pub(crate) nonce: u64,
    from: IpAddr,
    to: IpAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    heard: AtomicBool,
    /// Who sent the right number from a wrong address.
    other: Mutex<Option<IpAddr>>,
}

impl Learner {
    /// Begins to listen at `to` for datagrams of `from`.
    ///
    /// # Errors
    /// The address is not one of this host.
    pub(crate) fn start(from: IpAddr, to: IpAddr) -> Result<Self> {
        let (socket, bound) = bind_one(to)?;
        socket.set_read_timeout(Some(OPEN_EVERY)).context("setting a timeout")?;
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).context("reading random bytes")?;
        let shared = Arc::new(Shared::default());
        let (theirs, wanted) = (Arc::clone(&shared), nonce);
        let thread = thread::spawn(move || listen(&socket, wanted, from, &theirs));
        Ok(Self { port: bound.port(), nonce: u64::from_le_bytes(nonce), from, to, shared, thread: Some(thread) })
    }

    /// Stops.
    ///
    /// # Errors
    /// Nothing has arrived, or it came from another address.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.stop();
        if self.shared.heard.load(Ordering::Acquire) {
            return Ok(());
        }
        let (from, to) = (self.from, self.to);
        match *self.shared.other.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(other) => Err(Error::new(format!(
                "what {from} sends to {to} arrives from {other}: translated addresses cannot be measured through"
            ))),
            None => Err(Error::new(format!("nothing that is sent from {from} has arrived at {to}"))),
        }
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there is silence, which is an error anyway.
            let _ = thread.join();
        }
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(socket: &UdpSocket, wanted: [u8; 8], from: IpAddr, shared: &Shared) {
    let mut bytes = [0; 16];
    while !shared.stop.load(Ordering::Acquire) {
        let Ok((8, sender)) = socket.recv_from(&mut bytes) else { continue };
        if bytes[..8] != wanted {
            continue;
        }
        if sender.ip() == from {
            shared.heard.store(true, Ordering::Release);
            // One that is lost is asked for again.
            let _ = socket.send_to(&wanted, sender);
        } else {
            *shared.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.ip());
        }
    }
}

/// Sends from `from` until the learner at `target` answers. Returns whether it did within five seconds.
///
/// # Errors
/// The address is not one of this host.
pub(crate) fn learn(from: IpAddr, target: SocketAddr, nonce: u64) -> Result<bool> {
    let (socket, _) = bind_one(from)?;
    socket.connect(target).context(format_args!("finding a way from {from} to {target}"))?;
    socket.set_read_timeout(Some(OPEN_EVERY)).context("setting a timeout")?;
    let (deadline, mut bytes) = (Instant::now() + OPEN_TIMEOUT, [0; 16]);
    while Instant::now() < deadline {
        // What the kernel does not take now, it may take when a route or a neighbour is there.
        let _ = socket.send(&nonce.to_le_bytes());
        match socket.recv(&mut bytes) {
            Ok(8) if bytes[..8] == nonce.to_le_bytes() => return Ok(true),
            Err(error) if error.kind() != ErrorKind::WouldBlock => thread::sleep(OPEN_EVERY),
            _ => {}
        }
    }
    Ok(false)
}
