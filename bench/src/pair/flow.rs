//! Datagrams at a set interval through a tunnel, and what their receiver sees of them.
//!
//! Each datagram has a number and the time at which it was sent. An outage is the longest time without a datagram, as
//! the receiver has it. So it includes whatever was lost on the way, by whichever gateway.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Namespace, Result};

/// How often a receiver looks whether it must end.
const LOOK: Duration = Duration::from_millis(50);
const LEN: usize = 16;

/// The time that all of this counts from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// It begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// The time since it began.
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A datagram that has arrived.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    number: u64,
    sent: Duration,
    received: Duration,
}

/// A flow in one direction. It ends when it is dropped.
#[derive(Debug)]
pub struct Flow {
    interval: Duration,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of a flow within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// The longest time between two arrivals, less the interval between two datagrams.
    pub longest: Duration,
    /// Datagrams that were sent after the last one that had arrived when the time began, until it ended.
    pub sent: u64,
    /// Those of them that did not arrive.
    pub lost: u64,
}

impl Flow {
    /// Sends from one namespace to an address of the other, one datagram in each interval.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn start(clock: Clock, interval: Duration, from: &Namespace, to: (&Namespace, SocketAddr)) -> Result<Self> {
        let (namespace, target) = to;
        let receiver = namespace.enter(|| UdpSocket::bind(("0.0.0.0", target.port()))).context("a receiver")?;
        receiver.set_read_timeout(Some(LOOK)).context("a receiver")?;
        let sender = from.enter(|| UdpSocket::bind("0.0.0.0:0")).context("a sender")?;
        let (stop, arrivals) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop_sending, stop_receiving, seen) = (stop.clone(), stop.clone(), arrivals.clone());
        let send = thread::spawn(move || send(clock, interval, &sender, target, &stop_sending));
        let receive = thread::spawn(move || receive(clock, &receiver, &seen, &stop_receiving));
        Ok(Self { interval, arrivals, stop, threads: vec![send, receive] })
    }

    /// Whether something has arrived that was sent at this time or later.
    pub fn has_since(&self, time: Duration) -> bool {
        self.lock().last().is_some_and(|last| last.sent >= time)
    }

    /// What became of it from one time to another.
    pub fn outage(&self, from: Duration, to: Duration) -> Outage {
        outage(&self.lock(), self.interval, from, to)
    }

    /// When the first datagram arrived that was sent at this time or later.
    pub fn first_sent_since(&self, time: Duration) -> Option<Duration> {
        self.lock().iter().find(|arrival| arrival.sent >= time).map(|arrival| arrival.received)
    }

    /// When the first datagram arrived at this time or later.
    pub fn first_since(&self, time: Duration) -> Option<Duration> {
        self.lock().iter().map(|arrival| arrival.received).find(|&received| received >= time)
    }

    /// When the last datagram arrived.
    pub fn last(&self) -> Option<Duration> {
        self.lock().last().map(|last| last.received)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn send(clock: Clock, interval: Duration, socket: &UdpSocket, target: SocketAddr, stop: &AtomicBool) {
    let start = clock.now();
    for number in 0_u64.. {
        let due = start + Duration::from_nanos(interval.as_nanos() as u64 * number);
        sleep(due.saturating_sub(clock.now()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&(clock.now().as_nanos() as u64).to_le_bytes());
        // Somebody may say at the moment that there is no way. It is lost then.
        let _ = socket.send_to(&bytes, target);
    }
}

fn receive(clock: Clock, socket: &UdpSocket, arrivals: &Mutex<Vec<Arrival>>, stop: &AtomicBool) {
    let mut bytes = [0; LEN];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut bytes).is_ok_and(|len| len == LEN) {
            let received = clock.now();
            let [number, sent] = [0, 8].map(|at| {
                u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are as many as a number has"))
            });
            let arrival = Arrival { number, sent: Duration::from_nanos(sent), received };
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
        }
    }
}

fn outage(arrivals: &[Arrival], interval: Duration, from: Duration, to: Duration) -> Outage {
    let before = arrivals.iter().rfind(|arrival| arrival.received < from);
    let within: Vec<_> = arrivals.iter().filter(|arrival| (from..to).contains(&arrival.received)).collect();
    // The time from the last arrival before, and to the end, count as well.
    let first = before.map_or(from, |arrival| arrival.received);
    let times = std::iter::once(first).chain(within.iter().map(|arrival| arrival.received)).chain([to]);
    let times: Vec<_> = times.collect();
    let longest = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
    // One that was under way when the time began counts, too: it comes after the last arrival before.
    let numbers = arrivals.iter().filter(|arrival| arrival.sent < to).map(|arrival| arrival.number);
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    // Numbers that are missing at either end are those of the time to the next arrival.
    let sent = match (before, arrivals.iter().rfind(|arrival| arrival.sent < to)) {
        (Some(before), Some(last)) => last.number.saturating_sub(before.number),
        _ => 0,
    };
    let arrived = before.map_or(0, |before| numbers.iter().filter(|&&number| number > before.number).count() as u64);
    let longest = longest.saturating_sub(interval);
    Outage { longest, sent, lost: sent.saturating_sub(arrived) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = ms(10);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Datagram n is sent at n × 10 ms and arrives 1 ms later, if it does.
    fn arrivals(numbers: impl IntoIterator<Item = u64>) -> Vec<Arrival> {
        let arrival = |number| Arrival { number, sent: ms(number * 10), received: ms(number * 10 + 1) };
        numbers.into_iter().map(arrival).collect()
    }

    #[test]
    fn nothing_lost_is_no_outage() {
        let seen = outage(&arrivals(0..100), INTERVAL, ms(205), ms(800));
        assert_eq!((seen.longest, seen.lost, seen.sent), (ms(0), 0, 59));
    }

    #[test]
    fn what_is_under_way_when_it_begins_and_arrives_is_not_lost() {
        let from = Duration::from_micros(200_500);
        let seen = outage(&arrivals(0..100), INTERVAL, from, ms(800));
        assert_eq!((seen.longest, seen.lost, seen.sent), (ms(0), 0, 60));
        // The same one does not arrive.
        let seen = outage(&arrivals((0..20).chain(21..100)), INTERVAL, from, ms(800));
        assert_eq!((seen.lost, seen.sent), (1, 60));
    }

    #[test]
    fn an_outage_lasts_from_the_last_arrival_to_the_next() {
        let seen = outage(&arrivals((0..20).chain(50..100)), INTERVAL, ms(205), ms(800));
        // From 191 to 501 ms, of which 10 are as always.
        assert_eq!((seen.longest, seen.lost), (ms(300), 30));
    }

    #[test]
    fn what_does_not_come_back_lasts_to_the_end() {
        let seen = outage(&arrivals(0..20), INTERVAL, ms(205), ms(5_000));
        assert_eq!(seen.longest, ms(4_799));
    }
}
