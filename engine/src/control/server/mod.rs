//! The UNIX socket on which `wg` and other tools configure the interface.
//!
//! It lives on the control thread and never makes it wait. Every client is non-blocking and gets a bounded share of
//! each turn. It has a bounded time for each request and its answer. What all clients together can make us hold is
//! bounded too, see [`Bounds`]. When another client comes and no place is free, the one that has been silent for
//! longest makes room. So new clients are served soon, whoever holds connections open.
//!
//! The server polls its clients through an epoll set of its own, whose descriptor the control loop polls in turn. So
//! the loop sees one descriptor, whoever comes and goes.

mod client;
mod credentials;
mod directory;
mod handler;
mod listener;
#[cfg(test)]
mod tests;
mod ticket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use ringfort_core::time::Time;

use super::error::{DaemonError, is_out_of_descriptors};
use super::uapi::REQUEST_LEN_MAX;
use client::{Client, Shares, Step};
pub use credentials::is_owner;
pub use handler::{HandOver, Handler, Progress, Unfinished};
pub use listener::{Listener, SocketPlace, connect, make_socket, socket_path};
use ticket::Ticket;

/// What clients may take. Tests use smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients at a time; more wait in the listener's backlog until one of these is done or has been silent for a
    /// while.
    pub clients: usize,
    /// Text of unfinished requests, over all clients, in bytes.
    pub request_len: usize,
    /// Text of answers that have not been read: beyond it no further request is served, in bytes. Of a long answer
    /// it is one page that has been made and not read.
    pub unread_len: usize,
    /// For a request to arrive and its answer to be read.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { clients: 64, request_len: REQUEST_LEN_MAX, unread_len: 16 << 20, time: Duration::from_secs(30) }
    }
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    bounds: Bounds,
    epoll: Epoll,
    clients: Vec<Option<Client>>,
    /// How many there were so far.
    admitted: u32,
    /// False until `accept_after`.
    accepting: bool,
    /// The client whose page is made first in the next turn.
    next_page: usize,
    /// While there is no room for a further client, or no descriptor: when to try again.
    accept_after: Time,
}

/// Names in the epoll set beside those of clients, of whom none has a position so high.
const LISTENER: u64 = u64::MAX;
const WATCH: u64 = u64::MAX - 1;
/// Pages of answers in one turn: about two milliseconds.
const PAGES_PER_TURN: usize = 4;
/// Clients taken in in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to leave a listener alone on which `accept` fails, most likely because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

