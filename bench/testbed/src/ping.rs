//! ICMP echo (RFC 792, RFC 4443) without the `ping` program.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::payload::Pattern;
use crate::{Context, Error, Namespace, Result};

const HEADER_LEN: usize = 8;
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Each pinger in this process has an identifier of its own, so none takes another's answer.
static NEXT_IDENTIFIER: AtomicU16 = AtomicU16::new(1);

/// Sends echo requests to one address and waits for their answers.
#[derive(Debug)]
pub struct Pinger {
    socket: OwnedFd,
    v6: bool,
    identifier: u16,
    sequence: u16,
    target: IpAddr,
}

impl Pinger {
    /// A pinger in `namespace` that asks `target`.
    ///
    /// # Errors
    /// No raw socket, or no route.
    pub fn new(namespace: &Namespace, target: IpAddr) -> Result<Self> {
        let v6 = target.is_ipv6();
        let (family, protocol) = match v6 {
            true => (AddressFamily::Inet6, SockProtocol::IcmpV6),
            false => (AddressFamily::Inet, SockProtocol::Icmp),
        };
        let socket = namespace
            .enter(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))
            .context("opening a raw socket")?;
        let address = SockaddrStorage::from(SocketAddr::new(target, 0));
        connect(socket.as_raw_fd(), &address).context(format_args!("connecting to {target}"))?;
        let identifier = NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed);
        Ok(Self { socket, v6, identifier, sequence: 0, target })
    }

    /// Sends one request with `size` bytes of payload, and waits for nothing.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn send_only(&mut self, size: usize) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request(size);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).context(format_args!("pinging {}", self.target))?;
        Ok(())
    }

    /// Sends one request with `size` bytes of payload and returns the time until its answer, whose payload must be the
    /// same.
    ///
    /// # Errors
    /// No answer within `patience`, or another payload in it.
    pub fn ping(&mut self, size: usize, patience: Duration) -> Result<Duration> {
        self.try_ping(size, patience)?.ok_or_else(|| self.silence(size, patience))
    }

    /// The same, and `None` if there is no answer within `patience`.
    ///
    /// # Errors
    /// It cannot be sent, or there is another payload in its answer.
    pub fn try_ping(&mut self, size: usize, patience: Duration) -> Result<Option<Duration>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request(size);
        let start = Instant::now();
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).context(format_args!("pinging {}", self.target))?;
        let mut buffer = vec![0; 65_535];
        loop {
            let left = patience.saturating_sub(start.elapsed());
            // What has come counts, even if this thread was not run until now.
            let flags = if left < Duration::from_millis(1) { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
            let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1_000);
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(micros))
                .context("setting a timeout")?;
            let len = match recv(self.socket.as_raw_fd(), &mut buffer, flags) {
                Ok(len) => len,
                Err(_) if flags.is_empty() => continue,
                Err(_) => return Ok(None),
            };
            if let Some(payload) = self.answer(&buffer[..len]) {
                if payload != &request[HEADER_LEN..] {
                    return Err(Error::new(format!(
                        "{} answered a ping of {size} bytes with other bytes",
                        self.target
                    )));
                }
                return Ok(Some(start.elapsed()));
            }
        }
    }

    fn silence(&self, size: usize, patience: Duration) -> Error {
        Error::new(format!("{} did not answer a ping of {size} bytes in {patience:?}", self.target))
    }

    fn request(&self, size: usize) -> Vec<u8> {
        let mut message = vec![0; HEADER_LEN];
        message[0] = if self.v6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST_V4 };
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        message.extend_from_slice(Pattern::new(u64::from(self.sequence)).peek(size));
        if !self.v6 {
            // The kernel fills in the checksum of ICMPv6 only.
            let checksum = internet_checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        message
    }

    /// The payload, when `packet` answers the last request. A raw IPv4 socket gives the IP header too.
    fn answer<'packet>(&self, packet: &'packet [u8]) -> Option<&'packet [u8]> {
        let header_len = if self.v6 { 0 } else { usize::from(packet.first()? & 0x0f) * 4 };
        let message = packet.get(header_len..).filter(|message| message.len() >= HEADER_LEN)?;
        let reply = if self.v6 { ECHO_REPLY_V6 } else { ECHO_REPLY_V4 };
        let ours = message[0] == reply
            && message[4..6] == self.identifier.to_be_bytes()
            && message[6..8] == self.sequence.to_be_bytes();
        ours.then(|| &message[HEADER_LEN..])
    }
}

