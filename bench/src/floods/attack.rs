//! What an attacker sends who has no session: each kind of datagram, from as many addresses as he likes, at a rate.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use nix::time::{ClockId, clock_gettime};
use ringfort_core::crypto;
use ringfort_testbed::payload::Dice;
use ringfort_testbed::{Context, Family, Result};

/// Different datagrams of one kind. Their contents repeat, their senders do not.
const DATAGRAMS: usize = 1_024;
/// How often datagrams are sent that have become due.
const TICK: Duration = Duration::from_micros(500);
/// What is due after a pause is not made up for beyond this.
const CATCH_UP: Duration = Duration::from_millis(20);
const MACS_LEN: usize = 32;

/// What is sent, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Attack {
    /// Initiations with a right mac1 from one address, 10,000 a second
    #[value(name = "initiations-1-10k")]
    Initiations1At10k,
    /// From 10,000 addresses
    #[value(name = "initiations-10k-10k")]
    Initiations10kAt10k,
    /// From a million addresses
    #[value(name = "initiations-1m-10k")]
    Initiations1mAt10k,
    /// 50,000 a second
    #[value(name = "initiations-1-50k")]
    Initiations1At50k,
    /// From 10,000 addresses
    #[value(name = "initiations-10k-50k")]
    Initiations10kAt50k,
    /// From a million addresses
    #[value(name = "initiations-1m-50k")]
    Initiations1mAt50k,
    /// With a made-up mac2 as well, as if the sender had a cookie
    #[value(name = "initiations-mac2-50k")]
    InitiationsMac2,
    /// Responses with a right mac1 that answer nothing
    #[value(name = "responses-50k")]
    Responses,
    /// Initiations with a wrong mac1
    #[value(name = "bad-mac1-50k")]
    BadMac1,
    /// Data under an index that nobody has
    #[value(name = "data-50k")]
    Data,
    /// Random bytes
    #[value(name = "random-50k")]
    Random,
    /// Initiations with a right mac1 from a million addresses, as fast as they can be sent
    #[value(name = "fastest")]
    Fastest,
}

impl Attack {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What is asked for by the issue of this lab: throughput kept, in percent.
    pub const fn wanted_percent(self) -> f64 {
        match self {
            Self::Initiations1At10k | Self::Initiations10kAt10k | Self::Initiations1mAt10k => 95.0,
            Self::Initiations1At50k
            | Self::Initiations10kAt50k
            | Self::Initiations1mAt50k
            | Self::InitiationsMac2
            | Self::Responses => 90.0,
            Self::BadMac1 | Self::Data | Self::Random => 93.0,
            Self::Fastest => 70.0,
        }
    }

    /// Whether the gateway is under load meanwhile, so an honest peer may need a cookie, and asks again after five
    /// seconds then.
    pub const fn makes_load(self) -> bool {
        !matches!(self, Self::Responses | Self::BadMac1 | Self::Data | Self::Random)
    }

    /// Datagrams a second; as many as possible if there is no number.
    const fn rate(self) -> Option<u64> {
        match self {
            Self::Initiations1At10k | Self::Initiations10kAt10k | Self::Initiations1mAt10k => Some(10_000),
            Self::Fastest => None,
            _ => Some(50_000),
        }
    }

    const fn sources(self) -> u32 {
        match self {
            Self::Initiations1At10k | Self::Initiations1At50k => 1,
            Self::Initiations1mAt10k | Self::Initiations1mAt50k | Self::InitiationsMac2 | Self::Fastest => 1_000_000,
            _ => 10_000,
        }
    }

    fn datagrams(self, public_key: &[u8; 32]) -> Vec<Vec<u8>> {
        let key = crypto::hash(&[b"mac1----", public_key]);
        let mut dice = Dice::new(7);
        let make = |_| match self {
            Self::Responses => signed(message(2, 92, &mut dice), &key),
            Self::BadMac1 => message(1, 148, &mut dice),
            Self::Data => message(4, 128, &mut dice),
            Self::Random => dice.bytes(148),
            Self::InitiationsMac2 => {
                let mut message = signed(message(1, 148, &mut dice), &key);
                message[132..].copy_from_slice(&dice.bytes(MACS_LEN / 2));
                message
            }
            _ => signed(message(1, 148, &mut dice), &key),
        };
        (0..DATAGRAMS).map(make).collect()
    }
}

fn message(kind: u8, len: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.bytes(len);
    bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
    bytes
}

/// With the mac1 that anybody can make who knows the public key, and without a cookie.
fn signed(mut message: Vec<u8>, key: &[u8; 32]) -> Vec<u8> {
    let len = message.len();
    let (covered, macs) = message.split_at_mut(len - MACS_LEN);
    macs.fill(0);
    macs[..16].copy_from_slice(&crypto::mac(key, &[covered]));
    message
}

