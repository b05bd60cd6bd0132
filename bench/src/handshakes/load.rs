//! The load: handshakes begun as planned, repeated as clients do, timed, and confirmed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use ringfort_core::constants::{REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER_MAX};
use ringfort_core::wire::{CookieReply, HandshakeResponse, Message, classify};
use ringfort_testbed::{Context, Error, Result};
use ringfort_traffic::Histogram;
use zerocopy::IntoBytes;

use super::crowd::{Client, Flight, Initiation};
use super::sockets::Sockets;
use crate::interrupt;
use crate::players::{client_of, time};

/// A gateway takes 50 initiations of a peer in a second; the margin is for what delays one of them on its way.
const REST: Duration = Duration::from_millis(25);
/// How long the thread sleeps at most.
const NAP: Duration = Duration::from_millis(100);

/// When handshakes begin.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as fewer than so many are under way.
    InFlight(u32),
    /// So many in each second, whatever becomes of them.
    Rate(u32),
}

/// What came of the load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sessions that were there when the last handshake began, and the time until then.
    pub window: (u64, Duration),
    /// All sessions.
    pub sessions: u64,
    /// Handshakes that were given up.
    pub given_up: u64,
    /// Initiations beside the first of each handshake.
    pub repeated: u64,
    /// Cookies that the gateway demanded.
    pub cookies: u64,
    /// Datagrams that answer nothing which is still under way, or do not open.
    pub foreign: u64,
    /// Datagrams that the kernel did not take.
    pub refused: u64,
    /// From when a handshake was due to its response.
    pub times: Histogram,
    /// CPU time of the load in the window.
    pub cpu: Duration,
}

/// A load that is under way.
pub struct Load<'a> {
    clients: &'a mut [Client],
    sockets: &'a mut Sockets,
    pace: Pace,
    handshakes: u64,
    began: Instant,
    begun: u64,
    in_flight: u32,
    /// Clients without a handshake, the one that has rested longest first.
    idle: VecDeque<u32>,
    /// When to repeat an initiation, of whom, and which.
    repeats: BinaryHeap<Reverse<(Instant, u32)>>,
    tally: Tally,
}

impl<'a> Load<'a> {
    /// `handshakes` handshakes of all `clients`, in turn.
    pub fn new(clients: &'a mut [Client], sockets: &'a mut Sockets, pace: Pace, handshakes: u64) -> Self {
        let idle = (0..).take(clients.len()).collect();
        let (repeats, tally) = (BinaryHeap::new(), Tally::default());
        let began = Instant::now();
        Self { clients, sockets, pace, handshakes, began, begun: 0, in_flight: 0, idle, repeats, tally }
    }

    /// Begins all handshakes, calls `all_begun`, and waits for those that are under way.
    ///
    /// # Errors
    /// The kernel's, or those of `all_begun`.
    pub fn run(mut self, mut all_begun: impl FnMut() -> Result<()>) -> Result<Tally> {
        self.began = Instant::now();
        let cpu_before = cpu_time()?;
        while self.begun < self.handshakes {
            self.turn()?;
        }
        self.tally.window = (self.tally.sessions, self.began.elapsed());
        self.tally.cpu = cpu_time()?.saturating_sub(cpu_before);
        all_begun()?;
        while self.in_flight > 0 {
            self.turn()?;
        }
        Ok(self.tally)
    }

    fn turn(&mut self) -> Result<()> {
        if interrupt::requested() {
            return Err(Error::new("interrupted"));
        }
        self.begin_due()?;
        self.repeat_due()?;
        self.sockets.wait(self.nap())?;
        let Self { clients, sockets, tally, idle, in_flight, began, .. } = self;
        let mut answers = VecDeque::new();
        sockets.receive(|datagram| {
            let now = Instant::now();
            match classify(datagram) {
                Ok(Message::Response(response)) => match answer(clients, response, now, tally) {
                    Some((client, confirmation)) => answers.push_back((client, confirmation)),
                    None => tally.foreign += 1,
                },
                Ok(Message::CookieReply(reply)) => take_cookie(clients, reply, now - *began, tally),
                _ => tally.foreign += 1,
            }
        })?;
        for (client, confirmation) in answers {
            tally.refused += u64::from(!sockets.send(clients[client as usize].source, &confirmation));
            idle.push_back(client);
            *in_flight -= 1;
        }
        Ok(())
    }

