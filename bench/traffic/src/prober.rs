//! Probes at a low rate beside other traffic: UDP to an echo and ICMP echo, each with a time of its own.
//!
//! One thread sends and receives all of them. A probe leaves when it is due, whether those before it were answered or
//! not, and its time counts from then. So what holds up this thread, or the way, is in the times.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, recv, send, socket,
};
use nix::sys::time::TimeSpec;
use ringfort_testbed::ping::internet_checksum;
use ringfort_testbed::{Context, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schedule::headers_len;
use crate::sockets::bind_here;
use crate::stamp::{Stamp, fill_pattern};
use crate::udp::next_tag;
use crate::{Cpus, Histogram, Percentiles, Placement, sys};

/// Bytes of a probe as an IP packet.
const PACKET_LEN: u16 = crate::load::SIZE_MIN;
/// Bytes of the header of an ICMP echo (RFC 792, RFC 4443).
const ICMP_HEADER_LEN: usize = 8;
/// Type of an echo request and of its reply, over IPv4 and over IPv6.
const ECHO_V4: [u8; 2] = [8, 0];
const ECHO_V6: [u8; 2] = [128, 129];
/// How long the last answers are waited for.
const SETTLE_NS: u64 = 1_000_000_000;
/// How often an echo looks whether it may end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What came of the probes of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answers {
    /// Probes that were due.
    pub sent: u64,
    /// Of these, without an answer.
    pub lost: u64,
    /// From when a probe was due to its answer, in nanoseconds, of those that had one.
    pub times_ns: Option<Percentiles>,
}

/// One probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    /// When it was due, on the clock of [`sys::now_ns`].
    pub(crate) due_ns: u64,
    /// How long its answer took from then; `None` without one.
    pub(crate) time_ns: Option<u64>,
}

/// All probes of one kind, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trips(Vec<Trip>);

impl Trips {
    /// Of those that were due from one time until another.
    pub(crate) fn during(&self, from_ns: u64, until_ns: u64) -> Answers {
        let (mut times, mut answers) = (Histogram::default(), Answers::default());
        for trip in self.0.iter().filter(|trip| (from_ns..until_ns).contains(&trip.due_ns)) {
            answers.sent += 1;
            match trip.time_ns {
                Some(time_ns) => times.record(time_ns),
                None => answers.lost += 1,
            }
        }
        Answers { times_ns: times.summary(), ..answers }
    }

    /// The middle of each interval in seconds since `start_ns`, and the median time of its probes in nanoseconds.
    /// Intervals without answers are left out.
    pub(crate) fn over_time(&self, start_ns: u64, interval: Duration) -> Vec<(f64, u64)> {
        let interval_s = interval.as_secs_f64();
        let number = |trip: &Trip| (trip.due_ns.saturating_sub(start_ns) as f64 / 1e9 / interval_s) as u64;
        let mut medians = Vec::new();
        for probes in self.0.chunk_by(|one, next| number(one) == number(next)) {
            let mut times: Vec<u64> = probes.iter().filter_map(|trip| trip.time_ns).collect();
            times.sort_unstable();
            if let len @ 1.. = times.len() {
                let median = u64::midpoint(times[(len - 1) / 2], times[len / 2]);
                medians.push(((number(&probes[0]) as f64 + 0.5) * interval_s, median));
            }
        }
        medians
    }
}

/// Probes of UDP and of ICMP, in this order.
pub(crate) struct Prober {
    ways: [Way; 2],
    interval_ns: u64,
}

impl Prober {
    /// From an address of this thread's namespace to an [`Echo`] and to the host that it is on, `rate_pps` of each
    /// kind.
    ///
    /// # Errors
    /// No sockets, or no way to there.
    pub(crate) fn new(from: IpAddr, echo: SocketAddr, rate_pps: u64) -> Result<Self> {
        let ways = [Way::udp(from, echo)?, Way::icmp(from, echo.ip())?];
        Ok(Self { ways, interval_ns: 1_000_000_000 / rate_pps.max(1) })
    }

    /// Probes from now on, on a thread of its own.
    pub(crate) fn begin(self, placement: &Placement) -> Probing {
        let anywhere = Placement { cpus: Cpus::Any, ..placement.clone() };
        let start_ns = sys::now_ns();
        let thread = Stoppable::begin(move |stop| {
            sys::take_seat(&anywhere, 0)?;
            self.run(start_ns, stop)
        });
        Probing { start_ns, thread }
    }