impl Server {
    /// Serves on this listener.
    ///
    /// # Errors
    /// The system's.
    pub fn new(listener: Listener, bounds: Bounds) -> Result<Self, DaemonError> {
        let step = "poll the control socket";
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|errno| DaemonError::system(step, errno))?;
        epoll.add(listener.socket(), readable(LISTENER)).map_err(|errno| DaemonError::system(step, errno))?;
        epoll.add(listener.watch(), readable(WATCH)).map_err(|errno| DaemonError::system(step, errno))?;
        let clients = (0..bounds.clients).map(|_| None).collect();
        let (admitted, next_page, accept_after) = (0, 0, Time::ZERO);
        Ok(Self { listener, bounds, epoll, clients, admitted, accepting: true, next_page, accept_after })
    }

    /// Takes so many clients at a time from now on, before there are any.
    pub fn limit_clients(&mut self, count: usize) {
        self.bounds.clients = count;
        self.clients.resize_with(count, || None);
    }

    /// How many clients there may be.
    #[must_use]
    pub fn places(&self) -> usize {
        self.bounds.clients
    }

    /// Where the socket is, for an end that drops nothing.
    #[must_use]
    pub fn place(&self) -> &SocketPlace {
        self.listener.place()
    }

    /// Leaves the socket to another process.
    pub fn leave(&mut self) {
        self.listener.leave();
    }

    /// From now on the socket is ours.
    pub fn own(&mut self) {
        self.listener.own();
    }

    /// Which process serves the socket: the one that has called listen(2) last.
    #[must_use]
    pub fn process(&self) -> Option<i32> {
        self.listener.process()
    }

    /// A copy of the listening socket's descriptor, for another process.
    ///
    /// # Errors
    /// The system's.
    pub fn copy_of_listener(&self) -> Result<OwnedFd, DaemonError> {
        self.listener.copy().map_err(|error| DaemonError::system("keep the control socket", error))
    }

    /// Renames the socket with its interface.
    ///
    /// # Errors
    /// The system's, or another daemon has the name. The socket stays as it is.
    pub fn rename(&mut self, interface: &str) -> io::Result<()> {
        self.listener.rename(interface)
    }

    /// Serves whoever is ready, without waiting. To be called when the descriptor is readable and when
    /// [`next_deadline`](Self::next_deadline) has come.
    ///
    /// False: somebody has removed or renamed the socket, which is the sign to end (`wg-quick down` of some systems).
    pub fn serve(&mut self, now: Time, handler: &mut dyn Handler) -> bool {
        let mut events = [EpollEvent::empty(); 64];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..ready] {
            match event.data() {
                LISTENER => self.accept(now, handler),
                WATCH if self.listener.was_removed() => return false,
                WATCH => {}
                data => self.hear(Ticket::of(data), event.events(), now, handler),
            }
        }
        self.serve_parked(now, handler);
        self.serve_unfinished(now, handler);
        for position in 0..self.clients.len() {
            if self.clients[position].as_ref().and_then(Client::deadline).is_some_and(|deadline| deadline <= now) {
                log::warn!("a client of the control socket took too long and was disconnected");
                self.disconnect(position);
            }
        }
        self.update_accepting(now);
        true
    }

    /// The client of this ticket is ready, if it is still there: in this turn another one may have got its place.
    fn hear(&mut self, ticket: Ticket, events: EpollFlags, now: Time, handler: &mut dyn Handler) {
        let position = ticket.position();
        let client = self.clients.get(position).and_then(Option::as_ref);
        let Some(client) = client.filter(|client| client.ticket() == ticket) else { return };
        if events.contains(EpollFlags::EPOLLHUP) && client.is_begun() {
            self.hang_up(position);
        } else {
            self.step(position, now, handler);
        }
    }

    /// Whether [`serve`](Self::serve) has something to do at once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.clients.iter().flatten().any(Client::awaits_page)
    }

    /// When [`serve`](Self::serve) has something to do even if nobody is ready.
    pub fn next_deadline(&self) -> Option<Time> {
        let retry = (!self.accepting).then_some(self.accept_after);
        self.clients.iter().flatten().filter_map(Client::deadline).chain(retry).min()
    }

    /// Takes in whoever waits, and serves him at once: his request may be there already. Somebody does wait, so
    /// one who can be done without makes room.
    fn accept(&mut self, now: Time, handler: &mut dyn Handler) {
        if self.free_place().is_none() && !self.make_room(now) {
            self.accept_after = self.next_room(now);
        }
        // Others have their turn, however many come and go: the listener stays readable.
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(position) = self.free_place() else { return };
            match self.listener.accept() {
                Ok(Some(stream)) => {
                    let is_admitted = credentials::admits(&stream, self.listener.place().path());
                    let ticket = self.next_ticket(position);
                    let client = Client::new(stream, ticket, is_admitted, now, now + self.bounds.time);
                    if self.epoll.add(client.socket(), readable(ticket.data())).is_ok() {
                        self.clients[position] = Some(client);
                        self.step(position, now, handler);
                    }
                }
                Ok(None) => return,
                // A client may have the descriptor that is missing.
                Err(error) if is_out_of_descriptors(&error) && self.make_room(now) => {}
                Err(error) => {
                    log::warn!("cannot accept a client on the control socket: {error}");
                    self.accept_after = self.next_room(now);
                    return;
                }
            }
        }
    }

    fn next_ticket(&mut self, position: usize) -> Ticket {
        self.admitted = self.admitted.wrapping_add(1);
        Ticket::new(position, self.admitted)
    }

    fn free_place(&self) -> Option<usize> {
        self.clients.iter().position(Option::is_none)
    }

    /// When it is worth while to look for room again, if there is none now.
    fn next_room(&self, now: Time) -> Time {
        let expendable = self.clients.iter().flatten().filter_map(Client::expendable_at).filter(|&at| at > now);
        expendable.chain([now + ACCEPT_PAUSE]).min().expect("one is there")
    }

    /// Disconnects the client that can best be done without, if there is one: an idle one rather than a stalled one,
    /// and the one that has been silent for longest.
    fn make_room(&mut self, now: Time) -> bool {
        let expendable = self.clients.iter().enumerate().filter_map(|(position, client)| {
            let client = client.as_ref()?;
            let since = client.expendable_at().filter(|&at| at <= now)?;
            Some((!client.is_idle(), since, position))
        });
        let Some((stalled, _, position)) = expendable.min() else { return false };
        if stalled {
            log::warn!("a client of the control socket kept others waiting and was disconnected");
        }
        self.disconnect(position);
        true
    }

    /// Nobody reads the answer. A change that was begun is finished all the same, and counts as held until then:
    /// whoever asks and hangs up, again and again, has no more memory than others.
    fn hang_up(&mut self, position: usize) {
        let Some(client) = &mut self.clients[position] else { return };
        if client.hang_up() {
            // It would be ready for ever.
            let _ = self.epoll.delete(client.socket());
        } else {
            self.disconnect(position);
        }
    }

    fn disconnect(&mut self, position: usize) {
        if let Some(client) = self.clients[position].take() {
            // Closing would do, but a capture may go on with the connection.
            let _ = self.epoll.delete(client.socket());
        }
        self.accept_after = Time::ZERO;
    }

    /// Leaves the listener alone while nobody could be taken in, since it would be ready all the time.
    fn update_accepting(&mut self, now: Time) {
        let accepting = self.accept_after <= now;
        if accepting != self.accepting {
            let flags = if accepting { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            let modified = self.epoll.modify(self.listener.socket(), &mut EpollEvent::new(flags, LISTENER));
            if modified.is_ok() {
                self.accepting = accepting;
            }
        }
    }

    fn step(&mut self, position: usize, now: Time, handler: &mut dyn Handler) {
        let shares = self.shares(position, now);
        let Some(client) = self.clients.get_mut(position).and_then(Option::as_mut) else { return };
        let step = client.step(&shares, handler);
        self.wait_for(step, position);
    }

    fn wait_for(&mut self, step: Step, position: usize) {
        let Some(client) = self.clients.get_mut(position).and_then(Option::as_mut) else { return };
        if !client.note_wait(step) {
            return;
        }
        let wanted = match step {
            Step::Read => EpollFlags::EPOLLIN,
            Step::Write => EpollFlags::EPOLLOUT,
            Step::Parked if client.is_gone() => return,
            // Errors and hang-ups are reported all the same.
            Step::Parked => EpollFlags::empty(),
            Step::Close => return self.disconnect(position),
        };
        if self.epoll.modify(client.socket(), &mut EpollEvent::new(wanted, client.ticket().data())).is_err() {
            self.disconnect(position);
        }
    }

    /// Serves those whose turn has come, the longest waiting first.
    fn serve_parked(&mut self, now: Time, handler: &mut dyn Handler) {
        while self.unread_len() < self.bounds.unread_len {
            let parked = self.clients.iter().enumerate().filter_map(|(position, client)| {
                let since = client.as_ref()?.parked_since()?;
                Some((since, position))
            });
            let Some((_, position)) = parked.min() else { return };
            self.step(position, now, handler);
        }
    }

    /// Goes on with what takes more than a turn: some pages for all clients together, one for each in turn.
    fn serve_unfinished(&mut self, now: Time, handler: &mut dyn Handler) {
        let (count, mut pages, mut is_first_round) = (self.clients.len(), 0, true);
        loop {
            let (before, first) = (pages, self.next_page);
            for position in (0..count).map(|place| (first + place) % count) {
                let shares = self.shares(position, now);
                let Some(client) = &mut self.clients[position] else { continue };
                if client.awaits_page() {
                    if pages == PAGES_PER_TURN {
                        return;
                    }
                    pages += 1;
                    self.next_page = position + 1;
                } else if !is_first_round || !client.is_begun() || client.is_stalled() {
                    continue;
                }
                let step = client.go_on(&shares, handler);
                self.wait_for(step, position);
            }
            is_first_round = false;
            if pages == before {
                return;
            }
        }
    }

    fn shares(&self, position: usize, now: Time) -> Shares {
        let others = self.clients.iter().enumerate().filter(|&(other, _)| other != position);
        let held: usize = others.filter_map(|(_, client)| Some(client.as_ref()?.held_len())).sum();
        Shares {
            now,
            deadline: now + self.bounds.time,
            request_len: self.bounds.request_len.saturating_sub(held),
            may_answer: self.unread_len() < self.bounds.unread_len,
        }
    }

    fn unread_len(&self) -> usize {
        self.clients.iter().flatten().map(Client::unread_len).sum()
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn readable(data: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, data)
}

/// `WouldBlock` as `None`.
pub(crate) fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
