//! What all clients have in common that this program plays itself: the protocol core of the gateway, with sockets and a
//! clock of ours.

use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::time::TimeSpec;
use ringfort_core::crypto::{PrivateKey, PublicKey, X25519};
use ringfort_core::noise::LocalIdentity;
use ringfort_core::time::Time;
use ringfort_testbed::{Context, Error, Result, uapi};

/// Peers in one request to a gateway: some take their time for each of them.
const PEERS_PER_REQUEST: usize = 500;
/// Descriptors beside the sockets.
const DESCRIPTORS_SPARE: u64 = 256;
/// Sockets that are looked at after one call of the kernel.
const READY_MAX: usize = 256;

/// Who computes the handshakes of clients.
///
/// # Errors
/// Nobody does here.
pub fn x25519() -> Result<&'static dyn X25519> {
    ringfort_x25519::choose()
        .map(|choice| choice.x25519)
        .map_err(|error| Error::new(format!("playing clients: {error}")))
}

/// A client with a new key.
pub fn identity(x25519: &'static dyn X25519) -> LocalIdentity {
    LocalIdentity::computed_by(x25519, PrivateKey::generate(&mut UnwrapErr(SysRng)))
}

/// An index of client `number`, of which it has had so many before.
pub fn index(number: u16, serial: u16) -> u32 {
    u32::from(serial) << 16 | u32::from(number)
}

/// Which client has an index.
pub const fn client_of(index: u32) -> usize {
    (index & 0xffff) as usize
}

/// The core's time. Cookies age from a time that is not the origin of the clock.
pub fn time(since: Duration) -> Time {
    Time::from_secs(1_000) + since
}

/// Tells a gateway of peers: of each its key, and lines that each end.
///
/// # Errors
/// One of the items, or the gateway refuses.
pub fn introduce<'a>(interface: &str, peers: impl Iterator<Item = Result<(&'a PublicKey, String)>>) -> Result<()> {
    let (mut text, mut count) = (String::new(), 0);
    for peer in peers {
        let (key, lines) = peer?;
        text += "public_key=";
        for byte in key.as_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
        text += "\n";
        text += &lines;
        count += 1;
        if count % PEERS_PER_REQUEST == 0 {
            uapi::set(interface, &std::mem::take(&mut text))?;
        }
    }
    if text.is_empty() { Ok(()) } else { uapi::set(interface, &text) }
}

/// Lets this process have so many sockets.
///
/// # Errors
/// It may not.
pub fn allow_sockets(count: u32) -> Result<()> {
    let wanted = u64::from(count) + DESCRIPTORS_SPARE;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit on open files")?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .context(format_args!("{count} sockets of clients: raising the limit on open files"))
}

/// Waits for any of many sockets, each of which has a number.
pub struct Watch {
    epoll: Epoll,
    ready: Vec<EpollEvent>,
}

impl Watch {
    /// Of none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("making an epoll")?;
        Ok(Self { epoll, ready: vec![EpollEvent::empty(); READY_MAX] })
    }

    /// Watches one more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(&self, socket: &impl AsFd, number: usize) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        self.epoll.add(socket, event).context("watching a socket")
    }

    /// Waits until a datagram is there, `most` at the longest. Finer than a millisecond, unlike epoll itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, most: Duration) -> Result<()> {
        let mut one = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut one, Some(TimeSpec::from_duration(most)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Error::new(format!("waiting for answers: {error}"))),
        }
    }

    /// The numbers of sockets that have something, or of some of them if there are many.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ready(&mut self) -> Result<impl Iterator<Item = usize> + use<'_>> {
        let count = match self.epoll.wait(&mut self.ready, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(Error::new(format!("asking for answers: {error}"))),
        };
        Ok(self.ready[..count].iter().map(|event| event.data() as usize))
    }
}