    /// How long there is nothing to do but to wait for answers.
    fn nap(&self) -> Duration {
        let now = Instant::now();
        let begin = match self.pace {
            _ if self.begun == self.handshakes => None,
            Pace::InFlight(most) if self.in_flight >= most => None,
            Pace::InFlight(_) => self.rested_at(),
            Pace::Rate(rate) => self.rested_at().map(|at| at.max(self.due(rate))),
        };
        let repeat = self.repeats.peek().map(|Reverse((at, _))| *at);
        let next = begin.into_iter().chain(repeat).min();
        next.map_or(NAP, |at| at.saturating_duration_since(now)).min(NAP)
    }

    fn rested_at(&self) -> Option<Instant> {
        self.idle.front().map(|&client| self.clients[client as usize].rested)
    }

    /// When the next handshake is due in an open loop.
    fn due(&self, rate: u32) -> Instant {
        self.began + Duration::from_secs_f64(self.begun as f64 / f64::from(rate))
    }

    fn begin_due(&mut self) -> Result<()> {
        while self.begun < self.handshakes {
            let now = Instant::now();
            let due = match self.pace {
                Pace::InFlight(most) if self.in_flight >= most => return Ok(()),
                Pace::InFlight(_) => now,
                Pace::Rate(rate) => self.due(rate),
            };
            if due > now || self.rested_at().is_none_or(|at| at > now) {
                return Ok(());
            }
            let Some(client) = self.idle.pop_front() else { return Ok(()) };
            self.begun += 1;
            self.in_flight += 1;
            let initiation = self.clients[client as usize].next()?;
            self.send(client, initiation, due, now, 1);
        }
        Ok(())
    }

    /// Repeats what was not answered in time, and gives up what has not been for too long.
    fn repeat_due(&mut self) -> Result<()> {
        while let Some(&Reverse((at, client))) = self.repeats.peek() {
            let now = Instant::now();
            if at > now {
                return Ok(());
            }
            self.repeats.pop();
            let player = &mut self.clients[client as usize];
            // It may have been answered since, and another may be under way.
            let Some(flight) = player.flight.take_if(|flight| flight.repeat <= now) else { continue };
            if now - flight.began >= REKEY_ATTEMPT_TIME {
                self.tally.given_up += 1;
                self.in_flight -= 1;
                self.idle.push_back(client);
                continue;
            }
            let initiation = player.again(flight.attempts)?;
            self.tally.repeated += 1;
            self.send(client, initiation, flight.due, flight.began, flight.attempts + 1);
        }
        Ok(())
    }

    fn send(&mut self, client: u32, initiation: Initiation, due: Instant, began: Instant, attempts: u64) {
        let Initiation { pending, mut message } = initiation;
        let now = Instant::now();
        // Some hundreds of microseconds apart, as clients' clocks are: the index is as good as random.
        let jitter = REKEY_TIMEOUT_JITTER_MAX.mul_f64(f64::from(client % 1_000) / 1_000.0);
        let repeat = now + REKEY_TIMEOUT + jitter;
        let player = &mut self.clients[client as usize];
        player.cookies.add_macs(time(now - self.began), message.as_mut_bytes());
        player.rested = now + REST;
        player.flight = Some(Flight { due, began, repeat, pending, attempts });
        self.repeats.push(Reverse((repeat, client)));
        self.tally.refused += u64::from(!self.sockets.send(player.source, message.as_bytes()));
    }
}

/// The message that confirms the session, if a response makes one.
fn answer(
    clients: &mut [Client],
    response: &HandshakeResponse,
    now: Instant,
    tally: &mut Tally,
) -> Option<(u32, Vec<u8>)> {
    let number = client_of(response.receiver_index.get());
    let client = clients.get_mut(number)?;
    let flight = client.flight.as_ref()?;
    let session = flight.pending.consume_response(client.local(), client.remote(), response).ok()?;
    let confirmation = client.confirm(&session).to_vec();
    tally.times.record(u64::try_from((now - flight.due).as_nanos()).unwrap_or(u64::MAX));
    tally.sessions += 1;
    client.flight = None;
    Some((number as u32, confirmation))
}

/// As every client: the cookie goes into the next initiation, which comes when the first would be repeated.
fn take_cookie(clients: &mut [Client], reply: &CookieReply, since: Duration, tally: &mut Tally) {
    let client = clients.get_mut(client_of(reply.receiver_index.get()));
    match client.map(|client| client.cookies.consume_reply(time(since), reply)) {
        Some(Ok(())) => tally.cookies += 1,
        _ => tally.foreign += 1,
    }
}

fn cpu_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).context("reading the CPU time of the load")
}
