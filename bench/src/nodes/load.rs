//! The load: every client sends an echo request in each interval, and each request has to account for itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_core::crypto::PublicKey;
use ringfort_testbed::{Context, Error, Namespace, Result};

use super::client::{Client, News};
use super::tally::Tally;
use crate::interrupt;
use crate::players::{self, Watch};

/// What has no answer for so long after the last answer is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// A session that is not there by then is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Clients that ask for a session together: gateways compute some thousand in a second.
const ASKED_TOGETHER: usize = 50;

/// All clients.
pub struct Crowd {
    pub clients: Vec<Client>,
    watch: Watch,
    began: Instant,
}

impl Crowd {
    /// So many clients in a namespace, with sockets that hear of `gateway` only.
    ///
    /// # Errors
    /// The kernel has no room for so many.
    pub fn new(namespace: &Namespace, count: u16, public: [u8; 32], gateway: SocketAddr) -> Result<Self> {
        players::allow_sockets(count.into())?;
        let (x25519, public, watch) = (players::x25519()?, PublicKey::new(public), Watch::new()?);
        let sockets: Vec<UdpSocket> =
            namespace.enter(|| (0..count).map(|_| connected(gateway)).collect::<Result<_>>())?;
        let mut clients = Vec::new();
        for (number, socket) in (0..).zip(sockets) {
            watch.add(&socket, number.into())?;
            clients.push(Client::new(number, x25519, public, socket));
        }
        Ok(Self { clients, watch, began: Instant::now() })
    }

    /// Gets every client a session.
    ///
    /// # Errors
    /// Some have none after [`PATIENCE`] without any news.
    pub fn connect(&mut self) -> Result<()> {
        let mut missing: Vec<usize> = (0..self.clients.len()).collect();
        let mut news = Instant::now();
        while !missing.is_empty() {
            if news.elapsed() > PATIENCE + 5 * ASK_AGAIN {
                return Err(Error::new(format!("{} clients get no session", missing.len())));
            }
            let (some, asked) = (&missing[..missing.len().min(ASKED_TOGETHER)], Instant::now());
            let now = self.began.elapsed();
            some.iter().try_for_each(|&client| self.clients[client].ask(now))?;
            let mut waits = some.len();
            while waits > 0 && asked.elapsed() < ASK_AGAIN {
                let sessions = self.receive(ASK_AGAIN)?.into_iter().filter(|(_, one)| *one == News::Session).count();
                waits = waits.saturating_sub(sessions);
                news = if sessions > 0 { Instant::now() } else { news };
            }
            missing.retain(|&client| self.clients[client].remote_index().is_none());
        }
        Ok(())
    }

    /// Has every client send `requests` requests, one in each `interval`. After half of them `change` is carried out by
    /// another thread, and when that is done the other half follows. Returns what came of the requests of each client,
    /// and when the change was done.
    ///
    /// # Errors
    /// Those of `change`, or the kernel's.
    pub fn carry(
        &mut self,
        requests: u32,
        interval: Duration,
        change: impl FnOnce() -> Result<()> + Send,
    ) -> Result<(Vec<Tally>, Instant)> {
        let count = self.clients.len();
        let (mut tallies, total) = (vec![Tally::default(); count], count * requests as usize);
        let began = Instant::now();
        let due = |n: usize| began + interval.mul_f64(n as f64 / count as f64);
        thread::scope(|scope| {
            let (mut change, mut changing) = (Some(change), None);
            let (mut n, mut end) = (0, None);
            while end != Some(n) {
                if n == total / 2
                    && let Some(change) = change.take()
                {
                    changing = Some(scope.spawn(move || change().map(|()| Instant::now())));
                }
                if end.is_none() && changing.as_ref().is_some_and(|changing| changing.is_finished()) {
                    end = Some(n + total - total / 2);
                }
                while Instant::now() < due(n) {
                    self.account(&mut tallies, due(n).saturating_duration_since(Instant::now()))?;
                }
                let sequence = self.clients[n % count].ping();
                tallies[n % count].sent(sequence);
                self.account(&mut tallies, Duration::ZERO)?;
                n += 1;
            }
            let mut news = Instant::now();
            while news.elapsed() < PATIENCE && tallies.iter().any(|tally| tally.lost() > 0) {
                if self.account(&mut tallies, PATIENCE)? > 0 {
                    news = Instant::now();
                }
            }
            let done =
                changing.map(|changing| changing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            Ok((tallies, done.unwrap_or_else(|| Ok(Instant::now()))?))
        })
    }

    /// Takes what has come, or comes within `most`, and returns how many requests that answers.
    fn account(&mut self, tallies: &mut [Tally], most: Duration) -> Result<u64> {
        let mut answered = 0;
        for (client, news) in self.receive(most)? {
            if let News::Echo(sequence) = news {
                answered += u64::from(tallies[client].answered(sequence));
            }
        }
        Ok(answered)
    }

    fn receive(&mut self, most: Duration) -> Result<Vec<(usize, News)>> {
        if interrupt::requested() {
            return Err(Error::new("interrupted"));
        }
        if !most.is_zero() {
            self.watch.wait(most)?;
        }
        let (now, mut buffer, mut all) = (self.began.elapsed(), [0; 2_048], Vec::new());
        for number in self.watch.ready()? {
            // What the kernel reports of a datagram that could not be delivered is no datagram.
            while let Ok(len) = self.clients[number].socket().recv(&mut buffer) {
                let news = self.clients[number].receive(now, &mut buffer[..len]);
                all.push((number, news));
            }
        }
        Ok(all)
    }
}

/// Whoever is connected hears of nobody else.
fn connected(gateway: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = if gateway.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).context("binding a socket of a client")?;
    socket.connect(gateway).context("connecting a socket of a client")?;
    socket.set_nonblocking(true).context("making a socket non-blocking")?;
    Ok(socket)
}