/// The first of an attacker's addresses; others follow. The namespace takes all of them for its own.
pub const ADDRESSES_V4: &str = "10.64.0.0/10";
/// The same for IPv6.
pub const ADDRESSES_V6: &str = "fd00:64::/32";

fn address(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 1).to_bits() + number)),
        // Each in a network of its own: gateways take a customer's 64 bits for one source.
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits((0xfd00_0064 << 96) + ((1 + u128::from(number)) << 64) + 1)),
    }
}

/// Whom it hits, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// A socket of the attacker's namespace.
    pub socket: &'a UdpSocket,
    /// The gateway.
    pub target: SocketAddr,
    /// Its public key.
    pub public_key: &'a [u8; 32],
}

/// Sends until it is told to stop, and keeps the tally. What the kernel has no room for is not sent again, and not
/// counted.
///
/// # Errors
/// A datagram cannot be sent.
pub fn run(attack: Attack, aim: Aim<'_>, tally: &Tally, stop: &AtomicBool) -> Result<()> {
    let datagrams = attack.datagrams(aim.public_key);
    let family = if aim.target.is_ipv4() { Family::V4 } else { Family::V6 };
    let mut tried = 0_u64;
    let begun = Instant::now();
    // What was due so long ago is not made up for.
    let mut forgiven = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = match attack.rate() {
            None => tried + 64,
            Some(rate) => {
                let due = (begun.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
                let most = (CATCH_UP.as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
                forgiven = forgiven.max(due.saturating_sub(tried + most));
                due - forgiven
            }
        };
        let mut sent = 0;
        while tried < due {
            let number = (tried.wrapping_mul(2_654_435_761) % u64::from(attack.sources())) as u32;
            sent += u64::from(send(aim, address(family, number), &datagrams[tried as usize % DATAGRAMS])?);
            tried += 1;
        }
        tally.add(sent, count_answers(aim.socket))?;
        if attack.rate().is_some() {
            std::thread::sleep(TICK);
        }
    }
    Ok(())
}

/// What an attack has come to so far. Others may look at it meanwhile.
#[derive(Debug, Default)]
pub struct Tally {
    sent: AtomicU64,
    cookies: AtomicU64,
    cpu_ns: AtomicU64,
}

/// The same at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Answers.
    pub cookies: u64,
    /// CPU time of the thread, which does nothing else.
    pub cpu: Duration,
}

impl Tally {
    /// What it is now.
    pub fn now(&self) -> Sent {
        let [sent, cookies, cpu_ns] =
            [&self.sent, &self.cookies, &self.cpu_ns].map(|count| count.load(Ordering::Relaxed));
        Sent { sent, cookies, cpu: Duration::from_nanos(cpu_ns) }
    }

    /// To be called by the thread that sends.
    fn add(&self, sent: u64, cookies: u64) -> Result<()> {
        let cpu: Duration =
            clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("the CPU time of the attacker")?.into();
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.cookies.fetch_add(cookies, Ordering::Relaxed);
        self.cpu_ns.store(cpu.as_nanos() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// True: the kernel took it.
fn send(aim: Aim<'_>, source: IpAddr, datagram: &[u8]) -> Result<bool> {
    let (fd, slice) = (aim.socket.as_raw_fd(), [IoSlice::new(datagram)]);
    let to = SockaddrStorage::from(aim.target);
    let sent = match source {
        IpAddr::V4(v4) => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) };
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            sendmsg(fd, &slice, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::MSG_DONTWAIT, Some(&to))
        }
        IpAddr::V6(v6) => {
            let info = libc::in6_pktinfo { ipi6_ifindex: 0, ipi6_addr: libc::in6_addr { s6_addr: v6.octets() } };
            sendmsg(fd, &slice, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::MSG_DONTWAIT, Some(&to))
        }
    };
    is_taken(sent).context(format_args!("sending from {source}"))
}

/// False: there was no room for it.
fn is_taken(sent: nix::Result<usize>) -> nix::Result<bool> {
    match sent {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Takes what came back, a bounded number.
fn count_answers(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 256];
    let mut count = 0;
    while count < 256
        && let Ok(len) = socket.recv(&mut buffer)
    {
        count += u64::from(len == 64 && buffer[0] == 3);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_no_room_for_is_neither_sent_nor_an_error() {
        assert_eq!(is_taken(Ok(148)), Ok(true));
        assert_eq!([Errno::EAGAIN, Errno::ENOBUFS].map(|errno| is_taken(Err(errno))), [Ok(false); 2]);
        assert_eq!(is_taken(Err(Errno::ENETUNREACH)), Err(Errno::ENETUNREACH));
    }
}