    /// Probes from `start_ns` until it is told to stop, and waits for the last answers.
    fn run(mut self, start_ns: u64, stop: &AtomicBool) -> Result<[Trips; 2]> {
        for number in 0.. {
            let due_ns = start_ns + u64::from(number) * self.interval_ns;
            self.wait_until(due_ns)?;
            if stop.load(Ordering::Acquire) {
                break;
            }
            self.ways.iter_mut().for_each(|way| way.send(number, due_ns));
        }
        let end_ns = sys::now_ns() + SETTLE_NS;
        while self.ways.iter().any(Way::misses_any) && sys::now_ns() < end_ns {
            self.wait_until(end_ns.min(sys::now_ns() + self.interval_ns))?;
        }
        Ok(self.ways.map(|way| way.trips))
    }

    /// Takes answers until then.
    fn wait_until(&mut self, time_ns: u64) -> Result<()> {
        loop {
            self.ways.iter_mut().for_each(Way::take_answers);
            let left_ns = time_ns.saturating_sub(sys::now_ns());
            if left_ns == 0 {
                return Ok(());
            }
            let mut sockets = self.ways.each_ref().map(|way| PollFd::new(way.socket.as_fd(), PollFlags::POLLIN));
            match ppoll(&mut sockets, Some(TimeSpec::from(Duration::from_nanos(left_ns))), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("waiting for answers to probes"),
            }
        }
    }
}

/// A socket that asks, and what came of it.
struct Way {
    socket: OwnedFd,
    /// Of an ICMP socket, whether it is one of IPv6.
    icmp: Option<bool>,
    tag: u32,
    payload_len: usize,
    trips: Trips,
}

impl Way {
    fn udp(from: IpAddr, echo: SocketAddr) -> Result<Self> {
        let (sockets, _) = bind_here(from, 1)?;
        let socket: UdpSocket = sockets.into_iter().next().expect("one was asked for");
        socket.connect(echo).context(format_args!("connecting to {echo}"))?;
        Ok(Self::new(socket.into(), None, from))
    }

    fn icmp(from: IpAddr, target: IpAddr) -> Result<Self> {
        let v6 = target.is_ipv6();
        let (family, protocol) = match v6 {
            true => (AddressFamily::Inet6, SockProtocol::IcmpV6),
            false => (AddressFamily::Inet, SockProtocol::Icmp),
        };
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).context("opening a raw socket")?;
        let at = |address| SockaddrStorage::from(SocketAddr::new(address, 0));
        bind(socket.as_raw_fd(), &at(from)).context(format_args!("binding a raw socket to {from}"))?;
        connect(socket.as_raw_fd(), &at(target)).context(format_args!("connecting to {target}"))?;
        Ok(Self::new(socket, Some(v6), from))
    }

    fn new(socket: OwnedFd, icmp: Option<bool>, address: IpAddr) -> Self {
        let payload_len = usize::from(PACKET_LEN - headers_len(address));
        Self { socket, icmp, tag: next_tag(), payload_len, trips: Trips::default() }
    }

    /// Sends a probe. One that the kernel does not take has no answer.
    fn send(&mut self, number: u32, due_ns: u64) {
        let header_len = if self.icmp.is_some() { ICMP_HEADER_LEN } else { 0 };
        let mut message = vec![0; header_len + self.payload_len];
        fill_pattern(&mut message[header_len..]);
        Stamp { due_ns, number, tag: self.tag }.write(&mut message[header_len..]);
        if let Some(v6) = self.icmp {
            message[0] = if v6 { ECHO_V6[0] } else { ECHO_V4[0] };
            message[4..6].copy_from_slice(&self.identifier());
            message[6..8].copy_from_slice(&(number as u16).to_be_bytes());
            if !v6 {
                // The kernel fills in the checksum of ICMPv6 only.
                let checksum = internet_checksum(&message);
                message[2..4].copy_from_slice(&checksum.to_be_bytes());
            }
        }
        self.trips.0.push(Trip { due_ns, time_ns: None });
        let _ = send(self.socket.as_raw_fd(), &message, MsgFlags::MSG_DONTWAIT);
    }

    fn identifier(&self) -> [u8; 2] {
        (self.tag as u16).to_be_bytes()
    }

    /// Takes all answers that have come. What else comes, an ICMP error for example, is none.
    fn take_answers(&mut self) {
        let mut buffer = [0; 256];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => self.take(&buffer[..len], sys::now_ns()),
                Err(Errno::EAGAIN) => return,
                // The socket reports an error of an earlier send once, and goes on.
                Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => {}
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, packet: &[u8], now_ns: u64) {
        let Some(stamp) = self.answer(packet).and_then(Stamp::read).filter(|stamp| stamp.tag == self.tag) else {
            return;
        };
        let Some(trip) = self.trips.0.get_mut(stamp.number as usize) else { return };
        // The first answer counts.
        trip.time_ns.get_or_insert(now_ns.saturating_sub(trip.due_ns));
    }

    /// The payload of an answer.
    fn answer<'packet>(&self, packet: &'packet [u8]) -> Option<&'packet [u8]> {
        let Some(v6) = self.icmp else { return Some(packet) };
        // A raw IPv4 socket gives the IP header too.
        let header_len = if v6 { 0 } else { usize::from(packet.first()? & 0x0f) * 4 };
        let (header, payload) = packet.get(header_len..)?.split_at_checked(ICMP_HEADER_LEN)?;
        let reply = if v6 { ECHO_V6[1] } else { ECHO_V4[1] };
        (header[0] == reply && header[4..6] == self.identifier()).then_some(payload)
    }

    fn misses_any(&self) -> bool {
        self.trips.0.iter().any(|trip| trip.time_ns.is_none())
    }
}

