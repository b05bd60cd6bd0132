//! The thread that answers scrapes: a few connections, each with a deadline, and no step that waits for one of them.

mod client;
mod listen;
mod rank;

pub use listen::{Listening, MetricsError, Options, socket_path};

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfort_core::device::PeerState;
use ringfort_core::time::Time;
use ringfort_worker::clock::boot_time;

use super::exchange::Exchange;
use super::expose::States;
pub use super::http::PATH_OVERVIEW;
use super::http::{Page, Want};
use super::overview::Overview;
use super::places::Places;
use super::sample::Snapshot;
use super::{Registry, expose};
use crate::control::server::SocketPlace;
use crate::sandbox::{self, Role};
use client::{Client, Step};
use rank::Ranks;

/// Connections at a time. Each may hold an answer of some megabytes.
pub const CLIENTS_MAX: usize = 8;
/// For a request to arrive, and for its answer to be read.
const CLIENT_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to say what it wants, or to take more of its answer, while another waits to be let in.
const GRACE: Duration = Duration::from_secs(1);
/// For control to fill a snapshot.
const CONTROL_TIME: Duration = Duration::from_secs(5);
/// How long to leave listeners alone on which `accept` fails, most likely because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Peers that may be added between two scrapes before a snapshot lacks memory for them.
const PEERS_SLACK: usize = 64;
/// How often a snapshot is asked for if peers are added all the time.
const ATTEMPTS: usize = 3;

/// The thread, while it runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Metrics {
    /// Until it serves, which another process does so far.
    begin: Option<mpsc::Sender<()>>,
    ending: Arc<AtomicBool>,
    exchange: Arc<Exchange>,
    thread: Option<JoinHandle<()>>,
    place: MetricsPlace,
    addresses: Vec<SocketAddr>,
}

impl Metrics {
    /// Serves on what listens. Control fills the snapshots of `exchange`.
    ///
    /// # Errors
    /// The system's, if there is no thread to be had.
    pub fn start(
        listening: Listening,
        registry: Arc<Registry>,
        exchange: Arc<Exchange>,
        options: &Options,
    ) -> io::Result<Self> {
        Self::start_when(None, listening, registry, exchange, options)
    }

    /// The same for what another process still serves: nobody is served before [`begin`](Self::begin).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_later(
        listening: Listening,
        registry: Arc<Registry>,
        exchange: Arc<Exchange>,
        options: &Options,
    ) -> io::Result<Self> {
        let (begin, begins) = mpsc::channel();
        let mut metrics = Self::start_when(Some(begins), listening, registry, exchange, options)?;
        metrics.begin = Some(begin);
        Ok(metrics)
    }

    /// Serves from now on, and looks after the unix socket.
    pub fn begin(&mut self) {
        if let Some(begin) = self.begin.take() {
            // It waits for as long as we have this end.
            let _ = begin.send(());
        }
    }

    /// Ends, and leaves the unix socket to another process.
    pub fn leave(self) {
        *self.place.lock() = None;
    }

    fn start_when(
        begins: Option<mpsc::Receiver<()>>,
        listening: Listening,
        registry: Arc<Registry>,
        exchange: Arc<Exchange>,
        options: &Options,
    ) -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let place = MetricsPlace(Arc::new(Mutex::new(listening.place().cloned())));
        let addresses = listening.addresses().collect();
        let server = Server {
            listening,
            clients: Vec::new(),
            places: Places::new(options.peers),
            ranks: Ranks::default(),
            registry,
            exchange: exchange.clone(),
            ending: ending.clone(),
            asked: None,
            peers_expected: 0,
            accept_after: Time::ZERO,
        };
        let thread = thread::Builder::new().name("ringfort-metrics".to_owned()).spawn(move || server.run(begins))?;
        Ok(Self { begin: None, ending, exchange, thread: Some(thread), place, addresses })
    }

    /// Where its unix socket is.
    #[must_use]
    pub fn place(&self) -> MetricsPlace {
        self.place.clone()
    }

    /// The TCP addresses that it serves on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if self.begin.take().is_some() {
            *self.place.lock() = None;
        }
        self.ending.store(true, Ordering::Release);
        self.exchange.waker().wake();
        // It waits for nobody, so it ends at once.
        let _ = self.thread.take().map(JoinHandle::join);
        if let Some(place) = self.place.lock().as_ref() {
            place.remove();
        }
    }
}