/// Pings every 50 ms until there is an answer, and returns how long that took.
///
/// # Errors
/// No answer within `patience`.
pub fn until_answered(namespace: &Namespace, target: IpAddr, patience: Duration) -> Result<Duration> {
    let silence = || Error::new(format!("{target} did not answer any ping in {patience:?}"));
    answered_within(namespace, target, patience)?.ok_or_else(silence)
}

/// The same, and `None` if there is no answer within `patience`.
///
/// # Errors
/// No ping can be sent, still not at the end.
pub fn answered_within(namespace: &Namespace, target: IpAddr, patience: Duration) -> Result<Option<Duration>> {
    let start = Instant::now();
    let mut pinger = Pinger::new(namespace, target)?;
    loop {
        // The first answer may take as long as a handshake with its first retry.
        match pinger.try_ping(56, Duration::from_millis(250)) {
            Ok(Some(_)) => return Ok(Some(start.elapsed())),
            missed if start.elapsed() > patience => return missed,
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// How many pings [`Background::finish_later`] waits for.
pub const LATER: u64 = 21;

/// One ping after the other on a thread of its own, while a test does something else.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    /// Requests that were answered or given up.
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Tally>>,
}

/// What came of pinging in the background.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// When each unanswered request was sent, since the start.
    pub lost: Vec<Duration>,
    /// The longest time to an answer.
    pub slowest: Duration,
}

impl Background {
    /// Starts pinging `target` from `namespace` every `interval`; an answer may take `patience`.
    ///
    /// # Errors
    /// As [`Pinger::new`].
    pub fn start(namespace: &Namespace, target: IpAddr, interval: Duration, patience: Duration) -> Result<Self> {
        let mut pinger = Pinger::new(namespace, target)?;
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Acquire) {
                tally.sent += 1;
                let at = start.elapsed();
                match pinger.ping(256, patience) {
                    Ok(time) => tally.slowest = tally.slowest.max(time),
                    Err(_) => tally.lost.push(at),
                }
                counter.fetch_add(1, Ordering::Release);
                thread::sleep(interval);
            }
            tally
        });
        Ok(Self { stop, done, thread: Some(thread) })
    }

    /// Goes on for 200 ms and [`LATER`] pings at least, so what was lost at the very end shows too. Then as
    /// [`Background::finish`].
    ///
    /// # Panics
    /// When the pinging thread did.
    pub fn finish_later(self) -> Tally {
        let before = self.done.load(Ordering::Acquire);
        thread::sleep(Duration::from_millis(200));
        let running = || self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        while running() && self.done.load(Ordering::Acquire) - before < LATER {
            thread::sleep(Duration::from_millis(1));
        }
        self.finish()
    }

    /// Stops, and says what came of it.
    ///
    /// # Panics
    /// When the pinging thread did.
    pub fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("only this takes it, and only once");
        thread.join().expect("the pinging thread does not panic")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// RFC 1071.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_no_error_and_what_cannot_be_sent_is() {
        let namespace = Namespace::new().unwrap();
        let within = |target: &str| answered_within(&namespace, target.parse().unwrap(), Duration::from_millis(1));
        assert!(within("10.9.0.9").is_err(), "there is no route");
        // What comes back to its sender by this route is nobody's.
        namespace.ip("link set lo up").unwrap();
        namespace.ip("route add 10.9.0.0/24 dev lo").unwrap();
        assert_eq!(within("10.9.0.9").unwrap(), None);
        assert!(until_answered(&namespace, "10.9.0.9".parse().unwrap(), Duration::from_millis(1)).is_err());
        assert!(within("127.0.0.1").unwrap().is_some());
    }

    #[test]
    fn checksum_of_rfc_1071() {
        // The example of section 3: the sum is ddf2.
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet_checksum(&[0xff]), 0x00ff);
    }
}
