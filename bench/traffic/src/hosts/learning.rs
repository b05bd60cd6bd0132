//! Before a load: datagrams that resolve neighbours and bring tunnels up (the learning frames of RFC 2544, section 23).
//!
//! They do more here. The reflector chooses two numbers. It says the first over the control connection. It answers only
//! datagrams that hold it and come from the address that the generator claims. The second number is in these answers
//! and nowhere else, and a load begins only with it. So whoever claims an address also receives there. A source address
//! alone can be forged, and proves nothing: nobody can have the reflector send to a third host.

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
    /// What only a host that receives at `from` gets to know.
    proof: u64,
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
        let (nonce, proof) = (random()?, random()?);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || listen(&socket, nonce, proof, from, &theirs));
        Ok(Self { port: bound.port(), nonce, proof, from, to, shared, thread: Some(thread) })
    }

    /// Stops. The generator has read that proof in an answer.
    ///
    /// # Errors
    /// Nothing has arrived, it came from another address, or the proof is not the right one.
    pub(crate) fn finish(mut self, proof: Option<u64>) -> Result<()> {
        self.stop();
        let (from, to) = (self.from, self.to);
        if self.shared.heard.load(Ordering::Acquire) {
            if proof == Some(self.proof) {
                return Ok(());
            }
            return Err(Error::new(format!("{to} hears what {from} sends, but no answer comes back")));
        }
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

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("reading random bytes")?;
    Ok(u64::from_le_bytes(bytes))
}

/// The numbers of a datagram: that of a question, or those of an answer.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number))
}

fn listen(socket: &UdpSocket, nonce: u64, proof: u64, from: IpAddr, shared: &Shared) {
    let mut bytes = [0; 16];
    let answer = [nonce, proof].map(u64::to_le_bytes);
    while !shared.stop.load(Ordering::Acquire) {
        let Ok((8, sender)) = socket.recv_from(&mut bytes) else { continue };
        if !numbers(&bytes[..8]).eq([nonce]) {
            continue;
        }
        if sender.ip() == from {
            shared.heard.store(true, Ordering::Release);
            // One that is lost is asked for again.
            let _ = socket.send_to(answer.as_flattened(), sender);
        } else {
            *shared.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.ip());
        }
    }
}

/// Sends from `from` until the learner at `target` answers. Returns the proof in its answer; `None` if there was none
/// within five seconds.
///
/// # Errors
/// The address is not one of this host.
pub(crate) fn learn(from: IpAddr, target: SocketAddr, nonce: u64) -> Result<Option<u64>> {
    let (socket, _) = bind_one(from)?;
    socket.connect(target).context(format_args!("finding a way from {from} to {target}"))?;
    socket.set_read_timeout(Some(OPEN_EVERY)).context("setting a timeout")?;
    let (deadline, mut bytes) = (Instant::now() + OPEN_TIMEOUT, [0; 16]);
    while Instant::now() < deadline {
        // What the kernel does not take now, it may take when a route or a neighbour is there.
        let _ = socket.send(&nonce.to_le_bytes());
        match socket.recv(&mut bytes) {
            Ok(16) if numbers(&bytes[..8]).eq([nonce]) => return Ok(numbers(&bytes).last()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => thread::sleep(OPEN_EVERY),
            _ => {}
        }
    }
    Ok(None)
}