/// Where the unix socket is, if there is one.
#[derive(Clone, Debug)]
pub struct MetricsPlace(Arc<Mutex<Option<SocketPlace>>>);

impl MetricsPlace {
    /// The interface has another name, and so has the socket.
    ///
    /// # Errors
    /// The system's, or another daemon has the name. The socket stays where it is.
    pub fn rename(&self, interface: &str) -> io::Result<()> {
        self.lock().as_mut().map_or(Ok(()), |place| place.rename(&listen::file_name(interface)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<SocketPlace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that control fills.
#[derive(Clone, Copy)]
struct Asked {
    /// How often it was asked for.
    attempt: usize,
    since: Time,
}

struct Server {
    listening: Listening,
    clients: Vec<Client>,
    places: Places,
    ranks: Ranks,
    registry: Arc<Registry>,
    exchange: Arc<Exchange>,
    ending: Arc<AtomicBool>,
    /// While a snapshot is on its way.
    asked: Option<Asked>,
    /// How many peers there were last time.
    peers_expected: usize,
    /// While there is no descriptor for a client: when to try again.
    accept_after: Time,
}

impl Server {
    fn run(mut self, begins: Option<mpsc::Receiver<()>>) {
        sandbox::enter(Role::Metrics);
        if begins.is_some_and(|begins| begins.recv().is_err()) {
            return;
        }
        while !self.ending.load(Ordering::Acquire) {
            let ready = self.wait();
            let now = boot_time();
            self.exchange.waker().clear();
            while let Some(snapshot) = self.exchange.next_filled() {
                self.filled(*snapshot, now);
            }
            for position in ready {
                if let Some(client) = self.clients.get_mut(position) {
                    client.step(now);
                }
            }
            self.accept(now);
            if self.asked.is_some_and(|asked| asked.since + CONTROL_TIME <= now) {
                self.clients.iter_mut().for_each(|client| client.give_up_waiting(now));
            }
            self.clients.retain(|client| client.step_wanted() != Step::Close && client.deadline() > now);
            if self.asked.is_none() && self.clients.iter().any(|client| client.wants().is_some()) {
                self.ask(1);
            }
        }
    }

    /// Sleeps until there is something to do. The positions of the clients that are ready.
    fn wait(&self) -> Vec<usize> {
        let now = boot_time();
        let mut fds = vec![PollFd::new(self.exchange.waker().as_fd(), PollFlags::POLLIN)];
        for client in &self.clients {
            let flags = match client.step_wanted() {
                Step::Read => PollFlags::POLLIN,
                Step::Write => PollFlags::POLLOUT,
                // Errors and hang-ups are reported all the same.
                Step::Wait | Step::Close => PollFlags::empty(),
            };
            fds.push(PollFd::new(client.as_fd(), flags));
        }
        if self.accept_after <= now && (self.clients.len() < CLIENTS_MAX || self.expendable(now).is_some()) {
            fds.extend(self.listening.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let deadlines = self.clients.iter().map(Client::deadline);
        let full = self.clients.iter().filter_map(|client| client.expendable_at(GRACE)).filter(|&at| at > now);
        let retry = (self.accept_after > now).then_some(self.accept_after);
        let is_waited_for = self.clients.iter().any(|client| client.wants().is_some());
        let control = self.asked.filter(|_| is_waited_for).map(|asked| asked.since + CONTROL_TIME);
        let due = deadlines.chain(full).chain(retry).chain(control).min();
        let timeout = due.map_or(PollTimeout::NONE, |due| timeout(due.since(now)));
        // An error is one of memory, or a signal: what is ready stays ready.
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_none_or(|events| !events.is_empty());
        let clients = fds[1..].iter().take(self.clients.len()).enumerate();
        clients.filter(|(_, fd)| is_ready(fd)).map(|(position, _)| position).collect()
    }

    /// A client that has had time to say what it wants, or to read, and has not: the one that has been silent longest.
    fn expendable(&self, now: Time) -> Option<usize> {
        let slow = |(position, client): (usize, &Client)| Some((client.expendable_at(GRACE)?, position));
        self.clients
            .iter()
            .enumerate()
            .filter_map(slow)
            .min()
            .filter(|&(at, _)| at <= now)
            .map(|(_, position)| position)
    }

    fn accept(&mut self, now: Time) {
        if self.accept_after > now {
            return;
        }
        // As many as there are places, so a crowd that knocks does not keep those inside waiting.
        for _ in 0..CLIENTS_MAX {
            if self.clients.len() == CLIENTS_MAX {
                let Some(position) = self.expendable(now) else { return };
                if !self.listening.is_anybody_there() {
                    return;
                }
                self.clients.swap_remove(position);
            }
            match self.listening.accept() {
                Ok(Some(stream)) => {
                    let mut client = Client::new(stream, now, now + CLIENT_TIME);
                    // The request may be there already.
                    client.step(now);
                    self.clients.push(client);
                }
                Ok(None) => return,
                Err(error) => {
                    log::warn!("cannot accept a connection for metrics: {error}");
                    self.accept_after = now + ACCEPT_PAUSE;
                    return;
                }
            }
        }
    }

    /// Asks control for a snapshot, with memory for the peers if somebody wants to see them.
    fn ask(&mut self, attempt: usize) {
        let peers = match self.shows_peers() {
            true => Vec::with_capacity(self.peers_expected + PEERS_SLACK),
            false => Vec::new(),
        };
        if self.exchange.ask(Box::new(Snapshot { peers, ..Snapshot::default() })) {
            self.asked = Some(Asked { attempt, since: boot_time() });
            self.registry.queues.control.wake();
        }
    }

    /// Whether somebody waits for more than figures of the whole gateway.
    fn shows_peers(&self) -> bool {
        let shows = |want: Want| want.page == Page::Overview || !self.places.are_none();
        self.clients.iter().filter_map(Client::wants).any(shows)
    }

    /// Answers whoever waits.
    fn filled(&mut self, snapshot: Snapshot, now: Time) {
        let attempt = self.asked.take().map_or(ATTEMPTS, |asked| asked.attempt);
        self.peers_expected = snapshot.control.peers;
        // There may be more peers than last time, or somebody has come who wants to see them.
        let is_short = self.shows_peers() && snapshot.control.peers > snapshot.peers.capacity();
        if is_short && attempt < ATTEMPTS {
            return self.ask(attempt + 1);
        }
        let states = (snapshot.peers.len() >= snapshot.control.peers).then(|| expose::states(&snapshot.peers));
        let wanted: Vec<Page> = self.clients.iter().filter_map(Client::wants).map(|want| want.page).collect();
        let mut texts: HashMap<Page, Arc<[u8]>> = HashMap::new();
        if wanted.contains(&Page::Overview) {
            texts.insert(Page::Overview, self.overview(&snapshot, states, now));
        }
        if wanted.iter().any(|page| matches!(page, Page::Metrics(_))) {
            let mut snapshot = snapshot;
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut peers = std::mem::take(&mut snapshot.peers);
            self.places.choose(now, wall, &mut peers);
            for page in wanted {
                if let Page::Metrics(format) = page {
                    let text = || expose::text(format, &self.registry, &snapshot, &peers, states).into_bytes().into();
                    texts.entry(page).or_insert_with(text);
                }
            }
        }
        for client in &mut self.clients {
            if let Some(want) = client.wants()
                && let Some(text) = texts.get(&want.page)
            {
                client.answer(want, text.clone(), now);
            }
        }
    }

    fn overview(&mut self, snapshot: &Snapshot, states: Option<States>, now: Time) -> Arc<[u8]> {
        let mut overview = Overview::new(&self.registry, &snapshot.control);
        let states = PeerState::ALL.into_iter().zip(states.into_iter().flatten());
        overview.peers_in_state = states.map(|(state, count)| (state.name().into(), count)).collect();
        overview.busiest_peers = self.ranks.busiest(now, &snapshot.peers);
        // Numbers, texts and maps with texts for keys: all of it can be written.
        serde_json::to_vec(&overview).unwrap_or_default().into()
    }
}

/// In whole milliseconds, rounded up: it must be over when the thread wakes.
fn timeout(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests;