/// A [`Prober`] at work.
#[derive(Debug)]
pub(crate) struct Probing {
    /// When it began, on the clock of [`sys::now_ns`].
    pub(crate) start_ns: u64,
    thread: Stoppable<[Trips; 2]>,
}

impl Probing {
    /// Sends no more, and waits for the last answers.
    ///
    /// # Errors
    /// The kernel could not wait for the sockets.
    pub(crate) fn end(self) -> Result<[Trips; 2]> {
        self.thread.end()
    }
}

/// Sends UDP datagrams of one address back to it, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Echo {
    address: SocketAddr,
    thread: Stoppable<()>,
}

impl Echo {
    /// At an address of this thread's namespace, for datagrams that come from `of`. What others send stays without an
    /// answer: a forged source must not have this host send to a third one.
    ///
    /// # Errors
    /// There is no socket to be had there.
    pub(crate) fn begin(at: IpAddr, of: IpAddr) -> Result<Self> {
        let (sockets, addresses) = bind_here(at, 1)?;
        let socket = sockets.into_iter().next().expect("one was asked for");
        socket.set_read_timeout(Some(LOOK_EVERY)).context("setting a timeout")?;
        Ok(Self { address: addresses[0], thread: Stoppable::begin(move |stop| echo(&socket, of, stop)) })
    }

    /// Where it waits.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    ///
    /// # Errors
    /// Its socket had failed for good.
    pub(crate) fn end(self) -> Result<()> {
        self.thread.end()
    }
}

fn echo(socket: &UdpSocket, of: IpAddr, stop: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 256];
    while !stop.load(Ordering::Acquire) {
        match socket.recv_from(&mut buffer) {
            // What is not taken back is missing at its origin, and counted there.
            Ok((len, origin)) if origin.ip() == of => drop(socket.send_to(&buffer[..len], origin)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("receiving probes"),
        }
    }
    Ok(())
}

/// A thread that runs until it is told to stop, or this is dropped.
#[derive(Debug)]
struct Stoppable<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Stoppable<T> {
    fn begin(work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        Self { stop, thread: Some(thread::spawn(move || work(&theirs))) }
    }

    fn end(mut self) -> Result<T> {
        self.join().unwrap_or_else(|| Err(Error::new("a thread of probes panicked")))
    }
}

impl<T> Stoppable<T> {
    fn join(&mut self) -> Option<Result<T>> {
        self.stop.store(true, Ordering::Release);
        self.thread.take()?.join().ok()
    }
}

impl<T> Drop for Stoppable<T> {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(times: &[Option<u64>]) -> Trips {
        let trip = |(number, &time_ns): (usize, &Option<u64>)| Trip { due_ns: 1_000 + number as u64 * 100, time_ns };
        Trips(times.iter().enumerate().map(trip).collect())
    }

    #[test]
    fn probes_count_in_the_time_in_which_they_were_due() {
        let trips = trips(&[Some(5), Some(70_000), None, Some(30)]);
        let answers = trips.during(1_100, 1_300);
        assert_eq!((answers.sent, answers.lost), (2, 1));
        assert_eq!(answers.times_ns.map(|times| times.count), Some(1));
        assert_eq!(trips.during(5_000, 6_000), Answers::default());
    }

    #[test]
    fn each_interval_has_the_median_of_its_probes() {
        let trips = trips(&[Some(5), Some(9), Some(7), None, None, None, Some(3), Some(8)]);
        let over_time = trips.over_time(1_000, Duration::from_nanos(300));
        let medians: Vec<u64> = over_time.iter().map(|(_, median)| *median).collect();
        // Of two, what is between them.
        assert_eq!(medians, [7, 5]);
        assert!((over_time[1].0 - 750e-9).abs() < 1e-15, "{over_time:?}");
    }
}
